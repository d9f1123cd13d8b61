"""Linear dictionaries, whose codes and reconstructions are one matrix product each, and ridge regression."""

import torch
from torch import nn

from classifsae.concepts._rows import Rows
from classifsae.concepts.base import Coder
from classifsae.tensors import Float, Tensor


class LinearCoder(Coder):
    """encode(h) = (h - mean) encoder,  decode(z) = z decoder + mean.

    Args:
        mean: subtracted on the way in, added on the way out.
        encoder: one column per latent.
        decoder: one direction per latent.
    """

    def __init__(
        self, *, mean: Float[Tensor, " d"], encoder: Float[Tensor, "d p"], decoder: Float[Tensor, "p d"]
    ) -> None:
        super().__init__()
        self.mean = nn.Buffer(mean)
        self.encoder = nn.Buffer(encoder)
        self.decoder = nn.Buffer(decoder)

    @property
    def n_latents(self) -> int:
        """Number of latents p."""
        return self.decoder.shape[0]

    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """Signed coordinates along the latents."""
        return (hidden - self.mean) @ self.encoder

    def decode(self, codes: Float[Tensor, "b p"]) -> Float[Tensor, "b d"]:
        """Weighted sum of directions plus the mean."""
        return codes @ self.decoder + self.mean

    def decode_kept(self, codes: Float[Tensor, "b m"], kept: Tensor) -> Float[Tensor, "b d"]:
        """The same from the kept latents alone."""
        return codes @ self.decoder[kept] + self.mean


def ridge(rows: Rows, wanted: Rows, strength: float) -> tuple[Float[Tensor, "k q"], Float[Tensor, " q"]]:
    """Weights and bias of the ridge regression from rows to what is wanted."""
    mean, centre = rows.mean(), wanted.mean()
    gram = rows.less(mean).gram() + strength * torch.eye(rows.width).to(mean)
    weights = torch.linalg.solve(gram, rows.less(mean).product(wanted.less(centre)))
    return weights, centre - mean @ weights
