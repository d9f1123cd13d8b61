"""Does a method find the same concepts again? Activating sets of two fits, matched one to one."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch.nn.functional import one_hot

from classifsae.activity import sizes_of
from classifsae.metrics._distinct import jaccard
from classifsae.metrics._similarity import common_members
from classifsae.metrics.base import mean
from classifsae.tensors import Bool, Float, Int, Tensor

_ROUNDING = 1e-9


def stability(
    some: Bool[Tensor, "a n"], others: Bool[Tensor, "b n"], classes: Int[Tensor, " n"] | None = None
) -> float:
    """Mean Jaccard index of the activating sets of two fits, matched so that it is largest (Hungarian).

        sum over matched pairs of |both| / |either|, divided by the larger number of sets

    With predicted classes, what the class alone makes alike is taken off: with E = sum over classes c of
    |one in c| |other in c| / |c|, the overlap of the same sets shuffled within the classes,

        (|both| - E) / (|either| - E),    0 where nothing is left.

    So the classes themselves have 1 without, and 0 with them. Empty sets are left out; a set that finds no
    partner counts 0. It says that concepts are found again, not that they are right.

    Returns:
        A fraction, at most 1; NaN where no set of either fit has a sentence.
    Raises:
        ValueError: the sets are not of the same sentences.
    """
    from scipy.optimize import linear_sum_assignment

    if some.shape[1] != others.shape[1]:
        raise ValueError(f"stability: got sets of {some.shape[1]} and of {others.shape[1]} sentences.")
    some, others = some[some.any(dim=1)], others[others.any(dim=1)]
    likeness = jaccard(some, others) if classes is None else jaccard_within(some, others, classes)
    likeness = likeness.cpu()
    rows, columns = linear_sum_assignment(likeness.numpy(), maximize=True)
    n_sets = max(likeness.shape)
    return float(likeness[rows, columns].sum()) / n_sets if n_sets else torch.nan


def jaccard_within(
    some: Bool[Tensor, "a n"], others: Bool[Tensor, "b n"], classes: Int[Tensor, " n"]
) -> Float[Tensor, "a b"]:
    """Jaccard index beyond what the classes make alike: 0 by chance, 1 for equal sets that are no classes."""
    members = one_hot(classes).double()
    expected = (some.double() @ members / members.sum(dim=0).clamp_min(1)) @ (others.double() @ members).T
    common = common_members(some, others).double()
    left = sizes_of(some).double()[:, None] + sizes_of(others) - common - expected
    return ((common - expected) / left).where(left > _ROUNDING * len(classes), 0.0)


def stability_over(
    fits: Sequence[Bool[Tensor, "_ n"]], classes: Int[Tensor, " n"] | None = None
) -> list[float]:
    """Of each of several fits, the mean stability with the others; their mean is that over all pairs."""
    numbers = range(len(fits))
    pairs = {(i, j): stability(fits[i], fits[j], classes) for i, j in combinations(numbers, 2)}
    return [mean([value for pair, value in pairs.items() if k in pair]) for k in numbers]
