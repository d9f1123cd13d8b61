"""The batch scripts of an experiment: per run a job that captures, one per method and seed, one that reports.

Whatever a job does can be stopped and done again by the same command, so that to queue it again is all that a
time-out or a preemption takes.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from classifsae.data.sources import resolve
from classifsae.launch.profile import Profile, Request
from classifsae.pipeline.config import Experiment
from classifsae.pipeline.run_folder import fits_of

Kind = Literal["capture", "methods", "report"]
KINDS: tuple[Kind, ...] = ("capture", "methods", "report")

_BODY = """
name={name}${{SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}}
cd {folder} || {{ echo "classifsae: $(hostname) does not see it; use a disk of all nodes" >&2; exit 2; }}
rm -f ended/$name
echo "$(date '+%F %T') $name on $(hostname)"
{setup}
case ${{SLURM_ARRAY_TASK_ID:-0}} in
{cases}
esac
# At the end of its time a job saves, ends and queues again.
again() {{
  kill -TERM $child; wait $child
  echo "$(date '+%F %T') $name queues again"
  exec scontrol requeue "$SLURM_JOB_ID"
}}
trap again USR1
trap 'kill -TERM $child; wait $child; exit 143' TERM
export OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}} PYTHONUNBUFFERED=1
cd {here}
{python} {torchrun}-m classifsae "$@" &
child=$!
wait $child
status=$?
echo $status > {folder}/ended/$name
exit $status
"""


_TORCHRUN = "-m torch.distributed.run --standalone --nproc_per_node={n} "


class Job(BaseModel):
    """A job, or an array of them, of one run.

    Attributes:
        number: of the run in its sweep, from 1.
        kind: what it does.
        of: what the run is about, in words.
        tasks: what each task of an array does; empty for a job that is none.
        run: folder of the run.
        id: by which the cluster knows it; "" before it is submitted.
    """

    number: int
    kind: Kind
    of: str
    tasks: tuple[str, ...] = ()
    run: str = ""
    id: str = ""

    @property
    def name(self) -> str:
        """Of the job, its script and its log."""
        return f"{self.number}-{self.kind}"

    @property
    def tasks_by_name(self) -> dict[str, str]:
        """Name of each task, which is of its log too, and the cluster's number for it."""
        if not self.tasks:
            return {self.name: self.id}
        return {f"{self.name}-{i}": f"{self.id}_{i}" for i in range(1, len(self.tasks) + 1)}


def jobs_of(number: int, experiment: Experiment, run: Path) -> tuple[Job, ...]:
    """The jobs of one run, each after the one before."""
    fits = tuple(f"{fit.label}/{fit.seed}" for fit in fits_of(experiment))
    of = f"{experiment.backbone.name} on {resolve(experiment.dataset)[0]}"
    return tuple(
        Job(number=number, kind=kind, of=of, tasks=fits if kind == "methods" else (), run=str(run))
        for kind in KINDS
    )


def script(job: Job, request: Request, profile: Profile, *, folder: Path, title: str) -> str:
    """The batch script of a job.

    Args:
        job: what it does.
        request: what it asks for.
        profile: the cluster's options.
        folder: of the launch.
        title: of the experiment.
    """
    log = folder / "logs" / (f"{job.name}-%a.log" if job.tasks else f"{job.name}.log")
    at_once = f"%{profile.at_once}" if profile.at_once else ""
    gpu = f"gpu:{profile.gpu_type}:" if profile.gpu_type else "gpu:"
    options = {
        "job-name": f"{title}-{job.name}",
        "output": str(log).replace("\\", "\\\\"),
        "open-mode": "append",
        "requeue": None,
        "signal": f"B:USR1@{profile.warn_seconds}",
        "array": f"1-{len(job.tasks)}{at_once}" if job.tasks else "",
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "time": profile.time,
        "cpus-per-task": str(profile.cpus),
        "mem": request.memory,
        "gres": f"{gpu}{request.gpus}" if request.gpus else "",
    }
    lines = ["#!/bin/bash", f"# {job.of}: {job.kind}"]
    if request.gpu_bytes:
        lines.append(f"# needs about {request.gpu_bytes / 1e9:.1f} GB of GPU memory")
    for name, value in options.items():
        if name == "requeue" or value:
            lines.append(f"#SBATCH --{name}" if value is None else f"#SBATCH --{name}={_quoted(value)}")
    body = _BODY.format(
        name=job.name,
        folder=shlex.quote(str(folder)),
        setup="\n".join(profile.setup),
        cases="\n".join(f"  {i}) set -- {shlex.join(words)} ;;" for i, words in _commands(job, folder)),
        here=shlex.quote(str(Path.cwd())),
        python=shlex.quote(sys.executable),
        torchrun=_TORCHRUN.format(n=request.n_processes) if request.n_processes > 1 else "",
    )
    return "\n".join(lines) + "\n" + body


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value


def _commands(job: Job, folder: Path) -> Sequence[tuple[int, list[str]]]:
    """Arguments of the command of each task, by its number; 0 for a job that is no array."""
    point = str(folder / "points" / f"{job.number}.yaml")
    if job.kind == "methods":
        return [(i, ["score", point, "--only", fit]) for i, fit in enumerate(job.tasks, start=1)]
    return [(0, ["capture" if job.kind == "capture" else "run", point])]
