"""A run made again beside itself: each stage in a folder that is thrown away, from what the run holds.

Every stage starts from the run's own artefacts, not from those made again, so that a difference is found
where it began and in no later stage. Nothing is written in the run's folder.
"""

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from classifsae.activations import Activations
from classifsae.errors import (
    ConfigError,
    DamagedError,
    DataError,
    MismatchError,
    StorageError,
    one_line,
    require_kind,
)
from classifsae.notebook import Sheet, Shown
from classifsae.pipeline.config import changed
from classifsae.pipeline.differences import differences
from classifsae.pipeline.run import Stop, Watch, checked_work, run_through
from classifsae.pipeline.run_folder import SPLITS, FitName, RunFolder
from classifsae.pipeline.stages import Stage, Work, versions
from classifsae.storage import (
    MANIFEST,
    Json,
    Manifest,
    clear,
    is_finished,
    manifest_of,
    noted_manifest,
    require_unchanged,
)

RESULTS = "results"


@dataclass(frozen=True)
class Row:
    """What was found of one stage.

    Attributes:
        stage: its name.
        checked: what was compared.
        differs: a line for each difference; none where there is none.
        note: what is said in place of "same".
        seconds: how long it took.
    """

    stage: str
    checked: str
    differs: tuple[str, ...] = ()
    note: str = ""
    seconds: float = 0.0

    @property
    def result(self) -> str:
        """The differences, or that there are none."""
        return "; ".join(self.differs) or self.note or "same"


@dataclass(frozen=True)
class Verification(Shown):
    """What was found of a run.

    Attributes:
        folder: of the run.
        rows: one per stage, the first of all checksums.
        elsewhere: how the run was made otherwise than here, such as by other versions of libraries.
    """

    folder: Path
    rows: tuple[Row, ...]
    elsewhere: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not any(row.differs for row in self.rows)

    @property
    def finding(self) -> str:
        """The result in a line."""
        of_stages = [row for row in self.rows if not row.note]
        n, n_differ = len(of_stages), sum(bool(row.differs) for row in of_stages)
        if n_differ:
            return f"{n_differ} of {n} checks differ."
        return f"{'1 check' if n == 1 else f'All {n} checks'}: the same, bit for bit."

    def sheet(self) -> Sheet:
        """What is shown: a row per stage."""
        rows = [(row.stage, row.checked, row.result, round(row.seconds, 1)) for row in self.rows]
        facts = (self.finding, *self.elsewhere)
        return Sheet(f"Verification of {self.folder}", facts, ("stage", "checked", "result", "seconds"), rows)


def verify(
    run: str | Path, *, settings: Sequence[str] = (), quick: bool = False, watch: Watch | None = None
) -> Verification:
    """Compare a run with its checksums, then each of its stages with the same stage made again.

    Nothing is written in the run's folder; what is made again is thrown away.

    Args:
        run: folder of the run.
        settings: ``key=value`` changes of its options, such as where the data are now.
        quick: the checksums alone.
        watch: told of the stages that are made.
    Raises:
        StorageError: there is no run.
        ClassifSAEError: what it was made from is not here, or cannot be read.
    """
    require_kind(run, (str, Path), wanted="verify takes the folder of a run")
    folder = RunFolder(Path(run).absolute())
    if not folder.options.is_file() and not (folder.path / MANIFEST).is_file():
        folder.read_experiment()  # which says that this is no run, before anything below is hashed
    rows, artefacts = _checksums(folder.path)
    rows += [
        Row("checksums", _name(place, folder.path), (f"holds files without a {MANIFEST}",))
        for place in dict.fromkeys(folder.without_manifest())
    ]
    if any(row.differs for row in rows):
        return Verification(Path(run), tuple(rows))
    experiment = folder.read_experiment()
    if folder.summary.is_file():
        rows += _missing(folder, artefacts)
    if quick:
        return Verification(Path(run), tuple(rows))
    with TemporaryDirectory(prefix="classifsae-verify-") as place:
        copy = RunFolder(Path(place).resolve() / "run")
        here = changed(experiment, settings).model_copy(update={"run_dir": str(copy.path), "trackers": ()})
        until = _reached(folder)
        work = checked_work(here, until)
        check = _Check(folder, work, dict(artefacts), rows)
        try:
            check.through(until, watch)
        except ValidationError as error:
            raise StorageError(f"{folder.path} holds facts that are none: {one_line(error)}.") from error
        return Verification(Path(run), tuple(check.rows), _elsewhere(artefacts.values(), work.made_with))


