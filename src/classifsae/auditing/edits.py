"""Taking a pattern out of a text, and putting it into one as it mostly stands in others."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Protocol
from zlib import crc32

from classifsae.meaning.words import UNSPACED

_ENDS = ".!?\N{HORIZONTAL ELLIPSIS}"
_SENTENCE_END = re.compile(rf"[{_ENDS}]+$")
_LEAD = re.compile(r"\s*[,;:(\-\N{EN DASH}\N{EM DASH}]\s*$|\s+$|$")
_TRAIL = re.compile(r"\s*[,;:)./\-\N{EN DASH}\N{EM DASH}]*")
_LOOSE = " ,;:(-\N{EN DASH}\N{EM DASH}"
_PAIRS = ("()", "[]", '""', "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}")
SIGNS: dict[str, str] = {
    "a number": r"(?<![\w.,])\d[\d.,:/-]*",
    "a number at the start": r"\A\W*\d[\d.,:/-]*",
    "an exclamation mark": r"!+",
    "a question mark": r"\?+",
    "an ellipsis": r"\.{3,}|\u2026",
    "quotation marks": r"[\"\u201c\u201d\u00ab\u00bb]",
    "brackets": r"[()\[\]]",
    "a web address": r"https?://\S+|www\.\S+",
    "a mention": r"(?<!\w)@\w+",
    "a hashtag": r"(?<!\w)#\w+",
}
"""What is looked for beside phrases, as regular expressions."""

_STOP_AT_END = rf"(?:[{_ENDS}]+(?=\s*\Z))?"
"""A full stop that ends the text, for words that bring their own."""

_N_READ = 100
"""Occurrences by which it is decided where a pattern mostly stands."""


class Edit(Protocol):
    """Something a text has or has not, and the text without it and with it."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def kind(self) -> str:
        """Such as "phrase", "capitals" or "digits"."""

    def without(self, text: str) -> str | None:
        """The text without it; None where it has none, or where nothing would be left."""

    def into(self, text: str) -> str | None:
        """The text with it; None where it has it, or where it cannot be put in."""


@dataclass(frozen=True)
class Insertion:
    """Where a pattern stands in most of its texts, and how it is written there.

    Attributes:
        written: the pattern with the punctuation that ties it to its sentence.
        at_start: whether it opens the text; else it ends it.
        own_sentence: whether it is a sentence of its own.
    """

    written: str
    at_start: bool
    own_sentence: bool

    def into(self, text: str) -> str:
        """The text with the pattern at its start or end."""
        text = text.strip()
        if self.at_start:
            return f"{self.written}{text}"
        if self.own_sentence:
            return f"{text} {self.written}"
        end = _SENTENCE_END.search(text)
        body, closing = (text[: end.start()], end[0]) if end else (text, "")
        return f"{body}{self.written}{closing}"


@dataclass(frozen=True)
class Words:
    """Words, or whatever else a regular expression finds.

    Attributes:
        name: what to call them.
        kind: such as "phrase".
        pattern: what finds them.
        insertion: how they are put into a text; None where no text shows it.
        ways: how they are written in different texts, one of which is put into each text; none: as most are.
    """

    name: str
    kind: str
    pattern: re.Pattern[str]
    insertion: Insertion | None = None
    ways: tuple[Insertion, ...] = ()

    @property
    def regex(self) -> str | None:
        """Their regular expression, where their name does not say it."""
        is_told = self.kind != "pattern" and not self.pattern.pattern.endswith(_STOP_AT_END)
        return None if is_told else self.pattern.pattern

    def without(self, text: str) -> str | None:
        """The text without all of its occurrences."""
        spans = [match.span() for match in self.pattern.finditer(text)]
        left = without_spans(text, spans)
        return left if spans and re.search(r"\w", left) else None

    def into(self, text: str) -> str | None:
        """The text with one occurrence."""
        if self.insertion is None or self.pattern.search(text):
            return None
        chosen = self.ways[crc32(text.encode()) % len(self.ways)] if self.ways else self.insertion
        return chosen.into(text)


