"""An explanation as a file: whole, escaped, and a page that needs nothing else."""

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from classifsae.errors import ConfigError, StorageError
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


def test_a_label_that_changes_is_bold_as_the_legend_says():
    """Without the stronger concept the label is another, without the weaker one it is not."""
    html = explain(Toy(), NEURONS, "goal match bank")._repr_html_()
    assert html.startswith('<div class="classifsae"')
    assert "<td><strong>money " in html
    assert "<td>sports " in html
    assert "bold where the label is another" in html
    assert '75 %<span class="bar" style="--w: 75%">' in html
    assert '<img alt="contributions"' in html


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("why.pdf", "is saved as HTML, not .pdf; give why.html"),
        (None, "is saved to a file, such as why.html; got"),
    ],
)
def test_what_is_no_page_is_not_written(tmp_path: Path, name: str | None, said: str):
    with pytest.raises(ConfigError, match=said):
        explain(Toy(), NEURONS, "goal bank").save(name and tmp_path / name)


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path):
    os.mkfifo(tmp_path / "device")
    with pytest.raises(StorageError, match=r"cannot write .*device: it is there and is no file"):
        explain(Toy(), NEURONS, "goal bank").save(tmp_path / "device")
    assert (tmp_path / "device").is_fifo()


@pytest.mark.parametrize("texts", [None, 5, [None, "goal"], {"a": 1}.values()])
def test_what_is_no_text_is_not_explained(texts: object):
    with pytest.raises(ConfigError, match="explain takes a text, or a list of texts; got"):
        explain(Toy(), NEURONS, texts)


def test_the_order_of_the_arguments_is_said():
    with pytest.raises(
        ConfigError, match="explain takes a classifier, its concepts and a text, in this order"
    ):
        explain(NEURONS, Toy(), "goal")


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        explain(Toy(), NEURONS, "goal bank").save(tmp_path / "file" / "why.html")
