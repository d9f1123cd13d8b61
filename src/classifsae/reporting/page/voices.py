"""What the classifier answers from no concept at all, and which concepts speak for and against each class."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifsae.bottleneck import Evaluation
from classifsae.explaining.contributions import mean_contributions
from classifsae.reporting.page.content import ConceptCard
from classifsae.tensors import Float, Tensor

N_VOICES, FEWEST = 4, 5
"""Concepts for and against each class at most, and sentences on which one has to fire."""

AUDIBLE = 0.05
"""Mean contribution to a logit from which a concept is listed."""


@dataclass(frozen=True)
class Voice:
    """A concept that speaks for or against a class.

    Attributes:
        latent, name: of the concept.
        is_label: whether it says a class itself.
        logits: mean contribution to the logit of the class where it fires; negative against it.
        n_fires: sentences on which it fires.
    """

    latent: int
    name: str
    is_label: bool
    logits: float
    n_fires: int


@dataclass(frozen=True)
class Voices:
    """The concepts of one method, by class.

    Attributes:
        n_sentences: test sentences that this is about.
        answers: share of them that get each class from no concept at all.
        probabilities: mean probability of each class then.
        speak_for, speak_against: by class, the concepts with the largest contributions, at most four.
        error: standard error of a contribution from sampled orders, the largest; 0 where all are exact.
    """

    n_sentences: int
    answers: tuple[float, ...]
    probabilities: tuple[float, ...]
    speak_for: tuple[tuple[Voice, ...], ...]
    speak_against: tuple[tuple[Voice, ...], ...]
    error: float

    @property
    def answer(self) -> int:
        """The class that most sentences get from no concept."""
        return max(range(len(self.answers)), key=self.answers.__getitem__)


def voices_of(evaluation: Evaluation, cards: Sequence[ConceptCard]) -> Voices:
    """Who speaks for and against each class.

    Args:
        evaluation: of some test sentences, at least one.
        cards: one per concept, by position.
    """
    found = mean_contributions(evaluation)
    n_classes = evaluation.n_classes
    heard = found.n_fires >= FEWEST
    said = found.values.T.tolist()

    def voices(c: int, sign: int) -> tuple[Voice, ...]:
        ranked = sorted(heard.nonzero().flatten().tolist(), key=lambda j: -sign * said[c][j])
        loud = [j for j in ranked[:N_VOICES] if sign * said[c][j] >= AUDIBLE]
        return tuple(
            Voice(cards[j].latent, cards[j].name, cards[j].is_label, said[c][j], int(found.n_fires[j]))
            for j in loud
        )

    return Voices(
        n_sentences=len(found.without_any),
        answers=_shares(found.without_any),
        probabilities=tuple(found.without_any.mean(dim=0).tolist()),
        speak_for=tuple(voices(c, 1) for c in range(n_classes)),
        speak_against=tuple(voices(c, -1) for c in range(n_classes)),
        error=float(found.errors[heard].max()) if heard.any() else 0.0,
    )


def _shares(probabilities: Float[Tensor, "n c"]) -> tuple[float, ...]:
    """Share of the sentences that each class is most probable for."""
    n, c = probabilities.shape
    return tuple((probabilities.argmax(dim=1).bincount(minlength=c).double() / n).tolist())
