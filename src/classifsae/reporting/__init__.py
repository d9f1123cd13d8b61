"""Scores and concepts for people: tables of one run and of several, pictures, and one page per run."""

from classifsae.reporting.page.content import About
from classifsae.reporting.save import Report, report
from classifsae.reporting.tables.formats import save_tables
from classifsae.reporting.tables.runs import load_groups

__all__ = ["About", "Report", "load_groups", "report", "save_tables"]
