"""sae and classifsae: which options they refuse, and which latents become concepts."""

import dataclasses

import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts import _optimise as loop
from classifsae.concepts import sae as module
from classifsae.concepts.classifsae import ClassifSAE
from classifsae.concepts.random import Random
from classifsae.concepts.sae import SAE, probe_strength
from classifsae.errors import ConfigError, DataError

QUICK = {"n_concepts": 6, "n_latents": 24, "top_k": 4, "n_vectors": 2000, "batch_size": 32}


@pytest.mark.parametrize("method", [SAE, ClassifSAE])
@pytest.mark.parametrize("option", ["n_concepts", "top_k"])
def test_more_than_there_are_latents_is_refused_at_once(method: type[SAE] | type[ClassifSAE], option: str):
    said = f"{method.method_name()}: {option} is 25, but there are only 24 latents; lower {option} or raise"
    with pytest.raises(ConfigError, match=said):
        method(**QUICK | {option: 25})


@pytest.mark.parametrize("method", [SAE, ClassifSAE])
def test_latents_by_the_width_of_the_states_are_checked_before_anything_is_learned(
    method: type[SAE] | type[ClassifSAE],
):
    method(n_concepts=32).check(n_sentences=120, width=16)
    with pytest.raises(ConfigError, match="n_concepts is 33, but there are only 32 latents"):
        method(n_concepts=33).check(n_sentences=120, width=16)


@pytest.mark.parametrize("method", [SAE, ClassifSAE])
def test_a_budget_that_is_not_given_follows_from_the_data(
    method: type[SAE] | type[ClassifSAE], train: Activations, tail: nn.Linear
):
    given, by_data = loop.Run(), loop.Run()
    method(**QUICK).learn(train, tail, given)
    method(**QUICK | {"n_vectors": None}).learn(train, tail, by_data)
    n_epochs = round(2000 / len(train))
    assert (given.spent.n_vectors, given.spent.n_held_out) == (n_epochs * len(train), 0)
    assert by_data.spent.n_held_out == len(train) // 10
    assert by_data.spent.n_steps <= by_data.spent.n_steps_at_most == 800
    assert "dead" in by_data.curves
    assert len(by_data.curves[loop.HELD_OUT_LOSS]) <= 21


@pytest.mark.parametrize(("n_sentences", "rate"), [(120, 1e-3), (6000, 1e-3 * 800 / 1100), (200_000, 5e-5)])
def test_the_rate_of_a_long_plan_falls_to_the_published_one(n_sentences: int, rate: float, train):
    many = train.take(torch.zeros(n_sentences, dtype=torch.int64))
    assert SAE().plan(many)[1].learning_rate == pytest.approx(rate)


def test_a_look_at_held_out_sentences_leaves_everything_as_it_is(train: Activations):
    objective = module.SAEObjective(SAE(**QUICK).start(train), hidden=train.hidden)
    objective.held_out_loss(torch.arange(10), 0)
    assert objective.silent_steps.tolist() == [0] * 24
    assert all(parameter.grad is None for parameter in objective.parameters())


def test_a_probe_on_too_few_sentences_for_its_folds_is_refused():
    with pytest.raises(ConfigError, match=r"sae: n_probe: .*greater than 3, got 3"):
        SAE(n_probe=3)


def test_a_latent_without_weight_in_the_probe_is_no_concept(
    train: Activations, tail: nn.Linear, monkeypatch: pytest.MonkeyPatch
):
    strength = torch.zeros(24)
    strength[[5, 2]] = torch.tensor([2.0, 1.0])
    monkeypatch.setattr(module, "probe_strength", lambda *_, **__: strength)
    recipe = SAE(**QUICK)
    coder = recipe.learn(train, tail, loop.Run())
    assert recipe.choose(coder, train, train.predictions).tolist() == [5, 2]
    monkeypatch.setattr(module, "probe_strength", lambda *_, **__: torch.zeros(24))
    with pytest.raises(DataError, match="the probe gives no latent any weight"):
        recipe.choose(coder, train, train.predictions)


def test_a_probe_of_latents_that_never_fire_gives_none_a_weight():
    assert probe_strength(torch.zeros(12, 4), torch.arange(12) % 3, seed=0).tolist() == [0.0] * 4


def test_a_probe_on_one_class_is_refused_in_words(train: Activations, tail: nn.Linear):
    recipe = SAE(**QUICK, n_probe=5)
    coder = recipe.learn(train, tail, loop.Run())
    with pytest.raises(DataError, match=r"5 of the 5 sentences of the probe .* are of one class"):
        recipe.choose(coder, train, torch.zeros_like(train.predictions))


def test_dead_concepts_are_an_error_that_names_the_options_that_help(train: Activations, tail: nn.Linear):
    dead = dataclasses.replace(train, hidden=torch.zeros_like(train.hidden))
    with pytest.raises(DataError, match=r"random: all 6 concepts are dead .*; raise top_k\."):
        Random(n_concepts=6).fit(dead, tail)


def test_concepts_that_died_are_a_note_and_whole_sets_are_none():
    recipe = Random(n_concepts=6, top_k=1)
    assert recipe.dead_note(0, 6) == ""
    assert (
        recipe.dead_note(2, 6) == "2 of 6 concepts are dead (mean |activation| at most 1e-06); raise top_k."
    )
