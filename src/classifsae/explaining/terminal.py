"""An explanation for the terminal: the text, the answer, the concepts behind it, and what would change it."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from classifsae.explaining.explainer import Carrier, Explanation, Fired, Prediction

SHOWN_CONCEPTS, SHOWN_WORDS, SHOWN_CHARACTERS, SHOWN_CLASSES = 10, 3, 600, 5

BOLD = 0.05
"""A word that carries at least this share of a concept's activation is bold in the text."""

LEGEND = (
    "share: part of what all concepts that fire add to the hidden state. without it: label and probability "
    "from the other concepts."
)
LEGEND_OF_WORDS = (
    " words: part of the concept's activation that is lost without the word; from 5 % on, the word is bold "
    "in the text."
)


def printed(explanation: Explanation, *, legend: bool = False) -> RenderableType:
    """An explanation as lines of at most the terminal's width.

    Args:
        explanation: of one text.
        legend: say below what the columns mean.
    """
    shown = explanation.concepts[:SHOWN_CONCEPTS]
    parts: list[RenderableType] = [_text(explanation, shown), *_answers(explanation)]
    if shown:
        parts += [_table(explanation, shown), *_rest(explanation), Text(_flip(explanation))]
    if legend and shown:
        of_words = LEGEND_OF_WORDS if explanation.words is not None else ""
        parts += [Text(LEGEND + of_words, style="dim")]
    return Group(*parts, "")


def _text(explanation: Explanation, shown: Sequence[Fired]) -> Text:
    """The beginning of the text, with the words that carry a concept in bold."""
    text = Text(explanation.text)
    for carrier in (c for concept in shown for c in concept.carriers[:SHOWN_WORDS]):
        if carrier.lost >= BOLD:
            text.stylize("bold", carrier.start, carrier.end)
    if len(text) > SHOWN_CHARACTERS:
        return text[:SHOWN_CHARACTERS].append(f" … ({len(text):,} characters)", style="dim")
    return text


def _answers(explanation: Explanation) -> list[Text]:
    """The classifier's answer, that of the concepts where it is another, and what was cut."""
    own, rebuilt = explanation.classifier, explanation.rebuilt
    lines = [Text(f"Label: {_ranked(own)}", style="bold")]
    if explanation.is_cut:
        start, end = explanation.read
        read = f"only characters {start:,} to {end:,} of {len(explanation.text):,} are read"
        lines.append(Text(f"The text is longer than the classifier reads and was cut: {read}."))
    if not explanation.concepts:
        what = "" if rebuilt.label == own.label else ", so the concepts do not explain this one"
        return [*lines, Text(f"No concept fires; without any, the answer is {_ranked(rebuilt)}{what}.")]
    if rebuilt.label == own.label:
        return [*lines, Text(f"From the concepts alone: {_ranked(rebuilt)}")]
    return [
        *lines,
        Text(f"The concepts alone give another label, so they do not explain this one: {_ranked(rebuilt)}"),
    ]


def _ranked(prediction: Prediction) -> str:
    """``Business 0.91 (World 0.05, SciTech 0.03)``."""
    ranked = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
    others = [f"{label} {p:.2f}" for label, p in ranked if label != prediction.label]
    more = ", ..." if len(others) >= SHOWN_CLASSES else ""
    return f"{_top(prediction)} ({', '.join(others[: SHOWN_CLASSES - 1])}{more})"


def _top(prediction: Prediction) -> str:
    return f"{prediction.label} {prediction.probabilities[prediction.label]:.2f}"


def _table(explanation: Explanation, shown: Sequence[Fired]) -> Table:
    table = Table(box=SIMPLE_HEAD, expand=False, pad_edge=False)
    table.add_column("concept", overflow="fold", ratio=None)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("without it", overflow="fold")
    with_words = explanation.words is not None
    if with_words:
        table.add_column("words that carry it", overflow="fold")
    for concept in shown:
        words = [Text(_listed(concept.carriers[:SHOWN_WORDS]))] if with_words else []
        table.add_row(Text(concept.name), f"{concept.share:.0f} %", _without(explanation, concept), *words)
    return table


_AROUND = ".,;:!?\"'()[]"


def _without(explanation: Explanation, concept: Fired) -> Text:
    """Label and probability before and after; bold where the label is another."""
    before, after = explanation.rebuilt, concept.without
    if after.label != before.label:
        return Text(f"{_top(before)} → {_top(after)}", style="bold")
    return Text(f"{_top(before)} → {after.probabilities[after.label]:.2f}")


def _listed(carriers: Sequence[Carrier]) -> str:
    words = [f"{c.text.strip(_AROUND) or c.text} {100 * c.lost:.0f}%" for c in carriers]
    return ", ".join(words) or "no single word"


def _rest(explanation: Explanation) -> list[Text]:
    more = explanation.concepts[SHOWN_CONCEPTS:]
    if not more:
        return []
    share = sum(concept.share for concept in more)
    return [Text(f"and {len(more)} more that fire, {share:.0f} % together.", style="dim")]


def _flip(explanation: Explanation) -> str:
    """The smallest set of concepts that decides, in a sentence."""
    flip, label = explanation.flip, explanation.rebuilt.label
    if flip.without is None:
        some = f"all sets of up to {flip.searched}, and one chain of more,"
        tried = "all sets of them" if flip.proven else some
        return f"The label stays {label} whichever concepts are removed: {tried} were tried."
    names = {concept.position: f'"{concept.name}"' for concept in explanation.concepts}
    shown = [names[j] for j in flip.removed[:SHOWN_CONCEPTS]]
    more = len(flip.removed) - len(shown)
    listed, after = _and([*shown, *([f"{more} more"] if more else [])]), _top(flip.without)
    if len(flip.removed) == 1:
        return f"Without {listed} alone the label becomes {after}."
    if len(flip.removed) == len(names) and flip.proven:
        which = "both concepts" if len(names) == 2 else f"all {len(names)} concepts"
        return f"The label changes only without {which} that fire: then it is {after}."
    proof = (
        "no smaller set does this" if flip.proven else f"not all sets of more than {flip.searched} were tried"
    )
    return f"Without {listed} the label becomes {after}; {proof}."


def _and(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
