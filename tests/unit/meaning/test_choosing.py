"""The choice of a name: by held-out sentences of the class, a sentence where no phrase fits, none twice."""

import random
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from classifsae.activations import Activations
from classifsae.concepts.base import Concepts
from classifsae.errors import MismatchError
from classifsae.meaning.choosing import (
    MOST_HELD_OUT,
    best_phrase,
    first_unless_better,
    hold_out,
    most_typical,
    name_by_phrases,
    not_held_out,
    shortened,
    unless_worse,
)
from classifsae.meaning.descriptions import ActiveSentence, Description
from classifsae.meaning.names import ConceptName, Fidelity, judge
from classifsae.meaning.phrases import Phrase
from classifsae.meaning.sentences import Sentences
from classifsae.tensors import Tensor
from known_world import SOURCE, Given


class Bag:
    """An encoder by words: each has a direction of its own, and a text the sum of those of its words."""

    fingerprint = "bag"

    def __call__(self, texts, /, *, on_step=None) -> Tensor:
        return normalize(
            torch.stack([sum(map(self.word, t.lower().split()), torch.zeros(64)) for t in texts])
        )

    def word(self, word: str) -> Tensor:
        letters = "".join(filter(str.isalpha, word))
        seed = sum(ord(c) * 31**i for i, c in enumerate(letters)) % 2**31
        return torch.randn(64, generator=torch.Generator().manual_seed(seed)) * (len(letters) > 3)


THEMES = ["price of crude", "merger of banks", "final of the cup", "marathon in spring"]
N = 400


class World:
    """Two classes of two concepts each; a sentence of a concept says its theme, or one of the others'."""

    def __init__(self, themes: list[str], *, seed: int = 0) -> None:
        chance = random.Random(seed)
        names = ["insiders", "experts", "critics", "veterans", "observers", "officials"]
        self.topics = torch.arange(N) % 4
        self.texts = tuple(
            f"{chance.choice(names).title()} spoke about the {themes[t]}, {chance.choice(names)} said."
            for t in self.topics.tolist()
        )
        codes = torch.nn.functional.one_hot(self.topics, 4).float() * torch.rand(
            N, 1, generator=torch.Generator().manual_seed(seed)
        ).add(1)
        logits = torch.nn.functional.one_hot(self.topics // 2, 2).float()
        self.activations = Activations(
            hidden=torch.arange(N)[:, None].float(),
            logits=logits,
            labels=self.topics // 2,
            ids=tuple(map(str, range(N))),
            source=SOURCE,
        )
        self.concepts = Concepts(
            coder=Given(codes, torch.ones(4, 1)),
            kept=torch.arange(4),
            class_activation=torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]),
            activation=torch.ones(4),
            source=SOURCE,
            method="given",
        )

    def named(self) -> tuple[ConceptName, ...]:
        before = [ConceptName(j, f"words {j}", "words", f"words {j}", ()) for j in range(4)]
        held = hold_out(self.texts, Bag())
        return name_by_phrases(before, self.concepts, self.activations, self.texts, held, encoder=Bag())


def fits(*aurocs: float | None, error: float = 0.1) -> list[Fidelity]:
    return [Fidelity(a, None if a is None else error, False, 9, 9) for a in aurocs]


def phrases(*texts: str) -> list[Phrase]:
    """Whole phrases, and parts of longer ones where marked."""
    return [Phrase(text.removesuffix("*"), not text.endswith("*")) for text in texts]


def test_a_concept_is_called_by_the_phrase_that_only_its_sentences_have():
    world = World(THEMES)
    names = world.named()
    assert [n.name for n in names] == THEMES
    assert {(n.made_by, n.is_sentence) for n in names} == {("words", False)}
    assert [n.from_words for n in names] == [f"words {j}" for j in range(4)]
    assert world.named() == names


def test_every_name_is_written_in_a_text():
    world = World(THEMES, seed=1)
    joined = "\n".join(world.texts).lower()
    assert all(part in joined for name in world.named() for part in name.name.split(", "))


