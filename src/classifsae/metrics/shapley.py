"""What is each concept worth? Shapley values of a concept set's completeness score."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from classifsae.bottleneck import Evaluation
from classifsae.metrics.base import Metric, Quantity, Result
from classifsae.tensors import Bool, Float, Int, Tensor

Worth = Callable[[Int[Tensor, " s"]], Float[Tensor, " s"]]
"""The worth v(S) of sets of players; bit j of a set's number says whether player j is in it."""

MOST_CONCEPTS = 50
"""A set of concepts and the number of a sentence in its chunk share one integer of 63 bits."""

_MOST_ROWS = 1 << 12
_PAIRS_PER_CHUNK = 1 << 20


@dataclass(frozen=True)
class ConceptWorth:
    """The Shapley value of one concept.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary.
        class_index: class that it belongs to.
        value: its Shapley value, as a share of the completeness score; negative where it does harm.
        standard_error: of the value over permutations; 0 where it is exact.
    """

    position: int
    latent: int
    class_index: int
    value: float
    standard_error: float


_ALL = Quantity("recovery above chance with all concepts left", "fraction", -math.inf, 1, "higher")
_NONE = Quantity("recovery above chance with no concept left", "fraction", -math.inf, 1)
_LARGEST = Quantity("Shapley value of the concept that is worth most", "fraction", -math.inf, math.inf)
_ERROR = Quantity(
    "standard error of a Shapley value, the largest over concepts", "fraction", 0, math.inf, "lower"
)


@final
@dataclass(frozen=True)
class ShapleyResult(Result):
    """Shapley values on one test set; not a number where ``reason`` says why.

    Attributes:
        n_sentences: that the scores are taken on.
        chance: share of the classifier's most frequent decision among them.
        reason: why numbers are missing, or None.
        concepts: one entry per concept, empty where the values are missing.
    """

    completeness_score: Annotated[float, _ALL]
    completeness_score_none: Annotated[float, _NONE]
    shapley_max: Annotated[float, _LARGEST]
    shapley_standard_error: Annotated[float, _ERROR]
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
    seed: NonNegativeInt = 42

    def measure(self, view: Evaluation) -> ShapleyResult:
        """Score the concepts of a view."""
        rows, m = self._sentences(view), len(view.concepts)
        chance = most_frequent(view.original[rows].argmax(dim=1))
        if chance == 1:
            why = f"the classifier gives all {len(rows)} sentences the same label: nothing is above chance"
            return _without_values(math.nan, math.nan, len(rows), chance, why)
        if m > self.max_concepts:
            why = f"{m} concepts are more than max_concepts, {self.max_concepts}"
            whole = completeness_score(view.rebuilt[rows], view.original[rows])
            return _without_values(whole, _of_nothing(view, rows), len(rows), chance, why)
        return self._with_values(view, rows, chance)

    def _with_values(self, view: Evaluation, rows: Int[Tensor, " r"], chance: float) -> ShapleyResult:
        m = len(view.concepts)

        def worth(sets: Int[Tensor, " s"]) -> Float[Tensor, " s"]:
            return (recovery(view, rows, sets) - chance) / (1 - chance)

        if 2**m <= self.n_permutations * m:
            values, errors = by_all_sets(worth, m), torch.zeros(m)
        else:
            values, errors = by_permutations(worth, m, n_permutations=self.n_permutations, seed=self.seed)
        none, all_of_them = worth(torch.tensor([0, 2**m - 1])).tolist()
        return ShapleyResult(
            completeness_score=all_of_them,
            completeness_score_none=none,
            shapley_max=float(values.max()),
            shapley_standard_error=float(errors.max()),
            n_sentences=len(rows),
            chance=chance,
            reason=None,
            concepts=_listed(view, values, errors),
        )

    def _sentences(self, view: Evaluation) -> Int[Tensor, " r"]:
        """All sentences, or a random choice of them, in order."""
        n = len(view.codes)
        rows = torch.arange(n)
        if self.max_sentences is not None and self.max_sentences < n:
            order = torch.randperm(n, generator=torch.Generator().manual_seed(self.seed))
            rows = order[: self.max_sentences].sort().values
        return rows.to(view.codes.device)


def by_all_sets(worth: Worth, m: int) -> Float[Tensor, " m"]:
    """Exact Shapley values of m players, from the worth of all 2^m sets."""
    sets = torch.arange(2**m)
    values = worth(sets).double().cpu()
    sizes = members(sets, m).sum(dim=1)
    factorials = torch.tensor([math.factorial(k) for k in range(m + 1)], dtype=torch.float64)
    found = []
    for player in range(m):
        without = sets[(sets >> player) & 1 == 0]
        weights = factorials[sizes[without]] * factorials[m - 1 - sizes[without]] / factorials[m]
        found.append((weights * (values[without | 1 << player] - values[without])).sum())
    return torch.stack(found)


