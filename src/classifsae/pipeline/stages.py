"""The stages of a run. Each is a value: a name, a folder, what it depends on, and how it is made.

What a stage depends on are options, fingerprints of data and identities of earlier artefacts, all of them
arguments. Calling these functions computes nothing; ``make`` does, by the functions of ``import classifsae``,
which are imported when they are first called: a run that is up to date does not wait for them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

import classifsae as cs
from classifsae.classifier.loading.identity import commit_of, identity_of_files, stated_labels
from classifsae.classifier.loading.labels import (
    agreed_labels,
    have_same_names,
    label_order_note,
    unnamed_classes_note,
)
from classifsae.data import Dataset, Texts
from classifsae.errors import ConfigError, DamagedError
from classifsae.pipeline.config import Experiment
from classifsae.pipeline.run_folder import SPLITS, FitName, Record, RunFolder, Split
from classifsae.ranks import n_ranks
from classifsae.storage import Json, clear, fingerprint, finish, manifest_of, remove

if TYPE_CHECKING:
    from classifsae.meaning.choosing import HeldOut
    from classifsae.meaning.legend import Read
    from classifsae.meaning.llm import Ask
    from classifsae.tensors import Float, OnStep, SentenceEncoder, Tensor


@cache
def versions() -> dict[str, Json]:
    """Versions of the libraries that decide the numbers; every stage depends on them."""
    return {name: version(name) for name in ("classifsae", "torch", "transformers")}


@dataclass(frozen=True)
class Stage:
    """One step of a run, whose result is the artefact in a folder of its own.

    Attributes:
        name: as it is shown.
        folder: of the artefact.
        depends_on: all that decides the artefact, beside the versions of libraries.
        make: given the fingerprint of these, and what is told of each step, writes the artefact.
        by_all: several processes of torchrun make it together; the first alone makes any other.
        asks: a language model, whose answers need not repeat.
        working: pattern of the folders there that are of no use once the artefact is finished; "": no such.
    """

    name: str
    folder: Path
    depends_on: tuple[Json, ...]
    make: "Callable[[str, OnStep | None], object]"
    by_all: bool = False
    asks: bool = False
    working: str = ""

    @cached_property
    def inputs(self) -> str:
        """Fingerprint of all that decides the artefact."""
        return self.inputs_with(versions())

    def inputs_with(self, used: Json) -> str:
        """The same with these versions of libraries."""
        return fingerprint(*self.depends_on, used)

    @property
    def is_done(self) -> bool:
        """Whether the folder holds just this artefact, as it was written."""
        try:
            manifest = manifest_of(self.folder)
        except DamagedError:
            return False
        return manifest is not None and manifest.inputs == self.inputs

    def tidy(self) -> None:
        """Remove what a process left that was killed when the artefact was just finished.

        Raises:
            StorageError: it cannot be removed.
        """
        for left in self.folder.glob(self.working) if self.working else ():
            clear(left)


@dataclass(frozen=True, eq=False)
class Work:
    """What the stages work on. Models are loaded when a stage first uses them."""

    experiment: Experiment
    given: Dataset
    folder: RunFolder
    device: str

    @property
    def made_with(self) -> dict[str, Json]:
        """What decides the last bits of an artefact, beside its inputs: for its manifest."""
        import torch

        return {
            "versions": versions(),
            "device": self.device,
            "processor": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "processes": n_ranks(),
        }

    @cached_property
    def classifier(self) -> "cs.Classifier":
        """The trained classifier."""
        return load_classifier(self.experiment, self.folder, self.given.label_names, self.device)

    @cached_property
    def own_labels(self) -> tuple[str, ...]:
        """Names of the classes as a classifier that is not tuned here calls them, in its order."""
        backbone = self.experiment.backbone
        stated = stated_labels(backbone.model or "", backbone.revision)
        return stated if stated and backbone.kind != "decoder" else self.classifier.label_names

    @cached_property
    def data(self) -> Dataset:
        """The data set; its classes in the order of a classifier that is not tuned here."""
        if self.experiment.backbone.tuning != "none":
            return self.given
        names = self.given.label_names
        return self.given.in_order_of(
            agreed_labels(self.own_labels, names, name=self.experiment.backbone.name)
        )

    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the data set, and of how its labels fit the classifier's answers."""
        test, names = cs.Activations.load(self.folder.activations("test")), self.data.label_names
        own = given = None
        if self.experiment.backbone.tuning == "none":
            own = unnamed_classes_note(self.own_labels, names, name=self.experiment.backbone.name)
            given = self.given.label_names if have_same_names(self.own_labels, names) else None
        fits = label_order_note(test.labels, test.predictions, names, given=given)
        return (*self.data.notes, *(said for said in (own, fits) if said))

    def tail(self, hidden: "Float[Tensor, 'b d']", /) -> "Float[Tensor, 'b c']":
        """The classifier's tail; the classifier is loaded if a method calls it."""
        return self.classifier.tail(hidden)

    @cached_property
    def encoder(self) -> "SentenceEncoder":
        """The encoder of sentences."""
        return cs.load_encoder(self.experiment.encoder, device=self.device)

    @cached_property
    def namer(self) -> "Ask | None":
        """The language model that names concepts, if one does."""
        from classifsae.meaning.llm import giving_up

        ask = self.experiment.names.ask(self.device)
        return None if ask is None else giving_up(ask)

    @cached_property
    def reader(self) -> "Read | None":
        """The language model as a reader of names, if one names; no question is asked twice."""
        from classifsae.meaning.reader import reader

        return None if self.namer is None else reader(cache(self.namer), self.data.label_names)

    @cached_property
    def held_out(self) -> "HeldOut":
        """The training sentences by which names are chosen, embedded once for all methods."""
        from classifsae.meaning.choosing import hold_out

        guided = self.experiment.is_guided  # then all training texts are embedded already
        embeddings = cs.Guidance.load(self.folder.guidance).embeddings if guided else None
        return hold_out(self.rows("train").texts, self.encoder, embeddings=embeddings)

    def texts(self, split: Split) -> Texts:
        """The texts of one split."""
        return self.data.train if split == "train" else self.data.test

    def rows(self, split: Split) -> Texts:
        """The texts behind the activations, one per row: a long text may be several windows."""
        texts = self.texts(split)
        if self.experiment.backbone.long_texts == "cut":
            return texts
        captured = cs.Activations.load(self.folder.activations(split))
        return replace(
            texts,
            texts=captured.texts_of(texts.texts),
            labels=tuple(captured.labels.tolist()),
            ids=captured.ids,
            concepts=None,
        )

    def activations(self, split: Split) -> "cs.Activations":
        """Activations of one split, on the device."""
        return cs.Activations.load(self.folder.activations(split)).to(self.device)

    def sentences(self) -> "cs.Sentences":
        """The test split with its embeddings."""
        rows = self.rows("test")
        return cs.Sentences.load(self.folder.sentences, rows.texts, concepts=rows.concepts)

    def concepts(self, which: FitName) -> "cs.Concepts":
        """The concepts of one method and seed."""
        return cs.Concepts.load(self.folder.in_use(which))


