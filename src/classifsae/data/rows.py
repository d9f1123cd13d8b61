"""From a table to texts, labels and ids: which column is which, and nothing missing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isnan
from typing import TypeVar

from classifsae.data.table import Table
from classifsae.errors import DataError

TEXT_COLUMNS = (
    "text", "sentence", "content", "tweet", "review", "document", "message", "comment", "body", "headline",
)  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "class", "category", "sentiment", "target", "topic")
ID_COLUMNS = ("id",)
CONCEPTS_COLUMNS = ("concepts",)
SHOWN = 5
NUMBERED = "#"

T = TypeVar("T")


@dataclass(frozen=True)
class Columns:
    """Columns that the user named; None where they are to be found by their usual names.

    Attributes:
        text: column of texts.
        label: column of labels.
        id: column of row ids; "#" numbers the rows whatever columns there are.
        concepts: column of true concepts.
    """

    text: str | None = None
    label: str | None = None
    id: str | None = None
    concepts: str | None = None


@dataclass(frozen=True)
class LabelledRows:
    """Rows of one part, labels still as written.

    Attributes:
        where: what messages call them.
        texts: the texts, untouched.
        labels: each label's own spelling.
        ids: each row's id.
        concepts: names of each row's true concepts, where there is such a column.
        class_names: names of integer labels, where the source declares them.
    """

    where: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    concepts: tuple[tuple[str, ...], ...] | None = None
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)


def read_rows(table: Table, columns: Columns, *, split: str) -> LabelledRows:
    """Take the text, label, id and concepts columns out of a table.

    Args:
        table: rows of one file or split.
        columns: the columns that the user named.
        split: rows without an id column are called ``<split>-<row number>``, counting from 0.
    Raises:
        DataError: a column is missing, or a text or label is missing or of the wrong type.
    """
    text = _find(table, columns.text, TEXT_COLUMNS, what="text")
    label = _find(table, columns.label, LABEL_COLUMNS, what="label")
    concepts = _find_optional(table, columns.concepts, CONCEPTS_COLUMNS, what="concepts")
    return LabelledRows(
        where=table.where,
        texts=_read(table, text, _text, what="text"),
        labels=_read(table, label, _label, what="label"),
        ids=_ids(table, columns.id, split=split),
        concepts=None if concepts is None else _read(table, concepts, _concepts, what="concepts"),
        class_names=table.class_names.get(label),
    )


def read_texts(table: Table, *, column: str | None = None) -> tuple[str, ...]:
    """Take the texts alone out of a table.

    Args:
        table: rows of one file.
        column: the column that holds them; found by its usual names if not given.
    Raises:
        DataError: there is no such column, or a text is missing or no string.
    """
    text = _find(table, column, TEXT_COLUMNS, what="text")
    return _read(table, text, _text, what="text")


def concatenate(parts: Sequence[LabelledRows]) -> LabelledRows:
    """Rows of several tables, one after the other.

    Raises:
        DataError: they declare different classes, or only some of them carry concepts.
    """
    first = parts[0]
    for other in parts[1:]:
        if other.class_names != first.class_names:
            raise DataError(
                f"{other.where} declares the classes {listed(other.class_names or ())}, {first.where} "
                f"{listed(first.class_names or ())}; they must be the same: write both files anew."
            )
        if (other.concepts is None) != (first.concepts is None):
            raise DataError(
                f"only one of {first.where} and {other.where} has a concepts column; both need one, or none."
            )
    return LabelledRows(
        where=" + ".join(part.where for part in parts),
        texts=tuple(text for part in parts for text in part.texts),
        labels=tuple(label for part in parts for label in part.labels),
        ids=tuple(row_id for part in parts for row_id in part.ids),
        concepts=None if first.concepts is None else tuple(c for part in parts for c in part.concepts or ()),
        class_names=first.class_names,
    )


def listed(names: Iterable[str], *, most: int = 20) -> str:
    """Names for a message: at most ``most`` of them, each cut to a readable length."""
    found = list(names)
    shown = [repr(name if len(name) <= 40 else f"{name[:37]}...") for name in found[:most]]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return (", ".join(shown) + more) or "none"


def _find(table: Table, given: str | None, usual: Sequence[str], *, what: str) -> str:
    """The column that the user named, or the first with a usual name in any case."""
    if given is not None:
        return _existing(table, given, what=what)
    found = _find_optional(table, None, usual, what=what)
    if found is None:
        raise DataError(
            f"{table.where}: which column holds the {what}? Columns: {listed(table.names)}; "
            f"set {what}_column to one of them (the first line of a CSV file must name the columns)."
        )
    return found


def _find_optional(table: Table, given: str | None, usual: Sequence[str], *, what: str) -> str | None:
    if given is not None:
        return _existing(table, given, what=what)
    by_case = {name.strip().lower(): name for name in reversed(table.names)}
    return next((by_case[name] for name in usual if name in by_case), None)


def _existing(table: Table, given: str, *, what: str) -> str:
    if given in table.names:
        return given
    close = get_close_matches(given, table.names, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise DataError(
        f"{table.where} has no column {given!r}.{guess} Columns: {listed(table.names)}; "
        f"set {what}_column to one of them."
    )


def _read(table: Table, column: str, convert: Callable[[object], T | None], *, what: str) -> tuple[T, ...]:
    """Every value of a column, converted; ``convert`` answers None for one that is missing."""
    kept: list[T] = []
    missing: list[int] = []
    for number, value in enumerate(table.column(column)):
        try:
            converted = convert(value)
        except TypeError as error:
            raise DataError(
                f"{table.where}: column {column!r} holds {type(value).__name__} {str(value)[:40]!r} "
                f"in row {number} (counting from 0); {error}."
            ) from error
        if converted is None:
            missing.append(number)
        else:
            kept.append(converted)
    if missing:
        raise DataError(
            f"{table.where}: column {column!r} has no {what} in {len(missing)} of {table.n_rows} rows "
            f"(counting from 0: {rows_listed(missing)}); fill them in or remove these rows."
        )
    return tuple(kept)


def rows_listed(numbers: Sequence[int]) -> str:
    """Row numbers for a message: the first few, then how many more."""
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return ", ".join(str(number) for number in numbers[:SHOWN]) + more


def _text(value: object) -> str | None:
    """The text, byte for byte; None for a missing or blank one."""
    if value is None or _is_nan(value):
        return None
    if not isinstance(value, str):
        raise TypeError("texts must be strings: set text_column to another column")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise TypeError(f"it is not valid Unicode ({error.reason}): repair the text") from error
    return value if value.strip() else None


def _label(value: object) -> str | None:
    """The label's spelling: strings as they are, integers and booleans as JSON writes them."""
    if value is None or _is_nan(value) or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if not isinstance(value, (str, int)):
        raise TypeError("labels must be strings, integers or booleans: set label_column to another column")
    return str(value)


def _concepts(value: object) -> tuple[str, ...]:
    """Names of concepts: a list, or a string with | between them; none is allowed."""
    if value is None or _is_nan(value):
        return ()
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split("|") if name.strip())
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise TypeError("concepts must be a list of names, or names with | between them")
    return tuple(value)


def _id(value: object) -> str | None:
    """The id as a string."""
    if value is None or _is_nan(value) or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if not isinstance(value, (str, int)):
        raise TypeError("ids must be strings or integers: set id_column to another column")
    return str(value)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and isnan(value)


def _ids(table: Table, given: str | None, *, split: str) -> tuple[str, ...]:
    column = None if given == NUMBERED else _find_optional(table, given, ID_COLUMNS, what="id")
    if column is None:
        return tuple(f"{split}-{number}" for number in range(table.n_rows))
    return _read(table, column, _id, what="id")
