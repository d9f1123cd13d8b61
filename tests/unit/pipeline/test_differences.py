"""By how much two artefacts differ, in one line per file."""

from pathlib import Path

import pytest
import torch

from classifsae.pipeline.differences import differences
from classifsae.storage import finish, write_json, write_tensors, write_text
from classifsae.tensors import Tensor

WEIGHT = torch.arange(6.0).reshape(2, 3)


def artefact(folder: Path, record: dict[str, object] | None = None, **files: object) -> Path:
    """A finished folder of these files, whose kind the values tell."""
    for name, value in files.items():
        if isinstance(value, str):
            write_text(folder / f"{name}.md", value)
        elif isinstance(value, dict) and all(isinstance(item, Tensor) for item in value.values()):
            write_tensors(folder / f"{name}.safetensors", value)
        else:
            write_json(folder / f"{name}.json", value)  # type: ignore[arg-type]
    finish(folder, inputs="", record=record or {})  # type: ignore[arg-type]
    return folder


CASES: dict[str, tuple[object, object, list[str]]] = {
    "tensors": (
        {"w": WEIGHT, "b": torch.zeros(2)},
        {"w": WEIGHT + torch.tensor([0, 0, 0.25]), "b": torch.zeros(2)},
        ["a.safetensors: 2 of 8 numbers differ, by at most 0.25 (w)"],
    ),
    "nan": (
        {"w": torch.tensor([1.0, torch.nan, torch.nan])},
        {"w": torch.tensor([1.0, torch.nan, 2.0])},
        ["a.safetensors: 1 of 3 numbers differ, by at most inf (w)"],
    ),
    "shape": (
        {"w": WEIGHT},
        {"w": WEIGHT.T.contiguous()},
        ["a.safetensors: w is (2, 3) float32, made again (3, 2) float32"],
    ),
    "tensor gone": ({"w": WEIGHT}, {"v": WEIGHT}, ["v is not in the run", "w is not made again"]),
    "numbers": (
        {"a": [1, 2.0], "b": {"c": 0.5}},
        {"a": [1, 2.5], "b": {"c": 0.25}},
        ["a.json: 2 numbers differ, by at most 0.5 (a[1])"],
    ),
    "words": (
        {"name": "oil", "is": True, "n": 1},
        {"name": "gas", "is": 1, "m": 1},
        ["a.json: 4 other values differ, the first name"],
    ),
    "lines": ("one\ntwo\n", "one\n2\nthree\n", ["a.md: 2 of 3 lines differ"]),
    "line ends": ("one\ntwo\n", "one\r\ntwo\n", ["a.md: other line ends"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_differs_is_said_by_how_much(kind: str, tmp_path: Path):
    was, now, said = CASES[kind]
    found = differences(artefact(tmp_path / "was", a=was), artefact(tmp_path / "now", a=now))
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True)), found
    assert differences(tmp_path / "was", tmp_path / "was") == ()


def test_facts_and_files_count_too(tmp_path: Path):
    was = artefact(tmp_path / "was", {"n_cut": 3}, a={}, b="text")
    now = artefact(tmp_path / "now", {"n_cut": 5}, b="text", c="text")
    assert differences(was, now) == (
        "manifest.json: 1 number differs, by at most 2 (n_cut)",
        "a.safetensors: is not made again",
        "c.md: is not in the run",
    )
    assert differences(tmp_path / "none", now) == ("is not in the run",)


def test_the_same_values_in_other_bytes_are_told_from_other_values(tmp_path: Path):
    was, now = artefact(tmp_path / "was", a=[1]), tmp_path / "now"
    write_text(now / "a.json", "[1]")
    finish(now, inputs="", record={})
    assert differences(was, now) == ("a.json: the same values in other bytes",)
