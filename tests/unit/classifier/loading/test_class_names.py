"""Names of the classes: the model's own against the data set's, and what tells that they are mixed up."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.loading.identity import stated_labels
from classifsae.classifier.loading.labels import (
    agreed_labels,
    label_order_note,
    require_same_order,
    unnamed_classes_note,
)
from classifsae.data.texts import Dataset, Texts
from classifsae.errors import ConfigError


@pytest.mark.parametrize(
    ("own", "wanted", "agreed"),
    [
        (("LABEL_0", "LABEL_1"), ("no", "yes"), ("no", "yes")),
        (("0", "1"), ("no", "yes"), ("no", "yes")),
        (("NO", "Yes"), ("no", "yes"), ("no", "yes")),
        (("no", "yes"), None, ("no", "yes")),
        (("yes", "NO"), ("no", "yes"), ("yes", "no")),
        (("θετικό", "αρνητικό"), ("ΑΡΝΗΤΙΚΌ", "ΘΕΤΙΚΌ"), ("ΘΕΤΙΚΌ", "ΑΡΝΗΤΙΚΌ")),
        (("긍정", "부정"), ("부정", "긍정"), ("긍정", "부정")),
        (("Sci/Tech", "World news"), ("world_news", "SciTech"), ("SciTech", "world_news")),
        (("LABEL_0", "LABEL_1"), ("LABEL_1", "LABEL_0"), ("LABEL_0", "LABEL_1")),
        (("0", "1", "10", "2"), ("0", "1", "2", "10"), ("0", "1", "10", "2")),
        (("-1", "0", "1"), ("1", "-1", "0"), ("-1", "0", "1")),
        (("re-sign", "resign"), ("re-sign", "resign"), ("re-sign", "resign")),
    ],
)
def test_names_are_matched_by_name_in_every_script(
    own: tuple[str, ...], wanted: tuple[str, ...] | None, agreed: tuple[str, ...]
):
    assert agreed_labels(own, wanted, name="m") == agreed


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        (("ham", "spam"), ("no", "yes")),
        (("θετικό", "αρνητικό"), ("καλό", "κακό")),
        (("긍정", "부정"), ("좋음", "나쁨")),
        (("-1", "0"), ("1", "0")),
        (("C", "C++"), ("C", "C#")),
        (("re-sign", "resign"), ("resign", "re-sign")),
    ],
)
def test_other_names_are_refused_in_every_script(own: tuple[str, ...], wanted: tuple[str, ...]):
    with pytest.raises(ConfigError, match=f"m has the classes .*, the data set has others .*{wanted[0]}"):
        agreed_labels(own, wanted, name="m")


def test_numbered_labels_are_told_how_to_take_the_models_names():
    with pytest.raises(ConfigError) as caught:
        agreed_labels(("yes", "Sci, Tech"), ("0", "1"), name="m")
    cure = """set 'dataset.label_names=["yes", "Sci, Tech"]'"""
    assert f"numbers from 0 in the model's order, {cure}; else write the model's" in str(caught.value)


def test_labels_that_count_from_1_are_told_to_count_from_0():
    """``dataset.label_names`` alone would lead to labels that are not declared, and from there back."""
    with pytest.raises(
        ConfigError, match=r"others \(1, 2\); write the labels as 0 to 1 in the model's order"
    ):
        agreed_labels(("World", "Sports"), ("1", "2"), name="m")


def test_another_number_of_classes_is_refused():
    with pytest.raises(ConfigError, match=r"m has 2 classes \(a, b\), the data set 3"):
        agreed_labels(("a", "b"), ("a", "b", "c"), name="m")


def test_texts_that_count_the_classes_in_another_order_are_refused():
    require_same_order(("No", "Yes"), ("no", "yes"), name="m")
    with pytest.raises(
        ConfigError, match=r"another order \(no, yes\); take .*data.in_order_of\(\['yes', 'no'\]\)"
    ):
        require_same_order(("YES", "NO"), ("no", "yes"), name="m")


def test_a_classifier_answers_in_its_own_order_and_the_texts_follow(encoder_folder: Path, tmp_path: Path):
    folder = shutil.copytree(encoder_folder, tmp_path / "clf")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "θετικό", "1": "αρνητικό", "2": "ουδέτερο"}
    (folder / "config.json").write_text(json.dumps(config))
    names = ("αρνητικό", "ουδέτερο", "θετικό")
    texts = Texts(("one", "two", "three"), (2, 0, 1), ("a", "b", "c"), names)
    data = Dataset.of("d", texts, replace(texts, ids=("d", "e", "f")))
    model = Classifier.load(folder, label_names=data.label_names)
    assert model.label_names == ("θετικό", "αρνητικό", "ουδέτερο")
    with pytest.raises(ConfigError, match="another order"):
        capture(model, data.train)
    matched = data.in_order_of(model.label_names)
    assert capture(model, matched.train).labels.tolist() == [0, 1, 2]
    assert matched.test.labels == (0, 1, 2)
    assert matched.train.dataset == matched.test.dataset != data.train.dataset
    assert matched.in_order_of(names) == data


def test_which_name_went_to_which_index_is_said():
    said = "m has no names for its classes; they are taken in the data set's order: 0 = no, 1 = yes."
    assert unnamed_classes_note(("LABEL_0", "LABEL_1"), ("no", "yes"), name="m") == said
    assert unnamed_classes_note(("no", "yes"), ("no", "yes"), name="m") is None
    assert unnamed_classes_note(("LABEL_0", "LABEL_1"), ("0", "1"), name="m") is None
    assert unnamed_classes_note(("label_0", "label_1"), ("no", "yes"), name="m") == said
    assert unnamed_classes_note(("class 0", "class 1"), ("no", "yes"), name="m") == said


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"id2label": {"0": "no", "1": "yes"}}, ("no", "yes")),
        ({}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"architectures": ["GPT2LMHeadModel"]}, None),
    ],
)
def test_names_that_transformers_leaves_out_of_the_file_are_its_own(
    fields: dict[str, object], names: tuple[str, ...] | None, tmp_path: Path
):
    written = {"architectures": ["BertForSequenceClassification"], **fields}
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert stated_labels(str(tmp_path), None) == names


# ------------------------------------------------------------------ labels and predictions


def note(labels: list[int], predictions: list[int], names: str = "no yes", given: str | None = None) -> str:
    found = label_order_note(
        torch.tensor(labels), torch.tensor(predictions), names.split(), given=given and given.split()
    )
    return found or ""


def test_swapped_classes_are_said_with_the_order_that_fits():
    said = note([0, 0, 0, 1, 1], [1, 1, 1, 0, 0])
    assert said.startswith(
        "The classifier agrees with the labels on 0.0% of the texts, no more than by chance;"
    )
    assert "with the classes in the order yes, no it would be 100.0%" in said
    cure = """Where the data writes these names, set 'dataset.label_names=["yes", "no"]'"""
    assert said.endswith(f"{cure}; else correct the labels.")


def test_swapped_classes_of_a_model_that_names_them_are_its_configurations():
    said = note([0, 0, 0, 1, 1], [1, 1, 1, 0, 0], given="no yes")
    assert (
        "100.0%. Correct id2label in the model's config.json; where the data writes numbers instead" in said
    )
    numbers = note([0, 0, 0, 1, 1], [1, 1, 1, 0, 0], names="0 1", given="1 0")
    assert numbers.endswith("100.0%. Correct id2label in the model's config.json; else correct the labels.")


@pytest.mark.parametrize("given", ["good bad sport money", "sport good money bad"])
def test_numbers_of_a_model_that_names_its_classes_are_told_their_names(given: str):
    """Number k of the data is the class that the model gives for it, whatever it was taken for before."""
    own, truth = ["good", "bad", "sport", "money"], ["bad", "sport", "money", "good"]
    numbers = [k for k in range(4) for _ in range(9)]
    labels = [own.index(given.split()[k]) for k in numbers]
    said = note(labels, [own.index(truth[k]) for k in numbers], " ".join(own), given)
    if given.split() != truth:
        assert """set 'dataset.label_names=["bad", "sport", "money", "good"]'""" in said


def test_the_order_names_the_class_of_each_prediction():
    """Predictions that turn three classes round: what is 0, 1, 2 is answered as 1, 2, 0."""
    labels = [0] * 9 + [1] * 9 + [2] * 9
    said = note(labels, [(label + 1) % 3 for label in labels], "a b c")
    assert """set 'dataset.label_names=["c", "a", "b"]'""" in said


def test_two_of_many_classes_that_are_swapped_are_said_though_the_rest_fits():
    labels = [label for label in range(12) for _ in range(10)]
    swapped = [{2: 10, 10: 2}.get(label, label) for label in labels]
    said = note(labels, swapped, " ".join(f"c{i}" for i in range(12)))
    assert "on 83.3% of the texts; with the classes in the order c0, c1, c10, c3," in said
    assert "it would be 100.0%" in said


def test_a_classifier_that_always_answers_one_class_is_at_chance():
    said = note([0] * 10 + [1] * 90, [0] * 100)
    assert said == (
        "The classifier agrees with the labels on 10.0% of the texts, no more than by chance: "
        "check that it was trained on these classes."
    )


@pytest.mark.parametrize(
    ("labels", "predictions", "names"),
    [
        ([0, 1] * 50, [0, 1] * 45 + [1, 0] * 5, "no yes"),
        ([0] * 72 + [1] * 28, [0] * 60 + [1] * 12 + [1] * 20 + [0] * 8, "no yes"),
        ([0] * 50 + [1] * 50 + [2] * 2, [0] * 50 + [1] * 50 + [1] * 2, "a b rare"),
        ([], [], "no yes"),
    ],
)
def test_a_classifier_that_does_its_work_gets_no_note(labels: list[int], predictions: list[int], names: str):
    assert (
        label_order_note(
            torch.tensor(labels, dtype=torch.long), torch.tensor(predictions, dtype=torch.long), names.split()
        )
        is None
    )


@pytest.mark.parametrize("c", [2, 12])
def test_noise_is_not_taken_for_another_order(c: int):
    generator = torch.Generator().manual_seed(0)
    names = [f"c{i}" for i in range(c)]
    for n in (100, 1000):
        for _ in range(50):
            labels = torch.randint(c, (n,), generator=generator)
            right = torch.rand(n, generator=generator) < 0.3
            predictions = torch.where(right, labels, torch.randint(c, (n,), generator=generator))
            assert label_order_note(labels, predictions, names) is None
