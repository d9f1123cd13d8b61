"""The concept layer that ``conceptshap`` and ``hiconcept`` share: its coder, its task and its options.

Source: Yeh et al. 2020 (arXiv:1910.07969) and Zhao et al. 2023 (arXiv:2305.02160), as configured by
Le Bail et al. 2025 (arXiv:2506.23951).
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import normalize

from classifsae.activations import Activations
from classifsae.bounds import Count, NonNegativeFloat, PositiveFloat, PositiveInt
from classifsae.concepts._losses import crowding, imitation, resemblance
from classifsae.concepts._optimise import EarlyStop, Schedule, ShuffledEpochs, generator, n_held_out
from classifsae.concepts.base import Coder, ConceptMethod, rescale
from classifsae.storage import Json
from classifsae.tensors import Bool, Float, Int, Tail, Tensor

_TINY = 1e-3
_HALF = 0.5
_EPOCHS, _STEPS = (10, 100), 5000
"""What the data may cost: so many passes at least and at most, and so many steps in between."""


@dataclass(frozen=True)
class LayerOutput:
    """One batch seen through the concepts.

    Attributes:
        scores: projections of the states on the unit concepts.
        similarities: how much each state resembles each concept.
        rebuilt: states decoded from their codes, at the decoder's own scale.
    """

    scores: Float[Tensor, "b m"]
    similarities: Float[Tensor, "b m"]
    rebuilt: Float[Tensor, "b d"]


class ConceptCoder(Coder):
    """Directions in state space, of which each state has those that it resembles.

        Vn = V with unit columns;  score = h Vn;  cos = h Vn / ||h||
        mask = present(similarity(cos));  a = mask * score;  z = a / (sum of a + 1e-3)
        decode(z) = relu(z R1) R2

    A state of norm zero resembles nothing and keeps codes of zero.

    Args:
        concepts: V, one column per concept, of any length.
        decoder_1, decoder_2: R1 and R2.
    """

    def __init__(
        self,
        *,
        concepts: Float[Tensor, "d m"],
        decoder_1: Float[Tensor, "m w"],
        decoder_2: Float[Tensor, "w d"],
    ) -> None:
        super().__init__()
        self.concepts = nn.Parameter(concepts)
        self.decoder_1, self.decoder_2 = nn.Parameter(decoder_1), nn.Parameter(decoder_2)

    @abstractmethod
    def similarity(self, cosines: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
        """How much states resemble concepts, from the cosines of their angles."""

    @abstractmethod
    def present(self, similarities: Float[Tensor, "b m"]) -> Bool[Tensor, "b m"]:
        """Which concepts each state has."""

    @property
    def n_latents(self) -> int:
        """Number of concepts m."""
        return self.concepts.shape[1]

    @property
    def directions(self) -> Float[Tensor, "d m"]:
        """Vn, the concepts as unit columns."""
        return self.concepts / self.concepts.norm(dim=0)

    def outputs(self, hidden: Float[Tensor, "b d"]) -> LayerOutput:
        """Everything about a batch that a loss may need."""
        scores, similarities = self._compare(hidden)
        rebuilt = self.decode(shares(self.present(similarities) * scores))
        return LayerOutput(scores=scores, similarities=similarities, rebuilt=rebuilt)

    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b m"]:
        """Share of each present concept; negative only where a present concept points away from the state."""
        scores, similarities = self._compare(hidden)
        return shares(self.present(similarities) * scores)

    def decode(self, codes: Float[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        """States from codes, at the decoder's own scale."""
        return (codes @ self.decoder_1).relu() @ self.decoder_2

    def decode_kept(self, codes: Float[Tensor, "b m"], kept: Int[Tensor, " m"]) -> Float[Tensor, "b d"]:
        """The same from the kept concepts alone."""
        return (codes @ self.decoder_1[kept]).relu() @ self.decoder_2

    def _compare(self, hidden: Float[Tensor, "b d"]) -> tuple[Tensor, Tensor]:
        directions = self.directions
        return hidden @ directions, self.similarity(normalize(hidden, dim=1) @ directions)


