"""Dead, active, fires, strongly active: each word with its one definition, and every threshold, once."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from classifsae.tensors import Bool, Float, Int, Tensor

ALIVE = 1e-6
"""A concept whose mean |activation| on the sentences it is chosen on is not above this is dead."""

ACTIVE = 1e-6
"""A concept is active on a sentence where its |activation| is above this (activation rates)."""

FIRES = 1e-8
"""A concept fires on a sentence where its |activation| is above this (causality): what is removed."""

SAYS_THE_CLASS = 0.8
"""Jaccard index of a concept's activating set and the sentences of a predicted class from which it is one."""

COVERS_THE_CLASS = 0.95
"""Share of the sentences of its class from which a concept tells none of them apart."""

GLOSSARY: Mapping[str, str] = {
    "dead": f"mean |activation| on the training sentences of at most {ALIVE:g}; dead concepts are left out",
    "active": f"|activation| on the sentence above {ACTIVE:g}",
    "fires": f"|activation| on the sentence above {FIRES:g}: removing the concept can change something there",
    "strongly active": "activation in the upper of the two groups into which the natural break splits all "
    "activations of the concept; these sentences are its activating set",
}
"""What the page and the documentation mean by these words."""

_ENTRIES_PER_BATCH = 1 << 20


@dataclass(frozen=True)
class Activating:
    """The sentences on which each concept is strongly active.

    Attributes:
        sets: true where a sentence is in the concept's upper group.
        thresholds: largest activation of each lower group, NaN where all activations are equal.
    """

    sets: Bool[Tensor, "m n"]
    thresholds: Float[Tensor, " m"]

    @property
    def sizes(self) -> Int[Tensor, " m"]:
        """Sentences that activate each concept."""
        return sizes_of(self.sets)


def sizes_of(sets: Bool[Tensor, "m n"]) -> Int[Tensor, " m"]:
    """Members of each set; some sets at a time, as a sum is taken of a copy in int64."""
    size = max(1, _ENTRIES_PER_BATCH // max(sets.shape[1], 1))
    return torch.cat([some.sum(dim=1) for some in sets.split(size)])


def activating_sets(codes: Float[Tensor, "n m"]) -> Activating:
    """The upper group of the natural break of every concept; empty where all its activations are equal."""
    n, m = codes.shape
    size = max(1, _ENTRIES_PER_BATCH // max(n, 1))
    sets = torch.empty(m, n, dtype=torch.bool, device=codes.device)
    thresholds = codes.new_empty(m)
    for start in range(0, m, size):
        part = codes[:, start : start + size].T.contiguous()
        limits = natural_breaks(part)
        sets[start : start + size], thresholds[start : start + size] = part > limits[:, None], limits
    return Activating(sets, thresholds)


def coverage_of(sets: Bool[Tensor, "m n"], classes: Bool[Tensor, "c n"]) -> Float[Tensor, "m c"]:
    """Share of the sentences of each class that are in each set; 0 for a class without sentences."""
    return sets.double() @ classes.double().T / sizes_of(classes).clamp_min(1)


def class_indicators(
    sets: Bool[Tensor, "m n"], classes: Bool[Tensor, "c n"], own: Int[Tensor, " m"]
) -> Bool[Tensor, " m"]:
    """Which concepts say the class itself, and so tell none of its sentences apart.

    Args:
        sets: the activating set of each concept.
        classes: the sentences predicted as each class.
        own: the class that each concept belongs to.
    Returns:
        True where the set is nearly that of a class (Jaccard index of 0.8 or more), or holds nearly all
        sentences of the concept's own (0.95 or more).
    """
    coverage = coverage_of(sets, classes)
    both = sets.double() @ classes.double().T
    either = sizes_of(sets)[:, None] + sizes_of(classes) - both
    is_class = (both >= SAYS_THE_CLASS * either.clamp_min(1)).any(dim=1)
    return is_class | (coverage.gather(1, own[:, None])[:, 0] >= COVERS_THE_CLASS)


def natural_breaks(values: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """The largest value of the lower of the two groups of each row that leave the least variance within.

    Of n sorted, centred values with prefix sums S_i, the split after the i-th leaves least within where it
    puts most between the groups: at the largest S_i^2 / (i (n - i)). One sort, so O(n log n).

    Returns:
        One value per row, NaN where all values of a row are equal.
    Source: Fisher 1958, "On grouping for maximum homogeneity"; Jenks 1967 (natural breaks).
    """
    n = values.shape[1]
    ordered = values.sort(dim=1).values
    centred = ordered.double() - ordered.double().mean(dim=1, keepdim=True)
    left = torch.arange(1, n, device=values.device, dtype=torch.float64)
    between = centred.cumsum(dim=1)[:, :-1].square() / (left * (n - left))
    between = between.where(ordered[:, 1:] > ordered[:, :-1], -1.0)
    if n < 2:
        return torch.full_like(values[:, 0], torch.nan)
    best = between.max(dim=1)
    limits = ordered.gather(1, best.indices[:, None])[:, 0]
    return limits.where(best.values >= 0, torch.nan)


def strongest_rows(codes: Float[Tensor, "n m"], activating: Activating, *, at_most: int) -> list[list[int]]:
    """For each concept the rows of its activating set where it is most active, the most active first."""
    found = []
    for position, members in enumerate(activating.sets):
        rows = members.nonzero().flatten()
        order = codes[rows, position].argsort(descending=True, stable=True)
        found.append(rows[order[:at_most]].tolist())
    return found
