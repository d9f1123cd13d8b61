"""What a classifier hangs on: patterns whose removal or insertion changes its decisions."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import isnan, nan
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt
from torch.nn.functional import one_hot

from classifsae.activations import Activations
from classifsae.auditing.answers import Edited, Rate, answers_to, edited, flips, rows_of
from classifsae.auditing.candidates import count_phrases
from classifsae.auditing.controls import random_in, random_out
from classifsae.auditing.edits import (
    Capitals,
    Edit,
    Longer,
    Words,
    as_standing,
    phrase,
)
from classifsae.data.texts import Texts
from classifsae.storage import Json
from classifsae.tensors import Bool, Float, OnStep, Tensor

if TYPE_CHECKING:
    from classifsae.classifier.classifier import Classifier

BESIDE_PHRASES: dict[str, str] = {
    "a number": r"(?<![\w.,])\d[\d.,:/-]*",
    "a number at the start": r"\A\W*\d[\d.,:/-]*",
    "an exclamation mark": r"!+",
    "a question mark": r"\?+",
    "an ellipsis": r"\.{3,}|\u2026",
    "quotation marks": r"[\"\u201c\u201d\u00ab\u00bb]",
    "brackets": r"[()\[\]]",
    "an address of the web": r"https?://\S+|www\.\S+",
    "a mention": r"(?<!\w)@\w+",
    "a hashtag": r"(?<!\w)#\w+",
    "a word in capitals": r"(?<!\w)[^\W\d_a-z]{4,}(?!\w)",
}
"""Patterns that are looked at in every corpus, as regular expressions."""

_N_SCREENED, _N_CONTENT, _N_FEW = 24, 2000, 10
SHARE, SPREAD = 0.05, 0.75
"""A finding hangs on by at least this share of the class's decisions, and the rest of a text tells no better
than this (AUROC) whether it is there."""


class AuditOptions(BaseModel):
    """What is looked for, and at what cost.

    Attributes:
        terms: words or phrases that must not matter, each a row of its own whatever its effect.
        patterns: regular expressions by name, likewise.
        pairs: words of which each is replaced by the other, such as he and she, likewise.
        n_tried: phrases per class that are tried on training texts.
        n_measured: patterns that are measured on test texts, those with the largest effects in training texts.
        max_texts: changed test texts per pattern, direction and control.
        seed: of the random spans.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    terms: tuple[str, ...] = ()
    patterns: dict[str, str] = {}
    pairs: tuple[tuple[str, str], ...] = ()
    n_tried: PositiveInt = 16
    n_measured: PositiveInt = 12
    max_texts: PositiveInt = 200
    seed: NonNegativeInt = 0


@dataclass(frozen=True)
class PatternEffect:
    """A pattern, and the decisions on test texts that hang on it. All rates are shares of texts in [0, 1].

    Attributes:
        pattern: as it is written, or what it is.
        kind: "phrase", "term", "pattern", "pair", "letter case", "length" or "sign".
        class_name: predicted class whose training texts have it oftener than the others.
        n_texts: test texts predicted as that class that have it.
        share: of the test texts predicted as that class that have it.
        out: of these texts, decisions that change when it is taken out; swapped, for a pair.
        out_control: the same when as many random words are taken out.
        into: of the texts predicted as another class that do not have it, decisions that change to the class
            when it is put in; None where it cannot be put in.
        into_control: the same when as many random words of a text of the class are put in.
        out_change, into_change: mean change of the probability of the class, in [-1, 1].
        n_decisions: test decisions for the class that hang on it: ``out`` times ``n_texts``.
        accuracy: of the classifier on the test split.
        accuracy_without: the same with the pattern taken out of every text that has it.
        from_content: AUROC, in [0, 1] and on held-out training texts of the class, with which the other words
            of a text tell whether the pattern is there; 0.5: not at all. None where too few have it.
        is_finding: whether it is a shortcut by the rule of ``is_shortcut``.
    """

    pattern: str
    kind: str
    class_name: str
    n_texts: int
    share: float
    out: Rate
    out_control: Rate
    into: Rate | None
    into_control: Rate | None
    out_change: float | None
    into_change: float | None
    n_decisions: int
    accuracy: float
    accuracy_without: float
    from_content: float | None
    is_finding: bool


@dataclass(frozen=True)
class _Split:
    """One split: texts, and the classifier's answers to them."""

    texts: Sequence[str]
    activations: Activations

    @property
    def predicted(self) -> Bool[Tensor, "c n"]:
        return one_hot(self.activations.predictions.cpu(), self.activations.n_classes).T.bool()


@dataclass(frozen=True)
class _Suspect:
    """A pattern and the class that it goes with."""

    edit: Edit
    c: int
    asked: bool = False


