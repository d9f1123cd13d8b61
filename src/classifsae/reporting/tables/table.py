"""The table of one run: one row per method, means over seeds with their confidence interval."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

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
        optional: left out where no record has it.
        unlike: another score; left out where no record differs from it.
    """

    name: str
    title: str
    unit: str
    arrow: str
    digits: int = 3
    optional: bool = False
    unlike: str = ""

    @property
    def head(self) -> str:
        """Title, arrow and unit in one line."""
        return f"{self.title} {self.arrow} ({self.unit})".replace("  ", " ")


COLUMNS = (
    Column("n_alive", "concepts", "alive", "", 1),
    Column("recovery_accuracy", "recovery accuracy", "0-1", "↑"),
    Column("activation_rate", "activation rate", "%", "↓", 1),
    Column("conditional_flip_rate", "conditional flip rate", "0-1", "↑"),
    Column("conditional_tvd", "conditional TVD", "0-1", "↑"),
    Column("concept_sim", "ConceptSim", "cos", "↑", optional=True),
    Column("global_flip_rate_100", "global flip rate", "0-1", "↑"),
    Column("c_v", "C_V", "cos", "↑", optional=True),
    Column("control_flip_rate", "control flip", "0-1", "", optional=True),
    Column("control_tvd", "control TVD", "0-1", "", optional=True),
    Column("control_global_flip_rate", "control global flip", "0-1", "", optional=True),
    Column(
        "document_recovery_accuracy",
        "recovery per text",
        "0-1",
        "↑",
        optional=True,
        unlike="recovery_accuracy",
    ),
    Column("completeness_score", "completeness score", "≤1", "↑", optional=True),
    Column("shapley_max", "largest Shapley", "≤1", "", optional=True),
)

ROLES = {"identity": "the ceiling (every neuron a concept)", "random": "the floor (random directions)"}

_N_ABREAST = 6
"""Scores that fit beside each other on a terminal."""

BOLD = "Bold: the best mean of the group, ceiling and floor left out."


@dataclass(frozen=True)
class Cell:
    """One score of one method over seeds.

    Attributes:
        values: one per seed for which it is defined.
        column: the score.
        best: whether no method beats it, the ceiling and the floor left out.
    """

    values: tuple[float, ...]
    column: Column
    best: bool = False

    @property
    def interval(self) -> tuple[float, float | None]:
        """Mean and half of the confidence interval."""
        return interval(self.values)

    def __str__(self) -> str:
        """Mean and confidence interval; a dash where it is undefined."""
        if not self.values:
            return "-"
        mean, half = self.interval
        if self.column.name == "n_alive" and half in (None, 0.0):
            return f"{mean:.0f}"
        text = f"{mean:.{self.column.digits}f}"
        return text if half is None else f"{text} ± {half:.{self.column.digits}f}"


@dataclass(frozen=True)
class Row:
    """All scores of one method."""

    method: str
    cells: tuple[Cell, ...]


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95 % confidence interval (Student's t); None for a single value."""
    from scipy.special import (
        stdtrit,
    )  # what scipy.stats.t.ppf calls, without the seconds that its import takes

    if len(values) < 2:
        return statistics.fmean(values), None
    quantile = float(stdtrit(len(values) - 1, 0.975))
    return statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))


def columns_of(records: Sequence[Record]) -> tuple[Column, ...]:
    """The columns of a table of these records: optional ones only where a record has a number."""
    return tuple(c for c in COLUMNS if not c.optional or any(_has(r, c) for r in records))


def _has(record: Record, column: Column) -> bool:
    value = record.get(column.name)
    return value is not None and value != record.get(column.unlike)


def rows(records: Sequence[Record], columns: Sequence[Column] | None = None) -> list[Row]:
    """One row per method, in the order of the records, ceiling and floor last; the best cells marked."""
    columns = columns_of(records) if columns is None else columns
    labels = sorted(dict.fromkeys(str(r["method"]) for r in records), key=ROLES.__contains__)
    by_label = {label: [r for r in records if r["method"] == label] for label in labels}
    table = [Row(label, tuple(_cell(by_label[label], c) for c in columns)) for label in labels]
    marked = [_with_best([row.cells[i] for row in table], labels) for i in range(len(columns))]
    return [Row(row.method, tuple(column[k] for column in marked)) for k, row in enumerate(table)]


def _cell(records: Sequence[Record], column: Column) -> Cell:
    values = [v for r in records if isinstance(v := r.get(column.name), (int, float))]
    return Cell(tuple(values), column)


