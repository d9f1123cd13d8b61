"""Errors of scores over sentences, and whether a method finds the same again in other sentences."""

from dataclasses import dataclass, replace
from math import inf, nan
from typing import Annotated, final

import pytest
import torch
from torch import nn

import classifsae as cs
from classifsae.activations import Activations, Guidance
from classifsae.bottleneck import Evaluation, evaluate
from classifsae.metrics import METRICS, Metric, sampling_errors, stability_over_samples
from classifsae.metrics.base import Quantity, Result


@final
@dataclass(frozen=True)
class MeanResult(Result):
    mean_logit: Annotated[float, Quantity("mean first logit", low=-inf, high=inf)]
    n: Annotated[int, Quantity.count("sentences")]
    unknown: Annotated[float, Quantity("never known")]


@final
class Mean(Metric):
    def measure(self, evaluation: Evaluation) -> MeanResult:
        return MeanResult(evaluation.original[:, 0].mean().item(), len(evaluation.codes), nan)


@pytest.fixture
def evaluation(train: Activations, test: Activations, tail: nn.Linear) -> Evaluation:
    return evaluate(cs.Random(n_concepts=4, top_k=2).fit(train, tail), tail, test)


def test_the_error_of_a_mean_is_that_of_the_textbook(evaluation: Evaluation):
    errors = sampling_errors({"mean": Mean()}, evaluation, n_halves=400)
    logits = evaluation.original[:, 0]
    assert errors["mean_logit"] == pytest.approx((logits.std() / len(logits) ** 0.5).item(), rel=0.1)
    assert errors["n"] == 0
    assert "unknown" not in errors
    assert sampling_errors({"mean": Mean()}, evaluation, n_halves=400) == errors
    assert sampling_errors({"mean": Mean()}, evaluation, n_halves=0) == {}


def test_windows_of_a_text_are_drawn_together(evaluation: Evaluation):
    """Copies of a sentence tell nothing new: the error stays."""
    n = len(evaluation.codes)
    rows = torch.arange(n).repeat_interleave(3)
    copied = replace(evaluation.take(rows), documents=rows)
    once, thrice = (
        sampling_errors({"m": Mean()}, one, n_halves=400)["mean_logit"] for one in (evaluation, copied)
    )
    assert thrice == pytest.approx(once, rel=0.1)


def test_scores_carry_the_errors_that_were_asked_for(train: Activations, test: Activations, tail: nn.Linear):
    concepts = cs.Random(n_concepts=4, top_k=2).fit(train, tail)
    assert cs.score(concepts, tail, test).errors == {}
    scores = cs.score(concepts, tail, test, n_halves=20)
    p = scores.completeness.accuracy
    assert scores.errors["accuracy"] == pytest.approx((p * (1 - p) / len(test)) ** 0.5, rel=0.4)


@pytest.mark.parametrize("name", [n for n in METRICS.names() if not METRICS.load(n).needs_sentences])
def test_every_metric_is_measured_on_half_of_the_sentences(name: str, evaluation: Evaluation):
    half = evaluation.take(torch.arange(0, len(evaluation.codes), 2))
    assert METRICS.load(name)().measure(half) is not None


def test_a_method_without_chance_is_stable_over_samples_and_the_class_is_not_beyond_itself(
    train: Activations, test: Activations, tail: nn.Linear
):
    whole, within = stability_over_samples(cs.Classes(), train, tail, test, n_samples=3)
    assert whole > 0.9
    assert within == pytest.approx(0, abs=0.2)


def test_guidance_is_drawn_with_its_sentences(train: Activations, test: Activations, tail: nn.Linear):
    read = nn.functional.normalize(torch.randn(len(train), 8, generator=torch.Generator().manual_seed(0)))
    recipe = cs.Consensus(n_concepts=4, n_clusterings=3, n_steps=10)
    found = stability_over_samples(recipe, train, tail, test, guidance=Guidance(read, read), n_samples=2)
    assert all(value <= 1 for value in found)
