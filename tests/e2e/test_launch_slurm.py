"""An experiment on a real Slurm of one node: arrays, dependencies, and what goes wrong on the way."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from classifsae.launch.profile import Profile
from classifsae.launch.slurm import Launch, TaskState, submit
from classifsae.launch.terminal import failures
from classifsae.pipeline.config import Experiment, load_experiment
from classifsae.pipeline.run import run
from e2e.conftest import TINY, write_experiment
from e2e.slurm import Slurm, missing

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
PROFILE = Profile(cpus=1, memory="900M")
CHEAP = {
    "n_concepts": 3,
    "methods": {"ica": {}, "random": {"top_k": 3}},
    "seeds": [1],
    "metrics": ["completeness"],
    "audit": None,
}
LONG = TINY["backbone"] | {"n_steps": 20000}  # type: ignore[operator]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    if why := missing():
        pytest.skip(why)
    root = Path(tempfile.mkdtemp(prefix="slurm"))  # short, as the path of a socket must be
    slurm = Slurm(root)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
        shutil.rmtree(root)


@pytest.fixture(autouse=True)
def _commands(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])


def launched(folder: Path, *points: Experiment) -> Launch:
    return submit(points, PROFILE, folder=folder / "launch", title="tiny", say=print)


def point_in(folder: Path, **changes: object) -> Experiment:
    folder.mkdir(exist_ok=True)
    (point,) = load_experiment(write_experiment(folder, **(CHEAP | changes)))
    return point


def states(launch: Launch) -> dict[str, TaskState]:
    return {one.name: one for of_job in launch.states() for one in of_job}


def words(launch: Launch) -> list[str]:
    return [one.state for one in states(launch).values()]


def has_begun_to_train(launch: Launch, number: int = 1) -> bool:
    """Whether the classifier of a run is trained now: its folder is taken into work."""
    run_folder = next(job.run for job in launch.jobs if job.number == number)
    return (Path(run_folder) / "classifier").is_dir()


def pid_in(folder: Path) -> int:
    """The process that works on a launch's first point."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "classifsae" in command and str(folder / "launch" / "points" / "1.yaml") in command:
                return int(entry.name)
    raise AssertionError("no such process")


def test_capture_then_methods_side_by_side_then_the_report_which_leaves_nothing_to_do(
    cluster: Slurm, tmp_path: Path
):
    file = write_experiment(tmp_path, **(CHEAP | {"sweep": {"n_concepts": [3, 4]}}))
    points = load_experiment(file)
    launch = launched(tmp_path, *points)
    names = [
        f"{number}-{job}" for number in (1, 2) for job in ("capture", "methods-1", "methods-2", "report")
    ]
    assert list(states(launch)) == names
    assert words(launch)[1:] == ["pending"] * 7
    cluster.until(lambda: set(words(launch)) == {"done"}, 600)
    assert [run(point).n_done for point in points] == [0, 0]
    assert "up to date" in "\n".join(launch.lines("1-methods-1"))
    captured = launch.lines("2-capture")  # begins when that of the other point has ended
    assert [line.endswith("up to date") for line in captured if line.startswith("finetune")] == [True]


def test_a_killed_job_shows_its_log_its_dependants_are_cancelled_and_other_runs_go_on(
    cluster: Slurm, tmp_path: Path
):
    long, other = point_in(tmp_path / "a", backbone=LONG), point_in(tmp_path / "b")
    launch = launched(tmp_path, long, other)
    cluster.until(lambda: has_begun_to_train(launch))
    os.kill(pid_in(tmp_path), signal.SIGKILL)
    cluster.until(lambda: states(launch)["2-report"].state == "done", 600)
    assert words(launch)[:4] == ["failed", "cancelled", "cancelled", "cancelled"]
    said = failures(launch, launch.states())
    assert said[0] == "1-capture (capture) failed: exit status 137"
    assert any("1-capture on" in line for line in said[1:])


def test_a_job_whose_time_is_up_saves_and_queues_again_also_over_a_restart_of_the_controller(
    cluster: Slurm, tmp_path: Path
):
    launch = launched(tmp_path, point_in(tmp_path, backbone=TINY["backbone"] | {"n_steps": 300}))  # type: ignore[operator]
    cluster.until(lambda: has_begun_to_train(launch))
    cluster.stop_controller()
    cluster.start_controller()
    cluster.call("scancel", "--signal=USR1", "--batch", launch.jobs[0].id)
    cluster.until(lambda: any("queues again" in line for line in launch.tail("1-capture")))
    cluster.until(lambda: set(words(launch)) == {"done"}, 600)
    log = launch.lines("1-capture")
    assert sum("1-capture on" in line for line in log) == 2
    assert any("stopped by SIGTERM" in line for line in log)


def test_a_node_that_does_not_see_the_folder_is_said_and_nothing_else_starts(cluster: Slurm, tmp_path: Path):
    cluster.call("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test")
    launch = launched(tmp_path, point_in(tmp_path))
    (tmp_path / "launch").rename(tmp_path / "away")
    cluster.call("scontrol", "update", "NodeName=n1", "State=RESUME")
    cluster.until(lambda: not cluster.call("squeue", "-h"))
    (tmp_path / "away").rename(tmp_path / "launch")
    assert words(launch) == ["failed", "cancelled", "cancelled", "cancelled"]
    assert "does that node see" in failures(launch, launch.states())[0]


def test_cancelled_jobs_leave_the_queue_and_the_same_launch_can_be_made_again(cluster: Slurm, tmp_path: Path):
    point = point_in(tmp_path, backbone=LONG)
    launch = launched(tmp_path, point)
    with pytest.raises(Exception, match="has jobs in the queue"):
        launched(tmp_path, point)
    launch.cancel()
    cluster.until(lambda: not cluster.call("squeue", "-h"))
    assert set(words(launch)) == {"cancelled"}
    launched(tmp_path, point).cancel()
