"""The classifier under study: tuned, opened at one layer, captured. Lazy, as transformers is heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from classifsae.classifier.capturing import capture, n_cut_of
    from classifsae.classifier.classifier import Classifier
    from classifsae.classifier.config import BACKBONES, BackboneConfig, resolve_backbone
    from classifsae.classifier.previewing import preview
    from classifsae.classifier.training import finetune

_HOMES = {
    "BACKBONES": "config",
    "BackboneConfig": "config",
    "resolve_backbone": "config",
    "Classifier": "classifier",
    "capture": "capturing",
    "n_cut_of": "capturing",
    "finetune": "training",
    "preview": "previewing",
}

__all__ = [
    "BACKBONES",
    "BackboneConfig",
    "Classifier",
    "capture",
    "finetune",
    "n_cut_of",
    "preview",
    "resolve_backbone",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'classifsae.classifier' has no attribute {name!r}")
    return getattr(import_module(f"classifsae.classifier.{_HOMES[name]}"), name)
