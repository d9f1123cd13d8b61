"""No text of a stranger steers the terminal, however it is printed."""

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from classifsae.printable import SafeConsole, printable, printable_json

HOSTILE = "a\x1b[31mred\x1b]0;title\x07\x9b2J\x7f\x00\x08\u202eevil\u2066x"
SHOWN = "a␛[31mred␛]0;title␇\ufffd2J␡␀␈\ufffdevil\ufffdx"
_STYLE = re.compile(r"\x1b\[[\d;]*m")
"""What rich itself writes for colours."""


def table() -> Table:
    made = Table(title=Text(HOSTILE), caption=HOSTILE)
    made.add_column(HOSTILE)
    made.add_row(Text(HOSTILE, style="bold"))
    made.add_row(HOSTILE)
    return made


def steering(said: str) -> list[str]:
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", _STYLE.sub("", said))


@pytest.mark.parametrize(
    "what",
    [HOSTILE, Text(HOSTILE, style="red"), table(), Group(HOSTILE, Padding(Text(HOSTILE), (0, 1)))],
    ids=["text", "styled", "table", "group"],
)
def test_no_renderable_steers_the_terminal(what: RenderableType):
    to = StringIO()
    console = SafeConsole(file=to, force_terminal=True, width=60)
    console.print(what)
    console.print(what, markup=False, soft_wrap=True, style="bold red")
    assert "␛" in to.getvalue()
    assert not steering(to.getvalue())


def test_lines_and_bars_do_not_either():
    to = StringIO()
    console = SafeConsole(file=to, force_terminal=True, width=200)
    console.out(HOSTILE)
    assert not steering(to.getvalue())
    with Progress(console=console, transient=True) as progress:
        progress.add_task(HOSTILE, total=None)
        progress.refresh()
    assert HOSTILE[:4] not in to.getvalue()
    assert "\u202e" not in to.getvalue()


def test_signs_are_shown_and_plain_texts_are_left_as_they_are():
    assert printable(HOSTILE) == SHOWN
    plain = "tab\tline\nمرحبا שלום \u200f😀 é"  # noqa: RUF001
    assert printable(plain) == plain


@given(st.text())
def test_whatever_is_printed_keeps_its_other_characters(text: str):
    shown = printable(text)
    assert len(shown) == len(text)
    assert not steering(shown)
    assert all(a == b for a, b in zip(text, shown, strict=True) if not steering(a))


@given(st.text())
def test_json_keeps_its_values(text: str):
    line = printable_json(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(line) == {"text": text}
    assert not steering(line)


def test_there_is_no_other_console():
    package = Path(__file__).parents[2] / "src" / "classifsae"
    found = [
        path.name
        for path in package.rglob("*.py")
        if re.search(
            r"(?<!Safe)Console\((?!Console\))|sys\.std(out|err)\.write|typer\.echo", path.read_text()
        )
    ]
    assert found == []
