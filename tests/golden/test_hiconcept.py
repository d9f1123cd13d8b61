"""HI-Concept against the published implementation: steps, the first half of the run, codes and scores."""

import json
from pathlib import Path

import pytest

from classifsae.activations import Activations
from classifsae.concepts._concept_layer import Task
from classifsae.concepts.hiconcept import HIConcept, HIConceptObjective, SoftmaxCoder
from classifsae.storage import read_tensors
from classifsae.tensors import Tail, Tensor
from golden.concept_layers import assert_step, replay, weights_in, worst_gap
from golden.evaluation import Published

TERMS = {
    "imitation": "pred",
    "reconstruction": "ae",
    "flip": "flip",
    "similarity": "r1",
    "distance": "r2",
}
WEIGHTS = {"reconstruction": 1.0, "imitation": 1.0, "flip": 1.0, "similarity": 0.1, "distance": 0.5}
FLIP_FROM = 430


@pytest.fixture(scope="module")
def folder(golden: Path) -> Path:
    return golden / "hiconcept"


def objective_of(weights: dict[str, Tensor], hidden: Tensor, predictions: Tensor, tail: Tail):
    task = Task(hidden, predictions, tail, rescaled=True)
    return HIConceptObjective(
        SoftmaxCoder(**weights), task, weights=WEIGHTS, keep_probability=0.8, flip_from=FLIP_FROM, seed=42
    )


@pytest.mark.parametrize("step", [0, 431])
def test_terms_and_gradients_of_a_recorded_step(folder: Path, golden_tail: Tail, step: int):
    recorded = read_tensors(folder / f"train_step_{step:04}.safetensors")
    weights = weights_in(recorded, prefix="before.")
    objective = objective_of(weights, recorded["h"], recorded["predictions"], golden_tail)
    keep = recorded["mask"].bool() if step >= FLIP_FROM else None
    terms = objective.terms(recorded["h"], recorded["predictions"], keep)
    told = json.loads((folder / f"train_step_{step:04}.json").read_text())
    assert_step(objective, terms, recorded, told, TERMS)


def test_the_run_replays_until_its_random_removals_begin(
    folder: Path, golden_train: Activations, golden_tail: Tail
):
    weights = weights_in(read_tensors(folder / "train_init.safetensors"))
    objective = objective_of(weights, golden_train.hidden, golden_train.predictions, golden_tail)
    run, log = replay(objective, folder, n_steps=FLIP_FROM)
    # At step 114 a state lies on the edge of a mask: by the processor's rounding, 1e-7, 4e-5 or 1e-4.
    assert worst_gap(run, log, TERMS | {"loss": "total"}) <= 1e-3


def test_choice_codes_logits_and_scores(folder: Path, golden_test: Activations, golden_tail: Tail):
    coder = SoftmaxCoder(**weights_in(read_tensors(folder / "weights.safetensors")))
    published = Published(HIConcept(), coder, folder, golden_test, golden_tail)
    published.agrees(codes=1e-5, logits=1e-5)
