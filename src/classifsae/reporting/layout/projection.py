"""Two principal axes of standardised vectors."""

from dataclasses import dataclass
from typing import Self

import torch

from classifsae.tensors import Float, Tensor

_TINY = 1e-12


@dataclass(frozen=True)
class Projection:
    """x -> ((x - mean) / std) axes.

    Attributes:
        mean, std: of each coordinate; a constant coordinate has std 1.
        axes: unit columns; the largest entry of each is positive, so that a picture is never mirrored.
        explained: share of the variance along each.
    """

    mean: Float[Tensor, " d"]
    std: Float[Tensor, " d"]
    axes: Float[Tensor, "d 2"]
    explained: tuple[float, float]

    @classmethod
    def fitted(cls, vectors: Float[Tensor, "n d"]) -> Self:
        """The axes along which these vectors vary most, once every coordinate has variance 1."""
        mean, std = vectors.mean(dim=0), vectors.std(dim=0, unbiased=False)
        std = torch.where(std > _TINY, std, 1.0)
        standard = (vectors - mean) / std
        # The d x d matrix is small and its eigenvectors exact; a randomised SVD would not repeat.
        variances, found = torch.linalg.eigh(standard.T @ standard / len(vectors))
        axes = found[:, [-1, -2]]
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        shares = (variances[[-1, -2]] / variances.sum().clamp_min(_TINY)).tolist()
        return cls(mean, std, axes * largest.sign(), (shares[0], shares[1]))

    def __call__(self, vectors: Float[Tensor, "q d"]) -> Float[Tensor, "q 2"]:
        """Coordinates of vectors on the plane."""
        return ((vectors - self.mean) / self.std) @ self.axes
