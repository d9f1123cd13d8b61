"""Which concepts speak for and against each class: Shapley values of the logits over concepts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from classifsae.activity import FIRES
from classifsae.bottleneck import Evaluation
from classifsae.metrics.shapley import MOST_CONCEPTS, centred, mean_logits, members, shapley_values, some_of
from classifsae.tensors import Float, Int, Tensor

N_ORDERS = 400
"""Random orders for one text. With up to 12 concepts these ask for all sets, and the values are exact."""

N_ORDERS_OF_MANY, MOST_SENTENCES = 20, 500
"""Random orders for the mean over many sentences, and sentences at most."""

SEED = 42


@dataclass(frozen=True)
class Contributions:
    """What each concept adds to the logit of each class, when the concepts come one by one in random order.

    Logits are taken less their mean over the classes, which leaves the probabilities as they are: a concept
    speaks for the classes where its number is positive and against those where it is negative, and its
    numbers sum to 0 over the classes. Over the concepts they sum to logits(all) - logits(none).

    Attributes:
        values: logits, by concept and class.
        errors: standard error of each value over the orders; 0 where it is exact.
    """

    values: Float[Tensor, "k c"]
    errors: Float[Tensor, "k c"]


@dataclass(frozen=True)
class MeanContributions(Contributions):
    """The same as means over those of some sentences on which the concept fires; NaN where it fires on none.

    Attributes:
        n_fires: sentences on which each concept fires.
        n_sentences: sentences in all.
        without_any: logits of each of them from no concept at all.
    """

    n_fires: Int[Tensor, " k"]
    n_sentences: int
    without_any: Float[Tensor, "n c"]


def contributions_of(
    evaluation: Evaluation, fired: Sequence[int], *, seed: int = SEED
) -> Contributions | None:
    """What the concepts that fire on one sentence add to its logits.

    Args:
        evaluation: of that sentence alone.
        fired: positions of the concepts.
        seed: of the orders, where there are more than 12 concepts.
    Returns:
        One row per concept that fired, exact up to 12; None for none and for more than 50.
    Source: Shapley 1953; Lundberg and Lee 2017 (arXiv:1705.07874), with ablation of concepts as absence.
    """
    if not 0 < len(fired) <= MOST_CONCEPTS:
        return None
    codes = evaluation.codes

    def worth(sets: Int[Tensor, " s"]) -> Float[Tensor, "s c"]:
        kept = torch.zeros(len(sets), codes.shape[1], dtype=torch.bool, device=codes.device)
        kept[:, list(fired)] = members(sets, len(fired)).to(codes.device)
        same = torch.zeros(len(sets), dtype=torch.int64, device=codes.device)
        return centred(torch.cat([logits for _, logits in evaluation.with_only(same, kept)]))

    return Contributions(*shapley_values(worth, len(fired), n_permutations=N_ORDERS, seed=seed))


def mean_contributions(
    evaluation: Evaluation,
    *,
    at_most: int = MOST_SENTENCES,
    n_orders: int = N_ORDERS_OF_MANY,
    seed: int = SEED,
) -> MeanContributions | None:
    """What the concepts add to the logits of many sentences, on average where they fire.

    Shapley values are linear: the mean over sentences is the value in the game whose worth is the mean of
    their logits, and where a concept does not fire it adds nothing.

    Args:
        evaluation: of the sentences.
        at_most: a random choice of so many sentences is used.
        n_orders: random orders of the concepts, the same for all sentences.
        seed: of the choice and of the orders.
    Returns:
        None for no concept or sentence and for more than 50 concepts.
    """
    m = len(evaluation.concepts)
    rows = some_of(len(evaluation.codes), at_most=at_most, seed=seed).to(evaluation.codes.device)
    if not 0 < m <= MOST_CONCEPTS or not len(rows):
        return None
    some = evaluation.take(rows)
    every = torch.arange(len(rows), device=rows.device)
    values, errors = shapley_values(
        lambda sets: mean_logits(some, every, sets), m, n_permutations=n_orders, seed=seed
    )
    n_fires = (some.codes.abs() > FIRES).sum(dim=0).cpu()
    share = n_fires[:, None] / len(rows)
    return MeanContributions(
        values=values / share,
        errors=errors / share,
        n_fires=n_fires,
        n_sentences=len(rows),
        without_any=some.without_many(list(range(m))),
    )