def load_classifier(
    experiment: Experiment, folder: RunFolder, label_names: tuple[str, ...] | None, device: str | None
) -> "cs.Classifier":
    """The classifier of a run: tuned there, or loaded from where it was.

    Raises:
        ClassifSAEError: it cannot be loaded.
    """
    backbone = experiment.backbone
    if backbone.tuning == "none":
        return cs.Classifier.load(backbone, label_names=label_names, device=device)
    reading = {name: value for name, value in backbone.reading_fields().items() if value is not None}
    return cs.Classifier.load(str(folder.classifier), label_names=label_names, device=device, **reading)


def trained_elsewhere(work: Work) -> str:
    """Identity of a classifier that is not tuned here: of its files or commit, else of its weights."""
    backbone = work.experiment.backbone
    model = backbone.model or ""
    found = identity_of_files(model) or commit_of(model, backbone.revision)
    if found is None:
        return work.classifier.fingerprint
    return fingerprint(found, backbone.loading_fields())


def finetune(work: Work) -> Stage:
    """Train the classifier."""
    backbone, train, folder = work.experiment.backbone, work.data.train, work.folder.classifier
    options = backbone.training_fields()
    if backbone.model is not None:
        options["model"] = identity_of_files(backbone.model) or backbone.model  # files, wherever they are

    def make(inputs: str, on_step: "OnStep | None") -> None:
        cs.finetune(backbone, train, folder=folder, device=work.device, on_step=on_step, inputs=inputs)

    return Stage("finetune", folder, (options, train.identity), make, by_all=True, working="checkpoints")


