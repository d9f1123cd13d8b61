"""A whole experiment in seconds: a small encoder from scratch on short sentences of three classes."""

import csv
from pathlib import Path

import pytest
import yaml

SMALL = {"n_latents": 48, "top_k": 4, "n_vectors": 8000, "batch_size": 64}
TINY = {
    "backbone": {
        "architecture": {
            "model_type": "bert",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 24,
        },
        "tokenizer": {"vocab_size": 400},
        "n_steps": 40,
        "batch_size": 24,
        "learning_rate": 5e-3,
    },
    "n_concepts": 6,
    "methods": {
        "classifsae": SMALL | {"learning_rate": 1e-3},
        "sae": SMALL | {"n_probe": 100},
        "identity": {},
        "random": {"top_k": 3},
    },
    "seeds": [1, 2],
    "device": "cpu",
}  # fmt: skip


WORDS = {
    "sports": ["match", "goal", "team", "coach", "league"],
    "money": ["bank", "stock", "price", "loan", "market"],
    "space": ["orbit", "rocket", "moon", "probe", "star"],
}


def write_data(path: Path, *, n: int = 150) -> Path:
    """Short sentences, each with two words of its class; a few long enough to be cut."""
    rows = []
    for i in range(n):
        label = list(WORDS)[i % 3]
        first, second = WORDS[label][i % 5], WORDS[label][(i // 5) % 5]
        rows.append([f"the {first} and a {second} no {i}" + " again" * (40 * (i % 50 == 0)), label])
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "label"], *rows])
    return path


def write_experiment(folder: Path, **changes: object) -> Path:
    """The experiment's file; its data is beside it, and its run goes to ``run``."""
    data = write_data(folder / "short.csv")
    whole = TINY | {"dataset": str(data), "run_dir": str(folder / "run")} | changes
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return write_experiment(tmp_path)
