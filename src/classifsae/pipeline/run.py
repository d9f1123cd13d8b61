"""The stages in order: text, classifier, activations, concepts, scores, report. Only here is it known.

A stage is an artefact in its own folder, addressed by the fingerprint of all it depends on: where
that is unchanged nothing is done, and a stage that was interrupted goes on where it stopped.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol

import torch

from classifsae.activations import Activations
from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.tuning.finetune import finetune
from classifsae.concepts import Run
from classifsae.concepts.base import Concepts
from classifsae.data import Dataset, Texts, load_dataset
from classifsae.data.sources import resolve
from classifsae.errors import ConfigError, DataError
from classifsae.hub.devices import pick_device
from classifsae.meaning.descriptions import (
    MAX_DESCRIBED,
    NAMED,
    describe,
    load_descriptions,
    save_descriptions,
)
from classifsae.meaning.encoder import embed, encoder_fingerprint, load_encoder
from classifsae.meaning.llm import Ask
from classifsae.meaning.names import judge, name_concepts, save_names
from classifsae.meaning.sentences import Sentences
from classifsae.metrics import score
from classifsae.metrics.base import number
from classifsae.pipeline.config import Experiment
from classifsae.pipeline.finished import EXPERIMENT, open_classifier, place_of
from classifsae.reporting.page.build import Fit, build
from classifsae.reporting.page.content import About
from classifsae.reporting.page.page import fingerprint_of_templates
from classifsae.reporting.save import FIGURES, Report
from classifsae.reporting.tables.table import Record, markdown
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
from classifsae.tensors import Float, OnStep, SentenceEncoder, Tensor

Stop = Literal["finetune", "capture", "fit", "score", "describe", "report"]
Split = Literal["train", "test"]

SUMMARY, SCORES, TABLE, REPORT = "summary.json", "scores.json", "table.md", "report"

_SCORED = ("score", "describe", "report")
_FOR_CAPTURE = {
    "layer", "template", "answers", "max_length", "long_texts", "overlap", "dtype", "max_tokens",
}  # fmt: skip


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
        failures: methods and seeds that could not be fitted, and why; the others are in the records.
    """

    folder: Path
    records: list[Record]
    n_done: int
    n_kept: int
    notes: list[str]
    failures: list[str]


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
        "report": [folder / REPORT],
    }
    finished = {name: sum(manifest_of(p) is not None for p in places) for name, places in stages.items()}
    return Progress(dataset, folder, {name: (finished[name], len(stages[name])) for name in stages})


