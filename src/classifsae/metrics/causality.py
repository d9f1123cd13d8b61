"""Do the concepts cause the decisions? What changes when they are removed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch

from classifsae.activity import FIRES
from classifsae.bottleneck import Evaluation
from classifsae.metrics.base import Metric, Quantity, Result, mean
from classifsae.tensors import Bool, Float, Int, Tensor

SIZES = (25, 50, 75, 100)
"""Percentages of a class's concepts that are removed together."""


@dataclass(frozen=True)
class Effect:
    """What a removal did to a set of sentences.

    Attributes:
        flip_rate: share of them whose label changed, in [0, 1].
        tvd: mean total variation distance between the two predictions, in [0, 1].
        accuracy_change: accuracy after less accuracy before, in [-1, 1].
    """

    flip_rate: float
    tvd: float
    accuracy_change: float


@dataclass(frozen=True)
class ConceptEffect:
    """What removing one concept does to the sentences on which it fires.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary.
        class_index: class that it belongs to.
        support: sentences on which it fires.
        flip_rate, tvd, accuracy_change: as in ``Effect``; not a number where it never fires.
    """

    position: int
    latent: int
    class_index: int
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
        flip_rate, tvd, accuracy_change: as in ``Effect``.
    """

    size: int
    class_index: int
    positions: tuple[int, ...]
    flip_rate: float
    tvd: float
    accuracy_change: float


_FLIP = Quantity(
    "label flips where a firing concept is removed, mean over concepts", "fraction", 0, 1, "higher"
)
_TVD = Quantity("shift of the class probabilities there, mean over concepts", "fraction", 0, 1, "higher")
_CHANGE = Quantity("change of accuracy there, mean over concepts", "fraction", -1, 1)
_FLIP_W = Quantity("the same, concepts weighted by how often they fire", "fraction", 0, 1, "higher")
_TVD_W = Quantity("the same, concepts weighted by how often they fire", "fraction", 0, 1, "higher")
_CHANGE_W = Quantity("the same, concepts weighted by how often they fire", "fraction", -1, 1)
_GLOBAL_FLIP = Quantity(
    "label flips on all sentences, a share of a class's concepts removed", "fraction", 0, 1, "higher"
)
_GLOBAL_TVD = Quantity("shift of the class probabilities on all sentences then", "fraction", 0, 1, "higher")
_GLOBAL_CHANGE = Quantity("change of accuracy on all sentences then", "fraction", -1, 1)


@final
@dataclass(frozen=True)
class CausalityResult(Result):
    """Causality on one test set."""

    n_alive: Annotated[int, Quantity("concepts kept, the dead ones left out", "count", 1, float("inf"))]
    n_firing: Annotated[int, Quantity("concepts that fire on a test sentence", "count", 0, float("inf"))]
    conditional_flip_rate: Annotated[float, _FLIP]
    conditional_tvd: Annotated[float, _TVD]
    conditional_accuracy_change: Annotated[float, _CHANGE]
    conditional_flip_rate_weighted: Annotated[float, _FLIP_W]
    conditional_tvd_weighted: Annotated[float, _TVD_W]
    conditional_accuracy_change_weighted: Annotated[float, _CHANGE_W]
    global_flip_rate: Annotated[Mapping[int, float], _GLOBAL_FLIP]
    global_tvd: Annotated[Mapping[int, float], _GLOBAL_TVD]
    global_accuracy_change: Annotated[Mapping[int, float], _GLOBAL_CHANGE]
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

    def measure(self, view: Evaluation) -> CausalityResult:
        """Score the concepts of a view."""
        concepts = conditional_effects(view)
        segments = global_effects(view)
        firing = [c for c in concepts if c.support]
        weights = [float(c.support) for c in firing]
        flip, tvd, change = (
            [c.flip_rate for c in firing],
            [c.tvd for c in firing],
            [c.accuracy_change for c in firing],
        )
        return CausalityResult(
            n_alive=len(concepts),
            n_firing=len(firing),
            conditional_flip_rate=mean(flip),
            conditional_tvd=mean(tvd),
            conditional_accuracy_change=mean(change),
            conditional_flip_rate_weighted=mean(flip, weights),
            conditional_tvd_weighted=mean(tvd, weights),
            conditional_accuracy_change_weighted=mean(change, weights),
            global_flip_rate=_by_size(segments, [s.flip_rate for s in segments], view.n_classes),
            global_tvd=_by_size(segments, [s.tvd for s in segments], view.n_classes),
            global_accuracy_change=_by_size(segments, [s.accuracy_change for s in segments], view.n_classes),
            concepts=tuple(concepts),
            segments=tuple(segments),
        )


def conditional_effects(view: Evaluation) -> list[ConceptEffect]:
    """Effect of removing each concept on the sentences where it fires, all in one stream of batches."""
    rows, columns = firings(view)
    totals = torch.zeros(len(view.concepts), 3, dtype=torch.float64, device=rows.device)
    for part, after in view.without_one(rows, columns):
        here = rows[part]
        moved = changes(view.rebuilt[here], after, view.labels[here])
        totals.index_add_(0, columns[part], moved)
        if view.on_step:
            view.on_step(part.stop, len(rows), {})
    support = torch.bincount(columns, minlength=len(view.concepts))
    means = (totals / support[:, None]).tolist()
    latents, classes = view.concepts.kept.tolist(), view.concepts.segment_of.tolist()
    return [ConceptEffect(j, latents[j], classes[j], n, *means[j]) for j, n in enumerate(support.tolist())]


def firings(view: Evaluation) -> tuple[Int[Tensor, " q"], Int[Tensor, " q"]]:
    """Sentence and concept of every firing, concept by concept."""
    columns, rows = (view.codes.T.abs() > FIRES).nonzero(as_tuple=True)
    return rows, columns


def global_effects(view: Evaluation) -> list[SegmentEffect]:
    """Effect on all sentences of removing the leading concepts of each class; empty segments left out."""
    done: dict[tuple[int, ...], Effect] = {(): Effect(0.0, 0.0, 0.0)}
    found = []
    for size in SIZES:
        for class_index, segment in enumerate(view.concepts.segments):
            if not segment:
                continue
            removed = tuple(segment[: size * len(segment) // 100])
            if removed not in done:
                done[removed] = _effect_without(view, removed)
            effect = done[removed]
            found.append(
                SegmentEffect(
                    size, class_index, removed, effect.flip_rate, effect.tvd, effect.accuracy_change
                )
            )
    return found


def changes(
    before: Float[Tensor, "b c"], after: Float[Tensor, "b c"], labels: Int[Tensor, " b"]
) -> Float[Tensor, "b 3"]:
    """Per sentence: 1 if the label flipped, total variation distance, change of being right (-1, 0, 1).

    TVD = 1/2 sum over c of |softmax(before) - softmax(after)|
    """
    first, second = before.argmax(dim=1), after.argmax(dim=1)
    gap = (before.double().softmax(dim=1) - after.double().softmax(dim=1)).abs().sum(dim=1) / 2
    right = _as_numbers(second == labels) - _as_numbers(first == labels)
    return torch.stack([_as_numbers(first != second), gap, right], dim=1)


def _as_numbers(flags: Bool[Tensor, " b"]) -> Float[Tensor, " b"]:
    return flags.double()


def _effect_without(view: Evaluation, positions: tuple[int, ...]) -> Effect:
    moved = changes(view.rebuilt, view.without_many(list(positions)), view.labels)
    return Effect(*moved.mean(dim=0).tolist())


def _by_size(segments: list[SegmentEffect], values: list[float], n_classes: int) -> dict[int, float]:
    """Sum over segments divided by the number of classes: an empty segment counts as no effect."""
    pairs = list(zip(segments, values, strict=True))
    return {size: sum(value for s, value in pairs if s.size == size) / n_classes for size in SIZES}
