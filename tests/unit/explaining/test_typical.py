"""What is typical of a concept: a median, a sentence that has it, and whether it says the class."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import classifsae as cs
from classifsae.activations import Activations
from classifsae.activity import activating_sets, class_indicators, coverage_of
from classifsae.errors import MismatchError, StorageError
from classifsae.explaining.typical import load_typical, save_typical, typical_of


@pytest.fixture(scope="module")
def texts(test: Activations) -> tuple[str, ...]:
    return tuple(f"sentence {i}" for i in range(len(test)))


@pytest.fixture(scope="module")
def concepts(train: Activations, tail: nn.Linear) -> cs.Concepts:
    return cs.Random(n_concepts=8, top_k=3, seed=1).fit(train, tail)


def test_the_sentence_is_the_one_with_the_median_activation(
    concepts: cs.Concepts, test: Activations, texts: tuple[str, ...]
):
    found = typical_of(concepts, test, texts)
    codes = concepts.encode(test.hidden)
    sets = activating_sets(codes).sets
    for j, one in enumerate(found):
        own = codes[sets[j], j].sort().values
        assert one.activation == own[(len(own) - 1) // 2].item()
        assert codes[texts.index(one.sentence), j].item() == one.activation


def test_a_concept_that_is_strongly_active_nowhere_has_nothing_typical(
    concepts: cs.Concepts, test: Activations, texts: tuple[str, ...]
):
    one = replace(test.take(torch.tensor([0] * 5)), ids=tuple(f"row-{i}" for i in range(5)))
    found = typical_of(concepts, one, texts[:5])
    assert [(t.activation, t.sentence) for t in found] == [(None, "")] * 8


def test_the_class_under_another_name_says_the_class_and_half_of_it_does_not():
    classes = torch.zeros(2, 40, dtype=torch.bool)
    classes[0, :20], classes[1, 20:] = True, True
    sets = torch.zeros(4, 40, dtype=torch.bool)
    sets[0] = classes[0]
    sets[1, :10] = True  # half of class 0
    sets[2] = True  # everything: all of its own class
    sets[3, :17] = True  # Jaccard index 0.85 of class 0, of which it has 85 %
    own = torch.tensor([0, 0, 1, 1])
    assert class_indicators(sets, classes, own).tolist() == [True, False, True, True]
    assert coverage_of(sets, classes)[3].tolist() == pytest.approx([0.85, 0])


def test_classes_say_the_class(train: Activations, test: Activations, texts: tuple[str, ...]):
    labels = cs.Classes().fit(train, lambda hidden: hidden[:, :3])
    same = replace(test, logits=test.hidden[:, :3])
    assert all(one.says_class for one in typical_of(labels, same, texts))


def test_it_survives_the_disk(
    concepts: cs.Concepts, test: Activations, texts: tuple[str, ...], tmp_path: Path
):
    found = typical_of(concepts, test, texts)
    save_typical(found, tmp_path)
    assert load_typical(tmp_path) == found
    assert load_typical(tmp_path / "none") == ()
    file = tmp_path / "typical.json"
    file.write_text("[" * len(file.read_text()))
    with pytest.raises(StorageError, match=r"typical\.json has the SHA-256"):
        load_typical(tmp_path)


def test_other_texts_and_other_activations_are_refused(
    concepts: cs.Concepts, test: Activations, texts: tuple[str, ...]
):
    with pytest.raises(MismatchError, match="5 texts and activations of 64"):
        typical_of(concepts, test, texts[:5])
    other = replace(test, source=test.source.model_copy(update={"model": "other"}))
    with pytest.raises(MismatchError, match="the concepts"):
        typical_of(concepts, other, texts)
