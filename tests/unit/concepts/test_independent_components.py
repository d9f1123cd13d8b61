"""ICA: what it recovers, what it logs and what it refuses."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts.ica import ICA
from classifsae.errors import ConfigError


def with_states(train: Activations, hidden: torch.Tensor) -> Activations:
    return dataclasses.replace(train, hidden=hidden)


def test_mixed_sources_are_found_again(train: Activations, tail: nn.Linear):
    draws = torch.Generator().manual_seed(0)
    sources = torch.rand(120, 3, generator=draws) * 2 - 1
    hidden = sources @ torch.randn(3, 16, generator=draws) + 0.01 * torch.randn(120, 16, generator=draws)
    concepts = ICA(n_concepts=3).fit(with_states(train, hidden), tail)
    found = torch.corrcoef(torch.cat([concepts.encode(hidden), sources], dim=1).T)[:3, 3:].abs()
    # Each component is one source, up to sign and order.
    assert (found.max(dim=1).values > 0.95).all()
    assert sorted(found.argmax(dim=1).tolist()) == [0, 1, 2]


def test_codes_and_reconstructions_equal_those_of_scikit_learn(train: Activations, tail: nn.Linear):
    from sklearn.decomposition import FastICA

    twin = FastICA(5, whiten="unit-variance", whiten_solver="eigh", max_iter=1000, random_state=3)
    codes = twin.fit_transform(train.hidden.double().numpy())
    coder = ICA(n_concepts=5, seed=3).learn(train, tail, None)  # type: ignore[arg-type]
    assert np.allclose(coder.encode(train.hidden).numpy(), codes, atol=1e-5)
    assert np.allclose(
        coder.decode(torch.from_numpy(codes).float()).numpy(), twin.inverse_transform(codes), atol=1e-4
    )


def test_codes_are_signed_and_of_unit_variance(train: Activations, tail: nn.Linear):
    codes = ICA(n_concepts=5).fit(train, tail).encode(train.hidden)
    assert (codes < 0).any()
    assert torch.allclose(codes.std(dim=0, correction=0), torch.ones(5), atol=1e-3)


def test_not_converging_is_said_in_the_log_and_no_error(
    train: Activations, tail: nn.Linear, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        concepts = ICA(n_concepts=5, max_iterations=1).fit(train, tail)
    assert len(concepts) == 5
    assert "ica: FastICA did not converge; raise max_iterations" in caplog.text


def test_more_concepts_than_neurons_are_refused(train: Activations, tail: nn.Linear):
    with pytest.raises(
        ConfigError, match="ica: n_concepts is 17, but 120 sentences of width 16 span at most 16 directions"
    ):
        ICA(n_concepts=17).fit(train, tail)


def test_more_concepts_than_directions_are_refused(train: Activations, tail: nn.Linear):
    draws = torch.Generator().manual_seed(0)
    flat = torch.randn(120, 4, generator=draws) @ torch.randn(4, 16, generator=draws)
    with pytest.raises(ConfigError, match="n_concepts is 6, but the 120 hidden states vary in 4 directions"):
        ICA(n_concepts=6).fit(with_states(train, flat), tail)
    assert len(ICA(n_concepts=4).fit(with_states(train, flat), tail)) == 4
