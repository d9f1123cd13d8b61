"""What a concept stands for in words: names, phrases, sentences, and names of one's own."""

from pathlib import Path

import pytest
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts.random import Random
from classifsae.errors import ConfigError, MismatchError
from classifsae.meaning.descriptions import (
    N_SENTENCES,
    ActiveSentence,
    Description,
    Origin,
    Word,
    default_names,
    describe,
    save_descriptions,
    top_words,
)
from classifsae.meaning.names import ConceptName, Fidelity, save_names
from classifsae.meaning.own_names import with_names
from classifsae.meaning.words import WordOptions, tokenise
from classifsae.pipeline.run_folder import FitName, RunFolder

NONE = WordOptions(language="none")


def words(*texts: str) -> tuple[Word, ...]:
    return tuple(Word(text, 1.0) for text in texts)


def described(latent: int, name: str) -> Description:
    return Description(0, latent, name, words("oil"), (ActiveSentence(3, 1.5),))


def listed(texts: list[str], rows: list[list[int]]) -> list[list[str]]:
    return [[word.text for word in own] for own in top_words(tokenise(tuple(texts), NONE), rows)]


def test_a_word_that_stands_mostly_in_a_phrase_gives_way_to_it():
    texts = ["oil prices rose", "oil prices fell", "gold medal won", "gold rush"]
    first, second = listed(texts, [[0, 1], [2, 3]])
    assert first[0] == "oil prices"
    assert "oil" not in first
    assert "prices" not in first
    assert second[0] == "gold"
    assert "gold medal" not in second


def test_no_phrase_says_mostly_what_is_said():
    texts = ["new york city marathon", "new york city council", "new york city council"]
    (only,) = listed(texts, [[0, 1, 2]])
    assert only == ["new york city", "city council", "marathon"]


@pytest.mark.parametrize(
    ("own", "name"),
    [
        (words("oil prices", "oil", "crude", "barrel"), "oil prices, crude"),
        (words("oil", "crude", "barrel", "opec"), "oil, crude, barrel"),
        (words("new york times", "paper"), "new york times"),
        (words("oil"), "oil"),
        ((), "concept 7"),
    ],
)
def test_a_name_is_two_or_three_words_and_none_twice(own: tuple[Word, ...], name: str):
    assert default_names([own], [7], [True]) == [name]


def test_names_are_unique_and_say_when_a_concept_is_never_active():
    same = words("oil", "crude", "barrel", "opec")
    names = default_names([same, same, same, ()], [3, 5, 8, 9], [True, True, True, False])
    assert names == ["oil, crude, barrel", "oil, crude, barrel, opec", "concept 8", "never active (9)"]


def test_sentences_are_those_of_the_activating_set_the_most_active_first(
    train: Activations, test: Activations, tail: nn.Linear
):
    concepts = Random(n_concepts=4, top_k=1).fit(train, tail)
    codes = concepts.encode(test.hidden)
    texts = [f"text about {('oil', 'gold', 'moon')[i % 3]} \N{FIRE}" for i in range(len(test))]
    found = describe(concepts, test, texts)
    assert [d.latent for d in found] == concepts.kept.tolist()
    assert len({d.name for d in found}) == len(found)
    for j, description in enumerate(found):
        activations = [s.activation for s in description.sentences]
        top = codes[:, j].topk(len(activations)).values.tolist()
        assert activations == pytest.approx(top)
        assert 1 <= len(activations) <= N_SENTENCES
        assert all(codes[s.row, j] == s.activation for s in description.sentences)


def test_a_concept_that_never_fires_has_no_words(train: Activations, test: Activations, tail: nn.Linear):
    concepts = Random(n_concepts=4, top_k=1).fit(train, tail)
    silent = next(j for j, column in enumerate(concepts.encode(test.hidden).T) if column.any())
    quiet_rows = (concepts.encode(test.hidden)[:, silent] == 0).nonzero().flatten()
    quiet = Activations(
        hidden=test.hidden[quiet_rows], logits=test.logits[quiet_rows], labels=test.labels[quiet_rows],
        ids=tuple(test.ids[i] for i in quiet_rows), source=test.source,
    )  # fmt: skip
    found = describe(concepts, quiet, ["東京は日本の首都です。"] * len(quiet), options=NONE)[silent]
    assert (found.words, found.sentences) == ((), ())
    assert found.name == f"never active ({found.latent})"


