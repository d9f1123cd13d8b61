"""Names a person would give: phrases as they stand in the texts, chosen by how well they tell its sentences.

Phrases come from a concept's training sentences, against those of the other concepts of its class, and are
chosen on a part of the training split that they do not come from.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import torch

from classifsae.activations import Activations
from classifsae.activity import Activating, activating_sets, strongest_rows
from classifsae.concepts.base import Concepts
from classifsae.errors import MismatchError
from classifsae.meaning.descriptions import N_SENTENCES, codes_of
from classifsae.meaning.names import MOST_CHARACTERS, ConceptName, Fidelity, fidelity
from classifsae.meaning.sentences import Sentences
from classifsae.meaning.words import N_READ, WordOptions, phrases_as_written
from classifsae.tensors import Bool, Float, Int, OnStep, SentenceEncoder, Tensor

MAX_WORDS = 5
"""Words of a phrase at most."""

N_CANDIDATES = 30
"""Phrases of a concept that are embedded."""

HELD_OUT, MOST_HELD_OUT = 5, 2000
"""One training sentence in so many is held out to choose by, and so many at most."""

CHANCE = 0.05
"""Concepts without any fitting phrase that get one nevertheless."""


@dataclass(frozen=True)
class HeldOut:
    """The training sentences by which names are chosen.

    Attributes:
        rows: of the training split, ascending.
        sentences: of these rows.
    """

    rows: Int[Tensor, " v"]
    sentences: Sentences


@dataclass(frozen=True)
class Phrase:
    """A phrase that may be a name.

    Attributes:
        text: as it is written, lower-cased.
        is_whole: no word that counts stands beside it in at least half of its sentences, as beside a noun
            phrase between "the" and "of".
    """

    text: str
    is_whole: bool

    @property
    def rank(self) -> int:
        """How much like a name it is: whole before part of a longer one, several words before one."""
        return 2 * self.is_whole + (" " in self.text)

    def is_apart_from(self, other: "Phrase") -> bool:
        """Whether neither has the first or last word of the other."""
        mine, others = self.text.split(), other.text.split()
        return {mine[0], mine[-1]}.isdisjoint(others) and {others[0], others[-1]}.isdisjoint(mine)


def hold_out(
    texts: Sequence[str],
    encoder: SentenceEncoder,
    *,
    embeddings: Float[Tensor, "n e"] | None = None,
    on_step: OnStep | None = None,
) -> HeldOut:
    """A fifth of the training texts, the same each time, with their embeddings.

    Args:
        texts: of the training split.
        encoder: of sentences.
        embeddings: of all these texts, by this encoder; None: those held out are embedded.
        on_step: told how many are.
    """
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    rows = order[: min(math.ceil(len(texts) / HELD_OUT), MOST_HELD_OUT)].sort().values
    held = tuple(texts[row] for row in rows.tolist())
    found = encoder(held, on_step=on_step) if embeddings is None else embeddings[rows]
    return HeldOut(rows, Sentences(held, found.cpu(), encoder.fingerprint))


def name_by_phrases(
    names: Sequence[ConceptName],
    concepts: Concepts,
    train: Activations,
    texts: Sequence[str],
    held_out: HeldOut,
    *,
    encoder: SentenceEncoder,
    options: WordOptions | None = None,
) -> tuple[ConceptName, ...]:
    """Names by the phrase, or the two phrases, whose cosine tells a concept's held-out sentences best.

    Best among the held-out sentences of the concept's class. Where no phrase is better than chance, the
    concept is called by its most typical sentence.

    Args:
        names: one per concept, in their order; a concept without sentences keeps its name.
        concepts: fitted on activations of the same source.
        train: activations of the training split.
        texts: of the same rows.
        held_out: of these texts.
        encoder: which made the embeddings.
        options: how texts are split into words.
    Raises:
        MismatchError: other texts than activations, or another encoder than the held-out sentences'.
    """
    if len(texts) != len(train) or held_out.sentences.encoder != encoder.fingerprint:
        raise MismatchError("the texts must be those of the activations, held out by the encoder given.")
    codes = codes_of(concepts, train).cpu()
    activating, read = activating_sets(codes), torch.ones(len(train), dtype=torch.bool)
    read[held_out.rows] = False
    rows = strongest_rows(codes, Activating(activating.sets & read, activating.thresholds), at_most=N_READ)
    classes, predictions = concepts.segment_of.tolist(), train.predictions.cpu()[held_out.rows]
    phrases = _candidates(rows, classes, texts, options or WordOptions())
    choices = [
        _Choice(
            phrases=own,
            sentences=[shortened(texts[row]) for row in read_rows[:N_SENTENCES]],
            embeddings=held_out.sentences.embeddings[predictions == c],
            members=members[held_out.rows][predictions == c],
        )
        for own, read_rows, c, members in zip(phrases, rows, classes, activating.sets, strict=True)
    ]
    chosen = _chosen(choices, encoder)
    return tuple(
        replace(name, name=said or name.name, is_sentence=bool(said) and is_sentence)
        for name, (said, is_sentence) in zip(names, chosen, strict=True)
    )


def _candidates(
    rows: Sequence[Sequence[int]], classes: Sequence[int], texts: Sequence[str], options: WordOptions
) -> list[list[Phrase]]:
    """The phrases of each concept, against the sentences of the others of its class, or of all others."""
    read = sorted({row for own in rows for row in own})
    found = phrases_as_written([texts[row] for row in read], options, max_words=MAX_WORDS)
    phrases = dict(zip(read, found, strict=True))
    candidates = []
    for own, c in zip(rows, classes, strict=True):
        of_class = {row for others, b in zip(rows, classes, strict=True) if b == c for row in others}
        others = (of_class - {*own}) or ({*read} - {*own})
        ranked = contrasted([phrases[row] for row in own], [phrases[row] for row in sorted(others)])
        candidates.append(ranked[:N_CANDIDATES])
    return candidates


def contrasted(own: Sequence[Mapping[str, bool]], others: Sequence[Mapping[str, bool]]) -> list[Phrase]:
    """Phrases of a concept's sentences, those first that most surely stand there oftener than in others.

        z = ln(a d / (b c)) / sqrt(1/a + 1/b + 1/c + 1/d)

    with a sentences of its own that have the phrase and b that do not, c others that have it and d that do
    not, each plus 1/2. Left out are phrases in fewer than two sentences, those that stand in others at least
    as often, and those that always stand in one longer phrase.

    Args:
        own: phrases of each sentence, and whether each is whole there.
        others: the same of the sentences that they are not to be told by.
    Source: Woolf 1955, with the halves of Haldane 1956.
    """
    inside, outside = (Counter(p for phrases in texts for p in phrases) for texts in (own, others))
    whole = Counter(phrase for phrases in own for phrase, is_whole in phrases.items() if is_whole)
    weights = {
        phrase: _log_odds(n, len(own), outside[phrase], len(others)) for phrase, n in inside.items() if n > 1
    }
    parts = _always_within(weights, inside)
    ranked = sorted((-z, phrase) for phrase, z in weights.items() if z > 0 and phrase not in parts)
    return [Phrase(phrase, 2 * whole[phrase] >= inside[phrase]) for _, phrase in ranked]


def _log_odds(n_own: int, own: int, n_others: int, others: int) -> float:
    a, b, c, d = n_own + 0.5, own - n_own + 0.5, n_others + 0.5, others - n_others + 0.5
    return math.log(a * d / (b * c)) / math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)


def _always_within(phrases: Iterable[str], counts: Mapping[str, int]) -> set[str]:
    """Parts of a phrase that are in no other sentence than the phrase."""
    return {
        part
        for phrase in phrases
        for part in _parts(phrase.split())
        if part != phrase and counts.get(part) == counts[phrase]
    }


def _parts(words: Sequence[str]) -> Iterable[str]:
    return (" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1))


@dataclass(frozen=True)
class _Choice:
    """What a concept may be called, and the held-out sentences of its class, by which it is chosen."""

    phrases: Sequence[Phrase]
    sentences: Sequence[str]
    embeddings: Float[Tensor, "v e"]
    members: Bool[Tensor, " v"]

    def fits(self, names: Sequence[str], embedded: Mapping[str, Tensor]) -> list[Fidelity]:
        """How well each of these names tells the concept's sentences."""
        return [fidelity(self.embeddings @ embedded[name], self.members) for name in names]


