"""A run made again beside itself: a sound one is the same, an altered one is caught and measured."""

import csv
import json
import shutil
from pathlib import Path
from typing import cast

import pytest
import torch

from classifsae.errors import DataError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from classifsae.pipeline.run_folder import RunFolder
from classifsae.pipeline.stages import Stage, Work, versions
from classifsae.pipeline.verify import _Check, verify
from classifsae.storage import (
    MANIFEST,
    Json,
    fingerprint,
    finish,
    made_with,
    manifest_of,
    noted_manifest,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
    write_text,
)
from e2e.conftest import SMALL, TINY, write_experiment
from e2e.test_cli import call

QUICK = SMALL | {"n_vectors": 2000}
BACKBONE = {**cast("dict[str, Json]", TINY["backbone"]), "n_steps": 25}


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def sealed(folder: Path, only: tuple[str, ...] | None = None) -> None:
    """Write the manifest that fits the files as they are now, as somebody who alters results would."""
    was = noted_manifest(folder)
    assert was is not None
    with made_with(was.made_with):
        finish(folder, inputs=was.inputs, record=was.record, only=only and [*was.files])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that is at its end."""
    file = write_experiment(
        tmp_path_factory.mktemp("verified"),
        backbone=BACKBONE,
        methods={"classifsae": QUICK, "identity": {}},
        seeds=[1],
    )
    return run(load_experiment(file)[0]).folder


def test_a_finished_run_is_the_same_and_is_not_touched(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = contents(finished)
    status, said = call(monkeypatch, capsys, "verify", str(finished))
    assert status == 0, said
    assert contents(finished) == before
    last = said.strip().splitlines()[-1]
    n_made = sum(path != finished / MANIFEST for path in finished.rglob(MANIFEST))
    assert last == f"All {n_made + 2} checks: the same, bit for bit."  # and checksums, results
    for stage in ("checksums", "finetune", "fit classifsae seed 1", "score identity seed 1", "report"):
        assert any(line.split("  ")[0].strip() == stage for line in said.splitlines())


def test_altered_results_are_caught_and_measured_though_their_checksums_fit(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    scores = folder / "scores" / "identity" / "seed-1"
    altered = cast("dict[str, dict[str, dict[str, float]]]", read_json(scores / "scores.json"))
    altered["completeness"]["accuracy"]["value"] -= 0.125
    write_json(scores / "scores.json", cast(Json, altered))
    sealed(scores)
    weights = folder / "concepts" / "classifsae" / "seed-1" / "concepts.safetensors"
    tensors = {name: tensor.clone() for name, tensor in read_tensors(weights).items()}
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] += 0.25
    write_tensors(weights, tensors)
    sealed(weights.parent)
    write_text(folder / "table.md", (folder / "table.md").read_text().replace("|", "!", 1))
    sealed(folder, only=("all",))
    monkeypatch.setattr("classifsae.cli.console.width", 200)
    status, said = call(monkeypatch, capsys, "verify", str(folder), "--quick")
    assert (status, said.strip().splitlines()[-1]) == (0, "1 check: the same, bit for bit.")

    rows = {row.stage: row.differs for row in verify(folder).rows}
    assert rows["score identity seed 1"] == (
        "scores.json: 1 number differs, by at most 0.12 (completeness.accuracy.value)",
    )
    (fit,) = rows["fit classifsae seed 1"]
    assert fit.startswith("concepts.safetensors: 1 of ")
    assert f"by at most 0.25 ({name})" in fit
    assert rows["score classifsae seed 1"][0] == "was made from other options or inputs than the run holds"
    assert "table.md: 1 of" in " ".join(rows["results"])
    assert not any(
        rows[stage] for stage in ("finetune", "capture train", "fit identity seed 1", "embed test")
    )


def test_damage_ends_in_the_files_name_before_anything_is_made_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    broken = [folder / "experiment.json", folder / "labels" / "findings.json"]
    broken[0].write_bytes(b"{}")
    broken[1].unlink()
    monkeypatch.setattr("classifsae.cli.console.width", 300)
    status, said = call(monkeypatch, capsys, "verify", str(folder))
    assert status == 1
    assert f"{broken[0]} has 2 bytes" in said
    assert f"{broken[1]} is missing" in said
    assert "finetune" not in said


@pytest.mark.parametrize("gone", ["manifest.json", "concepts/identity/seed-1/manifest.json"])
def test_files_without_a_manifest_are_not_taken_for_the_run_s(
    finished: Path,
    tmp_path: Path,
    gone: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / gone).unlink()
    monkeypatch.setattr("classifsae.cli.console.width", 300)
    status, said = call(monkeypatch, capsys, "verify", str(folder), "--quick")
    assert (status, "holds files without a manifest.json" in said) == (1, True)
    if gone == MANIFEST:
        status, said = call(monkeypatch, capsys, "report", str(folder), "--to", str(tmp_path / "report"))
        assert (status, "holds results without their manifest.json" in said) == (2, True)


def test_what_results_speak_of_is_missed(finished: Path, tmp_path: Path):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(folder / "scores" / "identity")
    found = {row.checked: row.differs for row in verify(folder, quick=True).rows if row.differs}
    assert found == {"scores/identity/seed-1": ("is not in the run, whose results speak of it",)}


def test_what_is_no_run_is_refused(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for place, why in (
        (tmp_path, "is no run"),
        (tmp_path / "none", "is no run"),
        (finished / "table.md", "is no run"),
        (finished / "report", "is no run"),
    ):
        for option in ([], ["--quick"]):
            status, said = call(monkeypatch, capsys, "verify", str(place), *option)
            assert status == 2
            assert why in said


def test_a_run_that_moved_with_its_data_is_told_where_they_are(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(folder / "report")
    for name in ("summary.json", "scores.json", "table.md", MANIFEST):
        (folder / name).unlink()
    shutil.rmtree(folder / "concepts")
    experiment = read_json(folder / "experiment.json")
    text = json.dumps(experiment).replace("short.csv", "gone.csv")
    (folder / "experiment.json").write_text(text)
    status, said = call(monkeypatch, capsys, "verify", str(folder))
    assert status == 2
    assert "gone.csv" in said
    moved = Path(shutil.copy(finished.parent / "short.csv", tmp_path / "short.csv"))
    rows = {row.stage: row for row in verify(folder, settings=[f"dataset={moved}"]).rows}
    assert not any(rows[stage].differs for stage in ("finetune", "capture train", "capture test"))
    assert "fit identity seed 1" not in rows
    assert rows["labels"].note.startswith("not made again")
    with moved.open("a", newline="") as stream:
        csv.writer(stream).writerow(["another match", "sports"])
    rows = {row.stage: row for row in verify(folder, settings=[f"dataset={moved}"]).rows}
    assert rows["finetune"].differs[0] == "was made from other options or inputs than the run holds"


class Lone:
    """A check of one stage of a run that holds one file, and what the stage writes there when it is made."""

    def __init__(
        self, folder: Path, *, held: str | None, asks: bool = False, inputs: Json = "as now"
    ) -> None:
        self.run, copy = RunFolder(folder / "run"), RunFolder(folder / "copy")
        self.run.path.mkdir(parents=True)
        self.made: list[str] = []
        self.stage = Stage("one", copy.audit, ("as now",), lambda *_: None, asks=asks)
        found = {}
        if held is not None:
            write_text(self.run.audit / "a.md", held)
            with made_with({"versions": {"torch": "0.1"}}):
                found[self.run.audit] = finish(
                    self.run.audit, inputs=fingerprint(inputs, {"torch": "0.1"}), record={}
                )
        self.check = _Check(self.run, cast(Work, type("Work", (), {"folder": copy})()), found, [])

    def write(self) -> None:
        self.made.append("")
        write_text(self.stage.folder / "a.md", "text")
        finish(self.stage.folder, inputs=self.stage.inputs, record={})

    def refuse(self) -> None:
        raise DataError("NaN")

    @property
    def differs(self) -> tuple[str, ...]:
        return self.check.rows[-1].differs


def test_later_stages_start_from_what_the_run_holds(tmp_path: Path):
    lone = Lone(tmp_path, held="other")
    assert lone.check.redo(lone.stage, lone.write) == manifest_of(lone.run.audit)
    assert lone.differs == ("a.md: 1 of 1 lines differ",)
    assert (lone.stage.folder / "a.md").read_text() == "other"
    assert versions() != {"torch": "0.1"}  # so that a stage of other versions is not one of other inputs


def test_a_stage_of_other_inputs_is_told(tmp_path: Path):
    lone = Lone(tmp_path, held="text", inputs="as they were")
    lone.check.redo(lone.stage, lone.write)
    assert lone.differs == ("was made from other options or inputs than the run holds",)


def test_a_language_model_is_not_asked_again(tmp_path: Path):
    lone = Lone(tmp_path, held="other", asks=True)
    lone.check.redo(lone.stage, lone.write)
    assert (lone.made, lone.differs) == ([], ())
    assert lone.check.rows[-1].result == "not made again: a language model was asked"


def test_a_stage_that_cannot_be_made_differs_unless_the_run_has_none_either(tmp_path: Path):
    there, gone = Lone(tmp_path / "there", held="text"), Lone(tmp_path / "gone", held=None)
    there.check.redo(there.stage, there.refuse)
    assert there.differs == ("cannot be made again: NaN",)
    with pytest.raises(DataError):
        gone.check.redo(gone.stage, gone.refuse)
    assert gone.differs == ()
    gone.check.redo(gone.stage, gone.write)
    assert gone.differs == ("is not in the run",)


def test_a_classifier_that_the_run_did_not_train_is_compared_and_its_makers_are_named(
    finished: Path, tmp_path: Path
):
    model = Path(shutil.copytree(finished / "classifier", tmp_path / "model"))
    file = write_experiment(
        tmp_path, backbone={"model": str(model), "tuning": "none"}, methods={"identity": {}}, seeds=[1]
    )
    run(load_experiment(file)[0], until="capture")
    found = verify(tmp_path / "run")
    assert [row.stage for row in found.rows] == ["checksums", "classifier", "capture train", "capture test"]
    assert (found.is_same, found.elsewhere) == (True, ())
    weights = {name: tensor.clone() for name, tensor in read_tensors(model / "model.safetensors").items()}
    name = next(iter(weights))
    weights[name] += 0.5
    write_tensors(model / "model.safetensors", weights, metadata={"format": "pt"})
    sealed(model)
    place = tmp_path / "run" / "activations" / "test"
    was = noted_manifest(place)
    assert was is not None
    with made_with({**was.made_with, "threads": 99, "versions": {**versions(), "torch": "1.0"}}):
        finish(place, inputs=was.inputs, record=was.record)
    found = verify(tmp_path / "run")
    rows = {row.stage: row.differs for row in found.rows}
    assert rows["classifier"][0].startswith("its weights are ")
    assert "source.model" in rows["capture train"][1]
    assert [line.partition(":")[0] for line in found.elsewhere] == [
        f"made with torch 1.0, checked with {versions()['torch']}",
        f"made with threads 99, checked with {torch.get_num_threads()}",
    ]
