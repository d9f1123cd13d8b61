"""Natural breaks, ConceptSim, SentenceSim and overlap: by hand, and against twins that look at every pair."""

import dataclasses
import itertools
import math

import jenkspy
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from classifsae.activations import Activations
from classifsae.activity import activating_sets, natural_breaks, strongest_rows
from classifsae.bottleneck import evaluate
from classifsae.concepts.random import Random
from classifsae.errors import ConfigError, DataError, MismatchError, UnknownNameError
from classifsae.meaning.sentences import Sentences
from classifsae.metrics import Interpretability, score
from classifsae.metrics._similarity import (
    overlap_of,
    pair_moments,
    sentence_similarity,
    similarity_within,
    strongest,
)
from classifsae.tensors import Tensor


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sentences_of(test: Activations) -> Sentences:
    texts = tuple(f"text {i}" for i in range(len(test)))
    return Sentences(texts=texts, embeddings=normalize(draws(len(test), 8), dim=1), encoder="draws")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [torch.abs, torch.relu, torch.exp, lambda x: (3 * x).round() / 3])
def test_the_natural_break_is_that_of_jenks(make, seed: int):
    values = make(draws(3, 60, seed=seed))
    ours = natural_breaks(values).tolist()
    assert ours == pytest.approx([jenkspy.jenks_breaks(row.tolist(), n_classes=2)[1] for row in values])


def test_the_natural_break_leaves_least_variance_within():
    values = draws(1, 30, seed=9)
    ordered = values[0].sort().values
    within = [
        float(ordered[:i].var(correction=0) * i + ordered[i:].var(correction=0) * (30 - i))
        for i in range(1, 30)
    ]
    assert float(natural_breaks(values)) == float(ordered[within.index(min(within))])


def test_a_concept_whose_activations_are_all_equal_activates_nothing():
    codes = torch.tensor([[0.0, -2.0, 1.0], [0.0, -2.0, 1.0], [0.0, -2.0, 5.0]])
    activating = activating_sets(codes)
    assert activating.sets.sum(dim=1).tolist() == [0, 0, 1]
    assert activating.thresholds.isnan().tolist() == [True, True, False]
    assert activating_sets(codes[:1]).sets.sum() == 0


def test_the_strongest_rows_are_of_the_activating_set_and_in_order():
    codes = torch.tensor([[0.0], [9.0], [1.0], [8.0], [9.5]])
    assert strongest_rows(codes, activating_sets(codes), at_most=2) == [[4, 1]]


def test_similarity_within_sets_as_a_loop_over_pairs():
    sets, embeddings = draws(6, 40) > 0.5, normalize(draws(40, 5), dim=1)
    sets[0], sets[1] = False, torch.arange(40) == 3
    slow = [
        [float(embeddings[i] @ embeddings[j]) for i, j in itertools.combinations(rows.nonzero().flatten(), 2)]
        for rows in sets
    ]
    expected = [sum(cosines) / len(cosines) if cosines else 0.0 for cosines in slow]
    assert similarity_within(sets, embeddings).tolist() == pytest.approx(expected, abs=1e-6)


def test_moments_of_all_pairs_as_a_loop():
    embeddings = normalize(draws(30, 5), dim=1)
    cosines = torch.tensor([float(a @ b) for a, b in itertools.combinations(embeddings, 2)])
    mean, variance = pair_moments(embeddings)
    assert mean == pytest.approx(float(cosines.mean()), abs=1e-6)
    assert variance == pytest.approx(float(cosines.var(correction=0)), abs=1e-6)
    assert math.isnan(pair_moments(embeddings[:1])[0])


def test_overlap_by_hand():
    sets = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    overlap = overlap_of(sets)
    assert overlap.jaccard == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert overlap.redundancy == pytest.approx(5 / 3)
    assert overlap.coverage == pytest.approx(3 / 4)
    nothing = overlap_of(sets[2:3])
    assert (math.isnan(nothing.jaccard), math.isnan(nothing.redundancy), nothing.coverage) == (True, True, 0)


def test_the_strongest_are_the_largest_signed_activations_that_are_not_zero():
    codes = torch.tensor(
        [[-9.0, 1.0, 0.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0, 0.0, -1.0, 7.0, 0.0, 0.0, 0.0, 0.0]]
    )
    assert strongest(codes).tolist() == [[3, 4, 5, 6, 7], [-1, -1, -1, -1, 3]]
    assert strongest(codes[:, :2]).tolist() == [[0, 1], [-1, -1]]


def slow_sentence_similarity(concepts_of: Tensor, embeddings: Tensor) -> tuple[list[float], list[int]]:
    kept = [set(row.tolist()) - {-1} for row in concepts_of]
    means, support = [], []
    for k in (1, 2, 3, 4):
        near: list[list[float]] = [[] for _ in kept]
        for i, j in itertools.permutations(range(len(kept)), 2):
            if len(kept[i] & kept[j]) == k:
                near[i].append(float(embeddings[i] @ embeddings[j]))
        own = [sum(cosines) / len(cosines) for cosines in near if cosines]
        means.append(sum(own) / len(own) if own else math.nan)
        support.append(len(own))
    return means, support


