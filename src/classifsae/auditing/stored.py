"""Findings as artefacts: one JSON file of a record, read back as the same record."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from classifsae.errors import StorageError
from classifsae.storage import Json, Manifest, finish, manifest_of, write_text

FINDINGS = "findings.json"

R = TypeVar("R")


def save_findings(
    record: R, folder: Path, *, inputs: str = "", facts: dict[str, Json] | None = None
) -> Manifest:
    """Write a record (a dataclass) as an artefact.

    Args:
        record: what was found.
        folder: of the artefact.
        inputs: fingerprint of what it was made from.
        facts: for the manifest.
    Raises:
        StorageError: the folder cannot be written.
    """
    text = TypeAdapter(type(record)).dump_json(record, indent=1).decode("utf-8")
    write_text(folder / FINDINGS, text + "\n")
    return finish(folder, inputs=inputs, record=facts or {})


def load_findings(kind: type[R], folder: Path) -> R | None:
    """Read a record back, as ``save_findings`` wrote it; None where there is none.

    Raises:
        StorageError: the file is damaged.
    """
    if manifest_of(folder) is None:
        return None
    try:
        return TypeAdapter(kind).validate_json((folder / FINDINGS).read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(f"{folder} holds no findings; delete it to have them made again.") from error
