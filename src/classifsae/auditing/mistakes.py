"""The classifier's mistakes by concept: which concepts carry them, and which are a cause.

A concept carries a mistake if the wrong label is less likely without it. That does not make it a cause: the
largest concept of a class carries every decision for that class, the right ones too. A concept is called a
cause of a kind of mistake only where removing it repairs more mistakes of that kind than it makes.
"""

from dataclasses import dataclass

import torch

from classifsae.activations import Activations
from classifsae.bottleneck import Evaluation, evaluate
from classifsae.concepts.base import Concepts
from classifsae.errors import MismatchError
from classifsae.metrics.causality import firings
from classifsae.notebook import Shown
from classifsae.tensors import Bool, Float, Int, Tail, Tensor

CARRIES = 0.05
"""A concept carries a label whose probability falls by at least this when the concept is removed."""

LEVEL = 0.05
"""Of the sign test, for all pairs of concept and kind of mistake together."""

_LEAST = 5
"""Changed decisions without which a sign test cannot reach the level: 1/2^5 < 0.05 < 1/2^4."""


@dataclass(frozen=True)
class MistakeKind:
    """A cell of the confusion matrix off its diagonal.

    Attributes:
        label: true class, an index.
        prediction: class that the classifier predicts, an index.
        n_mistakes: sentences of this kind, those with suspect labels left out.
    """

    label: int
    prediction: int
    n_mistakes: int


@dataclass(frozen=True)
class OfKind:
    """What a concept has to do with one kind of mistake.

    Attributes:
        n_carried: mistakes whose wrong label loses at least 5 percentage points without the concept.
        n_repaired: mistakes that are answered with the true class without the concept.
        p_value: of the one-sided sign test that removing it repairs no more than it makes, times the number
            of tests (Bonferroni), in [0, 1].
        is_cause: whether it repairs more mistakes than it makes, and not by chance.
    """

    n_carried: int
    n_repaired: int
    p_value: float
    is_cause: bool


@dataclass(frozen=True)
class ConceptMistakes:
    """One concept and the mistakes.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary.
        n_made: correct sentences that become wrong without the concept.
        kinds: what it has to do with each kind of mistake, in their order.
    """

    position: int
    latent: int
    n_made: int
    kinds: tuple[OfKind, ...]

    @property
    def n_repaired(self) -> int:
        """Mistakes of any kind that are answered with the true class without the concept."""
        return sum(kind.n_repaired for kind in self.kinds)

    @property
    def n_carried(self) -> int:
        """Mistakes of any kind that the concept carries."""
        return sum(kind.n_carried for kind in self.kinds)


@dataclass(frozen=True)
class MistakesByConcept(Shown):
    """Which concepts carry the mistakes of a classifier.

    Attributes:
        kinds: of mistakes, the most frequent first.
        concepts: in the order of those kept.
        n_correct: correct sentences that a removal could spoil.
        n_suspect: mistakes that are left out as their label is probably wrong.
        n_otherwise: sentences that are left out as the concepts alone give another label than the classifier.
    """

    kinds: tuple[MistakeKind, ...]
    concepts: tuple[ConceptMistakes, ...]
    n_correct: int
    n_suspect: int
    n_otherwise: int

    @property
    def n_mistakes(self) -> int:
        """Mistakes that are counted."""
        return sum(kind.n_mistakes for kind in self.kinds)

    @property
    def causes(self) -> tuple[tuple[ConceptMistakes, MistakeKind, OfKind], ...]:
        """Every concept that is a cause, with the kind of mistake that it causes."""
        return tuple(
            (concept, kind, found)
            for concept in self.concepts
            for kind, found in zip(self.kinds, concept.kinds, strict=True)
            if found.is_cause
        )


