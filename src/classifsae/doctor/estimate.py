"""Time, memory and disk of every stage of an experiment, estimated from its sizes and measured speeds."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import disk_usage

import psutil
import torch

from classifsae.classifier.config import DEFAULT_EPOCHS, BackboneConfig
from classifsae.classifier.sizing import Outline, outline
from classifsae.classifier.tuning.finetune import computes_in_half
from classifsae.doctor import memory
from classifsae.doctor.machine import room, size
from classifsae.doctor.matter import Matter, matter_of
from classifsae.doctor.speed import Block, Speed, measure
from classifsae.doctor.trial import Sizes, Trial, try_out
from classifsae.errors import ClassifSAEError
from classifsae.pipeline.config import Experiment

_STEPS_LIKE = {
    "full": 1.0,
    "lora": 2 / 3,
    "soft_prompt": 2 / 3,
}  # the others need no gradients of the weights
_CHECKPOINT_SECONDS = 300.0
_GPU_CONTEXT = 5e8
_STAYS = 1e9  # at most, of what training allocates on a CPU: its C library hands back large blocks only
_SCORE_ENTRIES = 6 * (1 << 22)


@dataclass(frozen=True)
class Cost:
    """What a stage takes; None where it is not known.

    Attributes:
        stage: its name.
        seconds: of all seeds together.
        memory: bytes at once, on the device.
        disk: bytes that stay.
        passing: further bytes on the disk while it runs.
    """

    stage: str
    seconds: float | None = None
    memory: float | None = None
    disk: float | None = None
    passing: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What one point of an experiment takes.

    Attributes:
        backbone, dataset: their names.
        folder: of the run; None where the data set cannot be read.
        device: where it runs.
        costs: of each stage, in order.
        basis: sizes that the costs rest on.
        assumed: which of them were not read but taken from presets, in words.
        problems: why it would not fit, or why something is not known.
    """

    backbone: str
    dataset: str
    folder: Path | None
    device: str
    costs: tuple[Cost, ...]
    basis: str
    assumed: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def title(self) -> str:
        """Backbone, data set and folder."""
        place = "" if self.folder is None else f", in {self.folder}"
        return f"{self.backbone} on {self.dataset}{place}"

    @property
    def total(self) -> Cost:
        """All stages together."""
        return total(self.costs)


def total(costs: tuple[Cost, ...]) -> Cost:
    """All together: time and disk add up, of memory the largest counts."""
    known = [cost for cost in costs if cost.seconds is not None]
    if len(known) < len(costs):
        return Cost("total")
    disk = sum(cost.disk or 0 for cost in known) + max(cost.passing for cost in known)
    most = max(cost.memory or 0 for cost in known)
    return Cost("total", sum(cost.seconds or 0 for cost in known), most, disk)


def estimate(experiment: Experiment) -> Estimate:
    """What an experiment takes on this machine; what cannot be known is said with its reason."""
    device, problems = _device(experiment)
    base = _base(device)
    try:
        matter = matter_of(experiment.dataset)
        shape = outline(experiment.backbone, matter.sample, matter.label_names)
    except ClassifSAEError as error:
        unknown = tuple(Cost(stage) for stage in _stages(experiment))
        problems.append(f"not known: {error}")
        return Estimate(
            experiment.backbone.name, experiment.dataset.name, None, device, unknown, "", (), tuple(problems)
        )
    work = _Work(experiment, matter, shape, device, base)
    costs = work.costs()
    folder = experiment.folder(matter.name, experiment.backbone.name)
    problems += work.problems + _too_large(costs, experiment, device, folder)
    return Estimate(
        experiment.backbone.name,
        matter.name,
        folder,
        device,
        costs,
        work.basis,
        (*matter.assumed, *shape.assumed),
        tuple(problems),
    )


@cache
def _base(device: str) -> float:
    """Bytes that are taken before anything is loaded: libraries, or what a GPU's driver wants."""
    return float(psutil.Process().memory_info().rss) if device == "cpu" else _GPU_CONTEXT


def _stages(experiment: Experiment) -> list[str]:
    tuned = [] if experiment.backbone.tuning == "none" else ["finetune"]
    methods = [f"{stage} {label}" for label in experiment.methods for stage in ("fit", "score")]
    return [*tuned, "capture train", "capture test", *sorted(methods, key=lambda name: name[:3] == "sco")]


