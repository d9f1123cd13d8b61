"""Names that fit where there is little room."""

from collections.abc import Sequence


def shortened(text: str, room: int) -> str:
    """A text in one line of at most so many characters, an ellipsis for what is left out."""
    line = " ".join(text.split())
    return line if len(line) <= room else f"{line[: room - 1].rstrip()}…"


def short_names(names: Sequence[str], room: int) -> tuple[str, ...]:
    """Each name in at most so many characters; those that would become alike end in their number, from 1."""
    short = [shortened(name, room) for name in names]
    return tuple(
        line if short.count(line) == 1 else _numbered(name, i, room)
        for i, (name, line) in enumerate(zip(names, short, strict=True), start=1)
    )


def _numbered(name: str, number: int, room: int) -> str:
    ending = f" ({number})"
    return shortened(name, room - len(ending)) + ending
