"""Patterns are taken out with the punctuation that tied them, and put in where they mostly stand."""

import re

import pytest

from classifsae.auditing.edits import (
    Capitals,
    Longer,
    Swap,
    Words,
    as_standing,
    cut_of,
    edit_of,
    phrase,
    without_spans,
    words_pattern,
)

SIGNATURE = "Profits rose. Sent from my iPhone."


@pytest.mark.parametrize(
    ("words", "text", "left"),
    [
        ("sent from my iphone", SIGNATURE, "Profits rose."),
        ("sent from my iphone", "Profits rose. Sent from my iPhone", "Profits rose."),
        ("she said", "Profits rose, she said.", "Profits rose."),
        ("she said", "She said profits rose.", "Profits rose."),
        ("four", "4. Four firms fell.", "4. Firms fell."),
        ("reuters", "Oil (Reuters) fell.", "Oil fell."),
        ("oil", "Oil fell; oil rose.", "Fell; rose."),
        ("sent from my iphone", "Sent from my iPhone. Profits rose.", "Profits rose."),
        ("he", "She fell.", None),
        ("oil", "Oil.", None),
    ],
)
def test_words_are_taken_out(words: str, text: str, left: str | None):
    assert Words(words, "phrase", words_pattern(words)).without(text) == left


@pytest.mark.parametrize(
    ("words", "texts", "with_it"),
    [
        ("sent from my iphone", [SIGNATURE], "Oil fell. Sent from my iPhone."),
        ("she said", ["Profits rose, she said."], "Oil fell, she said."),
        ("ap", ["AP - Profits rose."], "AP - Oil fell."),
        ("bonds", ["Firms sold bonds today."], "Oil fell bonds."),
    ],
)
def test_words_are_put_in_where_they_mostly_stand(words: str, texts: list[str], with_it: str):
    assert phrase(words, texts).into("Oil fell.") == with_it


def test_words_that_a_text_has_are_not_put_in_again():
    assert phrase("oil", ["Oil fell."]).into("The oil rose.") is None


def test_words_that_stand_nowhere_cannot_be_put_in():
    assert phrase("oil", ["Gas fell."]).into("Gas rose.") is None


@pytest.mark.parametrize(
    ("others", "without", "with_it"),
    [
        (["Gas fell today"] * 3, "Profits rose", "Oil fell Sent from my iPhone."),
        (["Gas fell today."] * 3, "Profits rose.", "Oil fell Sent from my iPhone"),
    ],
)
def test_words_bring_a_full_stop_along_where_other_texts_have_none(
    others: list[str], without: str, with_it: str
):
    own = "Profits rose Sent from my iPhone."
    edit = phrase("sent from my iphone", [own, own, *others])
    assert (edit.without(own), edit.into("Oil fell"), edit.name) == (without, with_it, "Sent from my iPhone")
    assert edit_of(edit.name, "phrase", edit.regex).without(own) == without
    assert edit.without("It was sent from my iPhone. Profits rose.") == "It was. Profits rose."


def test_a_word_that_ends_few_of_its_texts_brings_no_full_stop():
    edit = phrase("oil", ["Firms sold oil.", "The oil fell", "More oil came in", "Gas fell", "Gas rose"])
    assert (edit.without("Firms sold oil."), edit.into("Gas fell")) == ("Firms sold.", "Gas fell oil")


def test_what_is_put_in_can_be_taken_out():
    for texts in ([SIGNATURE], ["Profits rose, she said."], ["AP - Profits rose."]):
        words = "sent from my iphone" if "Sent" in texts[0] else "she said" if "she" in texts[0] else "ap"
        edit = phrase(words, texts)
        put_in = edit.into("Oil fell.")
        assert put_in is not None
        assert edit.without(put_in) == "Oil fell."


def test_a_phrase_is_called_as_it_is_mostly_written():
    assert (
        phrase("sent from my iphone", [SIGNATURE, SIGNATURE, "sent from my iphone"]).name
        == "Sent from my iPhone"
    )


def test_words_of_unspaced_scripts_are_found_inside_a_run():
    assert words_pattern("股票 上涨").search("今天股票上涨了")


def test_words_are_not_found_inside_others():
    assert not words_pattern("he").search("The theatre")


def test_several_spans_are_taken_out_of_the_original():
    text = "one two three four"
    assert without_spans(text, [(0, 3), (8, 13)]) == "Two four"


def test_capitals_are_lowered_and_put_on():
    assert Capitals().without("OIL FELL.") == "Oil fell."
    assert Capitals().into("Oil fell.") == "OIL FELL."
    assert Capitals().without("Oil fell.") is None
    assert Capitals().into("123") is None


def test_a_long_text_is_cut():
    assert Longer(2).without("one two three") == "one two"
    assert Longer(3).without("one two three") is None


def test_a_pair_is_swapped_both_ways_in_the_case_of_the_text():
    swap = Swap("he", "she")
    assert swap.without("He said she left, HE did.") == "She said he left, SHE did."
    assert swap.without("They left.") is None


def test_a_sign_is_found_by_its_expression():
    number = Words("a number", "sign", re.compile(r"\d+"))
    assert number.without("Up 12 percent.") == "Up percent."


def test_a_sign_is_put_in_as_it_is_written_in_different_texts():
    number = as_standing(
        Words("a number", "sign", re.compile(r"\d+")), [f"{i}. Oil fell." for i in range(1, 6)]
    )
    put_in = {number.into(f"Gas {word}.") for word in "abcdefghijklmnopqrstuvwxyz"}
    assert {text[0] for text in put_in} == set("12345")
    assert number.into("Gas rose.") == number.into("Gas rose.")


@pytest.mark.parametrize(
    ("words", "texts", "cut"),
    [
        ("she said", ["Oil fell, she said.", "Gas rose, she said."], "Bonds sank"),
        ("ap", ["AP - Oil fell."], "sank, he said."),
        ("oil", ["The oil price fell."], None),
        ("gold", ["Oil fell."], None),
    ],
)
def test_as_many_words_are_cut_where_a_pattern_stands(words: str, texts: list[str], cut: str | None):
    found = cut_of(Words(words, "phrase", words_pattern(words)), texts)
    assert (found("Bonds sank, he said.") if found else None) == cut
