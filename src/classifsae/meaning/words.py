"""Words of texts: split, cleaned and counted, in a language or in none."""

import html
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import pairwise

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

MIN_LETTERS, MAX_LETTERS = 3, 100
"""Letters of a word; what is longer is data, such as base64."""

MIN_SYLLABLES = 2
"""Letters of a word in the scripts without spaces and in Korean, where a letter is a syllable or more."""

N_READ = 100
"""Sentences whose words are counted for one concept: those where it is most active."""

UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai, Lao, Burmese, Khmer
    r"\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Kana
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
"""Characters of the scripts without spaces between words, as in a set of a regular expression."""

_HANGUL = r"\u1100-\u11ff\uac00-\ud7af"
_VARIATION_SELECTORS = frozenset(map(chr, range(0xFE00, 0xFE10)))
"""Combining marks behind an emoji, which belong to no word."""

# Each pattern reads a text once, however long it is: it begins where nothing before it belongs to the same
# word, and gives nothing back (possessive ++). Without both, a run of n letters takes n * n steps.
_UNSPACED_RUN = re.compile(f"[{UNSPACED}]+")
_NO_CHARACTER = re.compile(r"&#\d{8,};?")
_ENTITY = re.compile(r"&?(#\d{1,7}|quot|amp|lt|gt|nbsp|apos);")
_MARKUP = re.compile(r"<[^<>]*>|https?://\S+|www\.\S+|@\w+")
_LEFT_OUT = " | "
"""What stands where markup or a contraction was: no word, and nothing that a phrase goes across."""

_JOINT = re.compile(r"\s+|['\N{RIGHT SINGLE QUOTATION MARK}-]")
"""What may stand between two words of a phrase."""