def test_names_have_the_capitals_of_their_sentences():
    world = World(["price of Brent crude", *THEMES[1:]])
    assert [n.name for n in world.named()] == ["price of Brent crude", *THEMES[1:]]


def test_where_no_phrase_fits_the_name_is_a_sentence_and_says_so():
    world = World(THEMES)
    chance = random.Random(0)
    world.texts = tuple(chance.sample(world.texts, N))  # texts that have nothing to do with the concepts
    names = world.named()
    assert sum(name.is_sentence for name in names) >= 3
    for name in names:
        assert not name.is_sentence or name.name in {shortened(text) for text in world.texts}
    assert len({name.name for name in names}) == 4


def test_hardly_any_concept_without_meaning_is_called_by_a_phrase():
    generator, n_named = torch.Generator().manual_seed(0), 0
    for _ in range(300):
        luck = 0.5 + 0.1 * torch.randn(20, generator=generator)
        n_named += best_phrase(phrases(*map(str, range(20))), fits(*luck.tolist())) is not None
    assert n_named <= 0.08 * 300


def test_twins_are_told_apart_by_their_next_phrase_and_not_by_a_number():
    world = World(["price of crude, a day of gloom", "weather", *THEMES[2:]])
    world.concepts.coder.codes[:, 1] = world.concepts.coder.codes[:, 0]  # active on the same sentences
    first, second, *_ = [name.name for name in world.named()]
    assert {first, second} == {"price of crude", "day of gloom"}


def test_names_with_nothing_to_be_called_by_stay():
    world = World(THEMES)
    world.concepts.coder.codes[:, 2] = 0.0
    third = world.named()[2]
    assert (third.name, third.is_sentence) == ("words 2", False)


def test_a_name_of_the_words_that_another_has_gives_way_to_the_number():
    world = World(THEMES)
    world.concepts.coder.codes[:, 2] = 0.0
    before = [ConceptName(j, THEMES[0], "words", THEMES[0], ()) for j in range(4)]
    held = hold_out(world.texts, Bag())
    names = name_by_phrases(before, world.concepts, world.activations, world.texts, held, encoder=Bag())
    assert [n.name for n in names] == [*THEMES[:2], "concept 2", THEMES[3]]


def test_the_best_phrase_is_the_most_name_like_within_a_standard_error():
    own = phrases("crude*", "crude", "price of crude", "barrel of crude", "surge")
    assert best_phrase(own, fits(0.95, 0.9, 0.88, 0.94, 0.7)) == own[2]  # the first of the highest rank
    assert best_phrase(own, fits(0.95, 0.9, 0.84, 0.84, 0.7)) == own[1]
    assert best_phrase(own, fits(0.99, 0.8, 0.8, 0.8, 0.7)) == own[0]
    assert best_phrase([], []) is None


def test_better_than_chance_counts_how_many_phrases_were_tried():
    assert best_phrase(phrases("oil"), fits(0.67)) is not None  # 0.5 + 1.645 * 0.1
    assert best_phrase(phrases("oil", "gas", "coal"), fits(0.67, 0.5, 0.5)) is None  # 0.5 + 2.128 * 0.1
    assert best_phrase(phrases("oil"), fits(None)) is None


def test_a_second_phrase_is_worth_more_than_a_standard_error():
    names = ["oil", "oil, gas", "oil, coal"]
    assert first_unless_better(names, fits(0.8, 0.85, 0.89)) == "oil"
    assert first_unless_better(names, fits(0.8, 0.85, 0.91)) == "oil, coal"


def test_the_most_typical_sentence_fits_best_and_is_the_most_active_of_several():
    assert most_typical(["a", "b", "c"], fits(0.4, 0.6, 0.6)) == "b"
    assert most_typical(["a", "b"], fits(None, None)) == "a"
    assert most_typical([], []) == ""


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Oil\nfell.\x07", "Oil fell."),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 57 + "..."),
        ("x" * 30 + " " + "y" * 26 + " zzzz", "x" * 30 + " " + "y" * 26 + "..."),
        ("x" * 30 + ", " + "y" * 40, "x" * 30 + "..."),
    ],
)
def test_a_sentence_is_cut_between_words_to_sixty_characters(text: str, short: str):
    assert shortened(text) == short
    assert len(short) <= 60


