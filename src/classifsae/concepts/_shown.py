"""One concept, and a check of scores, as objects that show themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module

from classifsae.notebook import Sheet, Shown, framed, shown

_LITTLE = 0.005


@dataclass(frozen=True)
class Concept(Shown):
    """One concept: what it is called and belongs to; of a report its words, sentences and scores too.

    Attributes:
        latent: its number.
        name: what it is called.
        method: that it is of.
        label: the class that it belongs to.
        shares: by class, part of its activation on the training split that falls there; they sum to 1.
        activation: its mean |activation|: on the test split of a report, else on the training split.
        words: of its sentences, the strongest first.
        sentences: of the test split, those on which it is most active first.
        scores: what the metrics say of it, by name.
        panel: the same as the page shows it, as HTML; "" without a report.
    """

    latent: int
    name: str
    method: str
    label: str
    shares: Mapping[str, float]
    activation: float
    words: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    panel: str = ""

    def sheet(self) -> Sheet:
        """What is shown: class, words, scores, and the sentences on which it is most active."""
        shares = ", ".join(f"{c} {100 * part:.0f} %" for c, part in self.shares.items() if part >= _LITTLE)
        facts = [
            f"share of each class in its activation: {shares}",
            f"mean activation {shown(self.activation)}",
        ]
        facts += [", ".join(f"{k.replace('_', ' ')} {shown(v)}" for k, v in self.scores.items())]
        facts += [f"words: {', '.join(self.words[:10])}"] if self.words else []
        title = f"Concept {self.latent} of {self.method}: {self.name} ({self.label})"
        rows = [(sentence,) for sentence in self.sentences]
        return Sheet(title, tuple(filter(None, facts)), ("sentences on which it is most active",), rows)

    def _repr_html_(self) -> str:
        # By name: the room that draws stands far above this one, and is loaded once somebody looks.
        return framed(self.panel or import_module("classifsae.reporting.concept").panel_of(self))


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