@dataclass(frozen=True)
class Capitals:
    """A text in capital letters throughout."""

    name: str = "capitals throughout"
    kind: str = "letter case"

    def without(self, text: str) -> str | None:
        """The text in small letters, but for its first."""
        return text.capitalize() if text.isupper() and len(text) > 1 else None

    def into(self, text: str) -> str | None:
        """The text in capital letters."""
        return None if text.isupper() or text.upper() == text else text.upper()


@dataclass(frozen=True)
class Longer:
    """A text of more than so many words."""

    n_words: int
    kind: str = "length"

    @property
    def name(self) -> str:
        """Such as "longer than 40 words"."""
        return f"longer than {self.n_words} words"

    def without(self, text: str) -> str | None:
        """The text cut after so many words."""
        words = list(re.finditer(r"\S+", text))
        return text[: words[self.n_words - 1].end()] if len(words) > self.n_words else None

    def into(self, text: str) -> str | None:
        """None: what to add to a short text is nowhere to be had."""
        return None


@dataclass(frozen=True)
class Swap:
    """One word of a pair in place of the other, such as he and she.

    Attributes:
        first, second: the pair.
    """

    first: str
    second: str
    kind: str = "pair"

    @property
    def name(self) -> str:
        """Such as "he / she"."""
        return f"{self.first} / {self.second}"

    def without(self, text: str) -> str | None:
        """The text with each of the two words replaced by the other, in the case of what it replaces."""
        other = {self.first.casefold(): self.second, self.second.casefold(): self.first}
        swapped = re.sub(
            rf"{words_pattern(self.first).pattern}|{words_pattern(self.second).pattern}",
            lambda found: _in_case_of(found[0], other.get(found[0].casefold(), found[0])),
            text,
            flags=re.IGNORECASE,
        )
        return None if swapped == text else swapped

    def into(self, text: str) -> str | None:
        """None: a pair is swapped, not put in."""
        return None


def edit_of(name: str, kind: str, regex: str | None = None) -> Edit:
    """The edit of a name and kind, to take the pattern out.

    Args:
        name, kind: as the edit has them.
        regex: the regular expression of a "pattern", and of words that bring a full stop.
    """
    if kind == "letter case":
        return Capitals()
    if kind == "length":
        return Longer(int(re.findall(r"\d+", name)[0]))
    if kind == "pair":
        return Swap(*name.split(" / "))
    if kind in ("sign", "pattern"):
        return Words(name, kind, re.compile(regex or SIGNS[name]))
    return Words(name, kind, re.compile(regex, re.IGNORECASE) if regex else words_pattern(name))


def words_pattern(words: str) -> re.Pattern[str]:
    """What finds these words whatever their case and the space and punctuation between them."""
    parts = re.findall(r"\w+", words) or [words.strip()]
    if re.search(f"[{UNSPACED}]", words):
        return re.compile(r"\W*".join(map(re.escape, parts)), re.IGNORECASE)
    inside = r"\W+".join(map(re.escape, parts))
    return re.compile(rf"(?<!\w){inside}(?!\w)", re.IGNORECASE)


def phrase(words: str, texts: Sequence[str], *, kind: str = "phrase") -> Words:
    """Words as they mostly stand in these texts."""
    return as_standing(Words(words, kind, words_pattern(words)), texts)


