"""The whole job from Python: data frames and classifiers in memory, the artefacts of the command line."""

import json
from pathlib import Path

import pandas as pd
import pytest

import classifsae as cs
from classifsae.errors import ClassifSAEError, ConfigError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.explain import explainer_of
from classifsae.pipeline.run import run as run_experiment
from classifsae.pipeline.share import share
from e2e.conftest import SMALL, TINY, write_experiment

OPTIONS = {
    "methods": {"classifsae": SMALL | {"learning_rate": 1e-3}},
    "metrics": ["completeness"],
    "n_concepts": 6,
}


def frame(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "short.csv")


def test_a_data_frame_gives_what_its_file_gives(experiment: Path, tmp_path: Path):
    from_file = run_experiment(load_experiment(experiment, ["seeds=[1]", "audit=null"])[0])
    options = TINY | {"seeds": (1,), "audit": None, "run_dir": tmp_path / "mine"}
    done = cs.run(dataset=cs.load_dataset(frame(tmp_path), name="short"), until="score", **options)
    names = ("method", "recovery_accuracy", "conditional_flip_rate")
    found, wanted = ([tuple(r[name] for name in names) for r in o.records] for o in (done, from_file))
    assert found == wanted
    again = cs.run(dataset=cs.load_dataset(frame(tmp_path), name="short"), until="score", **options)
    assert (again.n_done, again.records) == (0, done.records)


def test_a_file_and_its_options_can_be_changed_too(tmp_path: Path):
    path = write_experiment(tmp_path)
    done = cs.run(path, until="capture", run_dir=tmp_path / "other")
    assert (done.folder, done.records) == (tmp_path / "other", [])
    with pytest.raises(ConfigError, match="is a sweep of 2 runs"):
        cs.run(write_experiment(tmp_path, sweep={"n_concepts": [3, 4]}, run_dir="runs/{dataset}/{backbone}"))
    with pytest.raises(ConfigError, match=r"unknown option 'seed'\. Did you mean 'seeds'\?"):
        cs.run(path, seed=3)


def test_a_classifier_in_memory_is_run_and_explained_later(tmp_path: Path):
    write_experiment(tmp_path)
    data = cs.load_dataset(frame(tmp_path), name="short")
    tuned = cs.finetune(TINY["backbone"], data.train, device="cpu")
    model = cs.Classifier.from_model(tuned.model, tuned.reader.tokenizer, name="mine", max_length=24)
    options = OPTIONS | {"seeds": [1], "run_dir": tmp_path / "run", "device": "cpu"}
    done = cs.run(dataset=data, backbone=model, **options)
    (record,) = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (record["dataset"], record["backbone"]) == ("short", "mine")
    assert record == done.records[0]
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    explained = explainer_of(tmp_path / "run").explain("the goal of the team")
    assert explained.classifier.label == model.label_names[model.logits(["the goal of the team"]).argmax()]
    again = cs.run(dataset=data, backbone=model, **options)
    assert again.n_done == 0

    for thing, said in ((done, "Run "), (model, "Classifier mine: encoder"), (explained, explained.text)):
        assert repr(thing).startswith(said)
        assert len(repr(thing).splitlines()) < 40
        assert thing._repr_html_().startswith('<div class="classifsae"')
    page = (tmp_path / "run" / "report" / "index.html").as_posix()
    assert f'<a href="{page}">' in done._repr_html_()
    assert "data:image/png;base64," in done._repr_html_()
    assert done.to_pandas()["recovery_accuracy"].tolist() == [record["recovery_accuracy"]]
    fired = explained.to_pandas()
    assert fired["share"].tolist() == [one.share for one in explained.concepts]
    assert set(fired.columns) >= {f"adds to {label}" for label in model.label_names}

    share(done.folder, to=tmp_path / "shared", hub=None, private=False, method=None, seed=None)
    shared = cs.load_concepts(tmp_path / "shared")
    assert shared.card == again.concepts("classifsae", seed=1).card
    assert (shared.card.backbone, shared.card.dataset) == ("mine", "short")
    assert shared.card.label_names == model.label_names
    assert shared.card.scores["recovery_accuracy"] == record["recovery_accuracy"]
    named = {fired.name for fired in cs.explain(model, shared, "the goal of the team").concepts}
    assert named == {fired.name for fired in explained.concepts}
    assert named <= set(shared.names)
    with pytest.raises(ConfigError, match="is there already and is left as it is"):
        share(done.folder, to=tmp_path / "shared", hub=None, private=False, method=None, seed=None)

    with pytest.raises(ConfigError, match=r"holds the run of other texts, .*run_dir="):
        cs.run(dataset=cs.load_dataset(frame(tmp_path)[:90], name="short"), backbone=model, **options)
    other = cs.finetune(TINY["backbone"] | {"seed": 3, "n_steps": 2}, data.train, device="cpu")
    other = cs.Classifier.from_model(other.model, other.reader.tokenizer, name="mine")
    with pytest.raises(ConfigError, match="holds the run of another classifier"):
        cs.run(dataset=data, backbone=other, **options)


def test_a_run_that_failed_at_its_options_leaves_its_folder_free(tmp_path: Path):
    first = cs.load_dataset("planted", options={"n_train": 40, "n_test": 20, "seed": 1})
    second = cs.load_dataset("planted", options={"n_train": 60, "n_test": 20})
    backbone = TINY["backbone"] | {"n_steps": 1}
    rest = {"until": "capture", "run_dir": tmp_path / "run", "device": "cpu"}
    with pytest.raises(ClassifSAEError, match="no-such-model"):
        cs.run(dataset=first, backbone="./no-such-model", **rest)
    done = cs.run(dataset=second, backbone=backbone, **rest)
    assert len(cs.Activations.load(done.folder / "activations" / "train")) == 60


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        (None, {}, "run needs dataset=: a name such as 'planted', a file, or data in memory"),
        (5, {}, "run takes an experiment file, or options such as dataset= and methods=; got int"),
        (None, {"dataset": "part"}, "dataset= takes the whole Dataset"),
        ({"dataset": "planted", "audit": 5}, {}, r"audit: must be a mapping of options, got 5"),
        ({"dataset": "planted"}, {"methods": "kmean"}, r"unknown method 'kmean'\. Did you mean 'kmeans'"),
    ],
)
def test_what_is_no_run_is_said_in_a_line(given: object, options: dict, said: str):
    if options.get("dataset") == "part":
        options = {"dataset": cs.load_dataset("planted", options={"n_train": 40, "n_test": 20}).train}
    with pytest.raises(ConfigError, match=said):
        cs.run(given, **options)


def test_one_method_is_named_by_a_word_and_options_may_be_a_mapping(tmp_path: Path):
    options = {
        "dataset": {"name": "planted", "options": {"n_train": 60, "n_test": 20}},
        "methods": "kmeans",
        "audit": False,
    }
    backbone = TINY["backbone"] | {"n_steps": 1}
    done = cs.run(options, backbone=backbone, until="capture", run_dir=tmp_path / "run", device="cpu")
    assert done.n_done == 3


def test_a_data_set_with_the_name_of_a_preset_is_what_it_holds(tmp_path: Path):
    data = cs.load_dataset("planted", options={"n_train": 60, "n_test": 20})
    backbone = TINY["backbone"] | {"n_steps": 1}
    done = cs.run(dataset=data, backbone=backbone, until="capture", run_dir=tmp_path / "run", device="cpu")
    captured = cs.Activations.load(tmp_path / "run" / "activations" / "train")
    assert (len(captured), captured.ids) == (60, data.train.ids)
    assert done.n_done == 3
