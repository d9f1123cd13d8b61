"""Artefacts on disk: a folder of safetensors and JSON files that counts only once its manifest is there.

Every file is written beside its place and renamed into it; ``manifest.json`` comes last. A folder
without a manifest is unfinished, whatever else it holds. What is read is what was written: the manifest
holds the size and SHA-256 of every file, and its own. Nothing is ever unpickled. torch is imported where
tensors are read and written, so that whoever looks at manifests alone does not wait for it.
"""

import ctypes
import errno
import hashlib
import json
import logging
import math
import mmap
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Literal

from pydantic import BaseModel, JsonValue
from safetensors import SafetensorError, safe_open

from classifsae.errors import ClassifSAEError, DamagedError, StorageError

if TYPE_CHECKING:
    from torch import Tensor

_LOG = logging.getLogger(__name__)

Json = JsonValue

MANIFEST = "manifest.json"
FORMAT: Literal[2] = 2
"""Of manifests; raised when other versions can no longer read them."""
SMALL = 1 << 26
"""Bytes of a tensor file that is hashed whenever its artefact is looked at; larger ones when read."""
_SEAL = "sha256"
_DISK = re.compile(
    r"\(os error (?P<number>\d+)\)|iostream error|inline_container.*?(strerror: (?P<why>.*))?$"
)
"""How safetensors, tokenizers and torch say that a file cannot be written."""
_SETTLED_NS = 20_000_000
"""How long ago a file must have been changed for its times to tell it from a later one."""
_UMASK = os.umask(0o077)
os.umask(_UMASK)
_hashes: dict[tuple[int, ...], str] = {}
_made_with: ContextVar[Mapping[str, JsonValue] | None] = ContextVar("made_with", default=None)
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
        made_with: versions of libraries, device, threads and their like, no part of its identity.
        checksum: SHA-256 of the manifest without it.
    """

    format: Literal[2] = FORMAT
    inputs: str
    record: dict[str, Json]
    files: dict[str, FileRecord]
    made_with: dict[str, Json] = {}
    checksum: str = ""

    def __repr__(self) -> str:
        n_bytes = sum(file.size for file in self.files.values())
        return f"Manifest {self.identity[:12]}: {len(self.files)} files, {n_bytes:,} bytes"

    @property
    def identity(self) -> str:
        """Fingerprint of the contents: equal for equal files and facts, whoever made them and when."""
        return fingerprint(self.record, {name: file.sha256 for name, file in self.files.items()})

    def text(self) -> str:
        """The manifest as it stands on the disk, with its checksum."""
        bare = self.model_copy(update={"checksum": ""}).model_dump_json(indent=1)
        checksum = hashlib.sha256(bare.encode()).hexdigest()
        return self.model_copy(update={"checksum": checksum}).model_dump_json(indent=1) + "\n"


@contextmanager
def made_with(facts: Mapping[str, Json]) -> Iterator[None]:
    """Put these facts into the manifest of every artefact that is finished in here."""
    token = _made_with.set(facts)
    try:
        yield
    finally:
        _made_with.reset(token)


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
    with writing(path), _put_at_end(path) as part, part.open("wb") as stream:
        write(stream)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line that a place cannot be written, whichever library finds out.

    Raises:
        StorageError: it cannot.
    """
    try:
        yield
    except ClassifSAEError:
        raise
    except Exception as error:  # of torch a RuntimeError, of tokenizers no more than an Exception
        if isinstance(error, OSError) or _DISK.search(str(error)):
            raise cannot_write(path, error) from error
        raise


@contextmanager
def _put_at_end(path: Path) -> Iterator[Path]:
    """A place beside a file, which takes the place of the file at the end, or is given back."""
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        _put(part, path)
    except Exception:
        with suppress(OSError):
            part.unlink()
        raise


