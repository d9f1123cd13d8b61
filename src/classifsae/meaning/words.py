"""Words of texts: split, cleaned and counted, in a language or in none."""

import html
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec

from pydantic import BaseModel, ConfigDict, field_validator

from classifsae.errors import ConfigError

Term = tuple[str, ...]
"""A word or phrase, as lemmas."""

LANGUAGES = frozenset(
    (
        *("ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi"),
        *("hu", "id", "it", "ms", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sv", "tr", "uk"),
    )
)
"""Languages with both a list of stop words and a lemmatiser."""

MIN_LETTERS = 3

N_READ = 100
"""Sentences whose words are counted for one concept: those where it is most active."""

_ENTITY = re.compile(r"&?(#\d+|quot|amp|lt|gt|nbsp|apos);")
_MARKUP = re.compile(r"<[^<>]*>|https?://\S+|www\.\S+|@\w+")
_CONTRACTION = re.compile(r"\w+['\N{RIGHT SINGLE QUOTATION MARK}](?:t|re|ve|ll|m|d)\b")


class WordOptions(BaseModel):
    """How texts are split into words.

    Attributes:
        language: of the stop words that are left out and of the lemmatiser, such as "en" or "de"; "none":
            words stay as they are written, and none is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str = "en"

    @field_validator("language", mode="before")
    @classmethod
    def _known(cls, given: str | None) -> str:
        name = "none" if given is None else given
        if name != "none" and name not in LANGUAGES:
            raise ValueError(
                f"language must be none or one of {', '.join(sorted(LANGUAGES))}, got {name!r}; none takes "
                f"words as they are written"
            )
        return name

    def require_installed(self) -> None:
        """See that the language's lemmatiser and stop words are there.

        Raises:
            ConfigError: the extra is missing.
        """
        if self.language != "none" and not all(map(find_spec, ("simplemma", "stop_words"))):
            raise ConfigError(
                f"words in the language {self.language!r} need a lemmatiser and stop words; "
                f'pip install "classifsae[text]", or take words as they are written (words.language=none).'
            )


@dataclass(frozen=True)
class Tokens:
    """The words of one text that count, in order.

    Attributes:
        lemmas: what they are counted as.
        written: how they were written, lower-cased.
    """

    lemmas: Term
    written: Term


@lru_cache(maxsize=2)
def tokenise(texts: tuple[str, ...], options: WordOptions) -> tuple[Tokens, ...]:
    """The words of every text: lower-cased, of letters alone, at least 3 of them, no stop words, lemmatised.

    The last two corpora are kept, as every method of a run asks for the same one. Markup, addresses and
    handles are not words. A script without spaces gives one word per run of letters.

    Raises:
        ConfigError: the extra of the language is missing.
    """
    options.require_installed()
    word = re.compile(rf"(?<!\w)(?:[^\W\d_][{_marks(texts)}]*){{{MIN_LETTERS},}}(?!\w)")
    stop = _stop_words(options.language)
    split = [[w for w in word.findall(_cleaned(text, options.language)) if w not in stop] for text in texts]
    lemma_of = _lemmas({w for words in split for w in words}, options.language)
    return tuple(_tokens(words, lemma_of, stop) for words in split)


def _tokens(words: list[str], lemma_of: dict[str, str], stop: frozenset[str]) -> Tokens:
    kept = [(lemma_of[w], w) for w in words if lemma_of[w] not in stop]
    return Tokens(tuple(lemma for lemma, _ in kept), tuple(w for _, w in kept))


def _cleaned(text: str, language: str) -> str:
    """Lower-cased text without markup; entities that lost their ``&`` on the way are mended first."""
    plain = _MARKUP.sub(" ", html.unescape(_ENTITY.sub(r"&\1;", text)))
    plain = unicodedata.normalize("NFC", plain).lower()
    return _CONTRACTION.sub(" ", plain) if language == "en" else plain


def _marks(texts: Sequence[str]) -> str:
    """Combining marks that occur in the texts, as part of a regular expression's class; never empty."""
    found = {c for c in set().union(*texts) if unicodedata.category(c).startswith("M")}
    return "".join(sorted(found | {"\N{COMBINING ACUTE ACCENT}"}))


@cache
def _stop_words(language: str) -> frozenset[str]:
    if language == "none":
        return frozenset()
    if language == "en":
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        return frozenset(ENGLISH_STOP_WORDS)
    from stop_words import get_stop_words

    return frozenset(unicodedata.normalize("NFC", word).lower() for word in get_stop_words(language))


def _lemmas(words: set[str], language: str) -> dict[str, str]:
    if language == "none":
        return {word: word for word in words}
    from simplemma import lemmatize

    return {word: lemmatize(word, lang=language).lower() for word in words}


def weigh(documents: Sequence[Counter[Term]]) -> list[dict[Term, float]]:
    """TF-IDF of the terms of each document, the heaviest first, ties in alphabetical order.

        (1 + ln tf) (ln((1 + D) / (1 + df)) + 1)

    Beside these documents there is one more that holds every term of theirs, the corpus: it adds one to
    D and to each df, and need not be built.

    Source: Salton and Buckley 1988 (sublinear tf); the smoothing is that of scikit-learn.
    """
    n_documents = len(documents) + 1
    frequency = Counter(term for document in documents for term in document)
    found = []
    for document in documents:
        weights = {
            term: (1 + math.log(n)) * (math.log((1 + n_documents) / (2 + frequency[term])) + 1)
            for term, n in document.items()
        }
        found.append(dict(sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))))
    return found


def count_terms(sentences: Sequence[Term], *, max_length: int) -> Counter[Term]:
    """How often every phrase of up to so many words occurs; none crosses the border of a sentence."""
    return Counter(term for sentence in sentences for term in _phrases(sentence, max_length))


def _phrases(words: Term, max_length: int) -> Iterator[Term]:
    for length in range(1, max_length + 1):
        for start in range(len(words) - length + 1):
            yield words[start : start + length]


def as_written(terms: Sequence[Term], sentences: Sequence[Tokens]) -> list[str]:
    """How each phrase is written most often here, such as "united states" for the lemmas unite, state."""
    spellings: dict[Term, Counter[Term]] = {term: Counter() for term in terms}
    longest = max(map(len, terms), default=0)
    for tokens in sentences:
        pairs = zip(_phrases(tokens.lemmas, longest), _phrases(tokens.written, longest), strict=True)
        for term, written in pairs:
            if term in spellings:
                spellings[term][written] += 1
    return [" ".join(spellings[term].most_common(1)[0][0]) for term in terms]
