"""A direction for a concept that examples show: a linear probe, and how well it tells unseen texts."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from classifsae.errors import DataError
from classifsae.tensors import Bool, Float, Int, Tensor

FEWEST = 10
"""Texts with a concept, and without, from which a probe is learned."""

N_FOLDS = 5

CHOICES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of regularisation that are tried."""

_MAX_STEPS, _ROUNDING, _Z = 5000, 1e-6, 1.96


@dataclass(frozen=True)
class Area:
    """AUROC: share of the pairs of a text with a concept and one without in which the first scores higher.

    Attributes:
        value: in [0, 1]; 0.5: not told at all.
        low, high: 95 % interval (Newcombe 2006, method 5).
        n_with, n_without: texts.
    """

    value: float
    low: float
    high: float
    n_with: int
    n_without: int

    @classmethod
    def of(cls, scores: Float[Tensor, " n"], has: Bool[Tensor, " n"]) -> Self:
        """Of all pairs."""
        return cls._over([(scores, has)])

    @classmethod
    def within(
        cls, scores: Float[Tensor, " n"], has: Bool[Tensor, " n"], classes: Int[Tensor, " n"]
    ) -> Self | None:
        """Of the pairs whose texts are of one class; None where there is no such pair."""
        parts = [(scores[classes == c], has[classes == c]) for c in classes.unique()]
        both = [(own, members) for own, members in parts if members.any() and not members.all()]
        return cls._over(both) if both else None

    @classmethod
    def _over(cls, parts: list[tuple[Float[Tensor, " k"], Bool[Tensor, " k"]]]) -> Self:
        from sklearn.metrics import roc_auc_score

        sizes = np.array([(int(has.sum()), int((~has).sum())) for _, has in parts])
        areas = [roc_auc_score(has.numpy(), scores.numpy()) for scores, has in parts]
        value = float(np.average(areas, weights=sizes.prod(axis=1)))
        n_with, n_without = (int(n) for n in sizes.sum(axis=0))
        return cls(value, *area_interval(value, n_with, n_without), n_with, n_without)


def area_interval(value: float, m: int, n: int) -> tuple[float, float]:
    """95 % interval of an AUROC over m texts with a concept and n without: all t with

        |value - t| <= 1.96 sqrt(V(t)),
        V(t) = t (1 - t) (1 + (N - 1) ((1 - t) / (2 - t) + t / (1 + t))) / (m n),  N = (m + n) / 2.

    It stays in [0, 1], and is wide for few texts, an AUROC of 1 included.

    Source: Newcombe 2006, Statistics in Medicine 25, method 5.
    """
    t = np.linspace(0, 1, 10_001)
    spread = 1 + ((m + n) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
    inside = t[np.abs(value - t) <= _Z * np.sqrt(t * (1 - t) * spread / (m * n))]
    return float(min([value, *inside[:1]])), float(max([value, *inside[-1:]]))


@dataclass(frozen=True, eq=False)
class Probe:
    """A logistic regression on standardised states, in the units of the states.

    Attributes:
        centre: mean state.
        weights: score of a state h: (h - centre) . weights.
        threshold: a state with a larger score is marked as having the concept: that with the best F1 out of
            fold.
        c: inverse strength of regularisation, that with the largest AUROC out of fold.
        held_out: score of each text by a probe that was learned on the other four fifths.
    """

    centre: Float[Tensor, " d"]
    weights: Float[Tensor, " d"]
    threshold: float
    c: float
    held_out: Float[Tensor, " n"]

    @classmethod
    def fit(cls, hidden: Float[Tensor, "n d"], has: Bool[Tensor, " n"], *, seed: int) -> Self:
        """Learn it on these states, and its C and threshold by five-fold cross-validation.

        Args:
            hidden: states of training texts.
            has: whether each text has the concept.
            seed: of the folds.
        Raises:
            DataError: fewer than ten have it, or do not.
        """
        from sklearn.linear_model import LogisticRegression

        require_enough(has)
        states, answers = hidden.double().cpu().numpy(), has.cpu().numpy()
        tried = {c: _held_out(states, answers, c, seed) for c in CHOICES}
        c = max(CHOICES, key=lambda c: Area.of(torch.from_numpy(tried[c]), has.cpu()).value)
        mean, scale = _standard(states)
        learned = LogisticRegression(C=c, class_weight="balanced", max_iter=_MAX_STEPS)
        weights = learned.fit((states - mean) / scale, answers).coef_[0] / scale
        threshold = _best_threshold(tried[c], answers)
        return cls(
            torch.from_numpy(mean).float(),
            torch.from_numpy(weights).float(),
            threshold - float(learned.intercept_[0]),  # which scores leave out
            c,
            torch.from_numpy(tried[c]),
        )

    def scores(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """How much each state speaks for the concept, on the CPU."""
        return (hidden.float().cpu() - self.centre) @ self.weights

    def marks(self, hidden: Float[Tensor, "b d"]) -> Bool[Tensor, " b"]:
        """Which states have the concept, as the probe says."""
        return self.scores(hidden) > self.threshold


def require_enough(has: Bool[Tensor, " n"]) -> None:
    """Refuse too few texts.

    Raises:
        DataError: fewer than ten have the concept, or do not.
    """
    require_counts(int(has.sum()), int((~has).sum()))


def require_counts(n_with: int, n_without: int) -> None:
    """Refuse too few texts.

    Raises:
        DataError: fewer than ten have the concept, or do not.
    """
    if min(n_with, n_without) < FEWEST:
        raise DataError(
            f"{n_with} texts have the concept and {n_without} do not; at least {FEWEST} of each are "
            f"needed: give more examples, or other words."
        )


def _standard(states: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, deviation = states.mean(axis=0), states.std(axis=0)
    # A coordinate that never varied says nothing, and is not blown up.
    return mean, np.where(deviation > _ROUNDING * np.maximum(np.abs(mean), 1), deviation, np.inf)


def _held_out(
    states: NDArray[np.float64], answers: NDArray[np.bool_], c: float, seed: int
) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    scores = np.empty(len(states))
    for learn, judge in StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(states, answers):
        mean, scale = _standard(states[learn])
        probe = LogisticRegression(C=c, class_weight="balanced", max_iter=_MAX_STEPS)
        probe.fit((states[learn] - mean) / scale, answers[learn])
        scores[judge] = probe.decision_function((states[judge] - mean) / scale)
    return scores


def _best_threshold(scores: NDArray[np.float64], answers: NDArray[np.bool_]) -> float:
    """Half way below the score down to which marking has the largest F1."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(answers[order])
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + answers.sum())
    last = int(f1.argmax())
    pair = scores[order[last : last + 2]]
    return float(pair.mean())
