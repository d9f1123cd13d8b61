"""Where labels go, so that none lies on a mark or on another label. Pure arithmetic, in any one unit."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

Box = tuple[float, float, float, float]
"""Left, bottom, right, top; y points up."""

_WIDTH, _HEIGHT = 0.65, 1.2
"""Of a letter and of a line, in sizes of the font."""

_SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DIAGONAL = 0.75


@dataclass(frozen=True)
class Label:
    """A text beside a mark.

    Attributes:
        text: in one line.
        x, y: middle of the mark.
        radius: of the mark.
        size: of the font.
    """

    text: str
    x: float
    y: float
    radius: float
    size: float

    @property
    def mark(self) -> Box:
        """What the mark itself covers."""
        return (self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)

    @property
    def boxes(self) -> list[Box]:
        """What the text would cover around the mark: above, below, beside, at corners; then farther away."""
        return [self._box(dx, dy, lines) for lines in (0, 1, 2) for dx, dy in _SIDES]

    def _box(self, dx: int, dy: int, lines: int) -> Box:
        width, height = _WIDTH * self.size * cell_len(self.text), _HEIGHT * self.size
        away = self.radius * (_DIAGONAL if dx and dy else 1) + 0.15 * self.size + lines * height
        x, y = self.x + dx * (away + width / 2), self.y + dy * (away + height / 2)
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def place(labels: Sequence[Label], within: Box) -> list[tuple[float, float]]:
    """The middle of each text: on the side where it covers least of all marks and of the labels before it.

    Args:
        labels: the most important first.
        within: what no text leaves, unless it is larger.
    """
    taken = [label.mark for label in labels]
    places = []
    for label in labels:
        boxes = [_inside(box, within) for box in label.boxes]
        left, bottom, right, top = best = min(
            boxes, key=lambda box: sum(covered(box, other) for other in taken)
        )
        taken.append(best)
        places.append(((left + right) / 2, (bottom + top) / 2))
    return places


def _inside(box: Box, within: Box) -> Box:
    """The box, moved no farther than it must be to lie inside another."""
    dx = max(within[0] - box[0], 0.0) - max(box[2] - within[2], 0.0)
    dy = max(within[1] - box[1], 0.0) - max(box[3] - within[3], 0.0)
    return (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)


def covered(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
