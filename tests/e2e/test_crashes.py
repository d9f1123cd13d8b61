"""A run is killed, or its disk fails, anywhere: the same command again ends with an undisturbed run's bytes.

The suite tries a few of the cases; ``CLASSIFSAE_EVERY=1 pytest -rP tests/e2e/test_crashes.py`` tries all,
which takes an hour or two, and prints how many there were; ``CLASSIFSAE_EVERY=5`` tries every fifth.
"""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from e2e.conftest import SMALL, TINY, write_experiment
from e2e.crashes import MAKES, MOVES, REMOVES, SYNCS, WRITES, Attempt, Ended, Server, can_count
from e2e.test_damage import DAMAGES

EVERY = int(os.environ.get("CLASSIFSAE_EVERY", "0"))
"""Of the cases; 0: a few of them."""
SIGNALS_PER_RUN = 10
few_alone = pytest.mark.skipif(not EVERY, reason="takes long: CLASSIFSAE_EVERY=1 has it tried")
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

    def __init__(self, root: Path, server: Server) -> None:
        self.server = server
        self.root, self.run, self.starts = root, root / "run", root / "starts"
        self.file = write_experiment(
            root,
            backbone=TINY["backbone"] | {"n_steps": 24},  # type: ignore[operator]
            methods={
                "classifsae": SMALL | {"n_latents": 24, "n_vectors": 2000, "learning_rate": 1e-3},
                "ica": {},
            },
            n_concepts=4,
            seeds=[1],
            ask={"the moon": {"words": ["moon", "star"]}},
        )
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
    root = tmp_path_factory.mktemp("crashes")
    server = Server(root / "file_calls.so")
    try:
        yield World(root, server)
    finally:
        server.close()


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
        (signal.SIGKILL, 200 // EVERY if EVERY else 3),
        pytest.param(signal.SIGTERM, 50 // (EVERY or 1), marks=few_alone),
        pytest.param(signal.SIGINT, 50 // (EVERY or 1), marks=few_alone),
    ],
)
def test_a_run_that_is_stopped_at_any_instant_ends_with_the_same_bytes(
    world: World, number: int, n_signals: int
):
    chosen, hit = random.Random(number), Counter[str]()
    while hit.total() < n_signals:
        hit += interrupted(world, chosen, number=number, n=min(SIGNALS_PER_RUN, n_signals - hit.total()))
    sys.stdout.write(f"{hit.total()} x {signal.Signals(number).name}: {dict(hit)}\n")


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
    tried = cases[EVERY // 2 :: EVERY] if EVERY else random.Random(1).sample(cases, 1 if error else 3)
    wrong = []
    for stage, call in tried:
        world.begin_at(stage)
        ended = world.go(
            counts_from=stage, kinds=kinds, call=call, error=error, goes_on=goes_on, until=stage + 1
        )
        what = f"stage {stage}, call {call}"
        if not error:
            assert ended.status == -signal.SIGKILL, what
        elif ended.status != 0 and (ended.status != 2 or world.complaint()):
            wrong.append((what, "ended so", ended.status, world.complaint()))
        again = world.go(until=stage + 1)
        if again.status != 0 or again.n_kept < stage - 1:
            wrong.append((what, "then", again.status, world.said))
        elif left := difference(world.run, contents(world.starts / str(stage + 1))):
            wrong.append((what, "other bytes", left))
    assert not wrong, "\n".join(map(str, wrong))
    more = ", and all after" * goes_on
    sys.stdout.write(f"{len(tried)} of {len(cases)} calls: {failure}{more}\n")


def test_what_a_stage_goes_on_from_is_verified(world: World):
    trying, n_tried = random.Random(2), 0
    for stage in (1, 2, 4):  # which leave checkpoints of a training, shards, and the checkpoint of a fit
        world.begin_at(stage)
        before = {*contents(world.run)}
        ended = world.go(counts_from=stage, call=2 * len(world.calls[stage]) // 3)
        assert ended.status == -signal.SIGKILL
        left = world.root / "left"
        shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(world.run, left)
        cases = [(name, damage) for name in sorted({*contents(left)} - before) for damage in DAMAGES]
        for name, damage in cases[::EVERY] if EVERY else trying.sample(cases, 1):
            shutil.rmtree(world.run)
            shutil.copytree(left, world.run)
            DAMAGES[damage](world.run / name)
            ended = world.go(until=stage + 1)
            assert ended.status == 0, (name, damage, world.said)
            found = difference(world.run, contents(world.starts / str(stage + 1)))
            assert not found, (name, damage, found)
            n_tried += 1
    sys.stdout.write(f"{n_tried} damages to what stages go on from\n")


@few_alone
def test_a_run_goes_on_from_the_beginning_of_any_stage(world: World):
    for stage in range(1, world.n_stages + 1):
        world.begin_at(stage)
        ended = world.go()
        assert (ended.status, ended.n_kept) == (0, stage - 1), world.said
        assert not difference(world.run, world.whole)


# ------------------------------------------------------------------------------------------ disks as they are


def goes_on(world: World, *, until: int) -> None:
    """See that an ordinary run now does what it would have done at once."""
    assert world.go(until=until).status == 0, world.said
    assert not difference(world.run, contents(world.starts / str(until)))


def test_files_may_not_be_as_large_as_they_must_be(world: World):
    for n_bytes in (1, 500, 20_000, 40_000)[-1 if not EVERY else 0 :]:
        world.begin_at(0)
        assert world.go(max_bytes=n_bytes).status == 2
        assert not world.complaint()
        assert "File too large" in world.said or "files may not be so large" in world.said
    goes_on(world, until=3)


def test_a_folder_that_may_not_be_written_is_named(world: World):
    for stage in range(1, world.n_stages + 2) if EVERY else [4]:
        world.begin_at(stage)
        folders = [world.run, *(p for p in world.run.rglob("*") if p.is_dir())]
        for folder in folders:
            folder.chmod(0o500)
        try:
            assert world.go(is_bound=True).status == 2
        finally:
            for folder in folders:
                folder.chmod(0o700)
        assert not world.complaint()
        assert "Permission denied" in world.said
        assert str(world.run) in world.said
        goes_on(world, until=stage + (stage <= world.n_stages))


PLACES = ("classifier", "", "activations", "activations/train", "concepts", "scores/ica", "report", ".locks")
FILES = ("experiment.json", "summary.json", "manifest.json", ".lock", "classifier/manifest.json")


@pytest.mark.parametrize("place", PLACES if EVERY else PLACES[:1])
def test_a_file_where_a_folder_must_be_is_named(world: World, place: str):
    world.begin_at(0)
    there = world.run / place
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text("of a user")
    ended = world.go()
    if ended.status:
        assert ended.status == 2
        assert not world.complaint()
        assert str(there) in world.said
    assert there.read_text() == "of a user"
    there.unlink()
    goes_on(world, until=world.n_stages + 1 if EVERY else 2)


@pytest.mark.parametrize("place", FILES if EVERY else FILES[:1])
def test_a_folder_where_a_file_must_be_is_named(world: World, place: str):
    world.begin_at(0)
    (world.run / place).mkdir(parents=True)
    (world.run / place / "own.txt").write_text("of a user")
    ended = world.go()
    assert ended.status == 2, world.said
    assert not world.complaint()
    assert str(world.run / place) in world.said
    assert (world.run / place / "own.txt").read_text() == "of a user"
    shutil.rmtree(world.run / place)
    goes_on(world, until=world.n_stages + 1 if EVERY else 2)


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """A disk in place of the run's folder, which only root can put there."""
    shutil.rmtree(world.run, ignore_errors=True)
    world.run.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", world.run],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield world.run
    subprocess.run(["umount", "-l", world.run], check=True)


def test_a_disk_that_is_full_or_read_only_is_named_and_the_run_goes_on_once_there_is_space(
    world: World, small_disk: Path
):
    for size in (20, 100, 200, 300, 400, 500, 600) if EVERY else (100,):  # kilobytes
        remount(small_disk, f"size={size}k")
        assert world.go().status == 2, size
        assert not world.complaint()
        assert "No space left on device" in world.said or "the disk is full" in world.said
    remount(small_disk, "ro,size=100m")
    assert world.go().status == 2
    assert not world.complaint()
    assert "Read-only file system" in world.said
    remount(small_disk, "rw,size=100m")
    goes_on(world, until=world.n_stages + 1 if EVERY else 4)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)
