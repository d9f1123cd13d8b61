"""Small activations with a known decision, and a linear tail: no transformers, milliseconds."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported
# The tensors here are so small that a second thread costs more than it saves, and the tests share the cores.
os.environ["OMP_NUM_THREADS"] = "1"  # of numpy and of the processes that tests start

import pytest
import torch
from joblib import cpu_count
from torch import nn

from classifsae.activations import Activations, Source

torch.set_num_threads(1)

WIDTH, N_CLASSES = 16, 3
MOST_WORKERS = 8  # each takes a gigabyte or two
SOURCE = Source(model="model", layer=2, prompt="", dataset="data")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many as there are cores for this process, whatever the machine around its container has."""
    return min(cpu_count(), MOST_WORKERS)


@pytest.fixture(scope="session")
def tail() -> nn.Linear:
    """Reads the first three neurons as class logits."""
    linear = nn.Linear(WIDTH, N_CLASSES)
    with torch.no_grad():
        linear.weight.copy_(3 * torch.eye(N_CLASSES, WIDTH))
        linear.bias.zero_()
    return linear.requires_grad_(False)


def blobs(tail: nn.Linear, *, n: int, seed: int) -> Activations:
    """One cloud of hidden states per class; every tenth label is wrong."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % N_CLASSES
    hidden = torch.randn(n, WIDTH, generator=generator) + 4 * torch.eye(N_CLASSES, WIDTH)[labels]
    labels[::10] = (labels[::10] + 1) % N_CLASSES
    return Activations(
        hidden=hidden,
        logits=tail(hidden),
        labels=labels,
        ids=tuple(f"row-{i}" for i in range(n)),
        source=SOURCE,
    )


@pytest.fixture(scope="session")
def train(tail: nn.Linear) -> Activations:
    return blobs(tail, n=120, seed=0)


@pytest.fixture(scope="session")
def test(tail: nn.Linear) -> Activations:
    return blobs(tail, n=64, seed=1)
