"""What is each concept worth? Shapley values of a concept set's completeness score."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan
from typing import Annotated, final

import torch
from pydantic import Field

from classifsae.bottleneck import Evaluation
from classifsae.bounds import PositiveInt, Seed
from classifsae.metrics.base import Metric, OfConcept, Quantity, Result
from classifsae.tensors import Bool, Float, Int, Tensor

Worth = Callable[[Int[Tensor, " s"]], Float[Tensor, "s *k"]]
"""The worth v(S) of sets of players, a number or k of them; bit j of a set's number: is player j in it."""

MOST_CONCEPTS = 50
"""A set of concepts and the number of a sentence in its chunk share one integer of 63 bits."""

_MOST_ROWS = 1 << 12
_PAIRS_PER_CHUNK = 1 << 20


@dataclass(frozen=True)
class ConceptWorth(OfConcept):
    """The Shapley value of one concept.

    Attributes:
        value: its Shapley value, as a share of the completeness score; negative where it does harm.
        standard_error: of the value over permutations; 0 where it is exact.
    """

    value: float
    standard_error: float


@final
@dataclass(frozen=True)
class ShapleyResult(Result):
    """Shapley values on one test set; NaN where ``reason`` says why.

    Attributes:
        n_sentences: that the scores are taken on.
        chance: share of the classifier's most frequent decision among them.
        reason: why numbers are missing, or None.
        concepts: one entry per concept, empty where the values are missing.
    """

    completeness_score: Annotated[
        float, Quantity("recovery above chance with all concepts left", "higher", low=-inf)
    ]
    completeness_score_none: Annotated[
        float, Quantity("recovery above chance with no concept left", low=-inf)
    ]
    shapley_max: Annotated[
        float, Quantity("Shapley value of the concept that is worth most", low=-inf, high=inf)
    ]
    shapley_standard_error: Annotated[
        float, Quantity("standard error of a Shapley value, the largest over concepts", "lower", high=inf)
    ]
    n_sentences: int
    chance: float
    reason: str | None
    concepts: tuple[ConceptWorth, ...]


@final
class Shapley(Metric):
    """Completeness score, and each concept's share in it.

    For a set S of concepts, all others set to zero,

        v(S) = (RAcc(S) - chance) / (1 - chance),

    RAcc(S) the recovery accuracy and chance the share of the classifier's most frequent decision:
    1 for all decisions recovered, 0 for what a constant answer gets. The Shapley value of concept j,

        phi_j = sum over S without j of |S|! (m - |S| - 1)! / m! (v(S + j) - v(S)),

    is the mean of what j adds when the concepts come one by one in random order. The values add up
    to v(all) - v(none). Exact where all 2^m sets are no more than the orders would ask for.

    Attributes:
        n_permutations: random orders; the standard error falls with their square root.
        max_sentences: a random choice of so many test sentences is used; None for all.
        max_concepts: with more concepts no Shapley values are computed (a method such as identity
            has hundreds, and the cost grows with their number); at most 50.
        seed: of the orders and of the sentences.

    Source: Yeh et al. 2020 (arXiv:1910.07969), with the concepts' own decoder in place of one that is
    trained for each set, the classifier's decisions in place of the labels, and the most frequent
    decision in place of a random one.
    """

    n_permutations: Annotated[int, Field(ge=2)] = 200
    max_sentences: PositiveInt | None = 2000
    max_concepts: Annotated[int, Field(ge=1, le=MOST_CONCEPTS)] = MOST_CONCEPTS
    seed: Seed = 42

    def measure(self, evaluation: Evaluation) -> ShapleyResult:
        """Score the concepts of an evaluation."""
        concepts = evaluation.concepts
        rows = some_of(len(evaluation.codes), at_most=self.max_sentences, seed=self.seed)
        rows = rows.to(evaluation.codes.device)
        decisions = evaluation.original[rows].argmax(dim=1)
        chance = most_frequent(decisions)
        emptied = evaluation.without_many(list(range(len(concepts))))
        reason = self._reason_against(len(concepts), len(rows), chance)
        values, errors = self._values(evaluation, rows, chance) if reason is None else ([], [])
        # Without values there are no entries.
        columns = zip(concepts.kept.tolist(), concepts.segment_of.tolist(), values, errors, strict=False)
        return ShapleyResult(
            completeness_score=above_chance(evaluation.rebuilt[rows], decisions, chance),
            completeness_score_none=above_chance(emptied[rows], decisions, chance),
            shapley_max=max(values, default=nan),
            shapley_standard_error=max(errors, default=nan),
            n_sentences=len(rows),
            chance=chance,
            reason=reason,
            concepts=tuple(ConceptWorth(j, *column) for j, column in enumerate(columns)),
        )

    def _reason_against(self, n_concepts: int, n_sentences: int, chance: float) -> str | None:
        """Why there are no Shapley values, if that is so."""
        if chance == 1:
            return f"the classifier gives all {n_sentences} sentences the same label: nothing is above chance"
        if n_concepts > self.max_concepts:
            return f"{n_concepts} concepts are more than max_concepts, {self.max_concepts}"
        return None

    def _values(
        self, evaluation: Evaluation, rows: Int[Tensor, " r"], chance: float
    ) -> tuple[list[float], list[float]]:
        """The value of each concept and its standard error."""
        m = len(evaluation.concepts)

        def worth(sets: Int[Tensor, " s"]) -> Float[Tensor, " s"]:
            return (recovery(evaluation, rows, sets) - chance) / (1 - chance)

        values, errors = shapley_values(worth, m, n_permutations=self.n_permutations, seed=self.seed)
        return values.tolist(), errors.tolist()


