"""Phrases of a concept's sentences, as they are written, against those of the other concepts of its class."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from classifsae.meaning.words import WordOptions, phrases_as_written, without_markup

MAX_WORDS, MAX_CHARACTERS = 5, 60
"""Of a phrase."""

N_CANDIDATES = 30
"""Phrases of a concept that are looked at."""


_ENDS = ".!?:;|\N{HORIZONTAL ELLIPSIS}-\N{EN DASH}\N{EM DASH}"
"""What a sentence, or a headline's second half, begins after."""

_BEFORE_A_WORD = (
    " \t\r\n\"'()[]*#\N{LEFT SINGLE QUOTATION MARK}\N{LEFT DOUBLE QUOTATION MARK}\N{INVERTED QUESTION MARK}"
)
"""What may stand between that and the first word."""


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


def phrases_of(
    rows: Sequence[Sequence[int]], classes: Sequence[int], texts: Sequence[str], options: WordOptions
) -> list[list[Phrase]]:
    """The phrases that each concept has more than the others of its class; more than all, if it is alone.

    Args:
        rows: of the sentences of each concept.
        classes: of the concepts.
        texts: which the rows count.
        options: how texts are split into words.
    """
    read = sorted({row for own in rows for row in own})
    found = phrases_as_written([texts[row] for row in read], options, max_words=MAX_WORDS)
    phrases = dict(zip(read, found, strict=True))
    candidates = []
    for own, c in zip(rows, classes, strict=True):
        of_class = {row for others, b in zip(rows, classes, strict=True) if b == c for row in others}
        others = (of_class - {*own}) or ({*read} - {*own})
        ranked = contrasted([phrases[row] for row in own], [phrases[row] for row in others])
        candidates.append(ranked[:N_CANDIDATES])
    return candidates


def contrasted(own: Sequence[Mapping[str, bool]], others: Sequence[Mapping[str, bool]]) -> list[Phrase]:
    """Phrases of a concept's sentences, those first that most surely stand there oftener than in others.

        z = ln(a d / (b c)) / sqrt(1/a + 1/b + 1/c + 1/d)

    with a sentences of its own that have the phrase and b that do not, c others that have it and d that do
    not, each plus 1/2. Left out are phrases in fewer than two sentences, those that stand in others at least
    as often, those that always stand in one longer phrase, and very long ones.

    Args:
        own: phrases of each sentence, and whether each is whole there.
        others: the same of the sentences that these are to be told from.
    Source: Woolf 1955, with the halves of Haldane 1956.
    """
    inside, outside = (Counter(p for phrases in texts for p in phrases) for texts in (own, others))
    whole = Counter(phrase for phrases in own for phrase, is_whole in phrases.items() if is_whole)
    weights = {
        phrase: _log_odds(n, len(own), outside[phrase], len(others))
        for phrase, n in inside.items()
        if n > 1 and len(phrase) <= MAX_CHARACTERS
    }
    parts = _always_within(weights, inside)
    ranked = sorted((-z, phrase) for phrase, z in weights.items() if z > 0 and phrase not in parts)
    return [Phrase(phrase, 2 * whole[phrase] >= inside[phrase]) for _, phrase in ranked]


def _log_odds(n_own: int, own: int, n_others: int, others: int) -> float:
    a, b, c, d = n_own + 0.5, own - n_own + 0.5, n_others + 0.5, others - n_others + 0.5
    return math.log(a * d / (b * c)) / math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)


def _always_within(phrases: Iterable[str], counts: Mapping[str, int]) -> set[str]:
    """Parts of a phrase that stand in no sentence without it."""
    return {
        part
        for phrase in phrases
        for part in _parts(phrase.split())
        if part != phrase and counts.get(part) == counts[phrase]
    }


def _parts(words: Sequence[str]) -> Iterator[str]:
    return (" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1))


def as_cased(phrase: str, texts: Sequence[str]) -> str:
    """A lower-cased phrase with the capitals that it is written with most often in these texts.

    Where a sentence begins, the first word has a capital that says nothing: what stands there counts only
    where the phrase stands nowhere else, and its first word is then written as that word is elsewhere, or in
    lower case.

    Args:
        phrase: words with one space between them.
        texts: in any case, such as those on which a concept is active.
    """
    plain = [without_markup(text) for text in texts]
    inside, at_start = _forms(phrase, plain)
    if inside or not at_start:
        return _commonest(inside, phrase)
    first, space, rest = _commonest(at_start, phrase).partition(" ")
    elsewhere = _forms(first.lower(), plain)[0] if first.istitle() else Counter([first])
    return f"{_commonest(elsewhere, first.lower())}{space}{rest}"


def _forms(phrase: str, texts: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """How often a phrase is written in each way: within a sentence, and where one begins."""
    words = r"\s+".join(map(re.escape, phrase.split()))
    pattern = re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
    inside, at_start = Counter[str](), Counter[str]()
    for text in texts:
        for found in pattern.finditer(text):
            counter = at_start if _begins_sentence(text, found.start()) else inside
            counter[" ".join(found[0].split())] += 1
    return inside, at_start


def _begins_sentence(text: str, place: int) -> bool:
    """Whether only quotation marks and the like stand between a place and the end of what was before."""
    while place and text[place - 1] in _BEFORE_A_WORD:
        place -= 1
    return place == 0 or text[place - 1] in _ENDS


def _commonest(forms: Counter[str], otherwise: str) -> str:
    return forms.most_common(1)[0][0] if forms else otherwise
