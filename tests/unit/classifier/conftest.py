"""Tiny models, built once and shared."""

from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

import pytest
from huggingface_hub import constants
from tiny_models import ENCODERS, build, classifier_of

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.loading.loaded import Loaded


@pytest.fixture(scope="session")
def tiny():
    """Classifier of a family: ``tiny("gpt2", layer=1)``; models are built once and shared."""
    built: dict[tuple[str, str], Loaded] = {}

    def make(family: str, *, kind: str | None = None, **options: object) -> Classifier:
        kind = kind or ("encoder" if family in ENCODERS else "decoder")
        if (family, kind) not in built:
            built[family, kind] = build(family, kind)
        return classifier_of(built[family, kind], family, **options)

    return make


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained sequence classifier as the hub would give it."""
    return _saved(build("bert", "encoder"), tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model as the hub would give it."""
    return _saved(build("gpt_neox", "decoder"), tmp_path_factory.mktemp("decoder"))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], str]:
    """Puts a folder where the hub's client keeps a repository and gives its commit; offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repository: str, folder: Path) -> str:
        commit = sha1(repository.encode()).hexdigest()
        root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        for part in ("refs", "blobs", f"snapshots/{commit}"):
            (root / part).mkdir(parents=True)
        (root / "refs" / "main").write_text(commit)
        for file in folder.iterdir():
            blob = root / "blobs" / sha1(file.read_bytes()).hexdigest()
            blob.write_bytes(file.read_bytes())
            (root / "snapshots" / commit / file.name).symlink_to(f"../../blobs/{blob.name}")
        return commit

    return put


def _saved(loaded: Loaded, folder: Path) -> Path:
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder
