"""A run on texts of strangers: none steers the terminal, and bad input is one line and status 2."""

import csv
import json
import re
from pathlib import Path

import pytest

from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from classifsae.pipeline.run_folder import RunFolder
from e2e.conftest import SMALL, TINY, WORDS, write_experiment
from e2e.test_cli import call
from unit.test_printable import HOSTILE, steering

LABELS = {"sports": "sports\u202etrops", "money": "<b>money</b>", "space": "=space()"}
BACKBONE = {**TINY["backbone"], "n_steps": 25}  # type: ignore[dict-item]


def write_hostile(path: Path, *, n: int = 150) -> Path:
    """Short sentences that steer a terminal, each with two words of its class."""
    rows = []
    for i in range(n):
        label = list(WORDS)[i % 3]
        first, second = WORDS[label][i % 5], WORDS[label][(i // 5) % 5]
        rows.append([f"the {first}\x1b[31m and \x9b2J a\u202e {second} {HOSTILE}", LABELS[label]])
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "label"], *rows])
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiment file of a run on hostile texts, not run yet."""
    folder = tmp_path_factory.mktemp("hostile")
    data = write_hostile(folder / "hostile.csv")
    options = SMALL | {"n_vectors": 5000}
    return write_experiment(
        folder, dataset=str(data), backbone=BACKBONE, methods={"classifsae": options}, seeds=[1]
    )


def test_no_command_lets_a_text_steer_the_terminal(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = str(hostile.parent / "run")
    monkeypatch.setattr("classifsae.cli.console.width", 150)
    commands = [
        ("run", str(hostile)),
        ("explain", folder, f"the match and a goal {HOSTILE}"),
        ("explain", folder, f"the match and a goal {HOSTILE}", "--json"),
        ("audit", folder, "--pattern", f"{HOSTILE}=goal"),
        ("ask", folder, "--words", "goal", "--name", HOSTILE),
        ("report", folder, "--to", str(tmp_path / "report")),
        ("show", str(hostile), "dataset.text_column=te\u202ext"),
        ("verify", folder, "--quick"),
    ]
    for command in commands:
        status, said = call(monkeypatch, capsys, *command)
        assert (status, steering(said)) == (0, []), (command, said)
        if "--json" in command:
            assert HOSTILE in json.loads(said.splitlines()[0])["text"]


def test_no_error_lets_a_name_steer_the_terminal(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for command in (
        ("run", HOSTILE.replace("\0", "")),
        ("run", str(hostile), f"dataset={json.dumps(HOSTILE)}"),
        ("run", str(hostile), f"{HOSTILE}=3"),
        ("explain", "\x1b[2J", "text"),
        ("audit", str(hostile.parent), "--terms", "\x1b[2J"),
        ("init", "\x1b[2J.csv"),
        ("report", "\u202erun"),
        ("list", "\x1b[31m"),
        ("launch", "status", "\x1b[31m"),
        ("verify", "\x1b[31m"),
    ):
        status, said = call(monkeypatch, capsys, *command)
        assert (status, steering(said)) == (2, []), (command, said)
        assert said.splitlines()[-1].startswith("classifsae: ")


def test_a_damaged_file_is_named_on_the_command_line(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (point,) = load_experiment(hostile)
    folder = RunFolder.of(point)
    run(point, until="capture")
    damaged = folder.activations("test") / "ids.json"
    damaged.write_text("[]")
    status, said = call(monkeypatch, capsys, "capture", str(hostile))
    assert status == 0
    assert f"classifsae: {damaged} has 2 bytes" in said
    assert "it is made again" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: &a [*a, *a]\nb: *a", "an alias stands inside"),
        ("[" * 5000, "inside each other"),
        ("dataset: !!python/object/apply:os.system [touch x]", "is not YAML"),
        (b"\x80\x04\x95", "is no text in UTF-8"),
        ("dataset: x\ndataset: y", "is there twice"),
        ("run_dir: '{dataset.__class__}'", "backbone is missing"),
    ],
)
def test_a_bad_experiment_is_one_line_and_status_two(
    content: str | bytes,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    file = tmp_path / "e.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, printed = call(monkeypatch, capsys, "run", str(file))
    (line,) = printed.splitlines()
    assert (status, line[:12]) == (2, "classifsae: ")
    assert re.search(said, line)
    assert "a fault of" not in line
    assert [path.name for path in tmp_path.iterdir()] == ["e.yaml"]
