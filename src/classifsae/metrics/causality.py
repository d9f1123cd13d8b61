"""Do the concepts cause the decisions? What changes when they are removed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch

from classifsae.activity import FIRES
from classifsae.bottleneck import Evaluation
from classifsae.metrics.base import Metric, OfConcept, Quantity, Result, mean
from classifsae.tensors import Float, Int, Tensor

SIZES = (25, 50, 75, 100)
"""Percentages of a class's concepts that are removed together."""

_TINY = 1e-9


@dataclass(frozen=True)
class ConceptEffect(OfConcept):
    """What removing one concept does to the sentences on which it fires.

    Attributes:
        support: sentences on which it fires; the others are NaN where it never does.
        flip_rate: share of them whose label changes, in [0, 1].
        tvd: mean total variation distance between the two predictions, in [0, 1].
        accuracy_change: accuracy after less accuracy before, in [-1, 1].
    """

    support: int
    flip_rate: float
    tvd: float
    accuracy_change: float


@dataclass(frozen=True)
class SegmentEffect:
    """What removing a class's leading concepts does to all sentences.

    Attributes:
        size: percentage of the segment that is removed.
        class_index: class of the segment.
        positions: concepts removed.
        flip_rate, tvd, accuracy_change: as in ``ConceptEffect``.
    """

    size: int
    class_index: int
    positions: tuple[int, ...]
    flip_rate: float
    tvd: float
    accuracy_change: float


_WEIGHTED = "the same, concepts weighted by how often they fire"


@final
@dataclass(frozen=True)
class CausalityResult(Result):
    """Causality on one test set."""

    n_alive: Annotated[int, Quantity.count("concepts kept, the dead ones left out", low=1)]
    n_firing: Annotated[int, Quantity.count("concepts that fire on a test sentence")]
    conditional_flip_rate: Annotated[
        float, Quantity("label flips where a firing concept is removed, mean over concepts", "higher")
    ]
    conditional_tvd: Annotated[
        float, Quantity("shift of the class probabilities there, mean over concepts", "higher")
    ]
    conditional_accuracy_change: Annotated[
        float, Quantity("change of accuracy there, mean over concepts", low=-1)
    ]
    conditional_flip_rate_weighted: Annotated[float, Quantity(_WEIGHTED, "higher")]
    conditional_tvd_weighted: Annotated[float, Quantity(_WEIGHTED, "higher")]
    conditional_accuracy_change_weighted: Annotated[float, Quantity(_WEIGHTED, low=-1)]
    global_flip_rate: Annotated[
        Mapping[int, float],
        Quantity("label flips on all sentences, a share of a class's concepts removed", "higher"),
    ]
    global_tvd: Annotated[
        Mapping[int, float], Quantity("shift of the class probabilities on all sentences then", "higher")
    ]
    global_accuracy_change: Annotated[
        Mapping[int, float], Quantity("change of accuracy on all sentences then", low=-1)
    ]
    concepts: tuple[ConceptEffect, ...]
    segments: tuple[SegmentEffect, ...]


@final
class Causality(Metric):
    """Conditional and global causality.

    Conditional: for each concept, on the sentences where it fires, with and without it.
    Global: for each class, on all sentences, with and without the first 25, 50, 75 and 100 % of
    its concepts; summed over classes and divided by c.

    Source: Le Bail et al. 2025 (arXiv:2506.23951).
    """

    def measure(self, evaluation: Evaluation) -> CausalityResult:
        """Score the concepts of an evaluation."""
        concepts = conditional_effects(evaluation)
        segments = global_effects(evaluation)
        firing = [c for c in concepts if c.support]
        weights = [float(c.support) for c in firing]
        flip, tvd = [c.flip_rate for c in firing], [c.tvd for c in firing]
        change = [c.accuracy_change for c in firing]
        return CausalityResult(
            n_alive=len(concepts),
            n_firing=len(firing),
            conditional_flip_rate=mean(flip),
            conditional_tvd=mean(tvd),
            conditional_accuracy_change=mean(change),
            conditional_flip_rate_weighted=mean(flip, weights),
            conditional_tvd_weighted=mean(tvd, weights),
            conditional_accuracy_change_weighted=mean(change, weights),
            global_flip_rate=_by_size({s: s.flip_rate for s in segments}, evaluation.n_classes),
            global_tvd=_by_size({s: s.tvd for s in segments}, evaluation.n_classes),
            global_accuracy_change=_by_size({s: s.accuracy_change for s in segments}, evaluation.n_classes),
            concepts=tuple(concepts),
            segments=tuple(segments),
        )


