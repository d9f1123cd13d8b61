"""All that a page shows, as values: nothing in it knows of tensors, files or HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from classifsae.auditing.ask import Answer
from classifsae.auditing.effects import ConceptEffect, ConceptEffects
from classifsae.auditing.labels import SuspectLabel
from classifsae.auditing.mistakes import CARRIES
from classifsae.auditing.shortcuts import AuditResult
from classifsae.concepts.base import preference
from classifsae.meaning.descriptions import Origin, Word
from classifsae.reporting.layout.short import short_names
from classifsae.reporting.page.checks import Checks
from classifsae.reporting.page.stored_scores import ConceptScores
from classifsae.reporting.tables.table import Record, interval, roles_of
from classifsae.storage import Json

if TYPE_CHECKING:
    from classifsae.reporting.page.voices import Voices

LEAST_COVERED = 0.005
"""Share of a class that a facet covers at least: what is shown as 1 %."""

SENTENCE_SIM = "sentence_sim_"

_ROOM = 28
"""Characters of the name of a class in a table, a legend or a map of the page."""


@dataclass(frozen=True)
class Example:
    """A sentence on which a concept is active.

    Attributes:
        text: as it is in the data set.
        activation: of the concept, in the method's own unit.
        label: ground truth, a class index.
        prediction: of the untouched classifier, a class index.
    """

    text: str
    activation: float
    label: int
    prediction: int


@dataclass(frozen=True)
class Histogram:
    """Activations of one concept on the sentences on which it is active.

    Attributes:
        edges: of the bins, one more than there are counts.
        counts: sentences per bin.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ConceptCard:
    """One concept.

    Attributes:
        latent: of the concept in the method's dictionary; what a user calls it by.
        name: short, unique within its method.
        class_index: class that it belongs to.
        class_shares: share of each class in its mean activation on the training split; they sum to 1.
        words: the strongest first.
        examples: the most active first.
        activation_rate: percent of the test sentences on which it is active.
        mean_activation: mean |activation| on all test sentences.
        histogram: of its activations, where it is active at all.
        scores: what the metrics say of it.
        origin: of its name; None for one of its words.
        coverage: for each class, share of the sentences predicted as it on which it is strongly active.
        is_label: whether it tells no sentences of its class apart: it is strongly active on just those of a
            class, or on nearly all of its own.
        typical: of the sentences predicted as its class on which it is strongly active, the most active, no
            text twice.
        edge: of these sentences, the one with the smallest activation.
        effect: in text, where it was measured.
    """

    latent: int
    name: str
    class_index: int
    class_shares: tuple[float, ...] = ()
    words: tuple[Word, ...] = ()
    examples: tuple[Example, ...] = ()
    activation_rate: float = 0.0
    mean_activation: float = 0.0
    histogram: Histogram | None = None
    scores: ConceptScores = field(default_factory=ConceptScores)
    origin: Origin | None = None
    coverage: tuple[float, ...] = ()
    is_label: bool = False
    typical: tuple[Example, ...] = ()
    edge: Example | None = None
    effect: ConceptEffect | None = None

    @property
    def is_named_by_chance(self) -> bool:
        """Whether its name was judged, and found to fit its sentences no better than chance."""
        return (
            self.origin is not None and self.origin.auroc is not None and not self.origin.better_than_chance
        )

    @property
    def is_facet(self) -> bool:
        """Whether it tells sentences of a class apart and its removal has an effect, as far as known."""
        covers = not self.coverage or self.coverage[self.class_index] >= LEAST_COVERED
        return covers and not self.is_label and self.influence != 0

    @property
    def influence(self) -> float | None:
        """Mean shift of the class probabilities over all test sentences when it is removed, in [0, 1]."""
        return None if self.scores.tvd is None else self.scores.tvd * self.activation_rate / 100


@dataclass(frozen=True)
class ConceptMap:
    """Where concepts, classes and sentences lie on two principal axes of the sentence vectors.

    Attributes:
        concepts: means of the sentences on which each is strongly active, in the order of the method's cards;
            None for one that is strongly active on none.
        prototypes: means of the sentences predicted as each class, None for one that is never predicted.
        sentences: coordinates and predicted class of some test sentences.
        explained: share of the variance of the sentence vectors along each axis.
    """

    concepts: tuple[tuple[float, float] | None, ...]
    prototypes: tuple[tuple[float, float] | None, ...]
    sentences: tuple[tuple[float, float, int], ...]
    explained: tuple[float, float]


