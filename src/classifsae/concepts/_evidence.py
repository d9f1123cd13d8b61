"""A dictionary whose codes add up: sparse, non-negative, linear on both sides, and faithful to the logits."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div
from torch.optim.lr_scheduler import CosineAnnealingLR

from classifsae.concepts._linear import ridge
from classifsae.concepts._optimise import generator
from classifsae.concepts._rows import Rows
from classifsae.concepts.base import Coder, rescale
from classifsae.storage import Json
from classifsae.tensors import Float, Int, Tail, Tensor, less_class_mean

_TEMPER = 0.05
_ROWS_PER_AXIS, _FEWEST_AXES = 10, 10
_RIDGE_IN, _RIDGE_OUT = 200.0, 1.0
BATCH = 512
_SHARPNESS, _NAMING, _L1, _WEIGHT_DECAY = 4.0, 2.0, 0.02, 1e-3
_RATE_IN, _RATE_READ, _RATE_OUT = 2e-3, 2e-2, 1e-3


class EvidenceCoder(Coder):
    """encode(h) = relu(h W + b), without codes under a share of the largest; decode(z) = z D + mean.

    Args:
        weights, bias: of the codes; one column per latent.
        decoder: what one unit of each latent adds to the state.
        mean: the state without any concept.
        least: smallest code that stays, as a share of the sentence's largest.
    """

    def __init__(
        self,
        *,
        weights: Float[Tensor, "d p"],
        bias: Float[Tensor, " p"],
        decoder: Float[Tensor, "p d"],
        mean: Float[Tensor, " d"],
        least: float,
    ) -> None:
        super().__init__()
        self.weights, self.bias = nn.Buffer(weights), nn.Buffer(bias)
        self.decoder, self.mean = nn.Buffer(decoder), nn.Buffer(mean)
        self._least = least

    @property
    def n_latents(self) -> int:
        """Number of latents p."""
        return self.decoder.shape[0]

    @property
    def settings(self) -> dict[str, Json]:
        """The share that stays."""
        return {"least": self._least}

    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """How much of each concept there is."""
        return sparse(hidden @ self.weights + self.bias, self._least)

    def decode(self, codes: Float[Tensor, "b p"]) -> Float[Tensor, "b d"]:
        """The sum of what the concepts add."""
        return codes @ self.decoder + self.mean


def sparse(scores: Float[Tensor, "b p"], least: float) -> Float[Tensor, "b p"]:
    """Positive scores; 0 under a share of the row's largest."""
    codes = scores.relu()
    return codes.where(codes >= least * codes.amax(dim=1, keepdim=True), 0.0)


