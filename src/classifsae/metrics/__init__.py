"""Scores of fitted concepts on a test set: one file per metric, each a pure function of one view."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from classifsae.activations import Activations
from classifsae.bottleneck import evaluate
from classifsae.concepts.base import Concepts
from classifsae.errors import ClassifSAEWarning
from classifsae.meaning.sentences import Sentences
from classifsae.metrics.base import METRICS, Metric, Result, Score
from classifsae.metrics.causality import Causality, CausalityResult
from classifsae.metrics.completeness import Completeness, CompletenessResult
from classifsae.metrics.interpretability import Interpretability, InterpretabilityResult
from classifsae.tensors import OnStep, Tail

__all__ = ["METRICS", "Causality", "Completeness", "Interpretability", "Metric", "Scores", "score"]

DEFAULT: Mapping[str, Metric] = MappingProxyType(
    {"completeness": Completeness(), "causality": Causality(), "interpretability": Interpretability()}
)
"""What is measured unless something else is asked; the last only where there are sentences."""


LOW_RECOVERY = 0.9
"""Share of the decisions below which concepts are said not to reproduce the classifier."""


def shortcomings(recovery: float | None, lost: Sequence[str]) -> list[str]:
    """What a reader of the scores of a method should know, a sentence each.

    Args:
        recovery: share of the decisions that the concepts alone reproduce; None where it was not measured.
        lost: names of the classes that they hardly ever answer.
    """
    notes = []
    if recovery is not None and recovery < LOW_RECOVERY:
        notes.append(f"the concepts alone reproduce {100 * recovery:.0f} % of the decisions, under 90 %.")
    if lost:
        notes.append(f"the concepts alone hardly ever answer {', '.join(lost)}.")
    return notes


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

    @property
    def interpretability(self) -> InterpretabilityResult:
        """Do the concepts mean something?"""
        result = self.results["interpretability"]
        assert isinstance(result, InterpretabilityResult)
        return result

    @property
    def lost_classes(self) -> list[int]:
        """Classes that the concepts alone answer less than a tenth as often as they occur."""
        result = self.results.get("completeness")
        if not isinstance(result, CompletenessResult):
            return []
        return [c.class_index for c in result.classes if 10 * c.predicted < c.support]

    @property
    def recovery(self) -> float | None:
        """Share of the decisions that the concepts alone reproduce; None where it was not measured."""
        result = self.results.get("completeness")
        return result.recovery_accuracy if isinstance(result, CompletenessResult) else None

    def flat(self) -> list[Score]:
        """Every number of every metric."""
        return [score for result in self.results.values() for score in result.scores()]


def score(
    concepts: Concepts,
    tail: Tail,
    test: Activations,
    *,
    metrics: Iterable[str] | Mapping[str, Metric] | None = None,
    sentences: Sentences | None = None,
    on_step: OnStep | None = None,
) -> Scores:
    """Score concepts on the test split; the rest of the classifier runs once, then once per ablation.

    Args:
        concepts: fitted on the training split of the same source.
        tail: (b, d) to (b, c), of the classifier that made the activations.
        test: activations of the test split.
        metrics: what to measure: names, such as ``["completeness", "shapley"]``, or metrics by name; by
            default completeness and causality, and, where there are sentences, interpretability.
        sentences: the test split's texts, embedded.
        on_step: told how far the ablations have come.
    Raises:
        MismatchError: the activations come from another model, layer, prompt or data set, or are not as many
            as the sentences.
        DataError: states or logits are not finite.
        ConfigError: an unknown metric, or one that needs sentences, and there are none.
    Warns:
        ClassifSAEWarning: the concepts reproduce under 90 % of the decisions, or hardly ever answer a class.
    """
    if metrics is None:
        metrics = {n: m for n, m in DEFAULT.items() if sentences is not None or not m.needs_sentences}
    elif not isinstance(metrics, Mapping):
        metrics = {name: METRICS.load(name)() for name in metrics}
    view = evaluate(concepts, tail, test, sentences=sentences, on_step=on_step)
    scores = Scores({name: metric.measure(view) for name, metric in metrics.items()})
    for note in shortcomings(scores.recovery, [f"class {c}" for c in scores.lost_classes]):
        warnings.warn(f"{concepts.method}: {note}", ClassifSAEWarning, stacklevel=2)
    return scores
