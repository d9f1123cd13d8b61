"""Labels beside marks: above where there is room, elsewhere where there is none."""

from itertools import combinations

import pytest

from classifsae.reporting.layout.labels import Label, covered, place

ROOM = (-100.0, -100.0, 100.0, 100.0)


def test_a_label_alone_stands_above_its_mark():
    ((x, y),) = place([Label("12", 5, 5, 2, 10)], ROOM)
    assert x == 5
    assert y > 5 + 2


def test_a_label_goes_below_where_another_mark_is_above():
    first, _ = place([Label("12", 0, 0, 2, 10), Label("7", 0, 8, 2, 10)], ROOM)
    assert first == (0, pytest.approx(-(2 + 1.5 + 6)))


def test_labels_of_neighbours_do_not_lie_on_each_other():
    labels = [Label("concept", 10.0 * i, 0, 2, 4) for i in range(3)]
    boxes = [
        next(box for box in label.boxes if ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) == at)
        for label, at in zip(labels, place(labels, ROOM), strict=True)
    ]
    assert all(covered(a, b) == 0 for a, b in combinations(boxes, 2))


def test_no_label_leaves_the_picture():
    width = 0.65 * 10 * len("a long name")
    for x, y in ((-99, -99), (99, 99), (99, 0)):
        ((middle, height),) = place([Label("a long name", x, y, 2, 10)], ROOM)
        assert abs(middle) + width / 2 <= 100 + 1e-9
        assert abs(height) + 6 <= 100 + 1e-9


def test_what_two_boxes_share():
    assert covered((0, 0, 2, 2), (1, 1, 5, 5)) == 1
    assert covered((0, 0, 2, 2), (2, 0, 3, 2)) == 0
    assert covered((0, 0, 1, 1), (5, 5, 6, 6)) == 0
