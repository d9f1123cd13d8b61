"""The sparse training step against dense products and plain autograd."""

import gc
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifsae.activations import Activations
from classifsae.concepts import _optimise as loop
from classifsae.concepts._autoencoder import DEAD_AFTER, SparseCoder
from classifsae.concepts._losses import activation_rate
from classifsae.concepts._optimise import Run
from classifsae.concepts._sparse import SparseCodes, encode_sparse
from classifsae.concepts.classifsae import ClassifSAE
from classifsae.concepts.sae import SAEObjective
from classifsae.tensors import Tensor

B, D, P, K = 12, 5, 9, 3


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dense_of(codes: SparseCodes) -> Tensor:
    return torch.zeros(len(codes.values), len(codes.starts)).scatter(1, codes.latents, codes.values)


def test_codes_by_hand():
    codes = SparseCodes.largest(torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 1.0, 9.0]]), 2)
    assert dense_of(codes).tolist() == [[3.0, 0.0, 2.0, 0.0], [0.0, 5.0, 0.0, 9.0]]
    assert codes.latents.flatten()[codes.by_latent].tolist() == [0, 1, 2, 3]
    assert codes.starts.tolist() == [0, 1, 2, 3]
    assert codes.columns(torch.tensor([3, 0])).tolist() == [[0.0, 3.0], [9.0, 0.0]]
    assert codes.transposed_times(torch.tensor([[1.0], [2.0]])).tolist() == [[3.0], [10.0], [2.0], [18.0]]


def test_a_candidate_of_value_zero_did_not_fire():
    codes = SparseCodes.largest(torch.tensor([[0.0, 0.0, -1.0], [0.0, 4.0, -1.0]]), 2)
    assert codes.fired.tolist() == [False, True, False]


@given(st.integers(1, 12), st.integers(1, P), st.integers(0, 99))
def test_products_are_those_of_dense_codes(n: int, top_k: int, seed: int):
    codes = SparseCodes.largest(random(n, P, seed=seed), top_k)
    rows, factor = random(P, D, seed=seed + 1), random(n, D, seed=seed + 2)
    product, taken = codes.times(rows, also=torch.tensor([1, 0]))
    assert torch.allclose(product, dense_of(codes) @ rows, atol=1e-5)
    assert taken.equal(rows[[1, 0]])
    assert torch.allclose(codes.transposed_times(factor), dense_of(codes).T @ factor, atol=1e-5)


@given(st.floats(0, 0.9), st.integers(0, 99))
def test_the_rate_of_busy_latents_is_that_of_all(rate: float, seed: int):
    codes = SparseCodes.largest(random(B, P, seed=seed).abs(), K)
    busy = codes.columns(codes.busy(int(B * rate)))
    assert activation_rate(busy, rate=rate).item() == pytest.approx(
        activation_rate(dense_of(codes), rate=rate).item(), abs=1e-5
    )


@pytest.mark.parametrize("n_detached", [0, 4])
def test_gradients_are_those_of_dense_autograd(n_detached: int):
    hidden, also, wanted = random(B, D), torch.tensor([2, 7]), random(B, D, seed=9)
    start = random(D, P, seed=1), random(P, seed=2), random(P, D, seed=3)

    W_enc, b_enc, W_dec = (tensor.clone().requires_grad_() for tensor in start)
    codes, extra = encode_sparse(hidden, W_enc, b_enc, top_k=K, also=also)
    rebuilt, taken = codes.detached(n_detached).times(W_dec, also=also)
    loss_of(rebuilt, extra, codes.columns(torch.arange(4)), wanted, taken).backward()
    ours = [W_enc.grad, b_enc.grad, W_dec.grad]

    W_enc, b_enc, W_dec = (tensor.clone().requires_grad_() for tensor in start)
    pre_codes = hidden @ W_enc + b_enc
    values, latents = pre_codes.topk(K, dim=1)
    dense = torch.zeros_like(pre_codes).scatter(1, latents, values.relu())
    seen = torch.cat([dense[:, :n_detached].detach(), dense[:, n_detached:]], dim=1)
    loss_of(seen @ W_dec, pre_codes[:, also], dense[:, :4], wanted, W_dec[also]).backward()
    for mine, theirs in zip(ours, [W_enc.grad, b_enc.grad, W_dec.grad], strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def loss_of(rebuilt: Tensor, extra: Tensor, first: Tensor, wanted: Tensor, taken: Tensor) -> Tensor:
    return (rebuilt - wanted).square().sum() + extra.exp().sum() + first.sin().sum() + taken.cos().sum()


def test_a_latent_that_is_no_candidate_and_not_dead_is_left_alone():
    coder = SparseCoder.initial(width=D, n_latents=P, top_k=1, seed=0)
    objective = SAEObjective(coder, hidden=random(2, D))
    objective.silent_steps[3] = DEAD_AFTER + 1
    sum(objective.losses(torch.arange(2), 0).values()).backward()
    moved = (coder.W_dec.grad != 0).any(dim=1)
    assert moved.equal((coder.W_enc.grad != 0).any(dim=0))
    assert moved[3]
    assert moved.sum() <= 3  # one candidate of each of two sentences, and the dead one


class KilledError(Exception):
    pass


def test_a_killed_fit_ends_bit_for_bit_as_if_it_had_not_been(
    train: Activations, tail: torch.nn.Linear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = ClassifSAE(n_concepts=6, n_latents=24, top_k=4, n_vectors=3000, batch_size=32)
    whole = recipe.learn(train, tail, Run())
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "_PAUSE_PER_SAVE", 0.0)

    def kill(done: int, total: int, values: object) -> None:
        if done == total // 2 + 3:
            raise KilledError

    checkpoint = tmp_path / "c.safetensors"
    with pytest.raises(KilledError):
        recipe.learn(train, tail, Run(on_step=kill, checkpoint=checkpoint))
    resumed = recipe.learn(train, tail, Run(checkpoint=checkpoint))
    for name, weights in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weights), name


def test_a_step_leaves_nothing_in_memory():
    inputs, weights = torch.randn(6, 4), torch.randn(4, 8, requires_grad=True)
    kept = weakref.ref(inputs)
    codes, extra = encode_sparse(
        inputs, weights, torch.zeros(8, requires_grad=True), top_k=2, also=torch.tensor([1])
    )
    product, taken = codes.times(torch.randn(8, 4, requires_grad=True), also=torch.tensor([0]))
    (product.sum() + taken.sum() + extra.sum()).backward()
    del inputs, codes, extra, product, taken
    gc.collect()
    assert kept() is None
