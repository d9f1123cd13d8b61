"""Were the true concepts found? For data sets that know them, such as ``planted``."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch

from classifsae.activity import sizes_of
from classifsae.bottleneck import Evaluation
from classifsae.bounds import Seed
from classifsae.metrics._distinct import distinct_concepts
from classifsae.metrics._probe import probed
from classifsae.metrics._similarity import common_members
from classifsae.metrics.base import Metric, Quantity, Result, mean
from classifsae.tensors import Bool, Float, Tensor

FEWEST = 10
"""Sentences with a true concept, and without, from which a probe is learned on one half and counted."""

FOUND, WELL_FOUND, FALSE = 0.6, 0.8, 0.3
"""F1 from which a true concept is found, from which it is found well, and below which two are unlike."""


@dataclass(frozen=True)
class TrueConcept:
    """How well one true concept was found.

    Attributes:
        name: of the true concept.
        support: test sentences that have it.
        position: of the concept that it is matched with; None where none is left.
        precision, recall, f1: of that concept's activating set, in [0, 1].
        probe_f1: F1 of a linear probe that was told the answer on other sentences; NaN where fewer than 10
            have it, or all but fewer.
    """

    name: str
    support: int
    position: int | None
    precision: float
    recall: float
    f1: float
    probe_f1: float


@final
@dataclass(frozen=True)
class TruthResult(Result):
    """How well the true concepts were found on one test set; NaN where the data set knows none."""

    truth_f1: Annotated[
        float,
        Quantity("F1 of each true concept and the concept matched with it, mean over true ones", "higher"),
    ]
    truth_precision: Annotated[float, Quantity("precision of the same, mean over true ones", "higher")]
    truth_recall: Annotated[float, Quantity("recall of the same, mean over true ones", "higher")]
    truth_f1_rare: Annotated[
        float, Quantity("F1 of the same, mean over the rarer half of the true ones", "higher")
    ]
    truth_f1_common: Annotated[float, Quantity("F1 of the same, mean over the others", "higher")]
    probe_f1: Annotated[
        float,
        Quantity(
            "F1 of linear probes on hidden states, learned on one half of the test sentences and counted on "
            "the other, mean over true ones: what there is to find, whatever the method"
        ),
    ]
    n_found: Annotated[int, Quantity.count("true concepts matched at an F1 of 0.6 or more", "higher")]
    n_well_found: Annotated[int, Quantity.count("true concepts matched at an F1 of 0.8 or more", "higher")]
    n_true: Annotated[int, Quantity.count("true concepts on the test sentences")]
    n_false: Annotated[
        int, Quantity.count("distinct concepts that have an F1 below 0.3 with every true one", "lower")
    ]
    concepts: tuple[TrueConcept, ...]


@final
class Truth(Metric):
    """Activating sets against the true concepts of the data set: F1, matched one to one (Hungarian).

    Each true concept is matched with at most one concept, so that the sum of F1 is largest; one that is left
    over has F1 0. The rarer half of the true concepts are those that the fewest test sentences have.

    Beside it stands what there is to find: the F1 of logistic regressions from the hidden states, which are
    told the true concepts on one half of the test sentences and counted on the other, both ways. With so few
    sentences to learn from they are below the best probes there are: a concept may be found better.

    Attributes:
        seed: of the halves.
    """

    needs_sentences: ClassVar[bool] = True

    seed: Seed = 42

    def measure(self, evaluation: Evaluation) -> TruthResult:
        """Score the concepts of an evaluation.

        Raises:
            ConfigError: the evaluation has no sentences.
        """
        known = self.require(evaluation.sentences).concepts or ()
        names = sorted({name for of_text in known for name in of_text})
        if not names:
            nan = math.nan
            return TruthResult(nan, nan, nan, nan, nan, nan, 0, 0, 0, 0, ())
        true = torch.tensor([[name in of_text for of_text in known] for name in names])
        sets = evaluation.activating.sets.cpu()
        matched = match(sets, true)
        told = probed(evaluation.hidden, true, seed=self.seed)
        able = [FEWEST <= n <= true.shape[1] - FEWEST for n in sizes_of(true).tolist()]
        found = [
            TrueConcept(
                name,
                int(own.sum()),
                j,
                *_agreement(None if j is None else sets[j], own),
                probe_f1=_agreement(probe, own)[2] if is_able else math.nan,
            )
            for name, own, j, probe, is_able in zip(names, true, matched, told, able, strict=True)
        ]
        by_rarity = [one.f1 for one in sorted(found, key=lambda one: one.support)]
        n_rare = len(found) // 2
        distinct = f1_of_pairs(distinct_concepts(evaluation).sets.cpu(), true)
        return TruthResult(
            truth_f1=mean([one.f1 for one in found]),
            truth_precision=mean([one.precision for one in found]),
            truth_recall=mean([one.recall for one in found]),
            truth_f1_rare=mean(by_rarity[:n_rare]),
            truth_f1_common=mean(by_rarity[n_rare:]),
            probe_f1=mean([one.probe_f1 for one, is_able in zip(found, able, strict=True) if is_able]),
            n_found=sum(one.f1 >= FOUND for one in found),
            n_well_found=sum(one.f1 >= WELL_FOUND for one in found),
            n_true=len(names),
            n_false=int((distinct.amax(dim=1) < FALSE).sum()),
            concepts=tuple(found),
        )


def f1_of_pairs(sets: Bool[Tensor, "m n"], true: Bool[Tensor, "t n"]) -> Float[Tensor, "m t"]:
    """2 |both| / (|one| + |other|) of each pair; 0 for two empty sets."""
    total = sizes_of(sets).double()[:, None] + sizes_of(true)
    return 2 * common_members(sets, true) / total.clamp_min(1)


def match(sets: Bool[Tensor, "m n"], true: Bool[Tensor, "t n"]) -> list[int | None]:
    """For each true concept the position of the set that it is matched with; None where there are too few."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(f1_of_pairs(sets, true).numpy(), maximize=True)
    found = dict(zip(columns.tolist(), rows.tolist(), strict=True))
    return [found.get(column) for column in range(len(true))]


def _agreement(set_: Bool[Tensor, " n"] | None, true: Bool[Tensor, " n"]) -> tuple[float, float, float]:
    """Precision, recall and F1 of a set; 0 without one."""
    if set_ is None:
        return 0.0, 0.0, 0.0
    both, n_some, n_true = int((set_ & true).sum()), int(set_.sum()), int(true.sum())
    return both / max(n_some, 1), both / max(n_true, 1), 2 * both / max(n_some + n_true, 1)
