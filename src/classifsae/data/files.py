"""Tables from local files: CSV, TSV, JSON Lines, Parquet. Every text arrives as it was written."""

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from classifsae.data.table import Table
from classifsae.errors import DataError

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n')


def read_table(path: Path, *, besides: str = "") -> Table:
    """Read a data file of any known format.

    Args:
        besides: what else the user may give, for the message on an unknown extension.
    Raises:
        DataError: no such file, unknown extension, unreadable, undecodable or empty.
    """
    if not path.is_file():
        raise no_such_file(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join([*READERS, *([besides] if besides else [])])
        raise DataError(f"{path}: extension {path.suffix!r} is not supported; use one of {known}.")
    try:
        table = reader(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the file.") from error
    if not table.n_rows or not table.names:
        raise DataError(f"{path} is empty: it has no rows; give a file with texts and labels.")
    if len(set(table.names)) < len(table.names):
        raise DataError(f"{path} names a column twice: {', '.join(table.names)}; rename one.")
    return table


def no_such_file(path: Path) -> DataError:
    """The one message for a path where nothing is."""
    return DataError(f"no such file: {path} (looked for {path.absolute()}); check the path.")


def _read_csv(path: Path) -> Table:
    # pandas reads a badly quoted field without a word, and not as it was written; csv refuses it.
    text = _decoded(path)
    stated = _SEPARATOR_LINE.match(text)
    body = text[stated.end() :] if stated else text
    delimiter = stated[1] if stated else _delimiter(path, text)
    # newline="" keeps line ends inside quoted fields as they are.
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(sys.maxsize)  # documents can be longer than 128 KiB
    try:
        header, *rows = [row for row in reader if any(row)] or [[]]
    except csv.Error as error:
        raise DataError(
            f"{path} cannot be read as {path.suffix[1:].upper()}: {error} (line {reader.line_num}); "
            f'write " inside a quoted field as "", or save the texts as JSON Lines.'
        ) from error
    finally:
        csv.field_size_limit(limit)
    return _from_rows(path, header, rows)


def _delimiter(path: Path, text: str) -> str:
    """A semicolon where a CSV file's header has one and no comma: some spreadsheets write that."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = text.partition("\n")[0]
    return ";" if ";" in header and "," not in header else ","


def _from_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Columns by name, without those that have neither name nor values, as spreadsheets write them."""
    n_named = max((place for place, name in enumerate(header, start=1) if name.strip()), default=0)
    for number, row in enumerate(rows):
        if len(row) < n_named or any(row[len(header) :]):
            raise DataError(
                f"{path}: row {number} (counting from 0) has {len(row)} fields, the header {len(header)}; "
                f'put texts that hold the separator between " signs.'
            )
    cells = enumerate(zip_longest(header, *rows, fillvalue=""), start=1)
    columns = [
        (name if name.strip() else f"column {place}", values)
        for place, (name, *values) in cells
        if name.strip() or any(values)
    ]
    return Table(str(path), tuple(name for name, _ in columns), len(rows), dict(columns).__getitem__)


def _read_json(path: Path) -> Table:
    text = _decoded(path)
    # Not splitlines(): that also cuts at U+2028 and its like, which JSON allows inside a text.
    pieces = [text] if text.lstrip().startswith("[") else text.split("\n")
    values = [_parsed(path, line, piece) for line, piece in enumerate(pieces, start=1) if piece.strip()]
    found = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    rows = [_mapping(path, number, row) for number, row in enumerate(found)]
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(str(path), tuple(names), len(rows), lambda name: [row.get(name) for row in rows])


def _parsed(path: Path, line: int, text: str) -> object:
    try:
        value: object = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as JSON, from line {line} on: {error}; one object a line is expected."
        ) from error
    return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def _mapping(path: Path, number: int, row: object) -> Mapping[str, object]:
    if not isinstance(row, dict):
        raise DataError(
            f"{path}: row {number} (counting from 0) is a {type(row).__name__}; "
            f'each must be an object such as {{"text": "...", "label": "..."}}.'
        )
    return row


def _decoded(path: Path) -> str:
    """The file's text: UTF-8, with or without a byte order mark."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte 0x{data[error.start]:02x} at position {error.start}); "
            f"save it as UTF-8."
        ) from error


def _read_parquet(path: Path) -> Table:
    from pyarrow import parquet  # type: ignore[import-untyped]

    try:
        table = parquet.ParquetFile(path).read()
        table.validate(full=True)
    except ValueError as error:  # pyarrow.ArrowInvalid
        why = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as Parquet: {why}; write the file again.") from error
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    return Table(
        where=str(path),
        names=tuple(table.column_names),
        n_rows=table.num_rows,
        column=lambda name: list(table.column(name).to_pylist()),
        class_names=_declared_classes(metadata.get(b"huggingface", b"{}")),
    )


def _declared_classes(metadata: bytes) -> dict[str, tuple[str, ...]]:
    """Names of the classes that the ``datasets`` library notes in the Parquet files it writes."""
    try:
        features = json.loads(metadata)["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # not as that library writes it
        return {}


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
