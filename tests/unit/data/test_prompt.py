"""The question that a decoder is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifsae.data.prompt import DEFAULT_TEMPLATE, fill, options, surroundings
from classifsae.errors import ConfigError

NAMES = ("World", "Sports")


def test_default_prompt_by_hand():
    prompt = fill(DEFAULT_TEMPLATE, "Oil fell.", NAMES)
    assert prompt == "Oil fell.\n\nOPTIONS:\n0(World)\n1(Sports)\n"


def test_options_are_index_and_name():
    assert options(("a", "b", "c")) == "0(a)\n1(b)\n2(c)"


@given(st.text())
def test_any_text_stands_in_the_prompt_untouched(text: str):
    before, after = surroundings("Q: {text} A{options}:", NAMES)
    assert fill("Q: {text} A{options}:", text, NAMES) == before + text + after
    assert fill(DEFAULT_TEMPLATE, text, NAMES).removeprefix(text) == "\n\nOPTIONS:\n0(World)\n1(Sports)\n"


def test_braces_in_text_names_and_template_stay():
    assert fill("{x} {text} {options}", "{options} {0} {text}", ("{text}", "b")) == (
        "{x} {options} {0} {text} 0({text})\n1(b)"
    )


def test_options_may_come_first():
    assert fill("{options}\n{text}", "t", NAMES) == "0(World)\n1(Sports)\nt"
    assert fill("{options}\n{text}", "t", ("{text}", "b")) == "0({text})\n1(b)\nt"


@pytest.mark.parametrize(("template", "n"), [("no place", 0), ("{text} {text}", 2), ("{TEXT}", 0)])
def test_template_needs_one_place_for_the_text(template: str, n: int):
    with pytest.raises(
        ConfigError, match=rf"must contain \{{text\}} exactly once, found {n}; \{{options\}} is"
    ):
        surroundings(template, NAMES)
    with pytest.raises(ConfigError, match="exactly once"):
        fill(template, "a", NAMES)
