"""What would removing anything at all do? Causality of random changes as frequent and as large."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch.nn.functional import normalize

from classifsae.bottleneck import Evaluation
from classifsae.bounds import Seed
from classifsae.metrics.base import Metric, Quantity, Result, mean
from classifsae.metrics.causality import changes, conditional_effects, firings, relative_change, removals
from classifsae.tensors import Float, Int, Tensor

N_DIRECTIONS = 1024
"""Random directions that the changes are made in."""

_TINY = 1e-12


@dataclass(frozen=True)
class ControlEffect:
    """What random changes do that are as frequent and as large as the removal of one concept.

    Attributes:
        position: of the concept among those kept.
        support: sentences on which it fires, and so as many random ones.
        shift: mean size of the change, as a share of the state's norm, in [0, 2].
        flip_rate: share of the random sentences whose label changed, in [0, 1].
        tvd: mean total variation distance there, in [0, 1].
    """

    position: int
    support: int
    shift: float
    flip_rate: float
    tvd: float


_WEIGHTED = "the same, concepts weighted by how often they fire"


@final
@dataclass(frozen=True)
class ControlResult(Result):
    """The control of causality on one test set."""

    removal_shift: Annotated[
        float,
        Quantity("distance that removing a concept moves a state, over its norm, mean over concepts", high=2),
    ]
    control_flip_rate: Annotated[
        float, Quantity("conditional flip rate of random changes as frequent and as large")
    ]
    control_tvd: Annotated[float, Quantity("conditional TVD of random changes as frequent and as large")]
    control_flip_rate_weighted: Annotated[float, Quantity(_WEIGHTED)]
    control_tvd_weighted: Annotated[float, Quantity(_WEIGHTED)]
    net_flip_rate_weighted: Annotated[
        float, Quantity("conditional flip rate less its control, both weighted", "higher", low=-1)
    ]
    net_tvd_weighted: Annotated[
        float, Quantity("conditional TVD less its control, both weighted", "higher", low=-1)
    ]
    control_global_flip_rate: Annotated[
        float, Quantity("global flip rate (100 %) of random changes as large")
    ]
    control_global_tvd: Annotated[float, Quantity("global TVD (100 %) of random changes as large")]
    concepts: tuple[ControlEffect, ...]


@final
class Control(Metric):
    """Causality of random directions of matched activation rate and norm.

    Removing concept j takes the rebuilt state h of a sentence to h', and by the rescaling both have the
    norm of the original state: the change is a turn, of size s = ||h - h'|| / ||h||. The control of j
    fires on as many sentences, drawn at random, and turns each by one of these sizes towards a
    random direction u (uniform on the sphere, made orthogonal to h):

        control(h) = cos(a) h + sin(a) ||h|| u,   a = 2 arcsin(s / 2),   so ||h - control(h)|| = s ||h||.

    The global control does the same with the removal of all of a class's concepts on all sentences.
    Flip rates and TVD are then averaged as in causality. A concept whose removal does no more than
    its control matters for its size, not for its direction. A rebuilt state of norm zero has no
    direction to turn from, and is not drawn unless a concept fires on it.

    Attributes:
        seed: of sentences and directions.
    """

    seed: Seed = 42

    def measure(self, evaluation: Evaluation) -> ControlResult:
        """Score the concepts of an evaluation."""
        drawn = Draws.of(evaluation, seed=self.seed)
        concepts = conditional_control(evaluation, drawn)
        flip, tvd = global_control(evaluation, drawn)
        firing = [c for c in concepts if c.support]
        weights = [float(c.support) for c in firing]
        flip_weighted = mean([c.flip_rate for c in firing], weights)
        tvd_weighted = mean([c.tvd for c in firing], weights)
        own = [effect for effect in conditional_effects(evaluation) if effect.support]
        return ControlResult(
            removal_shift=mean([c.shift for c in firing]),
            control_flip_rate=mean([c.flip_rate for c in firing]),
            control_tvd=mean([c.tvd for c in firing]),
            control_flip_rate_weighted=flip_weighted,
            control_tvd_weighted=tvd_weighted,
            net_flip_rate_weighted=mean([e.flip_rate for e in own], weights) - flip_weighted,
            net_tvd_weighted=mean([e.tvd for e in own], weights) - tvd_weighted,
            control_global_flip_rate=flip,
            control_global_tvd=tvd,
            concepts=tuple(concepts),
        )


@dataclass(frozen=True)
class Draws:
    """All that is random.

    Attributes:
        sentences: those that may be drawn.
        directions: random unit vectors.
        generator: of whatever is drawn, on the CPU so that a GPU draws the same.
    """

    sentences: Int[Tensor, " e"]
    directions: Float[Tensor, "u d"]
    generator: torch.Generator

    @classmethod
    def of(cls, evaluation: Evaluation, *, seed: int) -> "Draws":
        """What may be drawn for one evaluation."""
        generator = torch.Generator().manual_seed(seed)
        turns = evaluation.codes.new_empty(len(evaluation.codes), dtype=torch.bool)
        for part in evaluation.parts(len(turns)):
            is_rebuilt = evaluation.states_of(part).norm(dim=1) > 0
            turns[part] = is_rebuilt | (evaluation.codes[part] != 0).any(dim=1)
        directions = normalize(torch.randn(N_DIRECTIONS, evaluation.width, generator=generator), dim=1)
        return cls(turns.nonzero()[:, 0], directions.to(evaluation.codes), generator)

    def some_sentences(self, count: int) -> Int[Tensor, " b"]:
        """So many different sentences, in random order."""
        order = torch.randperm(len(self.sentences), generator=self.generator)[:count]
        return self.sentences[order.to(self.sentences.device)]

    def some_directions(self, count: int) -> Float[Tensor, "b d"]:
        """So many random directions, which may repeat."""
        chosen = torch.randint(len(self.directions), (count,), generator=self.generator)
        return self.directions[chosen.to(self.directions.device)]


def conditional_control(evaluation: Evaluation, drawn: Draws) -> list[ControlEffect]:
    """For each concept, what its matched random changes do to as many random sentences."""
    columns, shifts = firings(evaluation)[1], removals(evaluation).shifts
    support = torch.bincount(columns, minlength=len(evaluation.concepts))
    # Concept by concept, as rows and columns are. The sentences come in random order, so that which of the
    # concept's sizes each of them gets is random as well.
    sentences = torch.cat([drawn.some_sentences(int(count)) for count in support])
    totals = torch.zeros(len(support), 3, dtype=torch.float64, device=shifts.device)
    totals[:, 0].index_add_(0, columns, shifts.double())
    for part, moved in _turned(evaluation, drawn, sentences, shifts):
        totals[:, 1:].index_add_(0, columns[part], moved)
    means = (totals / support[:, None]).tolist()
    return [ControlEffect(j, n, *means[j]) for j, n in enumerate(support.tolist())]


def global_control(evaluation: Evaluation, drawn: Draws) -> tuple[float, float]:
    """Flip rate and TVD of random changes as large as removing all of a class's concepts, over classes."""
    total = torch.zeros(2, dtype=torch.float64, device=evaluation.codes.device)
    for segment in filter(None, evaluation.concepts.segments):
        sizes = evaluation.codes.new_empty(len(evaluation.codes))
        for part, after in evaluation.parts_without_many(segment, through=evaluation.bottleneck.states):
            sizes[part] = relative_change(evaluation.states_of(part), after)
        shifts = sizes[drawn.sentences]
        for _, moved in _turned(evaluation, drawn, drawn.some_sentences(len(shifts)), shifts):
            total += moved.sum(dim=0)
    flip, tvd = (total / len(evaluation.codes) / evaluation.n_classes).tolist()
    return flip, tvd


