"""Pictures: which there are, and that the same report gives the same bytes."""

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from classifsae.reporting.figures import figures as module
from classifsae.reporting.figures.figures import figures
from classifsae.reporting.layout.fonts import DEFAULT, Fonts
from classifsae.reporting.page.content import RunReport
from sample_report import method, sample_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text


def small(*, words: bool) -> RunReport:
    shown = method("classifsae", 2)
    if not words:
        shown = replace(shown, concepts=tuple(replace(card, words=()) for card in shown.concepts))
    yardstick = sample_report().methods[-1]
    return replace(sample_report(), methods=(shown, yardstick))


@pytest.fixture(scope="module")
def drawn() -> dict[str, bytes]:
    return dict(figures(small(words=True)))


PICTURES = ["activations", "classes", "effects", "map", "training", "words"]


def test_every_picture_is_there_as_png_and_pdf(drawn: dict[str, bytes]):
    names = ["sentence-sim", *(f"classifsae-{name}" for name in PICTURES)]
    assert sorted(drawn) == sorted(f"{name}.{kind}" for name in names for kind in ("png", "pdf"))
    for name, content in drawn.items():
        assert content.startswith(b"\x89PNG" if name.endswith("png") else b"%PDF")


def test_pictures_are_large_enough_for_print(drawn: dict[str, bytes]):
    for name, content in drawn.items():
        if name.endswith("png"):
            width, height = struct.unpack(">II", content[16:24])
            assert (width, height) >= (500, 200), name


def test_the_same_report_gives_the_same_bytes_and_no_date(drawn: dict[str, bytes]):
    again = small(words=True)
    for name in ("words", "map"):
        draw = dict(module._drawings_of(again.methods[0], again))[name]
        for file, content in module._files(f"classifsae-{name}", draw, Fonts((DEFAULT,))):
            assert content == drawn[file], file
            assert b"CreationDate" not in content


def test_a_picture_without_numbers_is_left_out():
    report = small(words=False)
    bare = replace(report.methods[0], map=None, curves={})
    assert [name for name, _ in module._drawings_of(bare, report)] == ["classes", "activations", "effects"]
    assert [name for name, _ in module._drawings_of(report.methods[1], report)] == []


def test_no_picture_is_drawn_before_it_is_asked_for():
    assert isinstance(figures(sample_report()), Iterator)


LONG = ("<script>alert('a very long name of a class about science and technology')</script> indeed",) * 2


def test_long_names_of_classes_leave_room_for_the_picture():
    report = replace(small(words=True), label_names=(*LONG, "World", "x" * 200))
    for name, draw in module._drawings_of(report.methods[0], report):
        figure = draw()
        figure.draw_without_rendering()  # warnings are errors
        box = figure.axes[0].get_window_extent()
        assert box.width > figure.bbox.width / 8, name
        assert all(text.get_window_extent().width < figure.bbox.width / 2 for text in _legend_texts(figure))


def _legend_texts(figure: "Figure") -> "list[Text]":
    return [text for legend in figure.legends for text in legend.get_texts()]
