"""Names foretell decisions by what they mean: the class wins, names that say nothing or are wrong do not."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from classifsae.activations import Activations
from classifsae.bottleneck import Evaluation
from classifsae.concepts.random import Random
from classifsae.errors import ClassifSAEError, ConfigError, MismatchError
from classifsae.meaning.legend import Legend
from classifsae.meaning.sentences import Sentences
from classifsae.metrics import score
from classifsae.metrics.simulatability import (
    Simulatability,
    SimulatabilityResult,
    by_class,
    drawn,
    prototypes,
    spoken,
    strongest_names,
)
from classifsae.tensors import Tensor
from known_world import N_CLASSES, N_TOPICS, N, World

CELLS = N_CLASSES * N_TOPICS
OF_CLASS = torch.eye(N_CLASSES).repeat_interleave(N_TOPICS, dim=1)  # the cells of each class


def sentences(rows: Tensor, texts: Sequence[str] | None = None) -> Sentences:
    named = texts or [f"text {i}" for i in range(len(rows))]
    return Sentences(tuple(named), normalize(rows.float(), dim=1), "e")


def noisy(world: World, seed: int) -> Sentences:
    """Sentences that tell their class to the encoder, but not always."""
    noise = torch.randn(N, CELLS, generator=torch.Generator().manual_seed(seed))
    return sentences(torch.eye(CELLS)[world.cells] + 0.7 * noise)


def legend_of(world: World, names: Tensor, codes: Tensor, **changes: object) -> Legend:
    """What a reader knows of a training split, here of another world than the one of the test split."""
    made = Legend(
        names=sentences(names, [f"name {j}" for j in range(len(names))]),
        classes=sentences(OF_CLASS, [f"class {c}" for c in range(N_CLASSES)]),
        examples=noisy(world, seed=7),
        decisions=world.classes,
        codes=codes,
    )
    return replace(made, **changes)


def told(names: Tensor, kind: str = "of_class", *, train: Tensor | None = None, test: Tensor | None = None):
    """The score of these names for concepts that are the classes, or the cells."""
    here, there = World(0), World(1)
    codes = getattr(here, kind) if test is None else test
    legend = legend_of(there, names, getattr(there, kind) if train is None else train)
    evaluation = replace(here.evaluate(codes), sentences=noisy(here, seed=3), legend=legend)
    return Simulatability().measure(evaluation)


def test_the_class_under_its_own_name_has_all_there_is_to_have():
    result = told(OF_CLASS)
    assert 0.5 < result.foretold_from_text < 0.9
    assert result.foretold_with_names == 1
    assert result.simulatability == pytest.approx(1 - result.foretold_from_text)


def test_names_of_parts_of_a_class_foretell_it_too():
    assert told(torch.eye(CELLS), "of_cell").foretold_with_names > 0.95


def test_shuffled_names_are_not_heeded():
    result = told(OF_CLASS.roll(1, dims=0))
    assert (result.simulatability, result.weight) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_random_names_foretell_nothing(seed: int):
    names = torch.randn(CELLS, CELLS, generator=torch.Generator().manual_seed(seed))
    shifted = names - names.mean(dim=1, keepdim=True)
    unrelated = shifted - shifted @ OF_CLASS.T @ OF_CLASS / N_TOPICS  # of no class
    assert abs(told(unrelated, "of_cell").simulatability) < 0.03


def test_names_that_are_all_alike_foretell_nothing():
    assert told(torch.ones(N_CLASSES, CELLS)).simulatability == pytest.approx(0, abs=1e-9)


def test_right_names_on_the_wrong_sentences_foretell_nothing():
    here, order = World(0), torch.randperm(N, generator=torch.Generator().manual_seed(5))
    result = told(OF_CLASS, train=World(1).of_class[order], test=here.of_class[order])
    assert result.simulatability == pytest.approx(0, abs=0.02)


def test_concepts_that_never_fire_leave_the_text_alone():
    assert told(OF_CLASS, train=torch.zeros(N, 3), test=torch.zeros(N, 3)).simulatability == 0
    assert told(OF_CLASS, train=-World(1).of_class, test=-World(0).of_class).simulatability == 0


def test_the_weight_of_the_names_is_chosen_on_the_training_split():
    assert told(OF_CLASS, test=World(0).of_class.roll(1, dims=1)).simulatability < -0.3  # it was misled
    assert told(OF_CLASS).weight == told(OF_CLASS, test=torch.rand(N, 3)).weight


def test_the_order_of_concepts_and_their_scale_change_nothing():
    order = torch.tensor([2, 0, 1])
    moved = told(OF_CLASS[order], train=World(1).of_class[:, order], test=5 * World(0).of_class[:, order])
    assert moved.simulatability == pytest.approx(told(OF_CLASS).simulatability)


def test_parts_by_hand():
    assert by_class(torch.tensor([True, True, True, False]), torch.tensor([0, 0, 0, 2])) == 0.5
    assert math.isnan(by_class(torch.tensor([], dtype=torch.bool), torch.tensor([], dtype=torch.long)))
    codes = torch.tensor([[3.0, 1.0, -5.0], [0.0, 0.0, 0.0]])
    assert spoken(codes, torch.eye(3)).tolist() == [[0.75, 0.25, 0], [0, 0, 0]]
    assert strongest_names(codes, ["a", "b", "c"]) == [["a", "b"], []]
    examples = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    shown = torch.tensor([[[True, True, False, False], [False, False, True, False]]])
    (view,) = prototypes(shown, examples, torch.eye(2))
    torch.testing.assert_close(view, torch.tensor([[1.0, -1], [-1, 1]]) / 2**0.5)
    shown[0, 1] = False  # a class that is never answered is its name
    assert prototypes(shown, examples, torch.eye(2))[0].equal(view)


def test_examples_are_of_their_class_and_half_of_it_at_most():
    decisions = torch.tensor([0] * 30 + [1] * 5 + [2])
    shown = drawn(decisions, 4, 10, 6, torch.Generator().manual_seed(0))
    assert shown.sum(dim=2).tolist() == [[10, 2, 0, 0]] * 6
    for c in range(3):
        assert not shown[:, c, decisions != c].any()
    assert not shown[0].equal(shown[1])


def asked(read, **options: int) -> SimulatabilityResult:
    here, there = World(0), World(1)
    legend = legend_of(there, OF_CLASS, there.of_class, read=read)
    evaluation = replace(here.evaluate(here.of_class), legend=legend)
    return Simulatability(**options).measure(evaluation)


def test_a_language_model_is_asked_with_and_without_names_about_some_texts():
    questions = []

    def read(examples: Sequence[tuple[str, int]], text: str, names: Sequence[str]) -> int | None:
        questions.append((tuple(examples), text, tuple(names)))
        return int(names[0].removeprefix("name ")) if names else 0

    result = asked(read, n_texts=40, n_examples=3)
    assert result.foretold_with_names == 1
    assert result.foretold_from_text == pytest.approx(1 / 3)
    assert (result.read_by, result.failure) == ("language model", "")
    assert math.isnan(result.weight)
    assert len(questions) == 80
    assert len({examples for examples, _, _ in questions}) == 1  # the same with and without names
    assert [c for _, c in questions[0][0]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [names for _, _, names in questions[::2]] == [()] * 40


def test_no_answer_is_a_wrong_answer_and_a_model_that_fails_gives_no_number():
    assert asked(lambda *_: None).foretold_with_names == 0

    def fail(*_: object) -> int:
        raise ClassifSAEError("it answered 401")

    result = asked(fail)
    assert math.isnan(result.simulatability)
    assert result.failure == "it answered 401"
    assert result.as_json()["simulatability"]["value"] is None


def test_what_is_missing_is_said(train: Activations, test: Activations, tail: nn.Linear):
    concepts = Random(n_concepts=3, top_k=1).fit(train, tail)
    given = sentences(torch.ones(len(test), 4))
    with pytest.raises(ConfigError, match="simulatability needs the test sentences"):
        score(concepts, tail, test, metrics=["simulatability"])
    with pytest.raises(ConfigError, match="simulatability needs the names of the concepts"):
        score(concepts, tail, test, metrics=["simulatability"], sentences=given)
    here = World(0)
    evaluation: Evaluation = replace(
        here.evaluate(here.of_class),
        sentences=replace(noisy(here, 3), encoder="another"),
        legend=legend_of(here, OF_CLASS, here.of_class),
    )
    with pytest.raises(MismatchError, match="one encoder"):
        Simulatability().measure(evaluation)
