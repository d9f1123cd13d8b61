"""The table of methods: one row each, means over seeds with their confidence interval."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from classifsae.notebook import Sheet
from classifsae.reporting.tables.columns import Column, columns_of
from classifsae.storage import Json

Record = dict[str, Json]
"""All scores of one method and seed, by name, beside what they are scores of."""

YARDSTICKS = {
    "ceiling": "the ceiling (what is recovered with nothing left out)",
    "random": "a yardstick (what random directions give)",
    "label": "a yardstick (the predicted class and nothing else)",
}
"""What stands below the table of a method that has one of these roles."""

BOLD = (
    "Bold: the best mean of the group, yardsticks left out, and all that are not worse by more than the "
    "noise over seeds (95 %, paired)."
)
BOLD_OVER_SENTENCES = (
    "Bold: the best of the group, yardsticks left out, and all that are not worse by more than the noise "
    "over sentences (95 %)."
)
BOLD_OF_ONE = (
    "Bold: the best of the group, yardsticks left out; one seed does not tell how much of it is noise."
)

_ANY_WIDTH = 10_000
_NORMAL = 1.96  # standard errors in half of a 95 % interval


@dataclass(frozen=True)
class Cell:
    """One score of one method over seeds.

    Attributes:
        values: one per seed for which it is defined.
        column: the score.
        best: whether no method beats it by more than the noise, yardsticks left out.
        seeds: of the values.
        error: standard error of a single value over sentences, where it was measured.
    """

    values: tuple[float, ...]
    column: Column
    best: bool = False
    seeds: tuple[str, ...] = ()
    error: float | None = None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Mean and half of its interval, over seeds, or of one seed over sentences; None if undefined."""
        if not self.values:
            return None, None
        mean, half = interval(self.values)
        if self.error is not None:
            half = _NORMAL * self.error
        return mean, half if self.column.independent else None

    def __str__(self) -> str:
        """Mean and confidence interval; a dash where it is undefined."""
        mean, half = self.interval
        if mean is None:
            return "-"
        if self.column.unit in ("alive", "count") and half in (None, 0.0):
            return f"{mean:.0f}"
        text = f"{round(mean, self.column.digits) + 0.0:.{self.column.digits}f}"  # no -0.000
        return text if half is None else f"{text} ± {half:.{self.column.digits}f}"


@dataclass(frozen=True)
class Row:
    """All scores of one method."""

    method: str
    n_seeds: int
    cells: tuple[Cell, ...]


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95 % confidence interval (Student's t); None for a single value."""
    # What scipy.stats.t.ppf calls, without the seconds that its import takes.
    from scipy.special import stdtrit

    if len(values) < 2:
        return statistics.fmean(values), None
    quantile = float(stdtrit(len(values) - 1, 0.975))
    return statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))


def roles_of(records: Sequence[Record]) -> dict[str, str]:
    """The role of the method behind each label, in the order of the records."""
    return {str(r["method"]): str(r["role"]) for r in records}


def rows(records: Sequence[Record], columns: Sequence[Column] | None = None) -> list[Row]:
    """One row per method, in the order of the records, yardsticks last; the best cells marked."""
    columns = columns_of(records) if columns is None else columns
    roles = roles_of(records)
    labels = sorted(roles, key=lambda label: roles[label] in YARDSTICKS)
    by_label = {label: [r for r in records if r["method"] == label] for label in labels}
    competing = [roles[label] == "method" for label in labels]
    marked = [_with_best([_cell(by_label[label], c) for label in labels], competing) for c in columns]
    return [
        Row(label, len({str(r["seed"]) for r in by_label[label]}), tuple(column[k] for column in marked))
        for k, label in enumerate(labels)
    ]


def _cell(records: Sequence[Record], column: Column) -> Cell:
    found = [(v, str(r["seed"])) for r in records if isinstance(v := r.get(column.name), (int, float))]
    errors = [e for r in records if isinstance(e := r.get(f"{column.name}_error"), float)]
    return Cell(
        tuple(v for v, _ in found),
        column,
        seeds=tuple(seed for _, seed in found),
        error=errors[0] if len(found) == len(errors) == 1 else None,
    )


def _with_best(cells: list[Cell], competing: Sequence[bool]) -> list[Cell]:
    """One column with its best cells marked: the best mean and those as good, if any competing one is not."""
    sign = {"higher": 1, "lower": -1, "neither": 0}[cells[0].column.better]
    compete = [cell for cell, competes in zip(cells, competing, strict=True) if cell.values and competes]
    if not sign or len(compete) < 2 or not cells[0].column.independent:
        return cells
    first = max(compete, key=lambda cell: sign * statistics.fmean(cell.values))
    as_good = [cell for cell in compete if _is_as_good(cell, first)]
    if len(as_good) == len(compete) and len(first.seeds) > 1:
        return cells
    return [replace(cell, best=any(cell is one for one in as_good)) for cell in cells]


