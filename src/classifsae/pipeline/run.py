"""The order of the stages: text, classifier, activations, concepts, scores, report. Only here is it known.

A stage whose folder holds what it depends on now is left as it is; one that was interrupted goes on where it
stopped. Whatever can be known to be wrong is said before the first stage.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from classifsae.activations import Activations
from classifsae.auditing.ask import Answers
from classifsae.auditing.shortcuts import AuditResult
from classifsae.auditing.stored import load_findings
from classifsae.concepts import Concepts, Spent
from classifsae.concepts.base import preference
from classifsae.data import load_dataset
from classifsae.errors import ClassifSAEError, ClassifSAEWarning, ConfigError, DamagedError, DataError
from classifsae.meaning.descriptions import MAX_DESCRIBED
from classifsae.meaning.own_names import mark_names, read_names
from classifsae.metrics import shortcomings
from classifsae.notebook import Sheet, Shown, data_frame, framed
from classifsae.pipeline.checks import (
    check_encoder,
    check_for_names,
    check_for_scores,
    check_methods,
    usable_device,
)
from classifsae.pipeline.config import Experiment, ReportOptions
from classifsae.pipeline.helping import tell_of
from classifsae.pipeline.run_folder import FitName, FitScores, Record, RunFolder, RunScores, Split, fits_of
from classifsae.pipeline.stages import (
    NameFacts,
    ScoreFacts,
    Stage,
    Work,
    asked,
    audit,
    capture,
    check_held_out,
    check_labels,
    describe,
    edit,
    effects,
    embed,
    finetune,
    fit,
    guide,
    mistakes,
    name,
    report,
    score,
    simulate,
    stability,
    trained_elsewhere,
    typical,
)
from classifsae.pipeline.trackers import require_installed, tracking
from classifsae.reporting.figures.figures import fonts_of
from classifsae.reporting.tables.table import markdown, sheet
from classifsae.storage import Json, Manifest, clear, is_finished, kept, made_with, manifest_of, take_over
from classifsae.tensors import OnStep

if TYPE_CHECKING:
    import pandas

_LOG = logging.getLogger(__name__)
_RECORD = TypeAdapter(Record)
_UNKNOWN: Record = {"stability": None, "stability_within": None}

T = TypeVar("T")
Redo = Callable[[Stage, Callable[[], None]], Manifest]
"""Given a stage and what makes it, the manifest that later stages build on."""
Stop = Literal["finetune", "capture", "fit", "score", "describe", "report"]


class Watch(Protocol):
    """Told what a run is doing."""

    def stage(self, name: str, /) -> AbstractContextManager[OnStep | None]:
        """A stage begins; the context ends with it."""

    def kept(self, name: str, /) -> None:
        """A stage is up to date, and nothing is done for it."""


@dataclass(frozen=True)
class Outcome(Shown):
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

    def sheet(self) -> Sheet:
        """What is shown: the scores of every method, as in the run's table."""
        title = f"Run {self.folder}: {self.n_done} stages done, {self.n_kept} up to date"
        return sheet(self.records, title=title, notes=self.notes)

    def _repr_html_(self) -> str:
        from classifsae.reporting.page.page import overview
        from classifsae.reporting.save import PAGE

        found = self.sheet()
        parts = [
            f"<p><strong>{escape(found.title)}</strong></p>",
            *(f"<p>{escape(n)}</p>" for n in found.facts),
        ]
        if self.records:
            parts.append(overview(self.records))
            with suppress(ClassifSAEError):  # a run may have no concepts that can be shown
                parts.append(self.concepts().image())
        page = RunFolder(self.folder).report / PAGE
        if page.is_file():
            parts.append(f'<p><a href="{quote(str(page))}">The page of this run</a>: {escape(str(page))}</p>')
        return framed("".join(parts))

    def to_pandas(self) -> "pandas.DataFrame":
        """A row per method and seed, with all scores.

        Raises:
            ConfigError: pandas is not installed.
        """
        return data_frame(self.records)

    def concepts(self, method: str | None = None, seed: int | None = None) -> Concepts:
        """The concepts of one method and seed, with names and scores, as :func:`concepts_of` finds them.

        Raises:
            StorageError: the run stopped before it had concepts.
            ConfigError: there are no such concepts.
        """
        from classifsae.pipeline.share import concepts_of

        return concepts_of(self.folder, method=method, seed=seed)


