"""What do the concepts know beyond the predicted label? How its logits vary among sentences of one class."""

import math
from dataclasses import dataclass
from typing import Annotated, final

import torch

from classifsae.bottleneck import Evaluation
from classifsae.bounds import Seed
from classifsae.concepts.base import rescale
from classifsae.metrics.base import Metric, Quantity, Result
from classifsae.tensors import Float, Int, Tensor, less_class_mean


@final
@dataclass(frozen=True)
class BeyondLabelResult(Result):
    """What the concepts of one test set know beyond the label."""

    r2_beyond_label: Annotated[
        float,
        Quantity(
            "variation of the logits within each predicted class that the concepts keep",
            "higher",
            low=-math.inf,
        ),
    ]
    runner_up_gain: Annotated[
        float,
        Quantity(
            "second choices of the classifier told by the strongest concept, less those told by the label",
            "higher",
            low=-1,
        ),
    ]


@final
class BeyondLabel(Metric):
    """Variation of the logits within the predicted class, and the classifier's second choice.

    With L the classifier's logits, L^ those of the rebuilt states, L0 those of the mean rebuilt state of the
    predicted class at each sentence's own norm, and d x = x less its mean over the predicted class,

        R2 beyond label = 1 - sum ||dL - dL^||^2 / min(sum ||dL||^2, sum ||dL - dL0||^2).

    Concepts that say the class and no more score 0: the norm, which every rebuilt state is given, counts for
    nothing. All of the state scores 1.

        runner-up gain = accuracy of the commonest second choice per class and strongest concept
                         - that of the commonest per class,

    each learned on one half of the sentences and counted on the other, both ways.

    Attributes:
        seed: of the halves.
    """

    seed: Seed = 42

    def measure(self, evaluation: Evaluation) -> BeyondLabelResult:
        """Score the concepts of an evaluation."""
        classes = evaluation.original.argmax(dim=1)
        return BeyondLabelResult(
            r2_beyond_label=r2_within(evaluation, classes),
            runner_up_gain=runner_up_gain(evaluation, classes, seed=self.seed),
        )


def r2_within(evaluation: Evaluation, classes: Int[Tensor, " n"]) -> float:
    """R2 beyond label; NaN where the logits do not vary within a class."""
    totals = evaluation.codes.new_zeros(evaluation.n_classes, evaluation.width)
    for part in evaluation.parts(len(classes)):
        totals.index_add_(0, classes[part], evaluation.states_of(part))
    means = totals / classes.bincount(minlength=evaluation.n_classes).clamp_min(1)[:, None]
    by_norm = torch.empty_like(evaluation.rebuilt)
    for part in evaluation.parts(len(classes)):
        with torch.no_grad():
            by_norm[part] = evaluation.bottleneck.tail(rescale(means[classes[part]], evaluation.norms[part]))
    wanted, given, leaked = (
        less_class_mean(logits.double(), classes)
        for logits in (evaluation.original, evaluation.rebuilt, by_norm)
    )
    at_most = min(float(wanted.square().sum()), float((wanted - leaked).square().sum()))
    return 1 - float((wanted - given).square().sum()) / at_most if at_most else math.nan


def runner_up_gain(evaluation: Evaluation, classes: Int[Tensor, " n"], *, seed: int) -> float:
    """Accuracy of second choices with the strongest concept, less that without; NaN for two classes."""
    c, m = evaluation.n_classes, len(evaluation.concepts)
    if c < 3:
        return math.nan
    second = evaluation.original.topk(2, dim=1).indices[:, 1]
    cells = classes * m + evaluation.codes.argmax(dim=1)
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed)).to(classes.device)
    halves, gain = order.chunk(2), 0.0
    for learn, judge in (halves, halves[::-1]):
        by_class = _counts(classes[learn] * c + second[learn], c, c)
        by_cell = _counts(cells[learn] * c + second[learn], c * m, c)
        by_cell += 1e-3 * by_class.repeat_interleave(m, dim=0)  # an empty cell says what the class says
        right = by_cell.argmax(dim=1)[cells[judge]] == second[judge]
        before = by_class.argmax(dim=1)[classes[judge]] == second[judge]
        gain += float((right.double() - before.double()).sum()) / len(classes)
    return gain


def _counts(places: Int[Tensor, " n"], n_rows: int, n_columns: int) -> Float[Tensor, "r q"]:
    """How often each place of a table is named."""
    return places.bincount(minlength=n_rows * n_columns).reshape(n_rows, n_columns).double()
