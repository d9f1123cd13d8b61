"""Audits and remedies as lines for a terminal, and an audit as a file of rows."""

import csv
import io
import json
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from classifsae.auditing.answers import Rate
from classifsae.auditing.remedy import Remedy
from classifsae.auditing.shortcuts import AuditResult
from classifsae.storage import write_text

LEGEND = (
    "out: decisions that change when the pattern is taken out of test texts of the class that have it; in: "
    "decisions of other texts that change to the class when it is put in; in brackets the same with random "
    "words. accuracy: with the pattern taken out of all texts."
)


def printed(result: AuditResult) -> RenderableType:
    """The findings, then all patterns that were measured."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("pattern", overflow="fold", ratio=1)
    table.add_column("class", overflow="fold")
    for head in ("texts", "out %", "in %", "accuracy"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in result.rows:
        table.add_row(
            Text(row.pattern),
            Text(row.class_name),
            str(row.n_texts),
            beside_control(row.out, row.out_control),
            beside_control(row.into, row.into_control),
            f"{row.accuracy_without:.3f}",
            style="bold" if row.is_shortcut else "",
        )
    said = [Text(row.finding, style="bold") for row in result.shortcuts] or [Text("No shortcut was found.")]
    if not result.rows:
        return Group(*said, "")
    return Group(*said, table, Text(LEGEND, style="dim"))


def before_and_after(cured: Remedy) -> RenderableType:
    """What a classifier loses and keeps without a pattern, on test texts, and the ways that were tried."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("test split", overflow="fold", ratio=1)
    for head in ("before", "after"):
        table.add_column(head, justify="right", no_wrap=True)
    rows: list[tuple[str, float, float]] = [
        (f"decisions that {cured.pattern!r} changes", cured.before.changed, cured.after.changed),
        ("accuracy on the same texts without it", cured.before.accuracy, cured.after.accuracy),
        ("accuracy", *cured.accuracy),
        *((f"recall of {name}", *both) for name, both in cured.of_classes.items()),
    ]
    for name, before, after in rows:
        table.add_row(Text(name), f"{before:.3f}", f"{after:.3f}")
    for name, was, left in (
        ("decisions that change when it is taken out", cured.before.out, cured.after.out),
        ("decisions that change when it is put in", cured.before.into, cured.after.into),
    ):
        table.add_row(Text(name), _with_interval(was), _with_interval(left))
    tried = "; ".join(
        f"{trial.way}: {trial.effect.changed:.3f} changed, accuracy {trial.effect.accuracy:.3f}"
        for trial in cured.trials
    )
    said = (
        f"On the test split as it is, {cured.n_changed} decisions change. Way: {cured.way}. Tried on a "
        f"validation part of the training split: {tried}."
    )
    return Group(Text(cured.finding, style="bold"), table, Text(said, style="dim"))


def _with_interval(rate: Rate | None) -> str:
    return "-" if rate is None else f"{rate.value:.3f} ({rate.low:.2f}-{rate.high:.2f})"


def beside_control(rate: Rate | None, control: Rate | None) -> str:
    """Such as "53 (4)": percent, and that of random words; a dash where there is none."""
    if rate is None:
        return "-"
    return f"{100 * rate.value:.0f}" + (f" ({100 * control.value:.0f})" if control else "")


def save_rows(result: AuditResult, file: Path, *, as_csv: bool) -> None:
    """Write one flat row per pattern, as CSV or as a JSON list.

    Raises:
        StorageError: the file cannot be written.
    """
    rows = [row.as_row() for row in result.rows]
    if not as_csv:
        write_text(file, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return
    text = io.StringIO()
    names = list(rows[0]) if rows else ["pattern", "kind", "class", "finding"]
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())
