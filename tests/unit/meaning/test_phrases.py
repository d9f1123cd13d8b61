"""Phrases as they are written, and those that a concept has more than the others of its class."""

import math
import random
import re

import pytest

from classifsae.meaning.phrases import N_CANDIDATES, Phrase, as_cased, contrasted, phrases_of
from classifsae.meaning.words import WordOptions, phrases_as_written, tokenise

ENGLISH, NONE = WordOptions(), WordOptions(language="none")


def written(text: str, options: WordOptions = ENGLISH, *, max_words: int = 5) -> dict[str, bool]:
    (found,) = phrases_as_written([text], options, max_words=max_words)
    return found


def whole(text: str, options: WordOptions = ENGLISH) -> list[str]:
    return [phrase for phrase, is_whole in written(text, options).items() if is_whole]


def test_a_phrase_keeps_the_stop_words_inside_and_has_none_at_its_ends():
    assert written("with the title still within reach") == {
        "title": True,
        "title still within reach": True,
        "reach": True,
    }


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("oil, gold", {"oil", "gold"}),  # punctuation
        ("oil\n  gold", {"oil", "oil gold", "gold"}),
        ("oil<br>gold", {"oil", "gold"}),  # markup is no space
        ("oil didn't fall", {"oil", "fall"}),  # nor is a contraction
        ("the team's coach", {"team", "team's coach", "coach"}),
        ("a long-term plan", {"long-term", "long-term plan", "plan"}),  # and no half of a hyphenated word
        ("oil -- gold", {"oil", "gold"}),
        ("end of 42 days", {"end", "end of 42 days", "days"}),
        ("MOODY\u2019S Rating", {"moody", "moody\u2019s rating", "rating"}),
        ("an ox of it", set()),
        ("", set()),
    ],
)  # fmt: skip
def test_what_stands_between_the_words_of_a_phrase(text: str, phrases: set[str]):
    assert written(text).keys() == phrases


def test_a_phrase_has_so_many_words_at_most_stop_words_among_them():
    assert written("oil of the gulf states", max_words=4).keys() == {
        "oil", "oil of the gulf", "gulf", "gulf states", "states",
    }  # fmt: skip


def test_a_phrase_is_whole_where_no_word_that_counts_is_beside_it():
    assert whole("the central bank of Norway") == ["central bank", "central bank of norway", "norway"]
    assert "bank" not in whole("the central bank")
    assert written("a bank, and the central bank")["bank"]  # somewhere it is
    assert whole("The price", NONE) == ["the price"]


