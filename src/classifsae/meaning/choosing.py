"""Which phrase a person would call a concept by: the one that tells its held-out training sentences best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import torch

from classifsae.activations import Activations
from classifsae.activity import Activating, activating_sets, strongest_rows
from classifsae.concepts.base import Concepts, codes_of
from classifsae.errors import MismatchError
from classifsae.meaning.descriptions import N_SENTENCES, Description
from classifsae.meaning.names import MOST_CHARACTERS, ConceptName, Fidelity, fidelity
from classifsae.meaning.phrases import Phrase, as_cased, phrases_of
from classifsae.meaning.sentences import Sentences
from classifsae.meaning.words import N_READ, WordOptions
from classifsae.tensors import Bool, Float, Int, SentenceEncoder, Tensor

HELD_OUT, MOST_HELD_OUT = 5, 2000
"""One training sentence in so many is held out to choose by, and so many at most."""

CHANCE = 0.05
"""Probability that a concept without any phrase of its own is called by one."""

_CUT = "..."
"""Behind a sentence that was cut; ASCII, as any font has it."""


@dataclass(frozen=True)
class HeldOut:
    """The training sentences by which names are chosen.

    Attributes:
        rows: of the training split, ascending.
        sentences: of these rows.
    """

    rows: Int[Tensor, " v"]
    sentences: Sentences


def hold_out(
    texts: Sequence[str], encoder: SentenceEncoder, *, embeddings: Float[Tensor, "n e"] | None = None
) -> HeldOut:
    """A fifth of the training texts, the same each time, with their embeddings.

    Args:
        texts: of the training split.
        encoder: of sentences.
        embeddings: of all these texts, by this encoder; None: those held out are embedded.
    """
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    rows = order[: min(math.ceil(len(texts) / HELD_OUT), MOST_HELD_OUT)].sort().values
    held = tuple(texts[row] for row in rows.tolist())
    found = encoder(held) if embeddings is None else embeddings[rows]
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
    """Names by the phrase, or two, that tell held-out sentences of a concept from others of its class.

    Where no phrase is better than chance, the concept is called by its most typical sentence.

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
    choices = [
        _Choice(
            phrases=phrases,
            sentences=[shortened(texts[row]) for row in own[:N_SENTENCES]],
            embeddings=held_out.sentences.embeddings[predictions == c],
            members=members[held_out.rows][predictions == c],
        )
        for phrases, own, c, members in zip(
            phrases_of(rows, classes, texts, options or WordOptions()),
            rows,
            classes,
            activating.sets,
            strict=True,
        )
    ]
    chosen = [
        choice if choice.is_sentence else _with_capitals(choice, members.nonzero().flatten().tolist(), texts)
        for choice, members in zip(_chosen(choices, encoder), activating.sets, strict=True)
    ]
    return _named(names, chosen)


def unless_worse(
    names: Sequence[ConceptName],
    otherwise: Sequence[ConceptName],
    concepts: Concepts,
    train: Activations,
    held_out: HeldOut,
    *,
    encoder: SentenceEncoder,
) -> tuple[ConceptName, ...]:
    """Names that a language model gave, but the others where these tell held-out sentences better.

    Both among the sentences predicted as the concept's class.

    Args:
        names: one per concept, in their order.
        otherwise: names without a model.
        concepts: fitted on activations of the same source.
        train: activations of the training split.
        held_out: training sentences that the model was not shown.
        encoder: which made their embeddings.
    """
    members = activating_sets(codes_of(concepts, train).cpu()).sets[:, held_out.rows]
    of_class = train.predictions.cpu()[held_out.rows] == concepts.segment_of.cpu()[:, None]
    embedded = _embedded([name.name for name in (*names, *otherwise)], encoder)
    found = []
    for name, other, own, rows in zip(names, otherwise, members, of_class, strict=True):
        embeddings = held_out.sentences.embeddings[rows]
        given, plain = (fidelity(embeddings @ embedded[n.name], own[rows]).auroc for n in (name, other))
        if name.made_by != "words" and given is not None and plain is not None and given < plain:
            aurocs = f"AUROC {given:.2f} on held-out texts, that of the words {plain:.2f}"
            found.append(replace(other, failure=f"{name.name!r} fits worse ({aurocs})"))
        else:
            found.append(name)
    return tuple(found)