def as_standing(words: Words, texts: Sequence[str]) -> Words:
    """A pattern with how it mostly stands in those of these texts that have it; named as it is written."""
    found: Counter[Insertion] = Counter()
    names: Counter[str] = Counter()
    for text in texts:
        match = words.pattern.search(text)
        if match:
            found[_standing(text, match)] += 1
            names[" ".join(match[0].split())] += 1
            if found.total() >= _N_READ:
                break
    if not found:
        return words
    most = found.most_common(1)[0][0]
    if words.kind in ("phrase", "term"):
        pattern = words.pattern
        if not most.at_start and not most.own_sentence and (stop := _own_stop(words, texts)):
            most = Insertion(most.written.lstrip(_LOOSE) + stop, at_start=False, own_sentence=True)
            pattern = re.compile(pattern.pattern + _STOP_AT_END, pattern.flags)
        return Words(names.most_common(1)[0][0], words.kind, pattern, most)
    ways = (way for way in found.elements() if _place(way) == _place(most))
    return Words(words.name, words.kind, words.pattern, most, tuple(ways))


def _own_stop(words: Words, texts: Sequence[str]) -> str:
    """The stop that words bring along: most of their texts end in both, few others in a stop; "" for none."""
    stops: Counter[str] = Counter()
    n_others = n_stopped = 0
    for text in texts:
        end = _SENTENCE_END.search(text.rstrip())
        match = words.pattern.search(text)
        if match is None:
            n_others, n_stopped = n_others + 1, n_stopped + (end is not None)
        else:
            ends_it = end is not None and not re.search(r"\w", text[match.end() :])
            stops[end[0] if end and ends_it else ""] += 1
    if not stops or not n_others or 2 * n_stopped > n_others:
        return ""
    stop, n = stops.most_common(1)[0]
    return stop if 2 * n > stops.total() else ""


def cut_of(words: Words, texts: Sequence[str]) -> Callable[[str], str] | None:
    """What takes from a text as many words at its start, or end, as a pattern has there in others.

    Returns:
        None where the pattern neither opens nor ends most of its texts.
    """
    found = [(text, match) for text in texts if (match := words.pattern.search(text))]
    n_words = [len(re.findall(r"\w+", match[0])) for _, match in found]
    if not found or not (n := int(median(n_words))):
        return None
    opens = sum(not re.search(r"\w", text[: match.start()]) for text, match in found)
    ends = sum(not re.search(r"\w", text[match.end() :]) for text, match in found)
    if 2 * max(opens, ends) < len(found):
        return None
    return partial(_first_cut if opens > ends else _last_cut, n)


def _first_cut(n: int, text: str) -> str:
    found = list(re.finditer(r"\w+", text))
    return text[found[n].start() :] if len(found) > n else text


def _last_cut(n: int, text: str) -> str:
    found = list(re.finditer(r"\w+", text))
    return text[: found[-n - 1].end()] if len(found) > n else text


def _place(way: Insertion) -> tuple[bool, bool]:
    return way.at_start, way.own_sentence


def _standing(text: str, match: re.Match[str]) -> Insertion:
    before, after = text[: match.start()], text[match.end() :]
    lead, trail = _LEAD.search(before), _TRAIL.match(after)
    assert lead is not None
    assert trail is not None
    if not before.strip():
        return Insertion(match[0] + (trail[0].rstrip() + " " if trail[0].strip() else " "), True, False)
    if before.rstrip()[-1] in _ENDS and (not after.strip() or after.lstrip()[0] in _ENDS):
        return Insertion(match[0] + after.strip()[:1], False, True)
    return Insertion((lead[0] or " ") + match[0], False, False)


def without_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text without these spans, and without the punctuation and space that tied them to it."""
    for start, end in reversed(spans):
        text = _joined(text[:start].rstrip(), text[end:].lstrip())
    return text.strip()


def _joined(before: str, after: str) -> str:
    if before[-1:] + after[:1] in _PAIRS:
        return _joined(before[:-1].rstrip(), after[1:].lstrip())
    if not before or before[-1] in _ENDS:
        after = after.lstrip(_ENDS + _LOOSE + ")")
        return f"{before} {after[:1].upper()}{after[1:]}".strip()
    if not after or after[0] in _ENDS + ",;:)":
        return before.rstrip(_LOOSE) + after
    return f"{before} {after}"


def _in_case_of(given: str, word: str) -> str:
    if given.isupper() and len(given) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if given[:1].isupper() else word.lower()