@dataclass(eq=False)
class _Check:
    """A verification while it goes on.

    Attributes:
        run: what is verified.
        work: the same run in a folder of links, in which one stage at a time is made again.
        artefacts: manifests of the run, by folder; those that were looked at are taken out.
        rows: what was found so far.
    """

    run: RunFolder
    work: Work
    artefacts: dict[Path, Manifest]
    rows: list[Row]

    def through(self, until: Stop, watch: Watch | None) -> None:
        """All stages up to one, then what is written of all of them."""
        _link(self.run.path, self.work.folder.path)
        self.classifier()
        run_through(self.work, until=until, redo=self.redo, watch=watch)
        if (noted := self.artefacts.pop(self.run.path, None)) is not None or until == "report":
            found = differences(self.run.path, self.work.folder.path)
            self.rows.append(Row(RESULTS, _checked(noted), found))
        for place, manifest in self.artefacts.items():
            name = place.relative_to(self.run.path).as_posix()
            self.rows.append(
                Row(name, _checked(manifest), note="not made again: no stage of this experiment")
            )

    def classifier(self) -> None:
        """A classifier that the run did not train is not made again; its weights must be the same."""
        train = self.run.activations("train")
        if self.work.experiment.backbone.tuning != "none" or train not in self.artefacts:
            return
        began, noted = time.monotonic(), Activations.load(train).source.model
        found = self.work.classifier.fingerprint
        differs = () if found == noted else (f"its weights are {found[:12]}, those of the run {noted[:12]}",)
        self.rows.append(Row("classifier", "weights", differs, seconds=time.monotonic() - began))

    def redo(self, stage: Stage, make: Callable[[], None]) -> Manifest:
        """Make a stage again from what the run holds, compare, and put what the run holds in its place."""
        was = self.run.path / stage.folder.relative_to(self.work.folder.path)
        noted, began = self.artefacts.pop(was, None), time.monotonic()
        note, differs = "", _of_inputs(stage, noted)
        if stage.asks and noted is not None:
            note = "" if differs else "not made again: a language model was asked"
        else:
            clear(stage.folder)
            try:
                make()
                differs += differences(was, stage.folder)
            except (ConfigError, DataError, MismatchError) as error:
                if noted is None:  # as in the run, which says so in its notes
                    self.rows.append(Row(stage.name, "", note="cannot be made, and is not in the run"))
                    raise
                differs += (f"cannot be made again: {error}",)
        self.rows.append(Row(stage.name, _checked(noted), differs, note, time.monotonic() - began))
        if noted is None:
            made = manifest_of(stage.folder)
            assert made is not None
            return made
        clear(stage.folder)
        _link(was, stage.folder)
        return noted


def _of_inputs(stage: Stage, noted: Manifest | None) -> tuple[str, ...]:
    """Whether the run's artefact says of itself that it was made from other things than are there."""
    if noted is None or noted.inputs == stage.inputs_with(noted.made_with.get("versions", versions())):
        return ()
    return ("was made from other options or inputs than the run holds",)


def _reached(folder: RunFolder) -> Stop:
    """The last stage of a run, by what it left behind."""
    if is_finished(folder.report):
        return "report"
    if folder.summary.is_file():
        return "score"
    if any(folder.path.glob(f"concepts/*/*/{MANIFEST}")):
        return "fit"
    return "capture" if any(is_finished(folder.activations(split)) for split in SPLITS) else "finetune"


def _link(was: Path, now: Path) -> None:
    """A folder of links to the files of another: what is written there replaces a link."""
    now.mkdir(parents=True, exist_ok=True)
    for path in was.iterdir():
        if path.is_dir() and not path.is_symlink():
            _link(path, now / path.name)
        else:
            (now / path.name).symlink_to(path)


def _checksums(folder: Path) -> tuple[list[Row], dict[Path, Manifest]]:
    """A row for all checksums, one for each artefact that is damaged; the manifests of those that are not."""
    began, rows, found = time.monotonic(), [], {}
    for place in sorted(path.parent for path in folder.rglob(MANIFEST)):
        try:
            require_unchanged(place)
            manifest = noted_manifest(place)
        except DamagedError as error:
            rows.append(Row("checksums", _name(place, folder), (error.said,)))
        else:
            if manifest is not None:
                found[place] = manifest
    n_files, size = (
        sum(len(manifest.files) for manifest in found.values()),
        sum(file.size for manifest in found.values() for file in manifest.files.values()),
    )
    checked = f"{len(found):,} artefacts, {n_files:,} files, {size / 1e6:,.1f} MB"
    return [Row("checksums", checked, seconds=time.monotonic() - began), *rows], found


def _missing(folder: RunFolder, artefacts: Container[Path]) -> list[Row]:
    """A row for what results speak of and the run does not hold."""
    fits = [FitName(str(one["method"]), int(str(one["seed"]))) for one in folder.results().records]
    of_fits = [place for fit in fits for place in (folder.concepts(fit), folder.scores(fit))]
    wanted = [*map(folder.activations, SPLITS), *of_fits]
    return [
        Row("results", _name(place, folder.path), ("is not in the run, whose results speak of it",))
        for place in wanted
        if place not in artefacts
    ]


def _name(place: Path, folder: Path) -> str:
    return RESULTS if place == folder else place.relative_to(folder).as_posix()


def _checked(manifest: Manifest | None) -> str:
    n = 0 if manifest is None else len(manifest.files)
    return "1 file" if n == 1 else f"{n:,} files" if n else "facts"


def _elsewhere(artefacts: Iterable[Manifest], here: Mapping[str, Json]) -> tuple[str, ...]:
    """What made the run, where it is not what checks it: a line for each, such as of a library."""
    found: dict[str, None] = {}
    for manifest in artefacts:
        for what, (was, now) in _pairs(manifest.made_with, here).items():
            if was is not None and was != now:
                found[f"made with {what} {was}, checked with {now}: small differences are to be expected"] = (
                    None
                )
    return tuple(found)


def _pairs(was: Mapping[str, Json], now: Mapping[str, Json]) -> dict[str, tuple[Json, Json]]:
    """Each fact as the run has it and as it is here; those of mappings by their own keys."""
    pairs: dict[str, tuple[Json, Json]] = {}
    for key, value in now.items():
        before = was.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            pairs |= _pairs(before, value)
        else:
            pairs[key] = before, value
    return pairs