def _with_best(cells: list[Cell], labels: Sequence[str]) -> list[Cell]:
    """One column with its best cells marked: those that round to the best mean, if any two compete."""
    column = cells[0].column
    sign = {"↑": 1, "↓": -1, "": 0}[column.arrow]
    means = {
        k: sign * round(cell.interval[0], column.digits)
        for k, (cell, label) in enumerate(zip(cells, labels, strict=True))
        if cell.values and label not in ROLES
    }
    if not sign or len(means) < 2:
        return cells
    return [replace(cell, best=means.get(k) == max(means.values())) for k, cell in enumerate(cells)]


def caption(records: Sequence[Record]) -> str:
    """What the table is about, in one line."""
    first, seeds = records[0], sorted({int(str(r["seed"])) for r in records})
    accuracy, whole = first.get("accuracy"), first.get("document_accuracy")
    known = f", accuracy {accuracy:.3f}" if isinstance(accuracy, float) else ""
    if isinstance(whole, float) and first.get("n_documents") != first.get("n_sentences"):
        known += f" per window, {whole:.3f} per text"
    spread = "" if len(seeds) == 1 else "; mean ± half of the 95 % confidence interval over seeds"
    named = ", ".join(map(str, seeds))
    return f"{first['backbone']} on {first['dataset']}{known}; seed{'s' * (len(seeds) > 1)} {named}{spread}"


def markdown(records: Sequence[Record], *, notes: Sequence[str]) -> str:
    """The table as Markdown, aligned, with its caption above and notes below; the best in bold."""
    heads = ["method", *(c.head for c in columns_of(records))]
    lines = markdown_lines(heads, [markdown_cells(row) for row in rows(records)])
    return "\n".join([caption(records), "", *lines, "", *footnotes(records), *notes, ""])


def markdown_cells(row: Row) -> list[str]:
    """A row as Markdown: method and scores, the best in bold."""
    return [escaped(row.method), *(f"**{cell}**" if cell.best else str(cell) for cell in row.cells)]


def escaped(text: str) -> str:
    """Text that ends no cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def markdown_lines(heads: Sequence[str], body: Sequence[Sequence[str]], *, n_left: int = 1) -> list[str]:
    """A Markdown table, its columns aligned: the first ones on the left, numbers on the right."""
    widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
    rule = ["-" * w if i < n_left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [_line(line, widths, n_left) for line in [heads, rule, *body]]


def _line(cells: Sequence[str], widths: Sequence[int], n_left: int) -> str:
    padded = (
        c.ljust(w) if i < n_left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    )
    return "| " + " | ".join(padded) + " |"


def terminal(records: Sequence[Record], *, notes: Sequence[str], title: str = "") -> Group:
    """The table for a terminal of 80 columns; what does not fit in further ones below."""
    columns = columns_of(records)
    tables = [_part(records, columns[i : i + _N_ABREAST]) for i in range(0, len(columns), _N_ABREAST)]
    tables[0].title = Text(title or caption(records))
    # Not the last table's caption, which would be broken to the width of a narrow table.
    return Group(*tables, Text("\n".join([*footnotes(records), *notes]), style="table.caption"))


def _part(records: Sequence[Record], columns: Sequence[Column]) -> Table:
    table = Table(
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("method", no_wrap=True, vertical="bottom")
    for c in columns:
        head = "\n".join([*c.title.replace("conditional", "cond.").split(), f"{c.unit} {c.arrow}"])
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows(records, columns):
        texts = [Text(str(c).replace(" ±", "\n±"), style="bold" if c.best else "") for c in row.cells]
        table.add_row(Text(row.method), *texts)
    return table


def footnotes(records: Sequence[Record]) -> list[str]:
    """What the methods at either end of the table are for, what ConceptSim is to beat, and what is bold."""
    labels = dict.fromkeys(str(r["method"]) for r in records)
    ends = [f"{label} is {ROLES[label]}." for label in labels if label in ROLES]
    baselines = dict.fromkeys(_baseline(r) for r in records if r.get("dataset_cosine_mean") is not None)
    compete = any(cell.best for row in rows(records) for cell in row.cells)
    return [*ends, *baselines, *([BOLD] if compete else [])]


def _baseline(record: Record) -> str:
    value = float(str(record["dataset_cosine_mean"]))
    return f"ConceptSim of any two test sentences of {record['dataset']}: {value:.3f}, the baseline."
