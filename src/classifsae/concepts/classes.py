"""The predicted class itself as the only concept: what no score of concepts should reward."""

from typing import ClassVar, Literal

from classifsae.activations import Activations
from classifsae.concepts._optimise import Run
from classifsae.concepts._partition import PartitionCoder, linear_logits
from classifsae.concepts.base import ConceptMethod, Role
from classifsae.tensors import Tail


class Classes(ConceptMethod):
    """Take each class that the classifier predicts as one concept, and nothing else."""

    role: ClassVar[Role] = "label"
    takes_half: ClassVar[bool] = True

    n_concepts: Literal[None] = None

    def learn(self, train: Activations, tail: Tail, run: Run) -> PartitionCoder:
        """Read the predicted class from the state, by a linear copy of the logits."""
        weights, bias = linear_logits(train.hidden, train.logits)
        return PartitionCoder.of(train.hidden, weights, bias)
