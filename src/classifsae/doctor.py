"""What this machine has, and whether an experiment fits it, before anything starts."""

import math
import platform
from collections.abc import Sequence
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
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from classifsae.classifier.sizing import BackboneSize, backbone_size
from classifsae.concepts import ConceptMethod
from classifsae.data import DatasetConfig, load_dataset
from classifsae.data.sources import resolve
from classifsae.errors import ClassifSAEError, HubError
from classifsae.hub.devices import computes_in_bf16, pick_device
from classifsae.pipeline.config import Experiment

PURPOSES = {
    "dev": "tests and checks of this package itself",
    "docs": "the site of the documentation",
    "encoder": "sentence embeddings for the interpretability score",
    "offline": "the weights of MiniLM, so that no hub is needed",
    "pandas": "data frames",
    "peft": "tuning with LoRA",
    "quantization": "8-bit weights and 8-bit AdamW",
    "saelens": "tests against SAELens itself",
    "text": "words and names of concepts",
    "trackers": "TensorBoard, Weights & Biases and MLflow",
}
_COLUMNS = ("memory", "GPU memory", "disk")
_CGROUP = Path("/sys/fs/cgroup")
_LIBRARIES, _GPU_CONTEXT = 1.2e9, 5e8  # bytes of Python, torch and what they keep back
_ABLATIONS = 4e8  # bytes of a batch of states with a concept removed
_ENCODER_WIDTH = 384  # of the default encoder of sentences
_SAMPLE, _QUANTILES = 256, 32  # texts: read, and made up


def machine_report() -> Group:
    """What this machine has: versions, cores, memory, disk, GPUs, the hub, and the extras installed."""
    machine, extras = _table("", ""), _table("extra", "installed", "for")
    machine.show_header = False
    for name, value in machine_facts().items():
        machine.add_row(name, Text(value))
    for name, packages in installed_extras(requires("classifsae") or []).items():
        extras.add_row(name, "\n".join(packages), PURPOSES[name])
    return Group(machine, extras)


def machine_facts() -> dict[str, str]:
    """Everything about this machine that a run depends on, in words."""
    disk, memory = disk_usage(Path.cwd()), psutil.virtual_memory()
    gpus = {
        f"GPU {index}": f"{torch.cuda.get_device_name(index)}, {decimal(free)} free of {decimal(total)}"
        for index, (free, total) in enumerate(_gpu_memory())
    }
    return {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": f"{torch.__version__}, transformers {version('transformers')}",
        "cores": f"{cpu_count()}, of which torch uses {torch.get_num_threads()}",
        "bfloat16": f"{'' if computes_in_bf16(torch.device('cpu')) else 'no '}instructions on the CPU",
        "memory": f"{decimal(free_memory())} free of {decimal(memory.total)}",
        "disk": f"{decimal(disk.free)} free of {decimal(disk.total)}, in this folder",
        **(gpus or {"GPU": "none that torch can use"}),
        "hub": hub_state(),
    }


def free_memory() -> int:
    """Bytes of main memory that are free now; within a container, no more than its limit leaves."""
    available = int(psutil.virtual_memory().available)
    try:
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no container, or "max" for no limit
        return available
    return min(available, max(limit - used, 0))


def hub_state() -> str:
    """Whether the hub answers, in words; asked once, briefly, and not at all where it is switched off."""
    if constants.HF_HUB_OFFLINE:
        return "switched off (HF_HUB_OFFLINE): files here and in its cache only"
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=3).close()
    except HTTPError as answer:
        answer.close()  # any answer will do
    except (OSError, ValueError) as error:
        why = error.reason if isinstance(error, URLError) else error
        return f"{constants.ENDPOINT} not reachable ({why}): files here and in its cache only"
    return f"{constants.ENDPOINT} reachable"


