"""ConceptSHAP and HI-Concept: their losses and codes by hand and as loops, and how they are fitted."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts import Run
from classifsae.concepts import _optimise as loop
from classifsae.concepts._concept_layer import Task, shares
from classifsae.concepts._losses import crowding, flip, resemblance, unit_rows
from classifsae.concepts._optimise import Schedule, ShuffledEpochs, optimise
from classifsae.concepts.conceptshap import ConceptSHAP, ThresholdCoder
from classifsae.concepts.hiconcept import HIConcept, HIConceptObjective, SoftmaxCoder
from classifsae.errors import ConfigError, DataError
from classifsae.tensors import Tensor

QUICK = {"n_concepts": 6, "n_epochs": 4, "batch_size": 32, "hidden_width": 24}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights(width: int = 5, n_concepts: int = 4) -> dict[str, Tensor]:
    return {
        "concepts": random(width, n_concepts, seed=1),
        "decoder_1": random(n_concepts, 7, seed=2),
        "decoder_2": random(7, width, seed=3),
    }


# Losses.


def test_resemblance_by_hand():
    similarities = torch.tensor([[0.9, 0.0]] + [[0.5, 0.2]] * 6 + [[0.7, 0.4]])
    # top 2 of 8: (0.9 + 0.7) / 2 and (0.4 + 0.2) / 2, their mean is 0.55
    assert resemblance(similarities).item() == pytest.approx(-0.55)


def test_resemblance_of_fewer_than_four_sentences_takes_the_closest():
    assert resemblance(torch.tensor([[0.1], [0.6], [0.3]])).item() == pytest.approx(-0.6)


@given(st.integers(1, 40), st.integers(0, 99))
def test_resemblance_as_a_loop(n: int, seed: int):
    similarities = random(n, 3, seed=seed)
    means = []
    for j in range(3):
        top = sorted(similarities[:, j].tolist(), reverse=True)[: max(1, n // 4)]
        means.append(sum(top) / len(top))
    assert resemblance(similarities).item() == pytest.approx(-sum(means) / 3, abs=1e-6)


def test_crowding_by_hand():
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    same = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    opposite = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    assert crowding(apart).item() == 0.0
    assert crowding(same).item() == pytest.approx(0.5)  # two of four entries are 1
    assert crowding(opposite).item() == pytest.approx(-0.5)


@given(st.integers(1, 8), st.integers(0, 99))
def test_crowding_as_a_loop(n_concepts: int, seed: int):
    directions = unit_rows(random(n_concepts, 3, seed=seed)).T
    total = 0.0
    for i in range(n_concepts):
        for j in range(n_concepts):
            total += float(directions[:, i] @ directions[:, j]) - (i == j)
    assert crowding(directions).item() == pytest.approx(total / n_concepts**2, abs=1e-6)


def test_flip_by_hand():
    before, after = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log(), torch.tensor([[0.4, 0.6], [0.5, 0.5]]).log()
    assert flip(before, after).item() == pytest.approx(-0.5)  # -(|.9 - .4| + |.1 - .6| + 0 + 0) / 2


@given(st.integers(0, 99))
def test_flip_as_a_loop(seed: int):
    before, after = random(5, 3, seed=seed), random(5, 3, seed=seed + 1)
    total = 0.0
    for b in range(5):
        p = [math.exp(v) for v in before[b].tolist()]
        q = [math.exp(v) for v in after[b].tolist()]
        total += sum(abs(x / sum(p) - y / sum(q)) for x, y in zip(p, q, strict=True))
    assert flip(before, after).item() == pytest.approx(-total / 5, abs=1e-5)
    assert -2 <= flip(before, after).item() <= 0


# Codes.


def test_shares_by_hand_and_nothing_stays_nothing():
    amounts = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    expected = torch.tensor([[3 / 4.001, 1 / 4.001, 0.0], [0.0, 0.0, 0.0]])
    assert torch.allclose(shares(amounts), expected)


def naive_codes(hidden: Tensor, concepts: Tensor, *, softmax: bool, threshold: float) -> Tensor:
    codes = torch.zeros(len(hidden), concepts.shape[1])
    for b, h in enumerate(hidden):
        unit = [concepts[:, j] / torch.linalg.vector_norm(concepts[:, j]) for j in range(concepts.shape[1])]
        cosines = [float(h @ v / torch.linalg.vector_norm(h)) for v in unit]
        if softmax:
            odds = [math.exp(c) for c in cosines]
            cosines = [o / sum(odds) for o in odds]
        amounts = [float(h @ v) if c > threshold else 0.0 for v, c in zip(unit, cosines, strict=True)]
        for j, amount in enumerate(amounts):
            codes[b, j] = amount / (sum(amounts) + 1e-3)
    return codes


@pytest.mark.parametrize("threshold", [0.3, 0.0, -0.2])
def test_conceptshap_codes_as_a_loop(threshold: float):
    hidden, parts = random(9, 5, seed=4), weights()
    coder = ThresholdCoder(**parts, threshold=threshold)
    expected = naive_codes(hidden, parts["concepts"], softmax=False, threshold=threshold)
    assert torch.allclose(coder.encode(hidden), expected, rtol=1e-4, atol=1e-5)


def test_hiconcept_codes_as_a_loop():
    hidden, parts = random(9, 5, seed=4), weights()
    expected = naive_codes(hidden, parts["concepts"], softmax=True, threshold=1 / 4)
    assert torch.allclose(SoftmaxCoder(**parts).encode(hidden), expected, rtol=1e-4, atol=1e-5)


@given(st.floats(0.1, 100.0))
def test_the_length_of_a_concept_means_nothing(factor: float):
    hidden, parts = random(9, 5, seed=4), weights()
    coder = SoftmaxCoder(**parts)
    longer = SoftmaxCoder(**{**parts, "concepts": parts["concepts"] * factor})
    assert torch.allclose(coder.encode(hidden), longer.encode(hidden), rtol=1e-3, atol=1e-4)


def test_a_state_of_zeros_has_finite_codes_of_zero():
    for coder in (SoftmaxCoder(**weights()), ThresholdCoder(**weights(), threshold=0.3)):
        assert (coder.encode(torch.zeros(2, 5)) == 0).all()


def test_decoding_the_kept_concepts_equals_decoding_with_the_others_at_zero():
    coder, kept = SoftmaxCoder(**weights()), torch.tensor([2, 0])
    codes = random(6, 2)
    wide = torch.zeros(6, 4).index_copy(1, kept, codes)
    assert torch.allclose(coder.decode_kept(codes, kept), coder.decode(wide), atol=1e-6)


# Training.


def objective(tail: nn.Linear, train: Activations, *, flip_from: int = 0) -> HIConceptObjective:
    task = Task(train.hidden, train.predictions, tail, rescaled=True)
    names = ("reconstruction", "imitation", "flip", "similarity", "distance")
    return HIConceptObjective(
        SoftmaxCoder(**weights(width=16)),
        task,
        weights=dict.fromkeys(names, 1.0),
        keep_probability=0.8,
        flip_from=flip_from,
        seed=7,
    )


def test_only_the_concept_layer_is_trained(tail: nn.Linear, train: Activations):
    """Even where the classifier's own parameters ask for gradients."""
    thawed = nn.Linear(16, 3)
    thawed.load_state_dict(tail.state_dict())
    learner = objective(thawed, train)
    assert {name for name, _ in learner.named_parameters()} == {
        "coder.concepts",
        "coder.decoder_1",
        "coder.decoder_2",
    }
    HIConcept(**QUICK).fit(train, thawed)
    assert thawed.weight.requires_grad
    assert thawed.weight.grad is None
    assert torch.equal(thawed.weight, tail.weight)


