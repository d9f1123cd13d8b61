"""Whether the classifier was trained on the test texts: what is known, and what its loss says."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from classifsae.activations import Activations
from classifsae.data import RepeatedText
from classifsae.errors import DataError
from classifsae.metrics.completeness import by_document
from classifsae.notebook import Shown
from classifsae.tensors import Float, Tensor

CHANCE = 0.5

_Numbers = NDArray[np.float64]
_Counts = NDArray[np.int64]


@dataclass(frozen=True)
class MembershipGap(Shown):
    """Whether the classifier's loss tells training texts from test texts.

    Attributes:
        train_loss, test_loss: mean cross-entropy of the given labels, in nats.
        gap: the second less the first, in nats; above 0 where training texts are easier.
        gap_interval: 95 % bootstrap interval of it.
        auroc: chance that a random training text has a lower loss than a random test text, ties by half, in
            [0, 1]; 0.5 where the loss does not tell them apart.
        auroc_interval: 95 % bootstrap interval of it.
    """

    train_loss: float
    test_loss: float
    gap: float
    gap_interval: tuple[float, float]
    auroc: float
    auroc_interval: tuple[float, float]

    @property
    def of_pairs(self) -> str:
        """The AUROC in words, with its interval."""
        shares = f"{self.auroc:.0%} of all pairs, 95 % interval {_span(self.auroc_interval, '.0%')}"
        return f"a training text has a lower loss than a test text in {shares}, by chance in 50%"

    @property
    def says(self) -> str:
        """What follows for whether the test texts trained the classifier; never that it is known."""
        low, high = self.auroc_interval
        if low > CHANCE:
            return (
                "By its loss it learned more from the training than from the test texts, or these are harder."
            )
        if high < CHANCE:
            return "By its loss it may have learned from the test texts, or these are easier."
        return "By its loss it learned none of them by heart, or both alike: this cannot tell which."


@dataclass(frozen=True)
class HeldOut(Shown):
    """What is known of the test texts: whether they trained the classifier, and which are training texts too.

    Attributes:
        is_known: whether the classifier was tuned here, on the training texts alone.
        membership: what its loss says.
        repeated: test texts that stand in the training part too.
    """

    is_known: bool
    membership: MembershipGap
    repeated: tuple[RepeatedText, ...] = ()

    @property
    def note(self) -> str:
        """What a reader of the scores should know; "" where the test texts are known to be held out."""
        if self.is_known:
            return ""
        gap = self.membership
        return (
            "Whether the classifier was trained on the test texts is not known, as it was not tuned here. "
            f"{gap.says} (Mean loss {gap.train_loss:.3f} on training and {gap.test_loss:.3f} on test texts, "
            f"gap {gap.gap:+.3f}, 95 % interval {_span(gap.gap_interval, '+.3f')}; {gap.of_pairs}.)"
        )


def membership_gap(
    train: Activations, test: Activations, *, n_draws: int = 1000, seed: int = 42
) -> MembershipGap:
    """Test by the loss whether a classifier knows its training texts better than its test texts.

    A text that trained the classifier tends to have a lower loss than one that did not, so that who guesses
    "trained on it" below a threshold is right more often than by chance (AUROC above 0.5). An AUROC of 0.5
    says little: nothing was learned by heart, or both splits were learned from, or neither was.

    Args:
        train: activations of the split that is said to have trained the classifier.
        test: activations of the split that is said not to have.
        n_draws: bootstrap samples, of both splits each; whole texts are drawn.
        seed: of the bootstrap.
    Raises:
        DataError: a split has no texts.
    Source: Yeom et al. 2018 (arXiv:1709.01604), attack by a threshold on the loss; percentile bootstrap.
    """
    if not len(train) or not len(test):
        raise DataError(
            f"membership_gap: got {len(train)} training and {len(test)} test texts, needs at least 1 of each."
        )
    split = _Losses(losses(train).numpy(), losses(test).numpy())
    draws = np.random.default_rng(seed)
    found = np.array([split.drawn(draws) for _ in range(n_draws)])
    gap, auroc = split.whole
    low, high = np.percentile(found, [2.5, 97.5], axis=0).tolist()
    return MembershipGap(
        train_loss=float(split.train.mean()),
        test_loss=float(split.test.mean()),
        gap=gap,
        gap_interval=(low[0], high[0]),
        auroc=auroc,
        auroc_interval=(low[1], high[1]),
    )


def losses(activations: Activations) -> Float[Tensor, " t"]:
    """Cross-entropy of the given label of each text, in nats; a split text by the mean of its logits."""
    labels, documents = activations.labels.cpu(), activations.documents
    owners = torch.arange(len(labels)) if documents is None else documents.cpu()
    logits = by_document(activations.logits.cpu(), owners)
    of_text = labels.new_zeros(len(logits)).scatter(0, owners, labels)
    return cross_entropy(logits, of_text, reduction="none")


@dataclass(frozen=True)
class _Losses:
    """The losses of both splits."""

    train: _Numbers
    test: _Numbers

    @cached_property
    def places(self) -> tuple[_Counts, _Counts, int]:
        """Place of each loss among all different ones, split by split, and how many these are."""
        values, place = np.unique(np.concatenate([self.train, self.test]), return_inverse=True)
        return place[: len(self.train)], place[len(self.train) :], len(values)

    @property
    def whole(self) -> tuple[float, float]:
        """Gap and AUROC of all texts."""
        return self.of(np.arange(len(self.train)), np.arange(len(self.test)))

    def drawn(self, draws: np.random.Generator) -> tuple[float, float]:
        """Gap and AUROC of as many texts, drawn with replacement."""
        first, second = (draws.integers(len(part), size=len(part)) for part in (self.train, self.test))
        return self.of(first, second)

    def of(self, first: _Counts, second: _Counts) -> tuple[float, float]:
        """Gap and AUROC of these rows; counted place by place, so that nothing is sorted again."""
        train, test, n = self.places
        lower, higher = (np.bincount(p[rows], minlength=n) for p, rows in ((train, first), (test, second)))
        below = lower.cumsum() - lower / 2  # those of the same place count by half
        auroc = (below * higher).sum() / (len(first) * len(second))
        return float(self.test[second].mean() - self.train[first].mean()), float(auroc)


def _span(interval: tuple[float, float], form: str) -> str:
    """An interval such as "0.48 to 0.52"."""
    return " to ".join(format(end, form) for end in interval)
