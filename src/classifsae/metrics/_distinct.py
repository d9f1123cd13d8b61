"""Concepts as a reader meets them: those that are used, each once however often it was found."""

from dataclasses import dataclass

import torch

from classifsae.activity import FIRES, sizes_of
from classifsae.bottleneck import Evaluation
from classifsae.metrics._similarity import common_members
from classifsae.tensors import Bool, Float, Int, Tensor

USED = 0.005
"""A concept that fires on a smaller share of the test sentences is not counted."""

DUPLICATE = 0.8
"""Concepts whose activating sets have a Jaccard index of at least this are one concept."""


@dataclass(frozen=True)
class DistinctConcepts:
    """Groups of concepts that are used, duplicates in one group.

    Attributes:
        sets: sentences on which any concept of a group is strongly active.
        members: positions of the concepts of each group.
    """

    sets: Bool[Tensor, "g n"]
    members: tuple[tuple[int, ...], ...]

    @property
    def n_used(self) -> int:
        """Concepts that are used, duplicates counted."""
        return sum(map(len, self.members))


def distinct_concepts(
    evaluation: Evaluation, *, used: float = USED, duplicate: float = DUPLICATE
) -> DistinctConcepts:
    """The concepts of an evaluation that are used, duplicates joined (single linkage).

    Args:
        evaluation: its activating sets are compared.
        used: smallest share of sentences on which a concept fires.
        duplicate: smallest Jaccard index of two activating sets of one group.
    """
    from scipy.sparse.csgraph import connected_components

    rate = (evaluation.codes.abs() > FIRES).double().mean(dim=0)
    positions = (rate >= used).nonzero().flatten()
    sets = evaluation.activating.sets[positions]
    filled = sets.any(dim=1)
    positions, sets = positions[filled], sets[filled]
    _, group_of = connected_components((jaccard(sets, sets) >= duplicate).cpu().numpy(), directed=False)
    groups = [(group_of == g).nonzero()[0].tolist() for g in range(max(group_of, default=-1) + 1)]
    joined = [sets[rows].any(dim=0) for rows in groups]
    return DistinctConcepts(
        torch.stack(joined) if joined else sets,
        tuple(tuple(positions[rows].tolist()) for rows in groups),
    )


def jaccard(some: Bool[Tensor, "a n"], others: Bool[Tensor, "b n"]) -> Float[Tensor, "a b"]:
    """|intersection| / |union| of each pair of sets, 0 for two empty ones."""
    common = common_members(some, others)
    union = sizes_of(some).double()[:, None] + sizes_of(others) - common
    return common / union.clamp_min(1)


def within_classes(
    sets: Bool[Tensor, "g n"], classes: Int[Tensor, " n"], n_classes: int
) -> Bool[Tensor, "gc n"]:
    """Every set split by the predicted class of its sentences."""
    return torch.cat([sets & (classes == c) for c in range(n_classes)])