def run(experiment: Experiment, *, until: Stop = "report", watch: Watch | None = None) -> Outcome:
    """Run all stages up to one of them, leaving out what is up to date.

    A method that cannot be fitted, such as one whose concepts all died, does not keep the others from it.

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
    failures: list[str] = field(default_factory=list)

    def run(self, until: Stop) -> Outcome:
        self.device  # noqa: B018 (asked for here, so that a missing GPU is said first)
        needs_sentences = until in _SCORED and self.needs_sentences
        if until in _SCORED:
            self.experiment.words.require_installed()  # likewise, a missing extra
        if needs_sentences:
            encoder_fingerprint(self.experiment.encoder)  # and a missing encoder
        write_json(self.folder / EXPERIMENT, self.experiment.model_dump(mode="json"))
        fits = [(label, seed) for seed in self.experiment.seeds for label in self.experiment.methods]
        records: list[Record] = []
        self.trained  # noqa: B018 (a stage is run by asking for it)
        if until != "finetune":
            self.captured("train")
            self.captured("test")
        if needs_sentences:
            self.embedded  # noqa: B018
        if until == "fit" or until in _SCORED:
            fits = self.fitting(fits)
        if until in _SCORED:
            records = [self.scored(label, seed) for label, seed in fits]
            self.summarise(records, fits)
        if until in ("describe", "report"):
            for label, seed in fits:
                self.described(label, seed)
                self.named(label, seed)
        if until == "report":
            self.reported(records, fits)
        return Outcome(self.folder, records, self.n_done, self.n_kept, self.notes, self.failures)

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
        names = self.data.label_names
        return open_classifier(self.experiment, self.folder, label_names=names, device=self.device)

    def tail(self, hidden: Float[Tensor, "b d"], /) -> Float[Tensor, "b c"]:
        """The classifier's tail; the classifier is loaded if a method calls it."""
        return self.classifier.tail(hidden)

    def activations(self, split: Split) -> Activations:
        return Activations.load(self.folder / "activations" / split).to(self.device)

    def concepts(self, label: str, seed: int) -> Concepts:
        return Concepts.load(self._place("concepts", label, seed))

    @cache  # noqa: B019 (lives as long as the run)
    def rows(self, split: Split) -> Texts:
        """The texts behind the activations, one per row: a long text may be several windows."""
        self.captured(split)
        texts: Texts = getattr(self.data, split)
        captured = Activations.load(self.folder / "activations" / split)
        if captured.documents is None:
            return texts
        return replace(
            texts,
            texts=captured.texts_of(texts.texts),
            labels=tuple(captured.labels.tolist()),
            ids=captured.ids,
            concepts=None,
        )

    @cached_property
    def needs_sentences(self) -> bool:
        """Whether a metric reads texts or their embeddings."""
        return any(metric.needs_sentences for metric in self.experiment.built_metrics().values())

    @cached_property
    def sentences(self) -> Sentences | None:
        """The test split's sentences, if a metric needs them."""
        if not self.needs_sentences:
            return None
        self.embedded  # noqa: B018
        return Sentences.load(self.folder / "sentences" / "test", self.rows("test").texts)

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """The encoder of sentences, loaded when something needs it."""
        return load_encoder(self.experiment.encoder, device=self.device)

    @cached_property
    def namer(self) -> Ask | None:
        """The language model that names concepts, if one does."""
        return self.experiment.names.ask(self.device)

    # --------------------------------------------------------------- the stages

    @cached_property
    def trained(self) -> str:
        """Identity of the trained classifier."""
        backbone, train = self.experiment.backbone, self.data.train
        if backbone.tuning == "none":
            return self.classifier.fingerprint
        kept = {"template", "answers", "max_length"} | ({"dtype"} if backbone.tuning != "full" else set())
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
                long_texts=backbone.long_texts,
                overlap=backbone.overlap,
                max_tokens=backbone.max_tokens,
                on_step=on_step,
                inputs=made_from,
            ),
        )
        if n_cut := manifest.record.get("n_cut"):
            self.notes.append(f"{n_cut} of {len(texts)} {split} texts were longer than the model reads: cut.")
        if n_split := manifest.record.get("n_split"):
            self.notes.append(
                f"{n_split} of {len(texts)} {split} texts were longer than the model reads: split into "
                f"overlapping windows, each a row of its own ({manifest.record['n_sentences']} rows)."
            )
        return manifest.identity

    @cached_property
    def embedded(self) -> str:
        """Identity of the embeddings of the test split, made once for all methods."""
        texts, name = self.rows("test"), self.experiment.encoder
        made_from = fingerprint(encoder_fingerprint(name), list(texts.texts), _versions())

        def make(folder: Path, on_step: OnStep | None) -> None:
            embed(texts, encoder=self.encoder, device=self.device, on_step=on_step).save(
                folder, inputs=made_from
            )

        return self._stage("embed test", self.folder / "sentences" / "test", made_from, make).identity

    def fitting(self, fits: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Fit all methods with all seeds; returns those that could be.

        Raises:
            ConfigError, DataError: none could, and why the first could not.
        """
        done, first = [], None
        for label, seed in fits:
            try:
                self.fitted(label, seed)
            except (ConfigError, DataError) as error:
                first = first or error
                self.failures.append(f"{label} seed {seed} is left out: {error}")
            else:
                done.append((label, seed))
        if first and not done:
            raise first
        self.notes += self.failures
        return done

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
        about = self.embedded if self.needs_sentences else None
        made_from = fingerprint(self.fitted(label, seed), self.captured("test"), about, options, _versions())

        def make(folder: Path, on_step: OnStep | None) -> None:
            scores = score(
                self.concepts(label, seed),
                self.tail,
                self.activations("test"),
                metrics=metrics,
                sentences=self.sentences,
                on_step=on_step,
            )
            write_json(folder / SCORES, {name: result.as_json() for name, result in scores.results.items()})
            flat: Json = {s.name: number(s.value) for s in scores.flat()}
            lost: Json = list[Json](scores.lost_classes)
            finish(folder, inputs=made_from, record={"flat": flat, "lost": lost})

        manifest = self._stage(
            f"score {label} seed {seed}", self._place("scores", label, seed), made_from, make
        )
        flat, lost = manifest.record["flat"], manifest.record.get("lost", [])
        assert isinstance(flat, dict)
        assert isinstance(lost, list)
        if lost:
            names = ", ".join(self.data.label_names[int(str(c))] for c in lost)
            self.notes.append(f"{label} seed {seed}: the concepts alone hardly ever answer {names}.")
        recipe = self.experiment.recipe(label, seed)
        return {
            "dataset": self.data.name,
            "backbone": self.experiment.backbone.name,
            "method": label,
            "seed": seed,
            "role": recipe.role,
            "n_concepts": recipe.n_concepts or flat["n_alive"],
            **flat,
        }

    def described(self, label: str, seed: int) -> None:
        """Words, sentences and names of the concepts of one method and seed, unless they are too many."""
        words = self.experiment.words
        made_from = fingerprint(
            self.fitted(label, seed), self.captured("test"), words.model_dump(mode="json"), _versions()
        )
        concepts = self.concepts(label, seed)
        if len(concepts) > MAX_DESCRIBED:
            return

        def make(folder: Path, on_step: OnStep | None) -> None:
            found = describe(concepts, self.activations("test"), self.rows("test").texts, options=words)
            save_descriptions(found, folder, inputs=made_from)

        self._stage(
            f"describe {label} seed {seed}", self._place("descriptions", label, seed), made_from, make
        )

    def named(self, label: str, seed: int) -> None:
        """Names of the concepts of one method and seed, made on the training split, judged on the test split.

        Names from words are those of the descriptions where no metric has sentences embedded to judge them.
        """
        options, words = self.experiment.names, self.experiment.words
        concepts = self.concepts(label, seed)
        if len(concepts) > MAX_DESCRIBED or (options.source == "words" and not self.needs_sentences):
            return
        made_from = fingerprint(
            self.fitted(label, seed),
            [self.captured("train"), self.captured("test"), self.embedded],
            [words.model_dump(mode="json"), options.identity()],
            _versions(),
        )

        def make(folder: Path, on_step: OnStep | None) -> None:
            train = self.rows("train")
            described = describe(concepts, self.activations("train"), train.texts, options=words)
            names = name_concepts(
                described,
                train.texts,
                train.label_names,
                ask=self.namer,
                made_by=options.source,
                on_step=on_step,
            )
            sentences = Sentences.load(self.folder / "sentences" / "test", self.rows("test").texts)
            judged = judge(names, concepts, self.activations("test"), sentences, self.encoder)
            save_names(judged, folder, inputs=made_from)

        place = self._place(NAMED, label, seed)
        record = self._stage(f"name {label} seed {seed}", place, made_from, make).record
        if n_failed := record.get("n_failed"):
            self.notes.append(
                f"{label} seed {seed}: {n_failed} of {record['n_named']} names are made from words, the "
                f"first as {record['failure']}; delete {place} to ask again."
            )

    def reported(self, records: list[Record], fits: list[tuple[str, int]]) -> None:
        """Tables, pictures and page; where there are several seeds, the first one's concepts are shown."""
        seeds, about = dict(reversed(fits)), self.about
        labels = [label for label in self.experiment.methods if label in seeds]
        scores = {label: read_json(self._place("scores", label, seeds[label]) / SCORES) for label in labels}
        described = {label: load_descriptions(self.folder, label, seeds[label]) or () for label in labels}
        words: Json = [[asdict(one) for one in described[label]] for label in labels]
        shown: Json = [self.fitted(label, seeds[label]) for label in labels]
        made_from = fingerprint(
            list(records), scores, words, shown, self.captured("test"), self.rows("test").identity,
            about.settings, list(about.notes), fingerprint_of_templates(), _versions(),
        )  # fmt: skip

        def make(folder: Path, on_step: OnStep | None) -> None:
            clear(folder)  # a report that was stopped may hold pictures of other methods
            fits = [
                Fit(label, seeds[label], self.concepts(label, seeds[label]), found, described[label])
                for label, found in scores.items()
                if isinstance(found, dict)
            ]
            test, texts = self.activations("test"), self.rows("test")
            content = build(fits, records, test, texts, self.tail, about=about)
            Report(content).save(folder, on_step=on_step)
            finish(folder, inputs=made_from, record={}, subfolders=[FIGURES])

        self._stage("report", self.folder / REPORT, made_from, make)

    @property
    def about(self) -> About:
        """What the report says beside numbers; nothing of where on a disk the run was."""
        settings = self.experiment.model_dump(mode="json", exclude_none=True, exclude={"run_dir"})
        return About(
            dataset=self.data.name,
            backbone=self.experiment.backbone.name,
            n_train=len(self.data.train),
            settings=_without_folders(settings),
            versions={name: str(installed) for name, installed in _versions().items()},
            notes=tuple(self.notes),
        )

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
        return place_of(self.folder, kind, label, seed)

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


def _without_folders(value: Json) -> Json:
    """Settings with each absolute path cut down to its last part."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