def capture(work: Work, split: Split, *, trained: str) -> Stage:
    """Hidden states and logits of one split."""
    backbone, texts, folder = work.experiment.backbone, work.texts(split), work.folder.activations(split)

    def make(inputs: str, on_step: "OnStep | None") -> None:
        rows = backbone.model_dump(include={"long_texts", "overlap", "max_tokens"})
        cs.capture(work.classifier, texts, folder=folder, **rows, on_step=on_step, inputs=inputs)

    depends_on = (trained, backbone.reading_fields(), texts.identity, texts.dataset)
    return Stage(f"capture {split}", folder, depends_on, make, by_all=True, working="shards-*")


def check_labels(work: Work, *, train: str, test: str) -> Stage:
    """Labels of both splits that are probably wrong."""
    data, folder = work.data, work.folder.labels

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.auditing.labels import check_labels
        from classifsae.auditing.stored import save_findings

        splits = (cs.Activations.load(work.folder.activations(split)) for split in SPLITS)
        found = check_labels(*splits, train_texts=data.train, test_texts=data.test)
        save_findings(found, folder, inputs=inputs, facts={"note": found.note})

    return Stage("check labels", folder, (train, test, data.train.identity, data.test.identity), make)


def check_held_out(work: Work, *, train: str, test: str) -> Stage:
    """Whether the test texts trained the classifier: what is known, and what its loss says."""
    data, folder, is_known = work.data, work.folder.held_out, work.experiment.backbone.tuning != "none"

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.auditing.held_out import HeldOut, membership_gap
        from classifsae.auditing.stored import save_findings

        gap = membership_gap(*(cs.Activations.load(work.folder.activations(split)) for split in SPLITS))
        found = HeldOut(is_known, gap, cs.repeated_texts(data.train, data.test))
        save_findings(found, folder, inputs=inputs, facts={"note": found.note})

    decided_by: list[Json] = [is_known, data.train.identity, data.test.identity]
    return Stage("check held out", folder, (train, test, *decided_by), make)


def embed(work: Work) -> Stage:
    """Embeddings of the test split, made once for all methods."""
    from classifsae.meaning.encoder import encoder_fingerprint

    texts, folder = work.rows("test"), work.folder.sentences

    def make(inputs: str, on_step: "OnStep | None") -> None:
        found = cs.embed(texts, encoder=work.encoder, device=work.device, on_step=on_step)
        found.save(folder, inputs=inputs)

    depends_on: list[Json] = [encoder_fingerprint(work.experiment.encoder), list(texts.texts)]
    if texts.concepts is not None:  # which scores read from beside the embeddings
        depends_on.append([list(names) for names in texts.concepts])
    return Stage("embed test", folder, tuple(depends_on), make)


