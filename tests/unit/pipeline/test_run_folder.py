"""The folder of a run: one run at a time, one subject, and a user's names of concepts that there are."""

import shlex
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
import yaml

from classifsae.errors import ConfigError
from classifsae.pipeline.config import Experiment, load_experiment
from classifsae.pipeline.run_folder import FitName, RunFolder
from classifsae.storage import finish, write_text

BASE = {"backbone": "minilm", "dataset": "planted", "methods": {"sae": {}}, "seeds": [1]}


def experiment(**changes: object) -> Experiment:
    return Experiment.model_validate(BASE | changes).anchored()


def test_a_second_run_in_a_folder_says_so_and_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    done = []

    def second() -> None:
        with RunFolder(tmp_path).held():
            done.append("second")

    other = Thread(target=second)
    with RunFolder(tmp_path).held():
        other.start()
        while not caplog.messages:
            other.join(0.01)
        done.append("first")
    other.join()
    assert done == ["first", "second"]
    assert caplog.messages == [f"another run is at work in {tmp_path}; waiting until it has ended."]


def test_methods_are_worked_on_side_by_side_and_a_run_waits_for_all_of_them(tmp_path: Path):
    done, folder = [], RunFolder(tmp_path)

    def whole() -> None:
        with RunFolder(tmp_path).held():
            done.append("run")

    other = Thread(target=whole)
    with folder.beside(FitName("ica", 1), lambda: "shared") as found:
        with RunFolder(tmp_path).beside(FitName("sae", 1), lambda: None):
            assert found == "shared"
        other.start()
        done.append("ica")
    other.join()
    assert done == ["ica", "run"]


def test_a_lock_does_not_survive_the_process_that_held_it(tmp_path: Path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from classifsae.pipeline.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).held(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    with RunFolder(tmp_path).held():
        pass


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ({"backbone": "a/clf"}, {"backbone": "b/clf"}, "model"),
        ({"dataset": "a/data.csv"}, {"dataset": "b/data.csv"}, "data set"),
        (
            {"dataset": {"name": "d", "train": "a/data.csv"}},
            {"dataset": {"name": "d", "train": "b/data.csv"}},
            "data set",
        ),
    ],
)
def test_another_model_or_data_set_of_the_same_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict, second: dict, kind: str
):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name / "clf").mkdir(parents=True)
        (tmp_path / name / "data.csv").write_text("")
    folder = RunFolder(tmp_path / "run")
    folder.write_experiment(experiment(**first))
    folder.require_same_subject(experiment(**second))  # that failed at its options
    write_text(folder.path / "classifier" / "step-1", "")
    folder.require_same_subject(experiment(**first))
    with pytest.raises(ConfigError, match=f"holds the run of another {kind}, .*/a/.*; this one, of .*/b/"):
        folder.require_same_subject(experiment(**second))


def test_the_folder_that_is_proposed_instead_can_be_pasted(tmp_path: Path):
    folder = RunFolder(tmp_path / "my runs, [old]")
    folder.write_experiment(experiment(backbone="a/clf"))
    write_text(folder.path / "classifier" / "step-1", "")
    with pytest.raises(ConfigError) as caught:
        folder.require_same_subject(experiment(backbone="b/clf"))
    (typed,) = shlex.split(str(caught.value).partition("such as ")[2].rpartition(", or delete")[0])
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump(BASE))
    (other,) = load_experiment(file, [typed])
    assert other.run_dir == f"{folder.path}-2"


def test_a_model_that_was_moved_is_the_same(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "a" / "clf").mkdir(parents=True)
    folder.write_experiment(experiment(backbone=str(tmp_path / "a" / "clf")))
    assert folder.require_same_subject(experiment(backbone=str(tmp_path / "a" / "clf"))) == ()
    (tmp_path / "a").rename(tmp_path / "b")
    gone = folder.require_same_subject(experiment(backbone=str(tmp_path / "b" / "clf")))
    assert gone == (f"model {tmp_path / 'a' / 'clf'}",)
    (tmp_path / "a").symlink_to("b")
    assert folder.require_same_subject(experiment(backbone=str(tmp_path / "b" / "clf"))) == ()


@pytest.mark.parametrize("name", ["sae/seed-2.yaml", "saes/seed-1.yaml", "sae/one.yaml", "sae/seed-1.yml"])
def test_names_of_concepts_that_nobody_has_are_refused(tmp_path: Path, name: str):
    write_text(tmp_path / "names" / name, "1: one\n")
    with pytest.raises(
        ConfigError, match=r"names concepts that this run does not have; .* sae .* 1, or delete"
    ):
        RunFolder(tmp_path).check_own_names(experiment())


def test_names_of_concepts_that_another_experiment_left_here_are_kept(tmp_path: Path):
    folder, other = RunFolder(tmp_path), FitName("ica", 7)
    write_text(folder.own_names(other), "1: one\n")
    finish(folder.concepts(other), inputs="", record={})
    folder.check_own_names(experiment())
    write_text(folder.own_names(other), "1: [\n")
    with pytest.raises(ConfigError, match="is no YAML"):
        folder.check_own_names(experiment())