def turn(
    states: Float[Tensor, "b d"], shifts: Float[Tensor, " b"], towards: Float[Tensor, "b d"]
) -> Float[Tensor, "b d"]:
    """Turn each state towards a direction until it has moved by a share of its norm; the norm stays.

    cos(a) h + sin(a) ||h|| u,  a = 2 arcsin(shift / 2),  u the unit part of the direction orthogonal to h
    """
    norms = states.norm(dim=1, keepdim=True)
    # In place, as millions of states are turned: new memory for each step would take as long as the steps.
    across = states / norms.clamp_min(_TINY)
    across *= (towards * across).sum(dim=1, keepdim=True)
    torch.sub(towards, across, out=across)
    across /= across.norm(dim=1, keepdim=True).clamp_min(_TINY)
    # On a circle of radius 1 a chord of length s belongs to an angle of 2 arcsin(s / 2).
    angles = 2 * (shifts / 2).clamp(max=1).asin()[:, None]
    across *= angles.sin() * norms
    return across.add_(angles.cos() * states)


def _turned(
    evaluation: Evaluation, drawn: Draws, sentences: Int[Tensor, " q"], shifts: Float[Tensor, " q"]
) -> Iterator[tuple[slice, Float[Tensor, "b 2"]]]:
    """Flip and TVD of each turned state, in batches."""
    for part in evaluation.parts(len(sentences)):
        rows = sentences[part]
        turned = turn(evaluation.states_of(rows), shifts[part], drawn.some_directions(len(rows)))
        with torch.no_grad():
            after = evaluation.bottleneck.tail(turned).float()
        if evaluation.on_step:
            evaluation.on_step(part.stop, len(sentences), {})
        yield part, changes(evaluation.rebuilt[rows], after, evaluation.labels[rows])[:, :2]