def _chosen(choices: Sequence[_Choice], encoder: SentenceEncoder) -> list[tuple[str, bool]]:
    """A name for each concept, and whether it is a sentence; no name twice, "" where there is none."""
    embedded = _embedded([p.text for choice in choices for p in choice.phrases], encoder)
    firsts: dict[int, Phrase] = {}
    for j, choice in enumerate(choices):
        free = [phrase for phrase in choice.phrases if phrase not in firsts.values()]
        first = best_phrase(free, choice.fits([phrase.text for phrase in free], embedded))
        if first is not None:
            firsts[j] = first
    lists = [
        _pairs(firsts[j], choice.phrases) if j in firsts else choice.sentences
        for j, choice in enumerate(choices)
    ]
    embedded |= _embedded([name for names in lists for name in names], encoder)
    found: list[tuple[str, bool]] = []
    for j, (choice, names) in enumerate(zip(choices, lists, strict=True)):
        if j in firsts:
            options = [firsts[j].text, *names]
            found.append((better(options, choice.fits(options, embedded)), False))
        else:
            left = [name for name in names if (name, True) not in found]
            found.append((most_typical(left, choice.fits(left, embedded)), True))
    return found


def _embedded(names: Sequence[str], encoder: SentenceEncoder) -> dict[str, Tensor]:
    once = sorted({*names})
    return dict(zip(once, encoder(once).cpu(), strict=True)) if once else {}


