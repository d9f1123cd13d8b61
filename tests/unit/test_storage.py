import errno
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from classifsae import storage
from classifsae.activations import Activations
from classifsae.errors import DamagedError, StorageError
from classifsae.storage import (
    MANIFEST,
    clear,
    concatenate_files,
    fingerprint,
    finish,
    hash_tensors,
    kept,
    manifest_of,
    read_json,
    read_sealed,
    read_tensors,
    reading_at_random,
    take_over,
    tensors_of,
    write_json,
    write_sealed,
    write_tensors,
    write_text,
    writing,
)


def test_a_folder_without_its_manifest_is_unfinished(tmp_path: Path):
    write_text(tmp_path / "a.txt", "text")
    assert manifest_of(tmp_path) is None
    finish(tmp_path, inputs="x", record={"n": 1})
    manifest = manifest_of(tmp_path)
    assert manifest is not None
    assert (manifest.inputs, manifest.record) == ("x", {"n": 1})
    assert manifest.files["a.txt"].size == 4


@pytest.mark.parametrize("harm", ["cut", "remove"])
def test_a_file_that_was_cut_or_removed_is_named(tmp_path: Path, harm: str):
    write_text(tmp_path / "a.txt", "text")
    finish(tmp_path, inputs="x", record={})
    (tmp_path / "a.txt").write_text("te") if harm == "cut" else (tmp_path / "a.txt").unlink()
    with pytest.raises(StorageError, match=r"a\.txt (is missing|has 2 bytes)"):
        manifest_of(tmp_path)


def test_a_damaged_manifest_is_an_error_that_says_what_to_do(tmp_path: Path):
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(
        StorageError, match=r"is not a manifest of this version; .*delete .* to have it made again"
    ):
        manifest_of(tmp_path)
    assert kept(tmp_path) is None
    assert not tmp_path.exists()


@pytest.mark.parametrize(
    "changed",
    [lambda text: "{", lambda text: text[:-1], lambda text: text.replace('"n": 1', '"n": 2'),
     lambda text: text + "\r", lambda text: text.replace('"format": 2', '"format": 3')],
)  # fmt: skip
def test_a_manifest_that_is_not_as_it_was_written_is_named(tmp_path: Path, changed):
    finish(tmp_path, inputs="x", record={"n": 1})
    file = tmp_path / MANIFEST
    file.write_bytes(changed(file.read_text()).encode())
    with pytest.raises(DamagedError, match=r"manifest\.json is not .* to have it made again"):
        manifest_of(tmp_path)


def test_large_tensors_are_hashed_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(storage, "SMALL", 0)
    write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(4)})
    finish(tmp_path, inputs="x", record={})
    flip_last_byte(tmp_path / "t.safetensors")
    assert manifest_of(tmp_path) is not None
    with pytest.raises(DamagedError, match="SHA-256"):
        tensors_of(tmp_path, "t.safetensors")


def test_a_sealed_file_is_read_whole_or_refused(tmp_path: Path):
    file = tmp_path / "c.safetensors"
    write_sealed(file, {"a": torch.arange(3), "b": torch.zeros(2)})
    assert torch.equal(read_sealed(file)["a"], torch.arange(3))
    flip_last_byte(file)
    with pytest.raises(DamagedError, match="not as it was written"):
        read_sealed(file)


def flip_last_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_identity_is_that_of_the_contents(tmp_path: Path):
    identities = []
    for folder, text in (("a", "same"), ("b", "same"), ("c", "other")):
        write_text(tmp_path / folder / "f", text)
        identities.append(finish(tmp_path / folder, inputs=folder, record={}).identity)
    assert identities[0] == identities[1] != identities[2]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(ValueError, match="no"):
        storage.atomic_write(tmp_path / "a", lambda stream: (stream.write(b"ne"), _fail()))
    assert (tmp_path / "a").read_text() == "old"


def _fail() -> None:
    raise ValueError("no")


@pytest.mark.parametrize(
    "write", [lambda p: write_text(p, ""), lambda p: write_tensors(p, {"a": torch.ones(1)})]
)
def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path, write):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StorageError, match=r"cannot write .*file/x: .*; choose a folder that you may write to"
    ):
        write(tmp_path / "file" / "x")


def test_missing_and_damaged_files_say_so(tmp_path: Path):
    for read in (read_json, read_tensors):
        with pytest.raises(
            StorageError, match=r"cannot read .*; get it again, or, if a run made it, delete the folder"
        ):
            read(tmp_path / "nothing")
        (tmp_path / "bad").write_bytes(b"\x00garbage")
        with pytest.raises(StorageError, match="cannot read"):
            read(tmp_path / "bad")


def test_whoever_may_read_the_folder_may_read_the_tensors(tmp_path: Path):
    write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)})
    write_text(tmp_path / "a.txt", "text")
    finish(tmp_path, inputs="", record={})
    assert len({file.stat().st_mode for file in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize("name", [MANIFEST, "a.safetensors"])
def test_what_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)})
    finish(tmp_path, inputs="", record={})
    may = Path.open

    def forbidden(path: Path, *arguments: str, **options: str):  # for root all may be read
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return may(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", forbidden)
    storage._hashes.clear()
    with pytest.raises(StorageError, match="permission denied; ask its owner") as caught:
        kept(tmp_path)
    assert not isinstance(caught.value, DamagedError)
    assert (tmp_path / "a.safetensors").is_file()


def test_an_artefact_taken_over_is_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, linked, copied = (tmp_path / name for name in ("first", "linked", "copied"))
    write_text(first / "sub" / "a.txt", "text")
    made = finish(first, inputs="x", record={}, subfolders=["sub"])
    take_over(first, linked)
    assert (linked / "sub/a.txt").samefile(first / "sub/a.txt")

    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    take_over(first, copied)
    assert (copied / "sub/a.txt").read_text() == "text"
    assert manifest_of(linked) == manifest_of(copied) == made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_joined_files_equal_the_joined_tensors(tmp_path: Path, dtype: torch.dtype):
    parts = [{"h": torch.randn(n, 3).to(dtype), "y": torch.arange(n)} for n in (4, 1, 7)]
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path, part in zip(paths, parts, strict=True):
        write_tensors(path, part)
    concatenate_files(tmp_path / "all.safetensors", paths)
    joined = read_tensors(tmp_path / "all.safetensors")
    for name in ("h", "y"):
        assert torch.equal(joined[name], torch.cat([part[name] for part in parts]))


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False), max_size=5))
def test_a_fingerprint_ignores_the_order_of_keys(value: dict[str, int | str | float]):
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


