"""An explanation as a page of its own: one file that opens offline and asks nothing of any network."""

from html import escape

from classifsae.explaining.explainer import Explanation
from classifsae.explaining.terminal import BOLD, LEGEND, LEGEND_OF_WORDS, sheet

_STYLE = """\
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
blockquote { margin: 0 0 1rem; padding: .5rem 1rem; border-left: 4px solid #0072b2; white-space: pre-wrap;
  overflow-wrap: anywhere; }
mark { background: none; color: inherit; font-weight: 700; text-decoration: underline; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; vertical-align: top; }
th, td { border-bottom: 1px solid #8886; }
p { max-width: 48rem; }
"""


def document(explanation: Explanation) -> str:
    """The whole text with the words that carry a concept, the answers, and every concept that fired."""
    found, label = sheet(explanation), explanation.classifier.label
    facts = "".join(f"<p>{escape(fact)}</p>\n" for fact in found.facts)
    table = f'<div class="scroll">{found.table(most=None)}</div>\n' if found.rows else ""
    words = LEGEND_OF_WORDS if explanation.words is not None else ""
    legend = f"<p><small>{escape(LEGEND + words)}</small></p>\n" if found.rows else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Why {escape(label)}?</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n<h1>Why {escape(label)}?</h1>\n<blockquote>{_marked(explanation)}</blockquote>\n"
        f"{facts}{table}{legend}</main>\n</body>\n</html>\n"
    )


def _marked(explanation: Explanation) -> str:
    """The text, escaped, with the words that carry a concept marked; what is not read stands there too."""
    carriers = (c for concept in explanation.concepts for c in concept.carriers if c.lost >= BOLD)
    parts, at = [], 0
    for start, end in sorted({(c.start, c.end) for c in carriers}):
        parts += [escape(explanation.text[at:start]), f"<mark>{escape(explanation.text[start:end])}</mark>"]
        at = end
    return "".join([*parts, escape(explanation.text[at:])])
