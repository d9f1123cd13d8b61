"""Whether concepts have the scores that go with them: measured again, and compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose, nan
from typing import TYPE_CHECKING

from classifsae.concepts.base import Concepts
from classifsae.errors import ConfigError
from classifsae.metrics.base import METRICS, quantities, result_of
from classifsae.notebook import Sheet, Shown

if TYPE_CHECKING:
    from classifsae.activations import Activations
    from classifsae.meaning.sentences import Sentences
    from classifsae.tensors import Tail


@dataclass(frozen=True)
class ScoreCheck(Shown):
    """Stated scores beside those that were measured again.

    Attributes:
        same: names of the scores that are as stated.
        differs: by name, the stated and the measured value.
        unmeasured: stated scores that were not measured again: they need sentences or other seeds.
    """

    same: tuple[str, ...]
    differs: Mapping[str, tuple[float | None, float | None]]
    unmeasured: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether nothing that was measured differs."""
        return not self.differs

    def sheet(self) -> Sheet:
        """What is shown: how many are the same, and each that differs."""
        n = len(self.same) + len(self.differs)
        found = (
            f"{len(self.differs)} of {n} scores differ" if self.differs else f"all {n} scores are as stated"
        )
        facts = (f"not measured again: {', '.join(self.unmeasured)}",) if self.unmeasured else ()
        rows = [(name, *both) for name, both in self.differs.items()]
        return Sheet(f"Scores measured again: {found}", facts, ("score", "stated", "measured"), rows)


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
