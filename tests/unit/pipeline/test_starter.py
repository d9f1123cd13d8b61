"""A first experiment file: what is inferred of the data, and that it can be run as it stands."""

import csv
import json
from pathlib import Path

import pytest

from classifsae.errors import ConfigError, DataError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.starter import write_starter


def bert(folder: Path, names: tuple[str, ...] | None) -> None:
    """The configuration of a BERT in a folder: a classifier of these classes, or none."""
    head = "BertModel" if names is None else "BertForSequenceClassification"
    labels = {} if names is None else {"id2label": dict(enumerate(names))}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": [head], **labels}))


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    kinds = ["bad", "good", "good"]
    rows = [[f"{i}", f"The soup was {kinds[i % 3]}, visit {i}.", kinds[i % 3], "x"] for i in range(60)]
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["number", "what", "stars", "page"], *rows])
    return Path("reviews.csv")


def test_columns_without_usual_names_are_the_longest_texts_and_the_fewest_values(reviews: Path):
    file = write_starter(str(reviews))
    (experiment,) = load_experiment(file)
    assert file == Path("reviews.yaml")
    assert (experiment.dataset.text_column, experiment.dataset.label_column) == ("what", "stars")
    assert (experiment.backbone.name, experiment.backbone.tuning) == ("minilm", "full")
    assert experiment.n_concepts == 20


def test_the_file_says_sizes_and_classes(reviews: Path):
    text = write_starter(str(reviews)).read_text()
    assert "# 48 training and 12 test texts, split off by class" in text
    assert "# 2 classes: good (32), bad (16)." in text


def test_a_setting_stands_and_is_written(reviews: Path):
    file = write_starter(str(reviews), settings=["dataset.text_column=what", "dataset.test_fraction=0.5"])
    (experiment,) = load_experiment(file)
    assert experiment.dataset.test_fraction == 0.5
    assert "# 30 training and 30 test" in file.read_text()


def test_a_column_that_is_not_there_is_refused(reviews: Path):
    with pytest.raises(DataError, match="there is no column 'body'"):
        write_starter(str(reviews), settings=["dataset.text_column=body"])


def test_no_more_concepts_than_training_texts(reviews: Path):
    reviews.write_text("".join(reviews.read_text().splitlines(keepends=True)[:13]))
    (experiment,) = load_experiment(write_starter(str(reviews)))
    assert experiment.n_concepts == 9


def test_a_file_that_is_there_is_not_overwritten(reviews: Path):
    file = write_starter(str(reviews))
    file.write_text("mine")
    with pytest.raises(ConfigError, match=r"reviews.yaml is there already.*--to"):
        write_starter(str(reviews))
    assert file.read_text() == "mine"


def test_settings_are_of_the_data_set(reviews: Path):
    with pytest.raises(ConfigError, match=r"such as dataset\.text_column=body, not 'seeds=3'"):
        write_starter(str(reviews), settings=["seeds=3"])
    assert not Path("reviews.yaml").exists()


@pytest.mark.parametrize(
    ("names", "tuning"), [(("good", "bad"), "none"), (("LABEL_0", "LABEL_1"), "none"), (None, "full")]
)
def test_a_classifier_of_these_classes_is_opened_as_it_is(
    reviews: Path, names: tuple[str, ...] | None, tuning: str
):
    bert(Path("model"), names)
    (experiment,) = load_experiment(write_starter(str(reviews), model="./model"))
    assert (experiment.backbone.model, experiment.backbone.tuning) == ("./model", tuning)


def test_a_folder_without_a_model_is_refused(reviews: Path):
    Path("empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no config\.json; give the folder of a model"):
        write_starter(str(reviews), model="./empty")


def test_a_table_without_names_of_columns_is_refused(reviews: Path):
    reviews.write_text("".join(reviews.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match="has no names of columns: 'bad' in its first line is a label"):
        write_starter(str(reviews))


def test_a_classifier_of_other_classes_is_refused(reviews: Path):
    bert(Path("model"), ("cats", "dogs"))
    with pytest.raises(ConfigError, match="has the classes cats, dogs, the data set has others"):
        write_starter(str(reviews), model="./model")
