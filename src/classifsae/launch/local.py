"""The points of a sweep side by side on this machine, each a process with its share of the cores."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from joblib import cpu_count

from classifsae.errors import ClassifSAEError
from classifsae.pipeline.config import Experiment


def side_by_side(
    file: Path,
    settings: Sequence[str],
    points: Sequence[Experiment],
    *,
    n_jobs: int,
    say: Callable[[str], None],
) -> None:
    """Run all points of a sweep, so many at a time.

    Args:
        file: of the experiment.
        settings: of the command line.
        points: of the sweep.
        n_jobs: processes at a time.
        say: told each line of each process, with the number of its point before it.
    Raises:
        ClassifSAEError: some points did not finish; the others did.
    """
    jobs, numbers = _Jobs([str(file), *settings], n_jobs, say), range(1, len(points) + 1)
    with ThreadPoolExecutor(n_jobs) as pool:
        try:
            statuses = list(pool.map(jobs.run, numbers))
        except BaseException:
            jobs.stop()
            raise
    failed = [number for number, status in zip(numbers, statuses, strict=True) if status]
    if failed:
        them = ", ".join(map(str, failed))
        raise ClassifSAEError(
            f"{len(failed)} of {len(points)} runs did not finish: {them}; the lines that begin with their "
            f"numbers say why, and the same command goes on from here."
        )


@dataclass(eq=False)
class _Jobs:
    """Processes that run points of a sweep.

    Args:
        arguments: experiment file and settings.
        n_jobs: processes at a time.
        say: told each line.
    """

    arguments: list[str]
    n_jobs: int
    say: Callable[[str], None]
    running: set["subprocess.Popen[str]"] = field(default_factory=set)
    is_stopped: bool = False

    def __post_init__(self) -> None:
        self._slots: SimpleQueue[int] = SimpleQueue()
        for slot in range(self.n_jobs):
            self._slots.put(slot)

    def run(self, number: int) -> int:
        """Run one point; returns its exit status."""
        if self.is_stopped:
            return 1
        slot = self._slots.get()
        try:
            return self._run(number, slot)
        finally:
            self._slots.put(slot)

    def _run(self, number: int, slot: int) -> int:
        command = [sys.executable, "-m", "classifsae", "run", *self.arguments, "--index", str(number)]
        with subprocess.Popen(
            command,
            env=environment(slot, self.n_jobs),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C goes to this process, which asks the others once
        ) as process:
            self.running.add(process)
            for line in process.stdout or ():
                self.say(f"{number} | {line.rstrip()}")
            self.running.discard(process)
        return process.returncode

    def stop(self) -> None:
        """Ask all processes to end; what they finished stays."""
        self.is_stopped = True
        for process in list(self.running):
            with suppress(OSError):
                process.terminate()


def environment(slot: int, n_jobs: int) -> dict[str, str]:
    """The environment of one of several jobs: its share of the cores, and one GPU if there are any."""
    import torch

    n_threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cpu_count() // n_jobs)))
    found = os.environ | {"OMP_NUM_THREADS": n_threads, "PYTHONUNBUFFERED": "1"}
    if n_gpus := torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(n_gpus)))).split(",")
        found["CUDA_VISIBLE_DEVICES"] = visible[slot % n_gpus]
    return found
