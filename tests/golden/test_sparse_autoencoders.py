"""sae and classifsae against the published implementation: steps, replay, codes and every score."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts import Run
from classifsae.concepts._autoencoder import SparseCoder, SparseObjective
from classifsae.concepts._optimise import Schedule, optimise
from classifsae.concepts.base import Concepts
from classifsae.concepts.classifsae import ClassifSAE, ClassifSAEObjective
from classifsae.concepts.sae import SAE, SAEObjective
from classifsae.metrics import score
from classifsae.storage import read_tensors
from classifsae.tensors import Tail, Tensor
from golden.conftest import read_log

NAMES = ("sae", "classifsae")
RECIPES = {"sae": SAE(), "classifsae": ClassifSAE()}
TERMS = {"reconstruction": "mse", "activation_rate": "act_rate", "imitation": "cls"}
DETACHED_FROM = 996
GHOST_WEIGHT = {"sae": 1.0, "classifsae": 0.02}


def coder_of(tensors: dict[str, Tensor]) -> SparseCoder:
    weights = {name: tensors[name].clone() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    return SparseCoder(**weights, top_k=10)


def objective_of(
    name: str, tensors: dict[str, Tensor], hidden: Tensor, predictions: Tensor
) -> SparseObjective:
    coder = coder_of(tensors)
    if name == "sae":
        return SAEObjective(coder, hidden=hidden)
    head = nn.Linear(20, 4)
    with torch.no_grad():
        head.weight.copy_(tensors["classifier_weight"])
        head.bias.copy_(tensors["classifier_bias"])
    return ClassifSAEObjective(
        coder,
        head,
        hidden=hidden,
        predictions=predictions,
        weights={"reconstruction": 0.02, "ghost": 0.02, "activation_rate": 0.02, "imitation": 1.0},
        free_rate=0.1,
        detach_from=DETACHED_FROM,
    )


@pytest.mark.parametrize(("name", "step"), [("sae", 105), ("classifsae", 105), ("classifsae", 997)])
def test_losses_and_gradients_of_a_recorded_step(golden: Path, name: str, step: int):
    recorded = read_tensors(golden / name / f"train_step_{step:04}.safetensors")
    told = json.loads((golden / name / f"train_step_{step:04}.json").read_text())
    before = {key.removeprefix("before."): t for key, t in recorded.items() if key.startswith("before.")}
    objective = objective_of(name, before, recorded["h"], recorded["labels"])
    objective.silent_steps = recorded["n_since_fired"].long()
    assert torch.equal(objective.dead, recorded["dead"])

    objective.before_step()
    terms = objective.losses(torch.arange(len(recorded["h"])), step)
    torch.stack([objective.weights[k] * term for k, term in terms.items()]).sum().backward()
    objective.after_backward()

    for ours, theirs in (TERMS | {"ghost": "ghost"}).items():
        if ours in terms:
            assert terms[ours].item() == pytest.approx(told[f"losses.{theirs}"], rel=1e-4)
    ours = {
        n.removeprefix("coder.").replace("head.", "classifier_"): p.grad
        for n, p in objective.named_parameters()
    }
    for key, gradient in recorded.items():
        if key.startswith("grad_projected_before_clip."):
            mine = ours[key.removeprefix("grad_projected_before_clip.")]
            assert mine is not None
            assert (mine - gradient).norm() <= 1e-4 * gradient.norm(), key


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_step_gives_the_recorded_parameters(golden: Path, golden_train: Activations, name: str):
    """The parameters before step 105 are those that 105 replayed steps lead to."""
    objective, _ = replay(golden, golden_train, name, n_steps=105)
    recorded = read_tensors(golden / name / "train_step_0105.safetensors")
    objective.before_step()
    for key in ("W_enc", "b_enc", "W_dec", "b_dec"):
        mine, theirs = getattr(objective.coder, key), recorded[f"before.{key}"]
        assert (mine - theirs).norm() <= 1e-4 * theirs.norm(), key


@pytest.mark.parametrize("name", NAMES)
def test_the_first_hundred_replayed_steps(golden: Path, golden_train: Activations, name: str):
    _, curves = replay(golden, golden_train, name, n_steps=101)
    log = read_log(golden / name / "train_log.json")
    for step in range(101):
        told = log[step]
        for ours, theirs in TERMS.items():
            if ours in curves:
                assert curves[ours][step] == pytest.approx(told[theirs], rel=1e-4), (step, ours)
        assert curves["gradient_norm"][step] == pytest.approx(told["grad_norm"], rel=1e-4)
        assert curves["dead"][step] == told["dead"]
        # While nothing is dead the published loss counts the ghost term, without gradient; ours is 0 there.
        constant = GHOST_WEIGHT[name] * told["ghost"]
        assert curves["ghost"][step] == 0.0
        assert curves["loss"][step] == pytest.approx(told["loss"] - constant, rel=1e-4)


def replay(
    golden: Path, train: Activations, name: str, *, n_steps: int
) -> tuple[SparseObjective, dict[str, list[float]]]:
    """Train from the recorded start in the recorded order, for some steps of the recorded schedule."""
    order = read_tensors(golden / name / "train_order.safetensors")
    batches = order["batch_idx"].long().split(order["batch_sizes"].tolist())

    class Recorded:
        def rows(self, step: int) -> Tensor:
            return batches[step]

    class Stopped(Schedule):
        def rate(self, step: int) -> float:
            return Schedule(1998, 5e-5, 5e-7).rate(step)

    start = read_tensors(golden / name / "train_init.safetensors")
    objective = objective_of(name, start, train.hidden, train.predictions)
    run = Run()
    optimise(objective, Recorded(), Stopped(n_steps, 5e-5, 5e-7, clip=1.0, record_every=1), run)
    return objective, run.curves


@pytest.fixture(scope="module", params=NAMES)
def scored(
    request: pytest.FixtureRequest, golden: Path, golden_test: Activations
) -> tuple[str, Concepts, dict[str, object]]:
    """The published weights under the published protocol: chosen on the test split by ground truth."""
    name = request.param
    coder = coder_of(read_tensors(golden / name / "weights.safetensors"))
    concepts = RECIPES[name].keep(coder, golden_test, golden_test.labels)
    return name, concepts, json.loads((golden / name / "test_scores.json").read_text())


def test_the_published_protocol_selects_and_segments_the_same_features(scored):
    _, concepts, told = scored
    assert concepts.kept.tolist() == told["selected"]
    assert [[told["selected"][j] for j in segment] for segment in concepts.segments] == told["segments"]


def test_codes_and_rebuilt_logits(scored, golden: Path, golden_test: Activations, golden_tail: Tail):
    from classifsae.bottleneck import evaluate

    name, concepts, _ = scored
    recorded = read_tensors(golden / name / "test_eval.safetensors")
    view = evaluate(concepts, golden_tail, golden_test)
    # Relative to the largest code, whose last bit is worth 1e-6: processors differ in the order of sums.
    assert (view.codes - recorded["codes"]).abs().max() <= 1e-5 * recorded["codes"].abs().max()
    assert (view.rebuilt - recorded["logits_rebuilt"]).abs().max() <= 1e-4


def test_every_score(scored, golden_test: Activations, golden_tail: Tail):
    _, concepts, told = scored
    scores = score(concepts, golden_tail, golden_test)
    complete, published = scores.completeness, told["completeness"]
    for mine, theirs in {
        complete.recovery_accuracy: "Recovery accuracy",
        complete.accuracy: "Original accuracy",
        complete.rebuilt_accuracy: "Reconstruction accuracy",
        complete.cross_entropy: "Original Mean Loss",
        complete.rebuilt_cross_entropy: "Reconstruction Mean loss",
        complete.activation_rate: "Averaged activation frequency",
        complete.max_activation_rate: "Highest activation frequency",
    }.items():
        assert mine == pytest.approx(published[theirs], abs=1e-4), theirs
    for c in complete.classes:
        assert c.recall == pytest.approx(published[f"recall_{c.class_index}"], abs=1e-4)
        assert c.precision == pytest.approx(published[f"precision_{c.class_index}"], abs=1e-4)
        assert c.f1 == pytest.approx(published[f"f1-score_{c.class_index}"], abs=1e-4)
    for effect, entry in zip(scores.causality.concepts, told["conditional"], strict=True):
        assert (effect.latent, effect.support) == (entry["feature"], entry["n"])
        assert effect.flip_rate == pytest.approx(entry["flip"], abs=1e-4)
        assert effect.tvd == pytest.approx(entry["tvd"], abs=1e-4)
        assert effect.accuracy_change == pytest.approx(entry["acc"], abs=1e-4)
    for segment, entry in zip(scores.causality.segments, told["global"], strict=True):
        assert (segment.size, segment.class_index) == (entry["size"], entry["cls"])
        assert [told["selected"][j] for j in segment.positions] == entry["features"]
        assert segment.flip_rate == pytest.approx(entry["flip"], abs=1e-4)
        assert segment.tvd == pytest.approx(entry["tvd"], abs=1e-4)
        assert segment.accuracy_change == pytest.approx(entry["acc"], abs=1e-4)