def run(experiment: Experiment, *, until: Stop = "report", watch: Watch | None = None) -> Outcome:
    """Run all stages up to one of them, leaving out what is up to date.

    A method that cannot be fitted, such as one whose concepts all died, does not keep the others from it.

    Raises:
        ClassifSAEError: any input that is wrong; what was finished before stays.
    """
    work = checked_work(experiment, until)
    folder = work.folder
    with folder.held():
        folder.forget_damaged()
        gone = folder.require_same_subject(work.experiment)
        _mended(folder, lambda: folder.check_own_names(work.experiment))
        folder.write_experiment(work.experiment)
        with tracking(work.experiment, folder, watch) as tracks:
            outcome = _mended(folder, lambda: _Run(replace(work), until, tracks, gone).through())
            tracks.results(outcome.records, folder)
            return outcome


def _mended(folder: RunFolder, do: Callable[[], T]) -> T:
    """Do it; an artefact of the run that is found damaged on the way is removed, and made again from there.

    Raises:
        DamagedError: nothing can make it again, or it was damaged twice.
    """
    removed: set[Path] = set()
    while True:
        try:
            return do()
        except DamagedError as error:
            if error.folder in removed or not folder.makes(error.folder):
                raise
            _LOG.warning("%s; it is made again.", error.said)
            clear(error.folder)
            removed.add(error.folder)


def run_fit(experiment: Experiment, which: FitName, *, watch: Watch | None = None) -> Outcome:
    """Fit and score one method and seed, while others may be fitted beside it in the same folder.

    Classifier, activations and what else is shared is made first, by one process for all. Summary, table and
    report are left to ``run``, which finds the scores there.

    Raises:
        ConfigError: the experiment has no such method and seed.
        ClassifSAEError: any input that is wrong.
    """
    if which not in (known := fits_of(experiment)):
        there = ", ".join(f"{one.label}/{one.seed}" for one in known)
        raise ConfigError(f"there is no {which} in this experiment; give one of {there}.")
    only = {"methods": {which.label: experiment.methods[which.label]}, "seeds": (which.seed,)}
    part = _Run(checked_work(experiment.model_copy(update=only), "score"), "score", watch)
    folder = part.work.folder

    def shared() -> _Shared:
        folder.forget_damaged()
        part.gone = folder.require_same_subject(part.work.experiment)
        if not folder.options.is_file():
            folder.write_experiment(experiment.anchored())
        return _mended(folder, part.shared)

    with tracking(part.work.experiment, folder, watch) as part.watch, folder.beside(which, shared) as found:
        return part.one(found)


def run_through(work: Work, *, until: Stop, redo: Redo, watch: Watch | None = None) -> Outcome:
    """The stages in order as ``run`` has them, each left to ``redo``; nothing is held or mended.

    Raises:
        ClassifSAEError: what a stage raises.
    """
    return _Run(work, until, watch, redo=redo).through()


def checked_work(experiment: Experiment, until: Stop) -> Work:
    """What the stages work on, once all is checked that can be before the folder is touched.

    Raises:
        ClassifSAEError: what is wrong.
    """
    require_installed(experiment.trackers)
    experiment, device = experiment.anchored(), usable_device(experiment)
    RunFolder.of(experiment).check_given()
    if until in ("describe", "report") or (until == "score" and experiment.needs_names):
        check_for_names(experiment)
    data, folder = load_dataset(experiment.dataset), RunFolder.of(experiment)
    if until in ("score", "describe", "report"):
        check_for_scores(experiment, data)
    if until == "report" and experiment.ask:
        from classifsae.pipeline.ask import require_answerable

        require_answerable(experiment, data)
    if until not in ("finetune", "capture") and experiment.is_guided:
        check_encoder(experiment)
    return Work(experiment, data, folder, device)


def with_figures(folder: Path, *, watch: Watch | None = None) -> Outcome:
    """Make the report of a finished run again, with its pictures for print.

    Raises:
        StorageError: there is no run in the folder.
    """
    experiment = RunFolder(folder).read_experiment()
    here = str(folder).replace("{", "{{").replace("}", "}}")
    options = {"report": ReportOptions(figures=True), "run_dir": here}
    return run(experiment.model_copy(update=options), watch=watch)


@dataclass(frozen=True)
class _Shared:
    """Identities of what every method of a run needs; None for what none does."""

    train: str
    test: str
    guidance: str | None
    sentences: str | None


