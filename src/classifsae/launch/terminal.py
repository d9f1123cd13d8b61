"""A launch as text for a terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from classifsae.launch.profile import Request
from classifsae.launch.scripts import KINDS, Job
from classifsae.launch.slurm import Launch, TaskState


def states_table(launch: Launch, states: Sequence[Sequence[TaskState]]) -> Table:
    """A row per run: how far its capture, its methods and its report are."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in ("", "run", *KINDS):
        table.add_column(head)
    rows: dict[int, list[str]] = {}
    for job, of_job in zip(launch.jobs, states, strict=True):
        rows.setdefault(job.number, [str(job.number), job.of]).append(_in_words(of_job))
    for row in rows.values():
        table.add_row(*row)
    return table


def _in_words(states: Sequence[TaskState]) -> str:
    """Such as "running on n1", or "3 done, 1 failed" of several."""
    if len(states) == 1:
        (one,) = states
        return f"{one.state}{f' ({one.detail})' if one.detail else ''}"
    return ", ".join(f"{n} {state}" for state, n in Counter(one.state for one in states).items())


def failures(launch: Launch, states: Iterable[Sequence[TaskState]]) -> list[str]:
    """Of each task that failed a line that says how, and the last lines of its log."""
    lines = []
    for task in (task for of_job in states for task in of_job if task.is_bad):
        lines.append(f"{task.name} ({task.does}) {task.state}: {task.detail}")
        lines += [f"    {line}" for line in launch.tail(task.name)]
    return lines


def plan_lines(plan: Sequence[tuple[Job, Request, str]], folder: Path) -> list[str]:
    """All scripts, each under a line that says where it would be and after which job it runs."""
    lines, last = [], ""
    for job, request, text in plan:
        before = f", after {last} has ended well" if job.kind != "capture" else ""
        lines += [f"##### {folder / 'scripts' / job.name}.sh{before}", text]
        if request.misfit:
            lines.append(f"{job.name}: {request.misfit}")
        last = job.name
    lines.append(summary([job for job, _, _ in plan]))
    return lines


def summary(jobs: Sequence[Job]) -> str:
    """How many runs and jobs there are."""
    n_tasks = sum(len(job.tasks_by_name) for job in jobs)
    return f"{len({job.number for job in jobs})} runs, {len(jobs)} submissions, {n_tasks} jobs."
