"""experiments/paper.yaml against the published values, written out here a second time, by pair."""

from pathlib import Path

import pytest

from classifsae.classifier.loading.toy import SIZES
from classifsae.data.sources import resolve
from classifsae.errors import ConfigError
from classifsae.pipeline.config import Experiment, load_experiment, point_of

PAPER = Path(__file__).parents[3] / "experiments" / "paper.yaml"
DATASETS = ("agnews", "imdb", "tweeteval_offensive", "tweeteval_sentiment")
BACKBONES = {  # model, kind, l, L, d, batch, steps on the four data sets
    "pythia_410m": ("EleutherAI/pythia-410m", "decoder", 23, 24, 1024, 2, (30000, 30000, 30000, 40000)),
    "pythia_1b": ("EleutherAI/pythia-1b", "decoder", 15, 16, 2048, 2, (30000, 30000, 30000, 40000)),
    "gpt_j": ("EleutherAI/gpt-j-6B", "decoder", 27, 28, 4096, 2, (5000, 12500, 15000, 12000)),
    "bert": ("bert-base-uncased", "encoder", 12, 12, 768, 4, (30000, 30000, 15000, 45000)),
    "deberta": ("microsoft/deberta-v3-large", "encoder", 24, 24, 1024, 4, (30000, 10000, 10000, 20000)),
    "mistral_instruct": ("mistralai/Mistral-7B-Instruct-v0.1", "decoder", 31, 32, 4096, 2, (2000,) * 4),
    "llama_instruct": ("meta-llama/Llama-3.1-8B-Instruct", "decoder", 31, 32, 4096, 2, (2000,) * 4),
}
PROMPTED = ("mistral_instruct", "llama_instruct")
LABELS = {
    "agnews": ("World", "Sports", "Business", "SciTech"),
    "imdb": ("negative", "positive"),
    "tweeteval_offensive": ("non-offensive", "offensive"),
    "tweeteval_sentiment": ("negative", "neutral", "positive"),
}
BATCHES = {  # of ClassifSAE, in the order of the data sets
    "pythia_410m": (500, 500, 2000, 1000),
    "pythia_1b": (500, 500, 2000, 2000),
    "gpt_j": (1000, 500, 2000, 1000),
    "bert": (500, 500, 1000, 1000),
    "deberta": (500, 500, 1000, 1000),
    "mistral_instruct": (500, 500, 1000, 1000),
    "llama_instruct": (500, 500, 1000, 1000),
}
WEIGHTS = {  # of its reconstruction and activation rate
    "pythia_410m": (0.02, 0.02, 0.02, 0.02),
    "pythia_1b": (0.02, 0.02, 0.01, 0.01),
    "gpt_j": (0.02, 0.02, 0.01, 0.02),
    "bert": (0.02, 0.02, 0.02, 0.02),
    "deberta": (0.02, 0.02, 0.02, 0.02),
    "mistral_instruct": (0.02, 0.02, 0.01, 0.01),
    "llama_instruct": (0.02, 0.02, 0.01, 0.01),
}
THRESHOLDS = {"mistral_instruct": (0.2, 0.2, 0.3, 0.2), "llama_instruct": (0.2, 0.2, 0.3, 0.1)}
FEWER_VECTORS = ("pythia_410m", "deberta", "mistral_instruct", "llama_instruct")  # on AG News
PAIRS = [(backbone, dataset) for backbone in BACKBONES for dataset in DATASETS]


@pytest.fixture(scope="module")
def points() -> dict[tuple[str, str], Experiment]:
    found = {(p.backbone.name, resolve(p.dataset)[0]): p for p in load_experiment(PAPER)}
    assert list(found) == PAIRS
    return found


@pytest.mark.parametrize(("backbone", "dataset"), PAIRS)
def test_the_backbone_of_each_run_has_the_published_values(points, backbone, dataset):
    found, place = points[backbone, dataset].backbone, DATASETS.index(dataset)
    model, kind, layer, n_layers, width, batch, steps = BACKBONES[backbone]
    assert (found.model, found.kind, found.layer) == (model, kind, layer)
    assert (found.form["num_hidden_layers"], found.form["hidden_size"]) == (n_layers, width)
    assert found.n_steps == steps[place]
    assert found.batch_size == (2 if (backbone, dataset) == ("deberta", "imdb") else batch)
    assert (found.weight_decay, found.clip, found.seed) == (0.01, 1.0, 42)
    assert (found.n_epochs, found.gradient_checkpointing, found.class_weights) == (None, True, False)
    assert len(found.revision) == 40  # a commit, which cannot move
    if backbone in PROMPTED:
        prompt = found.soft_prompt
        assert (found.tuning, prompt.n_vectors, found.warmup) == ("soft_prompt", 10, 0)
        assert (prompt.learning_rate, prompt.final_learning_rate) == (5e-3, 1e-4)
    else:
        eight_bit = backbone != "bert"
        assert (found.tuning, found.learning_rate, found.warmup) == ("full", 2e-6, 0.05)
        assert (found.precision, found.optimizer) == (
            ("bf16", "adamw_8bit") if eight_bit else ("float32", "adamw")
        )


