"""Scores and concepts for people: tables of one run and of several, pictures, and one page per run."""

from classifsae.reporting.page.content import About
from classifsae.reporting.save import Report, report
from classifsae.reporting.tables.formats import save_tables
from classifsae.reporting.tables.runs import FinishedRun, RunGroup, group_runs

__all__ = ["About", "FinishedRun", "Report", "RunGroup", "group_runs", "report", "save_tables"]
