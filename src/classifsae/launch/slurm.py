"""An experiment on a Slurm cluster: submitted, looked at, cancelled.

What happened is read from the files that jobs leave and from ``squeue``; no accounting is needed.
"""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from classifsae.errors import ClassifSAEError, ConfigError, StorageError, UnknownNameError
from classifsae.launch.profile import Profile, Request, requests
from classifsae.launch.scripts import Job, jobs_of, script
from classifsae.pipeline.config import Experiment
from classifsae.pipeline.run_folder import RunFolder, sweep_of
from classifsae.storage import write_json, write_text

_FILE = "launch.json"
_TAIL = 12  # lines of a log
_IN_QUEUE = {"PENDING", "RUNNING", "REQUEUED", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUE_HOLD"}


class TaskState(BaseModel, frozen=True):
    """How far one task is.

    Attributes:
        name: of the task and its log.
        does: what it does, such as ica/42.
        state: "done", "failed", "cancelled", or the cluster's word for it, such as "running".
        detail: its exit status, the node, or why it waits.
    """

    name: str
    does: str
    state: str
    detail: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether it will not be done as things are."""
        return self.state in ("failed", "lost")


class Launch(BaseModel):
    """The jobs of an experiment on a cluster, and the folder that says so.

    Attributes:
        folder: of points, scripts and logs.
        title: of the experiment.
        jobs: of all its runs.
    """

    folder: Path
    title: str
    jobs: list[Job]

    @classmethod
    def read(cls, folder: Path) -> "Launch":
        """What was launched from a folder.

        Raises:
            StorageError: nothing was.
        """
        try:
            found = cls.model_validate_json((folder / _FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise StorageError(
                f"{folder} is no launch: it holds no {_FILE}; give the folder that `classifsae launch slurm` "
                f"named, such as runs/launch/paper."
            ) from error
        return found.model_copy(update={"folder": folder.absolute()})

    def write(self) -> None:
        """Keep what was submitted."""
        write_json(self.folder / _FILE, self.model_dump(mode="json"))

    def states(self) -> list[list[TaskState]]:
        """The tasks of each job."""
        in_queue = _queue([job.id for job in self.jobs if job.id])
        return [
            [
                self._state(name, number, does, in_queue)
                for (name, number), does in zip(
                    job.tasks_by_name.items(), job.tasks or (job.kind,), strict=True
                )
            ]
            for job in self.jobs
        ]

    def _state(self, name: str, number: str, does: str, in_queue: dict[str, tuple[str, str]]) -> TaskState:
        state, detail = in_queue.get(number, ("", ""))
        ended = self.folder / "ended" / name
        if state in _IN_QUEUE:
            return TaskState(name=name, does=does, state=state.lower(), detail=detail)
        if ended.is_file():
            status = ended.read_text().strip()
            if status == "0":
                return TaskState(name=name, does=does, state="done")
            return TaskState(name=name, does=does, state="failed", detail=f"exit status {status}")
        if state == "CANCELLED" or not number or number.startswith("_"):
            return TaskState(name=name, does=does, state="cancelled")
        if state:
            why = f"{state.lower()} {detail}".strip()
            if not self.log(name).is_file():
                why += f", and left no log: does that node see {self.folder}?"
            return TaskState(name=name, does=does, state="failed", detail=why)
        return TaskState(name=name, does=does, state="lost", detail="left the queue without an exit status")

    def log(self, name: str) -> Path:
        """Log of a task."""
        return self.folder / "logs" / f"{name}.log"

    def lines(self, name: str) -> list[str]:
        """A task's log.

        Raises:
            UnknownNameError: there is no such task.
            StorageError: it has no log yet.
        """
        if name not in (known := [task for job in self.jobs for task in job.tasks_by_name]):
            raise UnknownNameError("task", name, known)
        try:
            return self.log(name).read_text("utf-8", "replace").splitlines()
        except OSError as error:
            raise StorageError(
                f"{name} has no log: it has not begun, or its node cannot write there."
            ) from error

    def tail(self, name: str) -> list[str]:
        """The last lines of a task's log; none where it left none."""
        file = self.log(name)
        return file.read_text("utf-8", "replace").splitlines()[-_TAIL:] if file.is_file() else []

    def cancel(self) -> None:
        """Take all jobs out of the queue; what they finished stays.

        Raises:
            ClassifSAEError: the cluster does not answer.
        """
        if ids := [job.id for job in self.jobs if job.id]:
            _call("scancel", *ids)


def planned(
    points: Sequence[Experiment], profile: Profile, *, folder: Path, title: str
) -> list[tuple[Job, Request, str]]:
    """Every job with what it asks for and its script, in the order in which they are submitted.

    Raises:
        ClassifSAEError: a data set or backbone cannot be read.
    """
    found = []
    for number, point in enumerate(points, start=1):
        asked = requests(point, profile)
        for job in jobs_of(number, point, RunFolder.of(point).path.absolute()):
            request = asked[job.kind]
            found.append((job, request, script(job, request, profile, folder=folder, title=title)))
    return found


def submit(
    points: Sequence[Experiment], profile: Profile, *, folder: Path, title: str, say: Callable[[str], None]
) -> Launch:
    """Submit all jobs of an experiment, each run's after one another; a sweep's captures too.

    Raises:
        ConfigError: the same is in the queue already.
        ClassifSAEError: the input is wrong, or the cluster refuses a job; those before it are submitted.
    """
    _require_ended(folder)
    plan = planned(points, profile, folder=folder, title=title)
    for part in ("logs", "ended"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for old in (folder / part).iterdir():
            old.unlink()
    for number, point in enumerate(points, start=1):
        tree = point.anchored().model_dump(mode="json") | {"run_dir": _absolute(point.run_dir)}
        write_text(folder / "points" / f"{number}.yaml", yaml.safe_dump(tree, sort_keys=False))
    launch = Launch(folder=folder, title=title, jobs=[job for job, _, _ in plan])
    last: dict[Path, str] = {}  # job before the next one in each run's folder
    captures: dict[Path, str] = {}  # of each sweep in its folders: the classifier is made once
    for place, (job, request, text) in enumerate(plan):
        file = folder / "scripts" / f"{job.name}.sh"
        write_text(file, text)
        run, is_capture = Path(job.run), job.kind == "capture"
        kind, after = ("afterany", captures.get(sweep_of(run))) if is_capture else ("afterok", last[run])
        dependency = [f"--dependency={kind}:{after}", "--kill-on-invalid-dep=yes"] if after else []
        last[run] = _call("sbatch", "--parsable", *dependency, str(file)).split(";")[0].strip()
        if is_capture:
            captures[sweep_of(run)] = last[run]
        launch.jobs[place] = job.model_copy(update={"id": last[run]})
        launch.write()
        if request.misfit:
            say(f"{job.name}: {request.misfit}")
    return launch


def _require_ended(folder: Path) -> None:
    if not (folder / _FILE).is_file():
        return
    launch = Launch.read(folder)
    if any(state in _IN_QUEUE for state, _ in _queue([job.id for job in launch.jobs if job.id]).values()):
        raise ConfigError(
            f"{folder} has jobs in the queue; wait for them, or `classifsae launch cancel {folder}` first."
        )


def _absolute(run_dir: str) -> str:
    here = str(Path.cwd()).replace("{", "{{").replace("}", "}}")
    return str(Path(here) / Path(run_dir).expanduser())


def _queue(ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """State of each task that the cluster still knows, and its node or why it waits."""
    if not ids:
        return {}
    try:
        said = _call("squeue", "-h", "-r", "-t", "all", "-j", ",".join(ids), "-o", "%i|%T|%R")
    except ClassifSAEError as error:
        if "Invalid job id" in str(error):  # the cluster has forgotten all of them
            return {}
        raise
    rows = (line.split("|", 2) for line in said.splitlines() if line.count("|") >= 2)
    return {number: (state, why.strip("()")) for number, state, why in rows}


def _call(*command: str) -> str:
    """What a command of the cluster says.

    Raises:
        ClassifSAEError: there is no such command, or it fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ClassifSAEError(
            f"there is no {command[0]} here; run this where jobs are submitted to Slurm, or add --dry-run."
        ) from error
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise ClassifSAEError(f"{command[0]} refuses: {why}")
    return done.stdout
