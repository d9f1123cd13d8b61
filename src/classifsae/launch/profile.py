"""What the jobs of a cluster ask for: options of the command line over a short YAML file."""

import re
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from classifsae.doctor import needs
from classifsae.errors import ConfigError, one_line
from classifsae.pipeline.config import Experiment
from classifsae.yaml_files import read_yaml

_SPARE = 1.2
"""Memory asked for, by memory that is needed by estimate."""
_LINE = r"[^\s\x00-\x1f]+"

_MEMORY = re.compile(r"\d+[KMGT]?")
_TIME = re.compile(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}|infinite|unlimited", re.IGNORECASE)

Word = Annotated[str, Field(pattern=f"^{_LINE}$")]


def _like(pattern: re.Pattern[str], example: str) -> AfterValidator:
    def check(given: str) -> str:
        if not pattern.fullmatch(given):
            raise ValueError(f"is {given!r}; write it as Slurm does, such as {example}")
        return given

    return AfterValidator(check)


class Profile(BaseModel, frozen=True, extra="forbid"):
    """What jobs ask for; what is null is left to the cluster.

    Attributes:
        partition, account, qos, constraint, time: as ``sbatch`` has them.
        gpus: of the job that trains and captures, with a process for each; of the others one. With
            ``device_map`` of each job, for one process. "auto": one, or as many as ``device_map`` needs;
            none on a CPU.
        gpu_type: such as a100.
        gpu_memory: of one GPU, in GB; what does not fit is said.
        cpus: cores of each job.
        memory: of each job, such as 32G; null: what the experiment needs, and a fifth more.
        at_once: methods of one run at a time.
        warn_seconds: before the end of its time at which a job saves, ends and queues again.
        setup: shell lines before each job, such as "module load cuda".
    """

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    time: Annotated[Word, _like(_TIME, "12:00:00")] | None = None
    gpus: NonNegativeInt | Literal["auto"] = "auto"
    gpu_type: Word | None = None
    gpu_memory: PositiveFloat | None = None
    cpus: PositiveInt = 4
    memory: Annotated[Word, _like(_MEMORY, "32G")] | None = None
    at_once: PositiveInt | None = None
    warn_seconds: PositiveInt = 120
    setup: tuple[str, ...] = ()


def read_profile(file: Path | None, **changes: object) -> Profile:
    """The options of a file, and those of a command line over them where they are not None.

    Raises:
        ConfigError: the file cannot be read, or an option is wrong.
    """
    tree = {} if file is None else _as_written(file)
    tree |= {name: value for name, value in changes.items() if value is not None}
    try:
        return Profile.model_validate(tree)
    except ValidationError as error:
        where = "launch" if file is None else str(file)
        raise ConfigError(f"{where}: {one_line(error, known=Profile.model_fields)}") from error


def _as_written(file: Path) -> dict[str, object]:
    """The options of a file, all as texts: YAML would read 4:00:00 as a number."""
    tree = read_yaml(file.expanduser(), what="the profile", as_texts=True)
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} must be a mapping of options, such as 'partition: gpu'.")
    return {**tree}


class Request(BaseModel, frozen=True):
    """What one job asks for.

    Attributes:
        memory: as ``sbatch`` has it.
        gpus: number of them.
        n_processes: that torchrun starts; 1: no torchrun.
        gpu_bytes: of GPU memory that are needed, by estimate; 0 on a CPU.
        misfit: what does not fit, in words, or "".
    """

    memory: str
    gpus: int
    n_processes: int = 1
    gpu_bytes: int = 0
    misfit: str = ""


def requests(experiment: Experiment, profile: Profile) -> dict[str, Request]:
    """What the jobs of one point ask for: to capture, for the methods, for the report.

    Raises:
        ClassifSAEError: the data set or the backbone cannot be read.
    """
    on_gpu = experiment.device != "cpu" and profile.gpus != 0
    is_shared = on_gpu and not experiment.backbone.device_map and profile.gpus != "auto"
    alone = profile.model_copy(update={"gpus": 1}) if is_shared else profile
    costs = needs(experiment, device=torch.device("cuda" if on_gpu else "cpu")).stages
    stages = {
        "capture": ("finetune", "capture"),
        "methods": ("guide", "fit", "score"),
        "report": ("capture", "score"),
    }
    found = {}
    for job, names in stages.items():
        of_job = [costs[name] for name in names if name in costs]
        n_processes = int(profile.gpus) if is_shared and job == "capture" else 1
        needed = _SPARE * n_processes * max(cost.memory for cost in of_job)
        memory = profile.memory or f"{ceil(needed / 1e6)}M"
        asked = _request(
            memory, max(cost.gpu for cost in of_job), experiment, profile if n_processes > 1 else alone
        )
        found[job] = asked.model_copy(update={"n_processes": n_processes if asked.gpus else 1})
    return found


def _request(memory: str, gpu_bytes: int, experiment: Experiment, profile: Profile) -> Request:
    if not gpu_bytes:
        return Request(memory=memory, gpus=0)
    size = 1e9 * profile.gpu_memory if profile.gpu_memory else None
    is_spread = bool(experiment.backbone.device_map)
    auto = ceil(gpu_bytes / size) if size and is_spread else 1
    gpus = auto if profile.gpus == "auto" else profile.gpus
    misfit = ""
    if size and gpu_bytes > (usable := size * (gpus if is_spread else 1)):
        misfit = (
            f"needs about {gpu_bytes / 1e9:.1f} GB of GPU memory, and has {usable / 1e9:.1f} GB; lower "
            f"backbone.batch_size, or set backbone.device_map to use several GPUs."
        )
    return Request(memory=memory, gpus=gpus, gpu_bytes=gpu_bytes, misfit=misfit)
