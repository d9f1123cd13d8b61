"""Contributions by hand, against the mean over all orders, and as sums; what the obvious cheat gets."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

import classifsae as cs
from classifsae.activations import Activations
from classifsae.bottleneck import Bottleneck, Evaluation, evaluate
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts.base import Concepts
from classifsae.explaining.contributions import centred, contributions_of, mean_contributions


@pytest.fixture(scope="module")
def evaluation(train: Activations, test: Activations, tail: nn.Linear) -> Evaluation:
    return evaluate(cs.Random(n_concepts=14, top_k=5, seed=5).fit(train, tail), tail, test)


@pytest.fixture(scope="module")
def dense(train: Activations, test: Activations, tail: nn.Linear) -> Evaluation:
    return evaluate(cs.ICA(n_concepts=14, seed=1).fit(train, tail), tail, test)


def logits_from(evaluation: Evaluation, row: int, left: tuple[int, ...]) -> torch.Tensor:
    """The definition, one set at a time."""
    codes = torch.zeros_like(evaluation.codes[:1])
    codes[0, list(left)] = evaluation.codes[row, list(left)]
    logits = evaluation.bottleneck.logits(codes, evaluation.norms[row : row + 1])[0].double()
    return logits - logits.mean()


def test_one_sentence_as_the_mean_over_all_orders(evaluation: Evaluation):
    row = 3
    fired = evaluation.codes[row].nonzero().flatten().tolist()
    orders = list(itertools.permutations(fired))
    added = torch.zeros(14, 3, dtype=torch.float64)
    for order in orders:
        for i, j in enumerate(order):
            added[j] += logits_from(evaluation, row, order[: i + 1]) - logits_from(evaluation, row, order[:i])
    found = contributions_of(evaluation.take(torch.tensor([row])))
    assert torch.allclose(found.values[0], added / len(orders), atol=1e-5)
    assert not found.errors.any()


@pytest.mark.parametrize("n_orders", [400, 3])
def test_over_the_concepts_they_sum_to_all_less_none_and_over_the_classes_to_zero(
    n_orders: int, evaluation: Evaluation, dense: Evaluation
):
    for seen in (evaluation, dense):
        found = contributions_of(seen, n_orders=n_orders).values
        gap = centred(seen.rebuilt) - centred(seen.without_many(list(range(14))))
        assert torch.allclose(found.sum(dim=1), gap, atol=1e-4)
        assert found.sum(dim=2).abs().max() < 1e-4


def test_up_to_twelve_concepts_are_exact_and_more_are_sampled_with_an_error(
    evaluation: Evaluation, dense: Evaluation
):
    exact, sampled = (contributions_of(seen.take(torch.arange(4))) for seen in (evaluation, dense))
    assert not exact.errors.any()
    assert 0 < sampled.errors.max() < 0.5
    twelve = dense.take(torch.arange(1))
    twelve.codes[:, 12:] = 0
    assert not contributions_of(twelve).errors.any()


def test_sampled_values_agree_with_exact_ones_within_their_errors(dense: Evaluation):
    few = dense.take(torch.arange(4))
    few.codes[:, 12:] = 0
    exact, sampled = contributions_of(few), contributions_of(few, n_orders=300, seed=1)
    assert sampled.errors.max() > 0
    assert ((sampled.values - exact.values).abs() <= 4 * sampled.errors + 1e-6).all()


def test_sentences_do_not_depend_on_what_they_are_computed_with(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
):
    whole = contributions_of(evaluation).values
    monkeypatch.setattr("classifsae.explaining.contributions._NUMBERS_PER_CHUNK", 1)
    assert torch.allclose(contributions_of(evaluation).values, whole, atol=1e-5)


def test_what_does_not_fire_adds_nothing_and_a_common_shift_of_the_logits_changes_nothing(
    evaluation: Evaluation,
):
    found = contributions_of(evaluation).values
    assert not found[evaluation.codes == 0].any()
    shifted = replace(
        evaluation,
        bottleneck=Bottleneck(
            evaluation.concepts, lambda h: evaluation.bottleneck.tail(h) + h.sum(1)[:, None]
        ),
    )
    assert torch.allclose(contributions_of(shifted).values, found, atol=1e-4)


def test_a_concept_that_is_large_but_speaks_to_no_class_gets_nothing(test: Activations, tail: nn.Linear):
    """The cheat of the share: the longest direction. The tail is blind to neuron 9, which fires strongest."""
    concepts = Concepts(
        coder=LinearCoder(
            mean=torch.zeros(16), encoder=torch.eye(16)[:, [0, 9]], decoder=torch.eye(16)[[0, 9]]
        ),
        kept=torch.arange(2),
        class_activation=torch.ones(2, 3),
        activation=torch.ones(2),
        source=test.source,
        method="toy",
    )
    seen = evaluate(concepts, lambda h: tail(h) * 1.0, test)
    # States of one length without rescaling: the norm that the bottleneck restores is that of the codes.
    codes = torch.tensor([[3.0, 4.0]])
    one = replace(seen.take(torch.arange(1)), codes=codes, norms=torch.tensor([[5.0]]))
    speaks, is_blind = contributions_of(one).values[0]
    # v(0) = 9, v(0 alone, brought to the norm) = 15, v(1) = v() = 0, on class 0 before centring.
    assert speaks.tolist() == pytest.approx([12 * 2 / 3, -12 / 3, -12 / 3], rel=1e-4)
    assert is_blind.tolist() == pytest.approx([-3 * 2 / 3, 3 / 3, 3 / 3], rel=1e-4)


def test_means_are_over_the_sentences_where_a_concept_fires(evaluation: Evaluation):
    every = contributions_of(evaluation, n_orders=20)
    found = mean_contributions(evaluation)
    assert len(found.without_any) == 64
    for j in range(14):
        fires = evaluation.codes[:, j] != 0
        assert found.n_fires[j] == fires.sum()
        assert torch.allclose(found.values[j], every.values[fires, j].mean(dim=0), equal_nan=True)
    assert torch.allclose(found.without_any.sum(dim=1), torch.ones(64, dtype=torch.float64))
    silent = replace(evaluation, codes=evaluation.codes * (torch.arange(14) != 2))
    assert mean_contributions(silent).values[2].isnan().all()


def test_more_concepts_than_fifty_have_no_numbers(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("classifsae.explaining.contributions.MOST_CONCEPTS", 4)
    assert contributions_of(evaluation).values.isnan().all()
