"""Stability over seeds, by hand, and what must not win it."""

import math

import pytest
import torch

from classifsae.metrics import stability, stability_over


def sets(*rows: str) -> torch.Tensor:
    return torch.tensor([[mark == "x" for mark in row] for row in rows])


def test_matched_overlaps_by_hand():
    some, others = sets("xx..", "..xx"), sets("..x.", "xxx.")
    # {0, 1} with {0, 1, 2}: 2/3; {2, 3} with {2}: 1/2. The other matching has 0 and 1/4.
    assert stability(some, others) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert stability(others, some) == stability(some, others)


def test_order_is_nothing_and_what_has_no_partner_counts_nothing():
    some = sets("xx..", "..xx")
    assert stability(some, some.flip(0)) == 1
    assert stability(some, some[:1]) == 0.5


def test_dead_concepts_are_left_out():
    some = sets("xx..", "....")
    assert stability(some, some) == 1
    assert math.isnan(stability(some[1:], some[1:]))
    assert stability(some[1:], some) == 0


def test_many_copies_of_one_concept_match_one_concept_only():
    copies, apart = sets("xx....", "xx....", "xx...."), sets("xx....", "..xx..", "....xx")
    assert stability(copies, apart) == pytest.approx(1 / 3)


def test_random_sets_of_a_tenth_are_not_stable():
    draws = torch.Generator().manual_seed(0)
    some, others = torch.rand(2, 20, 1000, generator=draws) < 0.1
    assert stability(some, others) < 0.1


def test_sets_shuffled_within_classes_lose_it():
    """The class that both seeds keep is worth little where a class has five concepts."""
    draws = torch.Generator().manual_seed(0)
    classes = torch.arange(1000) % 4
    kinds = [classes * 5 + torch.randint(5, (1000,), generator=draws) for _ in range(2)]
    some, others = (torch.nn.functional.one_hot(kind, 20).T.bool() for kind in kinds)
    assert stability(some, some) == 1
    assert stability(some, others) < 0.2


def test_the_overlap_beyond_the_class_by_hand():
    classes = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    some, others = sets("xxx.x..."), sets("xx......")
    # Both have 2, either 4; of 4 sentences of class 0 they have 3 and 2, which share 3 * 2 / 4 by chance.
    assert stability(some, others, classes) == pytest.approx((2 - 1.5) / (4 - 1.5))
    assert stability(some, some, classes) == 1


def test_the_classes_are_stable_but_not_beyond_themselves():
    classes = torch.arange(60) % 3
    of_class = torch.nn.functional.one_hot(classes).T.bool()
    assert stability(of_class, of_class) == 1
    assert stability(of_class, of_class, classes) == 0
    pairs = of_class | of_class.roll(1, dims=0)  # unions of classes are no better
    assert stability(pairs, pairs, classes) == 0


def test_sets_that_were_shuffled_within_the_class_share_it_and_nothing_else():
    draws = torch.Generator().manual_seed(0)
    classes = torch.arange(1000) % 4
    most = torch.rand(2, 4, 1000, generator=draws) < 0.9
    some, others = most & torch.nn.functional.one_hot(classes).T.bool()
    assert stability(some, others) > 0.75
    assert abs(stability(some, others, classes)) < 0.1


def test_the_mean_over_seeds_is_that_over_pairs():
    draws = torch.Generator().manual_seed(0)
    fits = list(torch.rand(3, 4, 50, generator=draws) < 0.3)
    pairs = [stability(fits[a], fits[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    found = stability_over(fits)
    assert found[0] == pytest.approx((pairs[0] + pairs[1]) / 2)
    assert sum(found) / 3 == pytest.approx(sum(pairs) / 3)


def test_sets_of_other_sentences_are_refused():
    with pytest.raises(ValueError, match="got sets of 4 and of 3 sentences"):
        stability(sets("xx.."), sets("xx."))