@pytest.mark.parametrize("n_concepts", [1, 3, 6, 12])
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_sentence_similarity_as_a_loop_over_pairs(n_concepts: int, share: float):
    codes, embeddings = draws(50, n_concepts), normalize(draws(50, 4, seed=1), dim=1)
    codes = codes.where(torch.rand(codes.shape, generator=torch.Generator().manual_seed(2)) < share, 0.0)
    means, support = sentence_similarity(strongest(codes), embeddings)
    slow_means, slow_support = slow_sentence_similarity(strongest(codes), embeddings)
    assert list(support.values()) == slow_support
    assert list(means.values()) == pytest.approx(slow_means, abs=1e-6, nan_ok=True)


def test_sentence_similarity_does_not_depend_on_the_order_of_concepts_and_sentences():
    codes, embeddings = draws(40, 9).relu(), normalize(draws(40, 4, seed=1), dim=1)
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    first = sentence_similarity(strongest(codes), embeddings)
    other = sentence_similarity(strongest(codes[rows].flip(1)), embeddings[rows])
    assert list(first[0].values()) == pytest.approx(list(other[0].values()), nan_ok=True)
    assert first[1] == other[1]


def test_no_concepts_at_all_are_not_a_number():
    means, support = sentence_similarity(strongest(torch.zeros(4, 3)), normalize(draws(4, 4), dim=1))
    assert all(math.isnan(value) for value in means.values())
    assert set(support.values()) == {0}


def test_concepts_that_follow_topics_beat_the_baseline(
    train: Activations, test: Activations, tail: nn.Linear
):
    """Three clouds of embeddings, the classifier's own classes: random directions know little of them."""
    topics = normalize(torch.eye(3)[test.predictions] + 0.1 * draws(len(test), 3), dim=1)
    view = evaluate(
        Random(n_concepts=3, top_k=1).fit(train, tail), tail, test,
        sentences=Sentences(("",) * len(test), topics, "topics"),
    )  # fmt: skip
    right = dataclasses.replace(view, codes=torch.eye(3)[test.predictions])
    result = Interpretability().measure(right)
    assert result.concept_sim > 0.9
    assert result.dataset_cosine_mean < 0.5
    assert result.coverage == 1.0
    assert (result.redundancy, result.jaccard) == (1.0, 0.0)
    assert result.sentence_sim[1] > 0.9
    assert math.isnan(result.sentence_sim[2])


def test_concept_sim_of_a_concept_on_one_sentence_is_not_a_number(
    train: Activations, test: Activations, tail: nn.Linear
):
    concepts = Random(n_concepts=2, top_k=1).fit(train, tail)
    codes = torch.zeros(len(test), 2)
    codes[0, 0], codes[:3, 1] = 1.0, 1.0
    view = dataclasses.replace(evaluate(concepts, tail, test, sentences=sentences_of(test)), codes=codes)
    lone, several = Interpretability().measure(view).concepts
    assert (lone.n_activating, several.n_activating) == (1, 3)
    assert math.isnan(lone.concept_sim)
    assert not math.isnan(several.concept_sim)


def test_interpretability_is_measured_where_there_are_sentences(
    train: Activations, test: Activations, tail: nn.Linear
):
    concepts = Random(n_concepts=12, top_k=4).fit(train, tail)
    assert list(score(concepts, tail, test).results) == ["completeness", "causality"]
    scores = score(concepts, tail, test, sentences=sentences_of(test))
    means = [c.concept_sim for c in scores.interpretability.concepts]
    pairs = [math.comb(c.n_activating, 2) for c in scores.interpretability.concepts]
    weighted = sum(m * p for m, p in zip(means, pairs, strict=True)) / sum(pairs)
    assert scores.interpretability.concept_sim == pytest.approx(weighted)
    assert scores.interpretability.concept_sim_plain == pytest.approx(sum(means) / len(means))
    assert {s.name for s in scores.flat()} >= {"concept_sim", "sentence_sim_4", "n_sentence_sim_4", "jaccard"}


def test_metrics_may_be_given_by_their_names(train: Activations, test: Activations, tail: nn.Linear):
    concepts = Random(n_concepts=12, top_k=4).fit(train, tail)
    assert list(score(concepts, tail, test, metrics=["causality", "control"]).results) == [
        "causality",
        "control",
    ]
    with pytest.raises(UnknownNameError, match="Did you mean 'causality'"):
        score(concepts, tail, test, metrics=["casuality"])


def never_called(hidden: Tensor, /) -> Tensor:
    raise AssertionError("the tail was run before the options were checked")


def test_a_metric_that_needs_sentences_says_so(train: Activations, test: Activations, tail: nn.Linear):
    concepts = Random(n_concepts=12, top_k=4).fit(train, tail)
    with pytest.raises(ConfigError, match=r"interpretability needs the test sentences, and was given none"):
        score(concepts, never_called, test, metrics={"interpretability": Interpretability()})
    few = Sentences(("a",), torch.ones(1, 1), "draws")
    with pytest.raises(MismatchError, match="there are 1 sentences and activations of 64"):
        score(concepts, tail, test, sentences=few)


@pytest.mark.parametrize(
    ("embeddings", "said"),
    [(torch.ones(1, 1), "2 texts and 1 embeddings"), (torch.ones(2, 2), "unit norm"),
     (torch.full((2, 1), math.nan), "unit norm")],
)  # fmt: skip
def test_embeddings_must_be_one_per_text_and_of_unit_norm(embeddings: Tensor, said: str):
    with pytest.raises(DataError, match=said):
        Sentences(("a", "b"), embeddings, "draws")
