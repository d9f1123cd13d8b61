"""Data that is in memory already gives the data set that its file would give."""

import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from classifsae.data import load_dataset
from classifsae.errors import ConfigError, DataError

TEXTS = [f"{label} number {i}" for i in range(10) for label in ("good", "bad")]
LABELS = ["good", "bad"] * 10
ROWS = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
FRAME = pd.DataFrame(ROWS)


@pytest.fixture(scope="module")
def from_file(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("file") / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return load_dataset(path)


@pytest.mark.parametrize(
    "source",
    [FRAME, FRAME.set_index(np.arange(100, 120)), datasets.Dataset.from_list(ROWS)],
    ids=["frame", "frame with another index", "datasets"],
)
def test_a_table_is_split_as_its_file_is(source: object, from_file):
    assert load_dataset(source) == from_file


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (TEXTS, LABELS),
        (tuple(TEXTS), np.array(LABELS)),
        (FRAME["text"], FRAME["label"].astype("category")),
        (iter(TEXTS), iter(LABELS)),
    ],
    ids=["lists", "array", "series", "iterators"],
)
def test_texts_and_labels_are_split_as_their_file_is(texts: object, labels: object, from_file):
    assert load_dataset(texts=texts, labels=labels) == from_file


@pytest.mark.parametrize("labels", [[1, 0] * 10, np.array([1, 0] * 10), torch.tensor([1, 0] * 10)])
def test_indices_take_the_names_given(labels: object, from_file):
    data = load_dataset(texts=TEXTS, labels=labels, label_names=["bad", "good"])
    assert data.train.labels == from_file.train.labels
    assert data.label_names == ("bad", "good")


def test_splits_by_name_are_taken_as_they_are():
    parts = {"train": FRAME, "test": FRAME[:4], "rest": FRAME[4:6]}
    data = load_dataset(parts, name="my reviews")
    assert (len(data.train), len(data.test), data.name) == (20, 4, "my-reviews")
    assert len(load_dataset(parts, test="test+rest").test) == 6
    as_dict = datasets.DatasetDict({split: datasets.Dataset.from_pandas(f) for split, f in parts.items()})
    assert load_dataset(as_dict, name="my reviews") == data


def test_class_names_of_the_datasets_library_are_kept():
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["b", "a"])}
    )
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": [1, 0] * 10}, features=features)
    assert load_dataset(rows).label_names == ("b", "a")


def test_columns_are_named_and_gaps_are_said_with_their_row():
    frame = FRAME.rename(columns={"text": "body", "label": "stars"})
    assert len(load_dataset(frame, text_column="body", label_column="stars").train) == 16
    with pytest.raises(DataError, match=r"the data: which column holds the label\? Columns: 'body', 'stars'"):
        load_dataset(frame)
    frame.loc[3, "body"] = None
    with pytest.raises(DataError, match=r"has no text in 1 of 20 rows \(counting from 0: 3\)"):
        load_dataset(frame, text_column="body", label_column="stars")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"texts": TEXTS}, "only one was given"),
        ({"texts": TEXTS, "labels": LABELS[:3]}, "there are 20 texts and 3 labels"),
        ({"source": FRAME, "texts": TEXTS, "labels": LABELS}, "either a source or texts= and labels="),
        ({"source": FRAME[:0]}, "there are no rows"),
        ({"source": FRAME, "test": "test"}, "train and test name splits, and there is one table"),
        ({"source": {"train": FRAME, "test": "x.csv"}}, "only train of train, test is a data frame"),
        ({"source": {"first": FRAME, "second": FRAME}}, "no split 'train'"),
        ({"texts": set(TEXTS), "labels": LABELS}, "texts= takes one for each row, in their order.*got set"),
        ({"texts": TEXTS, "labels": "good"}, "labels= takes one for each row.*got str"),
        ({"source": {"text": TEXTS, "label": LABELS[:3]}}, "of other lengths"),
        ({"source": 7}, "cannot load a data set from int"),
        ({}, "cannot load a data set from NoneType"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(given: dict[str, object], said: str):
    with pytest.raises((ConfigError, DataError), match=said):
        load_dataset(**given)


def test_columns_in_a_mapping_are_a_table(from_file):
    assert load_dataset({"text": TEXTS, "label": np.array(LABELS)}).train.texts == from_file.train.texts


def test_a_description_is_still_a_mapping(tmp_path: Path):
    file = tmp_path / "x.csv"
    FRAME.to_csv(file, index=False)
    assert len(load_dataset({"name": str(file), "max_train": 6}).train) == 6
