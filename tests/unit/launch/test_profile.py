"""What jobs ask for: from a file, from a command line over it, and from what an experiment needs."""

from pathlib import Path

import pytest
import yaml

from classifsae.errors import ConfigError
from classifsae.launch.profile import Profile, read_profile, requests
from classifsae.launch.scripts import jobs_of, script
from classifsae.launch.slurm import planned
from classifsae.pipeline.config import Experiment, load_experiment

BASE = {"backbone": "minilm", "dataset": "planted", "methods": {"ica": {}, "random": {}}, "seeds": [1, 2]}
PAPER = Path(__file__).parents[3] / "experiments" / "paper.yaml"


def experiment(**changes: object) -> Experiment:
    return Experiment.model_validate(BASE | changes)


def test_the_command_line_comes_before_the_file(tmp_path: Path):
    file = tmp_path / "cluster.yaml"
    file.write_text("partition: gpu\ntime: 4:00:00\nsetup: [module load cuda]\n")
    found = read_profile(file, partition="long", gpus="2", account=None)
    assert (found.partition, found.time, found.gpus) == ("long", "4:00:00", 2)
    assert found.setup == ("module load cuda",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"partitions": "gpu"}, "unknown option 'partitions'. Did you mean 'partition'?"),
        ({"gpus": "many"}, "gpus"),
        ({"account": "me --wrap=x"}, "account"),
        ({"cpus": 0}, "cpus"),
        ({"memory": "-5G"}, "memory: is '-5G'; write it as Slurm does, such as 32G"),
        ({"time": "soon"}, "time: is 'soon'; write it as Slurm does, such as 12:00:00"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said(tmp_path: Path, options: dict, said: str):
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(options))
    with pytest.raises(ConfigError, match=said.replace("?", r"\?").replace(".", r"\.")):
        read_profile(file)


def test_times_in_yaml_are_read_as_they_are_written(tmp_path: Path):
    file = tmp_path / "cluster.yaml"
    file.write_text("time: 30\n")
    assert read_profile(file).time == "30"
    for time in ("12:00:00", "1-12", "1-12:30:00", "UNLIMITED"):
        file.write_text(f"time: {time}\n")
        assert read_profile(file).time == time


def test_a_gpu_is_asked_for_unless_the_experiment_or_the_profile_says_no():
    on_gpu, off = requests(experiment(), Profile()), requests(experiment(), Profile(gpus=0))
    assert [r.gpus for r in on_gpu.values()] == [1, 1, 1]
    assert [r.gpus for r in off.values()] == [0, 0, 0]
    assert {r.gpus for r in requests(experiment(device="cpu"), Profile()).values()} == {0}
    assert all(r.gpu_bytes > 5e8 for r in on_gpu.values())


def test_several_gpus_are_for_the_job_that_trains_and_captures_with_a_process_for_each(tmp_path: Path):
    asked, alone = (requests(experiment(), Profile(gpus=n)) for n in (4, 1))
    assert {kind: (r.gpus, r.n_processes) for kind, r in asked.items()} == {
        "capture": (4, 4), "methods": (1, 1), "report": (1, 1)
    }  # fmt: skip
    assert int(asked["capture"].memory[:-1]) == pytest.approx(4 * int(alone["capture"].memory[:-1]), abs=4)
    jobs = jobs_of(1, experiment(), tmp_path / "run")
    texts = [script(j, asked[j.kind], Profile(gpus=4), folder=tmp_path, title="tiny") for j in jobs]
    start = "-m torch.distributed.run --standalone --nproc_per_node=4 -m classifsae"
    assert [start in text for text in texts] == [True, False, False]
    spread = experiment(backbone={"model": "minilm", "tuning": "none", "device_map": "auto"})
    assert {(r.gpus, r.n_processes) for r in requests(spread, Profile(gpus=2)).values()} == {(2, 1)}


def test_more_gpu_memory_than_there_is_is_said():
    found = requests(experiment(), Profile(gpu_memory=0.1))
    assert found["capture"].misfit.startswith("needs about ")
    assert not requests(experiment(), Profile(gpu_memory=80))["capture"].misfit


def test_the_methods_are_an_array_and_a_script_says_what_each_task_runs(tmp_path: Path):
    capture, methods, report = jobs_of(3, experiment(), tmp_path / "run")
    asked = requests(experiment(), Profile())["methods"]
    text = script(methods, asked, Profile(at_once=2, qos="low"), folder=tmp_path, title="tiny")
    assert (capture.tasks, report.tasks) == ((), ())
    assert methods.tasks == ("ica/1", "random/1", "ica/2", "random/2")
    for line in ("#SBATCH --array=1-4%2", "#SBATCH --qos=low", "#SBATCH --gres=gpu:1", "#SBATCH --requeue"):
        assert line in text.splitlines()
    assert f"  3) set -- score {tmp_path}/points/3.yaml --only ica/2 ;;" in text.splitlines()
    assert "partition" not in text


def test_the_paper_is_28_runs_with_memory_and_gpus_of_their_own(tmp_path: Path):
    plan = planned(load_experiment(PAPER), Profile(gpu_memory=80), folder=tmp_path, title="paper")
    captures = [request for job, request, _ in plan if job.kind == "capture"]
    assert len(captures) == 28
    assert {r.gpus for r in captures} == {1}
    assert len({r.gpu_bytes for r in captures}) > 7
    assert len({job.run for job, _, _ in plan}) == 28
