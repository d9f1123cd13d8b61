"""A language model as a reader: what it is asked, and what its answer says; and the legend it reads from."""

import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts.random import Random
from classifsae.errors import MismatchError
from classifsae.meaning.legend import Legend
from classifsae.meaning.reader import foretold, question, reader
from classifsae.meaning.sentences import Sentences
from classifsae.tensors import Tensor


@pytest.mark.parametrize(
    ("answer", "labels", "said"),
    [
        ("Sports", ("World", "Sports"), 1),
        ("**sports**.\nBecause World ...", ("World", "Sports"), 1),
        ("Answer: world, not sports", ("World", "Sports"), 0),
        ("<think>World?</think>\nSports", ("World", "Sports"), 1),
        ("non-offensive", ("offensive", "non-offensive"), 1),
        ("offensive", ("non-offensive", "offensive"), 1),
        ("transport", ("sport", "art"), None),
        ("2", ("1", "2"), 1),
        ("", ("1", "2"), None),
        ("I cannot say.", ("World", "Sports"), None),
    ],
)
def test_an_answer_is_the_class_that_it_names_first(answer: str, labels: tuple[str, ...], said: int | None):
    assert foretold(answer, labels) == said


def test_the_question_has_examples_the_text_and_the_names_and_only_that():
    labels, examples = ("World", "Sports"), [("A  goal.", 1), ("A war.", 0)]
    without = question(examples, "x" * 400, (), labels)
    with_names = question(examples, "x" * 400, ("gold medal", "strike"), labels)
    for asked in (without, with_names):
        assert "Text: A goal.\nAnswer: Sports\nText: A war.\nAnswer: World\n" in asked
        assert "x" * 300 in asked
        assert "x" * 301 not in asked
        assert asked.endswith("Reply with one of World, Sports, and nothing else.")
    added = "\nConcepts that it finds in this text, the strongest first: gold medal; strike."
    assert with_names.replace(added, "") == without


def test_a_reader_asks_and_understands():
    asked = []
    read = reader(lambda q: asked.append(q) or "Sports.", ("World", "Sports"))
    assert read([("A war.", 0)], "A goal.", ("medal",)) == 1
    assert asked == [question([("A war.", 0)], "A goal.", ("medal",), ("World", "Sports"))]


class Ones:
    fingerprint = "ones"

    def __call__(self, texts, /, *, on_step=None) -> Tensor:
        return torch.eye(4)[:1].repeat(len(texts), 1)


def test_a_legend_has_the_decisions_and_codes_of_its_rows(train: Activations, tail: nn.Linear):
    concepts, rows = Random(n_concepts=3, top_k=1).fit(train, tail), torch.tensor([5, 2])
    held = Sentences(("five", "two"), Ones()(["five", "two"]), "ones")
    given = {"rows": rows, "sentences": held, "encoder": Ones()}
    legend = Legend.of(["a", "b", "c"], concepts, train, ("x", "y", "z"), **given)
    assert legend.decisions.equal(train.predictions[rows])
    assert legend.codes.equal(concepts.encode(train.hidden[rows]))
    assert (legend.names.texts, legend.classes.texts) == (("a", "b", "c"), ("x", "y", "z"))
    with pytest.raises(MismatchError, match="2 names and 3 concepts"):
        Legend.of(["a", "b"], concepts, train, ("x",), **given)
    with pytest.raises(MismatchError, match="the sentences must be those of the rows"):
        Legend.of(["a", "b", "c"], concepts, train, ("x",), **(given | {"rows": rows[:1]}))
