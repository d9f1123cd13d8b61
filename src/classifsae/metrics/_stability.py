"""Does a method find the same concepts again? Activating sets of two fits, matched one to one."""

from collections.abc import Sequence
from itertools import combinations

import torch
from scipy.optimize import linear_sum_assignment

from classifsae.metrics._distinct import jaccard
from classifsae.metrics.base import mean
from classifsae.tensors import Bool, Tensor


def stability(some: Bool[Tensor, "a n"], others: Bool[Tensor, "b n"]) -> float:
    """Mean Jaccard index of the activating sets of two fits, matched so that it is largest (Hungarian).

        sum over matched pairs of |both| / |either|, divided by the larger number of sets

    Empty sets are left out. A set that finds no partner counts 0. A method without chance, such as the
    predicted class, has 1: it says that concepts are found again, not that they are right.

    Returns:
        A fraction in [0, 1]; NaN where no set of either fit has a sentence.
    Raises:
        ValueError: the sets are not of the same sentences.
    """
    if some.shape[1] != others.shape[1]:
        raise ValueError(f"stability: got sets of {some.shape[1]} and of {others.shape[1]} sentences.")
    some, others = some[some.any(dim=1)], others[others.any(dim=1)]
    likeness = jaccard(some, others).cpu()
    rows, columns = linear_sum_assignment(likeness.numpy(), maximize=True)
    n_sets = max(likeness.shape)
    return float(likeness[rows, columns].sum()) / n_sets if n_sets else torch.nan


def stability_over(fits: Sequence[Bool[Tensor, "_ n"]]) -> list[float]:
    """Of each of several fits, the mean stability with the others; their mean is that over all pairs."""
    pairs = {pair: stability(fits[pair[0]], fits[pair[1]]) for pair in combinations(range(len(fits)), 2)}
    return [mean([value for pair, value in pairs.items() if k in pair]) for k in range(len(fits))]