def installed_extras(requirements: Sequence[str]) -> dict[str, list[str]]:
    """The packages of each extra, each with its version or the word missing.

    Args:
        requirements: lines such as ``peft>=0.17; extra == "peft"``.
    """
    found: dict[str, list[str]] = {}
    for needed in map(Requirement, requirements):
        for name in PURPOSES:
            if needed.marker is not None and needed.marker.evaluate({"extra": name}):
                found.setdefault(name, []).append(f"{needed.name} {_version(needed.name)}")
    return dict(sorted(found.items()))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _gpu_memory() -> list[tuple[int, int]]:
    """Bytes of each GPU: free, and in all."""
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.mem_get_info(index) for index in range(n_gpus)]


@dataclass(frozen=True)
class DatasetSize:
    """How much there is to read.

    Attributes:
        name: short name of the data set.
        n_train, n_test: texts.
        label_names: of the classes.
        sample: some training texts, or made-up ones of about their lengths.
        assumed: what was not read but taken from the preset, in words; or "".
    """

    name: str
    n_train: int
    n_test: int
    label_names: tuple[str, ...]
    sample: tuple[str, ...]
    assumed: str = ""


@dataclass(frozen=True)
class Cost:
    """Bytes that a stage takes.

    Attributes:
        memory: main memory, at once.
        gpu: memory of the GPUs, at once; 0 on a CPU.
        disk: what it leaves there, and a checkpoint of tuning.
    """

    memory: int
    gpu: int
    disk: int

    @property
    def cells(self) -> list[str]:
        """The bytes in words, for a table."""
        return [decimal(n) if n else "-" for n in (self.memory, self.gpu, self.disk)]


@dataclass(frozen=True)
class Needs:
    """What one point of an experiment takes.

    Attributes:
        folder: of the run.
        stages: what each takes, in order; all methods and seeds together are one.
        sizes: that the costs rest on, and which of them are assumed; in words.
    """

    folder: Path
    stages: dict[str, Cost]
    sizes: str

    @property
    def total(self) -> Cost:
        """All stages together: of memory the largest counts, disk adds up."""
        costs = self.stages.values()
        return Cost(max(c.memory for c in costs), max(c.gpu for c in costs), sum(c.disk for c in costs))


def needs(experiment: Experiment, *, device: torch.device | None = None) -> Needs:
    """What an experiment takes, from the sizes of its data set and of its backbone.

    Args:
        device: where it is to run, which need not be here; None: what the experiment says.
    Raises:
        ClassifSAEError: the data set or the backbone cannot be read.
    """
    device = device or pick_device(None if experiment.device == "auto" else experiment.device)
    data = dataset_size(experiment.dataset)
    backbone = backbone_size(experiment.backbone, data.sample, data.label_names)
    sizes = (
        f"{data.n_train:,} training and {data.n_test:,} test texts of at most {backbone.n_tokens} tokens; "
        f"{backbone.n_parameters:,} parameters, {backbone.n_trained:,} of them trained; "
        f"width {backbone.width}."
    )
    assumed = [f"Assumed: {line}." for line in (data.assumed, backbone.assumed) if line]
    return Needs(
        folder=experiment.folder(data.name, experiment.backbone.name),
        stages=_stages(experiment, data, backbone, device),
        sizes="\n".join([sizes, *assumed]),
    )


def _stages(
    experiment: Experiment, data: DatasetSize, backbone: BackboneSize, device: torch.device
) -> dict[str, Cost]:
    per_text = 4 * (backbone.width + len(data.label_names)) * backbone.rows_per_text
    train, test, weights = per_text * data.n_train, per_text * data.n_test, backbone.weights
    recipes = [experiment.recipe(label, experiment.seeds[0]) for label in experiment.methods]
    concepts = [_concept_bytes(recipe, backbone.width) for recipe in recipes]
    through = max(weights, backbone.saved) + train  # the main memory, on the way to a GPU

    def cost(held: float, disk: float) -> Cost:
        memory, gpu = (held, 0.0) if device.type == "cpu" else (through, _GPU_CONTEXT + held)
        return Cost(round(_LIBRARIES + memory), round(gpu), round(disk))

    tuned = {"finetune": cost(backbone.tuning(device), backbone.saved + backbone.checkpoint)}
    guided = {"guide": cost(backbone.attribution(device), 8 * _ENCODER_WIDTH * data.n_train)}
    return (tuned if experiment.backbone.tuning != "none" else {}) | {
        "capture": cost(weights + backbone.batch, train + test),
        **(guided if experiment.is_guided else {}),
        "fit": cost(weights + 2 * train + 5 * max(concepts), len(experiment.seeds) * sum(concepts)),
        "score": cost(weights + 2 * test + max(concepts) + _ABLATIONS, 0),
    }


