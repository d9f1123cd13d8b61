"""Texts longer than the model reads, split into overlapping windows, each read as a text of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifsae.classifier.reading.padding import Row
from classifsae.classifier.reading.reader import Reader
from classifsae.errors import ConfigError

Span = tuple[int, int]


@dataclass(frozen=True)
class TextRows:
    """Texts as the rows that the model reads: one for each, but several for a long one in windows; in order.

    Attributes:
        rows: their tokens, template and special tokens included.
        owners: number of the text that each row is of.
        spans: first character of each row in its text, and the one after its last; None where long texts
            are cut.
        n_long: texts that are longer than the model reads.
    """

    rows: list[Row]
    owners: list[int]
    spans: list[Span] | None
    n_long: int


def cut(reader: Reader, texts: Sequence[str]) -> TextRows:
    """Read texts, each in one row, the long ones cut."""
    encoded = reader.encode(texts)
    return TextRows(encoded.rows, list(range(len(texts))), None, encoded.n_cut)


def windowed(reader: Reader, texts: Sequence[str], *, overlap: int) -> TextRows:
    """Read texts, the long ones in windows, each with the template and special tokens around it.

    A row's tokens are those of its characters as a text of its own, so a window is exactly what the
    classifier would read if it were given that part of the text alone.

    Args:
        overlap: tokens that neighbouring windows share at least.
    Raises:
        ConfigError: the overlap leaves a window no step to make.
    """
    planned = _spans(reader, texts, overlap=overlap)
    owners = [owner for owner, own in enumerate(planned) for _ in own]
    spans = [span for own in planned for span in own]
    parts = [texts[owner][start:end] for owner, (start, end) in zip(owners, spans, strict=True)]
    n_long = sum(len(own) > 1 for own in planned)
    return TextRows(reader.encode(parts).rows, owners, spans, n_long)


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
    before = len(reader.around[0])
    prompts = [reader.filled(text) for text in texts]
    rows = reader.tokenizer(prompts, truncation=False, return_offsets_mapping=True, verbose=False)
    found = []
    for text, offsets in zip(texts, rows["offset_mapping"], strict=True):
        if len(offsets) <= reader.room:
            found.append([(0, len(text))])
            continue
        own = _own_tokens(offsets, start=before, end=before + len(text))
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
            f"overlap is {overlap}, but a window holds {max(room, 0)} tokens of text beside the template "
            f"(max_length is {reader.max_length}); lower overlap, or raise max_length."
        )
    starts = places(len(tokens), room, overlap)
    spans = [(tokens[start][0], tokens[start + room - 1][1]) for start in starts]
    excess = max(reader.lengths([text[start:end] for start, end in spans])) - reader.room
    if excess <= 0:
        return spans
    return _fitting(reader, text, tokens, room=room - excess, overlap=overlap)
