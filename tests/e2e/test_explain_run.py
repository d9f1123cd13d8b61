"""`classifsae explain` on a finished run: its answers, its inputs, and whatever a user may get wrong."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import classifsae as cs
from classifsae.classifier.classifier import Classifier
from classifsae.concepts import Concepts
from classifsae.errors import StorageError
from classifsae.explaining.typical import load_typical
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.explain import chosen_fit, explainer_of
from classifsae.pipeline.run import run
from classifsae.pipeline.run_folder import FitName, RunFolder
from classifsae.storage import Manifest
from e2e.conftest import TINY, write_experiment
from e2e.test_cli import call

TEXT = "the goal and a coach no 7"
METHODS = {
    "random": TINY["methods"]["random"],
    "mine": {"method": "classifsae"} | TINY["methods"]["classifsae"],
    "identity": {},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    (point,) = load_experiment(write_experiment(folder, methods=METHODS, seeds=[3, 4]))
    run(point)
    return folder / "run"


def lines(printed: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in printed.split("\n") if line]


def test_a_text_is_explained_in_words(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    status, printed = call(monkeypatch, capsys, "explain", str(finished), TEXT)
    assert status == 0, printed
    first, second, *_ = printed.splitlines()
    assert first == TEXT
    assert second.startswith("Label: ")
    assert "without it" in printed


def test_json_is_one_object_a_line_and_the_same_as_in_python(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    status, printed = call(monkeypatch, capsys, "explain", str(finished), TEXT, "a moon 🙂", "--json")
    assert status == 0, printed
    found, other = lines(printed)
    concepts = Concepts.load(finished / "concepts" / "mine" / "seed-3")  # no yardstick, though it comes first
    model = Classifier.load(finished / "classifier", device="cpu")
    described = RunFolder(finished).described(FitName("mine", 3))
    assert described is not None
    typical = load_typical(RunFolder(finished).typical(FitName("mine", 3)))
    assert len(typical) == len(concepts)
    expected = cs.explain(model, concepts, TEXT, descriptions=described, typical=typical)
    assert found == json.loads(json.dumps(expected.as_json()))
    assert not expected.concepts[0].name.startswith("concept ")
    assert other["text"] == "a moon 🙂"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.txt", f"\ufeff{TEXT}\r\n\n  \na star\u2028and a moon\n"),
        ("texts.csv", f"id,Text\n1,{TEXT}\n2,a star\u2028and a moon\n"),
        ("texts.jsonl", f'{{"text": "{TEXT}"}}\n{{"text": "a star\\u2028and a moon"}}\n'),
    ],
)
def test_texts_come_from_a_file(
    name: str, content: str, finished: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    path = tmp_path / name
    path.write_text(content, newline="")
    arguments = ("explain", str(finished), "--file", str(path), "--json", "--no-words")
    status, printed = call(monkeypatch, capsys, *arguments)
    assert status == 0, printed
    assert [(e["text"], e["words"]) for e in lines(printed)] == [
        (TEXT, None),
        ("a star\u2028and a moon", None),
    ]


def test_texts_are_typed_where_none_are_given(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    typed = io.TextIOWrapper(io.BytesIO(f"{TEXT}\n".encode()))
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", typed)
    status, printed = call(monkeypatch, capsys, "explain", str(finished), "--no-words")
    assert status == 0, printed
    assert "One text per line; Ctrl-D ends." in printed
    assert f"{TEXT}\nLabel: " in printed


def test_explanations_are_printed_as_texts_come_and_a_reader_may_leave(finished: Path):
    command = [sys.executable, "-m", "classifsae", "explain", str(finished), "--file", "-", "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(f"{TEXT}\n")  # and no end of the input
        assert json.loads(process.stdout.readline())["text"] == TEXT
        process.stdout.close()
        process.stdin.write(f"{TEXT}\n" * 5)
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--method", "mime", TEXT],
            "unknown method 'mime'. Did you mean 'mine'? Known: identity, mine, random.",
        ),
        (["--seed", "5", TEXT], "no mine concepts of seed 5"),
        ([], "explain was given no text"),
        ([TEXT, "--file", "-"], "explain takes either texts or --file FILE"),
        ([" "], "cannot explain an empty text"),
        (["--file", "no/such.csv"], "no such file"),
        (["--file", "no/such.txt"], "no such file"),
        (["--file", __file__], "extension '.py' is not supported"),
    ],
)
def test_what_is_wrong_is_one_clear_line_and_status_two(
    arguments: list[str], said: str, finished: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    status, printed = call(monkeypatch, capsys, "explain", str(finished), *arguments)
    assert (status, printed.count("\n")) == (2, 1), printed
    assert said in printed


def test_a_text_file_that_is_no_utf8_names_its_line(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "t.txt").write_bytes(b"fine\ncaf\xe9\n")
    status, printed = call(monkeypatch, capsys, "explain", str(finished), "--file", str(tmp_path / "t.txt"))
    assert status == 2
    assert "line 2, is not UTF-8 (byte 0xe9)" in printed


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("experiment.json", None, "experiment.json is missing"),
        ("experiment.json", "{}", "experiment.json has 2 bytes"),
        ("experiment.json", "nonsense", "experiment.json has 8 bytes"),
        ("classifier/manifest.json", None, "unfinished classifier"),
        ("concepts/mine/seed-3/manifest.json", "{}", "not a manifest"),
    ],
)
def test_a_broken_run_is_one_clear_line(
    file: str, content: str | None, said: str, finished: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    broken = shutil.copytree(finished, tmp_path / "run")
    if content is None:
        (broken / file).unlink()
    else:
        (broken / file).write_text(content)
    status, printed = call(monkeypatch, capsys, "explain", str(broken), TEXT)
    assert (status, printed.count("\n")) == (2, 1), printed
    assert said in printed


def test_concepts_of_another_classifier_than_the_runs_are_refused(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    broken = shutil.copytree(finished, tmp_path / "run")
    manifest = broken / "classifier" / "manifest.json"
    noted = json.loads(manifest.read_text())
    noted["record"]["fingerprint"] = "0" * 64
    manifest.write_text(Manifest.model_validate(noted).text())
    status, printed = call(monkeypatch, capsys, "explain", str(broken), TEXT)
    assert status == 2
    assert "are of another classifier" in printed


def test_the_weights_are_not_hashed_to_explain(finished: Path, monkeypatch: pytest.MonkeyPatch):
    from classifsae.classifier import classifier

    monkeypatch.setattr(classifier, "hash_tensors", lambda tensors: 1 / 0)
    explainer = explainer_of(finished)
    assert explainer.explain(TEXT).text == TEXT


def test_an_unfinished_method_is_not_offered(finished: Path, tmp_path: Path):
    broken = shutil.copytree(finished, tmp_path / "run")
    for seed in (3, 4):
        (broken / "concepts" / "mine" / f"seed-{seed}" / "manifest.json").unlink()
    run_folder = RunFolder(broken)
    options = run_folder.read_experiment()
    assert chosen_fit(run_folder, options, None, None) == FitName("random", 3)
    shutil.rmtree(broken / "concepts")
    with pytest.raises(StorageError, match="holds no finished concepts"):
        chosen_fit(run_folder, options, None, None)


def test_a_classifier_that_was_loaded_is_loaded_again(finished: Path, tmp_path: Path):
    path = write_experiment(
        tmp_path,
        backbone={"model": str(finished / "classifier"), "tuning": "none"},
        methods={"random": METHODS["random"], "classes": {}},
        seeds=[1],
    )
    (point,) = load_experiment(path)
    run(point)
    explainer = explainer_of(tmp_path / "run", words=False)
    assert explainer.explain(TEXT).classifier.label in explainer.model.label_names
    of_classes = explainer_of(tmp_path / "run", method="classes", words=False)
    assert set(of_classes.names) <= set(explainer.model.label_names)
    (fired,) = of_classes.explain(TEXT).concepts
    assert fired.name == of_classes.explain(TEXT).classifier.label


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_classifier_in_half_precision_is_explained(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = write_experiment(
        tmp_path,
        backbone=TINY["backbone"] | {"dtype": dtype},
        methods={"random": METHODS["random"]},
        seeds=[1],
    )
    run(load_experiment(path)[0], until="fit")
    status, printed = call(monkeypatch, capsys, "explain", str(tmp_path / "run"), TEXT, "--json")
    assert status == 0, printed
    (found,) = lines(printed)
    assert found["classifier"]["label"] in ("sports", "money", "space")


def test_a_run_without_what_is_typical_is_still_explained(finished: Path, tmp_path: Path):
    older = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(older / "typical")
    new, old = (explainer_of(run, words=False).explain(TEXT) for run in (finished, older))
    assert old.without_any == new.without_any
    assert old.appearance is None
    assert {concept.says_class for concept in old.concepts} == {None}
    assert None not in {concept.says_class for concept in new.concepts}
