"""Each backbone of the paper at toy size, through its preset, its real configuration class and all stages."""

import csv
import json
from pathlib import Path

import pytest

from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from classifsae.pipeline.run_folder import RunFolder
from e2e.conftest import WORDS
from unit.pipeline.test_paper import LABELS, PAPER

PAIRS = [  # every backbone once, every data set at least once
    ("pythia_410m", "imdb"),
    ("pythia_1b", "tweeteval_sentiment"),
    ("gpt_j", "tweeteval_offensive"),
    ("bert", "agnews"),
    ("deberta", "tweeteval_sentiment"),
    ("mistral_instruct", "tweeteval_sentiment"),
    ("llama_instruct", "agnews"),
]
SETTINGS = [
    "backbone.tiny=true",
    "backbone.n_steps=12",
    "backbone.batch_size=8",
    "backbone.learning_rate=3e-3",
    "backbone.seed=1",  # one with which frozen random weights do not give all texts one class
    "backbone.gradient_checkpointing=false",
    "backbone.max_length=96",
    "backbone.optimizer=adamw",  # 8-bit states want a GPU
    "device=cpu",
    "n_concepts=8",
    "methods={classifsae: {n_latents: 16, top_k: 8}, identity: {}}",
    "methods.classifsae.n_vectors=500",
]


def write_rows(path: Path, n_classes: int, n: int) -> Path:
    words = [word for group in WORDS.values() for word in group]
    rows = [[f"{words[i % n_classes]} {words[i * 7 % 15]} " * 3, i % n_classes] for i in range(n)]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "label"], *rows])
    return path


@pytest.mark.parametrize(("backbone", "dataset"), PAIRS)
def test_a_toy_of_each_backbone_runs_through_all_stages(backbone: str, dataset: str, tmp_path: Path):
    n_classes = len(LABELS[dataset])
    train = write_rows(tmp_path / "train.csv", n_classes, 24)
    test = write_rows(tmp_path / "test.csv", n_classes, 12)
    files = [f"dataset.train={train}", f"dataset.test={test}", f"run_dir={tmp_path}/{{dataset}}/{{backbone}}"]
    pair = f"sweep={{backbone: [{backbone}], dataset: [{dataset}]}}"
    (point,) = load_experiment(PAPER, [*SETTINGS, *files, pair])
    outcome = run(point)
    assert outcome.folder == tmp_path / dataset / f"{backbone}-tiny"
    assert [record["method"] for record in outcome.records] == ["classifsae", "identity"]
    config = json.loads((outcome.folder / "classifier" / "config.json").read_text())
    assert config["model_type"] == point.backbone.form["model_type"]
    assert (outcome.folder / "classifier" / "soft_prompt.safetensors").exists() == ("instruct" in backbone)
    facts = json.loads((outcome.folder / "classifier" / "classifier.json").read_text())
    assert facts["layer"] == (3 if point.backbone.kind == "encoder" else 2)
    assert run(point).n_done == 0
    assert (
        RunFolder.of(point).progress(point)
        == "classifier 1/1, activations 2/2, concepts 2/2, scores 2/2, report 1/1"
    )
