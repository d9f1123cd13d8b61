"""Which model a backbone is, and how it counts its classes, found without loading it."""

from pathlib import Path

from pydantic import BaseModel, ValidationError

from classifsae.hub.files import hub_is_reachable, locate
from classifsae.storage import fingerprint, hash_file

_READ = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""Files that decide what a model computes: weights, configuration, tokenizer."""


class _Config(BaseModel, extra="ignore"):
    """What the configuration of a model says of its classes."""

    id2label: dict[int, str] = {}


class _Adapter(BaseModel, extra="ignore"):
    """What the configuration of an adapter of peft's says of its model."""

    base_model_name_or_path: str | None = None


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
    base = _base(folder / "adapter_config.json")
    if base is not None and Path(base).is_dir():
        base = identity_of_files(base)
    return fingerprint([[file.name, hash_file(file)] for file in files], base)


def _base(file: Path) -> str | None:
    """The model that an adapter changes; None where there is no adapter."""
    try:
        return _Adapter.model_validate_json(file.read_bytes()).base_model_name_or_path
    except (OSError, ValidationError):
        return None


def commit_of(model: str, revision: str | None) -> str | None:
    """The commit of a model on the Hub, which is asked if it can be reached; None where there is none."""
    file = None if Path(locate(model)).is_dir() else _config_file(model, revision)
    return None if file is None else file.parent.name


def stated_labels(model: str, revision: str | None) -> tuple[str, ...] | None:
    """Names of the classes in the order of a model's configuration; None where it has to be loaded to know.

    Raises:
        ConfigError: there is no such folder.
    """
    file = _config_file(model, revision)
    try:
        names = _Config.model_validate_json(file.read_bytes()).id2label if file else {}
    except (OSError, ValidationError):  # said when the model is loaded
        return None
    return tuple(names[index] for index in sorted(names)) or None


def _config_file(model: str, revision: str | None) -> Path | None:
    """The configuration of a model, fetched from the Hub if need be; None where there is none."""
    folder = Path(locate(model))
    if folder.is_dir():
        return folder / "config.json"
    from huggingface_hub import hf_hub_download

    try:
        found = hf_hub_download(
            model, "config.json", revision=revision, local_files_only=not hub_is_reachable()
        )
    except (OSError, ValueError):  # such as an adapter, or no such model, which is said when it is loaded
        return None
    return Path(found)