@pytest.mark.parametrize(("backbone", "dataset"), PAIRS)
def test_the_methods_of_each_run_have_the_published_values(points, backbone, dataset):
    point, place = points[backbone, dataset], DATASETS.index(dataset)
    assert point.seeds == (42,)
    recipes = {label: point.recipe(label, 42) for label in point.methods}
    assert list(recipes) == ["classifsae", "sae", "ica", "conceptshap", "hiconcept", "identity", "random"]
    assert all(recipe.n_concepts == 20 for label, recipe in recipes.items() if label != "identity")
    ours, plain = recipes["classifsae"], recipes["sae"]
    assert (ours.batch_size, plain.batch_size) == (BATCHES[backbone][place], 500)
    assert ours.n_vectors == (5 if dataset == "agnews" and backbone in FEWER_VECTORS else 10) * 10**6
    assert plain.n_vectors == 10**7
    weight = WEIGHTS[backbone][place]
    assert (ours.reconstruction_weight, ours.rate_weight, ours.imitation_weight) == (weight, weight, 1)
    for recipe in (ours, plain):  # d_sae is 2 d, which None stands for
        assert (recipe.n_latents, recipe.top_k) == (None, 10)
        assert (recipe.learning_rate, recipe.final_learning_rate) == (5e-5, 5e-7)
    shap, hi = recipes["conceptshap"], recipes["hiconcept"]
    assert shap.threshold == THRESHOLDS.get(backbone, (0.3,) * 4)[place]
    for recipe in (shap, hi):
        assert (recipe.n_epochs, recipe.batch_size, recipe.learning_rate) == (100, 128, 3e-4)
        assert (recipe.similarity_weight, recipe.distance_weight) == (0.1, 0.5)
        assert recipe.rescale == (BACKBONES[backbone][1] == "encoder")
    assert recipes["ica"].max_iterations == 1000


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_data_sets_are_pinned_and_have_the_published_parts(points, dataset):
    _, found = resolve(points["bert", dataset].dataset)
    assert found.label_names == LABELS[dataset]
    assert found.revision is not None
    assert found.config == (dataset.removeprefix("tweeteval_") if "tweeteval" in dataset else None)
    assert found.test == ("test+validation" if "tweeteval" in dataset else "test")


def test_the_command_line_comes_before_exceptions_but_not_before_the_sweep():
    changed = load_experiment(PAPER, ["backbone.n_steps=3", "methods={conceptshap: {}}", "seeds=[1]"])
    assert len(changed) == 28
    assert {p.backbone.n_steps for p in changed} == {3}
    assert {p.recipe("conceptshap", 1).threshold for p in changed} == {0.1, 0.2, 0.3}


def test_points_are_numbered_from_one():
    points = load_experiment(PAPER)
    assert point_of(points, 1, where="paper.yaml") == points[0]
    assert point_of(points, 28, where="paper.yaml") == points[27]
    for wrong in (0, -1, 29):
        with pytest.raises(ConfigError, match=f"index is {wrong}, but paper.yaml has 28 runs; give 1 to 28"):
            point_of(points, wrong, where="paper.yaml")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_toy_sizes_change_sizes_only_and_keep_the_layers_distance_from_the_end(points, backbone):
    settings = [f"sweep={{backbone: [{backbone}]}}", "dataset=agnews", "backbone.tiny=true"]
    (small,) = load_experiment(PAPER, settings)
    whole = points[backbone, "agnews"].backbone
    changed = {"model", "revision", "architecture", "tokenizer", "layer", "tiny"}
    same = {"exclude": changed}
    assert small.backbone.model_dump(**same) == whole.model_dump(**same)
    assert small.backbone.name == f"{backbone}-tiny"
    n_layers = BACKBONES[backbone][3]
    assert small.backbone.layer == (-1 if whole.layer == n_layers else -2)
    sizes = {name for name, value in small.backbone.architecture.items() if whole.form.get(name) != value}
    assert sizes <= {*SIZES, "initializer_range"}


def test_toy_sizes_are_for_presets_of_a_known_form():
    with pytest.raises(ConfigError, match=r"tiny is for presets that state their form, and 'package:gt_all"):
        load_experiment(PAPER, ["sweep={dataset: [agnews]}", "backbone={model: minilm, tiny: true}"])
