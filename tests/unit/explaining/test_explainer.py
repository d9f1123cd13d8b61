"""Explanations by hand: states are sums of word vectors, and the tail reads the first three neurons."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from rich.console import Console
from torch import nn

from classifsae.activations import Source
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts.base import Concepts
from classifsae.errors import DataError, MismatchError
from classifsae.explaining import explainer as explaining
from classifsae.explaining.explainer import Explainer, explain, names_of, without_word, word_spans
from classifsae.explaining.terminal import printed
from classifsae.meaning.descriptions import Description
from classifsae.tensors import Tensor

WIDTH = 4
NAMES = ("sports", "money", "space")
SOURCE = Source(model="model", layer=2, prompt="", dataset="data")
VECTORS = {
    "goal": (2.0, 0, 0, 0),
    "match": (1.0, 0, 0, 0),
    "bank": (0, 1.0, 0, 0),
    "star": (0, 0, 1.0, 0),
    "oh": (0, 0, 0, 1.0),
}


@dataclass(frozen=True)
class States:
    hidden: Tensor
    logits: Tensor


class Toy:
    """Reads the first ``limit`` characters; a state is the sum of its words' vectors."""

    label_names, layer, prompt, fingerprint = NAMES, 2, "", "model"

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self._linear = nn.Linear(WIDTH, 3, bias=False).requires_grad_(False)
        self._linear.weight.copy_(torch.eye(3, WIDTH))

    def read(self, texts: Sequence[str], /) -> States:
        vectors = [[VECTORS.get(w, (0,) * WIDTH) for w in t[: self.limit].split()] for t in texts]
        hidden = torch.stack([torch.tensor([[0.0] * WIDTH, *rows]).sum(dim=0) for rows in vectors])
        return States(hidden, self.tail(hidden))

    def span(self, text: str, /) -> tuple[int, int]:
        return 0, min(len(text), self.limit)

    def reach(self, text: str, span: tuple[int, int], /) -> tuple[int, int]:
        return 0, len(text)

    def tail(self, hidden: Tensor, /) -> Tensor:
        return self._linear(hidden)


def concepts_of(encoder: Tensor, decoder: Tensor) -> Concepts:
    m = len(decoder)
    return Concepts(
        coder=LinearCoder(mean=torch.zeros(WIDTH), encoder=encoder, decoder=decoder),
        kept=torch.arange(m),
        class_activation=torch.ones(m, 3),
        activation=torch.ones(m),
        source=SOURCE,
        method="toy",
    )


NEURONS = concepts_of(torch.eye(WIDTH), torch.eye(WIDTH))


def probability(logits: Sequence[float], label: int) -> float:
    return torch.tensor(logits).double().softmax(dim=0)[label].item()


def test_label_shares_and_removals_by_hand():
    found = explain(Toy(), NEURONS, "goal match bank")  # (3, 1, 0, 0)
    assert found.classifier.probabilities["sports"] == pytest.approx(probability((3, 1, 0), 0))
    assert found.rebuilt.probabilities == pytest.approx(found.classifier.probabilities)
    assert [(c.name, c.share) for c in found.concepts] == [
        ("concept 0", pytest.approx(75)),
        ("concept 1", pytest.approx(25)),
    ]
    first, second = found.concepts
    norm = 10**0.5  # what is left is brought to the norm of the whole state
    assert first.without.label == "money"
    assert first.change == pytest.approx(probability((0, norm, 0), 0) - probability((3, 1, 0), 0), abs=1e-6)
    assert second.without.label == "sports"
    assert second.change == pytest.approx(probability((norm, 0, 0), 0) - probability((3, 1, 0), 0), abs=1e-6)
    assert (found.flip.removed, found.flip.proven) == ((0,), True)


@dataclass(frozen=True)
class Signed:
    pattern: str = "bank"
    class_name: str = "money"

    def without(self, text: str) -> str | None:
        left = " ".join(word for word in text.split() if word != self.pattern)
        return None if left == text else left


def test_a_shortcut_that_the_text_has_is_named_with_the_answer_without_it():
    found = explain(Toy(), NEURONS, "bank bank match", shortcuts=[Signed(), Signed("star", "space")])
    (shortcut,) = found.shortcuts
    assert (shortcut.pattern, shortcut.class_name, shortcut.without.label) == ("bank", "money", "sports")
    assert shortcut.without.probabilities["sports"] == pytest.approx(probability((1, 0, 0), 0))
    assert found.words is not None
    assert len(found.words) == 3
    assert "Has 'bank', on which decisions for money hang; without it: sports 0.58" in repr(found)
    assert "shortcut" not in repr(explain(Toy(), NEURONS, "goal", shortcuts=[Signed()]))


