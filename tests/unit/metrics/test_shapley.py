"""Shapley values of games worked out by hand, and of concepts as loops over sentences and sets."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.bottleneck import Evaluation, evaluate
from classifsae.concepts.identity import Identity
from classifsae.concepts.random import Random
from classifsae.metrics import METRICS, shapley
from classifsae.metrics.shapley import Shapley, by_all_sets, by_permutations, members, most_frequent, recovery


@pytest.fixture(scope="module")
def view(train: Activations, test: Activations, tail: nn.Linear) -> Evaluation:
    return evaluate(Random(n_concepts=8, top_k=5, seed=5).fit(train, tail), tail, test)


@pytest.fixture(scope="module")
def wide_view(train: Activations, test: Activations, tail: nn.Linear) -> Evaluation:
    return evaluate(Random(n_concepts=14, top_k=6, seed=5).fit(train, tail), tail, test)


def gloves(sets: torch.Tensor) -> torch.Tensor:
    """Players 0 and 1 have a left glove each, player 2 a right one; a pair is worth 1."""
    inside = members(sets, 3)
    return (inside[:, 2] & (inside[:, 0] | inside[:, 1])).double()


def weighted_vote(sets: torch.Tensor) -> torch.Tensor:
    """Votes of 1 to 7, and one player without any; more than half of 28 is needed."""
    votes = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 0], dtype=torch.float64)
    return (members(sets, 8).double() @ votes > 14).double()


def test_the_glove_game_by_hand():
    # Of the 6 orders, 0 completes the pair in (2, 0, 1) only, 1 in (2, 1, 0) only, 2 in the other four.
    assert by_all_sets(gloves, 3).tolist() == pytest.approx([1 / 6, 1 / 6, 4 / 6])


def test_exact_values_as_means_over_all_orders():
    votes = 5
    orders = list(itertools.permutations(range(votes)))
    added = torch.zeros(votes, dtype=torch.float64)
    for order in orders:
        number = 0
        for player in order:
            before, number = number, number | 1 << player
            pair = weighted_vote(torch.tensor([before, number]) | 0b1100000)
            added[player] += pair[1] - pair[0]
    exact = by_all_sets(lambda sets: weighted_vote(sets | 0b1100000), votes)
    assert torch.allclose(exact, added / len(orders))


def test_a_player_who_adds_nothing_is_worth_nothing_and_equal_players_are_worth_the_same():
    values = by_all_sets(weighted_vote, 8)
    assert values[7] == 0
    assert values.sum() == pytest.approx(1.0)
    left, right = by_all_sets(gloves, 3)[:2]
    assert left == right


def test_an_additive_game_is_sampled_without_error():
    amounts = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
    values, errors = by_permutations(
        lambda sets: members(sets, 4).double() @ amounts, 4, n_permutations=3, seed=0
    )
    assert values.tolist() == pytest.approx(amounts.tolist())
    assert errors.tolist() == pytest.approx([0.0] * 4, abs=1e-12)


def test_the_sampler_agrees_with_the_exact_values_within_its_standard_errors():
    exact = by_all_sets(weighted_vote, 8)
    values, errors = by_permutations(weighted_vote, 8, n_permutations=2000, seed=0)
    assert errors.max() < 0.012
    assert ((values - exact).abs() <= 4 * errors + 1e-12).all()
    assert values.sum() == pytest.approx(1.0)
    assert values[7] == errors[7] == 0


def test_the_standard_error_is_the_spread_of_repeated_sampling():
    runs = torch.stack([by_permutations(gloves, 3, n_permutations=50, seed=s)[0] for s in range(300)])
    _, stated = by_permutations(gloves, 3, n_permutations=2000, seed=0)
    stated = stated * math.sqrt(2000 / 50)
    assert torch.allclose(runs.std(dim=0), stated, rtol=0.15)


def test_no_set_is_asked_for_twice():
    asked: list[int] = []

    def worth(sets: torch.Tensor) -> torch.Tensor:
        asked.extend(sets.tolist())
        return gloves(sets)

    by_permutations(worth, 3, n_permutations=100, seed=0)
    assert sorted(asked) == list(range(8))


def test_recovery_as_a_loop_over_sentences_and_sets(view: Evaluation):
    rows, sets = torch.tensor([3, 0, 17, 41]), torch.tensor([0, 1, 0b1011, 255, 0b1000])
    found = recovery(view, rows, sets)
    for number, share in zip(sets.tolist(), found.tolist(), strict=True):
        hits = 0
        for i in rows.tolist():
            codes = torch.stack([z if number >> j & 1 else z * 0 for j, z in enumerate(view.codes[i])])
            rebuilt = view.concepts.decode(codes[None])[0]
            rebuilt = rebuilt * view.norms[i] / (rebuilt.norm() + 1e-9)
            hits += int(view.bottleneck.tail(rebuilt[None]).argmax() == view.original[i].argmax())
        assert share == hits / len(rows)


def test_chunks_give_the_same_numbers(view: Evaluation, monkeypatch: pytest.MonkeyPatch):
    rows, sets = torch.arange(64), torch.arange(256)
    whole = recovery(view, rows, sets)
    monkeypatch.setattr(shapley, "_PAIRS_PER_CHUNK", 700)
    assert torch.equal(recovery(view, rows, sets), whole)


def test_what_a_sentence_does_not_have_is_not_computed_twice(view: Evaluation):
    seen = []

    def counting(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(len(hidden))
        return view.bottleneck.tail(hidden)

    counted = dataclasses.replace(view, bottleneck=dataclasses.replace(view.bottleneck, tail=counting))
    recovery(counted, torch.arange(64), torch.arange(256))
    per_sentence = 2 ** (view.codes != 0).sum(dim=1)
    assert sum(seen) == int(per_sentence.sum()) < 64 * 256


def test_values_add_up_to_what_all_concepts_are_worth_above_none(view: Evaluation, wide_view: Evaluation):
    for seen in (view, wide_view):
        result = Shapley(n_permutations=40).measure(seen)
        total = math.fsum(c.value for c in result.concepts)
        assert total == pytest.approx(result.completeness_score - result.completeness_score_none)
        assert result.shapley_max == max(c.value for c in result.concepts)
        assert result.shapley_standard_error == max(c.standard_error for c in result.concepts)


def test_the_completeness_score_is_recovery_above_the_most_frequent_decision(view: Evaluation):
    original, rebuilt = view.original.argmax(dim=1), view.rebuilt.argmax(dim=1)
    chance = max(original.tolist().count(c) for c in range(3)) / 64
    recovered = sum(int(a == b) for a, b in zip(original, rebuilt, strict=True)) / 64
    result = Shapley().measure(view)
    assert result.chance == most_frequent(original) == chance
    assert result.completeness_score == pytest.approx((recovered - chance) / (1 - chance))


def test_few_concepts_are_exact_and_many_are_sampled_with_an_error(view: Evaluation, wide_view: Evaluation):
    assert Shapley(n_permutations=40).measure(view).shapley_standard_error == 0
    assert 0 < Shapley(n_permutations=40).measure(wide_view).shapley_standard_error < 0.2


def test_sampled_concepts_agree_with_the_exact_ones(view: Evaluation):
    exact = Shapley().measure(view)
    chance, rows = exact.chance, torch.arange(64)
    values, errors = by_permutations(
        lambda sets: (recovery(view, rows, sets) - chance) / (1 - chance), 8, n_permutations=400, seed=1
    )
    gaps = [abs(c.value - v) for c, v in zip(exact.concepts, values.tolist(), strict=True)]
    assert all(gap <= 4 * e + 1e-9 for gap, e in zip(gaps, errors.tolist(), strict=True))


def test_a_concept_that_fires_nowhere_is_worth_nothing(view: Evaluation):
    codes = view.codes.clone()
    codes[:, 2] = 0
    assert Shapley().measure(dataclasses.replace(view, codes=codes)).concepts[2].value == 0


def test_the_seed_decides(wide_view: Evaluation):
    one, same, other = (Shapley(n_permutations=10, seed=s).measure(wide_view) for s in (1, 1, 2))
    assert one == same != other


def test_a_part_of_the_sentences_is_enough(view: Evaluation):
    some = Shapley(max_sentences=20).measure(view)
    assert some.n_sentences == 20
    assert Shapley(max_sentences=None).measure(view).n_sentences == 64


def test_too_many_concepts_are_left_out_with_a_reason(train: Activations, test: Activations, tail: nn.Linear):
    result = Shapley(max_concepts=10).measure(evaluate(Identity().fit(train, tail), tail, test))
    assert result.reason == "16 concepts are more than max_concepts, 10"
    assert math.isnan(result.shapley_max)
    assert result.completeness_score == 1.0
    assert result.completeness_score_none <= 0
    assert result.as_json()["shapley_max"]["value"] is None


def test_one_decision_only_is_a_reason_and_no_number(view: Evaluation):
    always = torch.tensor([1.0, 0, 0]).expand_as(view.original)
    result = Shapley().measure(dataclasses.replace(view, original=always))
    assert "nothing is above chance" in str(result.reason)
    assert math.isnan(result.completeness_score)


@pytest.mark.parametrize(
    "options", [{"n_permutations": 1}, {"max_concepts": 51}, {"max_sentences": 0}, {"permutations": 5}]
)
def test_options_out_of_range_are_refused(options: dict[str, int]):
    with pytest.raises(ValueError, match=next(iter(options))):
        METRICS.load("shapley")(**options)


def test_a_game_of_two_numbers_is_two_games():
    """Worths may be vectors: the values of each number are those of the game in it alone."""

    def both(sets: torch.Tensor) -> torch.Tensor:
        return torch.stack([gloves(sets), 2 - 3 * gloves(sets)], dim=1)

    assert torch.allclose(by_all_sets(both, 3), by_all_sets(gloves, 3)[:, None] * torch.tensor([1.0, -3.0]))
    values, errors = by_permutations(both, 3, n_permutations=30, seed=2)
    alone, error = by_permutations(gloves, 3, n_permutations=30, seed=2)
    assert torch.allclose(values, alone[:, None] * torch.tensor([1.0, -3.0]))
    assert torch.allclose(errors, error[:, None] * torch.tensor([1.0, 3.0]))