def whitening(states: Rows, *, temper: float) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Mean and axes, the narrowest first, in which the states have a covariance of at most 1, in float64.

    V / sqrt(L + temper mean(L)) for Cov(h) = V L V^T: axes far narrower than the mean stay narrow.
    """
    wide = states.to(torch.float64)
    mean = wide.mean()
    variances, axes = torch.linalg.eigh(wide.less(mean).gram() / len(wide))
    variances = variances.clamp_min(0)
    return mean, axes / (variances + temper * variances.mean()).sqrt()


@dataclass(frozen=True)
class Faithful:
    """How far logits L^ are from the classifier's own L, in units of how these vary within a predicted class.

    KL(softmax L || softmax L^) + ||L - L^||^2 / mean of ||L - mean of its class||^2
    """

    logits: Float[Tensor, "n c"]
    variance: float

    @classmethod
    def to(cls, logits: Float[Tensor, "n c"]) -> "Faithful":
        """To these logits."""
        rest = less_class_mean(logits, logits.argmax(dim=1))
        return cls(logits, float(rest.square().sum(dim=1).mean().clamp_min(1e-6)))

    def __call__(self, rows: Int[Tensor, " b"], found: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
        """Mean over some sentences."""
        wanted = self.logits[rows]
        gap = (found - wanted).square().sum(dim=1).mean() / self.variance
        return kl_div(found.log_softmax(dim=1), wanted.softmax(dim=1), reduction="batchmean") + gap


@dataclass(frozen=True)
class Descent:
    """A few steps of Adam with a cosine schedule, on random batches of the sentences.

    Attributes:
        n_rows: sentences.
        n_steps: of Adam.
        seed: of the batches.
        on_loss: told the loss of each step.
    """

    n_rows: int
    n_steps: int
    seed: int
    on_loss: Callable[[float], None]

    def run(
        self, groups: list[tuple[list[Tensor], float]], loss: Callable[[Int[Tensor, " b"]], Tensor]
    ) -> None:
        """Lower the loss of random sentences by moving these tensors, each list at its rate."""
        for tensors, _ in groups:
            for tensor in tensors:
                tensor.requires_grad_(True)
        adam = torch.optim.Adam([{"params": tensors, "lr": rate} for tensors, rate in groups])
        schedule, draws = CosineAnnealingLR(adam, self.n_steps), generator(self.seed)
        for _ in range(self.n_steps):
            rows = torch.randint(self.n_rows, (BATCH,), generator=draws)
            adam.zero_grad()
            value = loss(rows.to(groups[0][0][0].device))
            value.backward()
            adam.step()
            schedule.step()
            self.on_loss(value.item())
        for tensors, _ in groups:
            for tensor in tensors:
                tensor.requires_grad_(False)


def learn_encoder(
    states: Rows,
    logits: Float[Tensor, "n c"],
    members: Float[Tensor, "n p"],
    *,
    fidelity: float,
    descent: Descent,
) -> tuple[Float[Tensor, "d p"], Float[Tensor, " p"]]:
    """Weights and bias of codes that say the groups, and that give the logits by a linear map.

    In whitened coordinates along the widest axes, one for 10 sentences, from a ridge regression to groups,

        2 sum over p of BCE(4 (z_p - 1/2), member of p) + fidelity Faithful(relu(z) A + a) + 0.02 |relu(z)|
        + 0.001 ||W||^2.

    Args:
        states, logits: of the training split.
        members: 1 where a sentence is in a group.
        fidelity: weight of the logits beside the groups.
        descent: steps and batches.
    """
    mean, axes = whitening(states, temper=_TEMPER)
    axes = axes[:, -max(len(states) // _ROWS_PER_AXIS, _FEWEST_AXES) :]  # more would be fitted to noise
    x = states.to(torch.float64).less(mean).times(axes).to(torch.float32).all()
    weights, bias = ridge(Rows.of(x), Rows.of(members), _RIDGE_IN)
    read, offset = ridge(Rows.of((x @ weights + bias).relu()), Rows.of(logits), 1e-3)
    faithful = Faithful.to(logits)

    def loss(rows: Int[Tensor, " b"]) -> Tensor:
        scores = x[rows] @ weights + bias
        codes, margin = scores.relu(), _SHARPNESS * (scores - 0.5)
        naming = binary_cross_entropy_with_logits(margin, members[rows], reduction="none").sum(dim=1).mean()
        size = _L1 * codes.sum(dim=1).mean() + _WEIGHT_DECAY * weights.square().sum()
        return _NAMING * naming + fidelity * faithful(rows, codes @ read + offset) + size

    descent.run([([weights, bias], _RATE_IN), ([read, offset], _RATE_READ)], loss)
    back = axes @ weights.double()
    return back.float(), (bias.double() - mean @ back).float()


def learn_decoder(
    codes: Float[Tensor, "n p"],
    states: Rows,
    logits: Float[Tensor, "n c"],
    tail: Tail,
    *,
    descent: Descent,
) -> tuple[Float[Tensor, "p d"], Float[Tensor, " d"]]:
    """What each code adds to the state, and the state without any: by ridge, then through the tail."""
    decoder, mean = ridge(Rows.of(codes), states, _RIDGE_OUT)
    norms = states.through(lambda some: states[some].norm(dim=1, keepdim=True), width=1).all()
    faithful = Faithful.to(logits)

    def loss(rows: Int[Tensor, " b"]) -> Tensor:
        return faithful(rows, tail(rescale(codes[rows] @ decoder + mean, norms[rows])).float())

    descent.run([([decoder, mean], _RATE_OUT * float(norms.mean()))], loss)
    return decoder, mean
