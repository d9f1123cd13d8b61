"""Scores of fitted concepts on a test set: one file per metric, each a pure function of one view."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from classifsae.activations import Activations
from classifsae.bottleneck import look_through
from classifsae.concepts.base import Concepts
from classifsae.metrics.base import METRICS, Metric, Result, Score
from classifsae.metrics.causality import Causality, CausalityResult
from classifsae.metrics.completeness import Completeness, CompletenessResult
from classifsae.tensors import OnStep, Tail

__all__ = ["METRICS", "Causality", "Completeness", "Metric", "Scores", "score"]

DEFAULT: Mapping[str, Metric] = MappingProxyType({"completeness": Completeness(), "causality": Causality()})


@dataclass(frozen=True)
class Scores:
    """All scores of one method on one test set, by metric."""

    results: Mapping[str, Result]

    @property
    def completeness(self) -> CompletenessResult:
        """Do the concepts suffice?"""
        result = self.results["completeness"]
        assert isinstance(result, CompletenessResult)
        return result

    @property
    def causality(self) -> CausalityResult:
        """Do the concepts cause the decisions?"""
        result = self.results["causality"]
        assert isinstance(result, CausalityResult)
        return result

    def flat(self) -> list[Score]:
        """Every number of every metric."""
        return [score for result in self.results.values() for score in result.scores()]


def score(
    concepts: Concepts,
    tail: Tail,
    test: Activations,
    *,
    metrics: Mapping[str, Metric] = DEFAULT,
    on_step: OnStep | None = None,
) -> Scores:
    """Score concepts on the test split; the rest of the classifier runs once, then once per ablation.

    Args:
        concepts: fitted on the training split of the same source.
        tail: (b, d) to (b, c), of the classifier that made the activations.
        test: activations of the test split.
        metrics: what to measure, by name.
        on_step: told how far the ablations have come.
    Raises:
        MismatchError: the activations come from another model, layer, prompt or data set.
        DataError: states or logits are not finite.
    """
    view = look_through(concepts, tail, test, on_step=on_step)
    return Scores({name: metric.measure(view) for name, metric in metrics.items()})
