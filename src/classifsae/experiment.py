"""The stages in order: text, classifier, activations, concepts, scores. Only this file knows the order.

A stage is an artefact in its own folder, addressed by the fingerprint of all it depends on: where
that is unchanged nothing is done, and a stage that was interrupted goes on where it stopped.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol

import torch

from classifsae.activations import Activations
from classifsae.classifier import Classifier, capture, finetune
from classifsae.classifier.classifier import pick_device
from classifsae.concepts import Run
from classifsae.concepts.base import Concepts
from classifsae.config import Experiment
from classifsae.data import Dataset, Texts, load_dataset
from classifsae.data.sources import resolve
from classifsae.errors import ConfigError
from classifsae.metrics import score
from classifsae.metrics.base import number
from classifsae.report.table import Record, markdown
from classifsae.storage import (
    Json,
    Manifest,
    clear,
    fingerprint,
    finish,
    manifest_of,
    read_json,
    write_json,
    write_text,
)
from classifsae.tensors import Float, OnStep, Tensor

Stop = Literal["finetune", "capture", "fit", "score"]
Split = Literal["train", "test"]

SUMMARY, SCORES, TABLE = "summary.json", "scores.json", "table.md"

_FOR_CAPTURE = {"layer", "template", "max_length", "dtype", "max_tokens"}


class Watch(Protocol):
    """Told what a run is doing."""

    def stage(self, name: str, /) -> AbstractContextManager[OnStep | None]:
        """A stage begins; the context ends with it."""

    def kept(self, name: str, /) -> None:
        """A stage is up to date, and nothing is done for it."""


class Silence:
    """Watches and says nothing."""

    def stage(self, name: str, /) -> AbstractContextManager[OnStep | None]:
        """Nothing to say."""
        return nullcontext()

    def kept(self, name: str, /) -> None:
        """Nothing to say."""


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind.

    Attributes:
        folder: of the run.
        records: one flat record per method and seed; empty if the run stopped before the scores.
        n_done: stages that were run.
        n_kept: stages that were up to date.
        notes: what a reader of the table should know, such as texts that were cut.
    """

    folder: Path
    records: list[Record]
    n_done: int
    n_kept: int
    notes: list[str]


@dataclass(frozen=True)
class Progress:
    """What of an experiment is on the disk, whatever it was made from.

    Attributes:
        dataset: short name of the data set.
        folder: of the run.
        done: stages that are finished, and how many there are.
    """

    dataset: str
    folder: Path
    done: dict[str, tuple[int, int]]

    def __str__(self) -> str:
        some = [f"{name} {done}/{total}" for name, (done, total) in self.done.items() if done]
        return ", ".join(some) or "nothing"


def progress(experiment: Experiment) -> Progress:
    """What is done of an experiment; reads no data and loads no model."""
    dataset, _ = resolve(experiment.dataset)
    folder = experiment.folder(dataset, experiment.backbone.name)
    fits = [Path(label) / f"seed-{seed}" for seed in experiment.seeds for label in experiment.methods]
    stages = {
        "classifier": [folder / "classifier"] if experiment.backbone.tuning != "none" else [],
        "activations": [folder / "activations" / split for split in ("train", "test")],
        "concepts": [folder / "concepts" / fit for fit in fits],
        "scores": [folder / "scores" / fit for fit in fits],
    }
    finished = {name: sum(manifest_of(p) is not None for p in places) for name, places in stages.items()}
    return Progress(dataset, folder, {name: (finished[name], len(stages[name])) for name in stages})


def run(experiment: Experiment, *, until: Stop = "score", watch: Watch | None = None) -> Outcome:
    """Run all stages up to one of them, leaving out what is up to date.

    Raises:
        ClassifSAEError: any input that is wrong; what was finished before stays.
    """
    return _Stages(experiment, watch or Silence()).run(until)


