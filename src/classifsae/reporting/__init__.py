"""Scores and concepts for people: tables of one run and of several, pictures, and one page per run."""

from classifsae.reporting.page.build import About, Fit, build
from classifsae.reporting.page.content import RunReport
from classifsae.reporting.save import Report, report, save_report
from classifsae.reporting.tables.formats import as_csv, as_json, as_latex, as_markdown, save_tables
from classifsae.reporting.tables.runs import RunGroup, load_groups

__all__ = [
    "About",
    "Fit",
    "Report",
    "RunGroup",
    "RunReport",
    "as_csv",
    "as_json",
    "as_latex",
    "as_markdown",
    "build",
    "load_groups",
    "report",
    "save_report",
    "save_tables",
]
