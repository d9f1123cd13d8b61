"""Whether test texts trained the classifier: the gap by hand, against sklearn, and what no gap may claim."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import one_hot

import classifsae as cs
from classifsae.activations import Activations
from classifsae.auditing.held_out import HeldOut, MembershipGap, losses
from classifsae.data import Texts
from classifsae.errors import DataError
from known_world import SOURCE


def with_losses(values: list[float]) -> Activations:
    """Rows of two classes whose first, the given label, has these cross-entropies."""
    probabilities = torch.tensor(values, dtype=torch.float64).neg().exp()
    logits = torch.stack([probabilities, 1 - probabilities], dim=1).log()
    n = len(values)
    ids = tuple(map(str, range(n)))
    return Activations(torch.zeros(n, 2), logits, torch.zeros(n, dtype=torch.long), ids, SOURCE)


def test_by_hand():
    found = cs.membership_gap(with_losses([0.1, 0.3]), with_losses([0.3, 0.5]))
    assert (found.train_loss, found.test_loss, found.gap) == pytest.approx((0.2, 0.4, 0.2))
    assert found.auroc == pytest.approx((1 + 1 + 0.5 + 1) / 4)  # .1 < .3, .1 < .5, .3 = .3, .3 < .5


def test_against_sklearn(train: Activations, test: Activations):
    found = cs.membership_gap(train, test, n_draws=50)
    is_test = [0] * len(train) + [1] * len(test)
    assert found.auroc == pytest.approx(roc_auc_score(is_test, torch.cat([losses(train), losses(test)])))
    low, high = found.auroc_interval
    assert 0 <= low <= found.auroc <= high <= 1
    assert found.gap_interval[0] <= found.gap <= found.gap_interval[1]


def test_the_interval_is_that_of_a_bootstrap():
    """Of a mean, half the interval is close to 1.96 standard errors."""
    draws = torch.Generator().manual_seed(0)
    one, two = (torch.rand(400, generator=draws).tolist() for _ in range(2))
    low, high = cs.membership_gap(with_losses(one), with_losses(two)).gap_interval
    error = (torch.tensor(one).var() / 400 + torch.tensor(two).var() / 400).sqrt().item()
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_rows_known_by_heart_are_told_and_those_of_one_world_are_not(train: Activations, test: Activations):
    same = cs.membership_gap(train, test)
    assert same.auroc_interval[0] < 0.5 < same.auroc_interval[1]
    assert "cannot tell which" in same.says
    learned = replace(train, logits=train.logits + 5 * one_hot(train.labels, 3))
    assert cs.membership_gap(learned, test).auroc_interval[0] > 0.5
    assert "these are harder" in cs.membership_gap(learned, test).says
    assert "may have learned from the test texts" in cs.membership_gap(test, learned).says


def test_splits_change_places_and_the_signs_with_them(train: Activations, test: Activations):
    one, two = cs.membership_gap(train, test), cs.membership_gap(test, train)
    assert one.gap == pytest.approx(-two.gap)
    assert one.auroc == pytest.approx(1 - two.auroc)


def test_the_same_seed_gives_the_same_interval(train: Activations, test: Activations):
    assert cs.membership_gap(train, test) == cs.membership_gap(train, test)
    other = cs.membership_gap(train, test, seed=1)
    assert other.gap_interval != cs.membership_gap(train, test).gap_interval


def test_windows_count_as_one_text(test: Activations):
    logits = torch.tensor([[2.0, 0, 0], [0, 0, 0]])
    split = replace(
        test.take(torch.tensor([0, 1])),
        logits=logits,
        labels=torch.tensor([0, 0]),
        documents=torch.tensor([0, 0]),
    )
    assert losses(split).tolist() == pytest.approx([-torch.tensor([1.0, 0, 0]).log_softmax(0)[0].item()])


def test_a_split_without_texts_is_refused(train: Activations):
    with pytest.raises(DataError, match="got 120 training and 0 test texts"):
        cs.membership_gap(train, train.take(torch.tensor([], dtype=torch.long)))


def test_what_is_known_needs_no_note_and_what_is_not_has_the_numbers():
    gap = MembershipGap(0.1, 0.3, 0.2, (0.15, 0.25), 0.61, (0.55, 0.66))
    assert HeldOut(is_known=True, membership=gap).note == ""
    note = HeldOut(is_known=False, membership=gap).note
    assert note.startswith("Whether the classifier was trained on the test texts is not known")
    assert "gap +0.200, 95 % interval +0.150 to +0.250" in note
    assert "in 61% of all pairs, 95 % interval 55% to 66%, by chance in 50%" in note


# --------------------------------------------------------------------------- repeated texts


def part(*rows: tuple[str, int], name: str) -> Texts:
    texts, labels = zip(*rows, strict=True)
    return Texts(texts, labels, tuple(f"{name}-{i}" for i in range(len(rows))), ("bad", "good"))


def test_repeated_texts_are_named_with_all_their_rows():
    train = part(("Great film", 1), ("Dull.", 0), ("great  FILM", 0), name="a")
    test = part(("GREAT film ", 1), ("New", 0), ("dull.", 1), name="b")
    first, second = cs.repeated_texts(train, test)
    assert (first.text, first.test_row, first.test_id, first.label) == ("GREAT film ", 0, "b-0", "good")
    assert (first.train_ids, first.train_labels) == (("a-0", "a-2"), ("good", "bad"))
    assert (second.test_id, second.train_ids) == ("b-2", ("a-1",))
    assert (first.is_labelled_alike, second.is_labelled_alike) == (True, False)


def test_spellings_of_a_letter_are_one_and_punctuation_is_not():
    train = part(("Caf\u00e9 Stra\u00dfe", 1), ("Good!", 1), name="a")
    test = part(("CAFE\u0301 STRASSE", 1), ("Good", 1), name="b")
    assert [one.test_id for one in cs.repeated_texts(train, test)] == ["b-0"]


def test_no_texts_are_repeated_in_the_embedded_corpus():
    data = cs.load_dataset("planted", options={"n_train": 200, "n_test": 50})
    assert cs.repeated_texts(data.train, data.test) == ()
