"""Scores of fitted concepts on a test set: one file per metric, each a pure function of one evaluation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from classifsae.activations import Activations
from classifsae.bottleneck import evaluate
from classifsae.concepts.base import Concepts
from classifsae.errors import ConfigError, require_kind, warn
from classifsae.meaning.legend import Legend
from classifsae.meaning.sentences import Sentences
from classifsae.metrics._resampling import sampling_errors, stability_over_samples
from classifsae.metrics._stability import stability, stability_over
from classifsae.metrics._verify import verify_scores
from classifsae.metrics.base import METRICS, Metric, Result, Score, number
from classifsae.metrics.causality import Causality, CausalityResult
from classifsae.metrics.completeness import Completeness, CompletenessResult
from classifsae.metrics.interpretability import Interpretability, InterpretabilityResult
from classifsae.notebook import Plotted, Sheet, data_frame
from classifsae.progress import with_bar
from classifsae.tensors import OnStep, Tail

if TYPE_CHECKING:
    import pandas

__all__ = [
    "METRICS",
    "Causality",
    "Completeness",
    "Interpretability",
    "Metric",
    "Scores",
    "sampling_errors",
    "score",
    "stability",
    "stability_over",
    "stability_over_samples",
    "verify_scores",
]

DEFAULT: Mapping[str, Metric] = MappingProxyType(
    {"completeness": Completeness(), "causality": Causality(), "interpretability": Interpretability()}
)
"""What is measured unless something else is asked; the last only where there are sentences."""

LITTLE = 0.9
"""A recovery accuracy below this is worth a note."""

R = TypeVar("R", bound=Result)


def shortcomings(flat: Mapping[str, float | None], lost: Sequence[str]) -> tuple[str, ...]:
    """What a reader of the scores of a method should know, one sentence each; nothing where all is well.

    Args:
        flat: scores by name, as far as they were measured.
        lost: names of the classes that the concepts alone hardly ever predict.
    """
    found = []
    if lost:
        found.append(f"the concepts alone hardly ever predict {', '.join(lost)}.")
    recovery, n_alive, n_firing = (flat.get(name) for name in ("recovery_accuracy", "n_alive", "n_firing"))
    if recovery is not None and recovery < LITTLE:
        share = f"{100 * recovery:.1f} %"
        found.append(f"the concepts alone recover only {share} of the classifier's decisions.")
    if n_alive is not None and n_firing is not None and n_firing < n_alive:
        n_silent = n_alive - n_firing
        fire = "fires" if n_silent == 1 else "fire"
        found.append(f"{n_silent:.0f} of {n_alive:.0f} concepts {fire} on no test sentence.")
    return tuple(found)


@dataclass(frozen=True)
class Scores(Plotted):
    """All scores of one method on one test set.

    Attributes:
        results: by metric.
        errors: standard error of each score over sentences, by name; empty unless they were asked for.
    """

    results: Mapping[str, Result]
    errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def completeness(self) -> CompletenessResult:
        """Do the concepts suffice?"""
        return self._measured(CompletenessResult)

    @property
    def causality(self) -> CausalityResult:
        """Do the concepts cause the decisions?"""
        return self._measured(CausalityResult)

    @property
    def interpretability(self) -> InterpretabilityResult:
        """Do the concepts mean something?"""
        return self._measured(InterpretabilityResult)

    @property
    def lost_classes(self) -> list[int]:
        """Classes that the concepts alone predict less than a tenth as often as the classifier does."""
        result = self._found(CompletenessResult)
        pairs = zip(result.classes, result.answered, strict=True) if result else ()
        return [c.class_index for c, answered in pairs if 10 * c.predicted < answered]

    def notes(self, label_names: Sequence[str] = ()) -> tuple[str, ...]:
        """What a reader of the numbers should know, one sentence each; nothing where all is well.

        Args:
            label_names: of the classes; without them a class is called by its number.
        """
        lost = [label_names[c] if label_names else f"class {c}" for c in self.lost_classes]
        return shortcomings({score.name: score.value for score in self.flat()}, lost)

    def _found(self, kind: type[R]) -> R | None:
        return next((result for result in self.results.values() if isinstance(result, kind)), None)

    def _measured(self, kind: type[R]) -> R:
        if (found := self._found(kind)) is None:
            name = kind.__module__.rpartition(".")[2]
            raise ConfigError(f"{name} was not measured, only {', '.join(self.results)}; add it to metrics.")
        return found

    def flat(self) -> list[Score]:
        """Every number of every metric."""
        return [score for result in self.results.values() for score in result.scores()]

    def sheet(self) -> Sheet:
        """What is shown: the numbers with what they say."""
        rows = [(s.name, s.value, s.quantity.unit, s.quantity.says) for s in self.flat()]
        title = f"Scores: {len(rows)} by {', '.join(self.results)}"
        return Sheet(title, heads=("score", "value", "unit", "says"), rows=rows, more="to_pandas()")

    def to_pandas(self) -> "pandas.DataFrame":
        """A row per score, with its value, unit, range, which way is better, and what it says.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = [{"score": s.name, "value": s.value, **asdict(s.quantity)} for s in self.flat()]
        return data_frame(rows, index="score")

    def record(self) -> dict[str, int | float | None]:
        """Every number by name, None where it is undefined, and the standard errors that were asked for."""
        numbers: dict[str, int | float | None] = {score.name: number(score.value) for score in self.flat()}
        return numbers | {f"{name}_error": error for name, error in self.errors.items()}


@with_bar("scores")
def score(
    concepts: Concepts,
    tail: Tail,
    test: Activations,
    *,
    metrics: Iterable[str] | Mapping[str, Metric] | None = None,
    sentences: Sentences | None = None,
    legend: Legend | None = None,
    n_halves: int = 0,
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
        legend: the names of the concepts, for a metric that reads them.
        n_halves: random halves of the sentences by which the errors of all scores are measured; 0: none are.
        on_step: told how far the ablations have come.
    Raises:
        MismatchError: the activations come from another model, layer, prompt or data set, or are not as many
            as the sentences.
        DataError: states or logits are not finite.
        ConfigError: an unknown metric, or one that needs sentences or names, and there are none.
    Warns:
        ClassifSAEWarning: the concepts reproduce under 90 % of the decisions, or hardly ever answer a class.
    """
    require_kind(test, Activations, wanted="score takes the activations of the test split")
    if metrics is None:
        metrics = {n: m for n, m in DEFAULT.items() if sentences is not None or not m.needs_sentences}
    elif not isinstance(metrics, Mapping):
        metrics = {name: METRICS.load(name)() for name in metrics}
    if not metrics:
        raise ConfigError(
            f"there are no metrics; choose from {', '.join(METRICS.names())}, or leave them out."
        )
    for metric in metrics.values():
        if metric.needs_sentences:
            metric.require(sentences)
        if metric.needs_names:
            metric.require_names(legend)
    evaluation = evaluate(concepts, tail, test, sentences=sentences, legend=legend, on_step=on_step)
    scores = Scores(
        {name: metric.measure(evaluation) for name, metric in metrics.items()},
        sampling_errors(metrics, replace(evaluation, on_step=None), n_halves=n_halves),
    )
    for note in scores.notes():
        warn(f"{concepts.method}: {note}")
    return scores
