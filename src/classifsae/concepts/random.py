"""Random unit directions under TopK: what any directions would give."""

from typing import ClassVar

import torch

from classifsae.activations import Activations
from classifsae.bounds import Count, PositiveInt
from classifsae.concepts._autoencoder import SparseCoder
from classifsae.concepts._losses import unit_rows
from classifsae.concepts._optimise import Run, generator
from classifsae.concepts.base import ConceptMethod, Role
from classifsae.tensors import Tail


class Random(ConceptMethod):
    """Project on m random unit directions, keep the k largest positive projections.

    Attributes:
        top_k: k; all of the projections where there are fewer.
    """

    role: ClassVar[Role] = "random"
    takes_half: ClassVar[bool] = True
    remedy: ClassVar[str] = "raise top_k"

    n_concepts: Count = 20
    top_k: PositiveInt = 10

    def learn(self, train: Activations, tail: Tail, run: Run) -> SparseCoder:
        """Draw directions uniformly from the unit sphere."""
        width = train.hidden.shape[1]
        directions = unit_rows(torch.randn(self.n_concepts, width, generator=generator(self.seed)))
        directions = directions.to(train.hidden.device)
        return SparseCoder(
            W_enc=directions.T.contiguous(),
            b_enc=directions.new_zeros(self.n_concepts),
            W_dec=directions,
            b_dec=directions.new_zeros(width),
            top_k=min(self.top_k, self.n_concepts),
        )