def test_a_fifth_is_held_out_the_same_each_time_and_few_of_many():
    texts = [f"text {i}" for i in range(51)]
    held = hold_out(texts, Bag())
    assert len(held.rows) == 11
    assert held.sentences.texts == tuple(texts[row] for row in held.rows.tolist())
    again = hold_out(texts, Bag(), embeddings=Bag()(texts))
    assert torch.equal(held.rows, again.rows)
    torch.testing.assert_close(held.sentences.embeddings, again.sentences.embeddings)
    many = ["text"] * (6 * MOST_HELD_OUT)
    assert len(hold_out(many, Bag(), embeddings=Bag()(["text"]).expand(len(many), -1)).rows) == MOST_HELD_OUT


def test_phrases_do_not_come_from_the_held_out_sentences():
    world = World(THEMES)
    held = hold_out(world.texts, Bag()).rows.tolist()
    world.texts = tuple(
        f"{text} Surge of secrets." if i in set(held) else text for i, text in enumerate(world.texts)
    )
    assert not any("secrets" in name.name for name in world.named())


def test_other_texts_or_another_encoder_are_refused():
    world = World(THEMES)
    held = hold_out(world.texts, Bag())
    other = replace(held, sentences=replace(held.sentences, encoder="another"))
    for texts, given in ((world.texts[1:], held), (world.texts, other)):
        with pytest.raises(MismatchError, match="the texts must be those of the activations"):
            name_by_phrases([], world.concepts, world.activations, texts, given, encoder=Bag())


def test_names_are_judged_among_all_sentences_and_within_the_class():
    world = World(THEMES)
    sentences = Sentences(world.texts, Bag()(world.texts), "bag")
    names = judge(world.named(), world.concepts, world.activations, sentences, Bag())
    for name in names:
        assert name.fidelity is not None
        assert name.in_class is not None
        assert (name.fidelity.n_activating, name.fidelity.n_others) == (N // 4, 3 * N // 4)
        assert (name.in_class.n_activating, name.in_class.n_others) == (N // 4, N // 4)
        assert (name.in_class.auroc or 0) > 0.95
        assert name.in_class.better_than_chance
        assert name.in_class_of_words != name.in_class


def test_a_models_name_that_fits_worse_than_the_words_is_not_used():
    world = World(THEMES)
    by_words = world.named()
    given = [
        replace(
            by_words[0], name="merger of banks", made_by="endpoint"
        ),  # of its class, but of the other concept
        replace(by_words[1], name="banks", made_by="endpoint"),  # tells them as well
        replace(by_words[2], failure="no sentence activates it"),
        by_words[3],
    ]
    held = hold_out(world.texts, Bag())
    found = unless_worse(given, by_words, world.concepts, world.activations, held, encoder=Bag())
    assert [n.name for n in found] == ["price of crude", "banks", *THEMES[2:]]
    assert (found[0].made_by, found[1].made_by) == ("words", "endpoint")
    assert found[0].failure.startswith("'merger of banks' fits worse (AUROC 0.")
    assert found[0].failure.endswith("on held-out texts, that of the words 1.00)")
    assert found[2:] == (given[2], given[3])


def test_a_model_is_not_shown_what_names_are_chosen_by():
    world = World(THEMES)
    held = hold_out(world.texts, Bag())
    rows = held.rows.tolist()
    free = next(row for row in range(N) if row not in rows)
    two = [Description(j, j, "", (), tuple(ActiveSentence(r, 1.0) for r in some)) for j, some in
           enumerate([(rows[0], free), (rows[0],)])]  # fmt: skip
    shown = not_held_out(two, held)
    assert [[s.row for s in one.sentences] for one in shown] == [[free], [rows[0]]]
