"""Texts without labels, one after the other: from a table, or a line at a time from a text file or stream."""

import codecs
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from classifsae.data.files import READERS, no_such_file, read_table
from classifsae.data.rows import read_texts
from classifsae.errors import DataError

LINES = ".txt"
STANDARD_INPUT = "-"


def stream_texts(source: str) -> Iterator[str]:
    """The texts of a file: the text column of a table, or every line of a text file that is not blank.

    Lines are read when they are asked for, so that a text file or stream may be of any length.

    Args:
        source: a path that ends in .txt, .csv, .tsv, .jsonl, .json or .parquet; "-" for standard input.
    Raises:
        DataError: no such file, unknown extension, no text column, a text that is missing or no UTF-8.
    """
    if source == STANDARD_INPUT:
        yield from lines_of(sys.stdin.buffer, where="standard input")
        return
    path = Path(source).expanduser()
    if path.suffix.lower() == LINES:
        yield from _lines_in(path)
    elif path.is_file() and path.suffix.lower() not in READERS:
        raise DataError(
            f"{path}: extension {path.suffix!r} is not supported; use {LINES} (one text a line) or one of "
            f"{', '.join(READERS)}."
        )
    else:
        yield from read_texts(read_table(path))


def lines_of(stream: Iterable[bytes], *, where: str) -> Iterator[str]:
    """Every line that is not blank, without its end.

    Raises:
        DataError: a line is not UTF-8.
    """
    for number, line in enumerate(stream, start=1):
        raw = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        try:
            text = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}, line {number}, is not UTF-8 (byte 0x{raw[error.start]:02x}); save it as UTF-8."
            ) from error
        if text.strip():
            yield text


def _lines_in(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise no_such_file(path)
    try:
        with path.open("rb") as stream:
            yield from lines_of(stream, where=str(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the file.") from error
