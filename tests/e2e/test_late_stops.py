"""A run that is stopped while it embeds, describes, names or reports; and concepts too many to describe."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from classifsae.meaning.descriptions import MAX_DESCRIBED
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run, with_figures
from classifsae.pipeline.run_folder import FitName, RunFolder
from classifsae.tensors import OnStep
from e2e.conftest import SMALL, TINY, write_experiment

WIDE = TINY["backbone"] | {"architecture": TINY["backbone"]["architecture"] | {"hidden_size": 60}}  # type: ignore[index,operator]
LATE = ("sentences", "scores", "descriptions", "named", "report")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiment file of a run that nothing interrupted; its neurons are more than are described."""
    methods = {"classifsae": SMALL, "identity": {}}
    file = write_experiment(
        tmp_path_factory.mktemp("late"), backbone=WIDE, methods=methods, seeds=[1], n_concepts=3,
        report={"figures": True},
    )  # fmt: skip
    (point,) = load_experiment(file)
    run(point)
    return file


class Stop(Exception):
    pass


class StopsWithin:
    """Stops a run within a stage: once so many of its files are in place, the next one is not put there."""

    def __init__(self, stage: str, after: int, stop: Callable[[], None]) -> None:
        self._stage, self._left, self._stop = stage, after, stop

    @contextmanager
    def stage(self, name: str, /) -> Iterator[OnStep | None]:
        with pytest.MonkeyPatch.context() as patched:
            if name.startswith(self._stage):
                put = Path.replace
                patched.setattr(Path, "replace", lambda part, place: self._put(put, part, place))
            yield None

    def kept(self, name: str, /) -> None:
        pass

    def _put(self, put: Callable[[Path, Path], Path], part: Path, place: Path) -> Path:
        if self._left == 0:
            self._stop()
        self._left -= 1
        return put(part, place)


def halt() -> None:
    raise Stop


def unfinished(file: Path, folder: Path, *, since: str) -> Path:
    """A copy of a run's experiment, and of the run as it is when the stage behind a folder begins."""
    shutil.copytree(file.parent, folder, dirs_exist_ok=True)
    copied = folder / file.name
    copied.write_text(file.read_text().replace(f"{file.parent}/run", f"{folder}/run"))
    for name in LATE[LATE.index(since) :]:
        shutil.rmtree(folder / "run" / name)
    return copied


@pytest.mark.parametrize(
    ("stage", "folder", "n_redone"),
    [("embed test", "sentences", 5), ("describe", "descriptions", 2), ("name", "named", 1)],
)
def test_a_run_stopped_within_a_late_stage_ends_with_the_same_bytes(
    finished: Path, tmp_path: Path, stage: str, folder: str, n_redone: int
):
    (point,) = load_experiment(unfinished(finished, tmp_path, since=folder))
    with pytest.raises(Stop):
        run(point, watch=StopsWithin(stage, 1, halt))
    left = contents(tmp_path / "run" / folder)
    assert left
    assert not [name for name in left if name.endswith("manifest.json")]
    assert run(point, until="describe").n_done == n_redone  # pictures take seconds
    assert_equal(
        tmp_path / "run", finished.parent / "run", but=("report/", "summary.json")
    )  # which has what comes later


def assert_equal(ours: Path, whole: Path, *, but: tuple[str, ...] = ()) -> None:
    """The same bytes; the experiment names its own folder, and the manifest of the run seals it."""
    left_out = (*but, "experiment.json", "manifest.json")
    found, expected = (
        {name: c for name, c in contents(run).items() if not name.startswith(left_out)}
        for run in (ours, whole)
    )
    assert found.keys() == expected.keys()
    assert not [name for name in expected if found[name] != expected[name]]


KILLED = """
import os, signal, sys
from pathlib import Path
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from e2e.test_late_stops import StopsWithin

(point,) = load_experiment(Path(sys.argv[1]))
run(point, watch=StopsWithin("report", 9, lambda: os.kill(os.getpid(), signal.SIGKILL)))
"""


@pytest.mark.slow
def test_a_process_killed_among_the_pictures_goes_on_and_leaves_none_of_other_methods(
    finished: Path, tmp_path: Path
):
    file = unfinished(finished, tmp_path, since="report")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(file)]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    figures = tmp_path / "run" / "report" / "figures"
    assert (figures / "sentence-sim.pdf").is_file()
    assert not (figures.parent / "manifest.json").exists()
    # Such as one of a method that the experiment had then and has no longer.
    (figures / "gone-map.png").write_bytes(b"")
    (point,) = load_experiment(file)
    assert run(point).n_done == 1
    assert_equal(tmp_path / "run", finished.parent / "run")


@pytest.mark.slow
def test_pictures_are_drawn_when_asked_for_and_nothing_else_is_done_again(finished: Path, tmp_path: Path):
    file, folder = unfinished(finished, tmp_path, since="report"), tmp_path / "run"
    (point,) = load_experiment(file, ["report.figures=false"])
    assert run(point).n_done == 1
    assert not (folder / "report" / "figures").exists()
    assert with_figures(folder).n_done == 1
    assert_equal(folder, finished.parent / "run")


def test_concepts_too_many_to_read_have_scores_and_a_row_but_no_words_and_names(finished: Path):
    folder = finished.parent / "run"
    assert WIDE["architecture"]["hidden_size"] > MAX_DESCRIBED
    assert RunFolder(folder).described(FitName("classifsae", 1))
    assert RunFolder(folder).described(FitName("identity", 1)) is None
    for kind in ("descriptions", "named"):
        assert [p.name for p in (folder / kind).iterdir()] == ["classifsae"]
    assert (folder / "scores" / "identity" / "seed-1" / "scores.json").is_file()
    html = (folder / "report" / "index.html").read_text()
    assert "The concepts of identity are not listed" in html
    overview = html[html.index('id="methods"') : html.index('id="concepts"')]
    assert ">identity<" in overview
    assert 'data-method="identity"' not in html
    assert not list((folder / "report" / "figures").glob("identity-*"))
