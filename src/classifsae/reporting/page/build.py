"""From what a run has to what its page shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import normalize, one_hot

from classifsae.activations import Activations
from classifsae.activity import ACTIVE, activating_sets, class_indicators, coverage_of
from classifsae.auditing.ask import Answer
from classifsae.auditing.effects import ConceptEffects
from classifsae.auditing.shortcuts import AuditResult
from classifsae.bottleneck import evaluate
from classifsae.concepts.base import METHODS, Concepts, codes_of, role_of
from classifsae.data import Texts
from classifsae.errors import MismatchError
from classifsae.meaning.descriptions import MAX_DESCRIBED, N_SENTENCES, Description
from classifsae.metrics.shapley import some_of
from classifsae.reporting.page.checks import Checks
from classifsae.reporting.page.content import (
    About,
    ConceptBehind,
    ConceptCard,
    ConceptMap,
    Example,
    Histogram,
    MethodReport,
    Mistake,
    RunReport,
)
from classifsae.reporting.page.stored_scores import ConceptScores, scores_of_concepts
from classifsae.reporting.page.voices import voices_of
from classifsae.reporting.tables.table import YARDSTICKS, Record
from classifsae.storage import Json
from classifsae.tensors import Bool, Float, Tail, Tensor

N_MISTAKES, N_BEHIND = 40, 5
"""Sentences that are shown, and concepts beside each of them, at most."""

N_TYPICAL = 3
"""Sentences that are shown for a facet, beside the one at the edge."""

N_HEARD, SEED = 500, 42
"""Sentences on which contributions to the classes are computed, at most, and the seed of their choice."""

N_BINS, N_DOTS, N_POINTS = 24, 300, 200
"""Bars of a histogram, sentences on a map, and points of a training curve, at most."""

_CURVES = {
    "loss": "loss, weighted sum",
    "imitation": "imitation (nats)",
    "activation_rate": "activation-rate penalty",
    "dead": "dead latents (count)",
}
"""Titles of the training curves whose names do not say what they show."""


@dataclass(frozen=True)
class Fit:
    """One method and seed, with all that is known of its concepts.

    Attributes:
        label: of the method in the experiment.
        seed: of the fit.
        concepts: fitted.
        scores: by metric, as JSON.
        descriptions: of each concept, by position; none, or one for each.
        effects: of the concepts in text, where they were measured.
    """

    label: str
    seed: int
    concepts: Concepts
    scores: Mapping[str, Json]
    descriptions: Sequence[Description] = ()
    effects: ConceptEffects | None = None


@dataclass(frozen=True)
class _Split:
    """The test split: what the classifier read, and what it computed."""

    activations: Activations
    texts: Texts

    def example(self, row: int, activation: float) -> Example:
        """A sentence beside the activation of a concept on it."""
        return Example(
            text=self.texts.texts[row],
            activation=activation,
            label=self.texts.labels[row],
            prediction=int(self.activations.predictions[row]),
        )

    @property
    def classes(self) -> Bool[Tensor, "c n"]:
        """The sentences predicted as each class."""
        return one_hot(self.activations.predictions.cpu(), self.activations.n_classes).T.bool()


def build(
    fits: Sequence[Fit],
    records: Sequence[Record],
    test: Activations,
    texts: Texts,
    tail: Tail | None = None,
    *,
    about: About | None = None,
    audit: AuditResult | None = None,
    answers: Sequence[Answer] = (),
    checks: Checks | None = None,
) -> RunReport:
    """Collect all that a page shows.

    Args:
        fits: one per method, whose concepts are shown.
        records: one flat record per method and seed, for the table.
        test: activations of the test split.
        texts: the same sentences in the same order.
        tail: of the classifier that made the activations; without it, nothing is said of the concepts behind
            wrong decisions, nor of those for and against each class.
        about: names, settings, versions and notes.
        audit: patterns on which decisions hang.
        answers: to questions about concepts of one's own.
        checks: what is found of labels, test texts and mistakes.
    Raises:
        MismatchError: texts and activations are not of the same sentences.
        StorageError: scores that this version did not write.
    """
    if texts.ids != test.ids:
        raise MismatchError(
            f"the report got {len(texts)} texts and {len(test)} activations, not of the same sentences in "
            f"the same order; give the texts that the test activations were captured from."
        )
    split = _Split(test, texts)
    by_fit = {(record["method"], record["seed"]): record for record in records}
    methods = tuple(_method(fit, by_fit.get((fit.label, fit.seed), {}), split) for fit in fits)
    methods = tuple(_with_voices(*pair, test, tail) for pair in zip(fits, methods, strict=True))
    wrong = (test.predictions != test.labels).nonzero().flatten()
    checks = checks or Checks()
    return RunReport(
        about=about or About(),
        label_names=texts.label_names,
        accuracy=1 - len(wrong) / len(test),
        n_test=len(test),
        records=tuple(records),
        methods=methods,
        n_mistakes=len(wrong),
        mistakes=_mistakes(zip(fits, methods, strict=True), split, tail, checks.suspect_rows(test)),
        confusion=_confusion(test),
        audit=audit,
        answers=tuple(answers),
        checks=checks,
    )


def _confusion(test: Activations) -> tuple[tuple[int, ...], ...]:
    """Sentences by true class (rows) and predicted class."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(test.labels.cpu(), test.predictions.cpu(), labels=range(test.n_classes))
    return tuple(tuple(row) for row in counts.tolist())