def test_scripts_without_spaces_have_phrases_without_spaces():
    found = written("2024年石油价格上涨了。", NONE)
    assert "石油价格" in found
    assert all(phrase in "2024年石油价格上涨了。" for phrase in found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("options", [ENGLISH, NONE, WordOptions(language="de")], ids=lambda o: o.language)
def test_every_phrase_stands_in_its_text_between_words_that_count(seed: int, options: WordOptions):
    chance = random.Random(seed)
    words = [
        "the",
        "The",
        "of",
        "oil",
        "Gulf",
        "die",
        "und",
        "Öl",
        "ox",
        "42",
        "long-term",
        "bank's",
        "don't",
    ]
    text = "".join(
        chance.choice(words) + chance.choice([" ", " ", " ", "  ", ", ", ". "]) for _ in range(200)
    )
    line = " ".join(text.lower().split())
    counting = set(tokenise((text,), options)[0].written)
    for phrase in written(text, options):
        assert re.search(rf"\b{re.escape(phrase)}\b", line)
        assert {re.split(r"[ '-]", phrase)[0], re.split(r"[ '-]", phrase)[-1]} <= counting
        assert len(re.findall(r"\w+", phrase)) <= 5


@pytest.mark.parametrize(
    "text", ["oil " * 100_000, "oil" + " " * 400_000 + "gas", "oil " + "a" * 400_000 + " gas"]
)
def test_a_text_of_any_length_is_read_once_through(text: str):
    assert len(written(text)) <= 6


def given(*texts: str) -> list[dict[str, bool]]:
    return phrases_as_written(texts, ENGLISH, max_words=5)


def test_phrases_are_ordered_by_how_surely_they_stand_oftener():
    own = [{"oil": True}, {"oil": True, "gas": False}, {"gas": True}, {"gas": True, "once": True}]
    others = [{"gas": True}, {"coal": True}, {}]
    assert contrasted(own, others) == [Phrase("oil", True), Phrase("gas", True)]
    # By hand, oil: a = b = 2.5, c = 0.5, d = 3.5; gas: a = 3.5, b = 1.5, c = 1.5, d = 2.5.
    oil = math.log(3.5 / 0.5) / math.sqrt(0.4 + 0.4 + 2 + 1 / 3.5)
    gas = math.log(3.5 * 2.5 / (1.5 * 1.5)) / math.sqrt(1 / 3.5 + 2 / 1.5 + 0.4)
    assert (oil, gas) == (pytest.approx(1.108, abs=1e-3), pytest.approx(0.956, abs=1e-3))


def test_a_word_as_common_among_the_others_is_no_phrase_of_the_concept():
    own = given("officials said oil fell", "prices of oil rose, experts said", "he said no")
    others = given("officials said gold fell", "they said so", "she said it")
    assert [phrase.text for phrase in contrasted(own, others)] == ["oil"]


def test_a_part_that_never_stands_alone_gives_way_to_the_longer_phrase():
    own = given(
        "the title still within reach", "a title still within reach", "a cup", "the cup of tea", "tea"
    )
    assert {p.text for p in contrasted(own, given("the end"))} == {"title still within reach", "cup", "tea"}


def test_phrases_are_contrasted_with_the_concepts_of_the_same_class():
    texts = ["the oil market", "an oil market", "the gold market", "a gold market", "the market", "a market"]
    rows = [[0, 1], [2, 3], [4, 5]]
    same, alone, other = phrases_of(rows, [0, 0, 1], texts, ENGLISH)
    assert [p.text for p in same] == ["oil market"]
    assert [p.text for p in alone] == ["gold market"]
    assert [p.text for p in other] == []  # alone in its class: against all others, who say market as often
    assert phrases_of([[], [0, 1]], [0, 0], texts, ENGLISH)[0] == []


def test_few_phrases_are_looked_at():
    many = " ".join(f"a {'abcdefghijklmnopqrstuvwxyz'[i]}{'xyz' * 2}," for i in range(26))
    twice = " ".join(f"a {'abcdefghijklmnopqrstuvwxyz'[i]}{'pqr' * 2}," for i in range(26))
    (found,) = phrases_of([[0, 1, 2]], [0], [many + twice, many, twice], ENGLISH)
    assert len(found) == N_CANDIDATES


def test_a_whole_phrase_of_several_words_is_most_like_a_name():
    ranks = [Phrase("oil price", True), Phrase("oil", True), Phrase("oil price", False), Phrase("new", False)]
    assert [phrase.rank for phrase in ranks] == [3, 2, 1, 0]


def test_phrases_are_apart_unless_one_has_an_end_of_the_other():
    oil = Phrase("price of oil", True)
    assert oil.is_apart_from(Phrase("end of war", True))
    for other in ("oil", "oil market", "rise in the price", "crude oil price"):
        assert not oil.is_apart_from(Phrase(other, True))
        assert not Phrase(other, True).is_apart_from(oil)


@pytest.mark.parametrize(
    ("phrase", "texts", "written"),
    [
        ("federal bank", ["The Federal Bank", "a federal bank", "a Federal Bank"], "Federal Bank"),
        ("market", ["Market falls.", "Market up.", "The market fell."], "market"),  # inside a sentence counts
        ("oil prices", ["Oil prices fell.", "Said so. Oil prices rose."], "oil prices"),
        ("oil prices", ['"Oil prices fell"', "REUTERS - Oil prices rose"], "oil prices"),
        ("google shares", ["Google shares fell.", "Why Google?", "Google shares rose."], "Google shares"),
        ("nasa probes", ["NASA probes Mars."], "NASA probes"),
        ("ipod sales", ["iPod sales rose.", "The iPod sales"], "iPod sales"),
        ("oil  of the\ngulf", ["no such phrase"], "oil  of the\ngulf"),
        ("state of the union", ["his State  of\nthe Union speech"], "State of the Union"),
        ("team's coach", ["the Team's coach", "the team's coach", "the team's coach"], "team's coach"),
        ("art", ["Sport and ART"], "ART"),
        ("石油", ["石油价格"], "石油"),
        ("norway", ["They &amp; Norway <b>norway</b>", "of Norway"], "Norway"),
        ("äpfel", ["Die Äpfel sind rot"], "Äpfel"),
    ],
)  # fmt: skip
def test_a_phrase_has_the_capitals_that_it_has_inside_sentences(phrase: str, texts: list[str], written: str):
    assert as_cased(phrase, texts) == written


def test_capitals_of_long_texts_are_found_in_time():
    assert as_cased("oil gas", ["oil " * 100_000 + "Oil  Gas", "   " * 100_000 + "Oil"]) == "Oil Gas"
