"""Points of a sweep side by side, the same run twice at once, and a method alone beside others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from classifsae.concepts.base import Concepts
from classifsae.errors import ConfigError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run, run_fit
from classifsae.pipeline.run_folder import FitName, RunFolder
from e2e.conftest import TINY, write_data, write_experiment

FEW = {
    "methods": {"identity": {}, "random": {"top_k": 3}},
    "seeds": [1],
    "metrics": ["completeness"],
    "audit": None,
}


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "classifsae", *arguments],
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def test_a_sweep_side_by_side_does_each_point_once_also_when_it_is_started_twice(tmp_path: Path):
    files = [str(write_data(tmp_path / name, n=90)) for name in ("a.csv", "b.csv")]
    sweep = {"sweep": {"dataset": files}, "run_dir": str(tmp_path / "{dataset}")}
    file = str(write_experiment(tmp_path, **(FEW | sweep)))
    both = [command("run", file, "--jobs", "2") for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    whole = "".join(said)
    for number in (1, 2):  # what took part in both says how long it took once, and that it is there once
        finetunes = [
            line
            for line in whole.splitlines()
            if line.startswith(f"{number} | finetune") and line.endswith((" s", "up to date"))
        ]
        assert sorted("up to date" in line for line in finetunes) == [False, True]
    assert [run(point).n_done for point in load_experiment(Path(file))] == [0, 0]


def test_points_that_share_a_classifier_have_folders_of_their_own_and_tune_it_once(tmp_path: Path):
    sweep = {"sweep": {"n_concepts": [4, 5]}, "run_dir": str(tmp_path / "runs" / "{backbone}")}
    methods = {"methods": {"kmeans": {}, "identity": {}}}
    file = write_experiment(tmp_path, **(FEW | sweep | methods))
    process = command("run", str(file), "--jobs", "2")
    said = process.communicate()[0]
    assert process.returncode == 0, said
    four, five = (tmp_path / "runs" / f"bert,n_concepts={n}" for n in (4, 5))
    for kind, n_times in {"finetune": 1, "capture train": 1, "fit kmeans": 2, "fit identity": 1}.items():
        made = [line for line in said.splitlines() if f"| {kind}" in line and line.endswith(" s")]
        assert len(made) == n_times, said
    weights = "classifier/model.safetensors"
    assert (four / weights).samefile(five / weights)  # once on the disk
    kept = [len(Concepts.load(RunFolder(run).concepts(FitName("kmeans", 1)))) for run in (four, five)]
    assert kept == [4, 5]

    whole = (four / weights).read_bytes()
    (five / weights).unlink()
    (five / weights).write_bytes(whole[:-1])  # a damaged one is made again from the other's
    assert "it is made again" in "".join(command("run", str(file)).communicate()[:1])
    assert (five / weights).samefile(four / weights)
    assert [run(point).n_done for point in load_experiment(file)] == [0, 0]


def test_a_method_alone_leaves_the_table_to_the_run_which_finds_its_scores(experiment: Path):
    (point,) = load_experiment(experiment, ["seeds=[1]"])
    alone = run_fit(point, FitName("random", 1))
    folder = alone.folder
    assert alone.n_done == 3 + 1 + 2  # classifier, activations, embeddings, concepts, scores
    assert not (folder / "summary.json").exists()
    again = run_fit(point, FitName("random", 1))
    assert (again.n_done, again.n_kept) == (0, alone.n_done)
    whole = run(point, until="score")
    assert whole.n_kept == alone.n_done
    assert (folder / "summary.json").is_file()


def test_a_method_that_there_is_not_is_refused(experiment: Path):
    (point,) = load_experiment(experiment, ["seeds=[1]"])
    with pytest.raises(ConfigError, match="no pca seed 1 in this experiment; give one of classifsae/1"):
        run_fit(point, FitName("pca", 1))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_training_that_is_told_to_stop_saves_where_it_is(
    tmp_path: Path, number: signal.Signals, status: int
):
    backbone = TINY["backbone"] | {"n_steps": 100_000}  # type: ignore[operator]
    file = write_experiment(tmp_path, **(FEW | {"backbone": backbone}))
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal, also under nohup
    process, classifier = command("run", str(file)), tmp_path / "run" / "classifier"
    signal.signal(signal.SIGHUP, ignored)
    while not (classifier / "checkpoints").exists():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    process.send_signal(number)
    said = process.communicate()[0]
    assert process.returncode == status
    assert f"stopped by {number.name}; run the same command again to go on from here." in said
    assert list(classifier.glob("checkpoints/checkpoint-*/manifest.json"))


def test_a_folder_that_is_moved_under_a_run_ends_it(tmp_path: Path):
    backbone = TINY["backbone"] | {"n_steps": 200}  # type: ignore[operator]
    process = command("run", str(write_experiment(tmp_path, **(FEW | {"backbone": backbone}))))
    folder = tmp_path / "run"
    while not (folder / "classifier").exists():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    folder.rename(tmp_path / "moved")
    said = process.communicate()[0]
    assert (process.returncode, f"{folder} was moved or removed while a run was at work" in said) == (2, True)
