"""Answers about concepts of one's own as lines for a terminal, and as a file."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from classifsae.auditing.ablation import Accuracy, Removal
from classifsae.auditing.answers import Rate
from classifsae.auditing.ask import Answer
from classifsae.auditing.terminal import beside_control
from classifsae.storage import write_text

LEGEND = (
    "direction: taken out of the states of all test texts, or of its own; in class: "
    "only what tells it among texts of one class. words: taken out of texts, or put into others. "
    "changed %: decisions, with the 95 % interval; random %: with random directions that move the states as "
    "far (mean, and 97.5 % quantile), or with as many random words. accuracy: before and after, and the 95 % "
    "interval of the change."
)

LEGEND_OF_COLUMN = (
    "AUROC: of the probe on held-out training texts; in class: among texts of one class. inside %: "
    "decisions on its test texts that change along what tells it within its class; out %, in %: when its "
    "words are taken out of its texts, or put into others; in brackets with random directions or words. "
    "accuracy: where it is used, the change on its texts without its words (or direction, where there are "
    "none); below 0, the concept helps; *: the 95 % interval is off 0. overlap: found concept with "
    "most texts in common (Jaccard index)."
)


def printed_answers(answers: Sequence[Answer]) -> RenderableType:
    """One answer in full, or several as a table of one line each."""
    return printed(answers[0]) if len(answers) == 1 else _table_of(answers)


def printed(answer: Answer) -> RenderableType:
    """The finding, what it rests on, the words of the concept, and the found concepts that overlap."""
    area, within, marked = answer.auroc, answer.auroc_within, answer.n_marked
    told = f"AUROC {area.value:.3f} ({area.low:.3f} to {area.high:.3f}) on texts held out"
    if within is not None:
        told += f"; {within.value:.3f} ({within.low:.3f} to {within.high:.3f}) within a class"
    by = "" if answer.is_known else ", as the probe says"
    lines = [
        Text(f"{answer.name}: {answer.finding}", style="bold"),
        Text(f"{answer.n_with:,} training texts have it, {answer.n_without:,} do not. {told}."),
        Text(f"{marked:,} of {answer.n_test:,} test texts have it{by}."),
    ]
    return Group(*lines, _changes(answer), *_words(answer), *_overlaps(answer), Text(LEGEND, style="dim"))


def _changes(answer: Answer) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold", ratio=1)
    for head in ("texts", "changed %", "random %", "accuracy", "95 %"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, block in (("direction", answer.removed), ("in class", answer.beyond_class)):
        table.add_row(f"{name}, all", *_removal(block.everywhere), *_accuracy(block.accuracy))
        if block.marked is not None:
            table.add_row(f"{name}, own", *_removal(block.marked), *_accuracy(block.accuracy_marked))
    text = answer.text
    table.add_row("words out", *_rates(text.out, text.out_control), *_accuracy(text.accuracy))
    table.add_row("words in", *_rates(text.into, text.into_control), "-", "-")
    return table


def _removal(removal: Removal) -> tuple[str, str, str]:
    control = f"{100 * removal.control:.0f} ({100 * removal.control_high:.0f})"
    return str(removal.changed.n), _rate(removal.changed), control


def _rates(rate: Rate | None, control: Rate | None) -> tuple[str, str, str]:
    return str(rate.n) if rate else "0", _rate(rate), _rate(control)


def _rate(rate: Rate | None) -> str:
    """Such as "53 (48-58)"."""
    return "-" if rate is None else f"{100 * rate.value:.0f} ({100 * rate.low:.0f}-{100 * rate.high:.0f})"


def _accuracy(accuracy: Accuracy | None) -> tuple[str, str]:
    if accuracy is None:
        return "-", "-"
    return f"{accuracy.before:.2f}, {accuracy.after:.2f}", f"{accuracy.low:+.2f} to {accuracy.high:+.2f}"


def _words(answer: Answer) -> list[Text]:
    if not answer.text.phrases:
        return [Text("No phrase carries it: no words to take out or put in.")]
    said = ", ".join(f"{own.text!r} {100 * own.lost:.0f} %" for own in answer.text.phrases)
    return [Text(f"Words, and the part of the probe's score that goes with them: {said}.")]


def _overlaps(answer: Answer) -> list[Text]:
    said = ", ".join(f"{own.name!r} {own.jaccard:.2f}" for own in answer.overlaps)
    return [Text(f"Found concepts with test texts in common (Jaccard index): {said or 'none'}.")]


def _table_of(answers: Sequence[Answer]) -> RenderableType:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("concept", overflow="fold", ratio=2)
    for head in ("AUROC", "in class", "inside %", "out %", "in %", "accuracy"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("used", no_wrap=True)
    table.add_column("overlap", overflow="fold", ratio=3)
    for answer in answers:
        inside, within = answer.beyond_class.marked, answer.auroc_within
        best = answer.overlaps[0] if answer.overlaps else None
        table.add_row(
            Text(answer.name),
            f"{answer.auroc.value:.2f}",
            f"{within.value:.2f}" if within else "-",
            f"{100 * inside.changed.value:.0f} ({100 * inside.control:.0f})" if inside else "-",
            beside_control(answer.text.out, answer.text.out_control),
            beside_control(answer.text.into, answer.text.into_control),
            _change(answer.accuracy) if answer.is_used else "-",
            "yes" if answer.is_used else "no",
            Text(f"{best.name} {best.jaccard:.2f}" if best else "-"),
        )
    return Group(table, Text(LEGEND_OF_COLUMN, style="dim"))


def _change(accuracy: Accuracy) -> str:
    """Such as "-0.031*", with a star where the interval is off zero."""
    clear = "*" if accuracy.low > 0 or accuracy.high < 0 else ""
    return f"{accuracy.change:+.3f}{clear}"


def save_answers(answers: Sequence[Answer], file: Path) -> None:
    """Write the answers as a JSON list.

    Raises:
        StorageError: the file cannot be written.
    """
    rows = [answer.as_json() for answer in answers]
    write_text(file, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
