"""Planted shortcuts: what an audit finds, beside brute force, and what a remedy takes away.

    for kind in signature pronoun digit; do for rate in 0.3 0.6 0.9; do
      classifsae capture experiments/shortcut.yaml dataset.options.shortcut=$kind \
        dataset.options.shortcut_rate=$rate run_dir=runs/$kind-$rate; done; done
    python benchmarks/studies/shortcuts.py runs/*-0.*

Prints one Markdown row per run: kind and rate of the shortcut; share of the last class's decisions that it
changes; rates out and in by brute force, from the generator's own sentences with and without it; place of its
row, rates by the audit and how far they are off in points; other shortcuts that are reported; what a remedy
does; seconds of the audit.
"""

import sys
import time
from pathlib import Path

from classifsae.activations import Activations
from classifsae.auditing.options import AuditOptions
from classifsae.auditing.remedy import remedy
from classifsae.auditing.shortcuts import PatternEffect, audit
from classifsae.data import Texts
from classifsae.data.planted import PlantedOptions, generate, with_shortcut
from classifsae.errors import ClassifSAEError
from classifsae.pipeline.audit import work_of
from classifsae.pipeline.stages import Work

WORDS = {"signature": "sent from my tablet", "pronoun": "she said"}
NAMES = {
    "signature": ("sent from my tablet",),
    "pronoun": ("she said", "she"),
    "digit": ("a number at the start", "a number"),
    "capitals": ("capitals throughout",),
}


def rows(folder: Path) -> str:
    """One row of the table."""
    work = work_of(folder)
    options = work.experiment.dataset.options or PlantedOptions()
    sentences, last = generate(options).test_sentences, len(work.data.label_names) - 1
    activations = {f"{split}_activations": work.activations(split) for split in ("train", "test")}
    began = time.monotonic()
    texts = work.rows("train"), work.rows("test")
    found = audit(work.classifier, *texts, **activations, options=AuditOptions(max_texts=200))
    seconds = time.monotonic() - began
    if options.shortcut is None:
        return f"| none | - | - | - | - | - | {len(found.shortcuts)} | - | {seconds:.0f} |"
    before = activations["test_activations"].predictions.cpu()
    own = [i for i, s in enumerate(sentences) if s.text != s.plain and before[i] == last]
    others = [i for i, s in enumerate(sentences) if s.text == s.plain and before[i] != last]
    put_in = [with_shortcut(sentences[i].text, options.shortcut, draw=i / len(sentences)) for i in others]
    read = work.classifier.read([*(sentences[i].plain for i in own), *put_in]).logits.argmax(dim=1)
    out = float((read[: len(own)] != before[own]).double().mean())
    into = float((read[len(own) :] == last).double().mean())
    hanging = out * len(own) / int((before == last).sum())
    place, row = _row(found.rows, NAMES[options.shortcut])
    is_found = row is not None and row.is_shortcut
    cells = [
        options.shortcut,
        options.shortcut_rate,
        f"{hanging:.1%}",
        f"{out:.2f} / {into:.2f}",
        f"{place}{'' if is_found else ' (no shortcut)'}" if row else "-",
        _beside(row, out, into) if row else "-",
        len(found.shortcuts) - is_found,
        _cured(work, options, texts, activations),
        f"{seconds:.0f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _row(found: tuple[PatternEffect, ...], names: tuple[str, ...]) -> tuple[int, PatternEffect | None]:
    for place, row in enumerate(found, start=1):
        if row.pattern.lower() in names:
            return place, row
    return 0, None


def _beside(row: PatternEffect, out: float, into: float) -> str:
    """Rates by the audit, and how far they are from brute force in points."""
    pairs = (row.out.value if row.out else None, out), (row.into.value if row.into else None, into)
    shown = ["-" if a is None else f"{a:.2f} ({100 * (a - b):+.0f})" for a, b in pairs]
    return " / ".join(shown)


def _cured(
    work: Work, options: PlantedOptions, texts: tuple[Texts, Texts], activations: dict[str, Activations]
) -> str:
    """What a remedy does, where it is for words."""
    if options.shortcut not in WORDS:
        return "-"
    try:
        cured = remedy(work.classifier, WORDS[options.shortcut], *texts, **activations)
    except ClassifSAEError as error:
        return str(error)
    before, after = cured.before, cured.after
    return (
        f"{cured.way}: {before.changed:.3f} to {after.changed:.3f} ({cured.reduction:.0%}); "
        f"accuracy {before.accuracy:.3f} to {after.accuracy:.3f}"
    )


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(rows(Path(given)), flush=True)
