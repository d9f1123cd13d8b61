"""What each concept stands for, in words: a name, its words, and the sentences on which it is most active."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word or phrase of a concept.

    Attributes:
        text: as it is shown, lower-cased.
        weight: TF-IDF, above 0; only its order and ratio within one concept mean something.
    """

    text: str
    weight: float


@dataclass(frozen=True)
class ActiveSentence:
    """A sentence on which a concept is active.

    Attributes:
        row: of the sentence among the activations it was found in.
        activation: of the concept there, in the method's own unit.
    """

    row: int
    activation: float


@dataclass(frozen=True)
class Description:
    """One concept in words.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary; what a user calls it by.
        name: short, and unique among the concepts described together.
        words: the strongest first.
        sentences: the most active first.
    """

    position: int
    latent: int
    name: str
    words: tuple[Word, ...]
    sentences: tuple[ActiveSentence, ...]
