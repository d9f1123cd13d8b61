"""Artefacts on disk: a folder of safetensors and JSON files that counts only once its manifest is there.

Every file is written beside its place and renamed into it; ``manifest.json`` comes last. A folder
without a manifest is unfinished, whatever else it holds. Nothing is ever unpickled. torch is imported
where tensors are read and written, so that whoever looks at manifests alone does not wait for it.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Literal

from pydantic import BaseModel, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open

from classifsae.errors import MismatchError, StorageError

if TYPE_CHECKING:
    from torch import Tensor

Json = JsonValue

MANIFEST = "manifest.json"
_DTYPES = {"torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16", "torch.int64": "I64"}


class FileRecord(BaseModel, frozen=True):
    """One file of an artefact: its size in bytes and the SHA-256 of its contents."""

    size: int
    sha256: str


class Manifest(BaseModel, frozen=True):
    """What a finished artefact says of itself.

    Attributes:
        format: version of this layout.
        inputs: fingerprint of everything that it was made from.
        record: facts about it.
        files: every file beside the manifest.
    """

    format: Literal[1] = 1
    inputs: str
    record: dict[str, Json]
    files: dict[str, FileRecord]

    @property
    def identity(self) -> str:
        """Fingerprint of the contents: equal for equal files and facts, whoever made them and when."""
        return fingerprint(self.record, {name: file.sha256 for name, file in self.files.items()})


def fingerprint(*parts: Json) -> str:
    """SHA-256 of JSON values, independent of the order of keys."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in chunks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_tensors(tensors: Iterable[tuple[str, "Tensor"]]) -> str:
    """SHA-256 over names, shapes, types and values of tensors, in the order given, on any device."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then rename it into place: all of it or nothing.

    Raises:
        StorageError: the folder cannot be made or written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> StorageError:
    """The one message for a place that cannot be written."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StorageError(
        f"cannot write {path}: {why}; choose a folder that you may write to, with space left."
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    atomic_write(path, lambda stream: stream.write(text.encode("utf-8", "surrogatepass")))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    atomic_write(path, lambda stream: stream.write(content))


def write_json(path: Path, value: Json) -> None:
    """Write a JSON file atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Json:
    """Read a JSON file.

    Raises:
        StorageError: there is no such file, or it is not JSON.
    """
    try:
        value: Json = json.loads(path.read_text("utf-8", "surrogatepass"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot read {path}: {error}; delete the folder to have it made again."
        ) from error
    return value


def write_tensors(path: Path, tensors: Mapping[str, "Tensor"]) -> None:
    """Write one safetensors file atomically."""
    from safetensors.torch import save_file

    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, part)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error


def read_tensors(path: Path) -> dict[str, "Tensor"]:
    """Open a safetensors file; tensors are mapped from the disk and read when they are used.

    Raises:
        StorageError: there is no such file, or it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"cannot read {path}: {error}; delete the folder to have it made again."
        ) from error


def concatenate_files(path: Path, parts: Sequence[Path]) -> None:
    """Join safetensors files of equal names along the first axis, holding one part in memory at a time."""
    header = _joined_header(parts)

    def write(stream: BinaryIO) -> None:
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in header:
            for part in parts:
                stream.write(_bytes_of(read_tensors(part)[name]))

    atomic_write(path, write)


def _joined_header(parts: Sequence[Path]) -> dict[str, Json]:
    """The safetensors header of the files joined along the first axis."""
    opened = [read_tensors(part) for part in parts]
    header: dict[str, Json] = {}
    offset = 0
    for name, first in opened[0].items():
        n_rows = sum(tensors[name].shape[0] for tensors in opened)
        length = n_rows * math.prod(first.shape[1:]) * first.element_size()
        header[name] = {
            "dtype": _DTYPES[str(first.dtype)],
            "shape": [n_rows, *first.shape[1:]],
            "data_offsets": [offset, offset + length],
        }
        offset += length
    return header


def _bytes_of(tensor: "Tensor") -> memoryview:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def finish(
    folder: Path,
    *,
    inputs: str,
    record: Mapping[str, Json],
    subfolders: Sequence[str] = (),
    besides: Sequence[str] = (),
) -> Manifest:
    """Declare a folder finished: hash its files, and those of these subfolders, and write the manifest.

    Args:
        besides: names of files that are no part of the artefact and may change.
    """
    found = [p for part in ("", *subfolders) for p in (folder / part).glob("*") if p.is_file()]
    paths = sorted(p for p in found if p.name not in (MANIFEST, *besides) and p.suffix != ".part")
    files = {
        p.relative_to(folder).as_posix(): FileRecord(size=p.stat().st_size, sha256=hash_file(p))
        for p in paths
    }
    manifest = Manifest(inputs=inputs, record=dict(record), files=files)
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return manifest


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of a finished artefact; None where it is missing, or a file is gone or changed its size.

    Raises:
        StorageError: there is a manifest that cannot be understood.
    """
    manifest = _read_manifest(folder)
    return None if manifest is None or _first_broken(folder, manifest) else manifest


def broken_file(folder: Path) -> str | None:
    """The first file of a finished artefact that is gone or changed its size since; None if there is none.

    Raises:
        StorageError: its manifest cannot be understood.
    """
    manifest = _read_manifest(folder)
    return None if manifest is None else _first_broken(folder, manifest)


def require_unchanged(folder: Path, name: str) -> None:
    """Refuse a file of a finished artefact that is not as it was written; one of no artefact is as it is.

    Raises:
        MismatchError: it holds other bytes.
    """
    manifest = _read_manifest(folder)
    noted = None if manifest is None else manifest.files.get(name)
    if noted is not None and (found := hash_file(folder / name)) != noted.sha256:
        raise MismatchError(
            f"{folder / name} has the SHA-256 {found}, but was written with {noted.sha256}; "
            f"give its own file back, or delete the folder to have it made again."
        )


def _read_manifest(folder: Path) -> Manifest | None:
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(
            f"{path} is not a manifest of this version; delete {folder} to have it made again."
        ) from error


def _first_broken(folder: Path, manifest: Manifest) -> str | None:
    return next(
        (
            name
            for name, noted in manifest.files.items()
            if not (folder / name).is_file() or (folder / name).stat().st_size != noted.size
        ),
        None,
    )


def begin(folder: Path) -> None:
    """Take a folder into work: make it, see that it can be written, and withdraw its manifest.

    Raises:
        StorageError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            (folder / MANIFEST).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def clear(folder: Path) -> None:
    """Remove an artefact, manifest first, so that a kill halfway leaves an unfinished one.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        (folder / MANIFEST).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
