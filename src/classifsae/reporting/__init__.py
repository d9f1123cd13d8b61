"""Scores and concepts for people: tables of one run and of several, pictures, and one page per run."""

from classifsae.reporting.page.build import About, Fit, build
from classifsae.reporting.page.content import RunReport
from classifsae.reporting.save import Report, report, save_report
from classifsae.reporting.tables.formats import as_csv, as_json, as_latex, as_markdown, save_tables
from classifsae.reporting.tables.runs import FinishedRun, RunGroup, group_runs

__all__ = [
    "About",
    "FinishedRun",
    "Fit",
    "Report",
    "RunGroup",
    "RunReport",
    "as_csv",
    "as_json",
    "as_latex",
    "as_markdown",
    "build",
    "group_runs",
    "report",
    "save_report",
    "save_tables",
]
