"""Commands in children of a process that has imported everything, to be killed or failed as a test wants.

``python -m e2e.crashes LIBRARY`` is that process: it reads an ``Attempt`` a line, forks, and the child does
what ``classifsae`` does. A kill is SIGKILL: nothing is tidied up. Unlike the command line,
modules are imported already, and a training saves often.
"""

import ctypes
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path

SOURCE = Path(__file__).with_name("file_calls.c")
WRITES, MAKES, REMOVES, MOVES, SYNCS = 1, 2, 4, 8, 16
"""Kinds of calls, as in ``file_calls.c``."""
IMPORTS = (
    "classifsae.classifier.tuning.trainer",
    "classifsae.classifier.capture",
    "classifsae.pipeline.run",
    "classifsae.meaning.encoder",
    "classifsae.meaning.choosing",
    "classifsae.auditing.shortcuts",
    "classifsae.reporting.save",
    "pyarrow.csv",
    "sklearn.decomposition",
    "transformers.models.bert.modeling_bert",
)
"""What a run imports before long; torch starts no thread by that."""
_DAC = 0b110
"""The capabilities of root by which permissions do not bind it."""


@dataclass(frozen=True)
class Attempt:
    """One process.

    Attributes:
        arguments: of ``classifsae``.
        said: file of what it prints.
        save_every: steps, about, between two checkpoints of a training.
        signal_in: number of the stage within which it gets a signal, or in the next one that is not up to
            date; 0: before the first, -1: none.
        after: seconds from the beginning of that stage to the signal.
        number: of the signal.
        until: number of the stage before which it ends; -1: none.
        snapshots: folder of a copy of ``below`` for the beginning of each stage; "": none.
        below: folder whose calls are counted; "": none are.
        log: file of these calls, a line for each.
        counts_from: stage from which on they are counted.
        kinds: of the calls that are counted.
        call: number of the call that is cut off; 0: none.
        error: with which it fails; 0: the process ends there.
        goes_on: whether all later ones fail too.
        max_bytes: of a file that it writes; 0: any number.
        is_bound: by permissions, though it be root.
    """

    arguments: tuple[str, ...]
    said: str
    save_every: int = 10
    signal_in: int = -1
    after: float = 0.0
    number: int = signal.SIGKILL
    until: int = -1
    snapshots: str = ""
    below: str = ""
    log: str = ""
    counts_from: int = 0
    kinds: int = WRITES | MAKES | REMOVES | MOVES | SYNCS
    call: int = 0
    error: int = 0
    goes_on: bool = False
    max_bytes: int = 0
    is_bound: bool = False


@dataclass(frozen=True)
class Ended:
    """How an attempt ended.

    Attributes:
        status: as ``subprocess`` gives it: negative for a signal.
        stages: name, whether it was up to date, and the second since the beginning, of each stage in turn.
        seconds: that it took.
    """

    status: int
    stages: list[tuple[str, bool, float]]
    seconds: float

    @property
    def n_kept(self) -> int:
        """Stages that were up to date."""
        return sum(is_kept for _, is_kept, _ in self.stages)


