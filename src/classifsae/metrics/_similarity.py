"""How alike sentences are, all in closed form: no pair of sentences is ever looked at."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import torch
from torch.nn.functional import embedding_bag

from classifsae.activity import sizes_of
from classifsae.tensors import Bool, Float, Int, OnStep, Tensor

N_STRONGEST = 5
"""A sentence's concepts are at most this many: those of its largest activations."""

N_SHARED = (1, 2, 3, 4)
"""How many concepts two sentences may share in SentenceSim(k)."""

_ENTRIES_PER_BLOCK = 1 << 22
_ROWS, _SETS = 4096, 1024


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
    sizes = sizes_of(sets).double()
    within = (total.square().sum(dim=1) - sizes) / (sizes * (sizes - 1))
    return within.where(sizes >= 2, 0.0)


def overlap_of(sets: Bool[Tensor, "m n"]) -> Overlap:
    """Jaccard, redundancy and coverage of activating sets."""
    n_members = int(sizes_of(sets).sum())
    n_covered = int(sets.any(dim=0).sum())
    return Overlap(
        jaccard=_mean_jaccard(sets[sets.any(dim=1)]),
        redundancy=n_members / n_covered if n_covered else math.nan,
        coverage=n_covered / sets.shape[1],
    )


def _mean_jaccard(sets: Bool[Tensor, "s n"]) -> float:
    """Mean over pairs of different sets, of which so many are held at once."""
    s, total = len(sets), 0.0
    if s < 2:
        return math.nan
    sizes = sizes_of(sets).double()
    for start in range(0, s, _SETS):
        block = slice(start, start + _SETS)
        common = _common(sets[block], sets[start:])
        union = sizes[block, None] + sizes[start:] - common
        total += float((common / union).triu(diagonal=1).sum())
    return total / math.comb(s, 2)


def _common(some: Bool[Tensor, "b n"], sets: Bool[Tensor, "s n"]) -> Float[Tensor, "b s"]:
    """Sentences that two sets have in common."""
    common = torch.zeros(len(some), len(sets), dtype=torch.float64, device=sets.device)
    for start in range(0, sets.shape[1], _ROWS):
        part = slice(start, start + _ROWS)
        common += some[:, part].float() @ sets[:, part].float().T
    return common


def strongest(codes: Float[Tensor, "n m"]) -> Int[Tensor, "n q"]:
    """Each sentence's concepts by position: its min(5, m) largest signed activations that are not 0.

    Returns:
        Positions; -1 in places that are left over.
    """
    top = codes.topk(min(N_STRONGEST, codes.shape[1]), dim=1)
    return top.indices.where(top.values != 0, -1).sort(dim=1).values


def sentence_similarity(
    concepts_of: Int[Tensor, "n q"], embeddings: Float[Tensor, "n e"], *, on_step: OnStep | None = None
) -> tuple[dict[int, float], dict[int, int]]:
    """SentenceSim(k): mean cosine of a sentence to those that share exactly k of its concepts.

    No pair is looked at. With U_T the sum of the embeddings of all sentences whose concepts include the set
    T, and A_i the concepts of sentence i, by inclusion and exclusion

        sum of cosines of i to those that share exactly k = sum over T in A_i of w_k(|T|) (e_i . U_T - 1),
        w_k(s) = (-1)^(s - k) (s choose k),

    and the same without embeddings counts them. A sentence has at most 31 such sets, so both time and
    memory grow with n alone; a set that no other sentence has adds nothing, and is left out. In float64, as
    large sums cancel.

    Args:
        concepts_of: as ``strongest`` gives them.
        embeddings: of unit norm.
        on_step: told how many columns of the embeddings are done.
    Returns:
        For each k the mean over sentences that have such a neighbour, and how many have one. The mean is
        not a number where none has.
    """
    shared = _SharedSets.of(concepts_of)
    counts, cosines = shared.counts(), shared.cosines(embeddings, on_step)
    means, support = {}, {}
    for k in N_SHARED:
        weights = shared.weights(k).to(counts.device)
        n_neighbours, total = counts @ weights, cosines @ weights
        has = n_neighbours > 0
        means[k] = float((total[has] / n_neighbours[has]).mean())
        support[k] = int(has.sum())
    return means, support


