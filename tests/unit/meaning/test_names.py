"""Names: the cleaned answer, what happens where there is none, and how well a name tells its sentences."""

import dataclasses
import math

import pytest
import torch
from pydantic import ValidationError

from classifsae.concepts.kmeans import KMeans
from classifsae.meaning.descriptions import ActiveSentence, Description, Word
from classifsae.meaning.llm import AskError, NameOptions
from classifsae.meaning.names import (
    ConceptName,
    clean,
    contrasting,
    fidelity,
    load_names,
    name_concepts,
    question,
    save_names,
)
from classifsae.storage import manifest_of

TEXTS = ["Oil prices\nfell.", "The bank raised rates.", "A goal in the last minute."]


def described(position: int, *words: str, rows: tuple[int, ...] = (0,)) -> Description:
    return Description(
        position=position,
        latent=10 + position,
        name=", ".join(words),
        words=tuple(Word(word, 1.0) for word in words),
        sentences=tuple(ActiveSentence(row, 1.0) for row in rows),
    )


MONEY, SPORTS = described(0, "oil", "bank", rows=(0, 1)), described(1, "goal", "minute", rows=(2,))


def named(*answers: str | AskError, concepts: tuple[Description, ...] = (MONEY, SPORTS)) -> list[ConceptName]:
    """Names from a model that answers so, one after the other."""
    left = list(answers)

    def ask(_: str) -> str:
        answer = left.pop(0)
        if isinstance(answer, AskError):
            raise answer
        return answer

    return list(name_concepts(concepts, TEXTS, ("money", "sports"), ask=ask, made_by="endpoint"))


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("Oil prices", "Oil prices"),
        ('  "Oil prices."\nBecause they all...', "Oil prices"),
        ("**Name:** Oil prices", "Oil prices"),
        ("The concept name is: oil   prices", "oil prices"),
        ("1. Oil prices", "Oil prices"),
        ("\n\n- Oil prices", "Oil prices"),
        ("<think>Hmm.\nWhat is it?</think>\nOil prices", "Oil prices"),
        ("“Ölpreise”", "Ölpreise"),
        ("油价", "油价"),
        ("Oil\u202e prices\x07", "Oil prices"),
        ("<b>Oil</b>", "<b>Oil</b>"),  # a name is text; whoever shows it escapes it
    ],
)
def test_a_name_is_the_first_line_without_what_is_around_it(answer: str, name: str):
    assert clean(answer) == name


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "  \n",
        "42",
        "...",
        "<think>for ever",
        "one two three four five six seven",
        "x" * 61,
        "I cannot help with that.",
        "I\u2019m sorry",
        "Sorry, no.",
        "As an AI I do not know",
    ],
)
def test_what_is_no_name_is_refused(answer: str):
    with pytest.raises(ValueError, match=r"it has no letters|it is longer|it is a refusal"):
        clean(answer)


def test_the_answer_is_the_name_and_the_keywords_stay_beside_it():
    money, sports = named("Oil and banks", "Football")
    assert money == ConceptName(10, "Oil and banks", "endpoint", "oil, bank", ("oil", "bank"))
    assert (sports.name, sports.made_by, sports.failure) == ("Football", "endpoint", "")


def test_names_are_unique_also_against_those_from_words():
    other = described(2, "rates", rows=(1,))
    names = named("Money", "MONEY", "oil, bank", concepts=(MONEY, SPORTS, other))
    assert [n.name for n in names] == ["Money", "MONEY (goal)", "oil, bank (rates)"]


def test_a_rubbish_answer_leaves_the_words_name_and_says_so():
    money, sports = named("I am sorry, but I cannot help you with this request.", "Football")
    assert (money.name, money.made_by) == ("oil, bank", "words")
    assert "is no name: it is longer than 6 words" in money.failure
    assert sports.made_by == "endpoint"


def test_a_model_that_fails_is_not_asked_again_and_every_record_says_so():
    money, sports = named(AskError("it answered 401 Unauthorized"))
    assert [n.name for n in (money, sports)] == ["oil, bank", "goal, minute"]
    assert {n.failure for n in (money, sports)} == {"the endpoint model failed: it answered 401 Unauthorized"}


