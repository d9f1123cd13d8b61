"""Margins within the class, by hand, and the cheats that must not win them."""

import math

import pytest
import torch

from classifsae.activations import Activations
from classifsae.bottleneck import Evaluation, evaluate
from classifsae.concepts import Concepts
from classifsae.concepts._linear import LinearCoder
from classifsae.metrics import margins
from classifsae.metrics.margins import Decisions, Margins, closed, gap, some_of_each
from classifsae.tensors import Tensor
from known_world import N_CLASSES, SOURCE, World

WORLD = World()


def slope(hidden: Tensor, /) -> Tensor:
    """A tail whose margin is 2 + the sine of the state's angle."""
    return torch.stack([2 + hidden[:, 1] / hidden.norm(dim=1), hidden.new_zeros(len(hidden))], dim=1)


def coordinates(hidden: Tensor) -> Evaluation:
    """Concepts are the coordinates of the states; the tail is ``slope``."""
    m = hidden.shape[1]
    concepts = Concepts(
        coder=LinearCoder(mean=torch.zeros(m), encoder=torch.eye(m), decoder=torch.eye(m)),
        kept=torch.arange(m),
        class_activation=torch.ones(m, 2),
        activation=torch.ones(m),
        source=SOURCE,
        method="linear",
    )
    logits = slope(hidden)
    ids = tuple(map(str, range(len(hidden))))
    made = Activations(hidden, logits, logits.argmax(dim=1), ids, SOURCE)
    return evaluate(concepts, slope, made)


def test_one_concept_that_is_the_whole_gap_by_hand():
    """Half of the sentences have the second concept: margins 2 + sqrt(1/2) and 2, 2 deviations apart."""
    view = coordinates(torch.tensor([[1.0, 1.0], [1.0, 0.0]]).repeat(6, 1))
    found = Margins().measure(view)
    first, second = found.concepts
    assert (first.gap, first.removed, first.added) == (0, 0, 0)  # it fires everywhere
    assert (second.gap, second.removed, second.added) == pytest.approx((2, 2, 2), abs=1e-5)
    # 6 firings that close a gap of 2, and 12 of the first concept that count 0
    assert (found.margin_removed, found.margin_added, found.margin_gap) == pytest.approx((2 / 3,) * 3)


def test_margins_are_those_over_the_runner_up_by_hand():
    """Two runners-up: the margins over each are told apart, though every sentence has a margin of 1."""
    logits = torch.tensor([[3.0, 2.0, 0.0], [3.0, 0.0, 2.0]])
    found = Decisions.of(logits)
    assert found.kinds.tolist() == [[0, 1], [0, 2]]
    assert found.units.tolist() == [1, 1]  # of 1 and 3
    assert found.margins(logits, torch.tensor([0, 1])).tolist() == [1, 1]
    assert found.margins(logits.flip(0), torch.tensor([0, 1])).tolist() == [3, 3]


def test_margins_that_differ_by_rounding_alone_are_equal():
    logits = torch.tensor([[0.1, -0.7], [0.1, -0.7], [0.1, -0.7000001]])
    assert Decisions.of(logits).units.tolist() == [0]


def test_gaps_by_hand():
    fires = torch.tensor([[1, 1, 0], [0, 1, 0]]).bool().repeat(5, 1)
    margins = torch.tensor([3.0, 1.0]).double().repeat(5)
    assert gap(fires, margins).tolist() == [2, 0, 0]  # the others fire always, or never


def test_a_sentence_on_which_nothing_fires_counts_nothing():
    half = World().evaluate(WORLD.of_cell[:, :2])  # the topics of the first class alone
    whole = World().evaluate(WORLD.of_cell)
    first = Margins().measure(whole).concepts[:2]
    expected = sum(e.support * abs(e.gap) for e in first) / len(WORLD.classes)
    assert Margins().measure(half).margin_gap == pytest.approx(expected)


def test_only_what_closes_the_gap_is_counted():
    gap = torch.tensor([[1.0, -1.0, 1.0, 0.0, 1.0]])
    change = torch.tensor([[[0.4, -3.0, -2.0, 5.0, math.nan]]])
    assert closed(change, gap).flatten().tolist() == pytest.approx([0.4, 1, 0, 0, 0])


