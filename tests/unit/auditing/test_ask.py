"""A concept of one's own: told by a probe, used or not, and what the class alone does not win."""

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from sklearn.metrics import roc_auc_score

from classifsae.activations import Activations
from classifsae.auditing.ablation import Accuracy, Direction, ablate, random_directions, whole, within_class
from classifsae.auditing.answers import Rate
from classifsae.auditing.ask import MOST, Answer, Found, ask, more_than, with_words
from classifsae.auditing.ask_terminal import printed_answers, save_answers
from classifsae.auditing.probe import Area, Probe, area_interval
from classifsae.errors import ConfigError, DataError, MismatchError
from shortcut_world import World, world
from unit.auditing.test_effects import neurons

SIGNATURE = "Sent from my tablet"


@pytest.fixture(scope="module")
def shortcut() -> World:
    return world(weight=2.5, rate=0.8)


@pytest.fixture(scope="module")
def unused() -> World:
    return world(weight=0.0, rate=0.8)


def asked(of: World, **given: object) -> Answer:
    return ask(of.model, of.train, of.test, **{"name": "signature", **of.activations, **given})


def test_a_signature_that_decides_is_told_used_and_overlaps_with_its_concept(shortcut: World):
    names = ("words of sports", "words of money", "signed")
    answer = asked(shortcut, words=[SIGNATURE], concepts=neurons(), names=names)
    assert answer.auroc.value == pytest.approx(1, abs=0.01)
    assert answer.auroc_within is not None
    assert answer.auroc_within.value == pytest.approx(1, abs=0.01)
    assert answer.is_used
    assert "The classifier uses it" in answer.finding
    assert [phrase.text for phrase in answer.text.phrases] == [SIGNATURE]
    assert (answer.overlaps[0].name, answer.overlaps[0].jaccard) == ("signed", 1)
    assert answer.n_marked == sum(with_words(shortcut.test.texts, [SIGNATURE])).item()
    assert answer.text.into is not None
    assert answer.text.into.value > 0.5


def test_the_words_of_a_concept_are_found_where_only_its_texts_are_given(shortcut: World):
    has = with_words(shortcut.train.texts, [SIGNATURE]).tolist()
    answer = asked(shortcut, has=has)
    assert answer.text.phrases[0].text == SIGNATURE
    assert answer.text.phrases[0].lost > 0.5
    assert answer.is_used


def test_a_signature_that_the_classifier_sees_and_does_not_use_is_told_and_not_used(unused: World):
    answer = asked(unused, words=[SIGNATURE])
    assert answer.is_told
    assert answer.beyond_class.marked is not None
    assert answer.beyond_class.marked.changed.value < 0.05
    assert not answer.is_used
    assert "Nothing shows that the classifier uses it" in answer.finding


def test_the_class_under_another_name_is_neither_told_nor_used():
    """The cheat: marks that the classifier cannot see, four fifths of one class; the class tells them."""
    of = world(weight=0.0, rate=0.0)
    draws = torch.rand(len(of.train), generator=torch.Generator().manual_seed(3))
    money = torch.tensor(of.train.labels) == 1
    answer = asked(of, has=(money & (draws < 0.8)).tolist())
    assert answer.auroc.value > 0.7
    assert answer.removed.everywhere.changed.value > 0.2  # its direction is that of the class
    assert answer.auroc_within is not None
    assert answer.auroc_within.value == pytest.approx(0.5, abs=0.08)
    assert not answer.is_told
    assert not answer.beyond_class.everywhere.is_above
    assert "no better than the class does" in answer.finding


def test_marks_of_half_a_class_are_not_used_though_words_of_the_class_are(shortcut: World):
    draws = torch.rand(len(shortcut.train), generator=torch.Generator().manual_seed(4))
    answer = asked(shortcut, has=((torch.tensor(shortcut.train.labels) == 1) & (draws < 0.5)).tolist())
    assert SIGNATURE in [phrase.text for phrase in answer.text.phrases]
    assert answer.text.is_above
    assert not answer.is_told
    assert not answer.is_used
    assert "they may be words of the class" in answer.finding


def test_a_concept_that_is_the_predicted_class_says_so(shortcut: World):
    answer = asked(shortcut, has=[label == 1 for label in shortcut.train.labels])
    assert answer.auroc_within is None
    assert "by the class alone" in answer.finding


def test_examples_that_are_training_texts_are_these_and_others_are_read(shortcut: World):
    has = with_words(shortcut.train.texts, [SIGNATURE]).tolist()
    own = [f"  {text.upper()} " for text, member in zip(shortcut.train.texts, has, strict=True) if member]
    assert asked(shortcut, examples=own).auroc == asked(shortcut, has=has).auroc
    new = [f"Nothing {i} to see. {SIGNATURE}." for i in range(12)]
    others = [f"Nothing {i} to see." for i in range(15)]
    answer = asked(shortcut, examples=new, without=others)
    assert (answer.n_with, answer.n_without) == (12, 15)
    beside = asked(shortcut, examples=new)
    assert (beside.n_with, beside.n_without) == (12, len(shortcut.train))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"words": ["zebra"]}, "0 texts have the concept and 600 do not; at least 10 of each"),
        ({"examples": [f"new {i}" for i in range(9)]}, "9 texts have the concept and 600 do not"),
        ({"examples": ["A  text"], "without": ["a text"]}, "1 texts are given both with the concept and"),
        ({"has": [True, False]}, "has= says of 2 texts"),
    ],
)
def test_texts_that_cannot_be_learned_from_are_refused(given: dict[str, object], said: str, shortcut: World):
    with pytest.raises(DataError, match=said):
        asked(shortcut, **given)


