"""Labels that are probably wrong, by confident learning (Northcutt, Jiang & Chuang 2021).

The rule asks for out-of-sample probabilities: those of a classifier that did not learn from the row. Of test
rows that were held out these are the classifier's own. Of training rows they are those of a linear readout of
the hidden states, learned in folds; the states themselves come from a classifier that was tuned on the rows,
so that they are not out of sample altogether (docs/mistakes.md says what that costs).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import one_hot

from classifsae.activations import Activations, check_finite
from classifsae.data import Texts
from classifsae.errors import DataError, MismatchError
from classifsae.metrics.completeness import by_document
from classifsae.notebook import Shown
from classifsae.tensors import Bool, Float, Int, Tensor

MOST = 20_000
"""Rows that a readout learns from, at most."""

STRENGTH = 0.01
"""C of the readout: weak, as a readout that follows single rows follows their wrong labels too."""

_MAX_STEPS = 1000


@dataclass(frozen=True)
class SuspectLabel:
    """A text whose label is probably wrong.

    Attributes:
        row: of the text in its split, counted from 0.
        id: of the row in the data set.
        text: as it is in the data set.
        label: that is given.
        suggested: the label that the probabilities speak for.
        margin: probability of the given label less that of the most probable other one, in [-1, 0]; the
            lower, the more suspect.
    """

    row: int
    id: str
    text: str
    label: str
    suggested: str
    margin: float


@dataclass(frozen=True)
class LabelCheck(Shown):
    """The suspect labels of both splits, the most suspect first.

    Attributes:
        test: by the classifier's own probabilities.
        train: by those of a readout that is learned in folds.
        n_mistakes: test texts on which the classifier gives another label than the given one.
        n_suspect_mistakes: those of them whose label is suspect.
    """

    test: tuple[SuspectLabel, ...]
    train: tuple[SuspectLabel, ...] = ()
    n_mistakes: int = 0
    n_suspect_mistakes: int = 0

    @property
    def note(self) -> str:
        """What a reader of the scores should know; "" where no label is suspect."""
        if not self.test and not self.train:
            return ""
        found = f"{len(self.test)} test and {len(self.train)} training labels are probably wrong"
        of_mistakes = f", {self.n_suspect_mistakes} of the classifier's {self.n_mistakes} mistakes among them"
        return f"{found} (confident learning){of_mistakes if self.n_suspect_mistakes else ''}: check them."


def check_test_labels(test: Activations, texts: Texts) -> LabelCheck:
    """The suspect labels of the test split, by the classifier's own probabilities: see ``suspect_labels``.

    Args:
        test: activations.
        texts: that they were captured from, in their order.
    Raises:
        MismatchError: texts and activations are not equally many.
    """
    own = classifier_probabilities(test)
    found = suspect_labels(texts, own)
    wrong = own.argmax(dim=1) != torch.tensor(texts.labels)
    n_suspect = int(wrong[[suspect.row for suspect in found]].sum())
    return LabelCheck(test=found, n_mistakes=int(wrong.sum()), n_suspect_mistakes=n_suspect)


def check_labels(
    train: Activations, test: Activations, *, train_texts: Texts, test_texts: Texts
) -> LabelCheck:
    """The suspect labels of both splits: see ``suspect_labels``, and there which probabilities.

    Args:
        train, test: activations.
        train_texts, test_texts: that they were captured from, in their order.
    Raises:
        MismatchError: texts and activations are not equally many.
        DataError: states that are not finite.
    """
    of_train = suspect_labels(train_texts, cross_validated_probabilities(train))
    return replace(check_test_labels(test, test_texts), train=of_train)


def suspect_labels(texts: Texts, probabilities: Float[Tensor, "n c"]) -> tuple[SuspectLabel, ...]:
    """The texts whose label is probably wrong, the most suspect first.

    A text is confidently of class j where p_j is at least the mean p_j of the texts that are labelled j. It
    is suspect where the most probable of the classes that it is confidently of is not the given label, and
    the given label is not the most probable of all. These are the off-diagonal cells of the confident joint,
    ranked by the normalised margin p_label - max over other classes of p.

    Args:
        texts: with their labels.
        probabilities: of every class, rows in the order of the texts, from what did not learn from them:
            ``classifier_probabilities`` of a held-out split, else ``cross_validated_probabilities``.
    Raises:
        MismatchError: not one row of probabilities per text, or not one column per class.
        DataError: probabilities outside [0, 1], or no texts.
    Source: Northcutt, Jiang & Chuang 2021, "Confident learning", JAIR 70 (arXiv:1911.00068), section 3.
    """
    _check(texts, probabilities)
    labels, given = torch.tensor(texts.labels), probabilities.cpu().double()
    likely = given.where(given >= confident_thresholds(given, labels), -1.0).max(dim=1)
    wrong = (likely.values >= 0) & (likely.indices != labels) & (given.argmax(dim=1) != labels)
    margins = label_margins(given, labels)
    rows = wrong.nonzero().flatten()
    rows = rows[margins[rows].argsort(stable=True)]
    return tuple(
        SuspectLabel(
            row=row,
            id=texts.ids[row],
            text=texts.texts[row],
            label=texts.label_names[texts.labels[row]],
            suggested=texts.label_names[int(likely.indices[row])],
            margin=float(margins[row]),
        )
        for row in rows.tolist()
    )


def _check(texts: Texts, probabilities: Float[Tensor, "n c"]) -> None:
    """Refuse probabilities that are none, or of other texts."""
    wanted = (len(texts), len(texts.label_names))
    if tuple(probabilities.shape) != wanted:
        raise MismatchError(
            f"suspect_labels: got probabilities of shape {tuple(probabilities.shape)} for {wanted[0]} texts "
            f"and {wanted[1]} classes; give one row per text and one column per class."
        )
    if not len(texts):
        raise DataError("suspect_labels: got 0 texts, needs at least 1.")
    if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
        raise DataError(
            "suspect_labels: got numbers outside [0, 1], or NaN; give probabilities, such as "
            "logits.softmax(dim=1)."
        )


def confident_thresholds(
    probabilities: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> Float[Tensor, " c"]:
    """Mean probability of each class over the rows labelled so; infinite for a class that no row has."""
    members = one_hot(labels, probabilities.shape[1]).to(probabilities)
    sums, sizes = (probabilities * members).sum(dim=0), members.sum(dim=0)
    return (sums / sizes.clamp_min(1)).where(sizes > 0, torch.inf)


def label_margins(probabilities: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Probability of the given label less that of the most probable other one, in [-1, 1]."""
    own = probabilities.gather(1, labels[:, None])[:, 0]
    others = probabilities.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return own - others


