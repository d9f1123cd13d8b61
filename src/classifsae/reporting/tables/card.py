"""Scores of shared concepts for their model card: what the run's table shows first, all others below."""

from collections.abc import Mapping

from classifsae.metrics.base import Quantity, meaning_of
from classifsae.reporting.tables.columns import COLUMNS
from classifsae.reporting.tables.table import escaped, markdown_lines

_HEADS = ("score", "value", "unit", "meaning")


def score_tables(scores: Mapping[str, float | None]) -> list[str]:
    """Markdown: the columns of a run's table, and behind a fold every other score; each with its meaning.

    Args:
        scores: by name, None where undefined.
    """
    main = [c for c in COLUMNS if c.name in scores and (not c.unlike or c.is_in(scores))]
    first = [
        [
            f"{column.title} (`{column.name}`)",
            _number(scores[column.name]),
            f"{column.unit} {column.arrow}".strip(),
            column.says,
        ]
        for column in main
    ]
    named = {column.name for column in main}
    rest = [_row(name, value) for name, value in scores.items() if name not in named]
    folded = f"<details><summary>All other scores</summary>\n\n{_table(rest)}\n\n</details>"
    return [*([_table(first)] if first else []), *([folded] if rest else [])]


def _row(name: str, value: float | None) -> list[str]:
    of = name.removesuffix("_error")
    found = meaning_of(of)
    if of != name:
        return [f"`{name}`", _number(value), "", f"standard error of `{of}` over sentences"]
    return [f"`{name}`", _number(value), _unit(found) if found else "", found.says if found else ""]


def _unit(quantity: Quantity) -> str:
    low, high = f"{quantity.low:g}", f"{quantity.high:g}"
    span = f"{low} or more" if high == "inf" else f"{low} to {high}"
    better = "" if quantity.better == "neither" else f", {quantity.better} is better"
    return f"{quantity.unit}, {span}{better}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def _table(rows: list[list[str]]) -> str:
    return "\n".join(markdown_lines(_HEADS, [list(map(escaped, row)) for row in rows], n_left=len(_HEADS)))
