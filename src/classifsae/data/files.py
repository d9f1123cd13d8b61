"""Tables from local files: CSV, TSV, JSON Lines, Parquet. Every text arrives as it was written."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from classifsae.data.table import Table
from classifsae.errors import DataError


def read_table(path: Path) -> Table:
    """Read a data file of any known format.

    Raises:
        DataError: no such file, unknown extension, unreadable, undecodable or empty.
    """
    if not path.is_file():
        raise no_such_file(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: extension {path.suffix!r} is not supported; use one of {', '.join(READERS)}."
        )
    try:
        table = reader(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the file.") from error
    if table.n_rows == 0:
        raise DataError(f"{path} is empty: it has no rows; give a file with texts and labels.")
    return table


def no_such_file(path: Path) -> DataError:
    """The one message for a path where nothing is."""
    return DataError(f"no such file: {path} (looked for {path.absolute()}); check the path.")


def _read_csv(path: Path) -> Table:
    text = _decoded(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    # newline="" keeps line ends inside quoted fields as they are.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    with _any_field_size():
        try:
            rows = [row for row in reader if row]
        except csv.Error as error:
            raise DataError(
                f"{path} cannot be read as {path.suffix[1:].upper()}: {error} (line {reader.line_num}); "
                f'write " inside a quoted field as "", or save the texts as JSON Lines.'
            ) from error
    if not rows:
        raise DataError(f"{path} is empty: it has no rows; give a file with texts and labels.")
    return _from_rows(path, rows[0], rows[1:])


def _delimiter(text: str) -> str:
    """A comma, or a semicolon where the header has one and no comma (some spreadsheets write that)."""
    header = text.partition("\n")[0]
    return ";" if ";" in header and "," not in header else ","


@contextmanager
def _any_field_size() -> Iterator[None]:
    """Lift the csv module's limit of 128 KiB a field: documents can be longer."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _from_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    if len(set(header)) != len(header):
        raise DataError(f"{path} names a column twice: {', '.join(header)}; rename one.")
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(
                f"{path}: row {number} (counting from 0) has {len(row)} fields, the header {len(header)}; "
                f'put texts that hold the separator between " signs.'
            )
    place = {name: i for i, name in enumerate(header)}
    return Table(str(path), tuple(header), len(rows), lambda name: [row[place[name]] for row in rows])


def _read_json(path: Path) -> Table:
    text = _decoded(path)
    rows = _parsed(path, text) if text.lstrip()[:1] == "[" else _parsed_lines(path, text)
    checked = [_mapping(path, number, row) for number, row in enumerate(rows)]
    names = tuple(dict.fromkeys(name for row in checked for name in row))
    return Table(str(path), names, len(checked), lambda name: [row.get(name) for row in checked])


def _parsed(path: Path, text: str) -> Sequence[object]:
    try:
        rows: list[object] = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} cannot be read as JSON: {error}; one object a line is expected.") from error
    return rows


def _parsed_lines(path: Path, text: str) -> Sequence[object]:
    rows: list[object] = []
    # Not splitlines(): that also cuts at U+2028 and its like, which JSON allows inside a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(
                f"{path} cannot be read as JSON Lines: line {number}: {error}; one object a line is expected."
            ) from error
    return rows


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
    if not data.strip():
        raise DataError(f"{path} is empty: it has no rows; give a file with texts and labels.")
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
    features = json.loads(metadata).get("info", {}).get("features", {})
    return {
        name: tuple(feature["names"])
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