# ------------------------------------------------------------------- one method and its concepts


def _method(fit: Fit, record: Record, split: _Split) -> MethodReport:
    """A method with its concepts, or with the reason why they are not listed."""
    concepts, recovery = fit.concepts, record.get("recovery_accuracy")
    report = MethodReport(
        label=fit.label,
        method=concepts.method,
        about=METHODS.about(concepts.method) if concepts.method in METHODS.names() else "",
        seed=fit.seed,
        n_concepts=len(concepts),
        recovery=recovery if isinstance(recovery, float) else None,
        curves={
            _CURVES.get(name, name.replace("_", " ")): thinned(curve, N_POINTS)
            for name, curve in concepts.curves.items()
        },
        effects=fit.effects,
        left_out=_left_out(concepts, str(record.get("role", role_of(concepts.method)))),
    )
    if report.left_out:
        return report
    codes = codes_of(concepts, split.activations).cpu()
    scores = scores_of_concepts(fit.scores, len(concepts))
    sets = activating_sets(codes).sets
    cards = [_card(fit, j, scores[j], codes[:, j], split) for j in range(len(concepts))]
    cards = _with_sets(cards, sets, codes, split)
    order = sorted(range(len(cards)), key=lambda j: (cards[j].class_index, -(cards[j].influence or 0), j))
    placed = concept_map(split.activations, sets[order])
    covered = _covered(cards, sets, split)
    return replace(report, concepts=tuple(cards[j] for j in order), map=placed, covered=covered)


def _with_voices(fit: Fit, method: MethodReport, test: Activations, tail: Tail | None) -> MethodReport:
    """The method with what its concepts say for and against each class, on a random choice of sentences."""
    if tail is None or not method.concepts:
        return method
    by_latent = {card.latent: card for card in method.concepts}
    cards = [by_latent[latent] for latent in fit.concepts.kept.tolist()]
    rows = some_of(len(test), at_most=N_HEARD, seed=SEED)
    return replace(method, voices=voices_of(evaluate(fit.concepts, tail, test.take(rows)), cards))


def _left_out(concepts: Concepts, role: str) -> str:
    """Why the concepts of a method are not listed, or ""."""
    if role in YARDSTICKS:
        return f"it is {YARDSTICKS[role]}"
    if len(concepts) > MAX_DESCRIBED:
        return f"it has {len(concepts)} concepts, and at most {MAX_DESCRIBED} are listed"
    return ""


def _card(fit: Fit, j: int, scores: ConceptScores, codes: Float[Tensor, " n"], split: _Split) -> ConceptCard:
    latent = int(fit.concepts.kept[j])
    described = fit.descriptions[j] if fit.descriptions else None
    active = codes[codes.abs() > ACTIVE]
    return ConceptCard(
        latent=latent,
        name=described.name if described else f"concept {latent}",
        class_index=int(fit.concepts.segment_of[j]),
        class_shares=tuple(fit.concepts.class_shares[j].tolist()),
        words=described.words if described else (),
        examples=_examples(described, codes, split),
        activation_rate=100 * len(active) / len(codes),
        mean_activation=codes.abs().mean().item(),
        histogram=histogram(active) if len(active) else None,
        scores=scores,
        origin=described.origin if described else None,
        effect=fit.effects.concepts[j] if fit.effects else None,
    )


def _with_sets(
    cards: Sequence[ConceptCard], sets: Bool[Tensor, "m n"], codes: Float[Tensor, "n m"], split: _Split
) -> list[ConceptCard]:
    """Cards with what their activating sets say: coverage of classes, and the sentence at the edge."""
    classes = split.classes
    coverage = coverage_of(sets, classes)
    is_label = class_indicators(sets, classes, torch.tensor([card.class_index for card in cards]))
    found = []
    for j, card in enumerate(cards):
        own = _typical(sets[j] & classes[card.class_index], codes[:, j], split)
        found.append(
            replace(
                card,
                coverage=tuple(coverage[j].tolist()),
                is_label=bool(is_label[j]),
                typical=tuple(own[:N_TYPICAL]),
                edge=own[-1] if len(own) > N_TYPICAL else None,
            )
        )
    return found


def _typical(members: Bool[Tensor, " n"], codes: Float[Tensor, " n"], split: _Split) -> list[Example]:
    """These sentences, the most active first, no text twice."""
    rows = members.nonzero().flatten()
    rows = rows[codes[rows].argsort(descending=True, stable=True)]
    by_text: dict[str, Example] = {}
    for row in rows.tolist():
        by_text.setdefault(split.texts.texts[row], split.example(row, float(codes[row])))
    return list(by_text.values())


