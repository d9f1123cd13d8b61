"""Axes, ticks and pies by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifsae.reporting.layout.geometry import Axis, areas, padded, pie, tick_label, ticks


def test_an_axis_maps_its_ends_and_its_middle():
    axis = Axis(0, 10, 100, 200)
    assert [axis(v) for v in (0, 5, 10)] == [100, 150, 200]
    upward = Axis(-1, 1, 300, 100)
    assert [upward(v) for v in (-1, 0, 1)] == [300, 200, 100]
    assert Axis(3, 3, 0, 100)(3) == 50


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-0.1, 0.32, [-0.1, 0, 0.1, 0.2, 0.3]),
        (3, 3, [3]),
        (0, 1200, [0, 200, 400, 600, 800, 1000, 1200]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]):
    assert ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_lie_inside_and_are_neither_too_few_nor_too_many(low: float, length: float):
    found = ticks(low, low + length)
    slack = 1e-6 * (abs(low) + length)
    assert all(low - slack <= tick <= low + length + slack for tick in found)
    assert len(found) <= 9


def test_labels_of_ticks():
    assert [tick_label(v) for v in (0.25, 1200, 0, -2, 3e-5)] == [
        "0.25", "1200", "0", "\N{MINUS SIGN}2", "3e-05",
    ]  # fmt: skip


def test_a_pie_goes_clockwise_from_the_top():
    quarter, rest = pie([0.25, 0.75], 0, 0, 10)
    assert quarter == "M0.0 0.0L0.0 -10.0A10.0 10.0 0 0 1 10.0 -0.0Z"
    assert rest.startswith("M0.0 0.0L10.0 -0.0A10.0 10.0 0 1 1")


def test_a_pie_of_one_share_is_a_whole_circle_and_nothing_is_no_path():
    whole, nothing = pie([2.0, 0.0], 0, 0, 5)
    assert whole.count("A") == 2
    assert nothing == ""


def test_room_is_left_at_both_ends():
    assert padded(0, 10) == pytest.approx((-0.6, 10.6))
    assert padded(2, 2) == (1.5, 2.5)


def test_counts_are_marked_at_whole_numbers():
    assert [tick.label for tick in Axis(0.8, 4.2, 0, 100).counts] == ["1", "2", "3", "4"]
    assert [tick.label for tick in Axis(0.8, 1.2, 0, 100).counts] == ["1"]
    assert [tick.label for tick in Axis(0, 2, 100, 0).counts] == ["0", "1", "2"]
    assert [tick.label for tick in Axis(0, 40, 100, 0).counts] == ["0", "10", "20", "30", "40"]


def test_areas_and_not_radii_grow_with_sizes():
    none, half, whole = areas([0, 1, 2], smallest=3, largest=5)
    assert (none, whole) == (3, 5)
    assert half**2 == pytest.approx((3**2 + 5**2) / 2)
    assert areas([], smallest=3, largest=5) == []
