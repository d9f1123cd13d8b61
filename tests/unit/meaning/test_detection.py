"""Detection: what a reader picks who is told a name, with readers that know, do not know, and say nothing."""

import re

import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.activity import activating_sets
from classifsae.concepts import Concepts
from classifsae.concepts.base import codes_of
from classifsae.concepts.kmeans import KMeans
from classifsae.meaning.detection import N_EACH, detect, drawn, picked, question
from classifsae.meaning.llm import AskError
from classifsae.meaning.names import ConceptName


@pytest.fixture(scope="module")
def concepts(train: Activations, tail: nn.Linear) -> Concepts:
    return KMeans(n_concepts=6).fit(train, tail)


@pytest.fixture(scope="module")
def texts(concepts: Concepts, test: Activations) -> list[str]:
    """Each text says which concept it has."""
    own = activating_sets(codes_of(concepts, test)).sets.float().argmax(dim=0).tolist()
    return [f"row {row} has concept {j}" for row, j in enumerate(own)]


def names(n: int, made_by: str = "endpoint") -> list[ConceptName]:
    return [ConceptName(j, f"concept {j}", made_by, "", ()) for j in range(n)]  # type: ignore[arg-type]


def knows(asked: str) -> str:
    name = re.search("description '(.*)'", asked)[1]  # type: ignore[index]
    return ", ".join(re.findall(rf"^(\d+)\. .* {name}$", asked, flags=re.MULTILINE)) or "none"


def test_a_reader_who_knows_puts_all_right_and_one_who_says_none_half(
    concepts: Concepts, test: Activations, texts: list[str]
):
    all_right = detect(names(6), concepts, test, texts, knows, n_parallel=3)
    assert {name.detection.accuracy for name in all_right if name.detection} == {1.0}
    assert sum(name.detection is not None for name in all_right) >= 5
    half = detect(names(6), concepts, test, texts, lambda _: "None of them.")
    assert {name.detection.accuracy for name in half if name.detection} == {0.5}
    assert all(name.detection.n_sentences <= 2 * N_EACH for name in half if name.detection)


def test_names_from_words_are_not_asked_about_and_no_answer_is_no_score(
    concepts: Concepts, test: Activations, texts: list[str]
):
    asked: list[str] = []

    def fails(one: str) -> str:
        asked.append(one)
        raise AskError("no")

    assert detect(names(6, "words"), concepts, test, texts, fails) == tuple(names(6, "words"))
    assert not asked
    assert detect(names(6), concepts, test, texts, fails) == tuple(names(6))
    assert len(asked) == 1
    assert detect(names(6), concepts, test, texts, lambda _: "I cannot say") == tuple(names(6))


def test_sentences_are_of_the_class_where_there_are_any_and_as_many_of_either():
    own = torch.tensor([True, True, True, False, False, False, False])
    of_class = torch.tensor([True, True, False, True, False, False, False])
    rows = drawn(own, of_class, torch.Generator().manual_seed(0)).tolist()
    assert len(rows) == 2
    assert set(rows) & {0, 1}
    assert 3 in rows
    alone = drawn(own, own, torch.Generator().manual_seed(0)).tolist()  # no other sentence of its class
    assert sorted(bool(own[row]) for row in alone) == [False] * 3 + [True] * 3
    assert not len(drawn(own | True, of_class, torch.Generator()))


@pytest.mark.parametrize(
    ("answer", "rows"),
    [
        ("1, 3", [0, 2]), ("None.", []), ("[2]", [1]), ("<think>1, 2, 3</think>\n3", [2]),
        ("", None), ("all of them", None), ("7", None), ("0", None), ("1 and 9999999", None),
    ],
)  # fmt: skip
def test_an_answer_is_a_choice_of_numbers_or_none(answer: str, rows: list[int] | None):
    found = picked(answer, 4)
    assert (None if found is None else found.nonzero()[:, 0].tolist()) == rows


def test_a_question_numbers_its_texts_and_cuts_them():
    asked = question("oil", ["one\ntext", "x" * 400])
    assert "description 'oil'?\n1. one text\n2. " + "x" * 300 + "\n" in asked
