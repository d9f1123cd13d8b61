"""Where things go in a drawing: axes, ticks and pies. Pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels.

    Attributes:
        low, high: values at its ends.
        start, end: pixels there; ``start`` is above ``end`` on an axis that points up.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is drawn, to a tenth of a pixel; in the middle if the axis has no length."""
        if self.high == self.low:
            return round((self.start + self.end) / 2, 1)
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list["Tick"]:
        """Round values along it."""
        return [Tick(self(value), tick_label(value)) for value in ticks(self.low, self.high)]

    @property
    def counts(self) -> list["Tick"]:
        """Round whole numbers along it."""
        return [Tick(self(v), tick_label(v)) for v in ticks(self.low, self.high) if v == round(v)]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis and what is written there."""

    at: float
    label: str


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round values inside [low, high], some ``about`` of them, a multiple of 1, 2 or 5 apart."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def tick_label(value: float) -> str:
    """A round value as text: 0.25, 1200, 3e-05."""
    return (
        f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
        if 1e-3 <= abs(value) < 1e5 or value == 0
        else f"{value:.0e}"
    )


def pie(shares: Sequence[float], x: float, y: float, radius: float) -> list[str]:
    """One SVG path per share, clockwise from the top; "" for a share of nothing."""
    paths, begin, total = [], 0.0, math.fsum(shares)
    for share in shares:
        end = begin + share / total
        paths.append(_slice(begin, end, x, y, radius))
        begin = end
    return paths


def _slice(begin: float, end: float, x: float, y: float, r: float) -> str:
    if end - begin < 1e-3:
        return ""
    if end - begin > 1 - 1e-3:
        top, bottom = f"{x:.1f} {y - r:.1f}", f"{x:.1f} {y + r:.1f}"
        return f"M{top}A{r:.1f} {r:.1f} 0 0 1 {bottom}A{r:.1f} {r:.1f} 0 0 1 {top}Z"
    angles = (2 * math.pi * begin, 2 * math.pi * end)
    (x0, y0), (x1, y1) = ((x + r * math.sin(angle), y - r * math.cos(angle)) for angle in angles)
    large = int(end - begin > 0.5)
    return f"M{x:.1f} {y:.1f}L{x0:.1f} {y0:.1f}A{r:.1f} {r:.1f} 0 {large} 1 {x1:.1f} {y1:.1f}Z"


def areas(sizes: Sequence[float], *, smallest: float, largest: float) -> list[float]:
    """Radii of circles whose areas grow with the sizes, the largest size's being ``largest``."""
    top = max(sizes, default=0.0) or 1.0
    return [math.sqrt(smallest**2 + (largest**2 - smallest**2) * size / top) for size in sizes]


def padded(low: float, high: float, *, by: float = 0.06) -> tuple[float, float]:
    """An interval with room at both ends; of length 1 where it had none."""
    margin = by * (high - low) if high > low else 0.5
    return low - margin, high + margin
