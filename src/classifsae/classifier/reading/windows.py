"""Texts longer than the model reads, split into overlapping windows, each read as a text of its own."""

from collections.abc import Sequence

from classifsae.classifier.reading.reader import Encoded, Reader, Span
from classifsae.errors import ConfigError


def windowed(reader: Reader, texts: Sequence[str], *, overlap: int | None) -> Encoded:
    """Read texts, the long ones in windows, each with the template and special tokens around it.

    A row's tokens are those of its characters as a text of its own, so a window is exactly what the
    classifier would read if it were given that part of the text alone.

    Args:
        overlap: tokens that neighbouring windows share at least; None: no windows, long texts are cut.
    Raises:
        ConfigError: the overlap leaves a window no step to make.
    """
    if overlap is None:
        return reader.encode(texts)
    tokens = zip(texts, reader.offsets(texts), strict=True)
    planned = [_windows(reader, text, offsets, overlap=overlap) for text, offsets in tokens]
    owners = [owner for owner, own in enumerate(planned) for _ in own]
    spans = [span for own in planned for span in own]
    parts = [texts[owner][start:end] for owner, (start, end) in zip(owners, spans, strict=True)]
    n_long = sum(len(own) > 1 for own in planned)
    return Encoded(reader.encode(parts).rows, owners, n_long, spans)


def places(n_tokens: int, room: int, overlap: int) -> list[int]:
    """First tokens of the fewest windows of ``room`` tokens that share at least ``overlap``, evenly spread.

    All are full, the last one too, so that none decides on a few words alone.
    """
    if n_tokens <= room:
        return [0]
    n_steps = -(-(n_tokens - room) // (room - overlap))
    return [step * (n_tokens - room) // n_steps for step in range(n_steps + 1)]


def _windows(reader: Reader, text: str, offsets: Sequence[Span], *, overlap: int) -> list[Span]:
    """The windows of a text in characters; the whole of a text that fits."""
    if len(offsets) <= reader.room:
        return [(0, len(text))]
    own = reader.inside(offsets, text)
    return _fitting(reader, text, own, room=reader.room - (len(offsets) - len(own)), overlap=overlap)


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
