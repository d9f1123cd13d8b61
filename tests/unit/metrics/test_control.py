"""The control: sizes are matched, directions are not, and nothing else moves."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from classifsae import bottleneck
from classifsae.activations import Activations, Source
from classifsae.bottleneck import Bottleneck, Evaluation, evaluate
from classifsae.concepts import Concepts
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts.random import Random
from classifsae.metrics.beyond_label import r2_within
from classifsae.metrics.causality import Causality, conditional_effects, firings, relative_change
from classifsae.metrics.control import Control, Draws, conditional_control, turn

SOURCE = Source(model="m", layer=1, prompt="", dataset="d")


@pytest.fixture(scope="module")
def view(train: Activations, test: Activations, tail: nn.Linear) -> Evaluation:
    return evaluate(Random(n_concepts=12, top_k=4, seed=5).fit(train, tail), tail, test)


def linear(decoder: torch.Tensor, hidden: torch.Tensor, tail: nn.Module | None = None) -> Evaluation:
    """Codes are coordinates; the tail is the state itself unless given."""
    m, width = decoder.shape
    concepts = Concepts(
        coder=LinearCoder(mean=torch.zeros(width), encoder=decoder.T.contiguous(), decoder=decoder),
        kept=torch.arange(m),
        class_activation=torch.eye(m, hidden.shape[1]),
        activation=torch.ones(m),
        source=SOURCE,
        method="linear",
    )
    ids = tuple(map(str, range(len(hidden))))
    labels = hidden.argmax(dim=1)
    return evaluate(concepts, tail or (lambda h: h), Activations(hidden, hidden, labels, ids, SOURCE))


def test_a_turned_state_keeps_its_norm_and_moves_by_the_shift():
    draws = torch.Generator().manual_seed(0)
    states, towards = torch.randn(2, 50, 7, generator=draws, dtype=torch.float64)
    shifts = torch.linspace(0, 2, 50, dtype=torch.float64)
    turned = turn(states, shifts, towards)
    assert torch.allclose(turned.norm(dim=1), states.norm(dim=1))
    assert torch.allclose(relative_change(states, turned), shifts, atol=1e-7)


def test_a_turn_by_hand():
    states, towards = torch.tensor([[3.0, 0.0]]), torch.tensor([[5.0, -2.0]])
    quarter = turn(states, torch.tensor([math.sqrt(2)]), towards)  # a right angle, away from the plus side
    assert quarter[0].tolist() == pytest.approx([0.0, -3.0], abs=1e-6)
    assert turn(states, torch.tensor([0.0]), towards).equal(states)
    assert turn(states, torch.tensor([2.0]), towards)[0].tolist() == pytest.approx([-3.0, 0.0], abs=1e-6)


def test_the_change_to_and_from_zero_is_the_whole_norm():
    states, zero = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)
    assert relative_change(states, zero).item() == relative_change(zero, states).item() == 1
    assert relative_change(zero, zero).item() == 0
    assert turn(zero, torch.ones(1), states).equal(zero)


def test_each_removal_and_each_sentence_is_rebuilt_once(view: Evaluation, monkeypatch: pytest.MonkeyPatch):
    rebuilt: list[int] = []
    states, fresh = Bottleneck.states, dataclasses.replace(view)

    def counted(own: Bottleneck, codes: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        rebuilt.append(len(codes))
        return states(own, codes, norms)

    monkeypatch.setattr(Bottleneck, "states", counted)
    conditional_effects(fresh)
    conditional_control(fresh, Draws.of(fresh, seed=1))
    r2_within(fresh, fresh.original.argmax(dim=1))
    assert sum(rebuilt) == len(firings(fresh)[0]) + len(fresh.codes)


def test_more_states_than_are_kept_give_the_same_numbers(view: Evaluation, monkeypatch: pytest.MonkeyPatch):
    kept = Control().measure(view)
    monkeypatch.setattr(bottleneck, "_ENTRIES_KEPT", 0)
    given = Control().measure(dataclasses.replace(view))
    assert given.control_tvd == pytest.approx(kept.control_tvd, abs=1e-6)
    assert given.removal_shift == pytest.approx(kept.removal_shift, abs=1e-6)


def test_what_is_as_small_as_nothing_changes_nothing():
    """The second concept moves the states by a millionth: so does its control."""
    hidden = torch.tensor([[2.0, 1e-6], [1.0, 1e-6], [3.0, 1e-6]])
    first, second = Control().measure(linear(torch.eye(2), hidden)).concepts
    assert (second.support, second.flip_rate) == (3, 0)
    assert second.shift < 1e-5
    assert second.tvd < 1e-5
    assert first.shift == pytest.approx(math.sqrt(2), abs=1e-2)  # from one axis to the other


def test_a_change_as_large_as_can_be_turns_every_state_round():
    """Of two opposed concepts the stronger decides; without it the state points the other way."""
    decoder = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    codes = torch.tensor([[3.0, 1.0], [2.0, 1.0], [5.0, 2.0]])
    view = linear(decoder, torch.tensor([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0]]))
    rebuilt = view.bottleneck.logits(codes, view.norms)
    result = Control().measure(dataclasses.replace(view, codes=codes, rebuilt=rebuilt))
    stronger, weaker = result.concepts
    assert (stronger.shift, stronger.flip_rate) == pytest.approx((2.0, 1.0))
    assert (weaker.shift, weaker.flip_rate) == pytest.approx((0.0, 0.0))
    assert result.control_flip_rate == pytest.approx(0.5)


def test_supports_are_those_of_causality_and_means_are_over_firing_concepts(view: Evaluation):
    result, causal = Control().measure(view), Causality().measure(view)
    assert [c.support for c in result.concepts] == [c.support for c in causal.concepts]
    firing = [c for c in result.concepts if c.support]
    assert result.control_tvd == pytest.approx(sum(c.tvd for c in firing) / len(firing))
    total = sum(c.support for c in firing)
    assert result.control_flip_rate_weighted == pytest.approx(
        sum(c.support * c.flip_rate for c in firing) / total
    )


def test_shifts_as_a_loop(view: Evaluation):
    states = view.states()
    for found in Control().measure(view).concepts:
        moved = []
        for i in range(len(view.codes)):
            if abs(view.codes[i, found.position]) > 1e-8:
                codes = view.codes[i].clone()
                codes[found.position] = 0
                after = view.bottleneck.states(codes[None], view.norms[i : i + 1])[0]
                moved.append(float((states[i] - after).norm() / states[i].norm()))
        assert found.shift == pytest.approx(sum(moved) / len(moved), abs=1e-5)


def test_as_many_different_sentences_are_turned_as_the_concept_fires_on(view: Evaluation):
    drawn = Draws.of(view, seed=3)
    assert len(set(drawn.some_sentences(20).tolist())) == 20
    assert sorted(drawn.some_sentences(64).tolist()) == list(range(64))


def test_directions_have_unit_norm_and_no_side(view: Evaluation):
    drawn = Draws.of(view, seed=3)
    assert torch.allclose(drawn.directions.norm(dim=1), torch.ones(len(drawn.directions)))
    assert drawn.directions.mean(dim=0).norm() < 0.1


def test_the_seed_decides(view: Evaluation):
    one, same, other = (Control(seed=s).measure(view) for s in (1, 1, 2))
    assert one == same
    assert one.control_tvd != other.control_tvd
    assert one.removal_shift == pytest.approx(other.removal_shift)


def test_for_directions_that_are_random_themselves_control_and_causality_agree():
    """Independent random concepts, all firing everywhere: removing one is a random change of its size."""
    draws = torch.Generator().manual_seed(0)
    decoder = torch.randn(60, 200, generator=draws)
    hidden = torch.randn(400, 200, generator=draws)
    tail = nn.Linear(200, 3).requires_grad_(False)
    tail.weight.copy_(torch.randn(3, 200, generator=draws)), tail.bias.zero_()
    view = linear(decoder, hidden)
    codes = torch.randn(400, 60, generator=draws)
    bottleneck = Bottleneck(view.concepts, tail)
    rebuilt = bottleneck.logits(codes, view.norms)
    view = dataclasses.replace(
        view, bottleneck=bottleneck, codes=codes, rebuilt=rebuilt, original=rebuilt, labels=rebuilt.argmax(1)
    )
    causal, control = Causality().measure(view), Control().measure(view)
    assert control.control_tvd == pytest.approx(causal.conditional_tvd, rel=0.05)
    assert control.control_flip_rate == pytest.approx(causal.conditional_flip_rate, rel=0.05)


def test_the_global_control_of_a_concept_that_is_a_whole_segment():
    """One concept per class: removing a segment is removing its concept; everywhere it fires here."""
    hidden = torch.tensor([[2.0, 1.0], [1.0, 2.0], [3.0, 1.0], [1.0, 1.5]])
    result = Control().measure(linear(torch.eye(2), hidden))
    assert result.control_global_flip_rate > 0
    silent = dataclasses.replace(linear(torch.eye(2), hidden), codes=torch.zeros(4, 2))
    assert Control().measure(silent).control_global_flip_rate == 0


def test_no_concept_that_fires_is_not_a_number(view: Evaluation):
    result = Control().measure(dataclasses.replace(view, codes=torch.zeros_like(view.codes)))
    assert math.isnan(result.control_flip_rate)
    assert math.isnan(result.removal_shift)
    assert all(math.isnan(c.tvd) for c in result.concepts)


def test_the_view_stays_as_it_was(view: Evaluation):
    codes, rebuilt = view.codes.clone(), view.rebuilt.clone()
    Control().measure(view)
    assert torch.equal(view.codes, codes)
    assert torch.equal(view.rebuilt, rebuilt)
