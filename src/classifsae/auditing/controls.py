"""What a pattern is measured against: as many random words taken out of, or put into, the same texts."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from classifsae.auditing.edits import Edit, Words, without_spans


def random_out(edit: Edit, rng: np.random.Generator, text: str) -> str | None:
    """The text without as many random words as go with the pattern; None where none go, or all would."""
    left = edit.without(text)
    n = 0 if left is None else len(text.split()) - len(left.split())
    span = _random_span(text, n, rng) if n > 0 else None
    return None if span is None else without_spans(text, [span])


def random_in(edit: Words, sources: Sequence[str], rng: np.random.Generator, text: str) -> str | None:
    """The text with as many random words of a text that has the pattern, put where the pattern would be."""
    if edit.insertion is None or not sources:
        return None
    source = edit.without(sources[int(rng.integers(len(sources)))]) or ""
    span = _random_span(source, max(1, len(edit.insertion.written.split())), rng)
    if span is None:
        return None
    words = " ".join(source[slice(*span)].split())
    tied = f"{words} " if edit.insertion.at_start else words if edit.insertion.own_sentence else f" {words}"
    return replace(edit.insertion, written=tied).into(text)


def _random_span(text: str, n: int, rng: np.random.Generator) -> tuple[int, int] | None:
    words = [match.span() for match in re.finditer(r"\w+", text)]
    if len(words) <= n:
        return None
    start = int(rng.integers(len(words) - n + 1))
    return words[start][0], words[start + n - 1][1]