def _is_as_good(cell: Cell, best: Cell) -> bool:
    """Whether a mean is no worse than the best by more than the noise, or rounds to it where that is unknown.

    The noise is half of the 95 % interval of the mean difference seed by seed, or, of one seed, of the
    difference of two scores with these errors over sentences; as these are the same sentences, it is less.
    """
    digits = cell.column.digits
    own, others = (dict(zip(c.seeds, c.values, strict=True)) for c in (cell, best))
    gaps = [own[seed] - others[seed] for seed in own.keys() & others.keys()]
    if len(gaps) < 2 and cell.error is not None and best.error is not None:
        return abs(cell.values[0] - best.values[0]) <= _NORMAL * math.hypot(cell.error, best.error)
    if len(gaps) < 2:
        return round(statistics.fmean(cell.values), digits) == round(statistics.fmean(best.values), digits)
    gap, noise = interval(gaps)
    return abs(gap) <= (noise or 0)


def caption(records: Sequence[Record]) -> str:
    """What the table is about, in one line."""
    first, seeds = records[0], sorted({int(str(r["seed"])) for r in records})
    accuracy, whole = first.get("accuracy"), first.get("document_accuracy")
    known = f", accuracy {accuracy:.3f}" if isinstance(accuracy, float) else ""
    if isinstance(whole, float) and first.get("n_documents") != first.get("n_sentences"):
        known += f" per window, {whole:.3f} per text"
    spread = "" if len(seeds) == 1 else "; mean ± half of the 95 % confidence interval over seeds"
    if len(seeds) == 1 and any(name.endswith("_error") for name in first):
        spread = "; ± half of the 95 % confidence interval over sentences"
    named = ", ".join(map(str, seeds))
    return f"{first['backbone']} on {first['dataset']}{known}; seed{'s' * (len(seeds) > 1)} {named}{spread}"


def footnotes(records: Sequence[Record]) -> list[str]:
    """What the yardsticks are for, what ConceptSim is to beat, what truth there is to find, what is bold."""
    ends = [
        f"{label} is {YARDSTICKS[role]}." for label, role in roles_of(records).items() if role in YARDSTICKS
    ]
    baselines = dict.fromkeys(_baseline(r) for r in records if r.get("dataset_cosine_mean") is not None)
    probes = dict.fromkeys(_probes(r) for r in records if r.get("probe_f1") is not None)
    marked = [cell for row in rows(records) for cell in row.cells if cell.best]
    bold = BOLD_OVER_SENTENCES if any(cell.error is not None for cell in marked) else BOLD_OF_ONE
    bold = BOLD if any(len(cell.seeds) > 1 for cell in marked) else bold
    return [*ends, *baselines, *probes, *([bold] if marked else [])]


def _baseline(record: Record) -> str:
    value = float(str(record["dataset_cosine_mean"]))
    return f"ConceptSim of any two test sentences of {record['dataset']}: {value:.3f}, the baseline."


def _probes(record: Record) -> str:
    value = float(str(record["probe_f1"]))
    return (
        f"Linear probes that were told the true concepts of half of the test sentences of "
        f"{record['dataset']} find them on the other half with F1 {value:.3f}."
    )


@dataclass(frozen=True)
class TerminalTable:
    """The table for a terminal: the first columns that its width has room for, and the names of the others.

    Attributes:
        records: one per method and seed.
        notes: below the table.
        title: above it.
    """

    records: Sequence[Record]
    notes: Sequence[str]
    title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Fit the table into the width, its first column at least."""
        columns = columns_of(self.records)
        widest = options.update_width(_ANY_WIDTH)
        n_shown = len(columns)
        while (
            n_shown > 1
            and console.measure(self._table(columns[:n_shown]), options=widest).maximum > options.max_width
        ):
            n_shown -= 1
        yield self._table(columns[:n_shown])
        hidden = [column.title for column in columns[n_shown:]]
        more = [f"No room here for {', '.join(hidden)}: table.md has all columns."] if hidden else []
        # Not the table's caption, which would be broken to the width of a narrow table.
        yield Text("\n".join([*more, *footnotes(self.records), *self.notes]), style="table.caption")

    def _table(self, columns: Sequence[Column]) -> Table:
        table = Table(
            title=Text(self.title),
            title_justify="left",
            title_style="bold",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        table.add_column("method", no_wrap=True, vertical="bottom")
        for c in columns:
            head = "\n".join([*c.title.replace("conditional", "cond.").split(), f"{c.unit} {c.arrow}"])
            table.add_column(head, justify="right", no_wrap=True)
        for row in rows(self.records, columns):
            texts = [Text(str(c).replace(" ±", "\n±"), style="bold" if c.best else "") for c in row.cells]
            table.add_row(Text(row.method), *texts)
        return table


def terminal(records: Sequence[Record], *, notes: Sequence[str], title: str = "") -> TerminalTable:
    """The table for a terminal, with its caption above and notes below; what does not fit is named."""
    return TerminalTable(records, notes, title or caption(records))


def sheet(records: Sequence[Record], *, title: str, notes: Sequence[str] = ()) -> Sheet:
    """The table as the sheet of a notebook."""
    columns = columns_of(records)
    heads = ("method", *(f"{column.title} {column.arrow}".strip() for column in columns))
    body = [(row.method, *map(str, row.cells)) for row in rows(records, columns)]
    return Sheet(title, tuple(notes), heads, body)


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
    padded = [
        c.ljust(w) if i < n_left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
