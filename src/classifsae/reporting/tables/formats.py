"""One table of several runs, as Markdown, LaTeX, CSV and JSON."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from classifsae.reporting.tables.columns import Column, columns_of
from classifsae.reporting.tables.runs import RunGroup, all_notes, pair
from classifsae.reporting.tables.table import (
    Cell,
    Row,
    escaped,
    markdown_cells,
    markdown_lines,
    rows,
)
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
            body.append(["" if k else escaped(pair(group)), *markdown_cells(row)])
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
            numbers = [n for cell in row.cells for n in _numbers(cell)]
            about = [*_subject(group), " ".join(group.folders), row.method, str(_n_seeds(group, row))]
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


def _latex_line(cells: "Sequence[str] | map[str]") -> str:
    return " & ".join(cells) + r" \\"


def _group_as_json(group: RunGroup, columns: Sequence[Column]) -> Json:
    dataset, backbone = _subject(group)
    methods: list[Json] = [
        {
            "method": row.method,
            "n_seeds": _n_seeds(group, row),
            "scores": {cell.column.name: _cell_as_json(cell) for cell in row.cells},
        }
        for row in rows(group.records, columns)
    ]
    folders = list[Json](group.folders)
    return {
        "title": group.title,
        "dataset": dataset,
        "backbone": backbone,
        "accuracy": group.records[0].get("accuracy"),
        "runs": folders,
        "methods": methods,
    }


def _cell_as_json(cell: Cell) -> Json:
    mean, half = _numbers(cell)
    return {"mean": mean, "ci95": half, "n": len(cell.values), "best": cell.best}


def _numbers(cell: Cell) -> tuple[float | None, float | None]:
    """Mean and half interval, None where undefined."""
    return cell.interval if cell.values else (None, None)


def _n_seeds(group: RunGroup, row: Row) -> int:
    return len({str(r["seed"]) for r in group.records if r["method"] == row.method})


def _subject(group: RunGroup) -> tuple[str, str]:
    first = group.records[0]
    return str(first["dataset"]), str(first["backbone"])
