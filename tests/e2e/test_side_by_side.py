"""Points of a sweep side by side, the same run twice at once, and a method alone beside others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from classifsae.errors import ConfigError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run, run_fit
from classifsae.pipeline.run_folder import FitName
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
        finetunes = [line for line in whole.splitlines() if line.startswith(f"{number} | finetune")]
        assert sorted("up to date" in line for line in finetunes) == [False, True]
    assert [run(point).n_done for point in load_experiment(Path(file))] == [0, 0]


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


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_that_is_told_to_stop_saves_where_it_is(
    tmp_path: Path, number: signal.Signals, status: int
):
    backbone = TINY["backbone"] | {"n_steps": 100_000}  # type: ignore[operator]
    file = write_experiment(tmp_path, **(FEW | {"backbone": backbone}))
    process, classifier = command("run", str(file)), tmp_path / "run" / "classifier"
    while not (classifier / "checkpoints").exists():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    process.send_signal(number)
    said = process.communicate()[0]
    assert process.returncode == status
    assert f"stopped by {number.name}; run the same command again to go on from here." in said
    assert list(classifier.glob("checkpoints/checkpoint-*/manifest.json"))