def require_writable(path: Path, *, folder: bool = False) -> None:
    """See, before anything long, that a file or folder can be written.

    Raises:
        StorageError: a folder is where the file should be, or the other way round, or nothing may be written.
    """
    try:
        if path.exists() and path.is_dir() != folder:
            kind, other = ("folder", "file") if folder else ("file", "folder")
            raise StorageError(f"{path} is a {other}; give a {kind}.")
        place = path.absolute() if folder else path.absolute().parent
        there = next(one for one in (place, *place.parents) if one.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise StorageError(
                f"cannot write {path}: {there} is no folder that you may write to; give another."
            )
    except OSError as error:
        raise cannot_write(path, error) from error


def _put(part: Path, path: Path) -> None:
    """Rename a file into its place once its bytes, and then its name, are on the disk.

    Raises:
        OSError: in its place stands what is no file, such as a device, which would be gone.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "it is there and is no file")
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def cannot_write(path: Path, error: Exception) -> StorageError:
    """The one message for a place that cannot be written."""
    if isinstance(error, IsADirectoryError):
        return StorageError(f"cannot write {path}: it is a folder, where a file belongs; move it away.")
    found = _DISK.search(str(error))
    if isinstance(error, OSError) and error.strerror:
        why = error.strerror
    elif found and found["number"]:
        why = os.strerror(int(found["number"]))
    elif found:
        why = found["why"] or "the disk is full, or files may not be so large"
    else:
        why = str(error)
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
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"cannot read {path}: {error}; get it again, or, if a run made it, delete the folder to have it "
            f"made again."
        ) from error
    return value


def write_tensors(
    path: Path, tensors: Mapping[str, "Tensor"], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write one safetensors file atomically."""
    from safetensors.torch import save_file

    whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with writing(path), _put_at_end(path) as part:
        save_file(whole, part, None if metadata is None else dict(metadata))


def write_sealed(path: Path, tensors: Mapping[str, "Tensor"]) -> None:
    """Write one safetensors file of no artefact atomically, with the SHA-256 of its tensors."""
    write_tensors(path, tensors, metadata={_SEAL: hash_tensors(sorted(tensors.items()))})


def read_sealed(path: Path) -> dict[str, "Tensor"]:
    """Read what ``write_sealed`` wrote, into memory.

    Raises:
        StorageError: there is no such file.
        DamagedError: it is not as it was written.
    """
    tensors = {name: tensor.clone() for name, tensor in read_tensors(path).items()}
    with safe_open(path, framework="pt") as file:
        seal = (file.metadata() or {}).get(_SEAL)
    if seal != hash_tensors(sorted(tensors.items())):
        raise DamagedError(path.parent, path.name, "is not as it was written")
    return tensors


def read_tensors(path: Path) -> dict[str, "Tensor"]:
    """Open a safetensors file; tensors are mapped from the disk and read when they are used.

    Raises:
        StorageError: there is no such file, or it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except PermissionError as error:
        raise _forbidden(path) from error
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"cannot read {path}: {error}; get it again, or, if a run made it, delete the folder to have it "
            f"made again."
        ) from error


def tensors_of(folder: Path, name: str) -> dict[str, "Tensor"]:
    """Open a safetensors file of a finished artefact, whose bytes are verified once as long as it stays.

    Raises:
        StorageError: there is no such file.
        DamagedError: it is not as it was written.
    """
    require_unchanged(folder, name)
    return read_tensors(folder / name)


@contextmanager
def reading_at_random(tensor: "Tensor") -> Iterator[None]:
    """Have single rows of a mapped file read, where the kernel would read megabytes around each of them.

    Of a file that memory cannot hold, a shuffled epoch reads the same megabytes again for every row.
    """
    _advise(tensor, "MADV_RANDOM")
    try:
        yield
    finally:
        _advise(tensor, "MADV_NORMAL")


def _advise(tensor: "Tensor", advice: str) -> None:
    """Tell the kernel how a tensor will be read; where it cannot be told, nothing is lost but time."""
    if sys.platform != "linux" or tensor.device.type != "cpu":
        return
    begin = tensor.data_ptr() - tensor.data_ptr() % mmap.PAGESIZE
    length = tensor.data_ptr() + tensor.nbytes - begin
    ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), getattr(mmap, advice))


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
    only: Sequence[str] | None = None,
) -> Manifest:
    """Declare a folder finished: hash its files, and those of these subfolders, and write the manifest.

    A file whose name begins with a dot is no part of an artefact.

    Args:
        besides: names of files that are no part of the artefact and may change.
        only: names of the files that are its parts; None: all.
    """
    with writing(folder):
        found = [p for part in ("", *subfolders) for p in (folder / part).glob("*") if p.is_file()]
        remove(*(p for p in found if _is_left_over(p)))
        paths = sorted(p for p in found if p.name not in (MANIFEST, *besides) and not p.name.startswith("."))
        for path in paths:  # safetensors makes files that their owner alone may read
            if missing := 0o666 & ~_UMASK & ~(mode := path.stat().st_mode):
                path.chmod(mode | missing)
        files = {
            p.relative_to(folder).as_posix(): FileRecord(size=p.stat().st_size, sha256=_hash_once(p))
            for p in paths
            if only is None or p.name in only
        }
    manifest = Manifest(
        inputs=inputs,
        record=dict(record),
        files=files,
        made_with=dict(_made_with.get() or {"versions": {"classifsae": version("classifsae")}}),
    )
    text = manifest.text()
    write_text(folder / MANIFEST, text)
    return Manifest.model_validate_json(text)


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of a finished artefact whose files are as they were written; None without a manifest.

    Every file must be there with its size and bytes; the bytes of tensors beyond 64 MB are left to
    ``tensors_of``. What was hashed once is not hashed again as long as it stays.

    Raises:
        DamagedError: the manifest or a file is not as it was written.
    """
    manifest = noted_manifest(folder)
    for name, noted in manifest.files.items() if manifest else ():
        is_large = name.endswith(".safetensors") and noted.size > SMALL
        _require(folder, name, noted, hashed=not is_large)
    return manifest


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished artefact that is as it was written."""
    try:
        return manifest_of(folder) is not None
    except DamagedError:
        return False


def kept(folder: Path, *, large: bool = False) -> Manifest | None:
    """The manifest of a finished artefact that is as it was written; one that is damaged is said and removed.

    Args:
        large: hash the largest files too.
    """
    try:
        manifest = manifest_of(folder)
        if large:
            require_unchanged(folder)
    except DamagedError as error:
        _LOG.warning("%s; it is made again.", error.said)
        clear(folder)
        return None
    return manifest


def require_unchanged(folder: Path, name: str | None = None) -> None:
    """Refuse a file of a finished artefact, or any of them, that is not as it was written.

    Raises:
        DamagedError: it is gone, or holds other bytes.
    """
    manifest = noted_manifest(folder)
    for file, noted in manifest.files.items() if manifest else ():
        if name in (None, file):
            _require(folder, file, noted, hashed=True)


def noted_manifest(folder: Path) -> Manifest | None:
    """The manifest in a folder, whatever became of the files; None where there is none.

    Raises:
        DamagedError: it is of another version, or not as it was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        data = path.read_bytes()
        manifest = Manifest.model_validate_json(data)
    except PermissionError as error:
        raise _forbidden(path) from error
    except (OSError, ValueError) as error:
        raise DamagedError(folder, MANIFEST, "is not a manifest of this version") from error
    if data != manifest.text().encode("utf-8", "surrogatepass"):
        raise DamagedError(folder, MANIFEST, "is not as it was written")
    return manifest


def _require(folder: Path, name: str, noted: FileRecord, *, hashed: bool) -> None:
    path = folder / name
    try:
        if not path.is_file():
            raise DamagedError(folder, name, "is missing")
        if (size := path.stat().st_size) != noted.size:
            raise DamagedError(folder, name, f"has {size:,} bytes, but was written with {noted.size:,}")
        found = _hash_once(path) if hashed else noted.sha256
    except PermissionError as error:
        raise _forbidden(path) from error
    except OSError as error:
        raise DamagedError(folder, name, f"cannot be read ({error.strerror})") from error
    if found != noted.sha256:
        raise DamagedError(folder, name, f"has the SHA-256 {found}, but was written with {noted.sha256}")


def _forbidden(path: Path) -> StorageError:
    """What is not damaged, and must not be removed: somebody else's file."""
    return StorageError(f"cannot read {path}: permission denied; ask its owner, or make it readable (chmod).")


def _hash_once(path: Path) -> str:
    """SHA-256 of a file, which is not read again by this process as long as nobody writes to it."""
    stat = path.stat()
    is_now = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if (known := _hashes.get(is_now)) is not None:
        return known
    found = hash_file(path)
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED_NS:
        _hashes[is_now] = found
    return found


def begin(folder: Path) -> None:
    """Take a folder into work: make it, see that it can be written, and withdraw its manifest.

    Raises:
        StorageError: it cannot be made or written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            (folder / MANIFEST).unlink(missing_ok=True)


def take_over(other: Path, folder: Path) -> None:
    """Let a folder hold the finished artefact of another: the same files, once on a disk that has links.

    Raises:
        StorageError: it cannot be written.
    """
    manifest = noted_manifest(other)
    assert manifest is not None
    clear(folder)
    with writing(folder):
        for name in manifest.files:
            with _put_at_end(folder / name) as part:
                part.unlink(missing_ok=True)
                try:
                    part.hardlink_to(other / name)
                except OSError:
                    shutil.copyfile(other / name, part)
    write_text(folder / MANIFEST, manifest.text())


def _is_left_over(file: Path) -> bool:
    """Whether a process that was killed while it wrote left this: ours, or that of safetensors."""
    return file.suffix == ".part" or file.name.startswith(".tmp")


def remove(*files: Path) -> None:
    """Remove files, those that there are.

    Raises:
        StorageError: one cannot be removed, or is a folder.
    """
    for file in files:
        with writing(file):
            file.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove an artefact, manifest first, so that a kill halfway leaves an unfinished one.

    Raises:
        StorageError: it cannot be removed.
    """
    remove(folder / MANIFEST)
    with writing(folder):
        if folder.exists():
            shutil.rmtree(folder)
