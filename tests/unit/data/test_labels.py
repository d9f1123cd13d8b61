"""Class names, label indices and splits, by hand and by property."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifsae.data.labels import (
    infer_label_names,
    label_indices,
    require_one_reading,
    split_off,
    subsample,
)
from classifsae.data.rows import LabelledRows, listed
from classifsae.errors import DataError


def rows(*labels: str, class_names: tuple[str, ...] | None = None) -> LabelledRows:
    n = len(labels)
    ids = tuple(str(i) for i in range(n))
    return LabelledRows("data.csv", ("text",) * n, labels, ids, class_names=class_names)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("b", "a", "b"), ("a", "b")),
        (("10", "9", "-1"), ("-1", "9", "10")),
        (("1.0", "0.0"), ("0", "1")),
        (("true", "false"), ("false", "true")),
        (("1", "x"), ("1", "x")),
        (("007", "7"), ("007", "7")),
        (("True", "false", "TRUE"), ("false", "true")),
        (("true", "1", "0"), ("0", "1")),
        (("true", "0"), ("0", "1")),
        (("true", "false", "maybe"), ("false", "maybe", "true")),
        (("class 10", "class 2"), ("class 2", "class 10")),
        (("-0.5", "0.5", "-10", "2"), ("-10", "-0.5", "0.5", "2")),
        (("b2a10", "b2a9", "b1"), ("b1", "b2a9", "b2a10")),
        (tuple(f"LABEL_{i}" for i in range(12)), tuple(f"LABEL_{i}" for i in range(12))),
    ],
)
def test_inferred_names(labels: tuple[str, ...], names: tuple[str, ...]):
    assert infer_label_names([rows(*labels)]) == names
    indices = label_indices(rows(*labels), names)
    assert sorted(set(indices)) == list(range(len(names)))


def test_names_are_inferred_from_all_parts():
    assert infer_label_names([rows("b"), rows("a")]) == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "names", "indices"),
    [
        (("pos", "neg"), ("neg", "pos"), (1, 0)),
        (("1", "0"), ("neg", "pos"), (1, 0)),
        (("1.0", "0.0"), ("neg", "pos"), (1, 0)),
        (("True", "false"), ("no", "yes"), (1, 0)),
        (("0", "1"), ("1", "0"), (1, 0)),
        (("1.0", "2.0"), ("1.0", "2.0"), (0, 1)),
        (("POS", "Neg"), ("neg", "pos"), (1, 0)),
        (("true", "1", "0"), ("no", "yes"), (1, 1, 0)),
        (("true", "0"), ("0", "1"), (1, 0)),
    ],
)
def test_declared_names(labels: tuple[str, ...], names: tuple[str, ...], indices: tuple[int, ...]):
    assert label_indices(rows(*labels), names) == indices


def test_integers_of_declared_classes_are_indices_only():
    names = tuple(sorted(str(i) for i in range(12)))
    assert names[2] == "10"
    labels = rows(*(str(i) for i in range(12)), class_names=names)
    assert label_indices(labels, infer_label_names([labels])) == tuple(range(12))
    assert label_indices(rows("1", "0", class_names=("a", "b")), ("1", "0")) == (1, 0)
    with pytest.raises(DataError, match=r"2 rows have labels that are not declared: '-1'"):
        label_indices(rows("0", "-1", "-1", class_names=("a", "b")), ("a", "b"))


def test_integers_of_declared_classes_keep_their_names_in_another_order():
    declared = ("0", "1", "10", "2")
    written = rows("0", "2", "3", class_names=declared)
    names = ("0", "1", "2", "10")
    assert [names[i] for i in label_indices(written, names)] == ["0", "10", "2"]
    assert label_indices(written, ("a", "b", "c", "d")) == (0, 2, 3)


def test_integers_of_declared_classes_are_never_names_that_were_given():
    written = rows("-1", "0", "1", class_names=("0", "1"))
    with pytest.raises(DataError, match=r"not declared: '-1'; allowed .*; correct the labels\.$"):
        label_indices(written, ("-1", "0", "1"))


def test_numbers_that_only_one_part_declares_are_refused_where_they_may_be_names():
    declared, plain = rows("2", class_names=("0", "1", "10", "2")), rows("2", "0")
    with pytest.raises(DataError, match=r"\(2 is class '10'\), those in data.csv are not declared"):
        require_one_reading([declared, plain])
    require_one_reading([declared, declared])
    require_one_reading([rows("1", class_names=("0", "1")), plain])
    require_one_reading([rows("1", class_names=("no", "yes")), plain])


def test_words_of_declared_classes_are_names():
    assert label_indices(rows("b", "a", class_names=("a", "b")), ("a", "b")) == (1, 0)


@pytest.mark.parametrize(
    ("labels", "said", "cure"),
    [
        (("Good", "good", "good", "bad"), "'Good', 'good'", '["bad", "good"]'),
        (("Good", "Good", "good", "bad"), "'Good', 'good'", '["Good", "bad"]'),
        (
            ("ΘΕΤΙΚΟΣ", "θετικός", "θετικός", "ΘΕΤΙΚΌΣ", "x"),
            "'ΘΕΤΙΚΌΣ', 'θετικός'",
            '["x", "ΘΕΤΙΚΟΣ", "θετικός"]',
        ),
    ],
)
def test_labels_that_differ_in_case_only_are_listed(labels: tuple[str, ...], said: str, cure: str):
    with pytest.raises(DataError) as caught:
        infer_label_names([rows(*labels)])
    message = f"the labels {said} differ in case only; write them alike, or set 'dataset.label_names={cure}'"
    assert message in str(caught.value)


def test_labels_out_of_range_are_named():
    message = r"data\.csv: 2 rows have labels that are not declared: '2'; allowed are 'a', 'b', or 0 to 1"
    with pytest.raises(DataError, match=message):
        label_indices(rows("0", "1", "2", "2"), ("a", "b"))


def test_numbers_that_do_not_count_from_0_are_told_to():
    """Names for 1 to 4 would lose the names that were given, which a model may need."""
    with pytest.raises(DataError, match=r"correct the labels: write them as 0 to 3, in the order of the nam"):
        label_indices(rows("1", "2", "3", "4"), ("World", "Sports", "Business", "Sci"))


def test_parts_that_declare_other_classes():
    with pytest.raises(
        DataError, match=r"declares the classes 'b', 'a', data\.csv 'a', 'b'; they must be the same: write"
    ):
        infer_label_names([rows("0", class_names=("a", "b")), rows("0", class_names=("b", "a"))])


labellings = st.lists(st.integers(0, 3), min_size=8, max_size=60).map(
    lambda ls: [*ls, 0, 0, 1, 1, 2, 2, 3, 3]
)


@given(labellings, st.floats(0.05, 0.95), st.integers(0, 5))
def test_split_keeps_every_row_once_and_every_class_twice(labels: list[int], fraction: float, seed: int):
    first, second = split_off(labels, fraction, np.random.default_rng(seed))
    assert sorted(first + second) == list(range(len(labels)))
    assert (first, second) == (sorted(first), sorted(second))
    counts, drawn = Counter(labels), Counter(labels[i] for i in second)
    for c, n in counts.items():
        assert 1 <= drawn[c] <= n - 1
        assert drawn[c] in (round(fraction * n), 1, n - 1)


@given(labellings, st.data())
def test_draw_has_the_wanted_size_and_every_class(labels: list[int], data: st.DataObject):
    n = data.draw(st.integers(4, len(labels)))
    chosen = subsample(labels, n, np.random.default_rng(0))
    assert len(set(chosen)) == len(chosen) == n
    drawn, counts = Counter(labels[i] for i in chosen), Counter(labels)
    for c in counts:
        assert 1 <= drawn[c] <= counts[c]
        assert drawn[c] <= counts[c] * n / len(labels) + 1 or drawn[c] == 1


def test_draw_of_everything_is_everything():
    assert subsample([0, 1, 0, 1], 4, np.random.default_rng(0)) == [0, 1, 2, 3]


def test_lists_in_messages_are_cut():
    assert listed([1, 2]) == "1, 2"
    assert listed(range(9), most=5) == "0, 1, 2, 3, 4 and 4 more"
    assert listed(["a" * 50], most=1) == repr("a" * 37 + "...")
    assert listed("abc", most=2) == "'a', 'b' and 1 more"
    assert listed([]) == "none"