def test_a_concept_without_sentences_is_not_asked_about():
    silent = described(0, rows=())
    (name,) = named(concepts=(dataclasses.replace(silent, name="never active (10)"),))
    assert (name.name, name.failure) == ("never active (10)", "no sentence activates it")


def test_without_a_model_names_are_those_of_the_words():
    names = name_concepts((MONEY, SPORTS), TEXTS, ("money", "sports"))
    assert [(n.name, n.made_by, n.failure) for n in names] == [
        ("oil, bank", "words", ""),
        ("goal, minute", "words", ""),
    ]


def test_a_given_name_stands_where_the_model_gives_none():
    given = tuple(
        dataclasses.replace(name, name=f"sentence {name.latent}", is_sentence=True)
        for name in name_concepts((MONEY, SPORTS), TEXTS, ("money", "sports"))
    )
    assert name_concepts((MONEY, SPORTS), TEXTS, ("money", "sports"), otherwise=given) == given
    answers = iter(["Oil", "?!"])
    money, sports = name_concepts(
        (MONEY, SPORTS), TEXTS, (), ask=lambda _: next(answers), made_by="local", otherwise=given
    )
    assert (money.name, money.made_by, money.is_sentence) == ("Oil", "local", False)
    assert (sports.name, sports.made_by, sports.is_sentence) == ("sentence 11", "words", True)
    assert (money.from_words, sports.from_words) == ("oil, bank", "goal, minute")


def test_the_question_holds_labels_words_and_the_sentences_of_the_concept():
    asked = question(MONEY, TEXTS, ("money", "sports"))
    assert "- Oil prices fell.\n- The bank raised rates.\n" in asked
    assert "money, sports" in asked
    assert "oil, bank" in asked
    assert "goal" not in asked


def test_texts_of_the_class_without_the_concept_are_shown_beside():
    asked = question(MONEY, TEXTS, ("money", "sports"), others=[2])
    assert "not active on these texts of the same class:\n- A goal in the last minute.\n" in asked
    assert "What do the first texts have in common that the others lack?" in asked


def test_a_question_in_ones_own_words_is_filled_in():
    prompt = "{{name}} for:\n{sentences}\nnot:\n{others}\n({words}; {classes})"
    asked = question(MONEY, TEXTS, ("money", "sports"), others=[2], prompt=prompt)
    assert asked == (
        "{name} for:\n- Oil prices fell.\n- The bank raised rates.\nnot:\n- A goal in the last minute.\n"
        "(oil, bank; money, sports)"
    )


def test_a_prompt_is_a_text_or_a_file_and_is_kept_as_text(tmp_path):
    (tmp_path / "mine.txt").write_text("What is {sentences}?")
    given = {"from": "endpoint", "model": "m", "url": "http://host/v1"}
    options = NameOptions.model_validate(given | {"prompt": str(tmp_path / "mine.txt")})
    assert options.prompt == "What is {sentences}?"
    assert NameOptions.model_validate(options.model_dump(mode="json")) == options
    assert options.identity() != NameOptions.model_validate(given).identity()


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("What is it?", r"with \{sentences\}.*; got none"),
        ("{sentences} {secret}", "got secret, sentences"),
        ("{sentences.__class__}", "got sentences.__class__"),
        ("{sentences:{words}}", r"got sentences:\{words\}"),
        ("{sentences", "must have each brace that stands for itself twice"),
        ("nowhere.txt", "is the file 'nowhere.txt', which cannot be read"),
        ("{sentences}" + "x" * 20_000, "of up to 20,000 characters"),
    ],
)
def test_a_prompt_that_cannot_be_filled_in_is_refused(prompt: str, said: str):
    given = {"from": "endpoint", "model": "m", "url": "http://host/v1", "prompt": prompt}
    with pytest.raises(ValidationError, match=said):
        NameOptions.model_validate(given)


def test_contrast_is_of_the_class_and_without_the_concept(train, tail):
    concepts = KMeans(n_concepts=6).fit(train, tail)
    codes, classes = concepts.encode(train.hidden), concepts.segment_of
    found = contrasting(concepts, train)
    assert any(found)
    for j, rows in enumerate(found):
        assert len(rows) <= 5
        assert not codes[rows, j].any()
        assert (train.predictions[rows] == classes[j]).all()
    assert found == contrasting(concepts, train)


