"""Words of texts: what counts as one, in several scripts, and what it weighs."""

from collections import Counter

import pytest
import simplemma
from pydantic import ValidationError
from sklearn.feature_extraction.text import TfidfVectorizer

from classifsae.errors import ConfigError
from classifsae.meaning import words
from classifsae.meaning.words import Tokens, WordOptions, as_written, count_terms, tokenise, weigh

ENGLISH, NONE = WordOptions(), WordOptions(language="none")


def lemmas(text: str, options: WordOptions) -> list[str]:
    (tokens,) = tokenise((text,), options)
    assert len(tokens.lemmas) == len(tokens.written)
    return list(tokens.lemmas)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Oil PRICES rising; an ox did not.", ["oil", "price", "rise"]),
        ("We don't, they\N{RIGHT SINGLE QUOTATION MARK}re 42 abc123 no_w", []),
        ("Moody's rating", ["moody", "rating"]),
        ("&lt;b&gt;gold&lt;/b&gt; #39;quot;tree quot; http://a.bc/def @someone", ["gold", "tree"]),
        ("", []),
        ("\N{GRINNING FACE}\N{FIRE} 123 !!", []),
    ],
)  # fmt: skip
def test_words_are_letters_without_stop_words_and_markup(text: str, expected: list[str]):
    assert lemmas(text, ENGLISH) == expected


def test_none_takes_words_as_they_are_written():
    assert lemmas("The Prices of the ox", NONE) == ["the", "prices", "the"]


def test_other_languages_and_scripts():
    assert lemmas("Die Preise und die Häuser", WordOptions(language="de")) == ["preis", "haus"]
    assert lemmas("l'homme", NONE) == ["homme"]
    assert lemmas("Москва и города", NONE) == ["москва", "города"]
    assert lemmas("हिन्दी पुस्तकालय", NONE) == ["हिन्दी", "पुस्तकालय"]
    assert lemmas("cafe\N{COMBINING ACUTE ACCENT} noir", NONE) == ["café", "noir"]
    assert lemmas("İstanbul", NONE) == ["i\N{COMBINING DOT ABOVE}stanbul"]
    assert lemmas("5\N{VARIATION SELECTOR-16}\N{COMBINING ENCLOSING KEYCAP}First", NONE) == ["first"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024年石油价格上涨了。", ["石油", "价格", "上涨"]),
        ("東京は日本の首都です。iPhoneで見る", ["東京", "日本", "首都", "です", "iphone", "見る"]),
        ("ราคาน้ำมันเพิ่มขึ้น 5 บาท", ["ราคา", "น้ำมัน", "เพิ่ม", "ขึ้น", "บาท"]),
        ("តម្លៃប្រេងបានកើនឡើង", ["តម្លៃ", "ប្រេង", "បាន", "កើនឡើង"]),
        ("ယနေ့ရေနံဈေးနှုန်း", ["ယနေ့", "ရေနံ", "ဈေးနှုန်း"]),
        ("ລາຄານ້ຳມັນ", ["ລາຄາ", "ນ້ຳ", "ມັນ"]),
        ("한국 경제가 성장했다", ["한국", "경제가", "성장했다"]),
    ],
)
def test_words_of_scripts_without_spaces_are_found_and_two_letters_are_enough(text: str, expected: list[str]):
    assert lemmas(text, NONE) == expected


MANY = 400_000


@pytest.mark.parametrize(
    "text",
    [
        "a" * MANY,
        "a" * MANY + "'",
        "a'" * MANY,
        "a5" * MANY,
        "ab" * MANY + "5",
        "e\N{COMBINING ACUTE ACCENT}\N{COMBINING ACUTE ACCENT}" * MANY + "5",
        "<" * MANY,
        "&#" * MANY,
        "&#" + "1" * MANY,
        "石5" * (MANY // 40),
        "石" * (MANY // 10),
    ],
    ids=lambda text: f"{text[:3]!a}-{len(text)}",
)
def test_a_text_of_any_length_is_read_once_through(text: str):
    """Reading on from every letter anew would take hours: the work is counted by whether this test ends."""
    for options in (NONE, ENGLISH):
        assert lemmas(text, options) == []


def test_no_lemma_is_asked_for_more_than_a_hundred_letters(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(simplemma, "lemmatize", lambda word, lang: asked.append(word) or word)
    lemmas(f"{'b' * 100} {'c' * 101}", ENGLISH)
    assert asked == ["b" * 100]


def test_an_unknown_language_is_refused():
    with pytest.raises(ValidationError, match=r"must be none or one of ar, .*, uk, got 'xx'"):
        WordOptions(language="xx")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'language \'en\' need a.*pip install "classifsae\[text\]"'):
        ENGLISH.require_installed()
    NONE.require_installed(["English", "русский"])
    with pytest.raises(ConfigError, match=r'without spaces .* is missing; pip install "classifsae\[text\]"'):
        NONE.require_installed(["English", "石油"])


def test_the_languages_are_those_that_have_both_stop_words_and_lemmas():
    from simplemma.strategies.dictionaries.dictionary_factory import SUPPORTED_LANGUAGES
    from stop_words import LANGUAGE_MAPPING

    from classifsae.meaning.words import LANGUAGES

    assert SUPPORTED_LANGUAGES & LANGUAGE_MAPPING.keys() == LANGUAGES


def test_a_corpus_is_split_once():
    texts = ("Oil prices", "Gold medals")
    assert tokenise(texts, ENGLISH) is tokenise(tuple(texts), WordOptions())


def test_phrases_do_not_cross_sentences():
    counts = count_terms([("a", "b", "c", "d"), ("a", "b")], max_length=3)
    assert counts == Counter({("a",): 2, ("b",): 2, ("a", "b"): 2, ("c",): 1, ("d",): 1, ("b", "c"): 1,
                              ("c", "d"): 1, ("a", "b", "c"): 1, ("b", "c", "d"): 1})  # fmt: skip


def test_weights_are_those_of_scikit_learn_with_the_corpus_as_one_more_document():
    documents = ["oil oil oil price", "oil gold", "gold medal medal", ""]
    corpus = " ".join([*documents, "news news"])
    vectorizer = TfidfVectorizer(sublinear_tf=True, norm=None)
    table = vectorizer.fit_transform([*documents, corpus]).toarray()
    ours = weigh([count_terms([tuple(d.split())], max_length=1) for d in documents])
    for row, weights in zip(table, ours, strict=False):
        names = vectorizer.get_feature_names_out()
        theirs = {(name,): value for name, value in zip(names, row, strict=True) if value}
        assert weights == pytest.approx(theirs)
        assert list(weights.values()) == sorted(weights.values(), reverse=True)


def test_a_phrase_is_shown_as_it_is_written_most_often():
    sentences = [
        Tokens(("unite", "state"), written) for written in (("united", "states"),) * 2 + (("unite", "state"),)
    ]
    assert as_written([("unite", "state"), ("state",)], sentences) == ["united states", "states"]
