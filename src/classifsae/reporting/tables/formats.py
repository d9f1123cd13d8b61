"""One table of several runs, as Markdown, LaTeX, CSV and JSON."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from classifsae.reporting.tables.columns import Column, columns_of
from classifsae.reporting.tables.runs import RunGroup, all_notes
from classifsae.reporting.tables.table import Cell, Row, escaped, markdown_cells, markdown_lines, rows
from classifsae.storage import Json, write_json, write_text

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "≤": r"$\leq$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


def save_tables(groups: Sequence[RunGroup], folder: Path) -> None:
    """Write ``table.md``, ``table.tex``, ``table.csv`` and ``table.json`` into a folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_text(folder / "table.md", as_markdown(groups))
    write_text(folder / "table.tex", as_latex(groups))
    write_text(folder / "table.csv", as_csv(groups))
    write_json(folder / "table.json", as_json(groups))


def as_markdown(groups: Sequence[RunGroup]) -> str:
    """One table; the first column says which model and data set; the best of each group in bold."""
    columns = _columns(groups)
    heads = ["run", "method", *(c.head for c in columns)]
    body = []
    for group in groups:
        for k, row in enumerate(rows(group.records, columns)):
            body.append(["" if k else escaped(group.pair), *markdown_cells(row)])
    titles = [f"- {escaped(group.title)}" for group in groups]
    lines = markdown_lines(heads, body, n_left=2)
    return "\n".join([*titles, "", *lines, "", *all_notes(groups), ""])


def as_latex(groups: Sequence[RunGroup]) -> str:
    r"""One booktabs table; each group under a line with its title; the best of each group in bold."""
    columns = _columns(groups)
    heads = ["method", *(f"{c.title} {c.arrow}".strip() for c in columns)]
    units = ["", *(f"({c.unit})" for c in columns)]
    body = []
    for group in groups:
        title = rf"\multicolumn{{{len(heads)}}}{{l}}{{\emph{{{latex(group.title)}}}}} \\"
        body += [r"\midrule", title, *(_latex_row(row) for row in rows(group.records, columns))]
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        _latex_line(map(latex, heads)),
        _latex_line(map(latex, units)),
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *(f"% {line}" for line in all_notes(groups)),
    ]
    return "\n".join(lines) + "\n"


def as_csv(groups: Sequence[RunGroup]) -> str:
    """One line per model, data set and method: mean and half 95 % interval of each score, empty if none."""
    columns = _columns(groups)
    scores = [name for c in columns for name in (c.name, f"{c.name}_ci95")]
    lines = [["dataset", "backbone", "run", "method", "n_seeds", *scores]]
    for group in groups:
        for row in rows(group.records, columns):
            about = [group.dataset, group.backbone, " ".join(group.folders), row.method, str(row.n_seeds)]
            numbers = [n for cell in row.cells for n in cell.interval]
            lines.append([*about, *("" if n is None else repr(n) for n in numbers)])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def as_json(groups: Sequence[RunGroup]) -> dict[str, Json]:
    """The same with nested names, and the meaning of every column."""
    columns = _columns(groups)
    about: list[Json] = [
        {"name": c.name, "title": c.title, "unit": c.unit, "better": c.better} for c in columns
    ]
    return {
        "columns": about,
        "groups": [_group_as_json(group, columns) for group in groups],
        "notes": list[Json](all_notes(groups)),
    }


def latex(text: str) -> str:
    """Text with the characters that LaTeX reads as commands escaped."""
    return " ".join(text.split()).translate(_LATEX)


def _columns(groups: Sequence[RunGroup]) -> tuple[Column, ...]:
    """The same columns for all groups."""
    return columns_of([record for group in groups for record in group.records])


def _latex_row(row: Row) -> str:
    cells = (rf"\textbf{{{latex(str(c))}}}" if c.best else latex(str(c)) for c in row.cells)
    return _latex_line([latex(row.method), *cells])


def _latex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _group_as_json(group: RunGroup, columns: Sequence[Column]) -> Json:
    methods: list[Json] = [
        {
            "method": row.method,
            "n_seeds": row.n_seeds,
            "scores": {cell.column.name: _cell_as_json(cell) for cell in row.cells},
        }
        for row in rows(group.records, columns)
    ]
    return {
        "title": group.title,
        "dataset": group.dataset,
        "backbone": group.backbone,
        "accuracy": group.records[0].get("accuracy"),
        "runs": list[Json](group.folders),
        "methods": methods,
    }


def _cell_as_json(cell: Cell) -> Json:
    mean, half = cell.interval
    return {"mean": mean, "ci95": half, "n": len(cell.values), "best": cell.best}
