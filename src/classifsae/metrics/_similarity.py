"""How alike sentences are, all in closed form: no pair of sentences is ever looked at."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from classifsae.activity import sizes_of
from classifsae.tensors import Bool, Float, Int, OnStep, Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_array

N_STRONGEST = 5
"""A sentence's concepts are at most this many: those of its largest activations."""

N_SHARED = (1, 2, 3, 4)
"""How many concepts two sentences may share in SentenceSim(k)."""

_ENTRIES_PER_BLOCK = 1 << 22
_ROWS, _SETS = 4096, 1024


@dataclass(frozen=True)
class Overlap:
    """How activating sets overlap; NaN where there is nothing to divide by.

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
    # Differences of large sums: in float64, some rows at a time, so that no copy of all embeddings is made.
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
    for start in range(0, len(embeddings), _ROWS):  # all sets as floats would be four times their size
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
        common = common_members(sets[block], sets[start:])
        union = sizes[block, None] + sizes[start:] - common
        total += float((common / union).triu(diagonal=1).sum())
    return total / math.comb(s, 2)


def common_members(some: Bool[Tensor, "b n"], sets: Bool[Tensor, "s n"]) -> Float[Tensor, "b s"]:
    """Sentences that two sets have in common."""
    common = torch.zeros(len(some), len(sets), dtype=torch.float64, device=sets.device)
    for start in range(0, sets.shape[1], _ROWS):  # float32 counts exactly up to 2^24, and is fast
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
    memory grow with n alone. In float64, as large sums cancel.

    Args:
        concepts_of: as ``strongest`` gives them.
        embeddings: of unit norm.
        on_step: told how many columns of the embeddings are done.
    Returns:
        For each k the mean over sentences that have such a neighbour, and how many have one. The mean is
        NaN where none has.
    """
    from scipy.special import comb

    has, sizes = _shared_sets(concepts_of.cpu())  # one row per sentence, one column per set
    weights = np.stack([(-1.0) ** (sizes - k) * comb(sizes, k) for k in N_SHARED], axis=1)
    # A sentence is in each of its own sets: what it adds to them is taken off again, here and below.
    itself = has @ weights
    counts = has @ (has.sum(axis=0)[:, None] * weights) - itself
    cosines = np.zeros_like(counts)
    width = embeddings.shape[1]
    step = max(1, _ENTRIES_PER_BLOCK // max(has.shape))
    for start in range(0, width, step):
        part = embeddings[:, start : start + step].cpu().double().numpy()
        sums = has.T @ part
        cosines -= itself * np.square(part).sum(axis=1, keepdims=True)
        for column in range(len(N_SHARED)):
            cosines[:, column] += ((has @ (weights[:, [column]] * sums)) * part).sum(axis=1)
        if on_step:
            on_step(min(start + step, width), width, {})
    means, support = {}, {}
    for column, k in enumerate(N_SHARED):
        near = counts[:, column] > 0
        support[k] = int(near.sum())
        means[k] = float((cosines[near, column] / counts[near, column]).mean()) if support[k] else math.nan
    return means, support


def _shared_sets(concepts_of: Int[Tensor, "n q"]) -> "tuple[csr_array, NDArray[np.int64]]":
    """Which sentence has which set of concepts, of the sets that several have; and the size of each set."""
    from scipy.sparse import csr_array, hstack

    n, q = concepts_of.shape
    held, sizes = [], []
    for size in range(1, q + 1):
        members = concepts_of[:, list(combinations(range(q), size))]
        rows, which = (members >= 0).all(dim=2).nonzero(as_tuple=True)
        found, ids = members[rows, which].unique(dim=0, return_inverse=True)
        has = csr_array((np.ones(len(ids)), (rows.numpy(), ids.numpy())), shape=(n, len(found)))
        # A set of one sentence adds nothing, and of thousands of concepts most sets are such.
        held.append(has[:, has.sum(axis=0) > 1])
        sizes += [size] * held[-1].shape[1]
    return hstack(held, format="csr"), np.array(sizes)
