"""The table of a run: one row per method, means over seeds with their confidence interval."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from classifsae.storage import Json

Record = dict[str, Json]


@dataclass(frozen=True)
class Column:
    """A score as a column.

    Attributes:
        name: key in the records.
        title: head of the column.
        unit: below the title.
        arrow: which way is better, "" if neither is.
        digits: after the point.
    """

    name: str
    title: str
    unit: str
    arrow: str
    digits: int = 3


COLUMNS = (
    Column("n_alive", "concepts", "alive", "", 1),
    Column("recovery_accuracy", "recovery accuracy", "0-1", "↑"),
    Column("activation_rate", "activation rate", "%", "↓", 1),
    Column("conditional_flip_rate", "conditional flip rate", "0-1", "↑"),
    Column("conditional_tvd", "conditional TVD", "0-1", "↑"),
    Column("global_flip_rate_100", "global flip rate", "0-1", "↑"),
)

ROLES = {"identity": "the ceiling (every neuron a concept)", "random": "the floor (random directions)"}


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95 % confidence interval (Student's t); None for a single value."""
    from scipy.stats import t

    if len(values) < 2:
        return statistics.fmean(values), None
    quantile = float(t.ppf(0.975, len(values) - 1))
    return statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))


def cell(records: Sequence[Record], column: Column) -> str:
    """Mean and confidence interval of one score over seeds; a dash where it is undefined."""
    values = [v for r in records if isinstance(v := r.get(column.name), (int, float))]
    if not values:
        return "-"
    mean, half = interval(values)
    if column.name == "n_alive" and half in (None, 0.0):
        return f"{mean:.0f}"
    text = f"{mean:.{column.digits}f}"
    return text if half is None else f"{text} ± {half:.{column.digits}f}"


def rows(records: Sequence[Record]) -> list[list[str]]:
    """Method and cells, in the order of the records."""
    labels = list(dict.fromkeys(str(r["method"]) for r in records))
    by_label = {label: [r for r in records if r["method"] == label] for label in labels}
    return [[label, *(cell(by_label[label], c) for c in COLUMNS)] for label in labels]


def caption(records: Sequence[Record]) -> str:
    """What the table is about, in one line."""
    first, seeds = records[0], sorted({int(str(r["seed"])) for r in records})
    accuracy = first.get("accuracy")
    known = f", accuracy {accuracy:.3f}" if isinstance(accuracy, float) else ""
    spread = "" if len(seeds) == 1 else "; mean ± half of the 95 % confidence interval over seeds"
    named = ", ".join(map(str, seeds))
    return f"{first['backbone']} on {first['dataset']}{known}; seed{'s' * (len(seeds) > 1)} {named}{spread}"


def markdown(records: Sequence[Record], *, notes: Sequence[str]) -> str:
    """The table as Markdown, aligned, with its caption above and notes below."""
    heads = ["method", *(f"{c.title} {c.arrow} ({c.unit})".replace("  ", " ") for c in COLUMNS)]
    body = rows(records)
    widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
    lines = [
        _line(heads, widths),
        _line(["-" * w for w in widths], widths),
        *(_line(r, widths) for r in body),
    ]
    return "\n".join([caption(records), "", *lines, "", *roles(records), *notes, ""])


def terminal(records: Sequence[Record], *, notes: Sequence[str]) -> Table:
    """The table for a terminal of 80 columns."""
    table = Table(
        title=caption(records),
        title_justify="left",
        title_style="bold",
        caption="\n".join([*roles(records), *notes]),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("method", no_wrap=True, vertical="bottom")
    for c in COLUMNS:
        head = "\n".join([*c.title.replace("conditional", "cond.").rsplit(" ", 1), f"{c.unit} {c.arrow}"])
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows(records):
        table.add_row(*(text.replace(" ±", "\n±") for text in row))
    return table


def roles(records: Sequence[Record]) -> list[str]:
    """What the methods at either end of the table are for."""
    labels = dict.fromkeys(str(r["method"]) for r in records)
    return [f"{label} is {ROLES[label]}." for label in labels if label in ROLES]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    )
    return "| " + " | ".join([first, *rest]) + " |"
