"""Which model a backbone is, and how it counts its classes, found without loading it."""

from pathlib import Path

from pydantic import BaseModel, ValidationError

from classifsae.classifier.loading.loaded import FACTS
from classifsae.hub.files import folder_with, locate
from classifsae.storage import fingerprint, hash_file

_READ = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""Files that decide what a model computes: weights, configuration, tokenizer."""


class _Stated(BaseModel, extra="ignore"):
    """What a configuration says: that of a model, or ``classifier.json``, of classes; peft's of a model."""

    id2label: dict[int, str] = {}
    num_labels: int = 2
    architectures: tuple[str, ...] = ()
    base_model_name_or_path: str | None = None
    label_names: tuple[str, ...] = ()


def identity_of_files(model: str) -> str | None:
    """Fingerprint of the files of a model in a folder, and of the model that an adapter there changes.

    Returns:
        None for a model of the Hub or of a Python package.
    Raises:
        ConfigError: there is no such folder.
    """
    folder = Path(locate(model))
    if model.startswith("package:") or not folder.is_dir():
        return None
    files = sorted({file for pattern in _READ for file in folder.glob(pattern)})
    base = _stated(folder / "adapter_config.json").base_model_name_or_path
    if base is not None and Path(base).is_dir():
        base = identity_of_files(base)
    return fingerprint([[file.name, hash_file(file)] for file in files], base)


def commit_of(model: str, revision: str | None) -> str | None:
    """The commit of a model on the Hub, which is asked if it can be reached; None where there is none."""
    folder = None if Path(locate(model)).is_dir() else folder_with(model, "config.json", revision=revision)
    return None if folder is None else folder.name


def stated_labels(model: str, revision: str | None) -> tuple[str, ...] | None:
    """Names of the classes in the order of a model's configuration; None where it has to be loaded to know.

    Raises:
        ConfigError: there is no such folder.
    """
    folder = folder_with(model, "config.json", revision=revision)
    if folder is None:
        return None
    if saved := _stated(folder / FACTS).label_names:
        return saved
    stated = _stated(folder / "config.json")
    if not stated.id2label and any(
        name.endswith("ForSequenceClassification") for name in stated.architectures
    ):
        # What transformers leaves out of the file, and reads from a file without it.
        return tuple(f"LABEL_{index}" for index in range(stated.num_labels))
    return tuple(stated.id2label[index] for index in sorted(stated.id2label)) or None


def _stated(file: Path) -> _Stated:
    """What a file says; nothing where it cannot be read, which is said when the model is loaded."""
    try:
        return _Stated.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return _Stated()