def shares(amounts: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
    """Each amount over the sum of its row: a / (sum of a + 1e-3); a row of zeros stays zero."""
    return amounts / (amounts.sum(dim=1, keepdim=True) + _TINY)


@dataclass(frozen=True)
class Task:
    """The classifier's decisions, and the rest of it to run rebuilt states through.

    Not a module: the classifier is used, never trained.

    Attributes:
        hidden: states.
        predictions: labels that the classifier predicts for them.
        tail: the rest of the classifier.
        rescaled: whether a rebuilt state gets the norm of its state before it enters the tail.
    """

    hidden: Float[Tensor, "n d"]
    predictions: Int[Tensor, " n"]
    tail: Tail
    rescaled: bool

    def logits(self, rebuilt: Float[Tensor, "b d"], hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Class logits of rebuilt states."""
        if self.rescaled:
            rebuilt = rescale(rebuilt, hidden.norm(dim=1, keepdim=True))
        return self.tail(rebuilt).float()


def shared_terms(
    coder: ConceptCoder, outputs: LayerOutput, logits: Float[Tensor, "b c"], predictions: Int[Tensor, " b"]
) -> dict[str, Float[Tensor, ""]]:
    """The terms of both methods: imitation of the classifier, R_sim ("similarity") and R_far ("distance")."""
    return {
        "imitation": imitation(logits, predictions),
        "similarity": resemblance(outputs.similarities),
        "distance": crowding(coder.directions),
    }


class ConceptLayerMethod(ConceptMethod):
    """Options of both methods.

    Attributes:
        hidden_width: of the decoder between R1 and R2.
        n_epochs: passes over the training sentences. None: as many as the data need, the loss on a tenth of
            the sentences, which are not learned from, being the judge; 100 at most, or as many as make
            ``fewest_steps``.
        batch_size: sentences per step; the last, smaller batch of an epoch is used too.
        learning_rate: Adam's, constant.
        similarity_weight: r1, of R_sim.
        distance_weight: r2, of R_far.
        rescale: give rebuilt states the norm of their states before the tail in training too, as
            every score does. The published code does so for encoders only; for a decoder it trains
            with False, and so on states of a norm that its own evaluation never shows to the tail.
        fewest_steps: steps that are planned at least where ``n_epochs`` is None.
    """

    takes_half: ClassVar[bool] = True
    published: ClassVar[Mapping[str, Json]] = {"n_epochs": 100}
    fewest_steps: ClassVar[int] = 0

    n_concepts: Count = 20
    hidden_width: PositiveInt = 512
    n_epochs: PositiveInt | None = None
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 3e-4
    similarity_weight: NonNegativeFloat = 0.1
    distance_weight: NonNegativeFloat = 0.5
    rescale: bool = True

    def start(self, train: Activations) -> dict[str, Tensor]:
        """V, R1 and R2 before training, uniform in [-0.5, 0.5)."""
        width, draws = train.hidden.shape[1], generator(self.seed)
        shapes = {
            "concepts": (width, self.n_concepts),
            "decoder_1": (self.n_concepts, self.hidden_width),
            "decoder_2": (self.hidden_width, width),
        }
        return {
            name: (torch.rand(shape, generator=draws) - _HALF).to(train.hidden.device)
            for name, shape in shapes.items()
        }

    def task(self, train: Activations, tail: Tail) -> Task:
        """What is to be imitated."""
        return Task(train.hidden, train.predictions, tail, self.rescale)

    def plan(self, train: Activations) -> tuple[ShuffledEpochs, Schedule]:
        """Order of the batches and the constant rate."""
        order = ShuffledEpochs(
            len(train),
            batch_size=self.batch_size,
            seed=self.seed,
            device=train.hidden.device,
            n_held_out=n_held_out(len(train)) if self.n_epochs is None else 0,
        )
        n_epochs = self.n_epochs or max(
            min(max(_EPOCHS[0], _STEPS // order.per_epoch), _EPOCHS[1]),
            -(-self.fewest_steps // order.per_epoch),
        )
        n_steps, rate = n_epochs * order.per_epoch, self.learning_rate
        stop = EarlyStop.in_second_half(order.held_out, n_steps)
        return order, Schedule(n_steps, learning_rate=rate, final_learning_rate=rate, early_stop=stop)
