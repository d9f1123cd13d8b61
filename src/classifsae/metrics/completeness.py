"""Do the concepts suffice? How well the classifier decides when only they are left."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch.nn.functional import cross_entropy

from classifsae.activity import ACTIVE
from classifsae.bottleneck import Evaluation
from classifsae.metrics.base import Metric, Quantity, Result
from classifsae.tensors import Float, Int, Tensor


@dataclass(frozen=True)
class ClassScores:
    """How well the rebuilt classifier finds one class; fractions in [0, 1], 0 where undefined.

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
    """Completeness on one test set."""

    n_sentences: Annotated[int, Quantity("test sentences", "count", 0, float("inf"))]
    accuracy: Annotated[float, Quantity("the classifier's own accuracy", "fraction", 0, 1, "higher")]
    macro_f1: Annotated[
        float, Quantity("the classifier's own mean F1 over classes", "fraction", 0, 1, "higher")
    ]
    recovery_accuracy: Annotated[
        float,
        Quantity(
            "share of the classifier's decisions that the concepts reproduce", "fraction", 0, 1, "higher"
        ),
    ]
    rebuilt_accuracy: Annotated[
        float, Quantity("accuracy of the classifier rebuilt from concepts", "fraction", 0, 1, "higher")
    ]
    rebuilt_macro_f1: Annotated[
        float,
        Quantity("mean F1 over classes of the classifier rebuilt from concepts", "fraction", 0, 1, "higher"),
    ]
    cross_entropy: Annotated[
        float, Quantity("cross-entropy of the classifier with the truth", "nats", 0, float("inf"), "lower")
    ]
    rebuilt_cross_entropy: Annotated[
        float, Quantity("the same for the classifier rebuilt from concepts", "nats", 0, float("inf"), "lower")
    ]
    activation_rate: Annotated[
        float,
        Quantity("sentences on which a concept is active, mean over concepts", "percent", 0, 100, "lower"),
    ]
    max_activation_rate: Annotated[
        float, Quantity("sentences on which the most active concept is active", "percent", 0, 100)
    ]
    n_documents: Annotated[
        int, Quantity("texts that the sentences are windows of, or as many", "count", 0, float("inf"))
    ]
    document_accuracy: Annotated[
        float, Quantity("the classifier's own accuracy on whole texts", "fraction", 0, 1, "higher")
    ]
    document_recovery_accuracy: Annotated[
        float, Quantity("the same share for decisions on whole texts", "fraction", 0, 1, "higher")
    ]
    classes: tuple[ClassScores, ...]


@final
class Completeness(Metric):
    """Recovery accuracy and what goes with it.

    RAcc = mean over n of [argmax rebuilt = argmax original]

    The n rows are sentences, or the windows of long texts. The decision on a whole text is the argmax of
    the mean of its windows' logits, for the classifier and for the rebuilt one alike.

    Source: Le Bail et al. 2025 (arXiv:2506.23951).
    """

    def measure(self, view: Evaluation) -> CompletenessResult:
        """Score the concepts of a view."""
        original, rebuilt = view.original.argmax(dim=1), view.rebuilt.argmax(dim=1)
        rates = 100 * (view.codes.abs() > ACTIVE).double().mean(dim=0)
        classes = class_scores(rebuilt, view.labels, n_classes=view.n_classes)
        own = class_scores(original, view.labels, n_classes=view.n_classes)
        documents = _numbered(view)
        decided = by_document(view.original, documents).argmax(dim=1)
        truth = torch.zeros_like(decided).scatter(0, documents, view.labels)
        return CompletenessResult(
            n_sentences=len(view.labels),
            accuracy=share(original == view.labels),
            macro_f1=sum(c.f1 for c in own) / view.n_classes,
            recovery_accuracy=share(rebuilt == original),
            rebuilt_accuracy=share(rebuilt == view.labels),
            rebuilt_macro_f1=sum(c.f1 for c in classes) / view.n_classes,
            cross_entropy=_cross_entropy(view.original, view.labels),
            rebuilt_cross_entropy=_cross_entropy(view.rebuilt, view.labels),
            activation_rate=float(rates.mean()),
            max_activation_rate=float(rates.max()),
            n_documents=len(decided),
            document_accuracy=share(decided == truth),
            document_recovery_accuracy=share(by_document(view.rebuilt, documents).argmax(dim=1) == decided),
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


def _numbered(view: Evaluation) -> Int[Tensor, " n"]:
    """Texts numbered without gaps; one per row where no text was split."""
    if view.documents is None:
        return torch.arange(len(view.labels), device=view.labels.device)
    return view.documents.unique(return_inverse=True)[1]


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


def _cross_entropy(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    return float(cross_entropy(logits.double(), labels))
