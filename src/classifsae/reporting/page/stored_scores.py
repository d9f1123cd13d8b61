"""Scores of one method as they are stored, read back as far as a page shows them."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from classifsae.errors import StorageError, one_line
from classifsae.reporting.page.content import Meaning
from classifsae.storage import Json


class _Stored(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


_SHOWN = {
    "causality": {"support", "flip_rate", "tvd", "accuracy_change"},
    "shapley": {"value"},
    "interpretability": {"threshold", "n_activating", "concept_sim"},
}
"""What is taken from which metric; others use some of these names for other things."""


class OfConcept(_Stored):
    """What the metrics say of one concept; None where none does."""

    position: int
    support: int | None = None
    flip_rate: float | None = None
    tvd: float | None = None
    accuracy_change: float | None = None
    value: float | None = None
    threshold: float | None = None
    n_activating: int | None = None
    concept_sim: float | None = None


class _Metric(_Stored):
    concepts: tuple[OfConcept, ...] = ()


class _Number(_Stored):
    value: float | None
    unit: str
    better: str
    says: str


def of_concepts(scores: Mapping[str, Json], n_concepts: int) -> list[OfConcept]:
    """What the metrics say of each concept, by position.

    Raises:
        StorageError: the scores are not as this version writes them.
    """
    found: list[dict[str, Json]] = [{"position": j} for j in range(n_concepts)]
    try:
        for name, shown in _SHOWN.items():
            for concept in _Metric.model_validate(scores.get(name, {})).concepts:
                found[concept.position] |= concept.model_dump(include=shown, exclude_unset=True)
        return [OfConcept.model_validate(fields) for fields in found]
    except (ValidationError, IndexError) as error:
        why = one_line(error) if isinstance(error, ValidationError) else "more concepts than there are"
        raise StorageError(f"the scores are damaged ({why}); score the concepts again.") from error


def meanings(scores: Mapping[str, Json]) -> dict[str, Meaning]:
    """What each number of all metrics means, by its name."""
    return {
        name: Meaning(found.says, found.unit, found.better)
        for metric in scores.values()
        if isinstance(metric, dict)
        for name, value in metric.items()
        if isinstance(value, dict) and "says" in value
        for found in [_Number.model_validate(value)]
    }


def number_of(scores: Mapping[str, Json], metric: str, name: str) -> float | None:
    """One number of one metric, None where it was not asked for or is undefined."""
    found = scores.get(metric)
    entry = found.get(name) if isinstance(found, dict) else None
    return _Number.model_validate(entry).value if isinstance(entry, dict) else None