def _covered(cards: Sequence[ConceptCard], sets: Bool[Tensor, "m n"], split: _Split) -> tuple[float, ...]:
    """For each class, share of its sentences on which any of its facets is strongly active."""
    found = []
    for c, members in enumerate(split.classes):
        facets = [j for j, card in enumerate(cards) if card.class_index == c and card.is_facet]
        some = sets[facets].any(dim=0) & members
        found.append(float(some.sum() / members.sum().clamp_min(1)))
    return tuple(found)


def _examples(
    described: Description | None, codes: Float[Tensor, " n"], split: _Split
) -> tuple[Example, ...]:
    """The sentences of a description, or the most active ones where there is none."""
    if described is not None:
        return tuple(split.example(s.row, s.activation) for s in described.sentences)
    values, rows = codes.sort(descending=True, stable=True)
    strongest = zip(rows[:N_SENTENCES].tolist(), values[:N_SENTENCES].tolist(), strict=True)
    return tuple(split.example(row, activation) for row, activation in strongest if activation > ACTIVE)


def histogram(active: Float[Tensor, " q"]) -> Histogram:
    """Counts in bins of equal width from the smallest to the largest value; one bin if all are equal."""
    counts, edges = np.histogram(active.double(), N_BINS if active.min() < active.max() else 1)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def thinned(values: Sequence[float], most: int) -> tuple[float, ...]:
    """A curve of at most so many points, each the mean of as many neighbours, or one more."""
    parts = np.array_split(values, min(most, len(values))) if values else []
    return tuple(float(part.mean()) for part in parts)


def concept_map(test: Activations, sets: Bool[Tensor, "m n"]) -> ConceptMap | None:
    """Means of the sentences of concepts and of classes, on the principal plane of the unit sentence vectors.

    A concept lies where the sentences lie on which it is strongly active; a direction that a method writes
    may point anywhere, and says little of where its sentences are.

    Args:
        test: the sentences.
        sets: those on which each concept is strongly active.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(test) < 2:
        return None
    unit, predictions = normalize(test.hidden.float(), dim=1).cpu(), test.predictions.cpu()
    # Of the covariance, exactly: a randomised decomposition would not repeat.
    plane = make_pipeline(StandardScaler(), PCA(2, svd_solver="covariance_eigh")).fit(unit.numpy())

    places = torch.from_numpy(plane.transform(unit.numpy()))

    def middle(members: Bool[Tensor, " n"]) -> tuple[float, float] | None:
        x, y = places[members].mean(dim=0).tolist()
        return (x, y) if members.any() else None

    shown = torch.linspace(0, len(test) - 1, min(N_DOTS, len(test))).long()
    dots = zip(places[shown].tolist(), predictions[shown].tolist(), strict=True)
    return ConceptMap(
        concepts=tuple(map(middle, sets)),
        prototypes=tuple(middle(predictions == c) for c in range(test.n_classes)),
        sentences=tuple((x, y, c) for (x, y), c in dots),
        explained=tuple(plane[-1].explained_variance_ratio_.tolist()),
    )


# ------------------------------------------------------------------- sentences that are wrong


def _mistakes(
    methods: Iterable[tuple[Fit, MethodReport]],
    split: _Split,
    tail: Tail | None,
    suspect: Bool[Tensor, " n"],
) -> tuple[Mistake, ...]:
    """The wrong decisions of which the classifier is most sure, and what each method's concepts did there."""
    test, texts = split.activations, split.texts
    wrong = (test.predictions != test.labels).nonzero().flatten()
    sure = test.logits.float().softmax(dim=1).max(dim=1).values
    rows = wrong[sure[wrong].argsort(descending=True, stable=True)][:N_MISTAKES]
    some = test.take(rows)
    behind = {
        fit.label: _behind(fit, method, some, tail)
        for fit, method in methods
        if tail is not None and method.concepts and len(rows)
    }
    predictions = some.predictions.tolist()
    return tuple(
        Mistake(
            text=texts.texts[row],
            label=texts.labels[row],
            prediction=predictions[i],
            confidence=sure[row].item(),
            behind={label: found[i] for label, found in behind.items()},
            is_suspect=bool(suspect[row]),
        )
        for i, row in enumerate(rows.tolist())
    )


def _behind(fit: Fit, method: MethodReport, some: Activations, tail: Tail) -> list[tuple[ConceptBehind, ...]]:
    """Per sentence, the concepts whose removal changes the probability of the predicted label most."""
    names, evaluation = method.names, evaluate(fit.concepts, tail, some)
    rows, columns = (evaluation.codes.abs() > ACTIVE).nonzero(as_tuple=True)
    predictions = some.predictions[:, None]
    before = evaluation.rebuilt.softmax(dim=1).gather(1, predictions)
    found: list[list[ConceptBehind]] = [[] for _ in range(len(some))]
    for part, logits in evaluation.without_one(rows, columns):
        here, which = rows[part], columns[part]
        changes = (logits.softmax(dim=1).gather(1, predictions[here]) - before[here])[:, 0]
        numbers = (column.tolist() for column in (here, fit.concepts.kept[which], changes))
        for row, latent, change in zip(*numbers, strict=True):
            found[row].append(ConceptBehind(latent, names[latent], change))
    return [tuple(sorted(those, key=lambda one: -abs(one.change))[:N_BEHIND]) for those in found]
