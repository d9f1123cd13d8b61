"""Concepts go to a hub and come back, through huggingface_hub and HTTP, and offline from its cache."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from classifsae.activations import Activations
from classifsae.concepts import Concepts, load_concepts
from classifsae.concepts.kmeans import KMeans
from hub_server import TOKEN, hub
from plain_sae import sae_lens, weights

DOCS = Path(__file__).parents[2] / "docs" / "sharing.md"
(HUB,) = re.findall(r"^```py\n(.*?)^```", DOCS.read_text(), flags=re.DOTALL | re.MULTILINE)
START = "import classifsae as cs; concepts = cs.Concepts.load(Path('made'))\n"
LOAD = """
import classifsae as cs
concepts = cs.load_concepts("me/topics"{more})
concepts.save("back")
print(concepts.names)
"""


def python(code: str, folder: Path, *, endpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that sees the stand-in as the Hub, and a cache of its own."""
    hub_environment = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": TOKEN,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", f"from pathlib import Path\n{code}"]
    whole = os.environ | hub_environment | environment
    return subprocess.run(command, cwd=folder, env=whole, capture_output=True, text=True, check=False)


@pytest.fixture
def made(train: Activations, tail: torch.nn.Linear, tmp_path: Path) -> Concepts:
    concepts = KMeans(n_concepts=4).fit(train, tail).with_card(names=["oil", "cup", "war", "chip"])
    concepts.save(tmp_path / "made")
    return concepts


def test_concepts_go_to_the_hub_and_come_back_also_offline(
    made: Concepts, train: Activations, tmp_path: Path
):
    with hub() as server:
        pushed = python(START + HUB, tmp_path, endpoint=server.address)
        assert pushed.returncode == 0, pushed.stderr
        assert pushed.stdout.startswith(f"{server.address}/me/topics/commit/")
        commits = server.repositories["me/topics"]
        files = next(reversed(commits.values()))
        assert {"README.md", "card.json", "concepts.safetensors", "manifest.json"} < set(files)
        assert b'cs.load_concepts("me/topics")' in files["README.md"]
        files["README.md"] += b"\nEdited on the Hub."

        loaded = python(LOAD.format(more=""), tmp_path, endpoint=server.address)
        assert loaded.returncode == 0, loaded.stderr
        assert loaded.stdout.strip() == str(made.names)
        by_commit = f", revision={list(commits)[-1]!r}"
        assert python(LOAD.format(more=by_commit), tmp_path, endpoint=server.address).returncode == 0

    back = load_concepts(tmp_path / "back")
    assert torch.equal(back.encode(train.hidden), made.encode(train.hidden))
    assert (back.source, back.card) == (made.source, made.card)

    offline = python(LOAD.format(more=""), tmp_path, endpoint="https://huggingface.co", HF_HUB_OFFLINE="1")
    assert offline.stdout.strip() == str(made.names), offline.stderr
    elsewhere = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    empty = python(LOAD.format(more=""), tmp_path, endpoint="https://huggingface.co", **elsewhere)
    assert "HubError: cannot fetch 'me/topics' from the Hub" in empty.stderr


READ = """
import classifsae as cs, torch
recipe = cs.Pretrained(sae="me/saes/layer-2", n_concepts=4)
train = cs.Activations.load(Path("train"))
concepts = recipe.fit(train, torch.nn.Linear(16, 3))
print(concepts.coder.n_latents, sorted(file.name for file in recipe.folder.iterdir()))
"""


def test_an_sae_of_others_comes_from_its_folder_on_the_hub(train: Activations, tmp_path: Path):
    train.save(tmp_path / "train")
    files = {
        f"{layer}/{file.name}": file.read_bytes()
        for layer, seed in (("layer-2", 0), ("layer-3", 1))
        for file in sae_lens(tmp_path / layer, weights(16, 40, seed=seed), k=4, architecture="topk").iterdir()
    }
    with hub() as server:
        server.repositories["me/saes"] = {"0" * 40: files}
        read = python(READ, tmp_path, endpoint=server.address)
    assert read.stdout.strip() == "40 ['cfg.json', 'sae_weights.safetensors']", read.stderr


def test_what_the_hub_refuses_is_one_line(made: Concepts, tmp_path: Path):
    with hub() as server:
        refused = python(START + HUB, tmp_path, endpoint=server.address, HF_TOKEN="hf_may_read")
        unknown = python(LOAD.format(more=""), tmp_path, endpoint=server.address)
    assert "cannot write 'me/topics' on the Hub" in refused.stderr.splitlines()[-1]
    assert "log in with a token that may write" in refused.stderr.splitlines()[-1]
    assert "cannot fetch 'me/topics' from the Hub (RepositoryNotFoundError" in unknown.stderr.splitlines()[-1]
