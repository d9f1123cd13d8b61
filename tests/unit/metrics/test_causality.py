"""Causality by hand, as loops over sentences and concepts, and by what must not matter."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from classifsae.activations import Activations, Source
from classifsae.bottleneck import Evaluation, evaluate
from classifsae.concepts import Concepts
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts.random import Random
from classifsae.errors import DataError, MismatchError
from classifsae.metrics.causality import Causality, changes, conditional_effects, global_effects


@pytest.fixture(scope="module")
def concepts(train: Activations, tail: nn.Linear) -> Concepts:
    return Random(n_concepts=12, top_k=4, seed=5).fit(train, tail)


@pytest.fixture(scope="module")
def view(concepts: Concepts, tail: nn.Linear, test: Activations) -> Evaluation:
    return evaluate(concepts, tail, test)


def predict(view: Evaluation, codes: torch.Tensor, i: int) -> torch.Tensor:
    """Logits of sentence i from codes of its own, the long way round."""
    rebuilt = view.concepts.decode(codes[None])[0]
    rebuilt = rebuilt * view.norms[i] / (rebuilt.norm() + 1e-9)
    return view.bottleneck.tail(rebuilt[None])[0]


def effect(before: torch.Tensor, after: torch.Tensor, label: int) -> list[float]:
    tvd = 0.5 * sum(
        abs(p - q) for p, q in zip(before.softmax(0).tolist(), after.softmax(0).tolist(), strict=True)
    )
    right_before, right_after = int(before.argmax()) == label, int(after.argmax()) == label
    return [float(int(before.argmax()) != int(after.argmax())), tvd, float(right_after) - float(right_before)]


def test_conditional_effects_as_a_loop(view: Evaluation):
    for found in conditional_effects(view):
        moved = []
        for i in range(len(view.codes)):
            if abs(view.codes[i, found.position]) > 1e-8:
                codes = view.codes[i].clone()
                codes[found.position] = 0
                moved.append(effect(view.rebuilt[i], predict(view, codes, i), int(view.labels[i])))
        assert found.support == len(moved)
        if moved:
            means = torch.tensor(moved).mean(dim=0).tolist()
            assert [found.flip_rate, found.tvd, found.accuracy_change] == pytest.approx(means, abs=1e-5)


def test_global_effects_as_a_loop(view: Evaluation):
    found = {(s.size, s.class_index): s for s in global_effects(view)}
    for size in (25, 50, 75, 100):
        for class_index, segment in enumerate(view.concepts.segments):
            if not segment:
                assert (size, class_index) not in found
                continue
            removed = segment[: math.floor(size * len(segment) / 100)]
            moved = []
            for i in range(len(view.codes)):
                codes = view.codes[i].clone()
                for j in removed:
                    codes[j] = 0
                moved.append(effect(view.rebuilt[i], predict(view, codes, i), int(view.labels[i])))
            got = found[size, class_index]
            assert got.positions == tuple(removed)
            means = torch.tensor(moved).mean(dim=0).tolist()
            assert [got.flip_rate, got.tvd, got.accuracy_change] == pytest.approx(means, abs=1e-5)


def test_means_over_concepts_and_over_sentences(view: Evaluation):
    result = Causality().measure(view)
    firing = [c for c in result.concepts if c.support]
    assert result.n_firing == len(firing)
    assert result.conditional_flip_rate == pytest.approx(sum(c.flip_rate for c in firing) / len(firing))
    total = sum(c.support for c in firing)
    assert result.conditional_tvd_weighted == pytest.approx(sum(c.support * c.tvd for c in firing) / total)


def test_an_empty_segment_counts_as_no_effect(view: Evaluation):
    result = Causality().measure(view)
    for size in (25, 50, 75, 100):
        by_class = [s.flip_rate for s in result.segments if s.size == size]
        assert result.global_flip_rate[size] == pytest.approx(sum(by_class) / view.n_classes)


def test_changes_by_hand():
    before, after = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.4, 0.6]]).log()
    # |.9 - .4| / 2 + |.1 - .6| / 2 = .5; the label flips from 0, which was right, to 1
    assert changes(before, after, torch.tensor([0])).tolist()[0] == pytest.approx([1.0, 0.5, -1.0])


def test_removing_nothing_changes_nothing(view: Evaluation):
    assert torch.equal(view.without_many([]), view.rebuilt)
    assert changes(view.rebuilt, view.rebuilt, view.labels).abs().max() == 0


def test_removing_what_does_not_fire_changes_nothing(view: Evaluation):
    silent = (view.codes == 0).nonzero()[0]
    _, logits = next(view.without_one(silent[:1], silent[1:]))
    assert torch.allclose(logits[0], view.rebuilt[silent[0]], atol=1e-6)


def test_ablation_leaves_the_codes_as_they_were(view: Evaluation):
    codes = view.codes.clone()
    conditional_effects(view)
    global_effects(view)
    assert torch.equal(view.codes, codes)


def test_the_order_of_sentences_does_not_matter(
    concepts: Concepts, tail: nn.Linear, test: Activations, view: Evaluation
):
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(3))
    shuffled = dataclasses.replace(
        test, hidden=test.hidden[order], logits=test.logits[order], labels=test.labels[order]
    )
    one, other = Causality().measure(view), Causality().measure(evaluate(concepts, tail, shuffled))
    assert one.conditional_flip_rate == pytest.approx(other.conditional_flip_rate)
    assert one.global_tvd == pytest.approx(other.global_tvd, abs=1e-6)


def test_small_batches_give_the_same_numbers(view: Evaluation, monkeypatch: pytest.MonkeyPatch):
    from classifsae import tensors

    whole = Causality().measure(view)
    monkeypatch.setattr(tensors, "_ENTRIES_PER_BATCH", 0)
    assert Causality().measure(view).conditional_tvd == pytest.approx(whole.conditional_tvd)


def test_scaling_all_codes_changes_nothing_without_an_offset(view: Evaluation):
    doubled = dataclasses.replace(view, codes=2 * view.codes)
    assert Causality().measure(doubled).conditional_tvd == pytest.approx(
        Causality().measure(view).conditional_tvd, abs=1e-5
    )


def test_a_concept_that_decides_alone_flips_every_label():
    """Two classes, one concept each; without its concept a sentence falls to the other class."""
    source = Source(model="m", layer=1, prompt="", dataset="d")
    hidden = torch.tensor([[1.0, 0.1], [1.0, 0.1], [0.1, 1.0]])
    coder = LinearCoder(mean=torch.zeros(2), encoder=torch.eye(2), decoder=torch.eye(2))
    concepts = Concepts(
        coder=coder,
        kept=torch.arange(2),
        class_activation=torch.eye(2),
        activation=torch.ones(2),
        source=source,
        method="neurons",
    )
    labels = torch.tensor([0, 0, 1])
    test = Activations(hidden, hidden, labels, ("a", "b", "c"), source)
    result = Causality().measure(evaluate(concepts, lambda h: h, test))
    first, second = result.concepts
    assert (first.support, second.support) == (3, 3)
    assert (first.flip_rate, second.flip_rate) == pytest.approx((2 / 3, 1 / 3))
    assert result.conditional_flip_rate == pytest.approx(0.5)
    assert result.conditional_flip_rate_weighted == pytest.approx(0.5)
    assert result.global_flip_rate == {25: 0.0, 50: 0.0, 75: 0.0, 100: pytest.approx(0.5)}


def test_no_concept_that_fires_is_not_a_number_rather_than_zero(view: Evaluation):
    silent = dataclasses.replace(view, codes=torch.zeros_like(view.codes))
    result = Causality().measure(silent)
    assert result.n_firing == 0
    assert math.isnan(result.conditional_flip_rate)
    assert result.as_json()["conditional_flip_rate"]["value"] is None


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model", "x", "another model"),
        ("layer", 1, "another layer"),
        ("prompt", "x", "another prompt"),
        ("dataset", "x", "another data set"),
    ],
)
def test_activations_from_elsewhere_are_refused(
    concepts: Concepts, tail: nn.Linear, test: Activations, field: str, value: object, said: str
):
    elsewhere = dataclasses.replace(test, source=test.source.model_copy(update={field: value}))
    with pytest.raises(MismatchError, match=f"the activations come from {said} than the concepts"):
        evaluate(concepts, tail, elsewhere)


def test_a_tail_that_returns_no_numbers_is_refused(concepts: Concepts, test: Activations):
    with pytest.raises(DataError, match="tail returns NaN or infinity"):
        evaluate(concepts, lambda hidden: hidden[:, :3] * float("nan"), test)


def test_no_sentences_are_refused(concepts: Concepts, tail: nn.Linear, test: Activations):
    with pytest.raises(DataError, match="no sentence to score on"):
        evaluate(concepts, tail, test.take(torch.arange(0)))