def conditional_effects(evaluation: Evaluation) -> list[ConceptEffect]:
    """Effect of removing each concept on the sentences where it fires."""
    return removals(evaluation).effects


@dataclass(frozen=True)
class Removals:
    """What removing each concept does on the sentences where it fires.

    Attributes:
        effects: of each concept.
        shifts: by how much each removal moves the state, as a share of its norm, in the order of ``firings``.
    """

    effects: list[ConceptEffect]
    shifts: Float[Tensor, " q"]


def removals(evaluation: Evaluation) -> Removals:
    """Each concept removed where it fires, all in one stream of batches, once for all scores that ask."""
    return evaluation.once(_removals)


def _removals(evaluation: Evaluation) -> Removals:
    rows, columns = firings(evaluation)
    bottleneck, shifts = evaluation.bottleneck, evaluation.codes.new_empty(len(rows))
    totals = torch.zeros(len(evaluation.concepts), 3, dtype=torch.float64, device=rows.device)
    for part, states in evaluation.without_one(rows, columns, through=bottleneck.states):
        here = rows[part]
        with torch.no_grad():
            after = bottleneck.tail(states).float()
        moved = changes(evaluation.rebuilt[here], after, evaluation.labels[here])
        totals.index_add_(0, columns[part], moved)
        shifts[part] = relative_change(evaluation.states_of(here), states)
        if evaluation.on_step:
            evaluation.on_step(part.stop, len(rows), {})
    support = torch.bincount(columns, minlength=len(evaluation.concepts))
    means = (totals / support[:, None]).tolist()
    latents, classes = evaluation.concepts.kept.tolist(), evaluation.concepts.segment_of.tolist()
    effects = [ConceptEffect(j, latents[j], classes[j], n, *means[j]) for j, n in enumerate(support.tolist())]
    return Removals(effects, shifts)


def relative_change(before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """||before - after|| over the larger of the two norms per row, in [0, 2]; 0 for two rows of zero."""
    norms = torch.maximum(before.norm(dim=1), after.norm(dim=1))
    return (before - after).norm(dim=1) / norms.clamp_min(_TINY)


def firings(evaluation: Evaluation) -> tuple[Int[Tensor, " q"], Int[Tensor, " q"]]:
    """Sentence and concept of every firing, concept by concept."""
    columns, rows = (evaluation.codes.T.abs() > FIRES).nonzero(as_tuple=True)
    return rows, columns


def global_effects(evaluation: Evaluation) -> list[SegmentEffect]:
    """Effect on all sentences of removing the leading concepts of each class; empty segments left out."""
    done: dict[tuple[int, ...], list[float]] = {(): [0.0, 0.0, 0.0]}
    found = []
    for size in SIZES:
        for class_index, segment in enumerate(evaluation.concepts.segments):
            if not segment:
                continue
            removed = tuple(segment[: size * len(segment) // 100])
            if removed not in done:
                after = evaluation.without_many(list(removed))
                done[removed] = changes(evaluation.rebuilt, after, evaluation.labels).mean(dim=0).tolist()
            found.append(SegmentEffect(size, class_index, removed, *done[removed]))
    return found


def changes(
    before: Float[Tensor, "b c"], after: Float[Tensor, "b c"], labels: Int[Tensor, " b"]
) -> Float[Tensor, "b 3"]:
    """Per sentence: 1 if the label flipped, total variation distance, change of being right (-1, 0, 1).

    TVD = 1/2 sum over c of |softmax(before) - softmax(after)|
    """
    first, second = before.argmax(dim=1), after.argmax(dim=1)
    gap = (before.double().softmax(dim=1) - after.double().softmax(dim=1)).abs().sum(dim=1) / 2
    right = (second == labels).double() - (first == labels).double()
    return torch.stack([(first != second).double(), gap, right], dim=1)


def _by_size(values: Mapping[SegmentEffect, float], n_classes: int) -> dict[int, float]:
    """Sum over segments divided by the number of classes: an empty segment counts as no effect."""
    return {size: sum(v for s, v in values.items() if s.size == size) / n_classes for size in SIZES}