def test_one_kind_of_question_is_asked(shortcut: World):
    for given in ({}, {"has": [True], "words": ["a"]}, {"words": ["a"], "examples": ["b"]}):
        with pytest.raises(ConfigError, match="one of has=, words= and examples="):
            asked(shortcut, **given)


def test_concepts_of_another_source_are_refused(shortcut: World):
    source = neurons().source.model_copy(update={"model": "another"})
    with pytest.raises(MismatchError, match="another model"):
        asked(shortcut, words=[SIGNATURE], concepts=neurons(source))


def test_an_area_by_hand_and_within_classes():
    scores, has = torch.tensor([1.0, 2, 3, 4]), torch.tensor([False, True, False, True])
    assert Area.of(scores, has).value == 0.75  # 3 of 4 pairs are in order
    classes = torch.tensor([0, 0, 1, 1])
    within = Area.within(scores, has, classes)
    assert within is not None
    assert (within.value, within.n_with, within.n_without) == (1, 2, 2)  # both pairs that are left are
    assert Area.within(scores, has, has.long()) is None


def test_the_interval_of_an_area_holds_it_is_symmetric_and_narrows():
    low, high = area_interval(1, 10, 10)
    assert high == 1
    assert 0.6 < low < 0.9  # ten of each say little
    assert area_interval(1, 1000, 1000)[0] > 0.99
    assert area_interval(0.5, 40, 60)[0] == pytest.approx(1 - area_interval(0.5, 40, 60)[1], abs=1e-3)
    assert area_interval(0.7, 40, 60)[0] == pytest.approx(1 - area_interval(0.3, 40, 60)[1], abs=1e-3)


def test_the_interval_of_an_area_covers():
    draws = torch.Generator().manual_seed(0)
    true, covered = 0.76025, 0  # Phi(1 / sqrt 2): two normals one deviation apart
    has = torch.arange(60) < 20
    for _ in range(200):
        area = Area.of(torch.randn(60, generator=draws) + has, has)
        covered += area.low <= true <= area.high
    assert covered / 200 > 0.9


def test_a_probe_is_chosen_by_held_out_scores_and_finds_its_direction():
    draws = torch.Generator().manual_seed(0)
    has = torch.rand(300, generator=draws) < 0.3
    hidden = torch.randn(300, 8, generator=draws) * torch.tensor([1.0] * 7 + [0.0])
    hidden[:, 2] += 3 * has
    probe = Probe.fit(hidden, has, seed=0)
    assert roc_auc_score(has, probe.held_out) > 0.95
    assert probe.weights.abs().argmax() == 2
    assert probe.weights[7] == 0  # it never varies
    assert (probe.marks(hidden) == has).float().mean() > 0.9
    shuffled = Probe.fit(hidden, has[torch.randperm(300, generator=draws)], seed=0)
    assert Area.of(shuffled.held_out, has).value < 0.65


def test_a_pattern_is_where_the_concept_is_and_not_how_it_is_best_read():
    """The second neuron is noise that the first has too: a readout subtracts it, and it holds no concept."""
    draws = torch.Generator().manual_seed(0)
    has = torch.arange(2000) % 2 == 0
    noise = torch.randn(2000, generator=draws)
    hidden = torch.stack([has.float() + noise, noise], dim=1)
    hidden = hidden + 0.05 * torch.randn(2000, 2, generator=draws)
    weights = Probe.fit(hidden, has, seed=0).weights
    assert weights[1] < -0.5 * weights[0]
    direction = whole(hidden, weights, 2)
    assert direction.unit[0] > 0.95


def test_a_state_is_moved_to_the_texts_without_the_concept_in_its_class():
    hidden = torch.tensor([[0.0, 0], [1, 0], [10, 0], [13, 0]])
    has, classes = torch.tensor([False, True, False, True]), torch.tensor([0, 0, 1, 1])
    direction = within_class(hidden, torch.tensor([1.0, 0]), has, classes, 2)
    assert direction.unit.abs().tolist() == [1, 0]
    assert direction.shifts(hidden, classes).abs().tolist() == [0, 1, 0, 3]


