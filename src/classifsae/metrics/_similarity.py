"""How alike sentences are: closed forms over sets, and blocks over pairs; never all pairs at once."""

import math
from dataclasses import dataclass

import torch

from classifsae.tensors import Bool, Float, Int, OnStep, Tensor

N_STRONGEST = 5
"""A sentence's concepts are at most this many: those of its largest activations."""

N_SHARED = (1, 2, 3, 4)
"""How many concepts two sentences may share in SentenceSim(k)."""

_ENTRIES_PER_BLOCK = 1 << 22
_ROWS = 4096


@dataclass(frozen=True)
class Overlap:
    """How activating sets overlap; not a number where there is nothing to divide by.

    Attributes:
        jaccard: mean over pairs of sets that are not empty of |intersection| / |union|.
        redundancy: memberships over covered sentences.
        coverage: share of sentences in any set.
    """

    jaccard: float
    redundancy: float
    coverage: float


def pair_moments(embeddings: Float[Tensor, "n e"]) -> tuple[float, float]:
    """Mean and variance of the cosines of all pairs of different sentences, in O(n e^2).

    sum over i, j of e_i . e_j = ||sum e||^2 and of (e_i . e_j)^2 = ||E^T E||^2; the n pairs i = j are 1 each.
    """
    n, width = embeddings.shape
    if n < 2:
        return math.nan, math.nan
    total = torch.zeros(width, dtype=torch.float64, device=embeddings.device)
    gram = torch.zeros(width, width, dtype=torch.float64, device=embeddings.device)
    for start in range(0, n, _ROWS):
        part = embeddings[start : start + _ROWS].double()
        total += part.sum(dim=0)
        gram += part.T @ part
    n_pairs = n * (n - 1)
    mean = (float(total.square().sum()) - n) / n_pairs
    return mean, (float(gram.square().sum()) - n) / n_pairs - mean**2


def similarity_within(sets: Bool[Tensor, "m n"], embeddings: Float[Tensor, "n e"]) -> Float[Tensor, " m"]:
    """Mean cosine of the pairs of different sentences in each set; 0 for fewer than two.

    (||sum e||^2 - n) / (n (n - 1))
    """
    total = torch.zeros(len(sets), embeddings.shape[1], dtype=torch.float64, device=embeddings.device)
    for start in range(0, len(embeddings), _ROWS):
        part = slice(start, start + _ROWS)
        total += (sets[:, part].float() @ embeddings[part]).double()
    sizes = sets.sum(dim=1).double()
    within = (total.square().sum(dim=1) - sizes) / (sizes * (sizes - 1))
    return within.where(sizes >= 2, 0.0)


def overlap_of(sets: Bool[Tensor, "m n"]) -> Overlap:
    """Jaccard, redundancy and coverage of activating sets."""
    n_members = int(sets.sum())
    n_covered = int(sets.any(dim=0).sum())
    return Overlap(
        jaccard=_mean_jaccard(sets[sets.any(dim=1)]),
        redundancy=n_members / n_covered if n_covered else math.nan,
        coverage=n_covered / sets.shape[1],
    )


def _mean_jaccard(sets: Bool[Tensor, "s n"]) -> float:
    """Mean over pairs of different sets."""
    if len(sets) < 2:
        return math.nan
    common = torch.zeros(len(sets), len(sets), dtype=torch.float64, device=sets.device)
    for start in range(0, sets.shape[1], _ROWS):
        part = sets[:, start : start + _ROWS].float()
        common += part @ part.T
    sizes = common.diagonal()
    jaccard = common / (sizes[:, None] + sizes - common)
    return float((jaccard.sum() - len(sets)) / (len(sets) * (len(sets) - 1)))


def strongest(codes: Float[Tensor, "n m"]) -> Int[Tensor, "n q"]:
    """Each sentence's concepts by position: its min(5, m) largest signed activations that are not 0.

    Returns:
        Positions; m stands in places that are left over.
    """
    m = codes.shape[1]
    top = codes.topk(min(N_STRONGEST, m), dim=1)
    return top.indices.where(top.values != 0, m).sort(dim=1).values


def sentence_similarity(
    concepts_of: Int[Tensor, "n q"], embeddings: Float[Tensor, "n e"], *, on_step: OnStep | None = None
) -> tuple[dict[int, float], dict[int, int]]:
    """SentenceSim(k): mean cosine of a sentence to those that share exactly k of its concepts.

    Sentences with the same concepts have the same neighbours, so they are summed up first: with S_g the
    sum of the embeddings of group g, all cosines between the groups g and h add up to S_g . S_h.

    Args:
        concepts_of: as ``strongest`` gives them.
        embeddings: of unit norm.
        on_step: told how many groups of all are done.
    Returns:
        For each k the mean over sentences that have such a neighbour, and how many have one. The mean is
        not a number where none has.
    """
    groups, group_of = concepts_of.unique(dim=0, return_inverse=True)
    sums = embeddings.new_zeros(len(groups), embeddings.shape[1]).index_add_(0, group_of, embeddings)
    sizes = torch.bincount(group_of).to(embeddings)
    holders = _holders(groups)
    totals = torch.zeros(len(N_SHARED), 2, dtype=torch.float64, device=embeddings.device)
    size = max(1, _ENTRIES_PER_BLOCK // len(groups))
    for start in range(0, len(groups), size):
        block = slice(start, start + size)
        totals += _shared_within(block, groups, holders, sums, sizes)
        if on_step:
            on_step(min(start + size, len(groups)), len(groups), {})
    means = {k: float(s / n) if n else math.nan for k, (s, n) in zip(N_SHARED, totals, strict=True)}
    return means, {k: int(n) for k, n in zip(N_SHARED, totals[:, 1], strict=True)}


def _holders(groups: Int[Tensor, "g q"]) -> Int[Tensor, "p g"]:
    """One row per concept that occurs, 1 where a group has it; the last row, for places left over, is 0."""
    n_concepts = int(groups.max()) + 1
    holders = torch.zeros(n_concepts + 1, len(groups), dtype=torch.uint8, device=groups.device)
    holders.scatter_(0, groups.T, 1)
    return holders


def _shared_within(
    block: slice,
    groups: Int[Tensor, "g q"],
    holders: Int[Tensor, "p g"],
    sums: Float[Tensor, "g e"],
    sizes: Float[Tensor, " g"],
) -> Float[Tensor, "4 2"]:
    """For each k: the sum of the means of a block's sentences, and how many have a neighbour."""
    n_shared = torch.stack([holders[column] for column in groups[block].T]).sum(dim=0, dtype=torch.uint8)
    cosines = sums[block] @ sums.T
    own_size = sizes[block].double()
    own_concepts = n_shared[:, block].diagonal()
    found = []
    for k in N_SHARED:
        hits = (n_shared == k).to(cosines)
        itself = (own_concepts == k).double()
        total = torch.einsum("bg,bg->b", hits, cosines).double() - itself * own_size
        n_neighbours = (hits @ sizes).double() - itself
        has = n_neighbours > 0
        found.append(torch.stack([(total / n_neighbours)[has].sum(), own_size[has].sum()]))
    return torch.stack(found)
