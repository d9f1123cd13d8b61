"""The supervised sparse autoencoder: concepts that must suffice to imitate the classifier.

Source: Le Bail et al. 2025 (arXiv:2506.23951).
"""

from typing import ClassVar, final

import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.bounds import NonNegativeFloat
from classifsae.concepts._autoencoder import SparseCoder, SparseMethod, SparseObjective
from classifsae.concepts._losses import activation_rate, imitation
from classifsae.concepts._optimise import Run, generator, optimise
from classifsae.concepts.base import Coder, Rate
from classifsae.storage import reading_at_random
from classifsae.tensors import Float, Int, Tail, Tensor


@final
class ClassifSAEObjective(SparseObjective):
    """Reconstruction, activation rate and imitation of the classifier by the first n latents.

    Args:
        coder: trained in place.
        head: linear map from the n concepts to the classes.
        hidden: states to reconstruct.
        predictions: labels that the classifier predicts for them.
        weights: of the terms reconstruction, ghost, activation_rate and imitation.
        free_rate: share of sentences on which a latent may fire for free.
        detach_from: step from which reconstruction no longer shapes the concepts.
    """

    def __init__(
        self,
        coder: SparseCoder,
        head: nn.Linear,
        *,
        hidden: Float[Tensor, "n d"],
        predictions: Int[Tensor, " n"],
        weights: dict[str, float],
        free_rate: float,
        detach_from: int,
    ) -> None:
        super().__init__(coder)
        self.head, self.weights = head, weights
        self._hidden, self._predictions = hidden, predictions
        self._free_rate, self._detach_from = free_rate, detach_from

    def losses(self, rows: Int[Tensor, " b"], step: int) -> dict[str, Float[Tensor, ""]]:
        """The four terms on a batch."""
        n_concepts = self.head.in_features
        n_detached = n_concepts if step >= self._detach_from else 0
        done = self.forward(self._hidden[rows].float(), n_detached=n_detached)
        concepts = torch.arange(n_concepts, device=rows.device)
        logits = self.head(done.codes.columns(concepts))
        busy = done.codes.busy(int(len(rows) * self._free_rate))
        return {
            "reconstruction": done.reconstruction,
            "ghost": done.ghost,
            "activation_rate": activation_rate(done.codes.columns(busy), rate=self._free_rate),
            "imitation": imitation(logits, self._predictions[rows]),
        }


@final
class ClassifSAE(SparseMethod):
    """Learn a sparse autoencoder whose first n latents alone reproduce the classifier's decisions.

        loss = w_rec (MSE + L_ghost) + w_rate L_rate + w_cls CE(z_class W_c^T + b_c, y_hat)

    From half of the training on, the decoder sees stop_gradient(z_class).

    Attributes:
        reconstruction_weight: w_rec; 0.01 for the pairs named in the paper.
        rate_weight: w_rate; 0.01 for the pairs named in the paper.
        imitation_weight: w_cls.
        free_rate: r, share of a batch on which a latent may fire without penalty.
    """

    remedy: ClassVar[str] = "raise top_k or free_rate, lower rate_weight, or train longer (n_vectors)"

    reconstruction_weight: NonNegativeFloat = 0.02
    rate_weight: NonNegativeFloat = 0.02
    imitation_weight: NonNegativeFloat = 1.0
    free_rate: Rate = 0.1

    def learn(self, train: Activations, tail: Tail, run: Run) -> SparseCoder:
        """Train the autoencoder and its head; the head is not part of the result."""
        coder = self.start(train)
        order, schedule = self.plan(train)
        objective = ClassifSAEObjective(
            coder,
            self._head(train),
            hidden=train.hidden,
            predictions=train.predictions,
            weights={
                "reconstruction": self.reconstruction_weight,
                "ghost": self.reconstruction_weight,
                "activation_rate": self.rate_weight,
                "imitation": self.imitation_weight,
            },
            free_rate=self.free_rate,
            detach_from=-(-schedule.n_steps // 2),
        )
        with reading_at_random(train.hidden):
            optimise(objective.to(train.hidden.device), order, schedule, run)
        return coder

    def choose(self, coder: Coder, chosen_on: Activations, classes: Int[Tensor, " n"]) -> Tensor:
        """The first n latents."""
        return torch.arange(self.n_concepts, device=chosen_on.hidden.device)

    def _head(self, train: Activations) -> nn.Linear:
        head = nn.Linear(self.n_concepts, train.n_classes)
        nn.init.kaiming_uniform_(head.weight, generator=generator(self.seed, 1))
        nn.init.zeros_(head.bias)
        return head
