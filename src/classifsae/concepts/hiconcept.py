"""Concepts that imitate the classifier and whose removal changes its decisions.

Source: Zhao et al. 2023 (arXiv:2305.02160), as configured by Le Bail et al. 2025 (arXiv:2506.23951).
"""

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch.nn.functional import mse_loss, normalize

from classifsae.activations import Activations
from classifsae.bounds import NonNegativeFloat
from classifsae.concepts._concept_layer import (
    ConceptCoder,
    ConceptLayerMethod,
    LayerOutput,
    Task,
    shared_terms,
    shares,
)
from classifsae.concepts._losses import flip
from classifsae.concepts._optimise import Objective, Run, generator, optimise
from classifsae.storage import reading_at_random
from classifsae.tensors import Bool, Float, Int, Tail, Tensor

_REMOVALS = 1
"""Sets the random numbers of the removals apart from those of the order, which come of the same seed."""


@final
class SoftmaxCoder(ConceptCoder):
    """A state has the concepts whose share of the softmax over cosines is above 1 / m.

    Args:
        concepts, decoder_1, decoder_2: the weights.
    """

    def similarity(self, cosines: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
        """Softmax of the cosines over concepts."""
        return cosines.softmax(dim=1)

    def present(self, similarities: Float[Tensor, "b m"]) -> Bool[Tensor, "b m"]:
        """More than an equal share."""
        return similarities > 1 / self.n_latents


@final
class HIConceptObjective(Objective):
    """MSE(h / ||h||, decode(z)) + CE(tail(decode(z)), y_hat) + Flip + r1 R_sim + r2 R_far.

    Args:
        coder: trained in place.
        task: what it imitates.
        weights: of the terms reconstruction, imitation, flip, similarity and distance.
        keep_probability: with which a concept survives a removal.
        flip_from: step from which removals are made.
        seed: of the removals, drawn afresh from (seed, step).
    """

    def __init__(
        self,
        coder: SoftmaxCoder,
        task: Task,
        *,
        weights: dict[str, float],
        keep_probability: float,
        flip_from: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.coder, self.weights = coder, weights
        self._task = task
        self._keep_probability, self._flip_from, self._seed = keep_probability, flip_from, seed

    def losses(self, rows: Int[Tensor, " b"], step: int) -> dict[str, Float[Tensor, ""]]:
        """The five terms on a batch; flip is 0 before its time."""
        keep = self.removal(len(rows), step) if step >= self._flip_from else None
        return self.terms(self._task.hidden[rows].float(), self._task.predictions[rows], keep)

    def terms(
        self, hidden: Float[Tensor, "b d"], predictions: Int[Tensor, " b"], keep: Bool[Tensor, "b m"] | None
    ) -> dict[str, Float[Tensor, ""]]:
        """The five terms for given removals; without removals flip is 0."""
        outputs = self.coder.outputs(hidden)
        logits = self._task.logits(outputs.rebuilt, hidden)
        return {
            "reconstruction": mse_loss(outputs.rebuilt, normalize(hidden, dim=1)),
            "flip": logits.new_zeros(()) if keep is None else self._flip(hidden, outputs, logits, keep),
            **shared_terms(self.coder, outputs, logits, predictions),
        }

    def removal(self, n_rows: int, step: int) -> Bool[Tensor, "b m"]:
        """Which concepts each sentence of a step keeps: Bernoulli; the last concept always stays."""
        shape = (n_rows, self.coder.n_latents)
        draws = torch.rand(shape, generator=generator(self._seed, _REMOVALS, step))
        keep = draws < self._keep_probability
        keep[:, -1] = True
        return keep.to(self.coder.concepts.device)

    def _flip(
        self, hidden: Float[Tensor, "b d"], outputs: LayerOutput, logits: Float[Tensor, "b c"], keep: Tensor
    ) -> Float[Tensor, ""]:
        # Of the scores, not of the codes: what is kept need not be present (as published).
        rebuilt = self.coder.decode(shares(outputs.scores * keep))
        return flip(logits, self._task.logits(rebuilt, hidden))


@final
class HIConcept(ConceptLayerMethod):
    """Learn directions that rebuild state and decision, and whose random removal changes the decision.

        loss = w_rec MSE(h / ||h||, decode(z)) + w_cls CE(tail(decode(z)), y_hat) + w_flip Flip
               + r1 R_sim + r2 R_far

    Flip is counted in the second half of the epochs: from epoch ceil(n_epochs / 2), counted from 0, on.
    As published, it compares codes with scores that are not masked, so what it rewards is mostly that
    absent concepts come back, less that present ones go: it is near its least, -2, with nothing removed.

    Attributes:
        n_concepts: m, at least 2: one concept alone never has more than an equal share.
        reconstruction_weight: w_rec.
        imitation_weight: w_cls.
        flip_weight: w_flip.
        keep_probability: in (0, 1), with which a concept survives a removal.
    """

    remedy: ClassVar[str] = "lower n_concepts or train longer (n_epochs)"

    n_concepts: Annotated[int, Field(ge=2)] = 20
    reconstruction_weight: NonNegativeFloat = 1.0
    imitation_weight: NonNegativeFloat = 1.0
    flip_weight: NonNegativeFloat = 1.0
    keep_probability: Annotated[float, Field(gt=0, lt=1)] = 0.8

    def learn(self, train: Activations, tail: Tail, run: Run) -> SoftmaxCoder:
        """Train the concepts and their decoder; the classifier stays as it is."""
        coder = SoftmaxCoder(**self.start(train))
        order, schedule = self.plan(train)
        objective = HIConceptObjective(
            coder,
            self.task(train, tail),
            weights={
                "reconstruction": self.reconstruction_weight,
                "imitation": self.imitation_weight,
                "flip": self.flip_weight,
                "similarity": self.similarity_weight,
                "distance": self.distance_weight,
            },
            keep_probability=self.keep_probability,
            flip_from=-(-schedule.n_steps // order.per_epoch // 2) * order.per_epoch,
            seed=self.seed,
        )
        with reading_at_random(train.hidden):
            optimise(objective, order, schedule, run)
        return coder
