"""Names that fit where there is little room."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size


def shortened(text: str, room: int) -> str:
    """A text in one line of at most so many letters, wide ones count two; an ellipsis for what is cut."""
    line = " ".join(text.split())
    return line if cell_len(line) <= room else f"{set_cell_size(line, room - 1).rstrip()}…"


def short_names(names: Sequence[str], room: int) -> tuple[str, ...]:
    """Each name in the room of so many letters; those that would become alike end in their number, from 1."""
    short = [shortened(name, room) for name in names]
    return tuple(
        line if short.count(line) == 1 else _numbered(name, i, room)
        for i, (name, line) in enumerate(zip(names, short, strict=True), start=1)
    )


def _numbered(name: str, number: int, room: int) -> str:
    ending = f" ({number})"
    return shortened(name, room - len(ending)) + ending
