"""Texts of strangers on a terminal: what would steer it, or turn a line around, is shown as a sign."""

import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that override the direction of writing."""


def printable(text: str) -> str:
    """The text with a sign such as ``␛`` for each character that would steer a terminal."""
    return _STEERS.sub(lambda found: _sign(ord(found[0])), text)


def printable_json(text: str) -> str:
    """The same of a JSON document, which keeps its values: such characters are escaped."""
    return _STEERS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _sign(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


class SafeConsole(Console):
    """A console on which nothing but itself steers the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of an object, with signs for what would steer; rich's own controls stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
