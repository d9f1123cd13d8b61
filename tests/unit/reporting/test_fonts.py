"""Fonts: the machine's own for what the default one lacks, or what to install."""

import warnings
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.font_manager import fontManager

from classifsae.reporting.figures import figures as module
from classifsae.reporting.layout.fonts import DEFAULT, fonts_for


def font_with(letters: str, name: str, folder: Path) -> str:
    """A font file in which each of these letters is a square."""
    pen = TTGlyphPen(None)
    for step, corner in enumerate(((0, 0), (0, 900), (900, 900), (900, 0))):
        (pen.lineTo if step else pen.moveTo)(corner)
    pen.closePath()
    square, order = pen.glyph(), [".notdef", *(f"letter{i}" for i in range(len(letters)))]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap({ord(letter): f"letter{i}" for i, letter in enumerate(letters)})
    builder.setupGlyf(dict.fromkeys(order, square))
    builder.setupHorizontalMetrics(dict.fromkeys(order, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "psName": name.replace(" ", "")})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(folder / f"{name}.ttf")
    return str(folder / f"{name}.ttf")


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fonts but those of matplotlib."""
    monkeypatch.setattr(fontManager, "ttflist", [e for e in fontManager.ttflist if "mpl-data" in e.fname])
    monkeypatch.setattr(font_manager, "findSystemFonts", list)


def installed(monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    """After matplotlib made its list of fonts."""
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(paths))


def test_the_default_font_has_latin_greek_cyrillic_and_arabic():
    fonts = fonts_for(["Öl, naïve\n", "αβγ", "нефть", "النفط", "עברית"])
    assert (fonts.families, fonts.lacking, fonts.note) == ((DEFAULT,), frozenset(), "")
    assert fonts_for([]).note == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("石油", "for Chinese install Noto Sans CJK (Debian: fonts-noto-cjk); then run again."),
        ("カタカナ", "for Japanese install Noto Sans CJK (Debian: fonts-noto-cjk); then run again."),
        ("石油 한국", "for Chinese, Korean install Noto Sans CJK (Debian: fonts-noto-cjk); then run again."),
        ("ราคา", "for Thai install Noto Sans (Debian: fonts-noto-core); then run again."),
        (
            "fire \N{FIRE}\N{VARIATION SELECTOR-16}",
            "for emoji and symbols install Symbola (Debian: fonts-symbola;",
        ),
    ],
)
def test_a_missing_font_is_named_by_script(text: str, said: str):
    note = fonts_for([text]).note
    assert note.startswith("The pictures show boxes where a font is missing: ")
    assert said in note


def test_a_font_that_was_installed_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    installed(monkeypatch, font_with("한국", "Test Sans", tmp_path), str(tmp_path / "gone.ttf"))
    fonts = fonts_for(["oil 한국"])
    assert (fonts.families, fonts.note) == ((DEFAULT, "Test Sans"), "")


def test_as_few_fonts_as_possible_and_those_of_the_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    east = ("JP", "KR", "SC", "TC")
    paths = [font_with("石한カ", f"Test Sans {region}", tmp_path) for region in east]
    installed(monkeypatch, font_with("石", "A Sans", tmp_path), *paths)
    assert fonts_for(["石"]).families == (DEFAULT, "Test Sans SC")
    assert fonts_for(["石한"]).families == (DEFAULT, "Test Sans KR")
    assert fonts_for(["石カ"]).families == (DEFAULT, "Test Sans JP")


def test_a_picture_is_drawn_with_the_fonts_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from matplotlib.figure import Figure

    installed(monkeypatch, font_with("한국", "Test Sans", tmp_path))
    monkeypatch.setattr(
        warnings, "filterwarnings", lambda *args, **kwargs: None
    )  # a missing letter is an error

    def draw() -> Figure:
        figure = Figure()
        figure.text(0.1, 0.5, "oil 한국")
        return figure

    files = dict(module._files("picture", draw, fonts_for(["한국"])))
    assert b"/Type3" in files["picture.pdf"].replace(b" ", b"")
    assert b"TestSans" in files["picture.pdf"]
