"""From what a run has to what its page shows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from classifsae.activations import Activations
from classifsae.activity import ACTIVE
from classifsae.bottleneck import evaluate
from classifsae.concepts.base import METHODS, Concepts
from classifsae.data import Texts
from classifsae.errors import MismatchError
from classifsae.meaning.descriptions import MAX_DESCRIBED, N_SENTENCES, Description
from classifsae.reporting.layout.projection import Projection
from classifsae.reporting.page.content import (
    ConceptCard,
    ConceptMap,
    Example,
    Histogram,
    MethodReport,
    MisleadingConcept,
    Mistake,
    RunReport,
)
from classifsae.reporting.page.stored_scores import OfConcept, meanings, number_of, of_concepts
from classifsae.reporting.tables.table import ROLES, Record
from classifsae.storage import Json
from classifsae.tensors import Float, Tail, Tensor, batches

N_MISTAKES, N_BEHIND = 40, 5
N_BINS, N_DOTS = 24, 300
MOST_POINTS = 200
"""Of a training curve."""


@dataclass(frozen=True)
class Fit:
    """One method and seed, with all that is known of its concepts.

    Attributes:
        label: of the method in the experiment.
        seed: of the fit.
        concepts: fitted.
        scores: by metric, as JSON.
        descriptions: of each concept, by position; none, or one for each.
    """

    label: str
    seed: int
    concepts: Concepts
    scores: Mapping[str, Json]
    descriptions: Sequence[Description] = ()


@dataclass(frozen=True)
class About:
    """What a page says of a run beside its numbers.

    Attributes:
        dataset, backbone: names.
        n_train: training sentences, where known.
        settings: the experiment.
        versions: of libraries.
        notes: what a reader should know.
    """

    dataset: str = "the data set"
    backbone: str = "the classifier"
    n_train: int | None = None
    settings: Json = None
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Split:
    """The test split: what the classifier read, and what it computed."""

    activations: Activations
    texts: Texts

    def example(self, row: int, activation: float) -> Example:
        """A sentence beside the activation of a concept on it."""
        return Example(
            text=self.texts.texts[row],
            id=self.texts.ids[row],
            activation=activation,
            label=self.texts.labels[row],
            prediction=int(self.activations.predictions[row]),
        )


def build(
    fits: Sequence[Fit],
    records: Sequence[Record],
    test: Activations,
    texts: Texts,
    tail: Tail | None = None,
    *,
    about: About | None = None,
) -> RunReport:
    """Collect all that a page shows.

    Args:
        fits: one per method, whose concepts are shown.
        records: one flat record per method and seed, for the table.
        test: activations of the test split.
        texts: the same sentences in the same order.
        tail: of the classifier that made the activations; without it, nothing is said of the concepts behind
            wrong decisions.
        about: names, settings, versions and notes.
    Raises:
        MismatchError: texts and activations are not of the same sentences.
        StorageError: scores that this version did not write.
    """
    if texts.ids != test.ids:
        raise MismatchError(
            f"the report got {len(texts)} texts and {len(test)} activations, not of the same sentences in "
            f"the same order; give the texts that the test activations were captured from."
        )
    about = about or About()
    split = _Split(test, texts)
    methods = tuple(_method(fit, split) for fit in fits)
    wrong = (test.predictions != test.labels).nonzero().flatten()
    return RunReport(
        dataset=about.dataset,
        backbone=about.backbone,
        label_names=texts.label_names,
        accuracy=1 - len(wrong) / len(test),
        n_test=len(test),
        n_train=about.n_train,
        records=tuple(records),
        meanings={name: m for fit in reversed(fits) for name, m in meanings(fit.scores).items()},
        baseline=next((b for fit in fits if (b := _baseline(fit)) is not None), None),
        methods=methods,
        n_mistakes=len(wrong),
        mistakes=_mistakes(zip(fits, methods, strict=True), split, tail),
        confusion=_confusion(test),
        settings=about.settings,
        versions=dict(about.versions),
        notes=tuple(about.notes),
    )


def _confusion(test: Activations) -> tuple[tuple[int, ...], ...]:
    """Sentences by true class (rows) and predicted class."""
    c = test.n_classes
    counts = torch.bincount(test.labels * c + test.predictions, minlength=c * c).reshape(c, c)
    return tuple(tuple(row) for row in counts.tolist())


# ------------------------------------------------------------------- one method and its concepts


def _method(fit: Fit, split: _Split) -> MethodReport:
    """A method with its concepts, or with the reason why they are not listed."""
    concepts = fit.concepts
    report = MethodReport(
        label=fit.label,
        method=concepts.method,
        about=METHODS.about(concepts.method) if concepts.method in METHODS.names() else "",
        seed=fit.seed,
        n_concepts=len(concepts),
        recovery=number_of(fit.scores, "completeness", "recovery_accuracy"),
        curves={name: thinned(curve, MOST_POINTS) for name, curve in concepts.curves.items()},
        left_out=_left_out(fit),
    )
    if report.left_out:
        return report
    codes = _codes(concepts, split.activations)
    scores = of_concepts(fit.scores, len(concepts))
    cards = [_card(fit, j, scores[j], codes[:, j], split) for j in range(len(concepts))]
    order = sorted(range(len(cards)), key=lambda j: (cards[j].class_index, -(cards[j].influence or 0), j))
    placed = concept_map(concepts, split.activations, order=order)
    return replace(report, concepts=tuple(cards[j] for j in order), map=placed)


def _baseline(fit: Fit) -> float | None:
    return number_of(fit.scores, "interpretability", "dataset_cosine_mean")


def _left_out(fit: Fit) -> str:
    """Why the concepts of a method are not listed."""
    if fit.concepts.method in ROLES:
        return f"it is a yardstick: {ROLES[fit.concepts.method]}"
    if len(fit.concepts) > MAX_DESCRIBED:
        return f"it has {len(fit.concepts)} concepts, and at most {MAX_DESCRIBED} are listed"
    return ""


def _codes(concepts: Concepts, test: Activations) -> Float[Tensor, "n m"]:
    """Activations of all concepts on all sentences."""
    concepts = concepts.to(test.hidden.device)
    with torch.no_grad():
        parts = [
            concepts.encode(test.hidden[part].float()) for part in batches(len(test), test.hidden.shape[1])
        ]
    return torch.cat(parts).cpu()


def _card(fit: Fit, j: int, scores: OfConcept, codes: Float[Tensor, " n"], split: _Split) -> ConceptCard:
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
        threshold=scores.threshold,
        n_activating=scores.n_activating,
        concept_sim=_concept_sim(scores),
        support=scores.support,
        flip_rate=scores.flip_rate,
        tvd=scores.tvd,
        accuracy_change=scores.accuracy_change,
        shapley=scores.value,
        origin=described.origin if described else None,
    )


def _concept_sim(scores: OfConcept) -> float | None:
    """None where no two sentences can be compared; scores made before it was said so hold a 0 there."""
    n = scores.n_activating
    return None if n is not None and n < 2 else scores.concept_sim


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
    low, high = active.min().item(), active.max().item()
    n_bins = N_BINS if high > low else 1
    width = (high - low) / n_bins or abs(high) / 10
    bins = ((active.double() - low) / width).long().clamp_max(n_bins - 1)
    counts = torch.bincount(bins, minlength=n_bins).tolist()
    return Histogram(tuple(low + i * width for i in range(n_bins + 1)), tuple(counts))


def thinned(values: Sequence[float], most: int) -> tuple[float, ...]:
    """A curve of at most so many points, each the mean of as many neighbours, or one more."""
    n = min(most, len(values))
    parts = [values[i * len(values) // n : (i + 1) * len(values) // n] for i in range(n)]
    return tuple(math.fsum(part) / len(part) for part in parts)


def concept_map(concepts: Concepts, test: Activations, *, order: Sequence[int]) -> ConceptMap | None:
    """Decoder directions and class prototypes on the principal plane of the unit-norm sentence vectors.

    A prototype is the mean of the unit vectors of the sentences of one predicted class, brought to
    norm 1, as the directions are.
    """
    directions = concepts.coder.decoder_directions
    if directions is None:
        return None
    unit = torch.nn.functional.normalize(test.hidden.float(), dim=1)
    projection = Projection.fitted(unit)
    predictions = test.predictions
    prototypes = []
    for c in range(test.n_classes):
        members = unit[predictions == c]
        middle = torch.nn.functional.normalize(members.mean(dim=0, keepdim=True), dim=1)
        prototypes.append(_pairs(projection(middle))[0] if len(members) else None)
    shown = torch.linspace(0, len(test) - 1, min(N_DOTS, len(test)), device=unit.device).long()
    dots = zip(_pairs(projection(unit[shown])), predictions[shown].tolist(), strict=True)
    points = _pairs(projection(directions[concepts.kept].to(unit)))
    return ConceptMap(
        concepts=tuple(points[j] for j in order),
        prototypes=tuple(prototypes),
        sentences=tuple((x, y, c) for (x, y), c in dots),
        explained=projection.explained,
    )


def _pairs(points: Float[Tensor, "q 2"]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points.tolist()]


# ------------------------------------------------------------------- sentences that are wrong


def _mistakes(
    methods: Iterable[tuple[Fit, MethodReport]], split: _Split, tail: Tail | None
) -> tuple[Mistake, ...]:
    """The wrong decisions of which the classifier is most sure, and what each method's concepts did there."""
    test, texts = split.activations, split.texts
    wrong = (test.predictions != test.labels).nonzero().flatten()
    sure = test.logits.float().softmax(dim=1).max(dim=1).values
    rows = wrong[sure[wrong].argsort(descending=True, stable=True)][:N_MISTAKES]
    some = replace(
        test,
        hidden=test.hidden[rows],
        logits=test.logits[rows],
        labels=test.labels[rows],
        ids=tuple(test.ids[row] for row in rows.tolist()),
    )
    behind = {
        fit.label: _behind(fit, method, some, tail)
        for fit, method in methods
        if tail is not None and method.concepts and len(rows)
    }
    predictions = some.predictions.tolist()
    return tuple(
        Mistake(
            text=texts.texts[row],
            id=texts.ids[row],
            label=texts.labels[row],
            prediction=predictions[i],
            confidence=sure[row].item(),
            behind={label: found[i] for label, found in behind.items()},
        )
        for i, row in enumerate(rows.tolist())
    )


def _behind(
    fit: Fit, method: MethodReport, some: Activations, tail: Tail
) -> list[tuple[MisleadingConcept, ...]]:
    """Per sentence, the concepts without which the predicted label is least or most likely."""
    names = {card.latent: card.name for card in method.concepts}
    view = evaluate(fit.concepts, tail, some)
    rows, columns = (view.codes.abs() > ACTIVE).nonzero(as_tuple=True)
    predictions = some.predictions
    before = view.rebuilt.softmax(dim=1).gather(1, predictions[:, None])[:, 0]
    found: list[list[MisleadingConcept]] = [[] for _ in range(len(some))]
    latents = fit.concepts.kept.tolist()
    for part, logits in view.without_one(rows, columns):
        here, which = rows[part], columns[part]
        after = logits.softmax(dim=1).gather(1, predictions[here][:, None])[:, 0]
        numbers = zip(here.tolist(), which.tolist(), (after - before[here]).tolist(), strict=True)
        for row, j, change in numbers:
            latent = latents[j]
            found[row].append(MisleadingConcept(latent, names[latent], view.codes[row, j].item(), change))
    return [tuple(sorted(behind, key=lambda b: -abs(b.change))[:N_BEHIND]) for behind in found]