@dataclass(frozen=True)
class MethodReport:
    """One method, with the concepts of one seed.

    Attributes:
        label: of the method in the experiment.
        method: its name, and ``about``, its first line.
        seed: of the concepts shown.
        n_concepts: alive.
        recovery: share of the classifier's decisions made with these concepts alone.
        concepts: in the order of the classes, the most influential first; empty where ``left_out`` says why.
        map: of its concepts.
        curves: training curves by title.
        left_out: why there is no list of concepts, or "".
        covered: for each class, share of the sentences predicted as it on which any of its facets is strongly
            active.
        effects: of its concepts in text, where they were measured.
        voices: which of them speak for and against each class, where the classifier's tail is known.
    """

    label: str = ""
    method: str = ""
    about: str = ""
    seed: int = 0
    n_concepts: int = 0
    recovery: float | None = None
    concepts: tuple[ConceptCard, ...] = ()
    map: ConceptMap | None = None
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    left_out: str = ""
    covered: tuple[float, ...] = ()
    effects: ConceptEffects | None = None
    voices: "Voices | None" = None

    @property
    def n_silent(self) -> int:
        """Concepts that fire on no test sentence."""
        return sum(card.activation_rate == 0 for card in self.concepts)

    @property
    def names(self) -> dict[int, str]:
        """Name of each concept that is listed, by its number in the method."""
        return {card.latent: card.name for card in self.concepts}

    @property
    def ranked(self) -> list[ConceptCard]:
        """The concepts, the most influential first."""
        return sorted(self.concepts, key=lambda card: -(card.influence or 0))

    def facets(self, class_index: int) -> list[ConceptCard]:
        """The facets among the concepts of one class, the largest coverage first."""
        own = [card for card in self.of_class(class_index) if card.is_facet]
        return sorted(own, key=lambda card: -card.coverage[class_index])

    def of_class(self, class_index: int) -> list[ConceptCard]:
        """The concepts of one class that are strongly active on sentences predicted as it."""
        own = [card for card in self.concepts if card.class_index == class_index]
        return [card for card in own if card.coverage and card.coverage[class_index] > 0]


@dataclass(frozen=True)
class ConceptBehind:
    """A concept active on a sentence that the classifier gets wrong.

    Attributes:
        latent, name: of the concept.
        change: of the probability of the wrong label when the concept is removed, in [-1, 1].
    """

    latent: int
    name: str
    change: float


@dataclass(frozen=True)
class Mistake:
    """A test sentence that the classifier gets wrong.

    Attributes:
        text: of the sentence.
        label: ground truth, a class index.
        prediction: of the classifier, a class index.
        confidence: probability that it gave that label, in [0, 1].
        behind: by method, the concepts whose removal changes its probability most.
        is_suspect: whether the true class that is given is probably wrong.
    """

    text: str
    label: int
    prediction: int
    confidence: float
    behind: Mapping[str, tuple[ConceptBehind, ...]]
    is_suspect: bool = False

    def carriers(self, label: str) -> list[ConceptBehind]:
        """The concepts of one method whose removal makes the wrong label far less likely."""
        return [one for one in self.behind[label] if one.change <= -CARRIES]


@dataclass(frozen=True)
class About:
    """What a page says of a run beside its numbers.

    Attributes:
        dataset, backbone: names.
        n_train: training sentences, where known.
        settings: the experiment that made it.
        versions: of the libraries that made it.
        notes: what a reader should know.
    """

    dataset: str = "the data set"
    backbone: str = "the classifier"
    n_train: int | None = None
    settings: Json = None
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class RunReport:
    """A run as a page shows it.

    Attributes:
        about: names, settings, versions and notes.
        label_names: of all classes.
        accuracy: of the classifier on the test split.
        n_test: test sentences.
        records: one flat record per method and seed.
        methods: those whose concepts can be listed, and the others with the reason.
        n_mistakes: sentences that the classifier gets wrong.
        mistakes: those of them in which it is most confident.
        confusion: sentences by true class (rows) and predicted class.
        audit: patterns on which decisions hang, where they were looked for.
        answers: to questions about concepts of one's own.
        checks: what is found of labels, test texts and mistakes.
    """

    about: About = About()
    label_names: tuple[str, ...] = ()
    accuracy: float = 0.0
    n_test: int = 0
    records: tuple[Record, ...] = ()
    methods: tuple[MethodReport, ...] = ()
    n_mistakes: int = 0
    mistakes: tuple[Mistake, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    audit: AuditResult | None = None
    answers: tuple[Answer, ...] = ()
    checks: Checks = field(default_factory=Checks)

    @property
    def short_labels(self) -> tuple[str, ...]:
        """The names of the classes where there is little room."""
        return short_names(self.label_names, _ROOM)

    def shortcut_behind(self, suspect: SuspectLabel) -> str:
        """A shortcut that may make a label look wrong: "" for none.

        The text has that of the class that is suggested, or lacks that of its own, which most of it have.
        """
        for row in self.audit.shortcuts if self.audit else ():
            has = row.without(suspect.text) is not None
            speaks = row.class_name == (suspect.suggested if has else suspect.label)
            if speaks and (has or row.share > 0.5):
                return row.pattern
        return ""

    @property
    def listed(self) -> tuple[MethodReport, ...]:
        """The methods whose concepts are listed, ``consensus`` first, then ``classifsae``."""
        listed = [method for method in self.methods if method.concepts]
        return tuple(sorted(listed, key=lambda m: preference(m.method)))

    @property
    def yardsticks(self) -> set[str]:
        """The labels of the methods that do not compete."""
        return {label for label, role in roles_of(self.records).items() if role != "method"}

    @property
    def baseline(self) -> float | None:
        """Mean cosine of any two test sentences, where known: what ConceptSim is compared with."""
        known = (record.get("dataset_cosine_mean") for record in self.records)
        return next((value for value in known if isinstance(value, float)), None)

    @property
    def sentence_sims(self) -> dict[str, dict[int, tuple[float, float | None]]]:
        """By method and number of shared concepts: mean over seeds, and half of its confidence interval."""
        found: dict[str, dict[int, list[float]]] = {}
        for record in self.records:
            for name, value in record.items():
                if name.startswith(SENTENCE_SIM) and isinstance(value, (int, float)):
                    shared = int(name.removeprefix(SENTENCE_SIM))
                    found.setdefault(str(record["method"]), {}).setdefault(shared, []).append(value)
        return {m: {k: interval(v) for k, v in sorted(by_k.items())} for m, by_k in found.items()}