@dataclass(frozen=True)
class _SharedSets:
    """Every set of concepts that two sentences or more have.

    Attributes:
        ids: for each sentence the number of each set among its concepts, ``n_sets`` where it has fewer, or
            no other sentence has it.
        sizes: concepts of the sets in each column.
        n_sets: different sets.
    """

    ids: Int[Tensor, "n s"]
    sizes: tuple[int, ...]
    n_sets: int

    @classmethod
    def of(cls, concepts_of: Int[Tensor, "n q"]) -> Self:
        """Number all sets, each by the set without its last concept and that concept."""
        n, q = concepts_of.shape
        base = int(concepts_of.max()) + 2
        numbers: dict[tuple[int, ...], Tensor] = {(): concepts_of.new_zeros(n)}
        n_sets = 0
        for size in range(1, q + 1):
            columns = list(combinations(range(q), size))
            keys = torch.stack([_key(numbers[c[:-1]], concepts_of[:, c[-1]], base) for c in columns], dim=1)
            found, ids = keys.unique(return_inverse=True)
            absent = int((found < 0).sum())  # at most one, and the first
            ids = torch.where(keys < 0, -1, ids - absent + n_sets)
            n_sets += len(found) - absent
            numbers |= dict(zip(columns, ids.T, strict=True))
        del numbers[()]
        ids, n_shared = _without_single(torch.stack(list(numbers.values()), dim=1), n_sets)
        return cls(ids.where(ids >= 0, n_shared), tuple(map(len, numbers)), n_shared)

    def weights(self, k: int) -> Float[Tensor, " s"]:
        """How each column counts towards exactly k shared concepts."""
        signed = [(-1) ** (size - k) * math.comb(size, k) if size >= k else 0 for size in self.sizes]
        return torch.tensor(signed, dtype=torch.float64)

    def counts(self) -> Float[Tensor, "n s"]:
        """How many other sentences have each set of each sentence."""
        held = torch.bincount(self.ids.flatten(), minlength=self.n_sets + 1) - 1
        held[self.n_sets] = 0
        return held[self.ids].double()

    def cosines(self, embeddings: Float[Tensor, "n e"], on_step: OnStep | None) -> Float[Tensor, "n s"]:
        """Sum of the cosines of each sentence to the others that have each of its sets."""
        width = embeddings.shape[1]
        found = torch.zeros(self.ids.shape, dtype=torch.float64, device=embeddings.device)
        members, starts = self._members()
        step = max(1, _ENTRIES_PER_BLOCK // max(len(starts), len(found)))
        for start in range(0, width, step):
            part = embeddings[:, start : start + step].double()
            sums = embedding_bag(members, part, starts, mode="sum")
            itself = torch.linalg.vecdot(part, part)
            for column, ids in enumerate(self.ids.T):
                found[:, column] += torch.linalg.vecdot(sums[ids], part) - itself
            if on_step:
                on_step(min(start + step, width), width, {})
        return found.where(self.ids < self.n_sets, 0.0)

    def _members(self) -> tuple[Int[Tensor, " q"], Int[Tensor, " p"]]:
        """Sentences that have each set, set by set, and where each set's begin; the last one's are none."""
        sizes = torch.bincount(self.ids.flatten(), minlength=self.n_sets + 1)
        order = self.ids.flatten().argsort(stable=True)[: int(sizes[: self.n_sets].sum())]
        return order // self.ids.shape[1], sizes.cumsum(dim=0) - sizes


def _without_single(ids: Int[Tensor, "n s"], n_sets: int) -> tuple[Int[Tensor, "n s"], int]:
    """Numbers of the sets that two sentences or more have, -1 for others, and how many there are."""
    several = torch.bincount(ids[ids >= 0], minlength=n_sets) > 1
    number = torch.where(several, several.cumsum(dim=0) - 1, -1)
    return torch.cat([number, number.new_full((1,), -1)])[ids], int(several.sum())


def _key(number: Int[Tensor, " n"], last: Int[Tensor, " n"], base: int) -> Int[Tensor, " n"]:
    """One number for a set; -1 where it has a place that is left over."""
    return torch.where((number < 0) | (last < 0), -1, number * base + last)