def test_a_removal_spares_the_last_concept_and_depends_on_the_step_only(tail: nn.Linear, train: Activations):
    learner = objective(tail, train)
    keep = learner.removal(2000, step=3)
    assert keep[:, -1].all()
    assert keep[:, :-1].float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert torch.equal(keep, learner.removal(2000, step=3))
    assert not torch.equal(keep, learner.removal(2000, step=4))


def test_flip_compares_all_present_concepts_with_the_kept_scores(tail: nn.Linear, train: Activations):
    learner = objective(tail, train)
    hidden, coder = train.hidden[:5], learner.coder
    keep = torch.tensor([[True, False, True, True]] * 5)
    terms = learner.terms(hidden, train.predictions[:5], keep)
    norms = hidden.norm(dim=1, keepdim=True)
    scores = hidden @ (coder.concepts / coder.concepts.norm(dim=0)) * keep
    outcomes = []
    for codes in (coder.encode(hidden), scores / (scores.sum(dim=1, keepdim=True) + 1e-3)):
        rebuilt = (codes @ coder.decoder_1).relu() @ coder.decoder_2
        outcomes.append(tail(rebuilt / rebuilt.norm(dim=1, keepdim=True) * norms).softmax(dim=1))
    expected = -(outcomes[0] - outcomes[1]).abs().sum(dim=1).mean()
    assert terms["flip"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_flip_counts_in_the_second_half_of_the_epochs_only(tail: nn.Linear, train: Activations):
    curves = HIConcept(**QUICK).fit(train, tail).curves["flip"]
    assert len(curves) == 16  # 4 epochs of 3 whole batches and a partial one
    assert all(value == 0 for value in curves[:8])
    assert all(value < 0 for value in curves[8:])


def test_conceptshap_learns_to_imitate(tail: nn.Linear, train: Activations):
    recipe = ConceptSHAP(n_concepts=6, n_epochs=60, batch_size=32, hidden_width=24, learning_rate=3e-3)
    curve = recipe.fit(train, tail).curves["imitation"]
    assert curve[-1] < 0.5 * curve[0]


def test_without_rescaling_the_tail_sees_states_at_the_scale_of_the_decoder(
    tail: nn.Linear, train: Activations
):
    hidden, rebuilt = train.hidden[:4], random(4, 16)
    scaled = Task(train.hidden, train.predictions, tail, rescaled=True).logits(rebuilt, hidden)
    plain = Task(train.hidden, train.predictions, tail, rescaled=False).logits(rebuilt, hidden)
    norms = hidden.norm(dim=1, keepdim=True) / rebuilt.norm(dim=1, keepdim=True)
    assert torch.allclose(plain, tail(rebuilt))
    assert torch.allclose(scaled, tail(rebuilt * norms), atol=1e-5)
    one, other = (ConceptSHAP(**QUICK, rescale=r).fit(train, tail).curves["imitation"] for r in (True, False))
    assert one != other


@pytest.mark.parametrize("flip_from", [0, 5])
def test_a_killed_run_continues_as_if_nothing_had_happened(
    flip_from: int, tail: nn.Linear, train: Activations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "_PAUSE_PER_SAVE", 0)
    order = ShuffledEpochs(len(train), batch_size=50, seed=0, device=train.hidden.device)

    class Killed(Exception):
        pass

    def kill(done: int, total: int, values: object) -> None:
        if done == 8:
            raise Killed

    whole = objective(tail, train, flip_from=flip_from)
    optimise(whole, order, Schedule(12, 1e-2, 1e-2), Run())
    file = tmp_path / "checkpoint.safetensors"
    broken = objective(tail, train, flip_from=flip_from)
    with pytest.raises(Killed):
        optimise(broken, order, Schedule(12, 1e-2, 1e-2), Run(on_step=kill, checkpoint=file))
    resumed = objective(tail, train, flip_from=flip_from)
    optimise(resumed, order, Schedule(12, 1e-2, 1e-2), Run(checkpoint=file))
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("n", "n_steps"), [(300, 2502), (4000, 2900), (60_000, 4650)])
def test_few_sentences_are_seen_more_often_by_conceptshap(n: int, n_steps: int, train: Activations):
    def planned(method: type[ConceptSHAP] | type[HIConcept]) -> int:
        return method().plan(train.take(torch.arange(n) % len(train)))[1].n_steps

    assert planned(ConceptSHAP) == n_steps
    assert planned(HIConcept) == {300: 300}.get(n, n_steps)


# What is refused.


def test_one_concept_alone_is_refused_by_hiconcept():
    with pytest.raises(ConfigError, match=r"hiconcept: n_concepts: .*greater than or equal to 2, got 1"):
        HIConcept(n_concepts=1)


def test_a_threshold_that_nothing_can_exceed_is_refused():
    with pytest.raises(ConfigError, match=r"conceptshap: threshold: .*less than 1, got 1"):
        ConceptSHAP(threshold=1)


def test_a_threshold_that_no_state_exceeds_is_an_error_that_says_so(tail: nn.Linear, train: Activations):
    with pytest.raises(DataError, match=r"conceptshap: all 6 concepts are dead .* lower threshold"):
        ConceptSHAP(**QUICK, threshold=0.99).fit(train, tail)


def test_a_diverging_run_names_the_term(tail: nn.Linear, train: Activations):
    def broken(hidden: Tensor, /) -> Tensor:
        return tail(hidden) * float("nan")

    with pytest.raises(DataError, match="training diverged at step 0: loss, imitation is not finite"):
        ConceptSHAP(**QUICK).fit(train, broken)