def test_a_direction_that_decides_whatever_the_class_changes_more_than_random_ones():
    draws = torch.Generator().manual_seed(0)
    labels, has = torch.arange(400) % 2, torch.rand(400, generator=draws) < 0.5
    hidden = torch.randn(400, 10, generator=draws)
    hidden[:, 0] = 2.0 * labels - 1 + 0.3 * hidden[:, 0]
    hidden[:, 1] = has + 0.1 * hidden[:, 1]
    weights = Probe.fit(hidden, has, seed=0).weights
    direction = within_class(hidden, weights, has, labels, 2)
    controls = random_directions(hidden, labels, seed=0)
    for weight, is_above in ((4.0, True), (0.0, False)):

        def tail(states: torch.Tensor, weight: float = weight) -> torch.Tensor:
            return torch.stack([0 * states[:, 0], states[:, 0] + weight * states[:, 1]], dim=1)

        source = neurons().source
        test = Activations(hidden, tail(hidden), labels, tuple(map(str, range(400))), source)
        found = ablate(direction, controls, tail, test, has)
        assert found.marked is not None
        assert found.marked.is_above == is_above
        assert (found.marked.changed.value > 0.3) == is_above


def test_controls_are_moved_as_far_and_lie_in_the_span(shortcut: World):
    train, test = shortcut.activations.values()
    flat = torch.cat([train.hidden, torch.zeros(len(train), 2)], dim=1)
    units = random_directions(flat, train.predictions, seed=0)
    assert units.norm(dim=1).tolist() == pytest.approx([1] * len(units))
    assert units[:, 3:].abs().max() == 0
    seen = []

    def tail(hidden: torch.Tensor) -> torch.Tensor:
        seen.append((hidden - test.hidden).norm(dim=1))
        return shortcut.model.tail(hidden)

    direction = Direction(torch.tensor([0.0, 0, 1]), train.hidden.mean(dim=0).expand(2, -1))
    found = ablate(
        direction, units[:3, :3] / units[:3, :3].norm(dim=1, keepdim=True), tail, test, test.hidden[:, 2] > 0
    )
    assert len(seen) == 4
    for distance in seen[1:]:
        assert torch.allclose(distance, seen[0], atol=1e-5)
    assert found.everywhere.changed.n == len(test)


def test_one_share_is_more_than_another_only_clearly():
    def of(hits: int, n: int) -> Rate | None:
        return Rate.of(torch.arange(n) < hits)

    assert more_than(of(14, 40), of(2, 40))
    assert not more_than(of(1, 40), of(0, 40))
    assert not more_than(of(9, 40), of(5, 40))
    assert not more_than(of(9, 40), None)
    assert not more_than(None, of(0, 40))


def test_accuracy_before_and_after_by_hand():
    right, after = torch.tensor([True, True, False, False]), torch.tensor([True, False, False, False])
    found = Accuracy.of(right, after)
    assert found is not None
    assert (found.before, found.after, found.change, found.n) == (0.5, 0.25, -0.25, 4)
    error = 1.96 * (3 / 16) ** 0.5 / 2  # differences 0, -1, 0, 0: variance 3/16
    assert (found.low, found.high) == pytest.approx((-0.25 - error, -0.25 + error))
    assert Accuracy.of(right[:0], after[:0]) is None


def test_overlaps_by_hand():
    sets = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]])
    found = Found(sets.bool(), ("same", "all", "other", "none"))
    (only,) = found.overlaps(torch.tensor([1, 1, 1, 0, 0, 0]).bool())[:1]
    assert (only.name, only.n_both, only.n_own) == ("same", 2, 2)
    assert only.jaccard == pytest.approx(2 / 3)
    names = [one.name for one in found.overlaps(torch.tensor([1, 1, 1, 0, 0, 0]).bool())]
    assert names == ["same"]  # all texts, and as many as by chance, say nothing
    assert found.overlaps(torch.zeros(6).bool()) == ()


def test_many_texts_are_drawn_with_the_rare_ones_kept():
    from classifsae.auditing.ask import _drawn

    has = torch.zeros(3 * MOST, dtype=torch.bool)
    has[::100] = True
    rows = _drawn(has)
    assert len(rows) == MOST
    assert int(has[rows].sum()) == int(has.sum())
    assert len(_drawn(torch.arange(3 * MOST) % 2 == 0)) == MOST


def test_the_same_question_has_the_same_answer(shortcut: World):
    assert asked(shortcut, words=[SIGNATURE]) == asked(shortcut, words=[SIGNATURE])


def test_answers_fit_a_terminal_and_a_file(shortcut: World, tmp_path):
    answer = asked(shortcut, words=[SIGNATURE])
    one, many = [answer], [answer, replace(answer, name="a concept of quite another and longer name")]
    for answers in (one, many):
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(printed_answers(answers), highlight=False)
        lines = console.export_text().splitlines()
        assert max(map(len, lines)) <= 80
        assert any("signature" in line for line in lines)
        assert not any("…" in line for line in lines)
    save_answers(many, tmp_path / "answers.json")
    first, second = json.loads((tmp_path / "answers.json").read_text())
    assert first["finding"] == answer.finding
    assert second["auroc"]["value"] == answer.auroc.value


def test_a_rate_is_of_texts(shortcut: World):
    out = asked(shortcut, words=[SIGNATURE]).text.out
    assert isinstance(out, Rate)
    assert 0 <= out.low <= out.value <= out.high <= 1
