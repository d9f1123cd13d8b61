"""`classifsae ask` on a run that has come as far as its concepts: each kind of question, and refusals."""

import json
from pathlib import Path

import pytest

from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from e2e.conftest import TINY, write_experiment
from e2e.test_cli import call


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    (point,) = load_experiment(
        write_experiment(folder, methods={"random": TINY["methods"]["random"]}, seeds=[1])
    )
    run(point, until="fit")
    return folder / "run"


def test_words_are_asked_about(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "answers.json"
    status, printed = call(
        monkeypatch, capsys, "ask", str(fitted), "--words", "match, goal", "--json", str(file)
    )
    assert status == 0, printed
    assert "match, goal: " in printed
    (answer,) = json.loads(file.read_text())
    assert answer["name"] == "match, goal"
    assert {phrase["text"] for phrase in answer["text"]["phrases"]} == {"match", "goal"}
    assert answer["removed"]["everywhere"]["changed"]["n"] == answer["n_test"] == 30


def test_examples_are_asked_about(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    examples = tmp_path / "stars.txt"
    examples.write_text("\n".join(f"a star and a moon number {i}" for i in range(12)))
    arguments = ("ask", str(fitted), "--name", "the sky", "--examples", str(examples))
    status, printed = call(monkeypatch, capsys, *arguments)
    assert status == 0, printed
    assert "the sky: " in printed
    assert "12 training texts have it, 120 do not" in printed


def test_a_column_is_asked_about_value_by_value(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "answers.json"
    status, printed = call(monkeypatch, capsys, "ask", str(fitted), "--column", "label", "--json", str(file))
    assert status == 0, printed
    assert [(one["n_marked"], one["is_known"]) for one in json.loads(file.read_text())] == [(10, True)] * 3
    for name in ("sports", "money", "space"):
        assert f" {name} " in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "a question has one of examples, words and column; 0 were given."),
        (["--words", "a", "--column", "b"], "words and column; 2 were given."),
        (["--words", "a", "--without", "b.txt"], "without goes with examples; give both, or leave it out"),
        (["--column", "a", "--name", "b"], "--name does not go with --column"),
        (["--words", " , "], "give words with commas between them"),
        (["--examples", "no/such.txt"], "no such file"),
        (["--words", "zebra"], "0 texts have the concept and 120 do not; at least 10 of each are needed"),
        (["--column", "lable"], "there is no column 'lable'."),
        (["--column", "text"], "no value of column 'text' has 10 training texts with it"),
    ],
)
def test_what_is_wrong_is_one_clear_line_and_status_two(
    arguments: list[str], said: str, fitted: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    status, printed = call(monkeypatch, capsys, "ask", str(fitted), *arguments)
    lines = [line for line in printed.splitlines() if not line.startswith("ask  ")]
    assert (status, len(lines)) == (2, 1), printed
    assert said in printed


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    status, printed = call(monkeypatch, capsys, "ask", str(tmp_path), "--words", "a")
    assert status == 2
    assert "is no run" in printed