def test_other_texts_than_the_activations_are_refused(train: Activations, test: Activations, tail: nn.Linear):
    concepts = Random(n_concepts=4, top_k=1).fit(train, tail)
    with pytest.raises(MismatchError, match="there are 1 texts and activations of 64"):
        describe(concepts, test, ["one"])


def test_ones_own_names_replace_ours():
    named = with_names([described(3, "oil"), described(5, "gold")], {5: "metals"})
    assert [d.name for d in named] == ["oil", "metals"]
    assert [d.words for d in named] == [words("oil")] * 2


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({4: "x"}, "no concept with latent 4; correct the number or delete the line. Known: 3, 5"),
        ({5: "oil"}, "latents 3, 5 would all be called 'oil'"),
    ],
)
def test_names_that_do_not_fit_are_refused(names: dict[int, str], said: str):
    with pytest.raises(ConfigError, match=said):
        with_names([described(3, "oil"), described(5, "gold")], names)


def test_descriptions_survive_the_disk(tmp_path: Path):
    saved = (described(3, "öl \N{FIRE}"), described(5, "gold"))
    save_descriptions(saved, tmp_path / "descriptions" / "sae" / "seed-1")
    assert RunFolder(tmp_path).described(FitName("sae", 1)) == saved
    assert RunFolder(tmp_path).described(FitName("sae", 2)) is None
    names = tmp_path / "names" / "sae" / "seed-1.yaml"
    names.parent.mkdir(parents=True)
    names.write_text("5: metals\n")
    found = RunFolder(tmp_path).described(FitName("sae", 1))
    assert found is not None
    assert found[1].name == "metals"
    assert [d.origin for d in found] == [None, Origin("user")]


def test_a_name_made_by_the_run_says_how_well_it_fits(tmp_path: Path):
    save_descriptions(
        (described(3, "oil"), described(5, "gold")), tmp_path / "descriptions" / "sae" / "seed-1"
    )
    fits = Fidelity(0.75, 0.1, better_than_chance=True, n_activating=9, n_others=9)
    made = (
        ConceptName(3, "crude", "endpoint", "oil", (), fidelity=fits),
        ConceptName(5, "ore", "words", "ore", (), is_sentence=True, in_class=fits),
    )
    save_names(made, tmp_path / "named" / "sae" / "seed-1")
    found = RunFolder(tmp_path).described(FitName("sae", 1))
    assert found is not None
    assert [d.name for d in found] == ["crude", "ore"]
    assert [d.origin for d in found] == [
        Origin("endpoint", 0.75, better_than_chance=True),
        Origin("words", auroc_in_class=0.75, is_sentence=True),
    ]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[metals]", "holds no names; write latents and names, one a line, such as '17: oil prices'."),
        ("5: [", "is no YAML; write latents"),
        ("gold: metals", "line 1: 'gold' is no latent's number; write latents"),
        ("mrge: {oil: [1, 2]}", r"'mrge' is no latent's number \(did you mean 'merge'\?\); write"),
        ("3: oil\n5: ''", "line 2: the name of latent 5 has 0 characters, it may have 1 to 80; write one or"),
        (f"5: {'x' * 81}", "latent 5 has 81 characters, it may have 1 to 80; shorten it"),
        ("5: {a: b}", "the name of latent 5 is no text"),
        ("5: metals\n3: oil\n5: ore", "names latent 5 twice; keep one of the two lines"),
        ("4: ore", r"seed-1.yaml \(sae, seed 1\): there is no concept with latent 4"),
        ("3: ore\n5: ore", r"seed-1.yaml \(sae, seed 1\): latents 3, 5 would all be called 'ore'"),
    ],
)
def test_a_file_of_names_that_is_wrong_is_refused_in_one_line(tmp_path: Path, written: str, said: str):
    save_descriptions(
        (described(3, "oil"), described(5, "gold")), tmp_path / "descriptions" / "sae" / "seed-1"
    )
    names = tmp_path / "names" / "sae" / "seed-1.yaml"
    names.parent.mkdir(parents=True)
    names.write_text(written)
    with pytest.raises(ConfigError, match=said) as error:
        RunFolder(tmp_path).described(FitName("sae", 1))
    assert str(error.value).startswith(str(names))
    assert "\n" not in str(error.value)
    assert "pydantic" not in str(error.value)