def suspect_rows(suspects: Sequence[SuspectLabel], activations: Activations) -> Bool[Tensor, " n"]:
    """Which rows of the activations are of a suspect text; where texts are split, all its windows."""
    owners = _owners(activations)
    return torch.isin(owners, torch.tensor([suspect.row for suspect in suspects], dtype=torch.long))


# --------------------------------------------------------------------------- probabilities


def classifier_probabilities(activations: Activations) -> Float[Tensor, "t c"]:
    """The classifier's own class probabilities, one row per text; a split text by the mean of its logits.

    Out of sample only where the classifier did not learn from these texts.
    """
    return by_document(activations.logits.cpu(), _owners(activations)).softmax(dim=1)


def cross_validated_probabilities(
    train: Activations, *, n_folds: int = 5, seed: int = 42
) -> Float[Tensor, "t c"]:
    """Class probabilities of each text from a readout that did not learn from it, one row per text.

    A logistic regression (C = 0.01) on standardised hidden states is learned on all folds but one, from at
    most 20,000 rows, and asked of that one. All windows of a text are in one fold; folds have equal shares of
    the classes as far as that can be. The states of texts that the classifier was tuned on know something of
    their labels, so that fewer wrong ones are found than with a classifier that never saw them.

    Args:
        train: activations of the training split.
        n_folds: at least 2.
        seed: of the folds.
    Raises:
        DataError: fewer than two texts, or states that are not finite.
    Source: sections 3.1 and 4.1 of Northcutt et al. 2021 ask for probabilities by cross-validation.
    """
    owners = _owners(train)
    if owners.max() < 1:
        raise DataError("cross_validated_probabilities: got 1 text, needs at least 2.")
    check_finite(train.hidden, train.ids)
    labels, hidden = train.labels.cpu(), train.hidden.float().cpu()
    folds = _folds(labels, owners, n_folds=max(2, n_folds), seed=seed)
    found = torch.full((len(train), train.n_classes), -torch.inf, dtype=torch.float64)
    for fold in folds.unique():
        rest, asked = (folds != fold).nonzero().flatten(), folds == fold
        rest = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))][:MOST]
        classes, answers = _readout(hidden[rest], labels[rest], hidden[asked])
        found[asked.nonzero(), classes[None]] = answers
    # The mean of log-probabilities and that of logits differ by a number that softmax takes off.
    return by_document(found, owners).softmax(dim=1)


def _readout(
    states: Float[Tensor, "n d"], labels: Int[Tensor, " n"], others: Float[Tensor, "q d"]
) -> tuple[Int[Tensor, " k"], Float[Tensor, "q k"]]:
    """The k classes that occur, and their log-probabilities for other states, of a readout of these."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = labels.unique()
    if len(classes) == 1:
        return classes, torch.zeros(len(others), 1, dtype=torch.float64)
    readout = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=_MAX_STEPS))
    readout.fit(states.double().numpy(), labels.numpy())
    return classes, torch.from_numpy(readout.predict_log_proba(others.double().numpy()))


def _folds(
    labels: Int[Tensor, " n"], owners: Int[Tensor, " n"], *, n_folds: int, seed: int
) -> Int[Tensor, " n"]:
    """A fold for each row: that of its text; the texts of each class are dealt out in random order."""
    n_texts = int(owners.max()) + 1
    of_text = labels.new_zeros(n_texts).scatter(0, owners, labels)
    order = torch.randperm(n_texts, generator=torch.Generator().manual_seed(seed))
    order = order[of_text[order].argsort(stable=True)]
    dealt = torch.empty_like(order).scatter(0, order, torch.arange(n_texts) % n_folds)
    return dealt[owners]


def _owners(activations: Activations) -> Int[Tensor, " n"]:
    """Number of the text that each row is of."""
    if activations.documents is None:
        return torch.arange(len(activations))
    return activations.documents.cpu()
