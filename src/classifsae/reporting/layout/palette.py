"""One palette for pictures and page, told apart by colour-blind readers, and by marker and hatch in grey.

Source: Okabe and Ito 2008, "Color Universal Design"; its black is the text's colour here.
"""

from collections.abc import Collection, Iterable
from itertools import count

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
QUIET = "#7a7f87"
"""Of what is there to compare with."""

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "---")


def colour(index: int) -> str:
    """The colour of the index-th class or method; after seven they begin again."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """The marker of the index-th class or method, as matplotlib names it."""
    return MARKERS[index % len(MARKERS)]


def hatch(index: int) -> str:
    """The hatch of the index-th class, as matplotlib names it: another one where its colour comes again."""
    return HATCHES[(index + index // len(COLOURS)) % len(HATCHES)]


def series(labels: Iterable[str], yardsticks: Collection[str]) -> list[int | None]:
    """The colour of each method's curve, counted over those that are no yardstick; None for a yardstick."""
    counted = count()
    return [None if label in yardsticks else next(counted) for label in labels]
