"""Effects of concepts in text agree with their ablation where a concept is what its words are."""

import pytest
import torch

from classifsae.activations import Source
from classifsae.auditing.effects import concept_effects, rank_correlation
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts.base import Concepts
from shortcut_world import SOURCE, World, world


@pytest.fixture(scope="module")
def shortcut() -> World:
    """The signature decides."""
    return world(weight=2.5, rate=0.8)


@pytest.fixture(scope="module")
def unused() -> World:
    """The signature is there, and the classifier does not look at it."""
    return world(weight=0.0, rate=0.8)


def neurons(source: Source = SOURCE) -> Concepts:
    """Each neuron a concept: words of sports, words of money, the signature."""
    return Concepts(
        coder=LinearCoder(mean=torch.zeros(3), encoder=torch.eye(3), decoder=torch.eye(3)),
        kept=torch.arange(3),
        class_activation=torch.tensor([[1.0, 0], [0, 1.0], [0, 1.0]]),
        activation=torch.ones(3),
        source=source,
        method="toy",
    )


def test_the_signature_carries_its_concept_and_moves_as_much_inside_as_outside(shortcut: World):
    effects = concept_effects(
        shortcut.model, neurons(), shortcut.train, shortcut.test, **shortcut.activations
    )
    signature = effects.concepts[2]
    assert signature.phrases[0].text == "Sent from my tablet"
    assert signature.phrases[0].lost == pytest.approx(1)
    assert signature.outside == pytest.approx(signature.inside, abs=0.05)
    assert signature.into.value > signature.into_control.value
    assert effects.sign_agreement > 0.8


def test_a_concept_that_the_classifier_does_not_use_moves_nothing(unused: World):
    effects = concept_effects(unused.model, neurons(), unused.train, unused.test, **unused.activations)
    signature = effects.concepts[2]
    assert signature.outside == pytest.approx(0)
    assert signature.inside == pytest.approx(0, abs=0.05)
    assert signature.out.value == 0


def test_rank_correlation_by_hand():
    same, interval = rank_correlation([(i, i * i) for i in range(1, 9)])
    assert same == pytest.approx(1)
    assert interval == pytest.approx((1, 1))
    assert rank_correlation([(i, -i) for i in range(8)])[0] == pytest.approx(-1)
    assert rank_correlation([(1, 2)] * 4) == (None, None)
    assert rank_correlation([(1, i) for i in range(9)]) == (None, None)
