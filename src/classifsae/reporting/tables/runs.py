"""Finished runs, read back and put together by model and data set."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from classifsae.concepts.base import Role, role_of
from classifsae.errors import StorageError
from classifsae.reporting.tables.table import BOLD, Record, caption, footnotes

SUMMARY, SCORES = "summary.json", "scores.json"


class SummaryEntry(BaseModel):
    """One record of ``summary.json``; all fields beside these are scores, null where undefined.

    A summary that does not say the role of a method is older; its label is then taken for the method's name.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, int | float | None]

    dataset: str
    backbone: str
    method: str
    role: Role | None = None
    seed: int


class Page(BaseModel, extra="ignore", frozen=True):
    """What ``scores.json`` says of the run as a whole."""

    protocol: str = "ours"
    notes: tuple[str, ...] = ()


_SUMMARY = TypeAdapter(Annotated[list[SummaryEntry], Field(min_length=1)])


@dataclass(frozen=True)
class FinishedRun:
    """One run folder.

    Attributes:
        folder: as it was given.
        records: one per method and seed.
        page: protocol and notes.
    """

    folder: str
    records: tuple[Record, ...]
    page: Page

    @property
    def subject(self) -> tuple[str, str, str]:
        """What the run is about: data set, backbone, protocol."""
        first = self.records[0]
        return str(first["dataset"]), str(first["backbone"]), self.page.protocol


@dataclass(frozen=True)
class RunGroup:
    """Runs of one model on one data set, as one table.

    Attributes:
        folders: of the runs.
        records: of all of them, each method and seed once.
        title: what they are about, in one line.
        notes: what a reader should know.
    """

    folders: tuple[str, ...]
    records: tuple[Record, ...]
    title: str
    notes: tuple[str, ...]

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.records[0]["dataset"])

    @property
    def backbone(self) -> str:
        """Name of the model."""
        return str(self.records[0]["backbone"])

    @property
    def pair(self) -> str:
        """What the group is about in few words: which model on which data set."""
        return f"{self.backbone} on {self.dataset}"


def load_groups(folders: Sequence[Path]) -> list[RunGroup]:
    """Read finished runs and group them by data set and backbone, in the order given.

    Runs of one pair are one group, such as runs of other seeds. They stay apart, each named by its
    folder, where they cannot be averaged: another classifier (another accuracy), another protocol, or
    other scores for the same method and seed.

    Raises:
        StorageError: a folder is missing, holds no finished run, or its results are damaged.
    """
    return group_runs([load_run(folder) for folder in folders])


def load_run(folder: Path) -> FinishedRun:
    """Read one run folder.

    Raises:
        StorageError: it is missing, holds no finished run, or its results are damaged.
    """
    if not folder.is_dir():
        found = f"{folder} is a file" if folder.exists() else f"there is no folder {folder}"
        raise StorageError(f"{found}; give run folders, such as runs/planted/minilm.")
    if not (folder / SUMMARY).is_file():
        raise StorageError(f"{folder} holds no {SUMMARY}, so no finished run;{_runs_below(folder)}")
    try:
        entries = _SUMMARY.validate_json((folder / SUMMARY).read_bytes())
        page = _page(folder)
    except (OSError, ValidationError) as error:
        raise StorageError(
            f"the results in {folder} are damaged ({_first_line(error)}); `classifsae run` with the run's "
            f"experiment file writes them again from its finished stages."
        ) from error
    records = tuple(e.model_dump() | {"role": e.role or role_of(e.method)} for e in entries)
    return FinishedRun(str(folder), records, page)


def group_runs(runs: Iterable[FinishedRun]) -> list[RunGroup]:
    """Put runs of one pair together where their scores can be averaged."""
    by_subject: dict[tuple[str, str, str], dict[str, FinishedRun]] = {}
    for run in runs:
        by_subject.setdefault(run.subject, {})[run.folder] = run
    pairs = [subject[:2] for subject in by_subject]
    groups = []
    for subject, by_folder in by_subject.items():
        same = list(by_folder.values())
        if _agree(same):
            groups.append(_group(same, named=pairs.count(subject[:2]) > 1))
        else:
            groups += [_group([run], named=True) for run in same]
    return groups


def _agree(runs: Sequence[FinishedRun]) -> bool:
    """Whether one classifier is behind them, and no two differ on the same method and seed."""
    records = [r for run in runs for r in run.records]
    if len({r.get("accuracy") for r in records}) > 1:
        return False
    first: dict[tuple[str, str], Record] = {}
    return all(first.setdefault(_key(r), r) == r for r in records)


def _group(runs: Sequence[FinishedRun], *, named: bool) -> RunGroup:
    records = {_key(r): r for run in runs for r in run.records}
    about = caption(list(records.values()))
    protocol = runs[0].page.protocol
    under = "" if protocol == "ours" else f"; {protocol} protocol"
    where = f" ({', '.join(run.folder for run in runs)})" if named else ""
    return RunGroup(
        folders=tuple(run.folder for run in runs),
        records=tuple(records.values()),
        title=f"{about}{under}{where}",
        notes=tuple(dict.fromkeys(note for run in runs for note in run.page.notes)),
    )


def all_notes(groups: Sequence[RunGroup]) -> list[str]:
    """What stands below a table of several groups, nothing of it twice."""
    common = sorted((line for group in groups for line in footnotes(group.records)), key=BOLD.__eq__)
    if len(groups) == 1:
        return [*common, *groups[0].notes]
    notes = [f"{group.pair}: {note}" for group in groups for note in group.notes]
    return list(dict.fromkeys([*common, *notes]))


def _key(record: Record) -> tuple[str, str]:
    return str(record["method"]), str(record["seed"])


def _page(folder: Path) -> Page:
    path = folder / SCORES
    return Page.model_validate_json(path.read_bytes()) if path.is_file() else Page()


def _runs_below(folder: Path) -> str:
    found = sorted(str(path.parent) for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{SUMMARY}"))
    return f" did you mean {' '.join(found)}?" if found else " run its experiment to the end first."


def _first_line(error: Exception) -> str:
    """The first complaint alone, without what was given: that may be the whole file."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else first["msg"]
    return str(error)
