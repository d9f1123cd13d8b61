"""Do the concepts suffice? How well the classifier decides when only they are left."""

from dataclasses import dataclass
from math import inf
from typing import Annotated, final

import torch
from torch.nn.functional import cross_entropy

from classifsae.activity import ACTIVE
from classifsae.bottleneck import Evaluation
from classifsae.metrics.base import Metric, Quantity, Result
from classifsae.tensors import Float, Int, Tensor


@dataclass(frozen=True)
class ClassScores:
    """How well the classifier rebuilt from concepts finds one class; fractions in [0, 1], 0 where undefined.

    Attributes:
        class_index: the class.
        support: sentences of this class.
        predicted: sentences given this class.
        recall, precision, f1: against ground truth.
    """

    class_index: int
    support: int
    predicted: int
    recall: float
    precision: float
    f1: float


@final
@dataclass(frozen=True)
class CompletenessResult(Result):
    """Completeness on one test set.

    Attributes:
        answered: sentences to which the classifier itself gives each class.
        classes: how well the rebuilt one finds each.
    """

    n_sentences: Annotated[int, Quantity.count("test sentences")]
    accuracy: Annotated[float, Quantity("the classifier's own accuracy", "higher")]
    macro_f1: Annotated[float, Quantity("the classifier's own mean F1 over classes", "higher")]
    recovery_accuracy: Annotated[
        float, Quantity("share of the classifier's decisions that the concepts reproduce", "higher")
    ]
    rebuilt_accuracy: Annotated[float, Quantity("accuracy of the classifier rebuilt from concepts", "higher")]
    rebuilt_macro_f1: Annotated[
        float, Quantity("mean F1 over classes of the classifier rebuilt from concepts", "higher")
    ]
    cross_entropy: Annotated[
        float, Quantity("cross-entropy of the classifier with the truth", "lower", "nats", high=inf)
    ]
    rebuilt_cross_entropy: Annotated[
        float, Quantity("the same for the classifier rebuilt from concepts", "lower", "nats", high=inf)
    ]
    activation_rate: Annotated[
        float,
        Quantity("sentences on which a concept is active, mean over concepts", "lower", "percent", high=100),
    ]
    max_activation_rate: Annotated[
        float, Quantity("sentences on which the most active concept is active", unit="percent", high=100)
    ]
    n_documents: Annotated[int, Quantity.count("texts that the sentences are windows of, or as many")]
    document_accuracy: Annotated[float, Quantity("the classifier's own accuracy on whole texts", "higher")]
    document_recovery_accuracy: Annotated[
        float, Quantity("the same share for decisions on whole texts", "higher")
    ]
    answered: tuple[int, ...]
    classes: tuple[ClassScores, ...]


@final
class Completeness(Metric):
    """Recovery accuracy and what goes with it.

    RAcc = mean over n of [argmax rebuilt = argmax original]

    The n rows are sentences, or the windows of long texts. The decision on a whole text is the argmax of
    the mean of its windows' logits, for the classifier and for the rebuilt one alike.

    Source: Le Bail et al. 2025 (arXiv:2506.23951).
    """

    def measure(self, evaluation: Evaluation) -> CompletenessResult:
        """Score the concepts of an evaluation."""
        original, rebuilt = evaluation.original.argmax(dim=1), evaluation.rebuilt.argmax(dim=1)
        rates = 100 * (evaluation.codes.abs() > ACTIVE).double().mean(dim=0)
        classes = class_scores(rebuilt, evaluation.labels, n_classes=evaluation.n_classes)
        own = class_scores(original, evaluation.labels, n_classes=evaluation.n_classes)
        documents = _numbered(evaluation)
        decided = by_document(evaluation.original, documents).argmax(dim=1)
        truth = torch.zeros_like(decided).scatter(0, documents, evaluation.labels)
        return CompletenessResult(
            n_sentences=len(evaluation.labels),
            accuracy=share(original == evaluation.labels),
            macro_f1=sum(c.f1 for c in own) / evaluation.n_classes,
            recovery_accuracy=share(rebuilt == original),
            rebuilt_accuracy=share(rebuilt == evaluation.labels),
            rebuilt_macro_f1=sum(c.f1 for c in classes) / evaluation.n_classes,
            cross_entropy=float(cross_entropy(evaluation.original.double(), evaluation.labels)),
            rebuilt_cross_entropy=float(cross_entropy(evaluation.rebuilt.double(), evaluation.labels)),
            activation_rate=float(rates.mean()),
            max_activation_rate=float(rates.max()),
            n_documents=len(decided),
            document_accuracy=share(decided == truth),
            document_recovery_accuracy=share(
                by_document(evaluation.rebuilt, documents).argmax(dim=1) == decided
            ),
            answered=tuple(one.predicted for one in own),
            classes=tuple(classes),
        )


def share(hits: Tensor) -> float:
    """Share of true entries, in [0, 1]."""
    return float(hits.double().mean())


def by_document(logits: Float[Tensor, "n c"], documents: Int[Tensor, " n"]) -> Float[Tensor, "t c"]:
    """Mean logits of the rows of each text.

    Args:
        documents: number of the text that each row is of, each of 0..t-1 at least once.
    """
    counts = documents.bincount()
    total = logits.new_zeros((len(counts), logits.shape[1]), dtype=torch.float64)
    return total.index_add_(0, documents, logits.double()) / counts[:, None]


def _numbered(evaluation: Evaluation) -> Int[Tensor, " n"]:
    """Texts numbered without gaps; one per row where no text was split."""
    if evaluation.documents is None:
        return torch.arange(len(evaluation.labels), device=evaluation.labels.device)
    return evaluation.documents.unique(return_inverse=True)[1]


def class_scores(
    predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], *, n_classes: int
) -> list[ClassScores]:
    """Recall, precision and F1 of every class, in order."""
    from sklearn.metrics import precision_recall_fscore_support

    classes = list(range(n_classes))
    table = precision_recall_fscore_support(labels.cpu(), predicted.cpu(), labels=classes, zero_division=0.0)
    precision, recall, f1, support = (column.tolist() for column in table)
    n_predicted = predicted.bincount(minlength=n_classes).tolist()
    return [ClassScores(c, support[c], n_predicted[c], recall[c], precision[c], f1[c]) for c in classes]