def auroc_by_pairs(cosines: list[float], members: list[bool]) -> float:
    inside = [c for c, m in zip(cosines, members, strict=True) if m]
    outside = [c for c, m in zip(cosines, members, strict=True) if not m]
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside]
    return sum(won) / len(won)


@pytest.mark.parametrize("seed", range(5))
def test_fidelity_is_the_share_of_pairs_that_the_name_orders(seed: int):
    generator = torch.Generator().manual_seed(seed)
    cosines = torch.randint(6, (40,), generator=generator) / 6  # with ties
    members = torch.rand(40, generator=generator) < 0.3
    found = fidelity(cosines, members)
    assert found.auroc == pytest.approx(auroc_by_pairs(cosines.tolist(), members.tolist()))
    turned = fidelity(-cosines, members)
    assert turned.auroc == pytest.approx(1 - (found.auroc or 0))


def test_better_than_chance_needs_more_than_a_lucky_sentence():
    cosines = torch.arange(4.0)
    few = fidelity(cosines, torch.tensor([False, False, False, True]))
    assert (few.auroc, few.n_activating, few.n_others) == (1.0, 1, 3)
    assert few.standard_error == pytest.approx(math.sqrt(5 / 36))  # (1 + 3 + 1) / (12 * 1 * 3)
    assert not few.better_than_chance  # 1 is no more than 0.5 + 1.645 * 0.373
    many = fidelity(torch.arange(100.0), torch.arange(100) >= 50)
    assert (many.auroc, many.better_than_chance) == (1.0, True)


def test_a_name_without_meaning_is_better_than_chance_one_time_in_twenty():
    generator = torch.Generator().manual_seed(0)
    members = torch.arange(60) < 20
    lucky = [fidelity(torch.rand(60, generator=generator), members).better_than_chance for _ in range(2000)]
    assert sum(lucky) / 2000 == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("value", [True, False])
def test_fidelity_is_undefined_where_every_sentence_activates_or_none_does(value: bool):
    found = fidelity(torch.arange(4.0), torch.full((4,), value))
    assert (found.auroc, found.standard_error, found.better_than_chance) == (None, None, False)


def test_names_survive_the_disk_and_the_manifest_counts_failures(tmp_path):
    names = tuple(
        dataclasses.replace(n, fidelity=fidelity(torch.arange(4.0), torch.tensor([True, False] * 2)))
        for n in named("Oil", "no name, as it has far too many words")
    )
    save_names(names, tmp_path, inputs="x")
    assert load_names(tmp_path) == names
    manifest = manifest_of(tmp_path)
    assert manifest is not None
    assert manifest.record["n_failed"] == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"from": "endpoint", "model": "m"}, "from: endpoint needs model and url, got model"),
        ({"from": "local"}, "from: local needs model, got neither"),
        ({"model": "m"}, "from: words needs neither model nor url, got model"),
        ({"from": "endpoint", "model": "m", "url": "file:///etc/passwd"}, "must be an address"),
        ({"from": "endpoint", "model": "m", "url": "http://me:secret@host/v1"}, "must hold no key"),
        ({"from": "endpoint", "model": "m", "url": "http://host/v1?key=secret"}, "must hold no key"),
        ({"from": "words", "temperature": 0}, "asks no model, so it has no prompt and no temperature"),
        (
            {"from": "endpoint", "model": "m", "url": "http://h/v1", "temperature": 3},
            "less than or equal to 2",
        ),
        ({"from": "magic"}, "'words', 'endpoint' or 'local'"),
        ({"from": "words", "key": "secret"}, "Extra inputs are not permitted"),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, str], said: str):
    with pytest.raises(ValidationError, match=said):
        NameOptions.model_validate(given)


def test_options_are_written_as_they_are_read():
    options = NameOptions.model_validate({"from": "endpoint", "model": "m", "url": "http://host/v1"})
    assert NameOptions.model_validate(options.model_dump(mode="json")) == options
    assert options.model_dump(mode="json", exclude_defaults=True)["from"] == "endpoint"
