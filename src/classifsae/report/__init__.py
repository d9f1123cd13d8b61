"""Scores for people: tables of one run and of several."""

from classifsae.report.formats import as_csv, as_json, as_latex, as_markdown, save_tables
from classifsae.report.runs import RunGroup, load_groups

__all__ = ["RunGroup", "as_csv", "as_json", "as_latex", "as_markdown", "load_groups", "save_tables"]