def some_of(n: int, *, at_most: int | None, seed: int) -> Int[Tensor, " r"]:
    """All of n rows, or a random choice of so many of them, in order."""
    if at_most is None or at_most >= n:
        return torch.arange(n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order[:at_most].sort().values


def shapley_values(
    worth: Worth, m: int, *, n_permutations: int, seed: int
) -> tuple[Float[Tensor, "m *k"], Float[Tensor, "m *k"]]:
    """Shapley values of m players with their standard errors, 0 where the values are exact.

    Exact where all 2^m sets are no more than the random orders would ask for.
    """
    if 2**m <= n_permutations * m:
        exact = by_all_sets(worth, m)
        return exact, torch.zeros_like(exact)
    return by_permutations(worth, m, n_permutations=n_permutations, seed=seed)


def by_all_sets(worth: Worth, m: int) -> Float[Tensor, "m *k"]:
    """Exact Shapley values of m players, from the worth of all 2^m sets."""
    sets = torch.arange(2**m)
    values = worth(sets).double().cpu()  # a set's number is its place: bit j says whether player j is in it
    sizes = members(sets, m).sum(dim=1)
    factorials = torch.tensor([math.factorial(k) for k in range(m + 1)], dtype=torch.float64)
    found = []
    for player in range(m):
        without = sets[(sets >> player) & 1 == 0]
        weights = factorials[sizes[without]] * factorials[m - 1 - sizes[without]] / factorials[m]
        found.append(torch.tensordot(weights, values[without | 1 << player] - values[without], dims=1))
    return torch.stack(found)


def by_permutations(
    worth: Worth, m: int, *, n_permutations: int, seed: int
) -> tuple[Float[Tensor, "m *k"], Float[Tensor, "m *k"]]:
    """Shapley values of m players from random orders, each with its standard error.

        phi_j = mean over orders of v(those before j, and j) - v(those before j)
        error_j = standard deviation of the same over orders / sqrt(n_permutations)

    Every set is asked for once, however many orders pass through it. Unbiased; in each order what the
    players add telescopes, so the values add up to v(all) - v(none) without sampling error.
    """
    draws = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(m, generator=draws) for _ in range(n_permutations)])
    # The empty set, then one player more at a time: bits are disjoint, so sums are unions.
    first = torch.zeros(n_permutations, 1, dtype=torch.int64)
    prefixes = torch.cat([first, (1 << orders).cumsum(dim=1)], dim=1)
    sets, where = prefixes.unique(return_inverse=True)
    added = worth(sets).double().cpu()[where].diff(dim=1)
    by_player = added[torch.arange(n_permutations)[:, None], orders.argsort(dim=1)]
    return by_player.mean(dim=0), by_player.std(dim=0) / math.sqrt(n_permutations)


def recovery(evaluation: Evaluation, rows: Int[Tensor, " r"], sets: Int[Tensor, " s"]) -> Float[Tensor, " s"]:
    """Recovery accuracy on some sentences with only the concepts of each set left.

    A concept whose code is zero changes nothing, so for one sentence all sets with the same concepts
    out of those it has are computed once: sparse codes cost little.
    """
    sets = sets.to(rows.device)
    size = max(1, min(_MOST_ROWS, _PAIRS_PER_CHUNK // len(sets)))
    hits = torch.zeros(len(sets), dtype=torch.int64, device=rows.device)
    for start in range(0, len(rows), size):
        hits += _hits(evaluation, rows[start : start + size], sets)
        if evaluation.on_step:
            evaluation.on_step(min(start + size, len(rows)), len(rows), {})
    return hits.double() / len(rows)


def _hits(evaluation: Evaluation, rows: Int[Tensor, " b"], sets: Int[Tensor, " s"]) -> Int[Tensor, " s"]:
    """Number of these sentences whose decision each set recovers."""
    m = len(evaluation.concepts)
    present = ((evaluation.codes[rows] != 0).long() << torch.arange(m, device=rows.device)).sum(dim=1)
    # One integer for a sentence and those concepts of a set that it has: equal keys are computed once.
    numbers = torch.arange(len(rows), device=rows.device) << m
    keys, where = (sets & present[:, None] | numbers[:, None]).unique(return_inverse=True)
    asked = rows[keys >> m]
    wanted = evaluation.original.argmax(dim=1)
    right = torch.empty(len(keys), dtype=torch.bool, device=rows.device)
    for part, logits in evaluation.with_only(asked, members(keys, m)):
        right[part] = logits.argmax(dim=1) == wanted[asked[part]]
    return right[where].sum(dim=0)


def members(sets: Int[Tensor, " s"], m: int) -> Bool[Tensor, "s m"]:
    """Which of m players are in each set."""
    return torch.stack([(sets >> player) & 1 == 1 for player in range(m)], dim=1)


def above_chance(rebuilt: Float[Tensor, "b c"], decisions: Int[Tensor, " b"], chance: float) -> float:
    """Completeness score: (RAcc - chance) / (1 - chance), at most 1; NaN where all decisions are the same."""
    recovered = (rebuilt.argmax(dim=1) == decisions).double().mean()
    return nan if chance == 1 else (float(recovered) - chance) / (1 - chance)


def most_frequent(decisions: Int[Tensor, " b"]) -> float:
    """Share of the most frequent decision, in (0, 1]."""
    return int(decisions.bincount().max()) / len(decisions)
