"""What a run notes below its table, `fit` and `score` warn about in Python."""

import pytest
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts.classifsae import ClassifSAE
from classifsae.concepts.conceptshap import ConceptSHAP
from classifsae.concepts.random import Random
from classifsae.errors import ClassifSAEWarning, DataError
from classifsae.metrics import score, shortcomings


def test_concepts_that_are_dead_are_a_warning_that_names_options(train: Activations, tail: nn.Linear):
    brief = ClassifSAE(n_concepts=12, n_latents=48, top_k=1, n_vectors=100, seed=3)
    with pytest.warns(
        ClassifSAEWarning, match=r"classifsae: \d+ of 12 concepts are dead .*raise top_k .*train longer"
    ):
        concepts = brief.fit(train, tail)
    assert 0 < len(concepts) < 12
    with pytest.raises(DataError, match=r"all 6 concepts are dead .*; lower threshold or train longer"):
        ConceptSHAP(n_concepts=6, threshold=0.999, n_epochs=1).fit(train, tail)


def test_weak_concepts_are_a_warning(train: Activations, test: Activations, tail: nn.Linear):
    concepts = Random(n_concepts=2, top_k=1).fit(train, tail)
    with pytest.warns(ClassifSAEWarning) as caught:
        score(concepts, tail, test)
    said = [str(warning.message) for warning in caught]
    assert any("random: the concepts alone recover only" in line for line in said)
    assert any("hardly ever predict class" in line for line in said)


def test_good_concepts_are_none():
    assert shortcomings({"recovery_accuracy": 0.9}, []) == ()
    assert shortcomings({}, []) == ()
    assert len(shortcomings({"recovery_accuracy": 0.89, "n_alive": 3, "n_firing": 2}, ["money"])) == 3