def best_phrase(phrases: Sequence[Phrase], fits: Sequence[Fidelity]) -> Phrase | None:
    """The most name-like of the phrases that fit best, None where none is better than chance.

    Better than chance is above 0.5 + z standard errors, z such that one of all phrases tried gets there by
    luck for one concept in twenty at most (Bonferroni). Of those within one standard error of the best, the
    first of the highest rank is taken.

    Args:
        phrases: the most typical first.
        fits: of each, on the held-out sentences.
    """
    z = NormalDist().inv_cdf(1 - CHANCE / max(len(phrases), 1))
    able = [
        (fit.auroc, fit.standard_error, phrase)
        for phrase, fit in zip(phrases, fits, strict=True)
        if fit.auroc is not None and fit.standard_error is not None
        if fit.auroc > 0.5 + z * fit.standard_error
    ]
    best = max((auroc for auroc, _, _ in able), default=0.0)
    near = [phrase for auroc, error, phrase in able if auroc >= best - error]
    return max(near, key=lambda phrase: phrase.rank, default=None)


def _pairs(first: Phrase, phrases: Sequence[Phrase]) -> list[str]:
    """The phrase with each other one that is whole and says something else."""
    return [
        f"{first.text}, {other.text}" for other in phrases if other.is_whole and first.is_apart_from(other)
    ]


def better(options: Sequence[str], fits: Sequence[Fidelity]) -> str:
    """The first option, unless the best is better by more than a standard error."""
    first, error = fits[0].auroc or 0.0, fits[0].standard_error or 0.0
    best = max(zip(options, fits, strict=True), key=lambda pair: pair[1].auroc or 0.0)
    return best[0] if (best[1].auroc or 0.0) > first + error else options[0]


def most_typical(sentences: Sequence[str], fits: Sequence[Fidelity]) -> str:
    """The sentence that fits best, the first of several; "" where there is none."""
    pairs = zip(sentences, fits, strict=True)
    return max(pairs, key=lambda pair: pair[1].auroc or 0.0, default=("", None))[0]


def shortened(text: str) -> str:
    """A text on one line, cut after a word to as many characters as a name may have."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) <= MOST_CHARACTERS:
        return line
    cut = line[:MOST_CHARACTERS]  # one more than there is room for beside the ellipsis
    return (cut[: cut.rfind(" ")] if " " in cut else cut[:-1]).rstrip(" ,;:.") + "\N{HORIZONTAL ELLIPSIS}"