def test_a_fingerprint_knows_lone_surrogates_and_nesting():
    assert fingerprint("\ud800") != fingerprint("\ud801")
    assert fingerprint(["a", "b"]) != fingerprint(["a"], ["b"])


def test_tensors_hash_by_name_shape_type_and_value():
    one = torch.zeros(2, 3)
    hashes = {
        hash_tensors([("a", one)]),
        hash_tensors([("b", one)]),
        hash_tensors([("a", one.reshape(3, 2))]),
        hash_tensors([("a", one.half())]),
        hash_tensors([("a", one + 1)]),
    }
    assert len(hashes) == 5
    assert hash_tensors([("a", one.clone())]) in hashes


def test_json_keeps_texts_as_they_are(tmp_path: Path):
    texts = ["naïve 漢字 \u2028", "</script>", "\ud83d\ude00", "\x00"]
    write_json(tmp_path / "t.json", texts)
    assert read_json(tmp_path / "t.json") == texts


def test_clearing_removes_the_manifest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_text(tmp_path / "a" / "f", "x")
    finish(tmp_path / "a", inputs="", record={})
    monkeypatch.setattr(storage.shutil, "rmtree", lambda path: None)  # killed before the rest went
    clear(tmp_path / "a")
    assert manifest_of(tmp_path / "a") is None


def test_activations_survive_the_disk_and_are_mapped(tmp_path: Path, train: Activations):
    train.save(tmp_path / "train", inputs="x")
    again = Activations.load(tmp_path / "train")
    for name in ("hidden", "logits", "labels"):
        assert torch.equal(getattr(again, name), getattr(train, name))
    assert (again.ids, again.source) == (train.ids, train.source)
    assert torch.equal(again.predictions, train.logits.argmax(dim=1))


def test_unfinished_activations_are_refused(tmp_path: Path, train: Activations):
    train.save(tmp_path / "train")
    (tmp_path / "train" / MANIFEST).unlink()
    with pytest.raises(StorageError, match="holds no finished activations; run the capture stage again"):
        Activations.load(tmp_path / "train")


def test_nothing_in_the_package_unpickles():
    source = Path(storage.__file__).parent
    text = "".join(path.read_text() for path in source.rglob("*.py"))
    assert not any(f"{word}(" in text for word in ("torch.load", "pickle.load", "joblib.load"))


@pytest.mark.parametrize("left", [".text.txt.part", ".tmpA1b2C3", ".DS_Store"])
def test_what_a_killed_process_left_is_no_part_of_an_artefact(tmp_path: Path, left: str):
    for folder in ("whole", "interrupted"):
        write_text(tmp_path / folder / "text.txt", "text")
    (tmp_path / "interrupted" / left).write_text("half")
    whole, ours = (finish(tmp_path / f, inputs="x", record={}) for f in ("whole", "interrupted"))
    assert ours == whole
    assert (tmp_path / "interrupted" / left).exists() == (left == ".DS_Store")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (SafetensorError("Error while serializing: I/O error: Read-only (os error 30)"), "Read-only file"),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
            "the disk is full, or",
        ),
        (
            RuntimeError("[enforce fail at inline_container.cc:7] . open file failed with strerror: It is"),
            ": It is;",
        ),
        (RuntimeError("basic_ios::clear: iostream error"), "the disk is full, or"),
        (Exception("No space left on device (os error 28)"), "No space left on device;"),
        (StorageError("cannot write a (os error 28)"), "^cannot write a"),
    ],
)
def test_whoever_finds_a_disk_full_says_so_in_one_line(tmp_path: Path, error: Exception, said: str):
    with pytest.raises(StorageError, match=said), writing(tmp_path):
        raise error


def test_what_is_not_of_the_disk_stays_what_it_is(tmp_path: Path):
    with pytest.raises(RuntimeError, match="CUDA out of memory"), writing(tmp_path):
        raise RuntimeError("CUDA out of memory")


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_nothing_is_read_around_rows_that_are_read_at_random(tmp_path: Path):
    write_tensors(tmp_path / "rows.safetensors", {"hidden": torch.arange(1 << 20).reshape(1024, 1024)})
    hidden = read_tensors(tmp_path / "rows.safetensors")["hidden"]

    def is_random() -> bool:
        """Whether the mapping that the last row lies in has the flag "rr": random read advise."""
        address, inside = hidden[-1].data_ptr(), False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            if "-" in line.split()[0]:
                begin, end = (int(part, 16) for part in line.split()[0].split("-"))
                inside = begin <= address < end
            elif inside and line.startswith("VmFlags"):
                return "rr" in line.split()
        raise AssertionError("the tensor is in no mapping")

    with reading_at_random(hidden):
        assert is_random()
        assert hidden[[1023, 0], 0].tolist() == [1023 * 1024, 0]
    assert not is_random()
