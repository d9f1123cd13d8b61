"""A pattern is taken out of the state, what it went with stays, and where it cannot be the result says so."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from classifsae.auditing.answers import Rate
from classifsae.auditing.remedy import Effect, Pairs, Remedy, Trial, _best, effect_of, leace, ways_of
from classifsae.classifier.opening.affine import AffineMap

N, WIDTH = 400, 6


def pairs(*, along_class: float = 0.0) -> Pairs:
    """Two classes along the first neuron; the pattern moves the second, and by so much the first."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % 2
    without = torch.randn(N, WIDTH, generator=generator) * 0.3
    without[:, 0] += 2.0 * labels - 1
    with_it = without + torch.randn(N, WIDTH, generator=generator) * 0.05
    with_it[:, 1] += 3
    with_it[:, 0] += along_class
    return Pairs(without, with_it, labels, torch.arange(len(labels)) % 2 == 0)


def tail(*, weight: float) -> nn.Linear:
    """Decides by the first neuron, and by so much of the second."""
    linear = nn.Linear(WIDTH, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[-1.0, -weight, 0, 0, 0, 0], [1.0, weight, 0, 0, 0, 0]]))
        linear.bias.zero_()
    return linear


def test_leace_leaves_nothing_that_tells_linearly_of_the_pattern():
    given = pairs(along_class=0.5)
    erased = leace(given)
    without, with_it = erased(given.without), erased(given.with_it)
    assert torch.allclose(without.mean(dim=0), with_it.mean(dim=0), atol=1e-6)


def test_leace_changes_nothing_where_the_pattern_does_nothing_else():
    given, erased = pairs(), leace(pairs())
    assert torch.allclose(erased(given.without)[:, 0], given.without[:, 0].double(), atol=0.05)


@pytest.mark.parametrize("way", ["project", "erase", "erase and refit"])
def test_every_way_takes_a_pattern_away_that_lies_apart_from_the_classes(way: str):
    given, decides = pairs(), tail(weight=1.0)
    before = effect_of(decides, None, given)
    after = effect_of(decides, dict(ways_of(decides, given))[way], given)
    assert before.changed > 0.4
    assert after.changed < 0.02
    assert after.accuracy > 0.98


def test_maps_are_applied_one_after_the_other():
    first = AffineMap(torch.diag(torch.arange(1.0, 4)), torch.ones(3))
    second = AffineMap(torch.eye(3).flip(0), torch.tensor([1.0, 0, 0]))
    hidden = torch.tensor([[1.0, 2, 3]])
    assert torch.equal(second.after(first)(hidden), second(first(hidden)))
    assert AffineMap.around(hidden[0], -torch.eye(3))(hidden).tolist() == hidden.tolist()


def test_the_most_accurate_way_is_taken_of_those_that_take_enough_away():
    before = Effect(0.4, 0.9)
    trials = [Trial("a", Effect(0.05, 0.8)), Trial("b", Effect(0.08, 0.9)), Trial("c", Effect(0.2, 0.99))]
    assert _best(trials, before) == 1
    assert _best(trials, Effect(0.2, 0.9)) == 0  # none takes enough away


def test_a_remedy_that_is_not_enough_says_so():
    found = Remedy(
        SimpleNamespace(), "x", "erase", (), Effect(0.4, 0.9), Effect(0.2, 0.9), (0.9, 0.9), {}, 3, 100
    )
    assert found.reduction == pytest.approx(0.5)
    assert "Less than 80% is gone" in found.finding


@pytest.mark.parametrize(
    ("out", "accuracy", "said", "unsaid"),
    [
        (0.12, 0.9, "76% where it is taken out. ", "costs accuracy"),
        (0.05, 0.9, "90% where it is taken out. ", "Less than"),
        (0.05, 0.87, "It costs accuracy: 0.870 on the test split, before 0.900", "Less than"),
    ],
)
def test_a_remedy_is_judged_where_the_words_are_taken_out_and_by_its_cost(out, accuracy, said, unsaid):
    before, after = (
        Effect(changed, 0.9, Rate(taken_out, 0, 1, 50), Rate(0.3, 0, 1, 50))
        for changed, taken_out in ((0.4, 0.5), (0.05, out))
    )
    found = Remedy(SimpleNamespace(), "x", "erase", (), before, after, (0.9, accuracy), {}, 3, 100)
    assert said in found.finding
    assert unsaid not in found.finding
    assert ("Less than" in found.finding) == (out > 0.1)


def test_effects_out_and_in_by_hand():
    without, with_it = (
        torch.tensor([[1.0], [1.0], [-1.0], [1.0]]),
        torch.tensor([[-1.0], [1.0], [1.0], [1.0]]),
    )
    pairs = Pairs(without, with_it, torch.tensor([1, 1, 0, 1]), torch.tensor([True, True, False, False]))
    effect = effect_of(lambda h: torch.cat([-h, h], dim=1), None, pairs)
    assert (effect.changed, effect.accuracy, effect.out.value, effect.into.value) == (0.5, 1.0, 0.5, 0.5)
    assert (effect.out.n, effect.into.n) == (2, 2)
