"""Texts without labels, one after the other: from a table, or a line at a time from a text file or stream."""

import codecs
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from classifsae.data.files import no_such_file, read_table
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
    path = Path(source).expanduser()
    if source == STANDARD_INPUT:
        yield from _lines_of(sys.stdin.buffer, where="standard input")
    elif path.suffix.lower() != LINES:
        yield from read_texts(read_table(path, besides=f"{LINES} (one text a line)"))
    elif not path.is_file():
        raise no_such_file(path)
    else:
        try:
            with path.open("rb") as stream:
                yield from _lines_of(stream, where=str(path))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}; check the file.") from error


def _lines_of(stream: Iterable[bytes], *, where: str) -> Iterator[str]:
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
