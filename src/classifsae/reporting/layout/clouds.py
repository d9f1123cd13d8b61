"""Word clouds: where each word stands, for whoever draws them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from classifsae.meaning.descriptions import Word

_SMALLEST, _LARGEST = 5.5, 14.0
"""Points: smaller is not read in print."""

_GAP = 0.7
"""Between two words, in sizes of the font of the first."""

_LINE, _ASCENT = 1.25, 0.95
"""Height of a line, and how far its base line lies below its top, in sizes of its largest font."""


@dataclass(frozen=True)
class Placed:
    """A word of a cloud.

    Attributes:
        text: in one line.
        x, y: where its base line begins, in points from the lower left corner.
        size: of the font, in points.
    """

    text: str
    x: float
    y: float
    size: float


def cloud(
    words: Sequence[Word], width: float, height: float, *, length: Callable[[str], float]
) -> list[Placed]:
    """Words in centred lines, the heaviest first and the larger the heavier, as many as there is room for.

    None lies on another, and none is cut: a word that is wider than the room is left out.

    Args:
        words: the heaviest first.
        width: of the room, in points.
        height: of the room, in points.
        length: of a text at a font of one point.
    """
    lines = _lines(words, width, length)
    while lines and sum(map(_height, lines)) > height:
        lines.pop()
    top = (height + sum(map(_height, lines))) / 2
    found: list[Placed] = []
    for line in lines:
        x = (width - line[-1].x - line[-1].size * length(line[-1].text)) / 2
        y = top - _ASCENT * line[0].size
        found += [Placed(word.text, x + word.x, y, word.size) for word in line]
        top -= _height(line)
    return found


def _lines(words: Sequence[Word], width: float, length: Callable[[str], float]) -> list[list[Placed]]:
    """Words put into lines, each with its place from the left."""
    lines: list[list[Placed]] = []
    x = width
    for word in words:
        size = max(_SMALLEST, _LARGEST * word.weight / words[0].weight)
        if (wide := size * length(word.text)) > width:
            continue
        if x + wide > width:
            lines.append([])
            x = 0.0
        lines[-1].append(Placed(word.text, x, 0.0, size))
        x += wide + _GAP * size
    return lines


def _height(line: Sequence[Placed]) -> float:
    """Of a line, whose first word is its largest."""
    return _LINE * line[0].size
