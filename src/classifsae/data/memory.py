"""Tables that are in memory already: data frames, the ``datasets`` library's rows, lists."""

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from classifsae.data.hub import table_of
from classifsae.data.table import Table
from classifsae.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas

WHOLE = "row"
"""Name of the only table, whose rows are split into a training and a test part."""

Values = Iterable[object]


def tables_in_memory(
    source: object, *, texts: Values | None = None, labels: Values | None = None
) -> Mapping[str, Callable[[], Table]] | None:
    """Openers of the tables that a source holds, by split.

    Args:
        source: a data frame, a ``datasets.Dataset``, a mapping of columns to lists, or a mapping of splits to
            data frames or ``datasets.Dataset``.
        texts: instead of a source: n texts.
        labels: their labels.
    Returns:
        None for any other source, such as a name.
    Raises:
        DataError: texts without labels, other numbers of them, or no rows.
        ConfigError: a source beside texts, or a mapping of tables and something else.
    """
    if texts is not None or labels is not None:
        if source is not None:
            raise ConfigError("load_dataset takes either a source or texts= and labels=; both were given.")
        return {WHOLE: partial(_filled, _from_lists(texts, labels))}
    if not isinstance(source, Mapping):
        table = _table("the data", source)
        return None if table is None else {WHOLE: partial(_filled, table)}
    if source and all(isinstance(values, list | np.ndarray) for values in source.values()):
        return {WHOLE: partial(_filled, _from_columns(source))}
    tables = {str(split): _table(f"the split {split!r}", rows) for split, rows in source.items()}
    if all(table is None for table in tables.values()):
        return None
    openers = {split: partial(_filled, table) for split, table in tables.items() if table is not None}
    if len(openers) < len(tables):
        raise ConfigError(
            f"only {', '.join(openers)} of {', '.join(tables)} is a data frame or datasets.Dataset; "
            f"all must be, such as {{'train': frame, 'test': frame}}."
        )
    return openers


def _table(where: str, rows: object) -> Table | None:
    """The table, if it is one; a library that nobody has imported cannot have made it."""
    frames, hub = sys.modules.get("pandas"), sys.modules.get("datasets")
    if frames is not None and isinstance(rows, frames.DataFrame):
        return _from_frame(where, rows)
    if hub is not None and isinstance(rows, hub.Dataset):
        return table_of(where, rows)
    return None


def _from_frame(where: str, frame: "pandas.DataFrame") -> Table:
    names = {str(name): name for name in frame.columns}
    if len(names) < len(frame.columns):
        raise DataError(f"{where} names a column twice: {', '.join(map(str, frame.columns))}; rename one.")

    def column(name: str) -> list[object]:
        values = frame[names[name]].astype(object)
        return _plain(values.where(values.notna(), None))

    return Table(where, tuple(names), len(frame), column)


def _from_lists(texts: Values | None, labels: Values | None) -> Table:
    for what, given in (("texts", texts), ("labels", labels)):
        if isinstance(given, str | set | frozenset | Mapping):
            raise DataError(
                f"{what}= takes one for each row, in their order, such as a list; got {type(given).__name__}."
            )
    if texts is None or labels is None:
        raise DataError("texts= and labels= go together, a label for each text; only one was given.")
    columns = {"text": _plain(texts), "label": _plain(labels)}
    n_texts, n_labels = map(len, columns.values())
    if n_texts != n_labels:
        raise DataError(f"there are {n_texts} texts and {n_labels} labels; give one label for each text.")
    return Table("the texts given", tuple(columns), n_texts, columns.__getitem__)


def _from_columns(source: Mapping[object, Values]) -> Table:
    columns = {str(name): _plain(values) for name, values in source.items()}
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(f"the columns given are of other lengths, {sizes}; give one value for each row.")
    return Table("the data", tuple(columns), next(iter(sizes.values())), columns.__getitem__)


def _plain(values: Values) -> list[object]:
    """The values as Python's own, out of lists, arrays, tensors or series."""
    found = list(values) if not isinstance(values, np.ndarray) else values.tolist()
    return [
        value if value is None or isinstance(value, str | int | float) else _item(value) for value in found
    ]


def _item(value: object) -> object:
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else value


def _filled(table: Table) -> Table:
    if not table.n_rows:
        raise DataError(f"{table.where}: there are no rows; give texts and labels.")
    return table