class _Work:
    """One experiment with its sizes and the measured speeds."""

    def __init__(
        self, experiment: Experiment, matter: Matter, shape: Outline, device: str, base: float
    ) -> None:
        self.experiment, self.matter, self.shape, self.device = experiment, matter, shape, device
        self.config: BackboneConfig = experiment.backbone
        self.half = computes_in_half(self.config, torch.device(device))
        self.speed: Speed = measure(
            Block.of(shape),
            device=device,
            half=self.half,
            batch_size=self.config.batch_size,
            dtype=getattr(torch, self.config.dtype),
        )
        self.problems: list[str] = []
        self.base = base
        self.model_bytes = memory.loaded(shape, self.config)
        self.state_bytes = float(shape.width * memory.BYTES[self.config.dtype] + 4 * matter.n_classes + 8)

    @property
    def basis(self) -> str:
        """The sizes in words."""
        shape, matter = self.shape, self.matter
        cut = "" if shape.rows_per_text == 1 else f", in {shape.rows_per_text:.1f} windows each"
        part = "" if shape.n_trained == shape.n_parameters else f", {shape.n_trained:,} of them trained"
        return (
            f"{matter.n_train:,} training and {matter.n_test:,} test texts of about "
            f"{shape.tokens_cut:.0f} tokens{cut}; {shape.n_parameters / 1e6:,.0f} million parameters{part}, "
            f"width {shape.width}."
        )

    @property
    def sizes(self) -> Sizes:
        """What the methods work on."""
        rows = self.shape.rows_per_text
        return Sizes(
            width=self.shape.width,
            n_train=round(self.matter.n_train * rows),
            n_test=round(self.matter.n_test * rows),
            device=self.device,
        )

    def costs(self) -> tuple[Cost, ...]:
        """Every stage, in order."""
        tuned = [] if self.config.tuning == "none" else [self._finetune()]
        if tuned and self.device == "cpu":
            self.base += min((tuned[0].memory or 0) - self.base, _STAYS)
        tried = {label: self._tried(label) for label in self.experiment.methods}
        fits = [self._fit(label, trial) for label, trial in tried.items()]
        scores = [self._score(label, trial) for label, trial in tried.items()]
        train, test = self.matter.n_train, self.matter.n_test
        return (
            *tuned, self._capture("train", train), self._capture("test", test), *fits, *scores
        )  # fmt: skip

    def _finetune(self) -> Cost:
        config, shape = self.config, self.shape
        per_step = config.batch_size * config.gradient_accumulation
        epochs = config.n_epochs or DEFAULT_EPOCHS
        n_steps = config.n_steps or math.ceil(epochs * self.matter.n_train / per_step)
        passes = _STEPS_LIKE[config.tuning] * (4 / 3 if config.gradient_checkpointing else 1)
        work = per_step * shape.tokens_cut * shape.n_in_blocks * self.speed.training * passes
        seconds = n_steps * (work + shape.n_trained * self.speed.update)
        held = memory.training(shape, config, device=self.device, half=self.half)
        passing = memory.checkpoint(shape, config) if seconds > _CHECKPOINT_SECONDS else 0.0
        return Cost("finetune", seconds, self.base + held, memory.saved(shape, config), passing)

    def _capture(self, split: str, n_texts: int) -> Cost:
        shape = self.shape
        rows = n_texts * shape.rows_per_text
        seconds = rows * shape.tokens_per_row * shape.n_in_blocks * self.speed.forward
        n_tokens = min(self.config.max_tokens, rows * shape.tokens_per_row)
        held = self.model_bytes + memory.reading(shape, self.config, n_tokens)
        disk = rows * self.state_bytes
        return Cost(f"capture {split}", seconds, self.base + held, disk, disk)

    def _tried(self, label: str) -> Trial | None:
        """A trial of a method; None, and the reason noted, where it cannot be tried."""
        experiment = self.experiment
        try:
            recipe = experiment.recipe(label, experiment.seeds[0])
            return try_out(recipe, experiment.built_metrics(), self.sizes)
        except ClassifSAEError as error:
            self.problems.append(f"{label}: not known: {error}")
            return None

    def _fit(self, label: str, trial: Trial | None) -> Cost:
        if trial is None:
            return Cost(f"fit {label}")
        seconds = trial.fit.seconds + 3 * self._tail_seconds(trial.fit.tail_rows)
        states = self.matter.n_train * self.shape.rows_per_text * self.shape.width * 4
        memory = self.base + self.model_bytes + 2 * states + 5 * trial.n_bytes + trial.batch_bytes
        return self._times_seeds(Cost(f"fit {label}", seconds, memory, trial.n_bytes, 3.0 * trial.n_bytes))

    def _score(self, label: str, trial: Trial | None) -> Cost:
        if trial is None:
            return Cost(f"score {label}")
        seconds = trial.score.seconds + self._tail_seconds(trial.score.tail_rows)
        states = self.matter.n_test * self.shape.rows_per_text * self.shape.width * 4
        memory = self.base + self.model_bytes + 2 * states + trial.n_bytes + 4 * _SCORE_ENTRIES
        return self._times_seeds(Cost(f"score {label}", seconds, memory, 0.0))

    def _tail_seconds(self, n_rows: float) -> float:
        """For one token per row, through the blocks behind the hook and a dense layer of the head."""
        behind = (self.shape.n_layers - self.shape.layer) / self.shape.n_layers
        n_parameters = behind * self.shape.n_in_blocks + self.shape.width**2
        return n_rows * n_parameters * self.speed.forward

    def _times_seeds(self, cost: Cost) -> Cost:
        n = len(self.experiment.seeds)
        return Cost(cost.stage, n * (cost.seconds or 0), cost.memory, n * (cost.disk or 0), cost.passing)


def _device(experiment: Experiment) -> tuple[str, list[str]]:
    if experiment.device == "cpu" or torch.cuda.is_available():
        return ("cpu" if experiment.device == "cpu" else "cuda"), []
    lost = ["device is cuda, but torch finds no GPU here: it does not run; the times are those of the CPU."]
    return "cpu", lost if experiment.device == "cuda" else []


def _too_large(costs: tuple[Cost, ...], experiment: Experiment, device: str, folder: Path) -> list[str]:
    """What does not fit, in words."""
    free, where = _free(experiment, device)
    lines = [
        f"does not fit: {cost.stage} needs about {size(cost.memory)} of {where}, {size(free)} are free."
        for cost in costs
        if cost.memory is not None and cost.memory > free
    ]
    left, needed = float(disk_usage(_existing(folder)).free), total(costs).disk
    if needed is not None and needed > left:
        lines.append(f"does not fit: needs about {size(needed)} on the disk, {size(left)} are free.")
    return lines


def _free(experiment: Experiment, device: str) -> tuple[float, str]:
    """Bytes that are free where the work is done; with a device map, on all GPUs together."""
    if device == "cpu":
        return room().memory, "memory"
    if experiment.backbone.device_map is not None:
        return sum(room().gpus), "the memory of all GPUs"
    return room().gpus[0], "GPU memory"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