def not_held_out(descriptions: Sequence[Description], held_out: HeldOut) -> tuple[Description, ...]:
    """Descriptions by sentences that are not held out, as far as there are any."""
    rows = {*held_out.rows.tolist()}
    shown = [tuple(s for s in d.sentences if s.row not in rows) for d in descriptions]
    return tuple(
        replace(d, sentences=left or d.sentences) for d, left in zip(descriptions, shown, strict=True)
    )


def _with_capitals(chosen: "_Chosen", rows: Sequence[int], texts: Sequence[str]) -> "_Chosen":
    """A phrase, or two, with the capitals of the sentences on which the concept is active."""
    own = [texts[row] for row in rows]
    return replace(chosen, name=", ".join(as_cased(phrase, own) for phrase in chosen.name.split(", ")))


def _named(names: Sequence[ConceptName], chosen: Sequence["_Chosen"]) -> tuple[ConceptName, ...]:
    """Each under the name chosen for it; under the one it had, or its number, where another has that."""
    taken = {""}
    found = []
    for name, choice in zip(names, chosen, strict=True):
        options = (choice.name, name.name, f"concept {name.latent}")
        free = next(option for option in options if option.casefold() not in taken)
        taken.add(free.casefold())
        found.append(replace(name, name=free, is_sentence=choice.is_sentence and free == choice.name))
    return tuple(found)


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


@dataclass(frozen=True)
class _Chosen:
    """A name, "" where there is nothing to call a concept by."""

    name: str
    is_sentence: bool


def _chosen(choices: Sequence[_Choice], encoder: SentenceEncoder) -> list[_Chosen]:
    """A phrase or two for each concept, no phrase twice as the first; a sentence where none fits."""
    embedded = _embedded([phrase.text for choice in choices for phrase in choice.phrases], encoder)
    firsts: list[Phrase | None] = []
    for choice in choices:
        free = [phrase for phrase in choice.phrases if phrase not in firsts]
        firsts.append(best_phrase(free, choice.fits([phrase.text for phrase in free], embedded)))
    lists = [
        [first.text, *_pairs(first, choice.phrases)] if first else choice.sentences
        for first, choice in zip(firsts, choices, strict=True)
    ]
    embedded |= _embedded([name for names in lists for name in names], encoder)
    found: list[_Chosen] = []
    for first, choice, names in zip(firsts, choices, lists, strict=True):
        free_names = [name for name in names if _Chosen(name, is_sentence=True) not in found]
        choose = most_typical if first is None else first_unless_better
        name = choose(free_names, choice.fits(free_names, embedded))
        found.append(_Chosen(name, is_sentence=first is None))
    return found


def _embedded(names: Sequence[str], encoder: SentenceEncoder) -> dict[str, Tensor]:
    once = sorted({*names})
    return dict(zip(once, encoder(once).cpu(), strict=True)) if once else {}


def best_phrase(phrases: Sequence[Phrase], fits: Sequence[Fidelity]) -> Phrase | None:
    """The most name-like of the phrases that fit best, None where none is better than chance.

    Better than chance is more than z standard errors above 0.5, where a concept that no phrase fits gets one
    with a probability of 5 % at most, however many are tried (Bonferroni). Of the phrases within a standard
    error of the best, the first of the highest rank is taken.

    Args:
        phrases: those first that are most the concept's own.
        fits: of each, on held-out sentences.
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
    """The phrase with each other that is whole and says something else."""
    others = [other.text for other in phrases if other.is_whole and first.is_apart_from(other)]
    pairs = [f"{first.text}, {other}" for other in others]
    return [pair for pair in pairs if len(pair) <= MOST_CHARACTERS]


def first_unless_better(names: Sequence[str], fits: Sequence[Fidelity]) -> str:
    """The first name, or the best where that fits better by more than a standard error."""
    aurocs, error = [fit.auroc or 0.0 for fit in fits], fits[0].standard_error or 0.0
    best = max(aurocs)
    return names[aurocs.index(best)] if best > aurocs[0] + error else names[0]


def most_typical(sentences: Sequence[str], fits: Sequence[Fidelity]) -> str:
    """The sentence that fits best, the first of several; "" where there is none."""
    aurocs = [fit.auroc or 0.0 for fit in fits]
    return sentences[aurocs.index(max(aurocs))] if aurocs else ""


def shortened(text: str) -> str:
    """A text on one line, cut between words to as many characters as a name may have."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) <= MOST_CHARACTERS:
        return line
    room = MOST_CHARACTERS - len(_CUT)
    whole = line[: room + 1].rpartition(" ")[0] or line[:room]
    return whole.rstrip(",;:.- ") + _CUT
