"""Do concepts move decisions within a class? How far one concept takes the margin over the runner-up."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Annotated, final

import torch
from pydantic import Field
from torch.nn.functional import one_hot

from classifsae.activity import FIRES
from classifsae.bottleneck import Evaluation
from classifsae.bounds import PositiveInt, Seed
from classifsae.metrics.base import Metric, OfConcept, Quantity, Result
from classifsae.metrics.causality import relative_change
from classifsae.metrics.control import Draws, turn
from classifsae.tensors import Bool, Float, Int, Tensor

FEWEST = 5
"""A concept counts in a class where it fires on at least so many sentences, and is absent from as many."""

_ROUNDING = 1e-6
_ENTRIES_PER_BLOCK = 1 << 20
"""Margins whose deviation is a smaller share of their size are all equal."""


@dataclass(frozen=True)
class MarginEffect(OfConcept):
    """What one concept does to margins, in standard deviations; NaN where it never fires.

    Attributes:
        support: sentences on which it fires.
        gap: by how much the margins differ between sentences with and without it, within their class.
        removed: part of the gap that is closed where it is removed.
        added: part of the gap that is closed where it is added.
    """

    support: int
    gap: float
    removed: float
    added: float


def _deviations(says: str, *, low: float = 0) -> Quantity:
    return Quantity(says, "higher", "standard deviations", low, inf)


@final
@dataclass(frozen=True)
class MarginsResult(Result):
    """What single concepts do to the margin within the predicted class, on one test set."""

    margin_removed: Annotated[
        float, _deviations("part of margin_gap that goes where a concept is removed from where it fires")
    ]
    margin_added: Annotated[
        float, _deviations("part of margin_gap that comes where it is added to the others of the class")
    ]
    net_margin_removed: Annotated[
        float, _deviations("margin_removed less that of random changes as large", low=-inf)
    ]
    net_margin_added: Annotated[
        float, _deviations("margin_added less that of random changes as large", low=-inf)
    ]
    margin_gap: Annotated[
        float, _deviations("margins where a concept fires against others of the class: the most there is")
    ]
    concepts: tuple[MarginEffect, ...]


@final
class Margins(Metric):
    """How much of what tells a concept's sentences from others of their class is done by the concept.

    A sentence whose predicted class is c and whose second choice is r, both by the untouched classifier, has
    the margin L_c - L_r, here in units of the standard deviation of L_c - L_r over the sentences of class c.
    Concept j splits these into those where it fires and the others, whose mean margins differ by

        gap(j, c, r) = mean of L_c - L_r where j fires - mean of the same where it does not.

    Removed: j is set to 0 where it fires. Added: j is set to its typical activation (its mean over the
    sentences of class c on which it is strongly active) where it does not fire. With e the mean change of the
    margin through the rebuilt classifier, over the sentences whose runner-up is r, what is closed of the gap
    is

        closed(e) = min(|gap|, |e|) where e goes towards the other group, and 0 where it goes away from it.

    The score is the mean of this over all firings. A firing counts 0 where its concept fires on almost all
    sentences of the class, or on almost none, and so does a sentence on which nothing fires.

    Why the gap and not the bare change: a concept that is the label changes the margin most when it is
    removed, but all sentences of the class have it, so that it has no gap. Concepts that were shuffled within
    the class change the margin too, but have no gap beyond chance. A change counts as far as the classifier
    itself tells these sentences apart. Means are taken before sizes: noise over sentences is no effect.

    The control turns the same states by the same share of their norm, the sentences of one concept and pair
    of classes towards one random direction. Net scores are less its mean over ``n_draws`` such directions.

    Attributes:
        n_draws: random directions per concept and pair of classes.
        max_sentences: of a concept and pair of classes, a random choice of so many is changed.
        seed: of both.
    """

    n_draws: PositiveInt = 4
    max_sentences: Annotated[int, Field(ge=FEWEST)] = 100
    seed: Seed = 42

    def measure(self, evaluation: Evaluation) -> MarginsResult:
        """Score the concepts of an evaluation."""
        decisions = Decisions.of(evaluation.original)
        split, trial = Split.of(evaluation, decisions), Trial.of(evaluation, decisions, self)
        without = trial.closed(split.fires, -split.gaps, torch.zeros_like(split.gaps))
        with_it = trial.closed(~split.fires, split.gaps, split.typical)
        gone, come = split.score(without, split.firings), split.score(with_it, split.additions)
        return MarginsResult(
            margin_removed=float(gone[0]),
            margin_added=float(come[0]),
            net_margin_removed=float(gone[0] - gone[1:].mean()),
            net_margin_added=float(come[0] - come[1:].mean()),
            margin_gap=float(split.score(split.gaps.abs(), split.firings)),
            concepts=split.effects(evaluation, without[0], with_it[0]),
        )


@dataclass(frozen=True)
class Decisions:
    """The pairs of predicted class and runner-up that the untouched classifier decides between.

    Attributes:
        kinds: the k different pairs.
        kind_of: number of each sentence's pair.
        units: standard deviation of the margin of a pair over the sentences of its predicted class; 0 where
            all are equal.
    """

    kinds: Int[Tensor, "k 2"]
    kind_of: Int[Tensor, " n"]
    units: Float[Tensor, " k"]

    @classmethod
    def of(cls, logits: Float[Tensor, "n c"]) -> "Decisions":
        """The decisions of these logits."""
        top = logits.topk(2, dim=1).indices
        kinds, kind_of = top.unique(dim=0, return_inverse=True)
        margins = [_margin(logits[top[:, 0] == first], first, second) for first, second in kinds]
        return cls(kinds, kind_of, torch.stack([_deviation(m) for m in margins]))

    @property
    def classes(self) -> Int[Tensor, " n"]:
        """The predicted class of each sentence."""
        return self.kinds[self.kind_of, 0]

    def margins(self, logits: Float[Tensor, "b c"], rows: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The margins of some sentences between their two classes under other logits, in the units."""
        first, second = logits.double().gather(1, self.kinds[self.kind_of[rows]]).T
        return (first - second) / self.units[self.kind_of[rows]]


