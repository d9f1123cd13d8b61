"""An explanation as a file: whole, escaped, and a page that needs nothing else."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from classifsae.errors import StorageError
from classifsae.explaining.explainer import explain
from unit.explaining.test_explainer import NEURONS, Toy


class Page(HTMLParser):
    """What a reader sees, and what a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.marked: list[str] = []
        self.shown: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open += [tag] if tag != "meta" else []
        self.fetched += [str(value) for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.marked += [data] if self.open[-1:] == ["mark"] else []
        self.shown += [data] if "style" not in self.open else []


def test_a_page_says_what_the_terminal_says_and_trusts_no_text(tmp_path: Path):
    text = "goal <script>alert(1)</script> bank & " + "goal " * 200 + "the end"
    file = explain(Toy(), NEURONS, text).save(tmp_path / "new" / "why.html")
    assert file == tmp_path / "new" / "why.html"
    page = Page(file.read_text())
    assert (page.open, page.fetched) == ([], [])
    shown = "".join(page.shown)
    assert shown.count("the end") == 1
    assert "goal <script>alert(1)</script> bank & goal" in shown
    assert "<script>" not in file.read_text()
    assert page.marked == ["bank"]  # one of 201 goals carries less than 5 %
    assert "Why sports?" in shown
    assert "Label: sports" in shown
    assert "concept 0" in shown
    assert "without it: label and probability" in shown


def test_where_no_concept_fires_there_is_no_table(tmp_path: Path):
    page = explain(Toy(), NEURONS, "nothing of it").save(tmp_path / "why.html").read_text()
    assert "No concept fires" in page
    assert "<table>" not in page


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        explain(Toy(), NEURONS, "goal bank").save(tmp_path / "file" / "why.html")
