"""The doctor's findings as tables for a terminal of 80 columns."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from classifsae.doctor.estimate import Cost, Estimate, estimate, total
from classifsae.doctor.machine import extras, facts, size
from classifsae.pipeline.config import Experiment

CAVEAT = (
    "Rough, from speeds measured just now: expect a factor of 2 or 3 either way, and more while other work "
    "runs here. Memory is the most at once, on the device."
)


def machine_report() -> Group:
    """What this machine has."""
    machine, optional = _table("", ""), _table("extra", "installed", "for")
    for fact in facts():
        machine.add_row(Text(fact.name), Text(fact.value))
    for extra in extras():
        missing = [f"{package} missing" for package in extra.missing]
        optional.add_row(Text(extra.name), Text("\n".join([*extra.installed, *missing])), Text(extra.purpose))
    machine.show_header = False
    return Group(machine, optional)


def experiment_report(experiment: Experiment) -> Group:
    """What one point of an experiment takes, stage by stage."""
    found = estimate(experiment)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left", title_style="bold")
    table.title = Text(f"{found.title} ({found.device})")
    table.add_column("stage", no_wrap=False)
    for head in ("time", "memory", "disk"):
        table.add_column(head, justify="right", no_wrap=True)
    for cost in found.costs:
        table.add_row(*_cells(cost))
    table.add_section()
    table.add_row(*_cells(found.total), style="bold")
    said = [Text(line) for line in (found.basis, *_assumptions(found), CAVEAT) if found.basis]
    return Group(table, *said, *(Text(problem, style="bold red") for problem in found.problems))


def sweep_report(points: Sequence[Experiment]) -> Iterator[Text]:
    """What each point of a sweep takes, a line as soon as it is known, then all together, and why."""
    yield Text("\n" + _line("", "backbone", "data set", ["time", "memory", "disk"]), style="bold")
    found = []
    for number, point in enumerate(points, start=1):
        found.append(estimate(point))
        yield _summary(str(number), found[-1])
    known = [one for one in found if one.total.seconds is not None]
    together = total(tuple(cost for one in known for cost in one.costs))
    name = "all" if len(known) == len(found) else f"{len(known)} known"
    yield Text(_line("", name, "", _words(together)), style="bold")
    yield Text("")
    yield from map(Text, dict.fromkeys(line for one in found for line in _assumptions(one)))
    yield Text(CAVEAT)
    yield Text("--index I shows the stages of one, and why it does not fit or is not known.")


def _summary(number: str, found: Estimate) -> Text:
    text = f"{_line(number, found.backbone, found.dataset, _words(found.total))}  {_flag(found)}".rstrip()
    return Text(text, style="bold red" if found.problems else "")


def _flag(found: Estimate) -> str:
    """The problem of a point in two words."""
    if found.total.seconds is None:
        return "not known"
    if not found.problems:
        return ""
    return "too large" if found.problems[-1].startswith("does not fit") else "no GPU"


def _line(number: str, backbone: str, dataset: str, costs: Sequence[str]) -> str:
    time, memory, disk = costs
    return f"{number:>3} {backbone[:16]:<16} {dataset[:19]:<19} {time:>9} {memory:>7} {disk:>7}"


def _assumptions(found: Estimate) -> list[str]:
    return [f"Assumed: {line}." for line in found.assumed]


def duration(seconds: float) -> str:
    """Seconds in words: 0.3 s, 12 s, 3.4 min, 5.1 h, 2.0 days."""
    for unit, scale in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * scale:
            return f"{seconds / scale:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _cells(cost: Cost) -> list[Text]:
    return [Text(text) for text in (cost.stage, *_words(cost))]


def _words(cost: Cost) -> list[str]:
    seconds = "?" if cost.seconds is None else duration(cost.seconds)
    return [seconds, *("?" if n is None else size(n) for n in (cost.memory, cost.disk))]


def _table(*heads: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head)
    return table
