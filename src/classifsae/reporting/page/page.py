"""One self-contained HTML page of a run: opens offline, asks nothing of any network."""

import hashlib
from collections.abc import Sequence
from importlib import resources

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from classifsae.activity import GLOSSARY
from classifsae.reporting.layout.palette import COLOURS
from classifsae.reporting.page import charts
from classifsae.reporting.page.content import ConceptCard, MethodReport, RunReport
from classifsae.reporting.page.findings import findings
from classifsae.reporting.tables.columns import columns_of
from classifsae.reporting.tables.table import Record, footnotes, rows
from classifsae.storage import Json

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_TEMPLATES = "templates"


def page(report: RunReport) -> str:
    """The page as HTML. Every text is escaped by the templates, none is trusted.

    Equal reports give equal pages: there is no time in it, and nothing random.
    """
    columns = columns_of(report.records)
    return (
        _environment()
        .get_template("index.html")
        .render(
            report=report,
            columns=columns,
            rows=rows(report.records, columns),
            footnotes=footnotes(report.records),
            findings=findings(report),
            settings=as_yaml(report.about.settings),
            charts=charts,
            glossary=GLOSSARY,
            palette=COLOURS,
            css=_asset("page.css"),
            script=_asset("page.js"),
        )
    )


def panel(card: ConceptCard, method: MethodReport, report: RunReport) -> str:
    """One concept as the page shows it, for a notebook."""
    parts, chart = (_environment().get_template(name).module for name in ("parts.html", "charts.html"))
    return _coloured(str(parts.panel(card, method, report, charts, chart)))  # type: ignore[attr-defined]


def overview(records: Sequence[Record]) -> str:
    """The table of the methods as the page shows it, for a notebook."""
    columns, parts = columns_of(records), _environment().get_template("parts.html").module
    return str(parts.overview(rows(records, columns), columns))  # type: ignore[attr-defined]


def summary(report: RunReport) -> str:
    """The table of the methods; of the method that is shown first the facets of each class, and the map."""
    if not report.listed:
        return overview(report.records)
    method = report.listed[0]
    parts, chart = (_environment().get_template(name).module for name in ("parts.html", "charts.html"))
    classes = range(len(report.label_names))
    cards = (str(parts.class_card(method, report, c)) for c in classes)  # type: ignore[attr-defined]
    found = charts.map_chart(method, report.short_labels)
    drawn = "" if found is None else str(chart.map(found, method, report))  # type: ignore[attr-defined]
    return _coloured(f'{overview(report.records)}<div class="classes">{"".join(cards)}</div>{drawn}')


def _coloured(html: str) -> str:
    """With the colours of the classes."""
    colours = "; ".join(f"--c{place}: {colour}" for place, colour in enumerate(COLOURS))
    return f'<div style="{colours}">{html}</div>'


def served(html: str) -> str:
    """A page that was written, as a server shows it: with its text box, and free to ask that server."""
    html = html.replace('<html lang="en">', '<html lang="en" data-served>', 1)
    return html.replace("default-src 'none';", "default-src 'none'; connect-src 'self';", 1)


def fingerprint_of_templates() -> str:
    """SHA-256 of all that a page is rendered with, so that a changed template makes a new page."""
    files = sorted(_folder().iterdir(), key=lambda f: f.name)
    return hashlib.sha256(b"\0".join(f.read_bytes() for f in files if f.is_file())).hexdigest()


def fixed(value: float | None, digits: int = 2) -> str:
    """A number with so many digits after the point, a dash for none."""
    return DASH if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def points(value: float | None, digits: int = 1, sign: str = "") -> str:
    """A fraction in percentage points, with its sign if that is "+", a dash for none."""
    return DASH if value is None else f"{100 * value:{sign}.{digits}f}".replace("-", MINUS)


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent, a dash for none."""
    return DASH if value is None else f"{points(value, digits)} %"


def as_yaml(settings: Json) -> str:
    """Settings as people read them."""
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100) if settings else ""


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("classifsae.reporting.page", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"fixed": fixed, "percent": percent, "points": points}
    return environment


def _folder() -> "resources.abc.Traversable":
    return resources.files("classifsae.reporting.page") / _TEMPLATES


def _asset(name: str) -> str:
    """A style sheet or script of this package, the only text that goes into a page as it is."""
    return (_folder() / name).read_text("utf-8")
