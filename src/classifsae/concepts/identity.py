"""Every neuron a concept: the ceiling of each table, what the tail itself can recover."""

from typing import ClassVar, Literal

import torch

from classifsae.activations import Activations
from classifsae.concepts._optimise import Run
from classifsae.concepts.base import Coder, ConceptMethod, Role
from classifsae.storage import Json
from classifsae.tensors import Float, Int, Tail, Tensor


class IdentityCoder(Coder):
    """encode(h) = h = decode(h)."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self._width = width

    @property
    def n_latents(self) -> int:
        """Number of latents, the width d."""
        return self._width

    @property
    def settings(self) -> dict[str, Json]:
        """The width."""
        return {"width": self._width}

    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The state itself."""
        return hidden

    def decode(self, codes: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The state itself."""
        return codes

    def decode_kept(self, codes: Float[Tensor, "b m"], kept: Int[Tensor, " m"]) -> Float[Tensor, "b d"]:
        """The state itself where no neuron is left out: no copy for each of millions of firings."""
        every = torch.arange(self._width, device=kept.device)
        return codes if torch.equal(kept, every) else super().decode_kept(codes, kept)


class Identity(ConceptMethod):
    """Take the d neurons of the hidden state as they are."""

    role: ClassVar[Role] = "ceiling"
    takes_half: ClassVar[bool] = True

    n_concepts: Literal[None] = None

    def learn(self, train: Activations, tail: Tail, run: Run) -> IdentityCoder:
        """Nothing to learn."""
        return IdentityCoder(width=train.hidden.shape[1])
