"""Classes under other names and in other orders, and messages whose cures are typed as they stand."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from classifsae.activations import Activations
from classifsae.data import Dataset, load_dataset
from classifsae.errors import ClassifSAEError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from e2e.conftest import write_data, write_experiment
from e2e.test_cli import call

GREEK = {"money": "χρήμα", "space": "διάστημα", "sports": "αθλητικά"}


def test_a_model_and_data_with_the_same_names_in_another_order_are_matched_by_name(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert call(monkeypatch, capsys, "finetune", str(experiment))[0] == 0
    foreign = tmp_path / "foreign"
    shutil.copytree(
        tmp_path / "run" / "classifier",
        foreign,
        ignore=lambda _, files: {"classifier.json", "manifest.json"} & set(files),
    )
    config = json.loads((foreign / "config.json").read_text())
    assert list(config["id2label"].values()) == list(GREEK)
    config["id2label"] = dict(enumerate(GREEK.values()))
    (foreign / "config.json").write_text(json.dumps(config))
    text = write_data(tmp_path / "greek.csv").read_text()
    (tmp_path / "greek.csv").write_text(
        re.sub(r",(\w+)$", lambda found: f",{GREEK.get(found[1], found[1])}", text, flags=re.M)
    )
    settings = [
        f"dataset={tmp_path / 'greek.csv'}",
        f"backbone={{model: {foreign}, tuning: none}}",
        f"run_dir={tmp_path / 'other'}",
    ]
    status, printed = call(monkeypatch, capsys, "capture", str(experiment), *settings)
    assert status == 0, printed
    captured = Activations.load(tmp_path / "other" / "activations" / "test")
    assert float((captured.predictions == captured.labels).float().mean()) > 0.8


def test_classes_that_are_turned_round_are_put_right_by_what_the_note_tells_to_type(
    experiment: Path, tmp_path: Path
):
    (point,) = load_experiment(experiment)
    run(point, until="finetune")
    model = tmp_path / "model"
    own_files = shutil.ignore_patterns("classifier.json", "manifest.json")
    shutil.copytree(tmp_path / "run" / "classifier", model, ignore=own_files)
    names = list(load_dataset(point.dataset).label_names)
    head, *rows = (tmp_path / "short.csv").read_text().splitlines()
    turned = {name: str((place + 1) % 3) for place, name in enumerate(names)}
    rows = [",".join([text, turned[name]]) for text, name in (row.split(",") for row in rows)]
    (tmp_path / "numbers.csv").write_text("\n".join([head, *rows]))
    settings = [f"backbone={{model: {model}, tuning: none}}", f"run_dir={tmp_path / 'opened'}"]
    data = f"dataset={{name: {tmp_path / 'numbers.csv'}, label_names: {names}}}"
    notes = captured(experiment, *settings, data)
    (typed,) = (m[1] for note in notes if (m := re.search(r"set '(dataset\.label_names=\[.*?\])'", note)))
    assert not any("agrees with the labels" in n for n in captured(experiment, *settings, data, typed))

    moved = model.rename(tmp_path / "moved")
    settings[0] = f"backbone={{model: {moved}, tuning: none}}"
    assert not any("it was replaced" in n for n in captured(experiment, *settings, data, typed))
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.2}))
    again = shutil.copytree(moved, tmp_path / "again")
    shutil.rmtree(moved)
    settings[0] = f"backbone={{model: {again}, tuning: none}}"
    notes = captured(experiment, *settings, data, typed)
    assert f"This folder held the run of model {moved}, no longer there; it was replaced." in notes


def captured(experiment: Path, *settings: str) -> list[str]:
    """What is noted of the activations of an experiment with these settings."""
    (point,) = load_experiment(experiment, list(settings))
    return run(point, until="capture").notes


OTHER = {"label_names": ["Ja", "Nein"]}
MESSAGES = {
    "a column with a blank": ("my text,label\n" + "a,x\nb,y\n" * 3, {}, "my text"),
    "a column that YAML reads as a boolean": ("text,yes\n" + "a,x\nb,y\n" * 3, {}, "yes"),
    "names that YAML reads as booleans": ("text,label\n" + "a,yes\nb,no\n" * 3, OTHER, None),
    "names with commas and quotes": ("text,label\n" + "a,\"it's, a\"\nb,no\n" * 3, OTHER, None),
    "names in two cases": ("text,label\n" + "a,Yes\nb,yes\nc,no\nd,no\n" * 3, {}, None),
    "an id that repeats": ("id,text,label\n" + "1,a,x\n1,b,y\n" * 3, {}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", MESSAGES)
def test_what_a_message_tells_to_type_works_as_it_stands(case: str, tmp_path: Path):
    content, options, column = MESSAGES[case]
    (tmp_path / "data.csv").write_text(content)
    experiment = write_experiment(tmp_path, dataset={"name": str(tmp_path / "data.csv"), **options})
    with pytest.raises(ClassifSAEError) as caught:
        loaded(experiment)
    found = re.search(
        r"""'dataset\.\w+=.*?'(?=[.,; ])(?:"'"'.*?'(?=[.,; ]))*|dataset\.\w+_column=\w+""", str(caught.value)
    )
    assert found is not None, caught.value
    typed = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {found[0]}"], capture_output=True, check=True, text=True
    )
    data = loaded(experiment, *typed.stdout.splitlines())
    assert len(data.label_names) == 2
    assert column is None or column in typed.stdout


def loaded(experiment: Path, *settings: str) -> Dataset:
    (point,) = load_experiment(experiment, list(settings))
    return load_dataset(point.dataset)


def test_bare_yes_and_no_are_told_to_be_quoted(tmp_path: Path):
    write_data(tmp_path / "data.csv")
    experiment = write_experiment(tmp_path, dataset={"name": str(tmp_path / "data.csv")})
    with pytest.raises(
        ClassifSAEError, match=r"quote names, such as 'dataset.label_names=\[\"no\", \"yes\"\]'"
    ):
        loaded(experiment, "dataset.label_names=[yes, no]")
