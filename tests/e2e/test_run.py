"""All stages on a small experiment: the page of results, no work twice, and what survives a kill."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import Stop, run
from classifsae.pipeline.run_folder import FitName, RunFolder
from classifsae.storage import write_text
from classifsae.tensors import OnStep
from e2e.conftest import write_experiment

N_FIRST = 1 + 2 + 2 + 1
N_STAGES = N_FIRST + 4 * 2 * 5 + 4 + 2 + 1 + 1 + 1


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run, by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted, beside its experiment file."""
    folder = tmp_path_factory.mktemp("finished")
    (point,) = load_experiment(write_experiment(folder))
    assert run(point).n_done == N_STAGES
    return folder


def test_the_summary_has_one_flat_record_per_method_and_seed(finished: Path):
    records = json.loads((finished / "run" / "summary.json").read_text())
    assert [(r["method"], r["seed"]) for r in records] == [
        (method, seed) for seed in (1, 2) for method in ("classifsae", "sae", "identity", "random")
    ]
    for record in records:
        assert record["dataset"] == "short"
        for name in ("backbone", "n_concepts", "accuracy", "recovery_accuracy", "activation_rate",
                     "conditional_flip_rate", "conditional_tvd", "conditional_accuracy_change",
                     "global_flip_rate_100", "concept_sim", "dataset_cosine_mean"):  # fmt: skip
            assert name in record
        assert all(not isinstance(value, (dict, list)) for value in record.values())
    assert all(r["stability"] == 1 for r in records if r["method"] == "identity")
    assert all(r["recovery_accuracy"] > 0.99 for r in records if r["method"] == "identity")


def test_the_scores_hold_every_number_with_its_unit_and_each_concept(finished: Path):
    page = json.loads((finished / "run" / "scores.json").read_text())
    assert page["label_names"] == ["money", "space", "sports"]
    assert "texts were longer than the model reads: cut." in page["notes"][0]
    for result in page["results"]:
        entry = result["scores"]["completeness"]["recovery_accuracy"]
        assert (entry["unit"], entry["range"]) == ("fraction", [0, 1])
        causality = result["scores"]["causality"]
        assert len(causality["concepts"]) == causality["n_alive"]["value"]


def test_every_method_is_described_and_ones_own_names_are_kept(finished: Path, tmp_path: Path):
    ours = RunFolder(finished / "run").described(FitName("classifsae", 1))
    assert ours is not None
    assert any(d.sentences for d in ours)
    assert all(d.words for d in ours if d.sentences)  # others are named by their training sentences
    names = finished / "run" / "names" / "classifsae" / "seed-1.yaml"
    write_text(names, f"{ours[0].latent}: what pays\n")
    named = RunFolder(finished / "run").described(FitName("classifsae", 1))
    names.unlink()
    assert named is not None
    assert [d.name for d in named] == ["what pays", *(d.name for d in ours[1:])]


def test_the_table_has_a_row_per_method(finished: Path):
    lines = (finished / "run" / "table.md").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("|")][2:] == [
        "classifsae", "sae", "identity", "random",
    ]  # fmt: skip


def test_the_report_is_a_page_and_tables_and_no_pictures_unless_asked_for(finished: Path):
    report = finished / "run" / "report"
    html = (report / "index.html").read_text()
    assert str(finished) not in html
    for name in ("classifsae", "sae"):
        assert f'data-method="{name}"' in html
    assert not (report / "figures").exists()
    assert "classifsae" in (report / "table.md").read_text()
    manifest = json.loads((report / "manifest.json").read_text())
    assert {"index.html", "table.tex"} <= manifest["files"].keys()


def test_a_second_run_does_nothing_and_changes_nothing(finished: Path):
    before = contents(finished / "run")
    (point,) = load_experiment(finished / "tiny.yaml")
    outcome = run(point)
    assert (outcome.n_done, outcome.n_kept) == (0, N_STAGES)
    assert contents(finished / "run") == before


def test_a_changed_option_redoes_only_what_depends_on_it(finished: Path, experiment: Path):
    (point,) = load_experiment(experiment, ["seeds=[1]"])
    assert run(point, until="describe").n_done == N_FIRST + 4 * 5
    (changed,) = load_experiment(experiment, ["seeds=[1]", "methods.random.top_k=2"])
    assert run(changed, until="describe").n_done == 5
    (others,) = load_experiment(experiment, ["seeds=[1]", "methods.random.top_k=2", "words.language=none"])
    assert run(others).n_done == 8 + 2 + 2 + 1


class Killed(Exception):
    pass


class Killer:
    """Stops the run after some steps of a stage whose name begins so."""

    def __init__(self, stage: str, after: int) -> None:
        self._stage, self._after = stage, after

    @contextmanager
    def stage(self, name: str, /) -> Iterator[OnStep]:
        def on_step(done: int, total: int, values: object, /) -> None:
            if name.startswith(self._stage) and done >= self._after:
                raise Killed

        yield on_step

    def kept(self, name: str, /) -> None:
        pass


@pytest.mark.parametrize(
    ("stage", "after"),
    [("finetune", 7), ("capture test", 1), ("fit classifsae seed 2", 100), ("score sae seed 1", 1)],
)
def test_a_run_that_was_stopped_ends_bit_for_bit_as_if_it_had_not_been(
    finished: Path, experiment: Path, stage: str, after: int
):
    (point,) = load_experiment(experiment)
    with pytest.raises(Killed):
        run(point, watch=Killer(stage, after))
    # Pictures take seconds: once is enough.
    until: Stop = "report" if stage.startswith("score") else "describe"
    run(point, until=until)
    ours, whole = contents(experiment.parent / "run"), contents(finished / "run")
    for name in ("experiment.json", "manifest.json"):  # they name their own folders, or seal what does
        ours.pop(name), whole.pop(name)
    later = () if until == "report" else ("report/", "mistakes/", "audit/", "effects/", "summary.json")
    whole = {n: c for n, c in whole.items() if not n.startswith(later)}
    ours = {n: c for n, c in ours.items() if not n.startswith(later)}
    assert ours.keys() == whole.keys()
    assert not [name for name in whole if ours[name] != whole[name]]


def kill_after(stage: str, experiment: Path) -> None:
    """Run an experiment in a process of its own, and kill that once it says that a stage is done."""
    command = [sys.executable, "-m", "classifsae", "run", str(experiment)]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith(stage) for line in process.stdout)
        process.kill()


@pytest.mark.slow
def test_a_process_that_is_killed_outright_leaves_nothing_broken(finished: Path, experiment: Path):
    for stage in ("finetune", "fit classifsae seed 1"):
        kill_after(stage, experiment)
    (point,) = load_experiment(experiment)
    run(point)
    ours, whole = contents(experiment.parent / "run"), contents(finished / "run")
    left_out = ("experiment.json", "manifest.json")
    assert not [n for n in whole if n not in left_out and ours[n] != whole[n]]


def test_the_published_protocol_is_an_option(experiment: Path):
    settings = ["seeds=[1]", "methods={sae: {n_latents: 48, top_k: 4, n_vectors: 5000, n_probe: 80}}"]
    (ours,) = load_experiment(experiment, settings)
    (published,) = load_experiment(experiment, [*settings, "protocol=published"])
    run(ours, until="describe")
    assert run(published, until="describe").n_done == 5
    assert "published" in json.loads((experiment.parent / "run" / "scores.json").read_text())["protocol"]
