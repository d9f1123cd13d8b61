"""A run says what it knows of the test texts, and no more; findings are on the disk, in full."""

import csv
import shutil
from pathlib import Path

import pytest

from classifsae.auditing.held_out import HeldOut
from classifsae.auditing.labels import LabelCheck
from classifsae.auditing.mistakes import MistakesByConcept
from classifsae.auditing.stored import load_findings
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import Outcome, run
from classifsae.pipeline.run_folder import FitName, RunFolder
from e2e.conftest import write_data, write_experiment

NOT_USED, NOT_KNOWN = (
    "not used for learning",
    "Whether the classifier was trained on the test texts is not known",
)
N_REPEATED = 7


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A run that tunes its classifier."""
    folder = tmp_path_factory.mktemp("tuned")
    (point,) = load_experiment(write_experiment(folder), ["seeds=[1]", "methods={kmeans: {}}"])
    return folder, run(point)


@pytest.fixture(scope="module")
def opened(tuned: tuple[Path, Outcome], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A run that opens the same classifier; some of its test texts are training texts in capitals."""
    folder = tmp_path_factory.mktemp("opened")
    ignored = shutil.ignore_patterns("classifier.json", "manifest.json")
    model = shutil.copytree(tuned[0] / "run" / "classifier", folder / "model", ignore=ignored)
    rows = list(csv.reader(write_data(folder / "all.csv").read_text().splitlines()))
    train, test = rows[1:100], rows[100:]
    test += [[f" {text.upper()} ", label] for text, label in train[:N_REPEATED]]
    (folder / "data").mkdir()
    for name, part in (("train", train), ("test", test)):
        with (folder / "data" / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([rows[0], *part])
    settings = [f"backbone={{model: {model}, tuning: none}}", f"dataset={folder / 'data'}", "seeds=[1]"]
    (point,) = load_experiment(write_experiment(folder), [*settings, "methods={kmeans: {}}"])
    return folder, run(point, until="score")


def test_a_classifier_that_was_tuned_here_has_not_seen_the_test_texts(tuned: tuple[Path, Outcome]):
    folder, outcome = tuned
    assert not any(NOT_KNOWN in note for note in outcome.notes)
    assert NOT_USED in (folder / "run" / "report" / "index.html").read_text()
    found = load_findings(HeldOut, RunFolder(folder / "run").held_out)
    assert found is not None
    assert found.is_known
    assert found.repeated == ()


def test_of_a_classifier_from_elsewhere_it_is_said_that_this_is_not_known(opened: tuple[Path, Outcome]):
    folder, outcome = opened
    assert sum(note.startswith(NOT_KNOWN) for note in outcome.notes) == 1
    assert NOT_KNOWN in (folder / "run" / "table.md").read_text()


def test_all_repeated_texts_are_on_the_disk(opened: tuple[Path, Outcome]):
    folder, outcome = opened
    found = load_findings(HeldOut, RunFolder(folder / "run").held_out)
    assert found is not None
    assert len(found.repeated) == N_REPEATED
    assert any(
        note.startswith(f"{N_REPEATED} of 58 test texts stand in the training") for note in outcome.notes
    )


def test_labels_and_mistakes_are_on_the_disk(tuned: tuple[Path, Outcome]):
    folder = RunFolder(tuned[0] / "run")
    assert load_findings(LabelCheck, folder.labels) is not None
    assert load_findings(MistakesByConcept, folder.mistakes(FitName("kmeans", 1))) is not None
    assert folder.checks([FitName("kmeans", 1)]).mistakes.keys() == {"kmeans"}