def by_permutations(
    worth: Worth, m: int, *, n_permutations: int, seed: int
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Shapley values of m players from random orders, each with its standard error.

        phi_j = mean over orders of v(those before j, and j) - v(those before j)
        error_j = standard deviation of the same over orders / sqrt(n_permutations)

    Every set is asked for once, however many orders pass through it. Unbiased; in each order what the
    players add telescopes, so the values add up to v(all) - v(none) without sampling error.
    """
    draws = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(m, generator=draws) for _ in range(n_permutations)])
    first = torch.zeros(n_permutations, 1, dtype=torch.int64)
    prefixes = torch.cat([first, (1 << orders).cumsum(dim=1)], dim=1)
    sets, where = prefixes.unique(return_inverse=True)
    added = worth(sets).double().cpu()[where].diff(dim=1)
    by_player = torch.empty_like(added).scatter(1, orders, added)
    return by_player.mean(dim=0), by_player.std(dim=0) / math.sqrt(n_permutations)


def recovery(view: Evaluation, rows: Int[Tensor, " r"], sets: Int[Tensor, " s"]) -> Float[Tensor, " s"]:
    """Recovery accuracy on some sentences with only the concepts of each set left.

    A concept whose code is zero changes nothing, so for one sentence all sets with the same concepts
    out of those it has are computed once: sparse codes cost little.
    """
    sets = sets.to(rows.device)
    size = max(1, min(_MOST_ROWS, _PAIRS_PER_CHUNK // len(sets)))
    hits = torch.zeros(len(sets), dtype=torch.int64, device=rows.device)
    for start in range(0, len(rows), size):
        hits += _hits(view, rows[start : start + size], sets)
        if view.on_step:
            view.on_step(min(start + size, len(rows)), len(rows), {})
    return hits.double() / len(rows)


def _hits(view: Evaluation, rows: Int[Tensor, " b"], sets: Int[Tensor, " s"]) -> Int[Tensor, " s"]:
    """Number of these sentences whose decision each set recovers."""
    m = len(view.concepts)
    present = ((view.codes[rows] != 0).long() << torch.arange(m, device=rows.device)).sum(dim=1)
    numbers = torch.arange(len(rows), device=rows.device) << m
    keys, where = (sets & present[:, None] | numbers[:, None]).unique(return_inverse=True)
    asked = rows[keys >> m]
    wanted = view.original.argmax(dim=1)
    right = torch.empty(len(keys), dtype=torch.bool, device=rows.device)
    for part, logits in view.with_only(asked, members(keys, m)):
        right[part] = logits.argmax(dim=1) == wanted[asked[part]]
    return right[where].sum(dim=0)


def members(sets: Int[Tensor, " s"], m: int) -> Bool[Tensor, "s m"]:
    """Which of m players are in each set."""
    return torch.stack([(sets >> player) & 1 == 1 for player in range(m)], dim=1)


def completeness_score(rebuilt: Float[Tensor, "b c"], original: Float[Tensor, "b c"]) -> float:
    """Recovery above chance: (RAcc - chance) / (1 - chance), at most 1.

    Chance is the share of the most frequent original decision, which must not be the only one.
    """
    decisions = original.argmax(dim=1)
    chance = most_frequent(decisions)
    return (float((rebuilt.argmax(dim=1) == decisions).double().mean()) - chance) / (1 - chance)


def most_frequent(decisions: Int[Tensor, " b"]) -> float:
    """Share of the most frequent decision, in (0, 1]."""
    return int(decisions.bincount().max()) / len(decisions)


def _of_nothing(view: Evaluation, rows: Int[Tensor, " r"]) -> float:
    emptied = view.without_many(list(range(len(view.concepts))))
    return completeness_score(emptied[rows], view.original[rows])


def _without_values(
    all_of_them: float, none: float, n_sentences: int, chance: float, reason: str
) -> ShapleyResult:
    return ShapleyResult(all_of_them, none, math.nan, math.nan, n_sentences, chance, reason, ())


def _listed(
    view: Evaluation, values: Float[Tensor, " m"], errors: Float[Tensor, " m"]
) -> tuple[ConceptWorth, ...]:
    columns = (view.concepts.kept, view.concepts.segment_of, values, errors)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return tuple(ConceptWorth(j, *row) for j, row in enumerate(rows))
