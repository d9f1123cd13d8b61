"""Whether concepts have the scores that go with them: measured again, and compared."""

from collections.abc import Mapping
from math import isclose, nan
from typing import TYPE_CHECKING

from classifsae.concepts import Concepts, ScoreCheck
from classifsae.errors import ConfigError
from classifsae.metrics.base import METRICS, quantities, result_of

if TYPE_CHECKING:
    from classifsae.activations import Activations
    from classifsae.meaning.sentences import Sentences
    from classifsae.tensors import Tail


def verify_scores(
    concepts: Concepts,
    tail: "Tail",
    test: "Activations",
    *,
    sentences: "Sentences | None" = None,
    tolerance: float = 1e-4,
) -> ScoreCheck:
    """Measure the scores that go with concepts again: see :meth:`classifsae.Concepts.verify`."""
    from classifsae.metrics import score

    stated = dict(concepts.card.scores) if concepts.card else {}
    if not stated:
        raise ConfigError("these concepts state no scores; with_card(scores=...) puts them beside.")
    metrics = [name for name in METRICS.names() if _can_be_measured(name, stated, sentences)]
    found = score(concepts, tail, test, metrics=metrics, sentences=sentences).record() if metrics else {}
    both = {name: (value, found[name]) for name, value in stated.items() if name in found}
    differs = {name: pair for name, pair in both.items() if not _are_close(*pair, tolerance)}
    same = tuple(name for name in both if name not in differs)
    return ScoreCheck(same, differs, tuple(name for name in stated if name not in both))


def _can_be_measured(name: str, stated: Mapping[str, object], sentences: "Sentences | None") -> bool:
    """Whether a metric gives any of the stated scores, and all that it needs is there."""
    metric = METRICS.load(name)
    fields = tuple(quantities(result_of(metric)))
    has_needs = not metric.needs_names and (sentences is not None or not metric.needs_sentences)
    return has_needs and any(one in fields or one.rpartition("_")[0] in fields for one in stated)


def _are_close(stated: float | None, found: float | None, tolerance: float) -> bool:
    one, two = (nan if value is None else value for value in (stated, found))
    return stated == found or isclose(one, two, rel_tol=tolerance, abs_tol=tolerance)