def audit(
    model: "Classifier",
    train: Texts,
    test: Texts,
    *,
    train_activations: Activations,
    test_activations: Activations,
    options: AuditOptions | None = None,
    on_step: OnStep | None = None,
) -> tuple[PatternEffect, ...]:
    """The patterns on which decisions hang, those first on which most test decisions do.

    Phrases of up to five words that go with a predicted class, and what stands beside phrases (letter case,
    numbers, punctuation, addresses, length), are tried on training texts; those with the largest effects there
    are measured on test texts, beside random words of the same number.

    Args:
        model: the classifier.
        train, test: the texts.
        train_activations, test_activations: captured from them, in the same order.
        options: what is looked for, and at what cost.
        on_step: told how many changed texts the classifier has read.
    Raises:
        ConfigError: an expression that cannot be read.
    """
    return _Audit(
        model,
        _Split(train.texts, train_activations),
        _Split(test.texts, test_activations),
        options or AuditOptions(),
        on_step,
    ).rows()


@dataclass(frozen=True)
class _Audit:
    model: "Classifier"
    train: _Split
    test: _Split
    options: AuditOptions
    on_step: OnStep | None

    def rows(self) -> tuple[PatternEffect, ...]:
        found = self.measured(self.screened(list(self.suspects())))
        return tuple(sorted(found, key=lambda row: (-row.is_finding, -row.n_decisions)))

    def suspects(self) -> Iterator[_Suspect]:
        """Patterns that go with a class in training texts, and those that were asked for."""
        texts, predicted = self.train.texts, self.train.predicted
        counts = count_phrases(texts, min_texts=max(5, len(texts) // 500))
        for c, weights in enumerate(counts.associated(predicted)):
            for words in counts.strongest(weights, at_most=self.options.n_tried):
                yield _Suspect(phrase(words, [texts[r] for r in rows_of(predicted[c])]), c)
        n_words = torch.tensor([len(text.split()) for text in texts]).double()
        beside: list[Edit] = [Words(name, "sign", re.compile(p)) for name, p in BESIDE_PHRASES.items()]
        for edit in (*beside, Capitals(), Longer(int(n_words.quantile(0.75)))):
            has = torch.tensor([edit.without(text) is not None for text in texts])
            if has.sum() >= 5 and not has.all():
                c = int((predicted.double() @ has.double() / predicted.sum(dim=1).clamp_min(1)).argmax())
                standing = [texts[r] for r in rows_of(predicted[c] & has)]
                yield _Suspect(as_standing(edit, standing) if isinstance(edit, Words) else edit, c)

    def screened(self, suspects: Sequence[_Suspect]) -> list[_Suspect]:
        """The suspects with the largest effects on a few training texts each."""
        few = [self.groups(one, self.train, at_most=_N_SCREENED) for one in suspects]
        answers = iter(answers_to(self.model, [g for own in few for g in own], on_step=self.on_step))
        before, predicted = self.train.activations.predictions.cpu(), self.train.predicted
        strength = []
        for one, (out, into) in zip(suspects, few, strict=True):
            has = torch.tensor([one.edit.without(t) is not None for t in self.train.texts])
            share = float((has & predicted[one.c]).sum() / predicted[one.c].sum().clamp_min(1))
            lost, won = flips(before, out, next(answers)), next(answers).argmax(dim=1) == one.c
            strength.append(share * (_mean(lost) + _mean(won)))
        order = sorted(range(len(suspects)), key=lambda i: -strength[i])
        chosen = [suspects[i] for i in order[: self.options.n_measured] if strength[i] > 0]
        return [*(one for one in suspects if one.asked), *(one for one in chosen if not one.asked)]

    def groups(self, one: _Suspect, split: _Split, *, at_most: int) -> tuple[Edited, Edited]:
        """Texts of the class without the pattern, and texts of other classes with it."""
        own = split.predicted[one.c]
        return (
            edited(split.texts, rows_of(own), one.edit.without, at_most=at_most),
            edited(split.texts, rows_of(~own), one.edit.into, at_most=at_most),
        )

    def measured(self, suspects: Sequence[_Suspect]) -> list[PatternEffect]:
        """What each pattern does in test texts."""
        plans = [_Plan.of(one, self.test, self.options, number) for number, one in enumerate(suspects)]
        groups = [g for plan in plans for g in plan.groups]
        answers = answers_to(self.model, groups, on_step=self.on_step)
        size = len(_Plan.__dataclass_fields__)
        return [
            self.effect(one, plan, answers[i * size : (i + 1) * size])
            for i, (one, plan) in enumerate(zip(suspects, plans, strict=True))
        ]

    def effect(self, one: _Suspect, plan: "_Plan", answers: Sequence[Float[Tensor, "q c"]]) -> PatternEffect:
        """One row of the result."""
        activations, c = self.test.activations, one.c
        before = activations.predictions.cpu()
        p = activations.logits.float().softmax(dim=1).cpu()[:, c]
        out, out_control, into, into_control, elsewhere = answers
        has = torch.tensor([one.edit.without(t) is not None for t in self.test.texts])
        n_texts, n_class = int((has & (before == c)).sum()), int((before == c).sum())
        lost = Rate.of(flips(before, plan.out, out))
        won = Rate.of(into.argmax(dim=1) == c) if len(into) else None
        content = self.from_content(one)
        row = PatternEffect(
            pattern=one.edit.name,
            kind=one.edit.kind,
            class_name=self.model.label_names[c],
            n_texts=n_texts,
            share=n_texts / max(1, n_class),
            out=lost,
            out_control=Rate.of(flips(before, plan.out_control, out_control)),
            into=won,
            into_control=Rate.of(into_control.argmax(dim=1) == c) if won else None,
            out_change=_change(p, plan.out, out[:, c]),
            into_change=_change(p, plan.into, into[:, c]),
            n_decisions=0 if isnan(lost.value) else round(lost.value * n_texts),
            accuracy=float((before == activations.labels.cpu()).double().mean()),
            accuracy_without=self.accuracy_without(has, ((plan.out, out), (plan.elsewhere, elsewhere))),
            from_content=content,
            is_finding=False,
        )
        return replace(row, is_finding=is_shortcut(row))

    def accuracy_without(self, has: Bool[Tensor, " n"], changed: Sequence[tuple[Edited, Tensor]]) -> float:
        """Accuracy with the pattern out of all texts; those that were not run count like those that were."""
        activations = self.test.activations
        labels, right = activations.labels.cpu(), (activations.predictions == activations.labels).cpu()
        rows = [row for group, _ in changed for row in group.rows]
        if not rows:
            return float(right.double().mean())
        after = torch.cat([answers.argmax(dim=1) for _, answers in changed]) == labels[rows]
        return float((right[~has].sum() + has.sum() * after.double().mean()) / len(right))

    def from_content(self, one: _Suspect) -> float | None:
        """With which AUROC the other words of a training text of the class tell whether it has the pattern."""
        own = [self.train.texts[row] for row in rows_of(self.train.predicted[one.c])][:_N_CONTENT]
        without = [one.edit.without(text) for text in own]
        return told_by_content(
            [a or t for a, t in zip(without, own, strict=True)], [a is not None for a in without]
        )


@dataclass(frozen=True)
class _Plan:
    """The changed test texts of one pattern."""

    out: Edited
    out_control: Edited
    into: Edited
    into_control: Edited
    elsewhere: Edited

    @property
    def groups(self) -> tuple[Edited, ...]:
        return self.out, self.out_control, self.into, self.into_control, self.elsewhere

    @classmethod
    def of(cls, one: _Suspect, split: _Split, options: AuditOptions, number: int) -> "_Plan":
        rng = np.random.default_rng([options.seed, number])
        own, most, edit = split.predicted[one.c], options.max_texts, one.edit
        out = edited(split.texts, rows_of(own), edit.without, at_most=most)
        into = edited(split.texts, rows_of(~own), edit.into, at_most=most)
        if isinstance(edit, Words):
            sources = [split.texts[row] for row in out.rows]
            out_control = edited(split.texts, out.rows, partial(random_out, edit, rng), at_most=most)
            into_control = edited(
                split.texts, into.rows, partial(random_in, edit, sources, rng), at_most=most
            )
        else:
            out_control = into_control = Edited((), ())
        elsewhere = edited(split.texts, rows_of(~own), edit.without, at_most=most)
        return cls(out, out_control, into, into_control, elsewhere)


def told_by_content(texts: Sequence[str], has: Sequence[bool]) -> float | None:
    """Held-out AUROC with which the words of some texts tell which of them are marked; None for too few.

    TF-IDF of words, logistic regression, three folds.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline

    if min(sum(has), len(has) - sum(has)) < _N_FEW:
        return None
    readout = make_pipeline(
        TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True),
        LogisticRegression(C=10, class_weight="balanced"),
    )
    told = cross_val_predict(readout, list(texts), np.array(has), cv=3, method="decision_function")
    return float(roc_auc_score(has, told))


def is_shortcut(row: PatternEffect) -> bool:
    """Whether enough decisions hang on a pattern, more than on random words, that says nothing of the content."""
    clear = row.out.low > row.out_control.value if row.out_control.n else row.out.low > 0
    enough = row.share * row.out.value >= SHARE if row.out.n else False
    return clear and enough and (row.from_content is None or row.from_content <= SPREAD)


def _mean(hits: Bool[Tensor, " q"]) -> float:
    return float(hits.double().mean()) if len(hits) else 0.0


def _change(before: Float[Tensor, " n"], group: Edited, after: Float[Tensor, " q"]) -> float | None:
    return float((after - before[list(group.rows)]).mean()) if len(after) else None
