"""What each concept stands for, in words: a name, its words, and the sentences on which it is most active."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from classifsae.activations import Activations
from classifsae.activity import activating_sets, strongest_rows
from classifsae.concepts.base import Concepts, codes_of
from classifsae.errors import MismatchError, StorageError
from classifsae.meaning.llm import Maker
from classifsae.meaning.words import (
    N_READ,
    Term,
    Tokens,
    WordOptions,
    as_written,
    count_terms,
    phrases,
    tokenise,
    weigh,
)
from classifsae.storage import Manifest, finish, manifest_of, write_text


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
class Origin:
    """Where a name comes from that is not of the described sentences' own words.

    Attributes:
        made_by: "words" of the training split, a language model ("endpoint", "local"), or the "user".
        auroc: of the name on the test split, in [0, 1]; None where it was not or cannot be judged.
        better_than_chance: whether that is so.
        auroc_in_class: of the name among the test sentences predicted as the concept's class; None likewise.
        is_sentence: whether the name is a sentence, as no phrase was found better than chance.
        detection: share of test sentences that a language model puts right by the name alone; None likewise.
    """

    made_by: Maker | Literal["user"]
    auroc: float | None = None
    better_than_chance: bool = False
    auroc_in_class: float | None = None
    is_sentence: bool = False
    detection: float | None = None


@dataclass(frozen=True)
class Description:
    """One concept in words.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary; what a user calls it by.
        name: short, and unique among the concepts described together.
        words: the strongest first.
        sentences: the most active first.
        origin: of the name; None for one of the words given here.
    """

    position: int
    latent: int
    name: str
    words: tuple[Word, ...]
    sentences: tuple[ActiveSentence, ...]
    origin: Origin | None = None


N_SENTENCES = 10
N_WORDS = 20
MAX_PHRASE = 3
"""Words of a phrase at most."""

MAX_DESCRIBED = 50
"""A method with more concepts than this is not described by an experiment: nobody reads that many."""

DESCRIPTIONS = "descriptions.json"

_N_NAME_WORDS = 3
_LIST = TypeAdapter(tuple[Description, ...])


def describe(
    concepts: Concepts,
    activations: Activations,
    texts: Sequence[str],
    *,
    options: WordOptions | None = None,
) -> tuple[Description, ...]:
    """Every concept in words: a name, its words and phrases, and its sentences.

    Words are those of the 100 sentences of its activating set on which a concept is most active, weighed by
    TF-IDF over one such document per concept and one for the corpus.

    Args:
        concepts: fitted on activations of the same source.
        activations: of the sentences to describe by; the test split.
        texts: the original texts, of the same rows.
        options: how texts are split into words.
    Raises:
        MismatchError: other texts or activations than the concepts'.
    """
    concepts.source.require(activations.source, this="the concepts", that="the activations")
    if len(texts) != len(activations):
        raise MismatchError(
            f"there are {len(texts)} texts and activations of {len(activations)}; give the texts captured."
        )
    codes = codes_of(concepts, activations).cpu()
    rows = strongest_rows(codes, activating_sets(codes), at_most=N_READ)
    words = top_words(tokenise(tuple(texts), options or WordOptions()), rows)
    latents = concepts.kept.tolist()
    names = default_names(words, latents, [bool(r) for r in rows])
    sentences = [
        tuple(ActiveSentence(row, float(codes[row, j])) for row in r[:N_SENTENCES])
        for j, r in enumerate(rows)
    ]
    columns = zip(latents, names, words, sentences, strict=True)
    return tuple(Description(j, *column) for j, column in enumerate(columns))


def top_words(tokens: Sequence[Tokens], rows: Sequence[Sequence[int]]) -> list[tuple[Word, ...]]:
    """The strongest words and phrases of each concept, from the rows of its sentences.

    A word that stands in a phrase at least half of the time gives way to the phrase; a phrase that mostly
    says words again is left out, and so is one that occurs once.
    """
    documents = [count_terms([tokens[r].lemmas for r in read], max_length=MAX_PHRASE) for read in rows]
    found = []
    for read, counts, weights in zip(rows, documents, weigh(documents), strict=True):
        terms = _without_repeats(weights, counts)[:N_WORDS]
        spelled = as_written(terms, [tokens[r] for r in read])
        found.append(tuple(Word(s, weights[t]) for s, t in zip(spelled, terms, strict=True)))
    return found


def _without_repeats(weights: Mapping[Term, float], counts: Counter[Term]) -> list[Term]:
    """The heaviest terms of which at least half of the words are not in one before them."""
    fuller = _fuller_phrases(counts)
    listed: list[Term] = []
    said: set[str] = set()
    for term in weights:
        if len(term) > 1 and counts[term] == 1:
            continue
        for candidate in (fuller.get(term, term), term):
            if 2 * sum(word in said for word in candidate) <= len(candidate):
                listed.append(candidate)
                said.update(candidate)
                break
    return sorted(listed, key=lambda term: -weights[term])


def _fuller_phrases(counts: Counter[Term]) -> dict[Term, Term]:
    """For each term that stands in a phrase at least half of the time, the longest such phrase."""
    repeated = sorted((len(phrase), n, phrase) for phrase, n in counts.items() if n > 1)
    return {
        part: phrase
        for length, n, phrase in repeated
        for part in phrases(phrase, length - 1)
        if 2 * n >= counts[part]
    }


def default_names(
    words: Sequence[Sequence[Word]], latents: Sequence[int], active: Sequence[bool]
) -> list[str]:
    """A short name per concept from its strongest words, more words where another has the name already."""
    names: list[str] = []
    for own, latent, is_active in zip(words, latents, active, strict=True):
        of_words = [_joined(own, n) for n in range(_N_NAME_WORDS, _N_NAME_WORDS + N_WORDS)] if own else []
        without = f"concept {latent}" if is_active else f"never active ({latent})"
        names.append(next(name for name in (*of_words, without) if name not in names))
    return names


def _joined(words: Sequence[Word], n_words: int) -> str:
    """Words and phrases up to so many words in all, none of which says a word again."""
    chosen: list[str] = []
    said: set[str] = set()
    for word in words:
        new = word.text.split()
        if said.isdisjoint(new) and len(said) + len(new) <= max(n_words, len(words[0].text.split())):
            chosen.append(word.text)
            said.update(new)
    return ", ".join(chosen)


def save_descriptions(descriptions: Sequence[Description], folder: Path, *, inputs: str = "") -> Manifest:
    """Write descriptions as an artefact.

    Raises:
        StorageError: the folder cannot be written.
    """
    text = _LIST.dump_json(tuple(descriptions), indent=1, exclude={"__all__": {"origin"}}).decode("utf-8")
    write_text(folder / DESCRIPTIONS, text + "\n")
    return finish(folder, inputs=inputs, record={"n_described": len(descriptions)})


def load_descriptions(folder: Path) -> tuple[Description, ...] | None:
    """Read descriptions back, as ``save_descriptions`` wrote them; None where there are none.

    Raises:
        StorageError: the file is damaged.
    """
    if manifest_of(folder) is None:
        return None
    try:
        return _LIST.validate_json((folder / DESCRIPTIONS).read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(f"{folder} holds no descriptions; delete it to have them made again.") from error