def mistakes_by_concept(
    concepts: Concepts, tail: Tail, test: Activations, *, suspect: Bool[Tensor, " n"] | None = None
) -> MistakesByConcept:
    """Count for each concept and each kind of mistake what its removal repairs, and what it makes.

    Each concept is removed from each sentence on which it fires. Sentences whose label is suspect are left
    out, as there the label may be wrong and not the classifier; so are those on which the concepts alone give
    another label than the classifier, as they say nothing of its decision there. A concept is a cause of a
    kind of mistake where

        repaired > made   and   P(X >= repaired) * k <= 0.05,   X ~ Binomial(repaired + made, 1/2)

    with ``repaired`` of this kind, ``made`` on correct sentences of any class, and k the number of pairs of
    concept and kind with at least five changed decisions, which alone can pass (Tarone 1990).

    Args:
        concepts: fitted.
        tail: of the classifier.
        test: activations that neither trained the classifier nor the concepts.
        suspect: rows whose label is probably wrong, as ``suspect_rows`` says; none if not given.
    Raises:
        MismatchError: not one entry of ``suspect`` per row, or concepts of another source.
    Source: exact sign test of changed decisions (McNemar 1947).
    """
    if suspect is not None and len(suspect) != len(test):
        raise MismatchError(
            f"mistakes_by_concept: suspect has {len(suspect)} entries for {len(test)} rows; give one per "
            f"row, such as suspect_rows(suspects, test)."
        )
    evaluation = evaluate(concepts, tail, test)
    judged = _Judged.of(evaluation, torch.zeros(len(test)).bool() if suspect is None else suspect)
    carried, repaired, made = _counts(evaluation, judged)
    cells = judged.cells[judged.wrong].bincount(minlength=evaluation.n_classes**2)
    kinds = cells.argsort(descending=True, stable=True)[: int((cells > 0).sum())]
    return MistakesByConcept(
        kinds=tuple(
            MistakeKind(cell // evaluation.n_classes, cell % evaluation.n_classes, int(cells[cell]))
            for cell in kinds.tolist()
        ),
        concepts=_of_concepts(concepts, carried[:, kinds], repaired[:, kinds], made),
        n_correct=int(judged.right.sum()),
        n_suspect=judged.n_suspect,
        n_otherwise=judged.n_otherwise,
    )


@dataclass(frozen=True)
class _Judged:
    """The sentences that count: which the classifier gets wrong, which right, and the cell of each.

    A cell is true class times number of classes plus predicted class.
    """

    wrong: Bool[Tensor, " n"]
    right: Bool[Tensor, " n"]
    cells: Int[Tensor, " n"]
    n_suspect: int
    n_otherwise: int

    @classmethod
    def of(cls, evaluation: Evaluation, suspect: Bool[Tensor, " n"]) -> "_Judged":
        """Judge the sentences of an evaluation."""
        labels, predictions = evaluation.labels, evaluation.original.argmax(dim=1)
        suspect = suspect.to(labels.device)
        same, wrong = evaluation.rebuilt.argmax(dim=1) == predictions, predictions != labels
        counted = same & ~suspect
        return cls(
            wrong=wrong & counted,
            right=~wrong & counted,
            cells=labels * evaluation.n_classes + predictions,
            n_suspect=int((wrong & suspect).sum()),
            n_otherwise=int((~same & ~suspect).sum()),
        )


def _counts(
    evaluation: Evaluation, judged: _Judged
) -> tuple[Int[Tensor, "m k"], Int[Tensor, "m k"], Int[Tensor, " m"]]:
    """Of each concept: mistakes it carries and repairs in each of the k = c * c cells, and those it makes."""
    rows, columns = firings(evaluation)
    n_cells, n_concepts = evaluation.n_classes**2, len(evaluation.concepts)
    wrong_label = evaluation.original.argmax(dim=1, keepdim=True)
    before = evaluation.rebuilt.softmax(dim=1).gather(1, wrong_label)[:, 0]
    carried, repaired = (rows.new_zeros(n_concepts * n_cells) for _ in range(2))
    made = rows.new_zeros(n_concepts)
    for part, logits in evaluation.without_one(rows, columns):
        here, which = rows[part], columns[part]
        places = which * n_cells + judged.cells[here]
        lost = before[here] - logits.softmax(dim=1).gather(1, wrong_label[here])[:, 0]
        is_true = logits.argmax(dim=1) == evaluation.labels[here]
        carried += places[judged.wrong[here] & (lost >= CARRIES)].bincount(minlength=len(carried))
        repaired += places[judged.wrong[here] & is_true].bincount(minlength=len(repaired))
        made += which[judged.right[here] & ~is_true].bincount(minlength=n_concepts)
    return carried.view(n_concepts, n_cells), repaired.view(n_concepts, n_cells), made


def sign_test(repaired: Int[Tensor, "m k"], made: Int[Tensor, "m 1"]) -> Float[Tensor, "m k"]:
    """P(X >= repaired) of X ~ Binomial(repaired + made, 1/2), times the number of tests that can pass.

    Returns:
        In [0, 1].
    """
    from scipy.special import bdtrc

    changed = repaired + made
    tail = torch.from_numpy(bdtrc(repaired.double().numpy() - 1, changed.numpy(), 0.5)).double()
    n_tests = max(1, int((changed >= _LEAST).sum()))
    return (tail * n_tests).clamp_max(1)


def _of_concepts(
    concepts: Concepts, carried: Int[Tensor, "m k"], repaired: Int[Tensor, "m k"], made: Int[Tensor, " m"]
) -> tuple[ConceptMistakes, ...]:
    """The counts as records, with what they say."""
    carried, repaired, made = carried.cpu(), repaired.cpu(), made.cpu()
    p_values = sign_test(repaired, made[:, None])
    causes = (repaired > made[:, None]) & (p_values <= LEVEL)
    columns = [matrix.tolist() for matrix in (carried, repaired, p_values, causes)]
    return tuple(
        ConceptMistakes(j, latent, n_made, tuple(OfKind(*of_kind) for of_kind in zip(*own, strict=True)))
        for j, (latent, n_made, *own) in enumerate(
            zip(concepts.kept.tolist(), made.tolist(), *columns, strict=True)
        )
    )