@dataclass(eq=False)
class _Stages:
    """One run while it goes on."""

    experiment: Experiment
    watch: Watch
    n_done: int = 0
    n_kept: int = 0
    notes: list[str] = field(default_factory=list)

    def run(self, until: Stop) -> Outcome:
        self.device  # noqa: B018 (asked for here, so that a missing GPU is said first)
        write_json(self.folder / "experiment.json", self.experiment.model_dump(mode="json"))
        fits = [(label, seed) for seed in self.experiment.seeds for label in self.experiment.methods]
        records: list[Record] = []
        self.trained  # noqa: B018 (a stage is run by asking for it)
        if until != "finetune":
            self.captured("train")
            self.captured("test")
        if until in ("fit", "score"):
            for label, seed in fits:
                self.fitted(label, seed)
        if until == "score":
            records = [self.scored(label, seed) for label, seed in fits]
            self.summarise(records, fits)
        return Outcome(self.folder, records, self.n_done, self.n_kept, self.notes)

    # --------------------------------------------------------------- what the stages work on

    @cached_property
    def data(self) -> Dataset:
        return load_dataset(self.experiment.dataset)

    @cached_property
    def folder(self) -> Path:
        return self.experiment.folder(self.data.name, self.experiment.backbone.name)

    @cached_property
    def device(self) -> str:
        chosen = self.experiment.device
        if chosen == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device is cuda, but torch finds no GPU here; use device=cpu or device=auto.")
        return str(pick_device(None if chosen == "auto" else chosen))

    @cached_property
    def classifier(self) -> Classifier:
        """The trained classifier, loaded when something needs it."""
        backbone = self.experiment.backbone
        names = self.data.label_names
        if backbone.tuning == "none":
            return Classifier.load(backbone, label_names=names, device=self.device)
        reading = backbone.model_dump(include={"layer", "template", "max_length"}, exclude_none=True)
        return Classifier.load(
            str(self.folder / "classifier"), label_names=names, device=self.device, **reading
        )

    def tail(self, hidden: Float[Tensor, "b d"], /) -> Float[Tensor, "b c"]:
        """The classifier's tail; the classifier is loaded if a method calls it."""
        return self.classifier.tail(hidden)

    def activations(self, split: Split) -> Activations:
        return Activations.load(self.folder / "activations" / split).to(self.device)

    # --------------------------------------------------------------- the stages

    @cached_property
    def trained(self) -> str:
        """Identity of the trained classifier."""
        backbone, train = self.experiment.backbone, self.data.train
        if backbone.tuning == "none":
            return self.classifier.fingerprint
        kept = {"template", "max_length"} | ({"dtype"} if backbone.tuning != "full" else set())
        options = backbone.model_dump(mode="json", exclude=_FOR_CAPTURE - kept)
        made_from = fingerprint(options, train.identity, _versions())
        manifest = self._stage(
            "finetune",
            self.folder / "classifier",
            made_from,
            lambda folder, on_step: finetune(
                backbone, train, folder=folder, device=self.device, on_step=on_step, inputs=made_from
            ),
        )
        return manifest.identity

    @cache  # noqa: B019 (lives as long as the run)
    def captured(self, split: Split) -> str:
        """Identity of the activations of one part of the data."""
        texts: Texts = getattr(self.data, split)
        backbone = self.experiment.backbone
        reading = backbone.model_dump(mode="json", include=_FOR_CAPTURE)
        made_from = fingerprint(self.trained, reading, texts.identity, texts.dataset, _versions())
        manifest = self._stage(
            f"capture {split}",
            self.folder / "activations" / split,
            made_from,
            lambda folder, on_step: capture(
                self.classifier,
                texts,
                folder=folder,
                max_tokens=backbone.max_tokens,
                on_step=on_step,
                inputs=made_from,
            ),
        )
        if n_cut := manifest.record.get("n_cut"):
            self.notes.append(f"{n_cut} of {len(texts)} {split} texts were longer than the model reads: cut.")
        return manifest.identity

    @cache  # noqa: B019
    def fitted(self, label: str, seed: int) -> str:
        """Identity of the concepts of one method and seed."""
        recipe = self.experiment.recipe(label, seed)
        published = self.experiment.protocol == "published"
        options = recipe.model_dump(mode="json")
        chosen_on = self.captured("test") if published else None
        made_from = fingerprint(recipe.method_name(), options, self.captured("train"), chosen_on, _versions())

        def make(folder: Path, on_step: OnStep | None) -> None:
            checkpoint = folder / "checkpoint.safetensors"
            watched = Run(on_step=on_step, checkpoint=checkpoint, inputs=made_from)
            concepts = recipe.fit(
                self.activations("train"),
                self.tail,
                run=watched,
                published_choice=self.activations("test") if published else None,
            )
            checkpoint.unlink(missing_ok=True)
            concepts.save(folder, inputs=made_from, facts={"label": label, "recipe": options})

        place = self._place("concepts", label, seed)
        return self._stage(f"fit {label} seed {seed}", place, made_from, make).identity

    def scored(self, label: str, seed: int) -> Record:
        """Scores of the concepts of one method and seed, as a flat record."""
        metrics = self.experiment.built_metrics()
        options: Json = {name: metric.model_dump(mode="json") for name, metric in metrics.items()}
        made_from = fingerprint(self.fitted(label, seed), self.captured("test"), options, _versions())

        def make(folder: Path, on_step: OnStep | None) -> None:
            concepts = Concepts.load(self._place("concepts", label, seed))
            scores = score(concepts, self.tail, self.activations("test"), metrics=metrics, on_step=on_step)
            write_json(folder / SCORES, {name: result.as_json() for name, result in scores.results.items()})
            flat: Json = {s.name: number(s.value) for s in scores.flat()}
            finish(folder, inputs=made_from, record={"flat": flat})

        manifest = self._stage(
            f"score {label} seed {seed}", self._place("scores", label, seed), made_from, make
        )
        flat = manifest.record["flat"]
        assert isinstance(flat, dict)
        asked = self.experiment.recipe(label, seed).n_concepts
        return {
            "dataset": self.data.name,
            "backbone": self.experiment.backbone.name,
            "method": label,
            "seed": seed,
            "n_concepts": asked or flat["n_alive"],
            **flat,
        }

    def summarise(self, records: list[Record], fits: list[tuple[str, int]]) -> None:
        """Write the page of results: summary, all scores, table."""
        scores: list[Json] = [
            {"method": label, "seed": seed, "scores": read_json(self._place("scores", label, seed) / SCORES)}
            for label, seed in fits
        ]
        everything: dict[str, Json] = {
            "dataset": self.data.name,
            "backbone": self.experiment.backbone.name,
            "label_names": list(self.data.label_names),
            "protocol": self.experiment.protocol,
            "notes": list(self.notes),
            "results": scores,
        }
        write_json(self.folder / SCORES, everything)
        write_text(self.folder / TABLE, markdown(records, notes=self.notes))
        write_json(self.folder / SUMMARY, list(records))

    # --------------------------------------------------------------- machinery

    def _place(self, kind: str, label: str, seed: int) -> Path:
        return self.folder / kind / label / f"seed-{seed}"

    def _stage(
        self, name: str, folder: Path, inputs: str, make: Callable[[Path, OnStep | None], object]
    ) -> Manifest:
        """Run a stage unless its folder holds what these inputs give."""
        manifest = manifest_of(folder)
        if manifest is not None and manifest.inputs == inputs:
            self.n_kept += 1
            self.watch.kept(name)
            return manifest
        if manifest is not None:
            clear(folder)
        with self.watch.stage(name) as on_step:
            make(folder, on_step)
        made = manifest_of(folder)
        assert made is not None
        assert made.inputs == inputs
        self.n_done += 1
        return made


def _versions() -> dict[str, Json]:
    """Versions of the libraries that decide the numbers."""
    return {name: version(name) for name in ("classifsae", "torch", "transformers")}
