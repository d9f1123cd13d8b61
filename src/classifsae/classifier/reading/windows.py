"""Texts longer than the model reads, split into overlapping windows, each read as a text of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifsae.classifier.reading.reader import Reader
from classifsae.errors import ConfigError

Span = tuple[int, int]


@dataclass(frozen=True)
class Windowed:
    """Texts as rows: one for a text that fits, several for a long one, in order.

    Attributes:
        ids: token ids of each row, template and special tokens included.
        owners: number of the text that each row is of.
        spans: first character of each row in its text, and the one after its last.
    """

    ids: list[list[int]]
    owners: list[int]
    spans: list[Span]


def windowed(reader: Reader, texts: Sequence[str], *, overlap: int) -> Windowed:
    """Read texts, the long ones in windows, each with the template and special tokens around it.

    A row's token ids are those of its characters as a text of its own, so a window is exactly what the
    classifier would read if it were given that part of the text alone.

    Args:
        overlap: tokens that neighbouring windows share at least.
    Raises:
        ConfigError: the overlap leaves a window no step to make.
    """
    planned = _spans(reader, texts, overlap=overlap)
    owners = [owner for owner, spans in enumerate(planned) for _ in spans]
    spans = [span for spans in planned for span in spans]
    parts = [texts[owner][start:end] for owner, (start, end) in zip(owners, spans, strict=True)]
    return Windowed(reader.encode(parts).ids, owners, spans)


def places(n_tokens: int, room: int, overlap: int) -> list[int]:
    """First tokens of the fewest windows of ``room`` tokens that share at least ``overlap``, evenly spread.

    All are full, the last one too, so that none decides on a few words alone.
    """
    if n_tokens <= room:
        return [0]
    n_steps = -(-(n_tokens - room) // (room - overlap))
    return [step * (n_tokens - room) // n_steps for step in range(n_steps + 1)]


def _spans(reader: Reader, texts: Sequence[str], *, overlap: int) -> list[list[Span]]:
    """The windows of each text in characters; the whole of a text that fits."""
    before, after = reader.around
    rows = reader.tokenizer(
        [before + text + after for text in texts],
        truncation=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    found = []
    for text, offsets in zip(texts, rows["offset_mapping"], strict=True):
        if len(offsets) <= reader.room:
            found.append([(0, len(text))])
            continue
        own = _own_tokens(offsets, start=len(before), end=len(before) + len(text))
        room = reader.room - (len(offsets) - len(own))
        found.append(_fitting(reader, text, own, room=room, overlap=overlap))
    return found


def _own_tokens(offsets: Sequence[Span], *, start: int, end: int) -> list[Span]:
    """Character spans, within the text, of the tokens that hold some of it."""
    inside = ((max(first, start), min(last, end)) for first, last in offsets)
    return [(first - start, last - start) for first, last in inside if first < last]


def _fitting(reader: Reader, text: str, tokens: list[Span], *, room: int, overlap: int) -> list[Span]:
    """Windows that fit when they are read alone, which may take a token more at an edge inside a word."""
    if room <= overlap:
        raise ConfigError(
            f"overlap is {overlap}, but a window holds {max(room, 0)} tokens of text beside what is put "
            f"around it (max_length is {reader.max_length}); lower overlap further, or raise max_length."
        )
    starts = places(len(tokens), room, overlap)
    spans = [(tokens[start][0], tokens[start + room - 1][1]) for start in starts]
    excess = max(reader.lengths([text[start:end] for start, end in spans])) - reader.room
    if excess <= 0:
        return spans
    return _fitting(reader, text, tokens, room=room - excess, overlap=overlap)