@dataclass(eq=False)
class _Run:
    """One run while it goes on."""

    work: Work
    until: Stop
    watch: Watch | None
    gone: tuple[str, ...] = ()
    redo: Redo | None = None
    n_done: int = 0
    n_kept: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    scores_of_names: dict[FitName, Record] = field(default_factory=dict)

    def through(self) -> Outcome:
        """The stages in order, up to the last one asked for."""
        work = self.work
        trained = self.trained()
        if self.until == "finetune":
            return self.outcome()

        train, test = self.captured("train", trained=trained), self.captured("test", trained=trained)
        self.notes += work.notes()
        if self.until == "capture":
            return self.outcome()

        concepts = self.fitted(train=train, test=test, guidance=self.guided(train=train))
        if self.until == "fit":
            return self.outcome()
        concepts = self.edited(concepts, train=train)

        checks = self.checked(train=train, test=test)
        sentences = self.done(embed(work)).identity if self.needs_sentences else None
        records = [
            self.scored(which, self.done(score(work, which, concepts=own, test=test, sentences=sentences)))
            for which, own in concepts.items()
        ]
        records = self.with_stability(concepts, records, test=test)
        if not self.needs_names:
            self.write_results(concepts, records)
            if self.until == "score":
                return self.outcome(records)

        names = {
            which: self.named(which, concepts=own, train=train, test=test, sentences=sentences)
            for which, own in concepts.items()
        }
        if self.needs_names and sentences is not None:
            simulated = {
                which: simulate(work, which, concepts=own, names=named, test=test, sentences=sentences)
                for which, own in concepts.items()
                if (named := names[which])
            }
            records = self.with_names_scored(simulated, records)
            self.write_results(concepts, records)
        if self.until in ("score", "describe"):
            return self.outcome(records)

        shown = self.shown(concepts)
        patterns = self.audited(train=train, test=test)
        answered = self.asked(shown, train=train, test=test)
        measured = self.in_text(shown, train=train, test=test)
        if measured:
            records = self.with_faithfulness(measured, records)
            self.write_results(concepts, records)
        described = [one for which in shown for one in work.folder.described(which) or ()]
        self.notes += filter(None, [fonts_of(work.data.label_names, described).note])
        checks += self.mistaken(shown, test=test, labels=checks[0])
        self.done(
            report(
                work,
                records=records,
                concepts=shown,
                test=test,
                audit=patterns,
                effects=measured,
                notes=self.notes,
                asked=answered,
                checks=checks,
            )
        )
        return self.outcome(records)

    def shared(self) -> "_Shared":
        """What every method of the run needs."""
        trained = self.trained()
        train, test = self.captured("train", trained=trained), self.captured("test", trained=trained)
        guidance = self.guided(train=train)
        sentences = self.done(embed(self.work)).identity if self.needs_sentences else None
        return _Shared(train, test, guidance, sentences)

    def one(self, shared: "_Shared") -> Outcome:
        """The concepts and scores of the one method and seed there is; why it cannot be fitted, if so."""
        train, test = shared.train, shared.test
        try:
            concepts = self.fitted(train=train, test=test, guidance=shared.guidance)
        except (ConfigError, DataError):
            if not self.failures:
                raise
            return self.outcome()
        for which, own in self.edited(concepts, train=train).items():
            self.done(score(self.work, which, concepts=own, test=test, sentences=shared.sentences))
        return self.outcome()

    def outcome(self, records: Sequence[Record] = ()) -> Outcome:
        """What there is when the run ends here."""
        folder = self.work.folder.path
        return Outcome(folder, list(records), self.n_done, self.n_kept, self.notes, self.failures)

    def done(self, stage: Stage) -> Manifest:
        """The artefact of a stage, which is made unless its folder holds it."""
        if self.redo is not None:
            return self.redo(stage, lambda: self.make(stage))
        if stage.is_done:
            stage.tidy()
            self.n_kept += 1
            if self.watch:
                self.watch.kept(stage.name)
        else:
            if kept(stage.folder) is not None:
                clear(stage.folder)
            with self.work.folder.once(stage.inputs):
                self.make_or_take_over(stage)
            self.work.folder.require_in_place()
        manifest = manifest_of(stage.folder)
        assert manifest is not None
        assert manifest.inputs == stage.inputs
        return manifest

    def make_or_take_over(self, stage: Stage) -> None:
        """Make the artefact of a stage, unless another point of the sweep has it."""
        if (twin := self.work.folder.twin(stage.folder, stage.inputs)) is None:
            self.make(stage)
            self.n_done += 1
            return
        take_over(twin, stage.folder)
        self.n_kept += 1
        if self.watch:
            self.watch.kept(stage.name)

    def make(self, stage: Stage) -> None:
        """Make the artefact of a stage."""
        watched = self.watch.stage(stage.name) if self.watch else nullcontext()
        with watched as on_step, warnings.catch_warnings(), made_with(self.work.made_with):
            # What they say is in the notes, also of a run that finds the artefact made.
            warnings.simplefilter("ignore", ClassifSAEWarning)
            if stage.by_all:
                tell_of(stage, self.work.experiment)
            stage.make(stage.inputs, on_step)

    # --------------------------------------------------------------- stages that may need or say more

    def trained(self) -> str:
        """Identity of the trained classifier."""
        work = self.work
        if work.experiment.backbone.tuning == "none":
            return trained_elsewhere(work)
        stage = finetune(work)
        if not stage.is_done:
            from classifsae.classifier.loading.adapters import require_peft
            from classifsae.classifier.loading.configuration import width_of

            if work.experiment.backbone.tuning == "lora":
                require_peft()
            self.check_methods(width_of(work.experiment.backbone))
        return self.done(stage).identity

    def captured(self, split: Split, *, trained: str) -> str:
        """Identity of the activations of one split."""
        stage = capture(self.work, split, trained=trained)
        if split == "train" and not stage.is_done:
            if self.gone and is_finished(stage.folder):
                was = " and ".join(self.gone)
                self.notes.append(f"This folder held the run of {was}, no longer there; it was replaced.")
            self.check_methods(self.work.classifier.width)
        manifest = self.done(stage)
        of = f"of {len(self.work.texts(split))} {split} texts were longer than the model reads:"
        if n_cut := manifest.record.get("n_cut"):
            self.notes.append(f"{n_cut} {of} cut.")
        if n_split := manifest.record.get("n_split"):
            self.notes.append(
                f"{n_split} {of} split into overlapping windows, each a row of its own "
                f"({manifest.record['n_sentences']} rows)."
            )
        return manifest.identity

    def check_methods(self, width: int | None) -> None:
        """See, before a classifier is trained or read, that the methods can work on its states."""
        if self.until not in ("finetune", "capture"):
            check_methods(self.work.experiment, self.work.data, width=width)

    def guided(self, *, train: str) -> str | None:
        """Identity of what the training texts say, if a method is guided by it."""
        return self.done(guide(self.work, train=train)).identity if self.work.experiment.is_guided else None

    def fitted(self, *, train: str, test: str, guidance: str | None) -> dict[FitName, str]:
        """Identity of the concepts of each method and seed that could be fitted.

        Raises:
            ConfigError, DataError: none could, and why the first could not.
        """
        work = self.work
        stages = {
            which: fit(work, which, train=train, test=test, guidance=guidance)
            for which in fits_of(work.experiment)
        }
        if not all(stage.is_done for stage in stages.values()):
            self.check_methods(Activations.load(work.folder.activations("train")).hidden.shape[1])
        found: dict[FitName, str] = {}
        errors: list[ClassifSAEError] = []
        for which, stage in stages.items():
            names = work.folder.own_names(which)
            mark_names(names, work.folder.identity(which))  # before other concepts take their place
            try:
                found[which] = self.done(stage).identity
            except (ConfigError, DataError) as error:
                errors.append(error)
                self.failures.append(f"{which} is left out: {error}")
            else:
                mark_names(names, work.folder.identity(which))
                fitted = Concepts.load(work.folder.concepts(which))
                recipe, n_alive = work.experiment.recipe(*which), len(fitted)
                n_concepts = recipe.n_concepts or n_alive
                self.note(which, recipe.dead_note(n_concepts - n_alive, n_concepts))
        if not found:
            raise errors[0]
        self.notes += self.failures
        self.notes += filter(
            None,
            [spent_note({which: Spent.model_validate(work.folder.spent(which) or {}) for which in found})],
        )
        return found

    def edited(self, concepts: Mapping[FitName, str], *, train: str) -> dict[FitName, str]:
        """Identities of the concepts after a user's edits; those without stay what they were."""
        folder, found = self.work.folder, dict(concepts)
        for which, own in concepts.items():
            asked_for = read_names(folder.own_names(which))
            if asked_for.edits and not asked_for.are_of_others(folder.identity(which)):
                found[which] = self.done(edit(self.work, which, concepts=own, train=train)).identity
            else:
                clear(folder.edited(which))
        return found

    def checked(self, *, train: str, test: str) -> list[str]:
        """Identities of the suspect labels, and of what is known of the test texts."""
        stages = (check(self.work, train=train, test=test) for check in (check_labels, check_held_out))
        manifests = [self.done(stage) for stage in stages]
        self.notes += filter(None, [str(manifest.record["note"]) for manifest in manifests])
        return [manifest.identity for manifest in manifests]

    def mistaken(self, concepts: Mapping[FitName, str], *, test: str, labels: str) -> list[str]:
        """Identities of the mistakes by the concepts of each method that is listed, no yardstick."""
        work = self.work
        return [
            self.done(mistakes(work, which, concepts=own, test=test, labels=labels)).identity
            for which, own in concepts.items()
            if work.experiment.recipe(*which).role == "method" and len(work.concepts(which)) <= MAX_DESCRIBED
        ]

    @property
    def needs_sentences(self) -> bool:
        """Whether a metric needs embeddings, or names that a language model makes do, to be judged."""
        experiment = self.work.experiment
        judged = self.until != "score" and experiment.names.source != "words"
        return judged or experiment.needs_sentences

    @property
    def needs_names(self) -> bool:
        """Whether a metric reads names, so that they are made before the table is."""
        return self.work.experiment.needs_names

    def scored(self, which: FitName, manifest: Manifest) -> Record:
        """The scores of one method and seed as a flat record."""
        work, found = self.work, ScoreFacts.model_validate(manifest.record)
        lost = [work.data.label_names[c] for c in found.lost]
        self.note(which, *shortcomings(found.flat, lost))
        recipe = work.experiment.recipe(*which)
        return {
            "dataset": work.data.name,
            "backbone": work.experiment.backbone.name,
            "method": which.label,
            "seed": which.seed,
            "role": recipe.role,
            "n_concepts": recipe.n_concepts or len(work.concepts(which)),
            **found.flat,
        }

    def with_stability(
        self, concepts: dict[FitName, str], records: Sequence[Record], *, test: str
    ) -> list[Record]:
        """The records, those of a method with several seeds with how alike its concepts are over them."""
        found: dict[tuple[str, str], Record] = {}
        for label in dict.fromkeys(which.label for which in concepts):
            of_method = {which: own for which, own in concepts.items() if which.label == label}
            if len(of_method) > 1:
                manifest = self.done(stability(self.work, label, concepts=of_method, test=test))
                found |= {(label, seed): _RECORD.validate_python(v) for seed, v in manifest.record.items()}
        return [r | found.get((str(r["method"]), str(r["seed"])), _UNKNOWN) for r in records]

    def with_names_scored(self, stages: dict[FitName, Stage], records: Sequence[Record]) -> list[Record]:
        """The records with the scores of names; those of methods too large to be named have none."""
        found: dict[tuple[str, str], Record] = {}
        for which, stage in stages.items():
            scored = NameFacts.model_validate(self.done(stage).record)
            self.scores_of_names[which] = scored.by_metric
            found[which.label, str(which.seed)] = scored.scores
            if scored.failure:
                said = f"the language model foretold nothing: {scored.failure}; delete {stage.folder} to ask"
                self.note(which, f"{said} again.")
        unknown: Record = dict.fromkeys(name for flat in found.values() for name in flat)
        return [r | found.get((str(r["method"]), str(r["seed"])), unknown) for r in records]

    def write_results(self, fits: Iterable[FitName], records: Sequence[Record]) -> None:
        """Write what is known once all scores are: summary, all scores, table."""
        work = self.work
        scores = RunScores(
            dataset=work.data.name,
            backbone=work.experiment.backbone.name,
            label_names=work.data.label_names,
            protocol=work.experiment.protocol,
            notes=tuple(self.notes),
            results=tuple(
                FitScores(
                    method=which.label,
                    seed=which.seed,
                    scores=work.folder.read_scores(which) | self.scores_of_names.get(which, {}),
                    spent=work.folder.spent(which),
                )
                for which in fits
            ),
        )
        seeds: dict[str, Json] = {
            "backbone": work.experiment.backbone.seed,
            "methods": list(work.experiment.seeds),
        }
        table = markdown(records, notes=self.notes)
        with made_with(work.made_with):
            work.folder.write_results(scores, records, table, seeds=seeds)

    def named(
        self, which: FitName, *, concepts: str, train: str, test: str, sentences: str | None
    ) -> str | None:
        """Words and names of the concepts of one method and seed, unless they are too many to read.

        Returns:
            Identity of the names; None where none were made and judged.
        """
        work, named = self.work, None
        if len(work.concepts(which)) > MAX_DESCRIBED:
            return None
        self.done(describe(work, which, concepts=concepts, test=test))
        self.done(typical(work, which, concepts=concepts, test=test))
        if sentences is not None:
            stage = name(work, which, concepts=concepts, train=train, test=test, sentences=sentences)
            manifest = self.done(stage)
            self.note(which, failed_note(manifest, stage.folder))
            named = manifest.identity
        self.note(which, read_names(work.folder.own_names(which)).note(work.folder.identity(which)))
        return named

    def audited(self, *, train: str, test: str) -> str | None:
        """Identity of the patterns on which decisions hang, if they are looked for."""
        if self.work.experiment.audit is None:
            return None
        identity = self.done(audit(self.work, train=train, test=test)).identity
        found = load_findings(AuditResult, self.work.folder.audit)
        self.notes += [row.finding for row in found.shortcuts] if found else []
        return identity

    def asked(self, concepts: Mapping[FitName, str], *, train: str, test: str) -> str | None:
        """Identity of the answers to the questions of the experiment, if it has any."""
        work, (first, identity) = self.work, next(iter(concepts.items()))
        if not work.experiment.ask:
            return None
        names = [one.name for one in work.folder.described(first) or ()]
        manifest = self.done(asked(work, train=train, test=test, concepts=identity, names=names))
        found = load_findings(Answers, work.folder.asked) or Answers(())
        self.notes += [f"{answer.name}: {answer.finding}" for answer in found.answers]
        self.notes += [f"ask.{name}: {why}" for name, why in found.unanswered]
        return manifest.identity

    def in_text(self, concepts: dict[FitName, str], *, train: str, test: str) -> dict[FitName, str]:
        """Identity of the effects in text of the concepts of the first method, or of all."""
        work, options = self.work, self.work.experiment.audit
        recipes = {which: work.experiment.recipe(*which) for which in concepts}
        listed = [
            which
            for which in sorted(concepts, key=lambda which: preference(recipes[which].method_name()))
            if recipes[which].role == "method" and len(work.concepts(which)) <= MAX_DESCRIBED
        ]
        wanted = {"none": 0, "first": 1, "all": len(listed)}[options.methods] if options else 0
        return {
            which: self.done(effects(work, which, concepts=concepts[which], train=train, test=test)).identity
            for which in listed[:wanted]
        }

    def with_faithfulness(self, measured: Iterable[FitName], records: Sequence[Record]) -> list[Record]:
        """The records, with how well ablation foretells effects in text."""
        from classifsae.auditing.effects import ConceptEffects

        found: dict[tuple[str, str], Record] = {}
        for which in measured:
            effects = load_findings(ConceptEffects, self.work.folder.effects(which))
            assert effects is not None
            found[which.label, str(which.seed)] = {**effects.flat()}
        unknown: Record = dict.fromkeys(name for flat in found.values() for name in flat)
        return [r | found.get((str(r["method"]), str(r["seed"])), unknown) for r in records]

    def shown(self, concepts: dict[FitName, str]) -> dict[FitName, str]:
        """The concepts that the report shows: of each method those of its first seed."""
        first = {which.label: which for which in reversed(concepts)}
        labels = [label for label in self.work.experiment.methods if label in first]
        return {first[label]: concepts[first[label]] for label in labels}

    def note(self, which: FitName, *said: str) -> None:
        """Note what a reader should know of the concepts of one method and seed."""
        self.notes += [f"{which}: {one}" for one in said if one]


def spent_note(spent: Mapping[FitName, Spent]) -> str:
    """What the fits cost that learn in steps, and why they stopped; "" without any."""
    said = [f"{which} {one.said}" for which, one in spent.items() if one.n_steps]
    return f"Learned from: {', '.join(said)}." if said else ""


def failed_note(manifest: Manifest, folder: Path) -> str:
    """What to say of names that a language model could not make; "" where it made all."""
    record = manifest.record
    if not record.get("n_failed"):
        return ""
    return (
        f"{record['n_failed']} of {record['n_named']} names are made from words, the first as "
        f"{record['failure']}; delete {folder} to ask again."
    )