def test_two_concepts_that_stand_for_each_other_must_go_together():
    half = torch.tensor([[0.5, 0.5, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
    both = concepts_of(half, torch.eye(3, WIDTH)[[0, 0, 1]])
    found = explain(Toy(), both, "goal goal bank")  # codes (2, 2, 1): either alone still beats the bank
    assert [c.without.label for c in found.concepts] == ["sports"] * 3
    assert (found.flip.removed, found.flip.proven, found.flip.searched) == ((0, 1), True, 2)
    assert found.flip.without is not None
    assert found.flip.without.label == "money"


def random_case(seed: int, *, m: int) -> tuple[Concepts, str]:
    generator = torch.Generator().manual_seed(seed)
    encoder = torch.randn(WIDTH, m, generator=generator)
    decoder = torch.randn(m, WIDTH, generator=generator)
    words = torch.randint(len(VECTORS), (6,), generator=generator).tolist()
    return concepts_of(encoder, decoder), " ".join(list(VECTORS)[w] for w in words)


def flips(concepts: Concepts, text: str, removed: Sequence[int]) -> bool:
    """One set at a time, by the definition."""
    toy = Toy()
    hidden = toy.read([text]).hidden
    codes = concepts.encode(hidden)
    labels = []
    for gone in ((), removed):
        left = codes.clone()
        for j in gone:
            left[0, j] = 0
        state = concepts.decode(left)
        state = state * hidden.norm() / (state.norm() + 1e-9)
        labels.append(int(toy.tail(state)[0].argmax()))
    return labels[0] != labels[1]


@pytest.mark.parametrize("seed", range(25))
def test_no_smaller_set_flips_than_the_one_named(seed: int):
    concepts, text = random_case(seed, m=6)
    flip = explain(Toy(), concepts, text, words=False).flip
    sizes = [
        size
        for size in range(1, 7)
        if any(flips(concepts, text, removed) for removed in itertools.combinations(range(6), size))
    ]
    assert flip.proven
    assert len(flip.removed) == (sizes[0] if sizes else 0)
    assert not flip.removed or flips(concepts, text, flip.removed)


@pytest.mark.parametrize("seed", range(25))
def test_beyond_the_limit_a_set_that_flips_is_named_but_not_as_the_smallest(
    seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(explaining, "MOST_SETS", 6)  # sets of one only
    concepts, text = random_case(seed, m=6)
    flip = explain(Toy(), concepts, text, words=False).flip
    assert not flip.removed or flips(concepts, text, flip.removed)
    assert flip.searched == 1
    assert flip.proven == (len(flip.removed) == 1)


def test_a_text_on_which_nothing_fires_says_so():
    found = explain(Toy(), NEURONS, "nothing known here")
    assert (found.concepts, found.flip.removed, found.flip.without) == ((), (), None)
    assert found.flip.proven
    assert "No concept fires" in shown(found)


def test_the_data_frame_of_a_text_on_which_nothing_fires_has_its_columns():
    frame = explain(Toy(), NEURONS, "unheard").to_pandas()
    assert len(frame) == 0
    assert list(frame.columns) == list(explain(Toy(), NEURONS, "goal").to_pandas().columns)
    assert "adds to money" in frame.columns


def test_a_word_carries_the_share_of_the_activation_that_goes_with_it():
    found = explain(Toy(), NEURONS, "goal, no: match goal bank")
    sports, money = found.concepts
    assert [(c.text, c.lost) for c in sports.carriers] == [
        ("goal", pytest.approx(2 / 3)),  # "goal," is no word that the toy knows
        ("match", pytest.approx(1 / 3)),
    ]
    assert [(c.text, c.lost) for c in money.carriers] == [("bank", 1.0)]
    assert found.words is not None
    assert [w.text for w in found.words] == ["goal,", "no:", "match", "goal", "bank"]
    assert [found.text[w.start : w.end] for w in found.words] == [w.text for w in found.words]
    expected = probability((1, 1, 0), 0) - probability((3, 1, 0), 0)
    assert found.words[3].change == pytest.approx(expected, abs=1e-6)
    assert found.words[0].change == 0


def test_a_negative_activation_is_carried_as_a_positive_one_is():
    turned = concepts_of(-torch.eye(WIDTH), -torch.eye(WIDTH))
    plain, negative = (explain(Toy(), c, "goal match bank") for c in (NEURONS, turned))
    assert [c.activation for c in negative.concepts] == [-c.activation for c in plain.concepts]
    assert [c.carriers for c in negative.concepts] == [c.carriers for c in plain.concepts]


def test_words_are_not_left_out_where_they_are_not_asked_for_or_there_is_only_one():
    assert explain(Toy(), NEURONS, "goal match", words=False).words is None
    assert explain(Toy(), NEURONS, " goal ").words is None


def test_only_words_that_are_read_are_left_out():
    found = explain(Toy(limit=6), NEURONS, "goal bank star")
    assert found.is_cut
    assert [w.text for w in found.words or ()] == ["goal", "bank"]
    assert "only characters 0 to 6 of 14 are read" in shown(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's  a test.\nAgain", ["It's", "a", "test.", "Again"]),
        ("good 🙂👍 day", ["good", "🙂👍", "day"]),
        ("油价上涨 today", ["油", "价", "上", "涨", "today"]),
        ("naïve café", ["naïve", "café"]),
        ("   ", []),
    ],
)
def test_words_are_what_stands_between_spaces_and_single_characters_in_han(text: str, words: list[str]):
    assert [text[start:end] for start, end in word_spans(text, (0, len(text)))] == words


@pytest.mark.parametrize(
    ("text", "word", "rest"),
    [
        ("one two three", "one", "two three"),
        ("one two three", "two", "one three"),
        ("one two three", "three", "one two"),
        ("油价上涨", "价", "油上涨"),
        ("a 油价", "油", "a 价"),
        ("油 b", "油", "b"),
    ],
)
def test_a_word_goes_with_one_space(text: str, word: str, rest: str):
    start = text.index(word)
    assert without_word(text, start, start + len(word)) == rest


def test_a_list_gives_a_list_and_one_text_one_explanation():
    one, two = explain(Toy(), NEURONS, ["goal", "bank star"])
    assert one == explain(Toy(), NEURONS, "goal")
    assert two == explain(Toy(), NEURONS, "bank star")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(text: str):
    with pytest.raises(DataError, match="cannot explain an empty text"):
        explain(Toy(), NEURONS, text)


def test_half_a_character_is_refused():
    with pytest.raises(DataError, match="not valid Unicode"):
        explain(Toy(), NEURONS, "goal \udcff")


@pytest.mark.parametrize(("field", "value"), [("fingerprint", "other"), ("layer", 1), ("prompt", "other")])
def test_concepts_of_another_classifier_are_refused(field: str, value: object):
    toy = Toy()
    setattr(toy, field, value)
    what = "model" if field == "fingerprint" else field
    with pytest.raises(MismatchError, match=f"another {what} than"):
        explain(toy, NEURONS, "goal")


def test_concepts_have_their_descriptions_names_and_else_their_latents():
    described = Description(position=1, latent=1, name="banks, loans", words=(), sentences=())
    assert names_of(NEURONS, [described]) == ("concept 0", "banks, loans", "concept 2", "concept 3")


def shown(explanation: explaining.Explanation) -> str:
    console = Console(width=80, file=io.StringIO(), legacy_windows=False)
    console.print(printed(explanation, legend=True), highlight=False)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


def test_the_printed_form_says_everything_in_80_columns():
    names = ("football goals", "[bold]banks[/bold]", "2", "3")
    text = shown(Explainer(Toy(), NEURONS, names).explain("goal match bank"))
    assert text.startswith("goal match bank Label: sports 0.84 (money 0.11, space 0.04)")
    assert "75 %" in text
    assert "75 % sports +2.4 money 0.92 goal 67%, match 33% money \N{MINUS SIGN}1.7" in text
    assert "25 % money +1.4 sports 0.92 bank 100% sports \N{MINUS SIGN}0.7" in text
    assert "[bold]banks[/bold]" in text
    assert "alone the label becomes money 0.92." in text


def test_the_legend_speaks_of_words_only_where_there_are_some():
    for words in (True, False):
        text = shown(Explainer(Toy(), NEURONS, ("a", "b", "c", "d"), words=words).explain("goal match bank"))
        assert "without it: label and probability" in text
        assert ("bold in the text" in text) == words


def test_a_long_name_is_folded_within_80_columns():
    names = ("football, goals, matches and whatever else belongs to them in a text of sports", "b", "c", "d")
    assert "whatever else" in shown(Explainer(Toy(), NEURONS, names).explain("goal match bank"))


def test_a_label_that_the_concepts_do_not_give_is_not_explained_by_them():
    only_money = concepts_of(torch.eye(WIDTH)[:, [1]], torch.eye(WIDTH)[[1]])
    text = shown(explain(Toy(), only_money, "goal bank"))
    assert "they do not explain this one: money" in text
    assert (
        'The concepts give money; without "concept 0" they give the classifier\'s own label, sports' in text
    )


def test_a_label_that_no_removal_changes_is_said_to_stay():
    text = shown(explain(Toy(), NEURONS, "goal"))
    assert "sports is what the classifier answers from no concept at all, and no removal changes the" in text
    assert "the label: all sets of them were tried." in text


def test_where_only_all_concepts_together_decide_it_says_so():
    only = concepts_of(torch.eye(WIDTH)[:, [1, 1]] / 2, torch.eye(WIDTH)[[1, 1]])
    text = shown(explain(Toy(), only, "bank bank"))
    assert "changes only without both concepts that fire: then it is sports 0.33" in text


def test_many_concepts_that_must_go_are_not_all_listed():
    n = 12
    spread = concepts_of(torch.eye(WIDTH)[:, [0] * n + [1]] / n, torch.eye(WIDTH)[[0] * n + [1]])
    text = shown(explain(Toy(), spread, "goal match bank bank", words=False))
    assert "and 3 more that fire" in text
    assert '"concept 9" and 2 more the label becomes money' in text
    assert "not all sets of more than 6 were tried." in text
