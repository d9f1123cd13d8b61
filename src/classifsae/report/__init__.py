"""Scores and concepts for people: tables of one run and of several, pictures, and one page per run."""

from classifsae.report.build import About, Fit, build
from classifsae.report.formats import as_csv, as_json, as_latex, as_markdown, save_tables
from classifsae.report.record import RunReport
from classifsae.report.runs import RunGroup, load_groups
from classifsae.report.save import Report, report, save_report

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
