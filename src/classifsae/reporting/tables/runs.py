"""Finished runs, put together by model and data set."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from classifsae.reporting.tables.table import BOLD, Record, caption, footnotes


@dataclass(frozen=True)
class FinishedRun:
    """One run folder.

    Attributes:
        folder: as it was given.
        records: one per method and seed.
        protocol: by which its concepts were chosen.
        notes: what a reader should know.
    """

    folder: str
    records: tuple[Record, ...]
    protocol: str = "ours"
    notes: tuple[str, ...] = ()

    @property
    def subject(self) -> tuple[str, str, str]:
        """What the run is about: data set, backbone, protocol."""
        first = self.records[0]
        return str(first["dataset"]), str(first["backbone"]), self.protocol


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


def group_runs(runs: Iterable[FinishedRun]) -> list[RunGroup]:
    """Group finished runs by data set and backbone, in the order given.

    Runs of one pair are one group, such as runs of other seeds. They stay apart, each named by its
    folder, where they cannot be averaged: another classifier (another accuracy), another protocol, or
    other scores for the same method and seed.
    """
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
    own = [{name: value for name, value in r.items() if not name.startswith("stability")} for r in records]
    return all(first.setdefault(_key(r), r) == r for r in own)  # stability is of a run, not of one seed


def _group(runs: Sequence[FinishedRun], *, named: bool) -> RunGroup:
    records = {_key(r): r for run in runs for r in run.records}
    about = caption(list(records.values()))
    protocol = runs[0].protocol
    under = "" if protocol == "ours" else f"; {protocol} protocol"
    where = f" ({', '.join(run.folder for run in runs)})" if named else ""
    return RunGroup(
        folders=tuple(run.folder for run in runs),
        records=tuple(records.values()),
        title=f"{about}{under}{where}",
        notes=tuple(dict.fromkeys(note for run in runs for note in run.notes)),
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
