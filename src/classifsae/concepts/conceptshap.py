"""Concepts that suffice to imitate the classifier, read off by a threshold on their cosine.

Source: Yeh et al. 2020 (arXiv:1910.07969), as configured by Le Bail et al. 2025 (arXiv:2506.23951).
Their Shapley values are a score, which any method may be given.
"""

from typing import Annotated, ClassVar, final

from pydantic import Field

from classifsae.activations import Activations
from classifsae.concepts._concept_layer import ConceptCoder, ConceptLayerMethod, Task, shared_terms
from classifsae.concepts._optimise import Objective, Run, optimise
from classifsae.storage import Json, reading_at_random
from classifsae.tensors import Bool, Float, Int, Tail, Tensor


@final
class ThresholdCoder(ConceptCoder):
    """A state has the concepts whose cosine with it is above a threshold.

    Args:
        concepts, decoder_1, decoder_2: the weights.
        threshold: t.
    """

    def __init__(self, *, threshold: float, **weights: Tensor) -> None:
        super().__init__(**weights)
        self.threshold = threshold

    @property
    def settings(self) -> dict[str, Json]:
        """The threshold."""
        return {"threshold": self.threshold}

    def similarity(self, cosines: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
        """The cosines themselves."""
        return cosines

    def present(self, similarities: Float[Tensor, "b m"]) -> Bool[Tensor, "b m"]:
        """Cosine above the threshold."""
        return similarities > self.threshold


@final
class ConceptSHAPObjective(Objective):
    """CE(tail(decode(z)), y_hat) + r1 R_sim + r2 R_far.

    Args:
        coder: trained in place.
        task: what it imitates.
        weights: of the terms imitation, similarity and distance.
    """

    def __init__(self, coder: ThresholdCoder, task: Task, *, weights: dict[str, float]) -> None:
        super().__init__()
        self.coder, self.weights = coder, weights
        self._task = task

    def losses(self, rows: Int[Tensor, " b"], step: int) -> dict[str, Float[Tensor, ""]]:
        """The three terms on a batch."""
        hidden = self._task.hidden[rows].float()
        outputs = self.coder.outputs(hidden)
        logits = self._task.logits(outputs.rebuilt, hidden)
        return shared_terms(self.coder, outputs, logits, self._task.predictions[rows])


@final
class ConceptSHAP(ConceptLayerMethod):
    """Learn directions from which alone the rest of the classifier reproduces its decisions.

    loss = CE(tail(decode(z)), y_hat) + r1 R_sim + r2 R_far

    Attributes:
        threshold: t in [-1, 1), the cosine above which a state has a concept; 0.2 or 0.1 for the
            Mistral and Llama pairs named in the paper.
    """

    remedy: ClassVar[str] = "lower threshold or train longer (n_epochs)"
    fewest_steps: ClassVar[int] = 2500  # with 1,000 all concepts of a weak classifier were still dead

    threshold: Annotated[float, Field(ge=-1, lt=1)] = 0.3

    def learn(self, train: Activations, tail: Tail, run: Run) -> ThresholdCoder:
        """Train the concepts and their decoder; the classifier stays as it is."""
        coder = ThresholdCoder(**self.start(train), threshold=self.threshold)
        weights = {"imitation": 1.0, "similarity": self.similarity_weight, "distance": self.distance_weight}
        objective = ConceptSHAPObjective(coder, self.task(train, tail), weights=weights)
        with reading_at_random(train.hidden):
            optimise(objective, *self.plan(train), run)
        return coder
