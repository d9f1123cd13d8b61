"""Numbers of the published implementation, from a folder beside the project; skipped where it is absent."""

import json
import os
from pathlib import Path

import pytest
import torch

from classifsae.activations import Activations, Source
from classifsae.storage import read_tensors
from classifsae.tensors import Float, Tail, Tensor

BESIDE = Path(__file__).parents[2].parent / "shared" / "golden"
SOURCE = Source(model="minilm", layer=6, prompt="", dataset="ag_news")


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = Path(os.environ.get("CLASSIFSAE_GOLDEN", BESIDE))
    if not folder.is_dir():
        pytest.skip(f"the golden files are not at {folder}; set CLASSIFSAE_GOLDEN to their folder")
    return folder


@pytest.fixture(scope="session")
def golden_tail(golden: Path) -> Tail:
    """Pooler and classifier of the fine-tuned MiniLM."""
    weights = read_tensors(golden / "tail.safetensors")

    def tail(hidden: Float[Tensor, "b d"], /) -> Float[Tensor, "b c"]:
        pooled = torch.tanh(hidden @ weights["pooler.weight"].T + weights["pooler.bias"])
        return pooled @ weights["classifier.weight"].T + weights["classifier.bias"]

    return tail


@pytest.fixture(scope="session")
def golden_train(golden: Path, golden_tail: Tail) -> Activations:
    tensors = read_tensors(golden / "train.safetensors")
    train = _activations(tensors["h"], golden_tail(tensors["h"]), tensors["predictions"])
    assert torch.equal(train.predictions, tensors["predictions"])
    return train


@pytest.fixture(scope="session")
def golden_test(golden: Path) -> Activations:
    tensors = read_tensors(golden / "test.safetensors")
    return _activations(tensors["h"], tensors["logits"], tensors["labels"])


def _activations(hidden: Tensor, logits: Tensor, labels: Tensor) -> Activations:
    ids = tuple(map(str, range(len(hidden))))
    return Activations(hidden=hidden, logits=logits, labels=labels, ids=ids, source=SOURCE)


def read_log(path: Path) -> list[dict[str, float]]:
    """A JSON list of numbers by name, one entry per step."""
    entries: list[dict[str, float]] = json.loads(path.read_text())
    return entries