class Server:
    """Starts attempts.

    Args:
        library: that counts calls; made here.
    """

    def __init__(self, library: Path) -> None:
        subprocess.run([_compiler(), "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        changes = {"LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "e2e.crashes", str(library)],
            env=os.environ | changes, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, attempt: Attempt) -> Ended:
        """Do it, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asdict(attempt)), file=self._process.stdin, flush=True)
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def can_count() -> bool:
    """Whether calls can be counted: Linux, and a compiler of C."""
    return sys.platform == "linux" and bool(_compiler())


def _compiler() -> str:
    return shutil.which("cc") or shutil.which("gcc") or ""


# --------------------------------------------------------------- the process that has imported everything


def main(library: str) -> None:
    """Answer each line with a line."""
    for name in IMPORTS:
        import_module(name)
    for line in sys.stdin:
        attempt = Attempt(**json.loads(line))
        sys.stdout.write(json.dumps(asdict(_watched(attempt, library))) + "\n")
        sys.stdout.flush()


def _watched(attempt: Attempt, library: str) -> Ended:
    """Fork, and send the child a signal when it is time."""
    reads, writes = os.pipe()
    began, told = time.monotonic(), b""
    stages: list[tuple[str, bool, float]] = []
    child = os.fork()
    if not child:
        os.close(reads)
        try:
            _do(attempt, library, writes)
        finally:
            os._exit(70)
    os.close(writes)
    at = attempt.after if attempt.signal_in == 0 else None
    while True:
        wait = None if at is None else max(0.0, at - (time.monotonic() - began))
        if not select.select([reads], [], [], wait)[0]:
            os.kill(child, attempt.number)
            at, attempt = None, replace(attempt, signal_in=-1)
            continue
        part = os.read(reads, 1 << 16)
        if not part:
            break
        *lines, told = (told + part).split(b"\n")
        for name, is_kept in map(json.loads, lines):
            stages.append((name, is_kept, time.monotonic() - began))
            if at is None and not is_kept and 0 < attempt.signal_in <= len(stages):
                at = stages[-1][2] + attempt.after
    os.close(reads)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Ended(status, stages, time.monotonic() - began)


def _do(attempt: Attempt, library: str, tell: int) -> None:
    """What ``classifsae`` does."""
    said = os.open(attempt.said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
    os.dup2(said, 1), os.dup2(said, 2)
    random.seed()  # not as the child before
    log = os.open(attempt.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC) if attempt.log else -1
    watch_files = ctypes.CDLL(library).watch_files

    def count() -> None:
        numbers = (attempt.kinds, attempt.error, int(attempt.goes_on), log)
        watch_files(attempt.below.encode(), ctypes.c_long(attempt.call), *numbers)

    def begins(name: str, number: int, *, is_kept: bool) -> None:
        if number == attempt.until:
            os._exit(0)
        if attempt.snapshots:
            watch_files(b"", ctypes.c_long(0), 0, 0, 0, -1)
            shutil.copytree(attempt.below, Path(attempt.snapshots) / str(number), dirs_exist_ok=True)
            os.write(log, f"stage {number}\n".encode())
        if number == attempt.counts_from or attempt.snapshots:
            count()
        os.write(tell, json.dumps([name, is_kept]).encode() + b"\n")

    _tell_of_stages(begins)
    _save_every(attempt.save_every)
    if attempt.is_bound:
        _be_bound()
    if attempt.max_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (attempt.max_bytes, attempt.max_bytes))
    if attempt.counts_from == 0:
        count()
    os._exit(_status(attempt.arguments))


def _status(arguments: tuple[str, ...]) -> int:
    from classifsae import cli

    sys.argv = ["classifsae", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.stdout.flush(), sys.stderr.flush()
    return 0


def _tell_of_stages(begins: Callable[..., None]) -> None:
    """Have ``begins`` called at the beginning of each stage, with its name and number."""
    from classifsae.cli import Bars

    stage, kept, numbers = Bars.stage, Bars.kept, iter(range(1, 1 << 30))

    def told_stage(self: Bars, name: str, /) -> object:
        begins(name, next(numbers), is_kept=False)
        return stage(self, name)

    def told_kept(self: Bars, name: str, /) -> None:
        begins(name, next(numbers), is_kept=True)
        kept(self, name)

    Bars.stage, Bars.kept = told_stage, told_kept  # type: ignore[method-assign,assignment]


def _be_bound() -> None:
    """Give up what of root's powers lets it write where permissions forbid it."""
    version, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(version, sets) == 0:
        sets[0] &= ~_DAC
        libc.capset(version, sets)


class _Clock:
    """Goes on by a second whenever it is looked at, which a training does at each step."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        self._seconds += 1
        return self._seconds


def _save_every(steps: int) -> None:
    """Have trainings save so often, which else is seldom."""
    from classifsae.classifier.tuning import trainer
    from classifsae.classifier.tuning.finetune import finetune
    from classifsae.concepts import _optimise

    trainer.time = _optimise.time = _Clock()  # type: ignore[attr-defined,assignment]
    finetune.__wrapped__.__kwdefaults__["checkpoint_seconds"] = steps  # type: ignore[attr-defined]
    _optimise._CHECKPOINT_SECONDS, _optimise._PAUSE_PER_SAVE = steps, 0


if __name__ == "__main__":
    main(sys.argv[1])
