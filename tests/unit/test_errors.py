"""Messages: what they tell to type means what it says, and a mistyped option finds the one that was meant."""

import shlex

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from classifsae.errors import ClassifSAEWarning, UnknownNameError, setting, unknown_option, warn

OPTIONS = [
    "seeds",
    "dataset",
    "names",
    "dataset.label_column",
    "dataset.seed",
    "backbone.seed",
    "words.language",
]


@given(st.lists(st.text()) | st.text() | st.booleans() | st.integers() | st.none())
def test_a_setting_is_one_word_to_the_shell_and_means_its_value(value: object):
    (word,) = shlex.split(setting("dataset.label_names", value))
    key, _, text = word.partition("=")
    assert key == "dataset.label_names"
    assert yaml.safe_load(text) == value


@pytest.mark.parametrize(
    ("value", "typed"),
    [
        ("reviews.csv", "dataset=reviews.csv"),
        ("yes", """'dataset="yes"'"""),
        (["yes", "no"], """'dataset=["yes", "no"]'"""),
        (["a, b", "it's"], """'dataset=["a, b", "it'"'"'s"]'"""),
    ],
)
def test_a_setting_is_quoted_only_where_it_must_be(value: object, typed: str):
    assert setting("dataset", value) == typed


@pytest.mark.parametrize(
    ("given", "guess"),
    [
        ("seed", "'seeds'?"),
        ("label_column", "'dataset.label_column'?"),
        ("language", "'words.language'?"),
        ("words.langage", "'words.language'? Known: words.language."),
    ],
)
def test_an_unknown_option_is_looked_for_beside_and_then_in_other_mappings(given: str, guess: str):
    assert f"Did you mean {guess}" in str(unknown_option(given, OPTIONS))


def test_several_places_are_all_named():
    said = str(UnknownNameError("option", "top_k", ["a"], elsewhere=["m.top_k", "b.top_k"]))
    assert "Did you mean 'b.top_k' or 'm.top_k'?" in said


def test_a_warning_shows_the_line_that_called_the_package():
    inside: dict[str, object] = {"__name__": "classifsae.somewhere", "warn": warn}
    exec("def outer():\n    inner()\ndef inner():\n    warn('odd')", inside)
    with pytest.warns(ClassifSAEWarning, match="odd") as caught:
        inside["outer"]()
    assert caught[0].filename == __file__
