"""Every file of a finished run damaged in turn: the same command names it and makes the same bytes again."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from classifsae.errors import StorageError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from classifsae.pipeline.run_folder import RunFolder
from e2e.conftest import SMALL, write_experiment


def flipped(at: float) -> Callable[[Path], None]:
    def harm(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[int(at * (len(data) - 1))] ^= 0x07  # of a newline a carriage return, which JSON does not mind
        file.write_bytes(data)

    return harm


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "first byte": flipped(0),
    "middle byte": flipped(0.5),
    "last byte": flipped(1),
    "cut short": cut,
    "emptied": lambda file: os.truncate(file, 0),
    "deleted": Path.unlink,
}
EVERY = 13
"""Of the damages, which are tried in an order that mixes files and kinds; all of them: CLASSIFSAE_EVERY=1."""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiment file of a small run that is at its end."""
    file = write_experiment(
        tmp_path_factory.mktemp("damage"), methods={"classifsae": SMALL, "identity": {}}, seeds=[1]
    )
    run(load_experiment(file)[0])
    return file


def test_no_damage_goes_unnoticed(finished: Path, caplog: pytest.LogCaptureFixture):
    folder, (point,) = finished.parent / "run", load_experiment(finished)
    whole = contents(folder)
    names = [name for name in whole if not name.startswith(".lock")]
    cases = [(name, damage) for name in names for damage in DAMAGES]
    every = int(os.environ.get("CLASSIFSAE_EVERY", EVERY))
    wrong = []
    for name, damage in cases[::every]:
        caplog.clear()
        DAMAGES[damage](folder / name)
        run(point)
        if contents(folder) != whole:
            wrong.append((name, damage, "other bytes"))
        if (name, damage) != ("manifest.json", "deleted"):  # which then is one not written yet
            is_unfinished = name.endswith("manifest.json") and damage == "deleted"
            if not is_unfinished and not any(f"{folder / name} " in line for line in caplog.messages):
                wrong.append((name, damage, "not named"))
    assert not wrong
    sys.stdout.write(f"{len(cases[::every])} of {len(cases)} damages\n")


@pytest.mark.parametrize("name", ["named/classifsae/seed-1/names.json", "experiment.json"])
def test_whoever_only_reads_refuses_what_is_damaged(finished: Path, tmp_path: Path, name: str):
    shutil.copytree(finished.parent / "run", tmp_path / "run")
    flipped(0.5)(tmp_path / "run" / name)
    from classifsae.pipeline.explain import explainer_of

    with pytest.raises(StorageError, match="SHA-256"):
        explainer_of(tmp_path / "run", method="classifsae")


@pytest.mark.parametrize("name", ["summary.json", "scores.json"])
def test_a_report_refuses_damaged_results(finished: Path, tmp_path: Path, name: str):
    shutil.copytree(finished.parent / "run", tmp_path / "run")
    flipped(0.5)(tmp_path / "run" / name)
    with pytest.raises(StorageError, match="writes it again"):
        RunFolder(tmp_path / "run").results()
