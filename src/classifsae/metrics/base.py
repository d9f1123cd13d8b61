"""What a score is: a number that knows its unit, its range and which way is better."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Annotated, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict

from classifsae.bottleneck import Evaluation
from classifsae.errors import ConfigError
from classifsae.meaning.legend import Legend
from classifsae.meaning.sentences import Sentences
from classifsae.notebook import Sheet, Shown
from classifsae.registry import ClassRegistry
from classifsae.storage import Json

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Quantity:
    """What a number means; a fraction unless another unit is given.

    Attributes:
        says: one sentence for a reader of the table.
        better: which way is better, if either is.
        unit: "fraction", "percent", "cosine", "nats", "standard deviations" or "count".
        low, high: the range.
    """

    says: str
    better: Better = "neither"
    unit: Literal["fraction", "percent", "cosine", "nats", "standard deviations", "count"] = "fraction"
    low: float = 0
    high: float = 1

    @classmethod
    def count(cls, says: str, better: Better = "neither", *, low: int = 0) -> Self:
        """A number of things."""
        return cls(says, better, "count", low, math.inf)

    @classmethod
    def cosine(cls, says: str, better: Better = "neither") -> Self:
        """A cosine, or a mean of cosines."""
        return cls(says, better, "cosine", -1)


@dataclass(frozen=True)
class Score:
    """A number with its meaning; NaN where it is undefined."""

    name: str
    value: float
    quantity: Quantity


@dataclass(frozen=True)
class OfConcept:
    """What a metric says of one concept.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary.
        class_index: class that the concept belongs to.
    """

    position: int
    latent: int
    class_index: int


@dataclass(frozen=True)
class Result(Shown):
    """The outcome of one metric: a dataclass whose numbers are ``Annotated[float, Quantity(...)]``.

    A field ``Annotated[Mapping[int, float], Quantity(...)]`` gives one number per key; every other
    field is a detail.
    """

    def scores(self) -> Iterator[Score]:
        """The numbers, in the order of the fields."""
        for name, quantity in quantities(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, Mapping):
                yield from (Score(f"{name}_{key}", number, quantity) for key, number in value.items())
            else:
                yield Score(name, value, quantity)

    def sheet(self) -> Sheet:
        """What is shown: the numbers with what they say."""
        rows = [(s.name, s.value, s.quantity.unit, s.quantity.says) for s in self.scores()]
        return Sheet(type(self).__name__, heads=("score", "value", "unit", "says"), rows=rows)

    def as_json(self) -> dict[str, Json]:
        """Everything: each number with its unit, range and meaning, and the details."""
        numbers: dict[str, Json] = {score.name: _described(score) for score in self.scores()}
        known = quantities(type(self))
        details = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in known}
        return numbers | {name: _plain(value) for name, value in details.items()}


class Metric(BaseModel, ABC):
    """A recipe for scores: frozen options, and a pure function of an evaluation.

    Attributes:
        needs_sentences: whether it reads texts or their embeddings.
        needs_names: whether it reads the names of the concepts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    needs_sentences: ClassVar[bool] = False
    needs_names: ClassVar[bool] = False

    @abstractmethod
    def measure(self, evaluation: Evaluation) -> Result:
        """Score the concepts of an evaluation."""

    @classmethod
    def require(cls, sentences: Sentences | None) -> Sentences:
        """The sentences that a metric needs.

        Raises:
            ConfigError: there are none.
        """
        if sentences is None:
            name = cls.__module__.rpartition(".")[2]
            raise ConfigError(
                f"the metric {name} needs the test sentences, and was given none; "
                f"pass them: score(..., sentences=embed(texts))."
            )
        return sentences

    @classmethod
    def require_names(cls, legend: Legend | None) -> Legend:
        """The names that a metric needs.

        Raises:
            ConfigError: there are none.
        """
        if legend is None:
            name = cls.__module__.rpartition(".")[2]
            raise ConfigError(
                f"the metric {name} needs the names of the concepts, and was given none; "
                f"pass them: score(..., legend=Legend.of(names, ...))."
            )
        return legend


METRICS: ClassRegistry[Metric] = ClassRegistry("metric", "classifsae.metrics", Metric)


def quantities(kind: type[Result]) -> dict[str, Quantity]:
    """The annotated number fields of a result, in order."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for extra in get_args(hint) if get_origin(hint) is Annotated else ():
            if isinstance(extra, Quantity):
                found[name] = extra
    return found


def result_of(metric: type[Metric]) -> type[Result]:
    """What a metric says that it gives; a result without numbers where it does not say."""
    found = get_type_hints(metric.measure).get("return")
    return found if isinstance(found, type) and issubclass(found, Result) else Result


def meaning_of(name: str) -> Quantity | None:
    """What a score means, by its name in a record; None of one that no metric here gives."""
    known: dict[str, Quantity] = {}
    for metric in METRICS.names():
        known |= quantities(result_of(METRICS.load(metric)))
    return known.get(name) or known.get(name.rpartition("_")[0])


def mean(values: list[float], weights: list[float] | None = None) -> float:
    """Weighted mean; NaN where there is nothing to average."""
    weights = weights or [1.0] * len(values)
    total = math.fsum(weights)
    return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / total if total else math.nan


def number(value: float) -> float | None:
    """A number as JSON holds it: null for NaN and infinity."""
    return value if math.isfinite(value) else None


def _described(score: Score) -> dict[str, Json]:
    q = score.quantity
    return {
        "value": number(score.value),
        "unit": q.unit,
        "range": [number(q.low), number(q.high)],
        "better": q.better,
        "says": q.says,
    }


def _plain(value: object) -> Json:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in asdict(value).items()}
    assert value is None or isinstance(value, (bool, int, str)), f"{value!r} has no place in a report"
    return value
