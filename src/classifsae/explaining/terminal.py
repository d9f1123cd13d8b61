"""An explanation for the terminal: the text, the answer, the concepts behind it, and what would change it."""

from collections.abc import Sequence
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from classifsae.explaining.explainer import Carrier, Explanation, Fired, Prediction
from classifsae.notebook import Share, Sheet, Strong, short
from classifsae.printable import SafeConsole

MINUS = "\N{MINUS SIGN}"
_PLAIN_WIDTH = 100
SHOWN_CONCEPTS, SHOWN_WORDS, SHOWN_CHARACTERS, SHOWN_CLASSES = 10, 3, 600, 5

BOLD = 0.05
"""A word that carries at least this share of a concept's activation is bold in the text."""

NO_EFFECT = 0.005
"""A concept without which no probability moves by this much changes nothing that is shown, and comes last."""

LEGEND = (
    "share: part of what all concepts that fire add to the hidden state. for, against: the class to "
    "whose logit the concept adds most, and the one from which it takes most (Shapley values, less the mean "
    "over classes). without it: label and probability from the other concepts, bold "
    "where the label is another."
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
    listed, folded = _ordered(explanation)
    shown = listed[:SHOWN_CONCEPTS]
    parts: list[RenderableType] = [
        _text(explanation, shown),
        *_answers(explanation),
        *_shortcuts(explanation),
    ]
    if shown:
        parts += [_table(explanation, shown), *_rest(listed), *_says_class(folded), Text(_flip(explanation))]
    parts += _appearance(explanation)
    if legend and shown:
        of_words = LEGEND_OF_WORDS if explanation.words is not None else ""
        parts += [Text(LEGEND + of_words, style="dim")]
    return Group(*parts, "")


def plain(explanation: Explanation) -> str:
    """An explanation as lines of text without colours, as ``repr`` gives it."""
    console = SafeConsole(file=StringIO(), width=_PLAIN_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(printed(explanation), highlight=False)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def sheet(explanation: Explanation) -> Sheet:
    """The same as the sheet of a notebook."""
    listed, folded = _ordered(explanation)
    rows = [
        (
            concept.name,
            Share(concept.share / 100),
            ", ".join(_pulls(concept)) if concept.contributions else "",
            Strong(_top(concept.without)) if _is_other(explanation, concept) else _top(concept.without),
            _listed(concept.carriers[:SHOWN_WORDS]) if explanation.words is not None else "",
        )
        for concept in listed
    ]
    facts = [
        *_answers(explanation),
        *_shortcuts(explanation),
        *_says_class(folded),
        *([Text(_flip(explanation))] if rows else []),
        *(Text(line) for line in _appearing(explanation)),
    ]
    heads = ("concept", "share", "for, against", "without it", "words")
    title = short(explanation.text, most=SHOWN_CHARACTERS)
    return Sheet(title, tuple(fact.plain for fact in facts), heads, rows, "to_pandas()")


def _ordered(explanation: Explanation) -> tuple[list[Fired], list[Fired]]:
    """The concepts as they are listed, those without effect last, and class indicators, which are folded."""
    before = explanation.rebuilt.probabilities

    def has_no_effect(concept: Fired) -> bool:
        after = concept.without.probabilities
        return all(abs(after[label] - p) < NO_EFFECT for label, p in before.items())

    ordered = sorted(explanation.concepts, key=has_no_effect)
    listed = [concept for concept in ordered if not concept.says_class]
    return (listed, [c for c in ordered if c.says_class]) if listed else (ordered, [])


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
        said = "From the concepts alone"
    else:
        said = "The concepts alone give another label, so they do not explain this one"
    none = Text(f"From no concept at all: {_ranked(explanation.without_any)}")
    return [*lines, Text(f"{said}: {_ranked(rebuilt)}"), none]


def _shortcuts(explanation: Explanation) -> list[Text]:
    """The known shortcuts that the text has, in bold where the label is another without one."""
    lines = []
    for found in explanation.shortcuts:
        which = f"Has {found.pattern!r}, on which decisions for {found.class_name} hang"
        said = f"{which}; without it: {_ranked(found.without)}"
        is_other = found.without.label != explanation.classifier.label
        lines.append(Text(said, style="bold" if is_other else ""))
    return lines


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
    with_pulls, with_words = any(c.contributions for c in shown), explanation.words is not None
    if with_pulls:
        table.add_column("for, against", overflow="fold")
    table.add_column("without it", overflow="fold")
    if with_words:
        table.add_column("words", overflow="fold")
    for concept in shown:
        words = [Text(_listed(concept.carriers[:SHOWN_WORDS]))] if with_words else []
        pulls = [Text("\n".join(_pulls(concept)))] if with_pulls else []
        cells: list[RenderableType] = [
            f"{concept.share:.0f} %",
            *pulls,
            _without(explanation, concept),
            *words,
        ]
        table.add_row(Text(concept.name), *cells)
    return table


def _pulls(concept: Fired) -> list[str]:
    """The class that a concept speaks for most, and that which it speaks against most, of more than two."""
    ranked = sorted(concept.contributions.items(), key=lambda pair: -pair[1])
    ends = [ranked[0], ranked[-1]] if len(ranked) > 2 else ranked[:1]
    return [f"{label} {round(value, 1) + 0.0:+.1f}".replace("-", MINUS) for label, value in ends]


_AROUND = ".,;:!?\"'()[]"


def _without(explanation: Explanation, concept: Fired) -> Text:
    """Label and probability; bold where the label is another than that of all concepts."""
    return Text(_top(concept.without), style="bold" if _is_other(explanation, concept) else "")


def _is_other(explanation: Explanation, concept: Fired) -> bool:
    """Whether the label without a concept is another than that of all concepts."""
    return concept.without.label != explanation.rebuilt.label


def _listed(carriers: Sequence[Carrier]) -> str:
    words = [f"{c.text.strip(_AROUND) or c.text} {100 * c.lost:.0f}%" for c in carriers]
    return ", ".join(words) or "no single word"


def _says_class(folded: Sequence[Fired]) -> list[Text]:
    """The concepts that say the class itself, in a line."""
    if not folded:
        return []
    each = [f'"{c.name}" ({", ".join([f"{c.share:.0f} %", *_pulls(c)[:1]])})' for c in folded]
    verb = "says" if len(each) == 1 else "say"
    return [Text(f"Also fires and {verb} the class itself: {_and(each)}.")]


def _rest(listed: Sequence[Fired]) -> list[Text]:
    more = listed[SHOWN_CONCEPTS:]
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
        return (
            f"{label} is what the classifier answers from no concept at all, and no removal changes "
            f"the label: {tried} were tried."
        )
    names = {concept.position: f'"{concept.name}"' for concept in explanation.concepts}
    shown = [names[j] for j in flip.removed[:SHOWN_CONCEPTS]]
    more = len(flip.removed) - len(shown)
    listed, after = _and([*shown, *([f"{more} more"] if more else [])]), _top(flip.without)
    if flip.without.label == explanation.classifier.label != label:
        return f"The concepts give {label}; without {listed} they give the classifier's own label, {after}."
    if len(flip.removed) == 1:
        return f"Without {listed} alone the label becomes {after}."
    if len(flip.removed) == len(names) and flip.proven:
        which = "both concepts" if len(names) == 2 else f"all {len(names)} concepts"
        return f"The label changes only without {which} that fire: then it is {after}."
    proof = (
        "no smaller set does this" if flip.proven else f"not all sets of more than {flip.searched} were tried"
    )
    return f"Without {listed} the label becomes {after}; {proof}."


def _appearance(explanation: Explanation) -> list[RenderableType]:
    """What would have to appear to change a label that no removal changes."""
    said, *sentence = _appearing(explanation) or [""]
    quoted = [Padding(Text(line, style="italic"), (0, 0, 0, 2), expand=False) for line in sentence]
    return [Text(said), *quoted] if said else []


def _appearing(explanation: Explanation) -> list[str]:
    """The same as lines: what, and a sentence that has it."""
    appearance = explanation.appearance
    if appearance is None:
        return []
    concept = appearance.concept
    if concept is None:
        each = f"each of {appearance.n_tried} was tried at its typical activation"
        return [f"No concept alone would change it by appearing: {each}."]
    fires = any(fired.position == concept.position for fired in explanation.concepts)
    how = "were as active as is typical of it" if fires else "appeared"
    which = f'"{concept.name}"' + (", which says the class itself," if concept.says_class else "")
    after = f"It would become {_top(concept.with_it)} if {which} {how}, as in:"
    return [after, concept.sentence[:SHOWN_CHARACTERS]]


def _and(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
