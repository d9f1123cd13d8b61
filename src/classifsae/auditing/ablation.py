"""What decisions become without a direction of the states, beside random directions that move them as far."""

from dataclasses import dataclass
from typing import Self

import torch
from torch.nn.functional import normalize, one_hot

from classifsae.activations import Activations
from classifsae.auditing.answers import Rate
from classifsae.tensors import Bool, Float, Int, Tail, Tensor, batches, less_class_mean

N_CONTROLS = 40
"""Random directions."""

_MOST_MOVED = 2000
"""Test texts whose states are moved along random directions; of more, as many drawn evenly."""

_HIGH, _Z = 0.975, 1.96


@dataclass(frozen=True)
class Removal:
    """Decisions that change without a direction.

    Attributes:
        changed: share of the texts.
        control: the same for random directions in which each state moves as far: mean over directions.
        control_high: its 97.5 % quantile over directions.
    """

    changed: Rate
    control: float
    control_high: float

    @property
    def is_above(self) -> bool:
        """Whether the interval is above the 97.5 % quantile of the control."""
        return self.changed.low > self.control_high


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on some texts before a change and after, in [0, 1].

    Attributes:
        before, after: accuracies.
        change: after less before, in [-1, 1].
        low, high: 95 % interval of the change: 1.96 standard errors of the paired differences.
        n: texts.
    """

    before: float
    after: float
    change: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, right: Bool[Tensor, " q"], right_after: Bool[Tensor, " q"]) -> Self | None:
        """From whether each decision is right; None for no texts."""
        n = len(right)
        if not n:
            return None
        moved = right_after.double() - right.double()
        change = float(moved.mean())
        error = _Z * float(moved.std(correction=0)) / n**0.5
        after = float(right_after.double().mean())
        return cls(float(right.double().mean()), after, change, change - error, change + error, n)


@dataclass(frozen=True)
class Ablation:
    """What a classifier is without a direction, on the test split, and on its texts that have the concept.

    Attributes:
        everywhere: decisions that change, of all texts.
        marked: of those that have the concept, as the probe says; None where there are none.
        accuracy: on all texts.
        accuracy_marked: on those that have the concept.
    """

    everywhere: Removal
    marked: Removal | None
    accuracy: Accuracy
    accuracy_marked: Accuracy | None


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit direction, and where each state is put along it.

    Attributes:
        unit: the direction.
        targets: a state for each class, to whose place along the direction the states of texts of that class
            are moved.
    """

    unit: Float[Tensor, " d"]
    targets: Float[Tensor, "c d"]

    def shifts(self, hidden: Float[Tensor, "b d"], classes: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """(h - target) . u, what is taken away along the direction."""
        return ((hidden - self.targets.to(hidden)[classes]) * self.unit.to(hidden)).sum(dim=1)


def whole(hidden: Float[Tensor, "n d"], weights: Float[Tensor, " d"], n_classes: int) -> Direction:
    """The direction in which states vary with a probe's score: u = cov(h, score) / its norm.

    Not the weights themselves: those of correlated neurons say how a concept is best read, and also take
    other things away, while the covariance says where it is. States are moved to the mean state.

    Source: Haufe et al. 2014, NeuroImage 87 (patterns and filters).
    """
    mean = hidden.mean(dim=0)
    return Direction(_pattern(hidden - mean, weights), mean.expand(n_classes, -1))


def within_class(
    hidden: Float[Tensor, "n d"],
    weights: Float[Tensor, " d"],
    has: Bool[Tensor, " n"],
    classes: Int[Tensor, " n"],
    n_classes: int,
) -> Direction:
    """The same among texts of one class: what goes with the class alone is no part of it.

    States are moved to the mean of the texts of their class without the concept; of all texts without it
    where the class has none. The classes are the true ones: among texts of one predicted class, those that
    the concept made so have less of all else that speaks for the class, and that would be taken for it.
    """
    unit = _pattern(less_class_mean(hidden, classes), weights)
    others = one_hot(classes, n_classes).to(hidden) * ~has[:, None]
    counts = others.sum(dim=0)[:, None]
    means = others.T @ hidden / counts.clamp_min(1)
    return Direction(unit, torch.where(counts > 0, means, hidden[~has].mean(dim=0)))


def _pattern(centred: Float[Tensor, "n d"], weights: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    return normalize(centred.T @ (centred @ weights), dim=0)


def random_directions(
    hidden: Float[Tensor, "n d"], classes: Int[Tensor, " n"], *, seed: int
) -> Float[Tensor, "k d"]:
    """Random unit directions in the span of the states, distributed as these vary within their class.

    Not as they vary over all: in the states of a fine-tuned classifier that is mostly between classes, so
    that a random direction would be one that decides.
    """
    draws = torch.randn(N_CONTROLS, len(hidden), generator=torch.Generator().manual_seed(seed))
    return normalize(draws.to(hidden) @ less_class_mean(hidden, classes), dim=1)


def ablate(
    direction: Direction,
    controls: Float[Tensor, "k d"],
    tail: Tail,
    test: Activations,
    marked: Bool[Tensor, " n"],
) -> Ablation:
    """Take a direction out of the states of the test split.

        h' = h - ((h - target) . u) u

    A control moves each state towards its class's target along a random direction, by the same distance.

    Args:
        direction: u, and the targets.
        controls: random unit directions.
        tail: of the classifier.
        test: activations of the test split.
        marked: its texts that have the concept.
    """
    before, labels = test.predictions, test.labels
    after = torch.cat([_moved(direction, direction.unit, tail, test, part) for part in _parts(test)])
    rows = torch.linspace(0, len(test) - 1, min(len(test), _MOST_MOVED)).round().long()
    some = test.take(rows.to(before.device))
    random = torch.stack(
        [
            torch.cat([_moved(direction, unit, tail, some, part) for part in _parts(some)])
            != some.predictions
            for unit in controls
        ]
    ).cpu()
    changed, right, right_after = (t.cpu() for t in (after != before, before == labels, after == labels))
    accuracy = Accuracy.of(right, right_after)
    everywhere = _removal(changed, random)
    assert accuracy is not None  # as a test split has texts
    assert everywhere is not None
    return Ablation(
        everywhere,
        _removal(changed[marked], random[:, marked[rows]]),
        accuracy,
        Accuracy.of(right[marked], right_after[marked]),
    )


def _parts(test: Activations) -> list[slice]:
    return list(batches(len(test), test.hidden.shape[1]))


def _moved(
    direction: Direction, unit: Float[Tensor, " d"], tail: Tail, test: Activations, part: slice
) -> Int[Tensor, " b"]:
    """Decisions on states moved along a unit direction as far as along the direction itself."""
    hidden, classes = test.hidden[part].float(), test.labels[part]
    distance = direction.shifts(hidden, classes).abs()
    signs = Direction(unit, direction.targets).shifts(hidden, classes).sign()
    with torch.no_grad():
        logits: Tensor = tail(hidden - (signs * distance)[:, None] * unit.to(hidden))
    return logits.argmax(dim=1)


def _removal(changed: Bool[Tensor, " q"], random: Bool[Tensor, "k q"]) -> Removal | None:
    rate = Rate.of(changed)
    if rate is None or not random.shape[1]:
        return None
    shares = random.double().mean(dim=1)
    return Removal(rate, float(shares.mean()), float(shares.quantile(_HIGH)))
