"""How many concepts are there really? Those that are used, duplicates counted once, and what they cover."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field

from classifsae.activity import sizes_of
from classifsae.bottleneck import Evaluation
from classifsae.metrics._distinct import DUPLICATE, USED, distinct_concepts, within_classes
from classifsae.metrics.base import Metric, Quantity, Result

Share = Annotated[float, Field(ge=0, le=1)]


@final
@dataclass(frozen=True)
class DistinctResult(Result):
    """How many concepts there are on one test set."""

    n_used: Annotated[int, Quantity.count("concepts that fire on at least 0.5 % of the test sentences")]
    n_distinct: Annotated[int, Quantity.count("the same, duplicates counted once", "higher")]
    n_classes_covered: Annotated[
        int, Quantity.count("classes that most sentences of some concept are predicted as", "higher")
    ]
    distinct_coverage: Annotated[
        float, Quantity("sentences on which some used concept is strongly active", "higher")
    ]
    effective_concepts: Annotated[
        float,
        Quantity.count("equally large concepts that would share the sentences as evenly", "higher"),
    ]
    groups: tuple[tuple[int, ...], ...]


@final
class Distinct(Metric):
    """Concepts that are used and distinct, the classes and sentences that they cover, and their evenness.

    Two concepts are duplicates where the Jaccard index of their activating sets is at least ``duplicate``.
    With p_g the share of group g in all memberships of activating sets,

        effective concepts = exp(-sum over g of p_g log p_g).

    Attributes:
        used: smallest share of test sentences on which a concept fires.
        duplicate: smallest Jaccard index of duplicates.
    """

    used: Share = USED
    duplicate: Share = DUPLICATE

    def measure(self, evaluation: Evaluation) -> DistinctResult:
        """Score the concepts of an evaluation."""
        found = distinct_concepts(evaluation, used=self.used, duplicate=self.duplicate)
        sizes = sizes_of(found.sets).double() if len(found.sets) else torch.zeros(0)
        shares = sizes / sizes.sum()
        split = within_classes(found.sets, evaluation.original.argmax(dim=1), evaluation.n_classes)
        by_class = sizes_of(split).reshape(evaluation.n_classes, len(found.sets))
        return DistinctResult(
            n_used=found.n_used,
            n_distinct=len(found.sets),
            n_classes_covered=len(by_class.argmax(dim=0).unique()),
            distinct_coverage=float(found.sets.any(dim=0).double().mean()),
            effective_concepts=float((-shares * shares.log()).sum().exp()) if len(shares) else 0.0,
            groups=found.members,
        )
