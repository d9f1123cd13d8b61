"""Tiny models, built once and shared."""

from pathlib import Path

import pytest
from tiny_models import ENCODERS, NAMES, build

from classifsae.classifier._models import Loaded
from classifsae.classifier.classifier import Classifier


@pytest.fixture(scope="session")
def tiny():
    """Classifier of a family: ``tiny("gpt2", layer=1)``; models are built once and shared."""
    built: dict[tuple[str, str], Loaded] = {}

    def make(family: str, *, kind: str | None = None, **options: object) -> Classifier:
        kind = kind or ("encoder" if family in ENCODERS else "decoder")
        if (family, kind) not in built:
            built[family, kind] = build(family, kind)
        return Classifier(built[family, kind], name=family, label_names=NAMES, **options)

    return make


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained sequence classifier as the hub would give it."""
    return _saved(build("bert", "encoder"), tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model as the hub would give it."""
    return _saved(build("gpt_neox", "decoder"), tmp_path_factory.mktemp("decoder"))


def _saved(loaded: Loaded, folder: Path) -> Path:
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder
