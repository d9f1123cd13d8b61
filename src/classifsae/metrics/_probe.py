"""What can be told from hidden states by who knows the answer: linear probes."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from classifsae.tensors import Bool, Float, Tensor

MOST = 5000
"""Sentences that a probe learns from, at most."""

_CHOICES, _MAX_STEPS, _ROUNDING = (0.1, 1.0, 10.0), 2000, 1e-6

_Numbers = NDArray[np.float64]
_Answers = NDArray[np.bool_]


def probed(hidden: Float[Tensor, "n d"], true: Bool[Tensor, "t n"], *, seed: int) -> Bool[Tensor, "t n"]:
    """Which sentences have each true concept, as linear probes say that learned on the other half of them.

    A probe is a logistic regression on standardised hidden states, one per true concept. Its C, the same for
    all concepts, is that with the best mean F1 on a third of its half.
    """
    states, answers = hidden.cpu().double().numpy(), true.T.cpu().numpy()
    said = _probed(states.tobytes(), answers.tobytes(), len(states), seed)
    return torch.from_numpy(said.T.copy())


@lru_cache(maxsize=1)
def _probed(hidden: bytes, true: bytes, n: int, seed: int) -> _Answers:
    """The same from their bytes; kept, as every method of a run asks for the probes of the same states."""
    states, answers = np.frombuffer(hidden).reshape(n, -1), np.frombuffer(true, dtype=bool).reshape(n, -1)
    order = np.random.default_rng(seed).permutation(len(states))
    halves, said = np.array_split(order, 2), np.zeros_like(answers)
    for learn, judge in (halves, halves[::-1]):
        rows = learn[:MOST]
        c = best_c(states[rows], answers[rows])
        said[judge] = predictions(states[rows], answers[rows], states[judge], c)
    return said


def best_c(states: _Numbers, answers: _Answers) -> float:
    """The C whose probes, learned on the first two thirds, have the best mean F1 on the rest."""
    end = 2 * len(states) // 3

    def held_out(c: float) -> float:
        return mean_f1(predictions(states[:end], answers[:end], states[end:], c), answers[end:])

    return max(_CHOICES, key=held_out)


def predictions(states: _Numbers, answers: _Answers, others: _Numbers, c: float) -> _Answers:
    """What probes that learned on some sentences say of others."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = states.mean(axis=0), states.std(axis=0)
    # A coordinate that never varied says nothing, and is not blown up.
    scale = np.where(deviation > _ROUNDING * np.abs(mean), deviation, np.inf)
    said = np.zeros((len(others), answers.shape[1]), dtype=bool)
    for j, wanted in enumerate(answers.T):
        if wanted.all() or not wanted.any():
            said[:, j] = wanted[:1].any()
            continue
        probe = LogisticRegression(C=c, max_iter=_MAX_STEPS).fit((states - mean) / scale, wanted)
        said[:, j] = probe.predict((others - mean) / scale)
    return said


def mean_f1(said: _Answers, true: _Answers) -> float:
    """Mean over concepts of 2 |both| / (|one| + |other|)."""
    total = said.sum(axis=0) + true.sum(axis=0)
    return float((2 * (said & true).sum(axis=0) / np.maximum(total, 1)).mean())
