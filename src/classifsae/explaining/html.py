"""An explanation as a page of its own: one file that opens offline and asks nothing of any network."""

from html import escape

from classifsae.explaining.explainer import Explanation
from classifsae.explaining.terminal import BOLD, LEGEND, LEGEND_OF_WORDS, sheet
from classifsae.notebook import MOST_ROWS, style


def document(explanation: Explanation) -> str:
    """A page of its own: see ``fragment``."""
    label = explanation.classifier.label
    whole = fragment(explanation, most=None)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Why {escape(label)}?</title>\n<style>\n{style()}</style>\n</head>\n<body>\n"
        f"<main>\n<h1>Why {escape(label)}?</h1>\n{whole}</main>\n</body>\n</html>\n"
    )


def fragment(explanation: Explanation, *, most: int | None = MOST_ROWS) -> str:
    """The whole text with the words that carry a concept, the answers, and the concepts that fired.

    Args:
        most: concepts that are listed at most; None: all.
    """
    found = sheet(explanation)
    facts = "".join(f"<p>{escape(fact)}</p>\n" for fact in found.facts)
    table = f'<div class="scroll">{found.table(most=most)}</div>\n' if found.rows else ""
    words = LEGEND_OF_WORDS if explanation.words is not None else ""
    legend = f"<p><small>{escape(LEGEND + words)}</small></p>\n" if found.rows else ""
    return f"<blockquote>{_marked(explanation)}</blockquote>\n{facts}{table}{legend}"


def _marked(explanation: Explanation) -> str:
    """The text, escaped, with the words that carry a concept marked; what is not read stands there too."""
    carriers = (c for concept in explanation.concepts for c in concept.carriers if c.lost >= BOLD)
    parts, at = [], 0
    for start, end in sorted({(c.start, c.end) for c in carriers}):
        parts += [escape(explanation.text[at:start]), f"<mark>{escape(explanation.text[start:end])}</mark>"]
        at = end
    return "".join([*parts, escape(explanation.text[at:])])