_BETWEEN_UNSPACED = re.compile(f"(?<=[{UNSPACED}]) (?=[{UNSPACED}])")
_CONTRACTION = re.compile(r"(?<!\w)\w++['\N{RIGHT SINGLE QUOTATION MARK}](?:t|re|ve|ll|m|d)\b")


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

    def require_installed(self, texts: Iterable[str] = ()) -> None:
        """See that all that splits these texts into words is installed.

        Raises:
            ConfigError: the extra ``text`` is missing.
        """
        if self.language != "none" and not (find_spec("simplemma") and find_spec("stop_words")):
            raise ConfigError(
                f"words in the language {self.language!r} need a lemmatiser and stop words; "
                f'pip install "classifsae[text]", or take words as they are written (words.language=none).'
            )
        if not find_spec("icu4py") and _any_unspaced(texts):
            raise ConfigError(
                "some texts are in a script without spaces between words, such as Chinese, Japanese or Thai, "
                'and icu4py, which finds the words there, is missing; pip install "classifsae[text]".'
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


def phrases_as_written(
    texts: Sequence[str], options: WordOptions, *, max_words: int
) -> list[dict[str, bool]]:
    """The phrases of each text of up to so many words, lower-cased, as they are written there.

    A phrase begins and ends with a word that counts, as ``tokenise`` says; between them any word may stand,
    stop words too, but no punctuation other than an apostrophe or hyphen. None is part of a hyphenated word.

    Returns:
        Phrases, and whether each is whole somewhere in the text: no word that counts stands beside it, as
        beside a noun phrase between "the" and "of".
    Raises:
        ConfigError: the extra ``text`` is missing.
    """
    options.require_installed(texts)
    cleaned = _spaced([_cleaned(text, options.language) for text in texts])
    word, stop = _word_pattern(cleaned), _stop_words(options.language)
    split = [list(word.finditer(text)) for text in cleaned]
    written = {match[1] for words in split for match in words if match[1]}
    counts = {w for w, lemma in _lemmas(written, options.language).items() if not {w, lemma} & stop}
    found: list[dict[str, bool]] = [{} for _ in texts]
    for own, text, words in zip(found, cleaned, split, strict=True):
        for phrase, whole in _phrases_of(text, words, counts, max_words):
            own[phrase] = own.get(phrase, False) or whole
    return found


def _phrases_of(
    text: str, words: list[re.Match[str]], counts: set[str], most: int
) -> Iterator[tuple[str, bool]]:
    ends = [word[1] in counts for word in words]
    gaps = [text[a.end() : b.start()] for a, b in pairwise(words)]
    joined = [_JOINT.fullmatch(gap) is not None for gap in gaps]
    beside_before = [False, *(one and end for one, end in zip(joined, ends, strict=False))]
    beside_after = [*(one and end for one, end in zip(joined, ends[1:], strict=True)), False]
    starts = [i for i, end in enumerate(ends) if end and not (i and gaps[i - 1] == "-")]
    for i in starts:
        for j in range(i, min(i + most, len(words))):
            if j > i and not joined[j - 1]:
                break
            if ends[j] and gaps[j : j + 1] != ["-"]:
                phrase = " ".join(text[words[i].start() : words[j].end()].split())
                yield _BETWEEN_UNSPACED.sub("", phrase), not (beside_before[i] or beside_after[j])


def all_words(texts: Sequence[str]) -> list[list[str]]:
    """Every run of letters and digits of each text, lower-cased, in order; stop words too.

    Raises:
        ConfigError: the extra ``text``, which splits scripts without spaces, is missing.
    """
    WordOptions(language="none").require_installed(texts)
    return [re.findall(r"\w+", text.lower()) for text in _spaced(list(texts))]


@lru_cache(maxsize=2)
def tokenise(texts: tuple[str, ...], options: WordOptions) -> tuple[Tokens, ...]:
    """The words of every text: lower-cased, of letters alone, 3 to 100 of them, no stop words, lemmatised.

    Two letters are enough where a letter is a syllable or more. Markup, addresses and handles are not words.
    The last two corpora are kept, as every method of a run asks for the same one.

    Raises:
        ConfigError: the extra ``text`` is missing.
    """
    options.require_installed(texts)
    cleaned = _spaced([_cleaned(text, options.language) for text in texts])
    word, stop = _word_pattern(cleaned), _stop_words(options.language)
    split = [[w for w in word.findall(text) if w and w not in stop] for text in cleaned]
    lemma_of = _lemmas({w for words in split for w in words}, options.language)
    return tuple(_tokens(words, lemma_of, stop) for words in split)


def _tokens(words: list[str], lemma_of: dict[str, str], stop: frozenset[str]) -> Tokens:
    kept = [(lemma_of[w], w) for w in words if lemma_of[w] not in stop]
    return Tokens(tuple(lemma for lemma, _ in kept), tuple(w for _, w in kept))


def _cleaned(text: str, language: str) -> str:
    """Lower-cased text without markup, and without contractions in English."""
    plain = without_markup(text).lower()
    return _CONTRACTION.sub(_LEFT_OUT, plain) if language == "en" else plain


def without_markup(text: str) -> str:
    """Text without markup, addresses and handles; entities that lost their ``&`` are mended first."""
    entities = _ENTITY.sub(r"&\1;", _NO_CHARACTER.sub(" ", text))
    return unicodedata.normalize("NFC", _MARKUP.sub(_LEFT_OUT, html.unescape(entities)))


def _any_unspaced(texts: Iterable[str]) -> bool:
    """Whether a word of these texts is in a script without spaces."""
    return any(not text.isascii() and _UNSPACED_RUN.search(text) for text in texts)


def _spaced(texts: list[str]) -> list[str]:
    """The texts with spaces between the words of scripts that write none, as the dictionaries of ICU say."""
    if not _any_unspaced(texts):
        return texts
    from icu4py.breakers import WordBreaker

    return [_UNSPACED_RUN.sub(lambda run: f" {' '.join(WordBreaker(run[0], 'en'))} ", t) for t in texts]


def _word_pattern(texts: Sequence[str]) -> re.Pattern[str]:
    """What finds the words of these texts: its group is a word, or empty for any other run of letters.

    A letter has its combining marks behind it; those that occur in the texts are part of the pattern.
    """
    marks = {c for c in set().union(*texts) if unicodedata.category(c) in ("Mn", "Mc")}
    mark = "".join(sorted(marks - _VARIATION_SELECTORS | {"\N{COMBINING ACUTE ACCENT}"}))
    syllables = rf"(?:(?=[^\W\d_])[{UNSPACED}{_HANGUL}][{mark}]*+){{{MIN_SYLLABLES},{MAX_LETTERS}}}+"
    letters = rf"(?:[^\W\d_][{mark}]*+){{{MIN_LETTERS},{MAX_LETTERS}}}+"
    return re.compile(rf"({syllables}|{letters})(?![\w{mark}])|\w[\w{mark}]*+")


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
    return Counter(term for sentence in sentences for term in phrases(sentence, max_length))


def phrases(words: Term, max_length: int) -> Iterator[Term]:
    """All runs of up to so many words, the short ones first."""
    for length in range(1, max_length + 1):
        for start in range(len(words) - length + 1):
            yield words[start : start + length]


def as_written(terms: Sequence[Term], sentences: Sequence[Tokens]) -> list[str]:
    """How each phrase is written most often here, such as "united states" for the lemmas unite, state."""
    spellings: dict[Term, Counter[Term]] = {term: Counter() for term in terms}
    longest = max(map(len, terms), default=0)
    for tokens in sentences:
        pairs = zip(phrases(tokens.lemmas, longest), phrases(tokens.written, longest), strict=True)
        for term, written in pairs:
            if term in spellings:
                spellings[term][written] += 1
    return [" ".join(spellings[term].most_common(1)[0][0]) for term in terms]