def _margin(logits: Float[Tensor, "b c"], first: Tensor, second: Tensor) -> Float[Tensor, " b"]:
    return logits[:, first].double() - logits[:, second].double()


def _deviation(margins: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    found = margins.std(correction=0)
    return found.where(found > _ROUNDING * margins.abs().max(), 0.0)


@dataclass(frozen=True)
class Split:
    """How concepts split the sentences of a predicted class, by pair of classes.

    Attributes:
        fires: where each concept fires.
        gaps: differences of mean margins; 0 where a concept does not count.
        typical: mean activation where a concept is strongly active in the class; NaN without any.
        firings: sentences of the pair on which a concept fires.
        additions: firings in the class, shared out like the sentences on which the concept does not fire.
    """

    fires: Bool[Tensor, "n m"]
    gaps: Float[Tensor, "k m"]
    typical: Float[Tensor, "k m"]
    firings: Float[Tensor, "k m"]
    additions: Float[Tensor, "k m"]

    @classmethod
    def of(cls, evaluation: Evaluation, decisions: Decisions) -> "Split":
        """The splits by all concepts."""
        fires, codes = evaluation.codes.abs() > FIRES, evaluation.codes.double()
        strong, classes = evaluation.activating.sets.T, decisions.classes
        gaps, typical, additions = [], [], []
        for k, (first, second) in enumerate(decisions.kinds):
            of_class, of_kind = classes == first, decisions.kind_of == k
            own, upper = fires[of_class], strong[of_class].double()
            margins = _margin(evaluation.original[of_class], first, second) / decisions.units[k]
            gaps.append(gap(own, margins))
            typical.append((codes[of_class] * upper).sum(dim=0) / upper.sum(dim=0))
            share = (~fires[of_kind]).sum(dim=0) / (~own).sum(dim=0).clamp_min(1)
            additions.append(own.sum(dim=0) * share.double())
        firings = one_hot(decisions.kind_of).T.double() @ fires.double()
        return cls(fires, torch.stack(gaps), torch.stack(typical), firings, torch.stack(additions))

    def score(
        self, of_cells: Float[Tensor, "... k m"], weights: Float[Tensor, "k m"]
    ) -> Float[Tensor, "..."]:
        """Mean over all firings, a sentence on which nothing fires being one of 0."""
        n_silent = (~self.fires.any(dim=1)).sum()
        return (of_cells * weights).sum(dim=(-2, -1)) / (self.firings.sum() + n_silent)

    def effects(
        self, evaluation: Evaluation, without: Float[Tensor, "k m"], with_it: Float[Tensor, "k m"]
    ) -> tuple[MarginEffect, ...]:
        """What is said of each concept."""
        support, concepts = self.firings.sum(dim=0), evaluation.concepts
        parts = (self.gaps.abs() * self.firings, without * self.firings, with_it * self.additions)
        means = torch.stack([part.sum(dim=0) / support for part in parts], dim=1).tolist()
        latents, classes = concepts.kept.tolist(), concepts.segment_of.tolist()
        return tuple(
            MarginEffect(j, latents[j], classes[j], int(n), *means[j]) for j, n in enumerate(support.tolist())
        )


def gap(fires: Bool[Tensor, "b m"], margins: Float[Tensor, " b"]) -> Float[Tensor, " m"]:
    """Mean margin where each concept fires less that where it does not; 0 where it does not count."""
    members = fires.double()
    n_with, n_without = members.sum(dim=0), (1 - members).sum(dim=0)
    difference = margins @ members / n_with - margins @ (1 - members) / n_without
    counted = (n_with >= FEWEST) & (n_without >= FEWEST) & margins.isfinite().all()
    return difference.where(counted, 0.0)


def closed(change: Float[Tensor, "r k m"], gaps: Float[Tensor, "k m"]) -> Float[Tensor, "r k m"]:
    """How much of a gap a change closes, in [0, |gap|]: 0 where it goes the other way, or is none (NaN)."""
    return torch.minimum((change.nan_to_num() * gaps.sign()).clamp(min=0), gaps.abs())


@dataclass(frozen=True)
class Trial:
    """Changes of codes, each beside random turns as large.

    Attributes:
        evaluation: whose codes are set.
        decisions: say which two classes a margin is between.
        options: of the metric.
        drawn: rebuilt states and random directions.
        turns: for each draw, the number of the direction of each pair of classes and concept.
    """

    evaluation: Evaluation
    decisions: Decisions
    options: Margins
    drawn: Draws
    turns: Int[Tensor, "r k m"]

    @classmethod
    def of(cls, evaluation: Evaluation, decisions: Decisions, options: Margins) -> "Trial":
        """Draw what is random."""
        drawn = Draws.of(evaluation, seed=options.seed)
        size = (options.n_draws, len(decisions.kinds), len(evaluation.concepts))
        turns = torch.randint(len(drawn.directions), size, generator=drawn.generator)
        return cls(evaluation, decisions, options, drawn, turns.to(evaluation.codes.device))

    def closed(
        self, where: Bool[Tensor, "n m"], gaps: Float[Tensor, "k m"], values: Float[Tensor, "k m"]
    ) -> Float[Tensor, "r k m"]:
        """How much of each gap is closed by setting codes: first by the concept, then by each random turn.

        Args:
            where: sentences and concepts whose codes are set.
            gaps: to close, towards their sign.
            values: what the codes are set to; nothing is set where they are NaN.
        """
        kind_of = self.decisions.kind_of
        may = where & ((gaps != 0) & values.isfinite())[kind_of]
        rows, columns = some_of_each(
            may, kind_of, at_most=self.options.max_sentences, generator=self.drawn.generator
        )
        return closed(self.mean_changes(rows, columns, values), gaps)

    def mean_changes(
        self, rows: Int[Tensor, " q"], columns: Int[Tensor, " q"], values: Float[Tensor, "k m"]
    ) -> Float[Tensor, "r k m"]:
        """Mean change of the margin by pair of classes and concept; NaN where no code is set."""
        kinds, states = self.decisions.kind_of[rows], self.evaluation.bottleneck.states
        cells = kinds * values.shape[1] + columns
        wanted = values[kinds, columns].to(self.evaluation.codes)
        total = values.new_zeros(1 + len(self.turns), values.numel())
        for part, after in self.evaluation.with_one(rows, columns, wanted, through=states):
            towards = self.turns[:, kinds[part], columns[part]]
            for k, moved in enumerate(self.changes(rows[part], after, towards)):
                total[k].index_add_(0, cells[part], moved)
            if self.evaluation.on_step:
                self.evaluation.on_step(part.stop, len(rows), {})
        return (total / cells.bincount(minlength=values.numel())).reshape(-1, *values.shape)

    def changes(
        self, rows: Int[Tensor, " b"], after: Float[Tensor, "b d"], towards: Int[Tensor, "r b"]
    ) -> Iterator[Float[Tensor, " b"]]:
        """Change of the margin when rebuilt states become these, or are turned as far in each direction."""
        before = self.evaluation.states_of(rows)
        size = relative_change(before, after)
        margins = self.decisions.margins(self.evaluation.rebuilt[rows], rows)
        turned = (turn(before, size, self.drawn.directions[numbers]) for numbers in towards)
        for states in chain([after], turned):
            with torch.no_grad():
                logits = self.evaluation.bottleneck.tail(states).float()
            yield self.decisions.margins(logits, rows) - margins


def some_of_each(
    chosen: Bool[Tensor, "n m"], kind_of: Int[Tensor, " n"], *, at_most: int, generator: torch.Generator
) -> tuple[Int[Tensor, " q"], Int[Tensor, " q"]]:
    """Sentences and concepts, a random choice of at most so many sentences of each concept and kind."""
    order, m = torch.randperm(len(chosen), generator=generator).to(chosen.device), chosen.shape[1]
    shuffled, kinds, found = chosen[order], kind_of[order], []
    size = max(1, _ENTRIES_PER_BLOCK // len(chosen))
    for start in range(0, m, size):
        places, columns = shuffled[:, start : start + size].nonzero(as_tuple=True)
        cells = kinds[places] * m + columns + start
        by_cell, counts = cells.argsort(stable=True), cells.bincount()
        first = counts.cumsum(dim=0) - counts
        ranks = torch.arange(len(cells), device=cells.device) - first[cells[by_cell]]
        kept = by_cell[ranks < at_most]
        found.append(torch.stack([cells[kept], places[kept]]))
    cells, places = torch.cat(found, dim=1)
    by_cell = cells.argsort(stable=True)
    return order[places[by_cell]], cells[by_cell] % m