def _concept_bytes(recipe: ConceptMethod, width: int) -> int:
    """Of an encoder and a decoder, with 2 d latents where a method does not say how many."""
    options = recipe.model_dump()
    return 8 * width * (options.get("n_latents", options["n_concepts"]) or 2 * width)


def misfits(experiment: Experiment, found: Needs) -> list[str]:
    """What does not fit into what is free here now, in words."""
    place = found.folder.absolute()
    nearest = next(folder for folder in (place, *place.parents) if folder.exists())
    gpus = [free for free, _ in _gpu_memory()]
    on_gpus = sum(gpus if experiment.backbone.device_map else gpus[:1])
    total = found.total
    checks = [
        ("memory", total.memory, free_memory()),
        ("GPU memory", total.gpu, on_gpus),
        ("disk", total.disk, disk_usage(nearest).free),
    ]
    return [
        f"does not fit: needs about {decimal(needed)} of {part}, {decimal(free)} are free here."
        for part, needed, free in checks
        if needed > free
    ]


def dataset_size(config: DatasetConfig) -> DatasetSize:
    """Load a data set; one of the Hub that does not arrive is described by its preset's sizes.

    Raises:
        ClassifSAEError: it cannot be loaded, and no sizes are stated.
    """
    try:
        data = load_dataset(config)
        sample = data.train.texts[:: max(1, len(data.train) // _SAMPLE)]
        return DatasetSize(data.name, len(data.train), len(data.test), data.label_names, sample)
    except HubError:
        name, config = resolve(config)
        if config.sizes is None or config.label_names is None:
            raise
    sizes, quantiles = config.sizes, [-math.log(1 - (i + 0.5) / _QUANTILES) for i in range(_QUANTILES)]
    return DatasetSize(
        name,
        min(sizes.n_train, config.max_train or sizes.n_train),
        min(sizes.n_test, config.max_test or sizes.n_test),
        config.label_names,
        tuple("x" * round(sizes.n_characters * length) for length in quantiles),
        f"{name}, which cannot be had from the Hub here, has as many texts as its preset states, of "
        f"{sizes.n_characters} characters on average, their lengths spread exponentially",
    )


def experiment_report(experiment: Experiment) -> Group:
    """What each stage of one point of an experiment takes, and what does not fit."""
    name = f"{experiment.backbone.name} on {experiment.dataset.name}"
    try:
        found = needs(experiment)
    except ClassifSAEError as error:
        return Group(Text(f"{name}: not known: {error}", style="bold red"))
    table = _table("stage", *_COLUMNS, title=Text(f"{name}, in {found.folder}"))
    for stage, cost in {**found.stages, "total": found.total}.items():
        table.add_row(stage, *cost.cells)
    wrong = [Text(line, style="bold red") for line in misfits(experiment, found)]
    return Group(table, Text(found.sizes), *wrong)


def sweep_report(points: Sequence[Experiment]) -> Group:
    """What each point of a sweep takes, a line each, and whether it fits."""
    table = _table("", "backbone", "data set", *_COLUMNS, "")
    for number, point in enumerate(points, start=1):
        name = str(number), point.backbone.name, point.dataset.name
        try:
            found = needs(point)
        except ClassifSAEError:
            table.add_row(*name, "?", "?", "?", "not known")
        else:
            table.add_row(*name, *found.total.cells, "too large" if misfits(point, found) else "")
    return Group(table, Text("--index I shows one of them, and why it does not fit or is not known."))


def _table(*heads: str, title: Text | None = None) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for head in heads:
        table.add_column(head, no_wrap=head in _COLUMNS)
    return table
