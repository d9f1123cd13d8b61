"""Which concepts speak for and against each class: Shapley values of the logits over concepts that fire."""

from dataclasses import dataclass

import torch

from classifsae.activity import FIRES
from classifsae.bottleneck import Evaluation
from classifsae.metrics.shapley import MOST_CONCEPTS, members, shapley_values
from classifsae.tensors import Float, Int, Tensor

N_ORDERS = 400
"""Random orders for one text. With up to 12 concepts these ask for all sets, and the values are exact."""

N_ORDERS_OF_MANY = 20
"""The same for each of many sentences, exact with up to 7 concepts."""

SEED = 42

_NUMBERS_PER_CHUNK = 1 << 22


@dataclass(frozen=True)
class Contributions:
    """What each concept adds to the logit of each class, when those that fire come in random order.

    Logits are taken less their mean over the classes, which leaves the probabilities as they are: a concept
    speaks for the classes where its number is positive and against those where it is negative, and its
    numbers sum to 0 over the classes. Over the concepts they sum to logits(all) - logits(none).

    Attributes:
        values: logits, by sentence, concept and class; 0 where the concept does not fire, NaN for a sentence
            on which more than 50 do.
        errors: standard error of each value over the orders; 0 where it is exact.
    """

    values: Float[Tensor, "n m c"]
    errors: Float[Tensor, "n m c"]


@dataclass(frozen=True)
class MeanContributions:
    """The same as means over those of some sentences on which the concept fires; NaN where it fires on none.

    Attributes:
        values: logits, by concept and class.
        errors: standard error over the orders, at most; 0 where all values are exact.
        n_fires: sentences on which each concept fires.
        without_any: probabilities of each sentence from no concept at all.
    """

    values: Float[Tensor, "m c"]
    errors: Float[Tensor, "m c"]
    n_fires: Int[Tensor, " m"]
    without_any: Float[Tensor, "n c"]


def contributions_of(evaluation: Evaluation, *, n_orders: int = N_ORDERS, seed: int = SEED) -> Contributions:
    """What the concepts that fire on each sentence add to its logits.

    Args:
        evaluation: of the sentences.
        n_orders: random orders, where all sets of the k concepts that fire are more than n_orders * k.
        seed: of the orders.
    Source: Shapley 1953; Lundberg and Lee 2017 (arXiv:1705.07874); a concept is absent when it is zero.
    """
    fires = evaluation.codes.abs() > FIRES
    counts = fires.sum(dim=1)
    values = torch.zeros(*fires.shape, evaluation.n_classes, dtype=torch.float64)
    errors = torch.zeros_like(values)
    values[counts.cpu() > MOST_CONCEPTS] = errors[counts.cpu() > MOST_CONCEPTS] = torch.nan
    for k in counts[(counts > 0) & (counts <= MOST_CONCEPTS)].unique().tolist():
        n_sets = min(2**k, n_orders * k + 1)
        size = max(1, _NUMBERS_PER_CHUNK // (n_sets * max(fires.shape[1], evaluation.n_classes)))
        for rows in (counts == k).nonzero().flatten().split(size):
            columns = fires[rows].nonzero()[:, 1].reshape(len(rows), k)
            found = _of_rows(evaluation, rows, columns, n_orders=n_orders, seed=seed)
            where = rows[:, None].cpu(), columns.cpu()
            values[where], errors[where] = (numbers.transpose(0, 1) for numbers in found)
    return Contributions(values, errors)


def mean_contributions(
    evaluation: Evaluation, *, n_orders: int = N_ORDERS_OF_MANY, seed: int = SEED
) -> MeanContributions:
    """What the concepts add to the logits of many sentences, on average where they fire.

    Args:
        evaluation: of the sentences.
        n_orders: random orders for each of them.
        seed: of the orders.
    """
    found = contributions_of(evaluation, n_orders=n_orders, seed=seed)
    n_fires = (evaluation.codes.abs() > FIRES).sum(dim=0).cpu()
    emptied = evaluation.without_many(list(range(len(evaluation.concepts))))
    return MeanContributions(
        values=found.values.sum(dim=0) / n_fires[:, None],
        # Sentences share orders, so their errors may go together and do not average out.
        errors=found.errors.sum(dim=0) / n_fires[:, None],
        n_fires=n_fires,
        without_any=emptied.double().softmax(dim=1).cpu(),
    )


def centred(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """Logits less their mean over the classes, in float64: the same probabilities, and no common shift."""
    return logits.double() - logits.double().mean(dim=1, keepdim=True)


def _of_rows(
    evaluation: Evaluation,
    rows: Int[Tensor, " b"],
    columns: Int[Tensor, "b k"],
    *,
    n_orders: int,
    seed: int,
) -> tuple[Float[Tensor, "k b c"], Float[Tensor, "k b c"]]:
    """Values and errors of sentences on which as many concepts fire, those in ``columns``."""
    b, k = columns.shape
    m = len(evaluation.concepts)

    def worth(sets: Int[Tensor, " s"]) -> Float[Tensor, "s b c"]:
        inside = members(sets, k).to(rows.device)[:, None].expand(-1, b, -1)
        kept = torch.zeros(len(sets), b, m, dtype=torch.bool, device=rows.device)
        kept.scatter_(2, columns.expand(len(sets), -1, -1), inside)
        asked = rows.repeat(len(sets))
        logits = torch.cat([some for _, some in evaluation.with_only(asked, kept.flatten(0, 1))])
        return centred(logits).reshape(len(sets), b, -1)

    return shapley_values(worth, k, n_permutations=n_orders, seed=seed)
