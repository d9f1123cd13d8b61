"""The doctor's findings as tables for a terminal of 80 columns."""

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from classifsae.config import Experiment
from classifsae.doctor.estimate import Cost, estimate
from classifsae.doctor.machine import extras, facts, size

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
    lines = [Text(problem, style="bold red") for problem in found.problems]
    return Group(table, *(Text(line) for line in (found.basis, CAVEAT) if found.basis), *lines)


def duration(seconds: float) -> str:
    """Seconds in words: 0.3 s, 12 s, 3.4 min, 5.1 h, 2.0 days."""
    for unit, scale in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * scale:
            return f"{seconds / scale:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _cells(cost: Cost) -> list[Text]:
    seconds = "?" if cost.seconds is None else duration(cost.seconds)
    sizes = ["?" if n is None else size(n) for n in (cost.memory, cost.disk)]
    return [Text(text) for text in (cost.stage, seconds, *sizes)]


def _table(*heads: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head)
    return table
