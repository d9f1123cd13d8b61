"""Labels that are probably wrong: the rule by hand, against a loop, and where ranking by loss alone fails."""

from dataclasses import replace

import pytest
import torch

import classifsae as cs
from classifsae.activations import Activations
from classifsae.auditing.labels import (
    LabelCheck,
    check_labels,
    confident_thresholds,
    label_margins,
)
from classifsae.data import Texts
from classifsae.errors import DataError, MismatchError
from classifsae.tensors import Tensor

NAMES = ("red", "green", "blue")


def texts_of(labels: Tensor, names: tuple[str, ...] = NAMES) -> Texts:
    n = len(labels)
    rows = tuple(f"row-{i}" for i in range(n))
    return Texts(tuple(f"sentence {i}" for i in range(n)), tuple(labels.tolist()), rows, names)


def noisy(n: int = 400, *, n_classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities that know the true class, labels of which each twentieth is wrong, and which are."""
    draws = torch.Generator().manual_seed(seed)
    true = torch.arange(n) % n_classes
    logits = torch.randn(n, n_classes, generator=draws) + 5 * torch.eye(n_classes)[true]
    labels = true.clone()
    labels[::20] = (true[::20] + 1) % n_classes
    return logits.double().softmax(dim=1), labels, labels != true


def test_by_hand():
    given = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.05, 0.95], [0.2, 0.8], [0.1, 0.9], [0.45, 0.55]])
    labels = torch.tensor([0, 0, 0, 1, 1, 0])
    # Thresholds: (.9 + .7 + .05 + .45) / 4 = .525 of the first class, (.8 + .9) / 2 = .85 of the second.
    assert confident_thresholds(given, labels).tolist() == pytest.approx([0.525, 0.85])
    (found,) = cs.suspect_labels(texts_of(labels, NAMES[:2]), given)  # the last row is sure of no class
    assert (found.row, found.id, found.text) == (2, "row-2", "sentence 2")
    assert (found.label, found.suggested) == ("red", "green")
    assert found.margin == pytest.approx(0.05 - 0.95)


def test_against_a_loop():
    given, labels, _ = noisy(seed=3)
    n, n_classes = given.shape
    limits = [given[labels == j][:, j].mean().item() for j in range(n_classes)]
    wanted = {}
    for i in range(n):
        sure = [j for j in range(n_classes) if given[i, j] >= limits[j]]
        best = max(sure, key=lambda j: given[i, j].item(), default=None)
        own = int(labels[i])
        if best is not None and best != own and given[i].argmax() != own:
            rest = max(given[i, j].item() for j in range(n_classes) if j != own)
            wanted[i] = (NAMES[best], given[i, own].item() - rest)
    found = cs.suspect_labels(texts_of(labels), given)
    assert {one.row: one.suggested for one in found} == {row: name for row, (name, _) in wanted.items()}
    assert [one.margin for one in found] == pytest.approx(sorted(margin for _, margin in wanted.values()))


def test_planted_noise_is_found_and_clean_labels_are_left_alone():
    given, labels, is_wrong = noisy()
    found = torch.tensor([one.row for one in cs.suspect_labels(texts_of(labels), given)])
    assert is_wrong[found].double().mean() > 0.9
    assert is_wrong[found].sum() / is_wrong.sum() > 0.8
    clean = labels.where(~is_wrong, given.argmax(dim=1))
    assert len(cs.suspect_labels(texts_of(clean), given)) < 5


def test_a_class_that_is_hard_is_not_called_wrong_as_by_the_loss_alone():
    """The classifier never is sure of the last class: its correct labels have the largest losses."""
    given, labels, is_wrong = noisy()
    unsure = (labels == 2) & ~is_wrong
    given[unsure] = torch.tensor([0.5, 0.1, 0.4], dtype=torch.float64)
    loss = -given.gather(1, labels[:, None])[:, 0].log()
    by_loss = loss.argsort(descending=True)
    found = {one.row for one in cs.suspect_labels(texts_of(labels), given)}
    disagreeing = set((given.argmax(dim=1) != labels).nonzero().flatten().tolist())
    n_unsure = int(unsure.sum())
    assert unsure.nonzero().flatten().tolist()[0] in disagreeing
    assert not found & set(unsure.nonzero().flatten().tolist())
    most = by_loss[: int(is_wrong.sum()) + n_unsure]
    precision = sum(bool(is_wrong[row]) for row in found) / len(found)
    assert precision > 0.9 > is_wrong[most].double().mean()


def test_the_order_of_rows_and_the_numbering_of_classes_do_not_matter():
    given, labels, _ = noisy()
    turn, order = (
        torch.tensor([2, 0, 1]),
        torch.randperm(len(labels), generator=torch.Generator().manual_seed(1)),
    )
    found = cs.suspect_labels(texts_of(labels), given)
    again = cs.suspect_labels(texts_of(labels[order]), given[order])
    assert {one.row for one in found} == {int(order[one.row]) for one in again}
    turned = cs.suspect_labels(texts_of(turn[labels]), given[:, turn.argsort()])
    assert {one.row for one in found} == {one.row for one in turned}


def test_a_class_that_no_row_has_is_never_suggested():
    given, labels, _ = noisy(n_classes=2)
    given = torch.cat([given / 2, torch.full((len(given), 1), 0.5, dtype=torch.float64)], dim=1)
    assert {one.suggested for one in cs.suspect_labels(texts_of(labels), given)} <= set(NAMES[:2])


def test_margins_are_between_minus_one_and_one():
    given, labels, _ = noisy()
    assert label_margins(torch.eye(3), torch.tensor([0, 1, 0])).tolist() == [1, 1, -1]
    assert label_margins(given, labels).abs().max() <= 1


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (torch.rand(3, 3), MismatchError, r"shape \(3, 3\) for 2 texts and 3 classes"),
        (torch.tensor([[2.0, 0, 0], [0, 0, 1]]), DataError, r"outside \[0, 1\], or NaN"),
        (torch.full((2, 3), torch.nan), DataError, r"outside \[0, 1\], or NaN"),
    ],
)
def test_what_cannot_be_probabilities_is_refused(given: Tensor, error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        cs.suspect_labels(texts_of(torch.tensor([0, 1])), given)


def test_nothing_is_said_of_no_texts():
    with pytest.raises(DataError, match="got 0 texts"):
        cs.suspect_labels(texts_of(torch.tensor([])), torch.zeros(0, 3))


# --------------------------------------------------------------------------- probabilities


def test_a_readout_in_folds_finds_wrong_training_labels(train: Activations):
    given = cs.cross_validated_probabilities(train)
    assert given.shape == train.logits.shape
    assert given.sum(dim=1).tolist() == pytest.approx([1] * len(train))
    found = [one.row for one in cs.suspect_labels(texts_of(train.labels), given)]
    assert found
    assert all(row % 10 == 0 for row in found)  # every tenth label is wrong
    assert len(found) >= 5  # of 12


def test_a_row_does_not_decide_its_own_probabilities(train: Activations):
    """A wrong label that is put right changes what is said of other rows, not of its own."""
    train = train.take(torch.arange(30))
    other = train.labels.clone()
    other[1] = (other[1] + 1) % 3
    first, second = (
        cs.cross_validated_probabilities(replace(train, labels=labels), n_folds=len(train))
        for labels in (train.labels, other)
    )
    assert first[1].tolist() == pytest.approx(second[1].tolist(), abs=1e-9)
    assert not torch.allclose(first[2], second[2], atol=1e-9)


def test_a_class_of_one_row_is_no_hindrance(train: Activations):
    labels = torch.zeros_like(train.labels)
    labels[0] = 1
    given = cs.cross_validated_probabilities(replace(train, labels=labels))
    assert given.isfinite().all()
    assert given[0, 0] == 1  # the rest of its fold has but one class


def test_windows_are_judged_as_one_text(train: Activations):
    documents = torch.arange(len(train)) // 2
    labels = train.labels[::2].repeat_interleave(2)
    split = replace(train, documents=documents, labels=labels)
    given = cs.cross_validated_probabilities(split)
    assert given.shape == (len(train) // 2, 3)
    own = cs.classifier_probabilities(split)
    mean = train.logits.double().view(-1, 2, 3).mean(dim=1)
    assert own.flatten().tolist() == pytest.approx(mean.softmax(dim=1).flatten().tolist())
    suspects = cs.suspect_labels(texts_of(labels[::2]), own)
    rows = cs.suspect_rows(suspects, split).nonzero().flatten().tolist()
    assert rows == sorted(window for one in suspects for window in (2 * one.row, 2 * one.row + 1))


def test_one_text_is_too_few_for_folds(train: Activations):
    with pytest.raises(DataError, match="got 1 text, needs at least 2"):
        cs.cross_validated_probabilities(train.take(torch.tensor([0])))


def test_both_splits_are_checked_and_the_note_counts_them(train: Activations, test: Activations):
    found = check_labels(train, test, train_texts=texts_of(train.labels), test_texts=texts_of(test.labels))
    n_mistakes = int((test.predictions != test.labels).sum())
    assert found.n_mistakes == n_mistakes
    assert found.n_suspect_mistakes == len(found.test)  # a suspect label is never the predicted one
    assert found.note == (
        f"{len(found.test)} test and {len(found.train)} training labels are probably wrong (confident "
        f"learning), {len(found.test)} of the classifier's {n_mistakes} mistakes among them: check them."
    )
    assert LabelCheck(test=()).note == ""
