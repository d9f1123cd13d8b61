"""What this machine has: Python, torch, cores, memory, disk, GPUs, the hub, and the extras installed."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from shutil import disk_usage
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil
import torch
from huggingface_hub import constants
from joblib import cpu_count
from packaging.requirements import Requirement

_HUB_SECONDS = 3.0
_CGROUP = Path("/sys/fs/cgroup")

PURPOSES = {
    "dev": "tests and checks of this package itself",
    "encoder": "sentence embeddings for the interpretability score",
    "offline": "the weights of MiniLM, so that no hub is needed",
    "peft": "tuning with LoRA",
    "quantization": "8-bit weights and 8-bit AdamW",
    "text": "words and names of concepts",
}


@dataclass(frozen=True)
class Fact:
    """One line about this machine."""

    name: str
    value: str


@dataclass(frozen=True)
class Extra:
    """A set of optional packages.

    Attributes:
        name: as in ``pip install "classifsae[NAME]"``.
        installed: packages with their versions.
        missing: packages.
        purpose: what they are for.
    """

    name: str
    installed: tuple[str, ...]
    missing: tuple[str, ...]
    purpose: str


@dataclass(frozen=True)
class Room:
    """Bytes that are free.

    Attributes:
        memory: main memory.
        gpus: memory of each GPU.
    """

    memory: float
    gpus: tuple[float, ...]


def facts() -> list[Fact]:
    """Everything about this machine that a run depends on."""
    memory = psutil.virtual_memory()
    disk = disk_usage(Path.cwd())
    return [
        Fact("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Fact("torch", f"{torch.__version__}, transformers {version('transformers')}"),
        Fact("cores", f"{cpu_count()}, of which torch uses {torch.get_num_threads()}"),
        Fact("bfloat16", "instructions on the CPU" if _has_bf16() else "no instructions on the CPU"),
        Fact("memory", f"{size(room().memory)} free of {size(memory.total)}"),
        Fact("disk", f"{size(disk.free)} free of {size(disk.total)}, in this folder"),
        *_gpus(),
        Fact("hub", hub_state()),
    ]


def room() -> Room:
    """What is free now; within a container, no more than its limit leaves."""
    memory = float(psutil.virtual_memory().available)
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        memory = min(memory, max(limit - used, 0.0))
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Room(memory, tuple(float(torch.cuda.mem_get_info(index)[0]) for index in range(n_gpus)))


def hub_state() -> str:
    """Whether the hub answers, in words; asked once, briefly, and not at all where it is switched off."""
    if constants.HF_HUB_OFFLINE:
        return "switched off (HF_HUB_OFFLINE): files here and in its cache only"
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_HUB_SECONDS).close()
    except HTTPError as answer:
        answer.close()  # any answer will do
    except (OSError, ValueError) as error:
        why = error.reason if isinstance(error, URLError) else error
        return f"{constants.ENDPOINT} not reachable ({why}): files here and in its cache only"
    return f"{constants.ENDPOINT} reachable"


def extras(requirements: list[str] | None = None) -> list[Extra]:
    """The extras of this package, what is installed of each, and what it is for.

    Args:
        requirements: lines of requirements; those of the installed package if not given.
    """
    found: dict[str, list[str]] = {}
    for line in requires("classifsae") or [] if requirements is None else requirements:
        requirement = Requirement(line)
        for name in PURPOSES:
            if requirement.marker is not None and requirement.marker.evaluate({"extra": name}):
                found.setdefault(name, []).append(requirement.name)
    return [_extra(name, packages) for name, packages in sorted(found.items())]


def size(n_bytes: float) -> str:
    """Bytes in words: 440 MB, 2.1 GB."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= scale:
            number = n_bytes / scale
            return f"{number:.0f} {unit}" if number >= 100 or unit == "MB" else f"{number:.1f} {unit}"
    return "under 1 MB"


def _extra(name: str, packages: list[str]) -> Extra:
    versions = {package: _version(package) for package in packages}
    return Extra(
        name,
        tuple(f"{package} {found}" for package, found in versions.items() if found is not None),
        tuple(package for package, found in versions.items() if found is None),
        PURPOSES[name],
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpus() -> Iterator[Fact]:
    if not torch.cuda.is_available():
        yield Fact("GPU", "none that torch can use")
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        yield Fact(
            f"GPU {index}",
            f"{torch.cuda.get_device_name(index)}, {size(float(free))} free of {size(float(total))}",
        )


def _has_bf16() -> bool:
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _number(file: Path) -> float | None:
    """The number in a file; None where there is none, such as ``max`` for no limit."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return None
