"""What the metrics say of each concept, read back from the stored scores of one method."""

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from classifsae.errors import StorageError, one_line
from classifsae.storage import Json

_SHOWN = {
    "causality": ("support", "flip_rate", "tvd", "accuracy_change"),
    "margins": ("gap", "removed", "added"),
    "shapley": ("value",),
    "interpretability": ("threshold", "n_activating", "concept_sim"),
}
"""What is taken from which metric; others use some of these names for other things."""


class ConceptScores(BaseModel, frozen=True):
    """The scores of one concept; None for one that was not asked for or is NaN.

    Attributes:
        support: test sentences on which the concept fires.
        flip_rate: share of them whose label changes when it is removed.
        tvd: mean shift of their class probabilities then, in [0, 1].
        accuracy_change: change of the accuracy on them then, in [-1, 1].
        gap: standard deviations by which margins of its sentences differ from others of their class.
        removed, added: part of the gap that is closed where it is removed from its sentences, or added to
            the others.
        value: Shapley value, as a share of the completeness score.
        threshold: natural break between weak and strong activations.
        n_activating: sentences on which the concept is strongly active, above the break.
        concept_sim: mean cosine of their embeddings.
    """

    support: int | None = None
    flip_rate: float | None = None
    tvd: float | None = None
    accuracy_change: float | None = None
    gap: float | None = None
    removed: float | None = None
    added: float | None = None
    value: float | None = None
    threshold: float | None = None
    n_activating: int | None = None
    concept_sim: float | None = None


class _Entry(BaseModel, extra="allow"):
    position: int


class _Metric(BaseModel, extra="ignore"):
    concepts: tuple[_Entry, ...] = ()


def scores_of_concepts(scores: Mapping[str, Json], n_concepts: int) -> list[ConceptScores]:
    """What the metrics say of each concept, by position.

    Raises:
        StorageError: the scores are not as this version writes them.
    """
    found: list[dict[str, object]] = [{} for _ in range(n_concepts)]
    try:
        for metric, names in _SHOWN.items():
            for entry in _Metric.model_validate(scores.get(metric, {})).concepts:
                known = entry.model_extra or {}
                found[entry.position] |= {name: known.get(name) for name in names}
        return [ConceptScores.model_validate(fields) for fields in found]
    except (ValidationError, IndexError) as error:
        why = one_line(error) if isinstance(error, ValidationError) else "more concepts than there are"
        raise StorageError(f"the scores are damaged ({why}); score the concepts again.") from error