def test_some_sentences_of_each_concept_and_class():
    chosen = torch.ones(40, 2, dtype=torch.bool)
    chosen[:, 1] = torch.arange(40) < 3
    classes = torch.arange(40) % 2
    rows, columns = some_of_each(chosen, classes, at_most=5, generator=torch.Generator().manual_seed(0))
    cells = (classes[rows] * 2 + columns).bincount(minlength=4)
    assert cells.tolist() == [5, 2, 5, 1]
    assert chosen[rows, columns].all()
    assert len({*zip(rows.tolist(), columns.tolist(), strict=True)}) == 13


def test_the_same_sentences_are_drawn_however_many_concepts_are_gone_through_at_once(
    monkeypatch: pytest.MonkeyPatch,
):
    draws = torch.Generator().manual_seed(1)
    chosen, kinds = torch.rand(90, 7, generator=draws) < 0.4, torch.randint(3, (90,), generator=draws)
    found = []
    for at_once in (1 << 20, 2 * len(chosen), 1):
        monkeypatch.setattr(margins, "_ENTRIES_PER_BLOCK", at_once)
        generator = torch.Generator().manual_seed(0)
        found.append(torch.stack(some_of_each(chosen, kinds, at_most=4, generator=generator)))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_class_and_topic_close_most_of_the_gap_and_more_than_chance():
    logits_of_cells = torch.stack([WORLD.logits[WORLD.cells == j][0] for j in range(6)])
    codes = torch.cat([WORLD.of_class, WORLD.of_cell], dim=1)
    means = torch.stack([logits_of_cells[2 * c : 2 * c + 2].mean(dim=0) for c in range(N_CLASSES)])
    beyond = logits_of_cells - means.repeat_interleave(2, dim=0)
    found = Margins().measure(WORLD.evaluate(codes, torch.cat([means, beyond])))
    assert found.margin_gap > 0.4
    assert found.net_margin_removed > 0.2
    assert found.net_margin_added > 0.2


def test_the_classes_alone_score_nothing():
    found = Margins().measure(WORLD.evaluate(WORLD.of_class))
    scores = [score.value for score in found.scores()]
    assert scores == [0] * 5


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("refitted", [True, False])
def test_codes_shuffled_within_the_class_score_about_nothing(refitted: bool, seed: int):
    logits_of_cells = None
    if not refitted:
        logits_of_cells = torch.stack([WORLD.logits[WORLD.cells == j][0] for j in range(6)])
    found = Margins().measure(WORLD.evaluate(WORLD.shuffled(WORLD.of_cell, seed), logits_of_cells))
    assert found.net_margin_removed == pytest.approx(0, abs=0.1)
    assert found.net_margin_added == pytest.approx(0, abs=0.1)


def test_being_one_hot_wins_nothing_by_removal():
    """Without its only concept a sentence has no state; a random change as large closes as much."""
    found = Margins().measure(WORLD.evaluate(WORLD.of_cell))
    assert found.net_margin_removed < 0.05


def test_random_directions_score_about_nothing():
    draws = torch.Generator().manual_seed(3)
    states = torch.randn(400, 40, generator=draws)
    states[:, 0] = 3 * states[:, 1].abs()
    turned = torch.linalg.qr(torch.randn(40, 40, generator=draws)).Q
    hidden = torch.cat([states @ turned, states.new_zeros(400, 0)], dim=1)
    found = Margins().measure(coordinates(hidden))
    assert abs(found.net_margin_removed) < 0.1
    assert abs(found.net_margin_added) < 0.1


def test_duplicates_win_nothing():
    codes = torch.cat([WORLD.of_class, WORLD.of_cell], dim=1)
    once = Margins().measure(WORLD.evaluate(codes))
    twice = Margins().measure(WORLD.evaluate(torch.cat([codes, codes], dim=1)))
    assert twice.margin_gap == pytest.approx(once.margin_gap)
    assert twice.margin_removed <= once.margin_removed + 1e-6


def test_the_same_seed_gives_the_same_numbers():
    view = WORLD.evaluate(WORLD.of_cell)
    assert Margins(seed=3).measure(view) == Margins(seed=3).measure(view)
