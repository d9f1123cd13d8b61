"""Partitions of the states: each sentence has one concept, and its code is 1."""

from typing import Self

import torch
from torch import nn
from torch.nn.functional import one_hot

from classifsae.concepts._linear import ridge
from classifsae.concepts._rows import Rows, mean_row
from classifsae.concepts.base import Coder
from classifsae.tensors import Float, Int, Tensor

_RIDGE = 1e-6


class PartitionCoder(Coder):
    """encode(h) = one-hot of the latent with the largest score h W + b, decode(z) = mean + z decoder.

    With a gate, only latents of the class that it gives compete: argmax(h V + v). The classifier's logits as
    a linear function of h are such a gate, and need no tail.

    Args:
        weights, bias: of the scores; one column per latent.
        mean: of all states; what is left when the concept is removed.
        decoder: mean of each latent's states, less the mean of all.
        gate, gate_bias, owner: of the scores of the classes, and the class of each latent; all or none.
    """

    gate: Float[Tensor, "d c"] | None
    gate_bias: Float[Tensor, " c"]
    owner: Int[Tensor, " p"]

    def __init__(
        self,
        *,
        weights: Float[Tensor, "d p"],
        bias: Float[Tensor, " p"],
        mean: Float[Tensor, " d"],
        decoder: Float[Tensor, "p d"],
        gate: Float[Tensor, "d c"] | None = None,
        gate_bias: Float[Tensor, " c"] | None = None,
        owner: Int[Tensor, " p"] | None = None,
    ) -> None:
        super().__init__()
        self.weights, self.bias = nn.Buffer(weights), nn.Buffer(bias)
        self.mean = nn.Buffer(mean)
        self.decoder: Float[Tensor, "p d"] = nn.Buffer(decoder)
        self.register_buffer("gate", gate)
        self.register_buffer("gate_bias", gate_bias)
        self.register_buffer("owner", owner)

    @classmethod
    def of(
        cls,
        hidden: Float[Tensor, "n d"],
        weights: Float[Tensor, "d p"],
        bias: Float[Tensor, " p"],
        **gate: Tensor,
    ) -> Self:
        """The partition of these states by scores: means of the parts, less the mean of all."""
        rows, mean = Rows.of(hidden), mean_row(hidden)
        decoder = torch.zeros_like(weights.T)
        coder = cls(weights=weights, bias=bias, mean=mean, decoder=decoder, **gate)
        parts = rows.through(lambda some: coder.encode(rows[some]), width=coder.n_latents)
        sizes = parts.total(lambda part: parts[part].sum(dim=0))
        coder.decoder = parts.product(rows.less(mean)) / sizes.clamp_min(1)[:, None]
        return coder

    @property
    def n_latents(self) -> int:
        """Number of latents p."""
        return self.decoder.shape[0]

    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """1 for the latent whose part of the states this is, 0 for all others."""
        scores = hidden @ self.weights + self.bias
        if self.gate is not None:
            classes = (hidden @ self.gate + self.gate_bias).argmax(dim=1)
            scores = scores.masked_fill(classes[:, None] != self.owner, -torch.inf)
        return one_hot(scores.argmax(dim=1), self.n_latents).to(hidden)

    def decode(self, codes: Float[Tensor, "b p"]) -> Float[Tensor, "b d"]:
        """The mean state of the part."""
        return codes @ self.decoder + self.mean


def linear_logits(
    hidden: Float[Tensor, "n d"], logits: Float[Tensor, "n c"]
) -> tuple[Float[Tensor, "d c"], Float[Tensor, " c"]]:
    """Weights and bias that give the logits from the states, by least squares with a trace of ridge."""
    wide = Rows.of(hidden, torch.float64)
    mean = wide.mean()
    spread = wide.total(lambda part: (wide[part] - mean).square().sum())
    strength = _RIDGE * float(spread) / wide.width
    weights, bias = ridge(wide, Rows.of(logits, torch.float64), strength)
    return weights.float(), bias.float()
