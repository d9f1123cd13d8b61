"""The folder of a run: every path inside it, and the files that are not of one stage alone.

runs/<dataset>/<backbone>/
    experiment.json  summary.json  scores.json  table.md  manifest.json
    classifier/  activations/<split>/  sentences/test/  audit/  asked/  report/
    labels/  held_out/                             labels that are probably wrong; what trained the classifier
    concepts/  edited/  scores/  descriptions/  named/  typical/
    simulatability/  effects/  mistakes/           each <method>/seed-<n>/
    stability/                                     <method>/
    names/<method>/seed-<n>.yaml                   a user's own names
    trackers/                                      what TensorBoard and its like keep
    given/<kind>/<name>/                           texts, or a classifier, that were in memory

No other module joins paths of a run. What is inside the folder of a stage belongs to the artefact there, such
as ``Concepts``, which reads and writes it.
"""

import glob
import logging
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from classifsae.data.config import DatasetConfig
from classifsae.data.sources import resolve
from classifsae.errors import ConfigError, DamagedError, StorageError, one_line, setting
from classifsae.pipeline.config import Experiment
from classifsae.storage import (
    MANIFEST,
    Json,
    cannot_write,
    finish,
    is_finished,
    manifest_of,
    noted_manifest,
    read_json,
    remove,
    require_unchanged,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from classifsae.meaning.descriptions import Description
    from classifsae.reporting.page.checks import Checks
    from classifsae.reporting.tables.runs import FinishedRun

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
Record = dict[str, Json]
T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_NAMES, _TRACKERS = "names", "trackers"
"""Folders of a run that hold no artefacts."""
_GATE, _PLACES = ".lock", ".locks"
"""Held by a run, and by whoever goes in to one method; a lock for each method that is worked on."""
_POLL_SECONDS = 0.5
_LETTERS = 12
"""Of the identity of concepts, in a file of names."""


class SummaryEntry(BaseModel, extra="allow", frozen=True):
    """One record of ``summary.json``; all fields beside these are scores, null where undefined.

    A summary that does not say the role of a method is older; its label is then taken for the method's name.
    """

    __pydantic_extra__: dict[str, int | float | None]

    dataset: str
    backbone: str
    method: str
    role: str | None = None
    seed: int


class FitScores(BaseModel, frozen=True):
    """All scores of one method and seed, by metric, and what the fit cost."""

    method: str
    seed: int
    scores: dict[str, Json]
    spent: Json = None


class RunScores(BaseModel, extra="ignore", frozen=True):
    """``scores.json``: what was measured on what, and what a reader should know."""

    dataset: str = ""
    backbone: str = ""
    label_names: tuple[str, ...] = ()
    protocol: str = "ours"
    notes: tuple[str, ...] = ()
    results: tuple[FitScores, ...] = ()


class FitName(NamedTuple):
    """Which concepts: label of the method in the experiment, and seed."""

    label: str
    seed: int

    def __str__(self) -> str:
        return f"{self.label} seed {self.seed}"


_SUMMARY = TypeAdapter(Annotated[list[SummaryEntry], Field(min_length=1)])
_SCORES = TypeAdapter(dict[str, Json])


def sweep_of(run: Path) -> Path:
    """What the folders of a sweep's points begin with: runs/d/b of runs/d/b,seed=1; the same of no sweep."""
    return run.with_name(run.name.partition(",")[0] or run.name)


class RunFolder:
    """A run on the disk.

    Attributes:
        path: of the folder.
        options: file of the options that made the run.
        summary: file of one flat record per method and seed.
        all_scores: file of every score of every method and seed.
        table: file of the table, as Markdown.
        classifier: folder of the classifier that was tuned here.
        sentences: folder of the embeddings of the test split.
        guidance: folder of what the training texts say, for methods that are guided by them.
        audit: folder of the patterns on which decisions hang.
        asked: folder of the answers to questions about concepts of one's own.
        report: folder of page, tables and pictures.
        labels: folder of the labels that are probably wrong.
        held_out: folder of what is known of the test texts.
        trackers: folder of what trackers keep.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.options, self.summary = path / "experiment.json", path / "summary.json"
        self.all_scores, self.table = path / "scores.json", path / "table.md"
        self.classifier, self.report = path / "classifier", path / "report"
        self.audit, self.trackers = path / "audit", path / _TRACKERS
        self.asked = path / "asked"
        self.labels, self.held_out = path / "labels", path / "held_out"
        self.sentences, self.guidance = path / "sentences" / "test", path / "guidance" / "train"

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """The folder of an experiment, by the names of its data set and backbone; reads no data."""
        return cls(experiment.folder(resolve(experiment.dataset)[0], experiment.backbone.name))

    def given(self, kind: Literal["texts", "classifier"], name: str) -> Path:
        """Texts or a classifier of this name that were in memory."""
        return self.path / "given" / kind / name

    def activations(self, split: Split) -> Path:
        """Activations of one split."""
        return self.path / "activations" / split

    def concepts(self, fit: FitName) -> Path:
        """Concepts of one method and seed."""
        return self._of_fit("concepts", fit)

    def edited(self, fit: FitName) -> Path:
        """Concepts of one method and seed, once a user merged, split or dropped some."""
        return self._of_fit("edited", fit)

    def in_use(self, fit: FitName) -> Path:
        """Concepts that scores and explanations are of: those fitted, or what a user made of just these."""
        fitted, edited = manifest_of(self.concepts(fit)), manifest_of(self.edited(fit))
        is_edited = fitted is not None and edited is not None and edited.record.get("of") == fitted.identity
        return self.edited(fit) if is_edited else self.concepts(fit)

    def scores(self, fit: FitName) -> Path:
        """Scores of one method and seed."""
        return self._of_fit("scores", fit)

    def stability(self, label: str) -> Path:
        """How alike the concepts of one method are over seeds."""
        return self.path / "stability" / label

    def effects(self, fit: FitName) -> Path:
        """Effects in text of the concepts of one method and seed."""
        return self._of_fit("effects", fit)

    def descriptions(self, fit: FitName) -> Path:
        """Words and sentences of the concepts of one method and seed."""
        return self._of_fit("descriptions", fit)

    def made_names(self, fit: FitName) -> Path:
        """Names that a run gave to the concepts of one method and seed."""
        return self._of_fit("named", fit)

    def simulatability(self, fit: FitName) -> Path:
        """Scores of the names of the concepts of one method and seed."""
        return self._of_fit("simulatability", fit)

    def mistakes(self, fit: FitName) -> Path:
        """The classifier's mistakes by the concepts of one method and seed."""
        return self._of_fit("mistakes", fit)

    def typical(self, fit: FitName) -> Path:
        """What is typical of the concepts of one method and seed, for explanations of new texts."""
        return self._of_fit("typical", fit)

    def own_names(self, fit: FitName) -> Path:
        """File of the names that a user gave to the concepts of one method and seed."""
        return self._of_fit(_NAMES, fit).with_suffix(".yaml")

    @contextmanager
    def once(self, inputs: str) -> Iterator[None]:
        """Make what depends on these inputs while no other point of the same sweep makes it.

        Raises:
            StorageError: the folder around cannot be written.
        """
        if sweep_of(self.path) == self.path:
            yield
        else:
            with self._locked(self.path.parent / _PLACES / inputs[:_LETTERS], at=sweep_of(self.path)):
                yield

    def twin(self, folder: Path, inputs: str) -> Path | None:
        """The artefact that a stage makes of these inputs, where another point of the same sweep has it.

        Args:
            folder: of the artefact, in this run.
        """
        if sweep_of(self.path) == self.path:
            return None
        points = self.path.parent.glob(f"{glob.escape(sweep_of(self.path).name)},*")
        for run in (sweep_of(self.path), *sorted(set(points) - {self.path})):
            other = run / folder.relative_to(self.path)
            with suppress(StorageError):  # damaged, or not ours to read: then it is made here
                manifest = noted_manifest(other)
                if manifest is not None and manifest.inputs == inputs:
                    require_unchanged(other)
                    return other
        return None

    def _of_fit(self, kind: str, fit: FitName) -> Path:
        return self.path / kind / fit.label / f"seed-{fit.seed}"

    # --------------------------------------------------------------- options

    def read_experiment(self) -> Experiment:
        """The options that made the run.

        Raises:
            StorageError: there is no run, or its options cannot be understood.
        """
        self._require_as_written(self.options)
        self.check_given()
        if not self.options.is_file():
            raise StorageError(
                f"{self.path} is no run: it holds no {self.options.name}; give the folder of a run, such as "
                f"runs/planted/minilm."
            )
        try:
            return Experiment.model_validate(read_json(self.options))
        except ValidationError as error:
            raise StorageError(
                f"{self.options} is not understood ({one_line(error)}); run its experiment file again."
            ) from error

    def write_experiment(self, experiment: Experiment) -> None:
        """Keep the options that make the run."""
        now: Json = experiment.model_dump(mode="json")
        if not self.options.is_file() or read_json(self.options) != now:
            self._withdraw(MANIFEST)
            write_json(self.options, now)

    def require_in_place(self) -> None:
        """See that the folder is still the one in which the run began.

        Raises:
            StorageError: it was moved or removed, and what is written now is no run.
        """
        if not self.options.is_file():
            raise StorageError(
                f"{self.path} was moved or removed while a run was at work there; run the same command again."
            )

    def forget_damaged(self) -> None:
        """Say which of the files of results is not as it was written; the run writes it again.

        Raises:
            StorageError: it cannot be removed.
        """
        try:
            manifest_of(self.path)
        except DamagedError as error:
            _LOG.warning("%s; it is written again.", error.said)
            self._withdraw(MANIFEST, error.name)

    def _withdraw(self, *names: str) -> None:
        remove(*(self.path / name for name in names))

    def _require_as_written(self, file: Path) -> None:
        try:
            require_unchanged(self.path, file.name)
        except DamagedError as error:
            raise StorageError(
                f"{error.said}; `classifsae run` with the run's experiment file writes it again."
            ) from error

    def check_given(self) -> None:
        """See that texts that were in memory are as they were written: nothing can make them again.

        Raises:
            DamagedError: they are not.
        """
        for texts in sorted(self.given("texts", "").glob("*")):
            require_unchanged(texts)

    def makes(self, folder: Path) -> bool:
        """Whether this is the folder of a stage, which a run makes again if it is damaged."""
        return self.path in folder.parents and self.path / "given" not in folder.parents

    @property
    def has_results(self) -> bool:
        """Whether a stage has begun to write here, so that there is something to lose."""
        stages = [one for one in self.path.glob("*/") if one.name not in (_PLACES, "given")]
        return any(file.is_file() for stage in stages for file in stage.rglob("*"))

    def require_same_subject(self, experiment: Experiment) -> tuple[str, ...]:
        """Refuse to replace the run of another model or data set that has the same name.

        Returns:
            What is no longer where it was: the same if it was moved, which its files tell.
        Raises:
            ConfigError: the folder holds the run of another model or data set.
        """
        try:
            before = self.read_experiment()
        except StorageError:  # no run, or one of another version: there is nothing to compare with
            return ()
        pairs = {
            "model": (before.backbone.model, experiment.backbone.model),
            "data set": (_place(before.dataset), _place(experiment.dataset)),
        }
        gone = []
        for kind, (was, now) in pairs.items():
            if was and now and was != now and not Path(was).exists():
                gone.append(f"{kind} {was}")
            if was and now and _are_two(was, now) and self.has_results:
                other = setting("run_dir", f"{self.path}-2")
                raise ConfigError(
                    f"{self.path} holds the run of another {kind}, {was}; this one, of {now}, would replace "
                    f"it: give another folder, such as {other}, or delete that one."
                )
        return tuple(gone)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep others out of the folder, once all who are at work there have ended.

        A lock ends with its process, however that ends.

        Raises:
            StorageError: the folder cannot be written.
        """
        with self._locked(self.path / _GATE):
            for place in sorted((self.path / _PLACES).glob("*")):  # nobody new can come in now
                with self._locked(place):
                    pass
            yield

    @contextmanager
    def beside(self, fit: FitName, shared: Callable[[], T]) -> Iterator[T]:
        """Work on one method and seed while others work on theirs.

        Args:
            fit: which, that nobody else works on now.
            shared: makes what all need, with all others kept out.
        Yields:
            What ``shared`` returned.
        Raises:
            StorageError: the folder cannot be written.
        """
        with ExitStack() as stack:
            with self._locked(self.path / _GATE):
                found = shared()
                stack.enter_context(self._locked(self.path / _PLACES / f"{fit.label}-{fit.seed}"))
            yield found

    @contextmanager
    def _locked(self, file: Path, *, at: Path | None = None) -> Iterator[None]:
        """Hold a lock; says so, and where others are at work, if it has to wait for it."""
        lock, place = FileLock(file), at or self.path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                _LOG.warning("another run is at work in %s; waiting until it has ended.", place)
                lock.acquire(poll_interval=_POLL_SECONDS)
        except NotImplementedError:
            _LOG.warning("the disk of %s has no locks; do not start a second run there", place)
        except OSError as error:
            raise cannot_write(place, error) from error
        try:
            yield
        finally:
            lock.release()

    def progress(self, experiment: Experiment) -> str:
        """What of an experiment is there, whatever it was made from, such as "classifier 1/1, scores 2/8"."""
        places = {
            "classifier": [self.classifier] if experiment.backbone.tuning != "none" else [],
            "activations": [self.activations(split) for split in SPLITS],
            "concepts": [self.concepts(fit) for fit in fits_of(experiment)],
            "scores": [self.scores(fit) for fit in fits_of(experiment)],
            "report": [self.report],
        }
        done = {kind: sum(is_finished(place) for place in places[kind]) for kind in places}
        some = [f"{kind} {n}/{len(places[kind])}" for kind, n in done.items() if n]
        return ", ".join(some) or "nothing"

    # --------------------------------------------------------------- results

    def write_scores(self, fit: FitName, scores: dict[str, Json]) -> None:
        """Write all scores of one method and seed, by metric."""
        write_json(self._scores_file(fit), scores)

    def read_scores(self, fit: FitName) -> dict[str, Json]:
        """All scores of one method and seed, by metric.

        Raises:
            StorageError: they are missing or damaged.
        """
        file = self._scores_file(fit)
        try:
            return _SCORES.validate_python(read_json(file))
        except ValidationError as error:
            raise StorageError(f"{file} holds no scores; delete its folder to score again.") from error

    def _scores_file(self, fit: FitName) -> Path:
        return self.scores(fit) / "scores.json"

    def write_results(
        self, scores: RunScores, records: Sequence[Record], table: str, *, seeds: dict[str, Json]
    ) -> None:
        """Write the results of a run, and the manifest of these and its options, with its seeds."""
        self._withdraw(MANIFEST)
        write_json(self.all_scores, scores.model_dump(mode="json"))
        write_text(self.table, table)
        write_json(self.summary, list(records))
        files = [file.name for file in (self.options, self.all_scores, self.table, self.summary)]
        finish(self.path, inputs="", record={"seeds": seeds}, only=files)

    def read_all_scores(self) -> RunScores:
        """What ``scores.json`` holds; empty where there is no such file.

        Raises:
            StorageError: it is damaged.
        """
        self._require_as_written(self.all_scores)
        if not self.all_scores.is_file():
            return RunScores()
        try:
            return RunScores.model_validate_json(self.all_scores.read_bytes())
        except (OSError, ValidationError) as error:
            raise self._damaged(error) from error

    def results(self) -> "FinishedRun":
        """The records of a finished run, with its protocol and notes.

        Raises:
            StorageError: the folder is missing, holds no finished run, or its results are damaged.
        """
        from classifsae.concepts.base import role_of
        from classifsae.reporting.tables.runs import FinishedRun

        if not self.path.is_dir():
            found = f"{self.path} is a file" if self.path.exists() else f"there is no folder {self.path}"
            raise StorageError(f"{found}; give run folders, such as runs/planted/minilm.")
        self._require_as_written(self.summary)
        if not self.summary.is_file():
            raise StorageError(
                f"{self.path} holds no {self.summary.name}, so no finished run;{self._runs_below()}"
            )
        if not (self.path / MANIFEST).is_file():
            raise StorageError(
                f"{self.path} holds results without their {MANIFEST}, so they are unfinished or altered; "
                f"`classifsae run` with the run's experiment file writes them again."
            )
        scores = self.read_all_scores()
        try:
            entries = _SUMMARY.validate_json(self.summary.read_bytes())
        except (OSError, ValidationError) as error:
            raise self._damaged(error) from error
        records = tuple(e.model_dump() | {"role": e.role or role_of(e.method)} for e in entries)
        return FinishedRun(str(self.path), records, scores.protocol, scores.notes)

    def without_manifest(self) -> Iterator[Path]:
        """Folders with files that no manifest speaks for: unfinished, or altered."""
        if self.summary.is_file() and not (self.path / MANIFEST).is_file():
            yield self.path
        for file in sorted(self.path.glob("*/**/*")):
            inside = file.relative_to(self.path)
            stages = [self.path / place for place in inside.parents if place.name]
            if (
                file.is_file()
                and inside.parts[0] not in (_NAMES, _TRACKERS)
                and not any(part.startswith(".") for part in inside.parts)
                and not any((place / MANIFEST).is_file() for place in stages)
            ):
                yield file.parent

    def _damaged(self, error: OSError | ValidationError) -> StorageError:
        why = one_line(error)[:200] if isinstance(error, ValidationError) else error.strerror
        return StorageError(
            f"the results in {self.path} are damaged ({why}); `classifsae run` with the run's experiment "
            f"file writes them again from its finished stages."
        )

    def _runs_below(self) -> str:
        name = self.summary.name
        found = [
            str(file.parent) for depth in ("*", "*/*") for file in sorted(self.path.glob(f"{depth}/{name}"))
        ]
        return f" did you mean {shlex.join(found)}?" if found else " run its experiment to the end first."

    # --------------------------------------------------------------- checks

    def checks(self, fits: Sequence[FitName]) -> "Checks":
        """What is found of labels, test texts and mistakes, the last by the concepts of these fits.

        Raises:
            StorageError: a file is damaged.
        """
        from classifsae.auditing.held_out import HeldOut
        from classifsae.auditing.labels import LabelCheck
        from classifsae.auditing.mistakes import MistakesByConcept
        from classifsae.auditing.stored import load_findings
        from classifsae.reporting.page.checks import Checks

        mistakes = {fit.label: load_findings(MistakesByConcept, self.mistakes(fit)) for fit in fits}
        return Checks(
            labels=load_findings(LabelCheck, self.labels),
            held_out=load_findings(HeldOut, self.held_out),
            mistakes={label: found for label, found in mistakes.items() if found is not None},
        )

    # --------------------------------------------------------------- names

    def identity(self, fit: FitName) -> str:
        """What tells the concepts of one method and seed from others, in a few letters; "" for none."""
        manifest = manifest_of(self.concepts(fit))
        return "" if manifest is None else manifest.identity[:_LETTERS]

    def spent(self, fit: FitName) -> Json:
        """What the fit of one method and seed cost; None for one that did not say."""
        manifest = manifest_of(self.concepts(fit))
        return None if manifest is None else manifest.record.get("spent")

    def described(self, fit: FitName) -> "tuple[Description, ...] | None":
        """The concepts of one method and seed in words, under the names that are shown.

        Names that a run made replace those of the description; a user's own, if they are of these concepts,
        replace both.

        Returns:
            None where the run has no descriptions, as of a method with more than 50 concepts.
        Raises:
            StorageError: the files are damaged.
            ConfigError: the user's names do not fit.
        """
        from classifsae.meaning.descriptions import load_descriptions
        from classifsae.meaning.names import load_names, with_made_names
        from classifsae.meaning.own_names import read_names, with_names

        found = load_descriptions(self.descriptions(fit))
        if found is None:
            return None
        named = with_made_names(found, load_names(self.made_names(fit)))
        own = read_names(self.own_names(fit))
        if own.are_of_others(self.identity(fit)):
            return named
        names = {**self._names_of_new(fit), **own.names}
        gone = {*own.edits.latents} - {d.latent for d in named}
        names = {latent: name for latent, name in names.items() if latent not in gone}
        return with_names(named, names, of=f"{own.file} ({fit.label}, seed {fit.seed})")

    def _names_of_new(self, fit: FitName) -> dict[int, str]:
        """Names that the user gave to concepts made of others, by latent."""
        manifest = manifest_of(self.edited(fit))
        given = None if manifest is None else manifest.record.get("named")
        return {int(latent): str(name) for latent, name in given.items()} if isinstance(given, dict) else {}

    def check_own_names(self, experiment: Experiment) -> None:
        """See that every file of a user's names can be read, and is of concepts that there are or will be.

        Raises:
            ConfigError: it cannot be understood, or is of no such method and seed.
        """
        from classifsae.meaning.own_names import read_names

        for file in sorted(self.path.glob(f"{_NAMES}/*/*.y*ml")):
            number = re.fullmatch(r"seed-(\d+)\.yaml", file.name)
            fit = FitName(file.parent.name, -1 if number is None else int(number[1]))
            if fit not in fits_of(experiment) and not self.identity(fit):
                raise ConfigError(
                    f"{file} names concepts that this run does not have; call it <method>/seed-<n>.yaml, of "
                    f"the methods {', '.join(experiment.methods)} and the seeds "
                    f"{', '.join(map(str, experiment.seeds))}, or delete it."
                )
            read_names(file)
            self.described(fit)


def fits_of(experiment: Experiment) -> list[FitName]:
    """All methods with all seeds, in the order in which they are fitted."""
    return [FitName(label, seed) for seed in experiment.seeds for label in experiment.methods]


def _are_two(was: str, now: str) -> bool:
    """Whether these name two things; what is no longer where it was may have been moved."""
    if not Path(was).is_absolute():
        return was != now
    return Path(was).exists() and not (Path(now).exists() and Path(was).samefile(now))


def _place(dataset: DatasetConfig) -> str:
    """Where the training texts of a data set are."""
    train = dataset.train or ""
    return train if Path(train).is_absolute() else dataset.name
