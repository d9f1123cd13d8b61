"""How objects show themselves in one screen, as text and in a notebook, and as data frames."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifsae.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MOST_ROWS, MOST_FACTS, MOST_CHARACTERS = 20, 12, 60
_MOST_ITEMS = 3
_STYLE = Path(__file__).parent / "reporting" / "page" / "templates" / "page.css"

Value = str | int | float | bool | None


class Share(float):
    """A part of a whole, from 0 to 1: shown in percent, in HTML over a bar."""


class Strong(str):
    """A text that is bold in HTML."""

    __slots__ = ()


@dataclass(frozen=True)
class Sheet:
    """What is shown of an object: a title, some lines, a table of its beginning.

    Attributes:
        title: what it is, in a line.
        facts: a line each.
        heads: of the columns.
        rows: all of them; the first are shown.
        more: how to have the others.
    """

    title: str
    facts: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    rows: Sequence[Sequence[Value]] = ()
    more: str = ""

    def text(self) -> str:
        """As lines, the columns below each other."""
        lines = [self.title, *(f"  {fact}" for fact in self._facts())]
        if self.rows:
            table = [self.heads, *self._cells()]
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            lines += [
                "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                for row in table
            ]
        return "\n".join([*lines, *(f"  {line}" for line in self._rest())])

    def html(self) -> str:
        """As HTML; every text is escaped."""
        parts = [f"<p><strong>{escape(self.title)}</strong></p>"]
        parts += [f"<p>{escape(fact)}</p>" for fact in self._facts()]
        parts += [self.table()] if self.rows else []
        parts += [f"<p><small>{escape(line)}</small></p>" for line in self._rest()]
        return f"<div>{''.join(parts)}</div>"

    def table(self, *, most: int | None = MOST_ROWS) -> str:
        """The rows as an HTML table, so many at most, or all."""
        head = "".join(f'<th scope="col">{escape(title)}</th>' for title in self.heads)
        rows = (
            f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in self.rows[:most]
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"

    def _facts(self) -> list[str]:
        left = len(self.facts) - MOST_FACTS
        return [*self.facts[:MOST_FACTS], *([f"and {left} more"] if left > 0 else [])]

    def _cells(self) -> list[list[str]]:
        return [[shown(value) for value in row] for row in self.rows[:MOST_ROWS]]

    def _rest(self) -> list[str]:
        left = len(self.rows) - MOST_ROWS
        return [f"and {left} more{f': {self.more}' if self.more else ''}"] if left > 0 else []


def _cell(value: Value) -> str:
    text = escape(shown(value))
    if isinstance(value, Share):
        return f'{text}<span class="bar" style="--w: {100 * value:.0f}%"></span>'
    return f"<strong>{text}</strong>" if isinstance(value, Strong) else text


def style() -> str:
    """The style sheet of a run's page."""
    return _STYLE.read_text("utf-8")


def framed(html: str) -> str:
    """HTML in the style of a run's page, which reaches nothing else in a notebook."""
    own = style().replace(":root", "&").replace("\nbody {", "\n& {")
    return (
        f'<div class="classifsae" style="padding: .5rem 1rem"><style>.classifsae {{\n{own}'
        f".back {{ display: none !important; }}\n}}</style>{html}</div>"
    )


class Shown:
    """An object that shows itself as a sheet."""

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls):  # what dataclasses would otherwise write
            cls.__repr__ = Shown.__repr__  # type: ignore[method-assign]

    def sheet(self) -> Sheet:
        """What is shown: by default the fields of a dataclass, each in a few words."""
        names = [f.name for f in fields(self)]  # type: ignore[arg-type]
        facts = tuple(f"{name}: {brief(getattr(self, name))}" for name in names)
        return Sheet(type(self).__name__, facts)

    def __repr__(self) -> str:
        return self.sheet().text()

    def _repr_html_(self) -> str:
        return framed(self.sheet().html())


class Plotted(Shown):
    """An object that is drawn as in the report."""

    def plot(self, picture: str | None = None, **of: Any) -> "Axes | list[Axes]":
        """Draw a picture of the report, as :func:`classifsae.plot` does.

        Args:
            picture: which; by default the first that there is.
            of: what else it needs, such as ``test`` for activations and map.
        Returns:
            The axes, a list where there are several, on a figure of pyplot.
        Raises:
            UnknownNameError: there is no such picture.
            ConfigError: it needs something that was not given.
        """
        if "ax" in of:
            raise ConfigError("plot draws on a figure of its own and returns its axes; leave ax= out.")
        # By name: the room that draws stands far above this one, and is loaded once somebody draws.
        return import_module("classifsae.reporting.figures.plots").plot(self, picture, **of)

    def image(self) -> str:
        """The picture that ``plot()`` draws, as HTML; "" where there is none, or of too many concepts."""
        return str(import_module("classifsae.reporting.figures.plots").inline(self))

    def _repr_html_(self) -> str:
        return framed(self.sheet().html() + self.image())


def shown(value: Value) -> str:
    """A value in a cell: four digits of a number, the beginning of a text, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Share):
        return f"{100 * value:.0f} %"
    if isinstance(value, bool | str):
        return short(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def short(text: str, *, most: int = MOST_CHARACTERS) -> str:
    """A text on one line, its beginning if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def counted(n: int, thing: str) -> str:
    """``1 concept``, ``1,200 concepts``."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def brief(value: object) -> str:
    """Any value in a few words, such as how many there are and of what shape."""
    if value is None or isinstance(value, bool | int | float | str):
        return shown(value)
    shape = getattr(value, "shape", None)  # of tensors and arrays, whose libraries are not imported for this
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if isinstance(value, Mapping | Sequence | AbstractSet):
        if len(value) > _MOST_ITEMS or not all(isinstance(item, str | int | float) for item in value):
            return f"{len(value):,}"
        return ", ".join(map(brief, value)) or "none"
    return short(repr(value).partition("\n")[0])


def data_frame(
    rows: "Sequence[Mapping[str, object]] | NDArray[np.float32]",
    *,
    index: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> "pandas.DataFrame":
    """A data frame of these rows.

    Args:
        rows: mappings, or an array.
        index: name of the column that names the rows, or their names.
        columns: names, of an array, or of mappings of which there may be none.
    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise ConfigError('data frames need pandas; pip install "classifsae[pandas]".') from error
    if columns is None and isinstance(index, str) and not len(rows):
        columns = [index]
    frame = DataFrame(rows, columns=None if columns is None else list(columns))
    if isinstance(index, str):
        return frame.set_index(index)
    return frame if index is None else frame.set_axis(list(index))
