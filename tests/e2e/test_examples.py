"""The examples run as they stand, on CPU, and are short."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from classifsae.concepts import METHODS, Concepts

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_fits_on_one_screen(path: Path):
    assert len(path.read_text().splitlines()) <= 40


def run_example(name: str, folder: Path, *arguments: str) -> list[str]:
    """The lines that an example prints when it is run in a folder."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, timeout=600)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_quickstart_prints_its_scores_and_five_sentences(tmp_path: Path):
    lines = run_example("01_quickstart.py", tmp_path, "160")
    assert sum(line.startswith(" - ") for line in lines) == 5
    assert "reproduce" in lines[1]
    assert float(lines[1].split("%")[0].split()[-1]) > 40  # of four classes


@pytest.mark.slow
def test_own_data_is_fitted_and_kept(tmp_path: Path):
    lines = run_example("02_own_data.py", tmp_path)
    assert [line.split()[0] for line in lines] == ["classifsae", "random"]
    assert len(Concepts.load(tmp_path / "own_data" / "classifsae")) >= 1


def test_a_method_of_ones_own_is_fitted_and_scored(tmp_path: Path):
    lines = run_example("03_own_method.py", tmp_path)
    values = {line.split()[1].rstrip(":"): float(line.split()[0]) for line in lines}
    assert values["recovery_accuracy"] > 0.95
    assert values["n_alive"] == 4


def test_a_method_of_ones_own_survives_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    example = importlib.import_module("03_own_method")
    train = example.states(60, seed=0)
    concepts = METHODS.load("03_own_method:PCA")(n_concepts=4).fit(train, example.tail)
    concepts.save(tmp_path / "concepts")
    again = Concepts.load(tmp_path / "concepts")
    assert torch.equal(again.encode(train.hidden), concepts.encode(train.hidden))
    assert again.method == "03_own_method"
