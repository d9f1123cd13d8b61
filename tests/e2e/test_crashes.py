"""A run is killed, or its disk fails, anywhere: the same command again ends with the bytes of an undisturbed run.

The suite tries a few of the cases; all of them, in half an hour: ``CLASSIFSAE_EVERY=1 pytest -rP
tests/e2e/test_crashes.py``, which prints how many there were.
"""

import errno
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from e2e.conftest import SMALL, TINY, write_experiment
from e2e.crashes import MAKES, MOVES, REMOVES, SYNCS, WRITES, Attempt, Ended, Server, can_count

EVERYTHING = os.environ.get("CLASSIFSAE_EVERY") == "1"
KILLS_PER_RUN = 10
KINDS = {
    **dict.fromkeys(("write", "writev", "pwrite", "pwrite64", "ftruncate", "ftruncate64"), WRITES),
    **dict.fromkeys(("open", "open64", "openat", "openat64", "fopen", "fopen64", "mkdir", "mkdirat"), MAKES),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), REMOVES),
    **dict.fromkeys(("rename", "renameat"), MOVES),
    **dict.fromkeys(("fsync", "fdatasync"), SYNCS),
}
FAILURES = {
    "killed": (0, WRITES | MAKES | REMOVES | MOVES | SYNCS),
    "disk full": (errno.ENOSPC, WRITES | MAKES | MOVES | SYNCS),
    "not allowed": (errno.EACCES, MAKES | REMOVES | MOVES),
}

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux and a C compiler, to count file calls")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def difference(folder: Path, whole: dict[str, bytes]) -> list[str]:
    """Names of files that are not the same in a folder."""
    found = contents(folder)
    return sorted(name for name in {*found, *whole} if found.get(name) != whole.get(name))


class World:
    """An experiment, what an undisturbed run of it leaves, and what was there when each stage began."""

    def __init__(self, root: Path) -> None:
        self.root, self.run, self.starts = root, root / "run", root / "starts"
        self.file = write_experiment(
            root,
            backbone=TINY["backbone"] | {"n_steps": 24},  # type: ignore[operator]
            methods={"classifsae": SMALL | {"n_latents": 24, "n_vectors": 2000}, "ica": {}},
            n_concepts=4,
            seeds=[1],
            ask={"the moon": {"words": ["moon", "star"]}},
        )
        self.server = Server(root / "file_calls.so")
        log = root / "calls"
        self.ended = self.go(snapshots=str(self.starts), log=str(log))
        assert self.ended.status == 0, self.said
        self.whole = contents(self.run)
        self.n_stages = len(self.ended.stages)
        self.starts.joinpath("0").mkdir()
        shutil.copytree(self.run, self.starts / str(self.n_stages + 1))
        self.calls = self._calls(log.read_text())

    def _calls(self, log: str) -> dict[int, list[int]]:
        """Kinds of the calls of each stage, in their order."""
        calls: dict[int, list[int]] = {0: []}
        for line in log.splitlines():
            name, _, number = line.partition(" ")
            if name == "stage":
                calls[int(number)] = []
            else:
                calls[max(calls)].append(KINDS[name])
        return calls

    @property
    def said(self) -> str:
        return (self.root / "said").read_text()

    def go(self, **how: object) -> Ended:
        """The experiment's command."""
        return self.server.start(
            Attempt(
                arguments=("run", str(self.file)), said=str(self.root / "said"), below=str(self.run),
                **how,  # type: ignore[arg-type]
            )
        )  # fmt: skip

    def begin_at(self, stage: int) -> None:
        """Have what was there when a stage began."""
        shutil.rmtree(self.run, ignore_errors=True)
        if stage:
            shutil.copytree(self.starts / str(stage), self.run)

    def complaint(self) -> str:
        """What is wrong with what was said of a failure, which must be one line."""
        lines = [line for line in self.said.splitlines() if line.startswith("classifsae: ")]
        is_fine = len(lines) == 1 and "Traceback" not in self.said and "a fault of" not in self.said
        return "" if is_fine else self.said[-2000:]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("crashes"))
    yield world
    world.server.close()


def interrupted(world: World, chosen: random.Random, *, number: int, n: int) -> Counter[str]:
    """Stages within which signals came, one run being started again until it ends."""
    world.begin_at(0)
    began = [0.0, *(second for _, _, second in world.ended.stages), world.ended.seconds]
    took = [b - a for a, b in pairwise(began)]
    hit: Counter[str] = Counter()
    n_done = 0
    for stage in sorted(chosen.randrange(world.n_stages + 1) for _ in range(n)):
        ended = world.go(signal_in=stage, after=chosen.random() * took[stage], number=number)
        assert ended.n_kept >= n_done, "what was finished is made again"
        n_done = max(n_done, len(ended.stages) - 1)
        if number != signal.SIGKILL and ended.status == 128 + number:
            assert not world.complaint()
            assert "run the same command again" in world.said
        elif ended.status == 0:
            break
        else:
            assert ended.status == -number, world.said
        hit[ended.stages[-1][0] if ended.stages else "start"] += 1
    assert world.go().status == 0, world.said
    assert not difference(world.run, world.whole)
    return hit


@pytest.mark.parametrize(
    ("number", "n_signals"),
    [
        (signal.SIGKILL, 200 if EVERYTHING else 4),
        (signal.SIGTERM, 50 if EVERYTHING else 2),
        (signal.SIGINT, 50 if EVERYTHING else 2),
    ],
)
def test_a_run_that_is_stopped_at_any_instant_ends_with_the_same_bytes(
    world: World, number: int, n_signals: int
):
    chosen, hit = random.Random(number), Counter[str]()  # noqa: S311
    while hit.total() < n_signals:
        hit += interrupted(world, chosen, number=number, n=min(KILLS_PER_RUN, n_signals - hit.total()))
    print(f"{hit.total()} x {signal.Signals(number).name}: {dict(hit)}")


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("goes_on", [False, True])
def test_no_file_call_is_one_too_many_to_fail(world: World, failure: str, goes_on: bool):
    error, kinds = FAILURES[failure]
    if goes_on and not error:
        pytest.skip("a process ends once")
    cases = [
        (stage, call)
        for stage, calls in world.calls.items()
        for call in range(1, 1 + sum(bool(kind & kinds) for kind in calls))
    ]
    every = 1 if EVERYTHING else len(cases) // 3
    wrong = []
    for stage, call in cases[every // 2 :: every]:
        world.begin_at(stage)
        ended = world.go(
            counts_from=stage, kinds=kinds, call=call, error=error, goes_on=goes_on, until=stage + 1
        )
        what = f"stage {stage}, call {call}"
        if not error:
            assert ended.status == -signal.SIGKILL, what
        elif ended.status != 0:
            if ended.status != 2 or world.complaint():
                wrong.append((what, "ended so", ended.status, world.complaint()))
        again = world.go(until=stage + 1)
        if again.status != 0 or again.n_kept < stage - 1:
            wrong.append((what, "then", again.status, world.said))
        elif left := difference(world.run, contents(world.starts / str(stage + 1))):
            wrong.append((what, "other bytes", left))
    assert not wrong, "\n".join(map(str, wrong))
    print(f"{len(cases[every // 2 :: every])} of {len(cases)} calls: {failure}{', and all after' * goes_on}")


def test_a_run_goes_on_from_the_beginning_of_any_stage(world: World):
    for stage in range(1, world.n_stages + 1, 1 if EVERYTHING else 20):
        world.begin_at(stage)
        ended = world.go()
        assert (ended.status, ended.n_kept) == (0, stage - 1), world.said
        assert not difference(world.run, world.whole)