def guide(work: Work, *, train: str) -> Stage:
    """What the training texts say, made once for all methods that are guided by them."""
    from classifsae.meaning.encoder import encoder_fingerprint

    texts, folder = work.rows("train"), work.folder.guidance

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.classifier.sizing import TOKENS_PER_GRADIENT

        max_tokens = max(1, work.experiment.backbone.max_tokens // TOKENS_PER_GRADIENT)
        weights = cs.attribute(work.classifier, texts, max_tokens=max_tokens, on_step=on_step)
        cs.guide(texts, weights, encoder=work.encoder, on_step=on_step).save(folder, inputs=inputs)

    return Stage("guide", folder, (train, encoder_fingerprint(work.experiment.encoder), texts.identity), make)


def fit(work: Work, which: FitName, *, train: str, test: str, guidance: str | None) -> Stage:
    """Concepts of one method and seed; they depend on the test split under the published protocol only."""
    recipe, folder = work.experiment.recipe(*which), work.folder.concepts(which)
    options: Json = recipe.model_dump(mode="json")
    published = work.experiment.protocol == "published"
    guidance = guidance if recipe.guided else None

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.concepts import Run

        checkpoint = folder / "checkpoint.safetensors"
        run = Run(on_step=on_step, checkpoint=checkpoint, inputs=inputs)
        concepts = recipe.fit(
            work.activations("train"),
            work.tail,
            run=run,
            guidance=None if guidance is None else cs.Guidance.load(work.folder.guidance),
            published_choice=work.activations("test") if published else None,
        )
        remove(checkpoint)
        concepts.save(folder, inputs=inputs, facts={"label": which.label, "recipe": options})

    also = filter(None, (guidance, recipe.files))
    depends_on = (recipe.method_name(), options, train, test if published else None, *also)
    return Stage(f"fit {which}", folder, depends_on, make)


def edit(work: Work, which: FitName, *, concepts: str, train: str) -> Stage:
    """The concepts of one method and seed after a user's edits, which there are."""
    from classifsae.meaning.own_names import read_names

    folder, own = work.folder.edited(which), read_names(work.folder.own_names(which))

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.concepts import edited

        found = cs.Concepts.load(work.folder.concepts(which))
        try:
            made = edited(found, own.edits, work.activations("train"))
        except ConfigError as error:
            raise ConfigError(f"{own.file}: {error}") from error
        given = [merge.name for merge in own.edits.merge]
        given += [name for split in own.edits.split for name in split.names or ("", "")]
        new = range(found.coder.n_latents, made.coder.n_latents)
        named: Json = {str(latent): name for latent, name in zip(new, given, strict=True) if name}
        made.save(folder, inputs=inputs, facts={"of": concepts, "named": named})

    return Stage(f"edit {which}", folder, (concepts, train, asdict(own.edits)), make)


class ScoreFacts(BaseModel, frozen=True):
    """What the manifest of scores says of them.

    Attributes:
        flat: every number by name, None where undefined.
        lost: classes that the concepts alone hardly ever answer.
    """

    flat: dict[str, int | float | None]
    lost: tuple[int, ...] = ()


def score(work: Work, which: FitName, *, concepts: str, test: str, sentences: str | None) -> Stage:
    """Scores of the concepts of one method and seed."""
    built, folder = work.experiment.built_metrics(), work.folder.scores(which)
    metrics = {name: metric for name, metric in built.items() if not metric.needs_names}
    sentences = sentences if any(metric.needs_sentences for metric in metrics.values()) else None
    options: Json = {name: metric.model_dump(mode="json") for name, metric in metrics.items()}
    n_halves = work.experiment.n_halves

    def make(inputs: str, on_step: "OnStep | None") -> None:
        scores = cs.score(
            work.concepts(which),
            work.tail,
            work.activations("test"),
            metrics=metrics,
            sentences=work.sentences() if sentences else None,
            n_halves=n_halves,
            on_step=on_step,
        )
        work.folder.write_scores(which, {n: result.as_json() for n, result in scores.results.items()})
        facts = ScoreFacts(flat=scores.record(), lost=tuple(scores.lost_classes))
        finish(folder, inputs=inputs, record=facts.model_dump(mode="json"))

    errors = (n_halves,) if n_halves else ()
    return Stage(f"score {which}", folder, (concepts, test, sentences, options, *errors), make)


def stability(work: Work, label: str, *, concepts: Mapping[FitName, str], test: str) -> Stage:
    """How alike the concepts of one method are over these seeds: its record has two numbers per seed."""
    folder = work.folder.stability(label)

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.activity import activating_sets
        from classifsae.concepts.base import codes_of
        from classifsae.metrics import stability_over
        from classifsae.metrics.base import number

        activations = work.activations("test")
        sets = [activating_sets(codes_of(work.concepts(which), activations)).sets for which in concepts]
        whole, within = stability_over(sets), stability_over(sets, activations.predictions)
        record: dict[str, Json] = {
            str(which.seed): {"stability": number(a), "stability_within": number(b)}
            for which, a, b in zip(concepts, whole, within, strict=True)
        }
        finish(folder, inputs=inputs, record=record)

    fitted: list[Json] = [[which.seed, identity] for which, identity in concepts.items()]
    return Stage(f"stability {label}", folder, (fitted, test), make)


def describe(work: Work, which: FitName, *, concepts: str, test: str) -> Stage:
    """Words and sentences of the concepts of one method and seed."""
    words, folder = work.experiment.words, work.folder.descriptions(which)

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.meaning.descriptions import describe, save_descriptions

        texts = work.rows("test").texts
        found = describe(work.concepts(which), work.activations("test"), texts, options=words)
        save_descriptions(found, folder, inputs=inputs)

    return Stage(f"describe {which}", folder, (concepts, test, words.model_dump(mode="json")), make)


def mistakes(work: Work, which: FitName, *, concepts: str, test: str, labels: str) -> Stage:
    """The classifier's mistakes by the concepts of one method and seed."""
    folder = work.folder.mistakes(which)

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.auditing.labels import LabelCheck, suspect_rows
        from classifsae.auditing.stored import load_findings, save_findings

        found, activations = load_findings(LabelCheck, work.folder.labels), work.activations("test")
        suspect = None if found is None else suspect_rows(found.test, activations)
        by_concept = cs.mistakes_by_concept(work.concepts(which), work.tail, activations, suspect=suspect)
        save_findings(by_concept, folder, inputs=inputs)

    return Stage(f"mistakes {which}", folder, (concepts, test, labels), make)


def typical(work: Work, which: FitName, *, concepts: str, test: str) -> Stage:
    """What is typical of the concepts of one method and seed, for explanations of new texts."""
    folder, texts = work.folder.typical(which), work.rows("test")

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.explaining.typical import save_typical, typical_of

        found = typical_of(work.concepts(which), work.activations("test"), texts.texts)
        save_typical(found, folder, inputs=inputs)

    return Stage(f"typical {which}", folder, (concepts, test, texts.identity), make)


def name(work: Work, which: FitName, *, concepts: str, train: str, test: str, sentences: str) -> Stage:
    """Names of the concepts of one method and seed, made on the training split, judged on the test split."""
    options, words, folder = work.experiment.names, work.experiment.words, work.folder.made_names(which)

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.meaning.choosing import name_by_phrases, not_held_out, unless_worse
        from classifsae.meaning.descriptions import describe
        from classifsae.meaning.detection import detect
        from classifsae.meaning.names import contrasting, judge, name_concepts, save_names

        found, texts, activations = work.concepts(which), work.rows("train"), work.activations("train")
        described = describe(found, activations, texts.texts, options=words)
        by_words = name_concepts(described, texts.texts, texts.label_names)
        by_phrases = name_by_phrases(
            by_words, found, activations, texts.texts, work.held_out, encoder=work.encoder, options=words
        )
        names, ask = by_phrases, work.namer
        if ask is not None:
            names = name_concepts(
                not_held_out(described, work.held_out),
                texts.texts,
                texts.label_names,
                ask=ask,
                made_by=options.source,
                otherwise=by_phrases,
                others=contrasting(found, activations),
                prompt=options.prompt,
                n_parallel=options.n_parallel,
                on_step=on_step,
            )
            names = unless_worse(names, by_phrases, found, activations, work.held_out, encoder=work.encoder)
            test_texts, n_parallel = work.rows("test").texts, options.n_parallel
            names = detect(
                names,
                found,
                work.activations("test"),
                test_texts,
                ask,
                n_parallel=n_parallel,
                on_step=on_step,
            )
        judged = judge(names, found, work.activations("test"), work.sentences(), work.encoder)
        save_names(judged, folder, inputs=inputs)

    decided_by: list[Json] = [words.model_dump(mode="json"), options.identity()]
    asks = options.source != "words"
    depends_on = (concepts, train, test, sentences, *decided_by)
    return Stage(f"name {which}", folder, depends_on, make, asks=asks)


def audit(work: Work, *, train: str, test: str) -> Stage:
    """The patterns on which decisions hang."""
    options, folder = work.experiment.audit, work.folder.audit
    assert options is not None

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.auditing.stored import save_findings

        result = cs.audit(
            work.classifier,
            work.rows("train"),
            work.rows("test"),
            train_activations=work.activations("train"),
            test_activations=work.activations("test"),
            options=options,
            on_step=on_step,
        )
        save_findings(result, folder, inputs=inputs)

    decided_by = options.model_dump(mode="json", exclude={"methods", "n_phrases", "texts_per_concept"})
    depends_on = (train, test, work.data.train.identity, work.data.test.identity, decided_by)
    return Stage("audit", folder, depends_on, make)


def asked(work: Work, *, train: str, test: str, concepts: str, names: Sequence[str]) -> Stage:
    """Answers to the questions of the experiment.

    Args:
        work: of the run.
        train, test: identities of the activations.
        concepts: identity of those that may overlap.
        names: of these.
    """
    questions, folder = work.experiment.ask, work.folder.asked
    options = work.experiment.audit

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.auditing.stored import save_findings
        from classifsae.pipeline.ask import all_answers

        result = all_answers(work, list(questions.values()), on_step=on_step)
        save_findings(result, folder, inputs=inputs)

    used = {"max_texts", "n_phrases", "texts_per_concept", "seed"}
    decided_by: list[Json] = [options.model_dump(mode="json", include=used) if options else None, [*names]]
    decided_by += [question.model_dump(mode="json") for question in questions.values()]
    of_texts = (work.data.train.identity, work.data.test.identity)
    return Stage("ask", folder, (train, test, concepts, *of_texts, *decided_by), make)


def effects(work: Work, which: FitName, *, concepts: str, train: str, test: str) -> Stage:
    """Effects in text of the concepts of one method and seed."""
    options, folder = work.experiment.audit, work.folder.effects(which)
    assert options is not None

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.auditing.stored import save_findings

        result = cs.concept_effects(
            work.classifier,
            work.concepts(which),
            work.rows("train"),
            work.rows("test"),
            train_activations=work.activations("train"),
            test_activations=work.activations("test"),
            options=options,
            on_step=on_step,
        )
        save_findings(result, folder, inputs=inputs)

    decided_by = options.model_dump(mode="json", include={"n_phrases", "texts_per_concept", "seed"})
    depends_on = (concepts, train, test, work.data.train.identity, work.data.test.identity, decided_by)
    return Stage(f"effects {which}", folder, depends_on, make)


class NameFacts(BaseModel, frozen=True):
    """What the manifest of scores of names says of them.

    Attributes:
        scores: every number by name, None where undefined.
        by_metric: all that each metric says.
        failure: why a language model foretold nothing; "" where it did, or none was asked.
    """

    scores: dict[str, Json]
    by_metric: dict[str, Json]
    failure: str = ""


def simulate(work: Work, which: FitName, *, concepts: str, names: str, test: str, sentences: str) -> Stage:
    """Scores of the names that a run gave to the concepts of one method and seed.

    Concepts that are the predicted classes are called by these, whatever their sentences.
    """
    experiment, folder, label_names = (
        work.experiment,
        work.folder.simulatability(which),
        work.data.label_names,
    )
    metrics = {name: metric for name, metric in experiment.built_metrics().items() if metric.needs_names}
    options: Json = {name: metric.model_dump(mode="json") for name, metric in metrics.items()}

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.meaning.legend import Legend
        from classifsae.meaning.names import load_names
        from classifsae.metrics.simulatability import SimulatabilityResult

        found, held = work.concepts(which), work.held_out
        called = [name.name for name in load_names(work.folder.made_names(which))]
        if experiment.recipe(*which).role == "label":
            called = [label_names[c] for c in found.segment_of.tolist()]
        legend = Legend.of(
            called,
            found,
            work.activations("train"),
            label_names,
            rows=held.rows,
            sentences=held.sentences,
            encoder=work.encoder,
            read=work.reader,
        )
        scores = cs.score(
            found,
            work.tail,
            work.activations("test"),
            metrics=metrics,
            sentences=work.sentences(),
            legend=legend,
            n_halves=0 if work.reader else experiment.n_halves,
            on_step=on_step,
        )
        facts = NameFacts(
            scores=scores.record(),
            by_metric={name: result.as_json() for name, result in scores.results.items()},
            failure=next(r.failure for r in scores.results.values() if isinstance(r, SimulatabilityResult)),
        )
        finish(folder, inputs=inputs, record=facts.model_dump(mode="json"))

    errors = (experiment.n_halves,) if experiment.n_halves else ()
    decided_by: list[Json] = [options, list(label_names), *errors]
    asks = experiment.names.source != "words"
    depends_on = (concepts, names, test, sentences, *decided_by)
    return Stage(f"simulate {which}", folder, depends_on, make, asks=asks)


def report(
    work: Work,
    *,
    records: Sequence[Record],
    concepts: Mapping[FitName, str],
    test: str,
    audit: str | None,
    effects: Mapping[FitName, str],
    notes: Sequence[str],
    asked: str | None = None,
    checks: Sequence[str] = (),
) -> Stage:
    """Tables and page, and the pictures for print where they are asked for.

    Args:
        records: one per method and seed.
        concepts: identity of those that are shown.
        test: identity of the activations.
        audit: identity of the patterns on which decisions hang.
        effects: identity of the effects of concepts in text.
        notes: what a reader should know.
        asked: identity of the answers to questions.
        checks: identities of what is found of labels, test texts and mistakes.
    """
    from classifsae.auditing.ask import Answers
    from classifsae.auditing.effects import ConceptEffects
    from classifsae.auditing.shortcuts import AuditResult
    from classifsae.auditing.stored import load_findings
    from classifsae.reporting.page.page import fingerprint_of_templates

    folder, settings, texts = work.folder.report, _settings(work.experiment), work.rows("test")
    scores = {which: work.folder.read_scores(which) for which in concepts}
    described = {which: work.folder.described(which) or () for which in concepts}
    measured = {which: load_findings(ConceptEffects, work.folder.effects(which)) for which in effects}
    patterns = None if audit is None else load_findings(AuditResult, work.folder.audit)
    answers = None if asked is None else load_findings(Answers, work.folder.asked)

    def make(inputs: str, on_step: "OnStep | None") -> None:
        from classifsae.reporting.page.build import Fit, build
        from classifsae.reporting.page.content import About
        from classifsae.reporting.save import FIGURES, Report

        clear(folder)  # a report that was stopped may hold pictures of other methods
        about = About(
            dataset=work.data.name,
            backbone=work.experiment.backbone.name,
            n_train=len(work.data.train),
            settings=settings,
            versions={library: str(installed) for library, installed in versions().items()},
            notes=tuple(notes),
        )
        fits = [
            Fit(*which, work.concepts(which), scores[which], described[which], measured.get(which))
            for which in concepts
        ]
        content = build(
            fits,
            records,
            work.activations("test"),
            texts,
            work.tail,
            about=about,
            audit=patterns,
            answers=answers.answers if answers else (),
            checks=work.folder.checks(list(concepts)),
        )
        Report(content).save(folder, figures=work.experiment.report.figures, on_step=on_step)
        finish(folder, inputs=inputs, record={}, subfolders=[FIGURES])

    shown: list[Json] = [
        [which.label, identity, scores[which], [asdict(one) for one in described[which]], effects.get(which)]
        for which, identity in concepts.items()
    ]
    said: list[Json] = [list(records), shown, [*notes], settings, audit, asked, [*checks]]
    return Stage("report", folder, (*said, test, texts.identity, fingerprint_of_templates()), make)


def _settings(experiment: Experiment) -> Json:
    """The experiment as a page shows it; nothing of where on a disk the run was."""
    settings: Json = experiment.model_dump(mode="json", exclude_none=True, exclude={"run_dir", "trackers"})
    return _without_folders(settings)


def _without_folders(value: Json) -> Json:
    """Settings with each absolute path cut down to its last part."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
