"""From a table to texts, labels and ids: which column is which, and nothing missing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from math import isnan
from typing import TypeVar

from classifsae.data.config import DatasetConfig
from classifsae.data.table import Table
from classifsae.errors import DataError, setting
from classifsae.registry import cleaned

USUAL_NAMES = {
    "text": (
        "text", "sentence", "content", "tweet", "review", "document", "message", "comment", "body",
        "headline",
    ),
    "label": ("label", "labels", "class", "category", "sentiment", "target", "topic"),
    "id": ("id",),
    "concepts": ("concepts",),
}  # fmt: skip
NUMBERED = "#"


T = TypeVar("T")


@dataclass(frozen=True)
class LabelledRows:
    """Rows of one table, labels not yet numbered.

    Attributes:
        where: what messages call them.
        texts: the texts, untouched.
        labels: each label, ``cleaned``.
        ids: each row's id.
        concepts: names of each row's true concepts, where there is such a column.
        class_names: names of the classes, where the source declares them; integers are then their indices.
    """

    where: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    concepts: tuple[tuple[str, ...], ...] | None = None
    class_names: tuple[str, ...] | None = None


def read_rows(table: Table, config: DatasetConfig, *, split: str) -> LabelledRows:
    """Take the text, label, id and concepts columns out of a table.

    Args:
        table: rows of one file or split.
        config: names the columns that are not to be found by their usual names.
        split: rows without an id column are called ``<split>-<row number>``, counting from 0.
    Raises:
        DataError: a column is missing, or a text or label is missing or of the wrong type.
    """
    text, label = columns_of(table, config)
    concepts = _optional(table, "concepts", config.concepts_column)
    declared = table.class_names.get(label)
    return LabelledRows(
        where=table.where,
        texts=_read(table, text, _text, what="text"),
        labels=_read(table, label, _label, what="label"),
        ids=_ids(table, config.id_column, split=split),
        concepts=None if concepts is None else _read(table, concepts, _concepts, what="concepts"),
        class_names=None if declared is None else tuple(map(cleaned, declared)),
    )


def columns_of(table: Table, config: DatasetConfig) -> tuple[str, str]:
    """The columns of texts and of labels, those named or those with usual names.

    Raises:
        DataError: there is no such column; proposes one.
    """
    text = _column(table, "text", config.text_column)
    return text, _column(table, "label", config.label_column)


def read_texts(table: Table) -> tuple[str, ...]:
    """Take the texts alone out of a table.

    Raises:
        DataError: no column has a usual name of texts, or a text is missing or no string.
    """
    column = usual_column(table, "text")
    if column is None:
        raise DataError(
            f"{table.where}: which column holds the text? Columns: {listed(table.names)}; name it 'text'."
        )
    return _read(table, column, _text, what="text")


def listed(values: Iterable[str | int], *, most: int = 20) -> str:
    """Values for a message: at most ``most`` of them, each cut to a readable length."""
    found = list(values)
    shown = [repr(f"{v[:37]}..." if isinstance(v, str) and len(v) > 40 else v) for v in found[:most]]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return (", ".join(shown) + more) or "none"


def usual_column(table: Table, what: str) -> str | None:
    """The first column with a usual name, in any case."""
    by_case = {name.strip().lower(): name for name in reversed(table.names)}
    return next((by_case[name] for name in USUAL_NAMES[what] if name in by_case), None)


def _column(table: Table, what: str, given: str | None) -> str:
    """The column that the user named, else one with a usual name.

    Raises:
        DataError: there is none; proposes the closest name, else one that is not usual for something else.
    """
    found = usual_column(table, what) if given is None else given
    if found in table.names:
        return found
    usual = {name for names in USUAL_NAMES.values() for name in names}
    close = get_close_matches(given or "", table.names, n=1)
    likely = [*close, *(name for name in table.names if name.strip().lower() not in usual), *table.names][0]
    asked = f"which column holds the {what}?" if given is None else f"there is no column {given!r}."
    such_as = "" if what == "concepts" else f", such as {setting(f'dataset.{what}_column', likely)}"
    raise DataError(
        f"{table.where}: {asked} Columns: {listed(table.names)}; choose one{such_as} (the first line of a "
        f"CSV file must name the columns)."
    )


def _optional(table: Table, what: str, given: str | None) -> str | None:
    return usual_column(table, what) if given is None else _column(table, what, given)


def _read(table: Table, column: str, convert: Callable[[object], T | None], *, what: str) -> tuple[T, ...]:
    """Every value of a column, converted; ``convert`` answers None for one that is missing."""
    kept: list[T] = []
    missing: list[int] = []
    for number, value in enumerate(table.column(column)):
        try:
            converted = convert(None if isinstance(value, float) and isnan(value) else value)
        except TypeError as error:
            raise DataError(
                f"{table.where}: column {column!r} holds {type(value).__name__} {str(value)[:40]!r} "
                f"in row {number} (counting from 0); {error}, or choose another column."
            ) from error
        if converted is None:
            missing.append(number)
        else:
            kept.append(converted)
    if missing:
        raise DataError(
            f"{table.where}: column {column!r} has no {what} in {len(missing)} of {table.n_rows} rows "
            f"(counting from 0: {listed(missing, most=5)}); fill them in or remove these rows."
        )
    return tuple(kept)


def _text(value: object) -> str | None:
    """The text, byte for byte; None for a missing or blank one."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError("texts must be strings: correct it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TypeError(f"it is not valid Unicode ({error.reason}): repair the text") from error
    return value if value.strip() else None


def _label(value: object) -> str | None:
    name = _id(value)
    return None if name is None else cleaned(name) or None


def _id(value: object) -> str | None:
    """A string as it is, a whole number or boolean as JSON writes it; None for a missing or blank one."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if not isinstance(value, (str, int)):
        raise TypeError("labels and ids must be strings, integers or booleans: correct it")
    return str(value) if str(value).strip() else None


def _concepts(value: object) -> tuple[str, ...]:
    """Names of concepts: a list, a string with | between them, or a boolean; none is allowed."""
    if isinstance(value, bool):
        return (str(value).lower(),)
    names = value.split("|") if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise TypeError("concepts must be a list of names, or names with | between them: correct it")
    return tuple(name for name in map(cleaned, names) if name)


def _ids(table: Table, given: str | None, *, split: str) -> tuple[str, ...]:
    column = None if given == NUMBERED else _optional(table, "id", given)
    if column is None:
        return tuple(f"{split}-{number}" for number in range(table.n_rows))
    return _read(table, column, _id, what="id")
