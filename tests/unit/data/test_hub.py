"""Hub data sets, without a network: a local folder in the Hub's layout goes the same way."""

from pathlib import Path

import datasets
import pytest

from classifsae.data import hub, load_dataset
from classifsae.data.hub import read_hub
from classifsae.errors import DataError, UnknownNameError


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    for split, n in (("train", 8), ("validation", 2), ("test", 4)):
        rows = {"text": [f"{split} {i}" for i in range(n)], "label": [i % 2 for i in range(n)]}
        path = tmp_path / "owner" / "reviews" / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return tmp_path / "owner" / "reviews"


def test_class_names_and_splits_come_from_the_hub(hub_folder: Path):
    data = load_dataset(hub_folder, test="test+validation")
    assert data.label_names == ("neg", "pos")
    assert data.train.labels == (0, 1) * 4
    assert data.train.ids[0] == "train-0"
    assert data.test.ids == ("test-0", "test-1", "test-2", "test-3", "validation-0", "validation-1")
    assert data.test.texts[-1] == "validation 1"


def test_class_names_may_be_replaced(hub_folder: Path):
    assert load_dataset(hub_folder, label_names=["bad", "good"]).label_names == ("bad", "good")


def test_hub_names_are_owner_and_name(hub_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(hub_folder.parent.parent)
    assert load_dataset("owner/reviews").name == "reviews"


def test_integers_are_indices_of_the_declared_classes_whatever_these_are_called(tmp_path: Path):
    names = sorted(str(number) for number in range(12))
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    rows = {"text": [f"text {i}" for i in range(48)], "label": [i % 12 for i in range(48)]}
    path = tmp_path / "numbers.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    data = load_dataset(path)
    assert data.label_names == tuple(names)
    for part in (data.train, data.test):
        assert list(part.labels) == [int(row_id.removeprefix("row-")) % 12 for row_id in part.ids]


def test_unknown_split_lists_those_there(hub_folder: Path):
    with pytest.raises(
        DataError, match=r"no split 'dev'; splits: .*'train'.*; set dataset.test to one of them"
    ):
        load_dataset(hub_folder, test="dev")


def test_class_names_noted_in_a_parquet_file_are_used(hub_folder: Path):
    data = load_dataset(hub_folder / "data" / "train-00000-of-00001.parquet")
    assert data.label_names == ("neg", "pos")


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "hub_is_reachable", lambda: False)
    with pytest.raises(DataError, match=r"^cannot load 'a/b' from the Hub \(\w+: .*\); check the") as caught:
        read_hub("a/b", config=None, revision=None)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"^cannot load 'fancyzhx/ag_news' from the Hub"):
        load_dataset("agnews")


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "hub_is_reachable", lambda: False)
    message = r"^unknown data set 'xyzzy'\. Known: agnews, .* The Hub was asked too: cannot load 'xyzzy'"
    with pytest.raises(UnknownNameError, match=message):
        load_dataset("xyzzy")
