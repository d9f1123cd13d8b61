"""What a classifier hangs on: patterns whose removal or insertion changes its decisions."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import one_hot

from classifsae.activations import Activations
from classifsae.auditing.answers import Edited, Rate, answers_to, edited, flips, require_own, rows_of
from classifsae.auditing.candidates import count_phrases
from classifsae.auditing.controls import random_in, random_out
from classifsae.auditing.edits import (
    SIGNS,
    Capitals,
    Edit,
    Insertion,
    Longer,
    Swap,
    Words,
    as_standing,
    cut_of,
    edit_of,
    phrase,
    words_pattern,
)
from classifsae.auditing.options import AuditOptions
from classifsae.data.texts import Texts
from classifsae.notebook import Shown
from classifsae.progress import with_bar
from classifsae.storage import Json
from classifsae.tensors import Bool, Float, OnStep, Tensor

if TYPE_CHECKING:
    from classifsae.classifier.classifier import Classifier

SHARE = 0.05
"""At least this share of the decisions for a class hangs on a shortcut."""

SPREAD = 0.75
"""The other words of a text tell whether a shortcut is there with at most this AUROC."""

SAME = 0.9
"""Two patterns of a class whose texts overlap by this much (Jaccard index) are one."""

ANY = "any class"
"""The class of a pattern that was asked for: its effects on all decisions are measured."""

_N_SCREENED, _N_CONTENT, _N_FEW, _N_TRIED = 16, 2000, 10, 64
"""Training texts by which a pattern is tried, and by which its content is judged; the fewest that have and
that lack it; phrases that are tried in all."""

_N_EXAMPLES = 5


@dataclass(frozen=True)
class ChangedText:
    """A test text, changed, and the classifier's answers.

    Attributes:
        direction: "out" or "in".
        text, changed: before and after.
        before, after: names of the predicted classes.
    """

    direction: str
    text: str
    changed: str
    before: str
    after: str


@dataclass(frozen=True)
class PatternEffect:
    """A pattern, and the decisions on test texts that hang on it. All rates are shares of texts, in [0, 1].

    Attributes:
        pattern: as it is written, or what it is.
        kind: "phrase", "sign", "letter case" or "length"; "term", "pattern" or "pair" where it was asked for.
        class_name: predicted class whose training texts have it oftener than the others; "any class" where it
            was asked for.
        n_texts: test texts predicted as that class that have it.
        share: of the test texts predicted as that class that have it.
        out: of these texts, decisions that change when it is taken out, or swapped for a pair.
        out_control: the same with as many random words.
        into: of the texts predicted as another class that do not have it, decisions that change to the
            class, for any class just decisions that change, when it is put in. None where it cannot be.
        into_control: the same with as many random words of texts that have it.
        out_change, into_change: mean change of the probability of the class, in [-1, 1]; for any class, of
            the predicted class.
        n_decisions: test decisions that hang on it: ``out`` of ``n_texts``.
        accuracy, accuracy_without: on the test split, and with the pattern taken out of every text.
        from_content: AUROC, in [0, 1] and on held-out training texts of the class, with which the other words
            of a text, what stands in the place of the pattern left out, tell whether it is there; 0.5: not at
            all. None where too few have or lack it.
        is_shortcut: whether it is one by the rule in ``finding``.
        finding: the result in words.
        examples: texts whose decision changes.
        regex: the regular expression of a pattern that was asked for, and of words that bring a full stop.
    """

    pattern: str
    kind: str
    class_name: str
    n_texts: int
    share: float
    out: Rate | None
    out_control: Rate | None
    into: Rate | None
    into_control: Rate | None
    out_change: float | None
    into_change: float | None
    n_decisions: int
    accuracy: float
    accuracy_without: float
    from_content: float | None
    is_shortcut: bool = False
    finding: str = ""
    examples: tuple[ChangedText, ...] = ()
    regex: str | None = None

    def without(self, text: str) -> str | None:
        """The text without the pattern; None where it has none, or where nothing would be left."""
        return edit_of(self.pattern, self.kind, self.regex).without(text)

    def as_row(self) -> dict[str, Json]:
        """One flat row, for a table."""
        rates = {
            "out": self.out,
            "out_control": self.out_control,
            "in": self.into,
            "in_control": self.into_control,
        }
        flat: dict[str, Json] = {
            "pattern": self.pattern,
            "kind": self.kind,
            "class": self.class_name,
            "n_texts": self.n_texts,
            "share": self.share,
            "n_decisions": self.n_decisions,
        }
        for name, rate in rates.items():
            flat[f"{name}_flip_rate"] = rate.value if rate else None
            flat[f"{name}_flip_rate_low"] = rate.low if rate else None
            flat[f"{name}_flip_rate_high"] = rate.high if rate else None
            flat[f"{name}_n_texts"] = rate.n if rate else 0
        return flat | {
            "out_change": self.out_change,
            "in_change": self.into_change,
            "accuracy": self.accuracy,
            "accuracy_without": self.accuracy_without,
            "from_content": self.from_content,
            "is_shortcut": self.is_shortcut,
            "finding": self.finding,
        }


@dataclass(frozen=True)
class AuditResult(Shown):
    """What a classifier hangs on.

    Attributes:
        rows: shortcuts first, then by the number of test decisions that hang on each.
        n_read: changed texts that the classifier read.
    """

    rows: tuple[PatternEffect, ...]
    n_read: int

    @property
    def shortcuts(self) -> tuple[PatternEffect, ...]:
        """The rows that are shortcuts."""
        return tuple(row for row in self.rows if row.is_shortcut)


@with_bar("audit")
def audit(
    model: "Classifier",
    train: Texts,
    test: Texts,
    *,
    train_activations: Activations,
    test_activations: Activations,
    options: AuditOptions | None = None,
    known: AuditResult | None = None,
    on_step: OnStep | None = None,
) -> AuditResult:
    """The patterns on which decisions hang.

    Phrases of up to five words that go with a predicted class, and what stands beside phrases (letter case,
    numbers, punctuation, addresses, length), are tried on training texts; those with the largest effects
    there are measured on test texts, beside as many random words.

    Args:
        model: the classifier.
        train, test: the texts.
        train_activations, test_activations: captured from them, in the same order.
        options: what is looked for, and at what cost.
        known: an earlier audit of the same, whose rows are kept; only what is asked for is measured then.
        on_step: told how many changed texts the classifier has read.
    Raises:
        MismatchError: the activations are of other texts.
    """
    require_own(train, train_activations)
    require_own(test, test_activations)
    splits = _Split(train.texts, train_activations), _Split(test.texts, test_activations)
    made = _Audit(model, *splits, options or AuditOptions(), on_step)
    return made.result() if known is None else made.beside(known)


def most_read(options: AuditOptions, n_classes: int, *, known: bool = False) -> int:
    """Changed texts that the classifier reads at most: to try patterns, and to measure the strongest."""
    n_tried = 0 if known else n_classes * max(4, _N_TRIED // n_classes) + len(SIGNS) + 2
    n_measured = len(options.terms) + len(options.patterns) + len(options.pairs)
    n_measured += 0 if known else options.n_measured
    return 2 * _N_SCREENED * n_tried + n_measured * (
        3 * options.max_texts + 2 * ((options.max_texts + 1) // 2)
    )


@dataclass(frozen=True, eq=False)
class _Split:
    """One split: texts, and the classifier's answers to them."""

    texts: Sequence[str]
    activations: Activations

    @cached_property
    def decisions(self) -> Tensor:
        """Predicted class of each text."""
        return self.activations.predictions.cpu()

    def own(self, c: int | None) -> Bool[Tensor, " n"]:
        """The texts predicted as a class; all for any class."""
        return torch.ones(len(self.texts), dtype=torch.bool) if c is None else self.decisions == c

    def having(self, edit: Edit) -> Bool[Tensor, " n"]:
        """The texts from which a pattern can be taken out."""
        return torch.tensor([edit.without(text) is not None for text in self.texts])

    def out_of(self, suspect: "_Suspect", at_most: int) -> Edited:
        """Texts of the class without the pattern."""
        return edited(self.texts, rows_of(self.own(suspect.c)), suspect.edit.without, at_most=at_most)

    def into(self, suspect: "_Suspect", at_most: int) -> Edited:
        """Texts of other classes with it."""
        others = self.own(None) if suspect.c is None else ~self.own(suspect.c)
        return edited(self.texts, rows_of(others), suspect.edit.into, at_most=at_most)


@dataclass(frozen=True)
class _Suspect:
    """A pattern and the class that it goes with, None for any."""

    edit: Edit
    c: int | None

    def won(self, before: Tensor, group: Edited, answers: Float[Tensor, "q c"]) -> Bool[Tensor, " q"]:
        """Whether each text with the pattern put in is decided for the class, for any class anew."""
        return flips(before, group, answers) if self.c is None else answers.argmax(dim=1) == self.c


@dataclass(frozen=True, eq=False)
class _Audit:
    model: "Classifier"
    train: _Split
    test: _Split
    options: AuditOptions
    on_step: OnStep | None

    def result(self) -> AuditResult:
        tried = list(self.tried())
        few = [
            group
            for one in tried
            for group in (self.train.out_of(one, _N_SCREENED), self.train.into(one, _N_SCREENED))
        ]
        chosen = [*self.asked(), *self.strongest(tried, few)]
        rows, n_read = self.measured(chosen)
        own = [self.test.own(one.c) & self.test.having(one.edit) for one in chosen]
        return AuditResult(in_order(rows, own), n_read + sum(len(group.rows) for group in few))

    def beside(self, known: AuditResult) -> AuditResult:
        """What is asked for, beside the rows that are known."""
        rows, n_read = self.measured(list(self.asked()))
        anew = {(row.kind, row.pattern) for row in rows}
        rows += [row for row in known.rows if (row.kind, row.pattern) not in anew]
        return AuditResult(tuple(sorted(rows, key=_place)), n_read)

    def measured(self, chosen: Sequence[_Suspect]) -> tuple[list[PatternEffect], int]:
        """Effects on test texts, and the number of changed texts read for them."""
        plans = [_Plan.of(one, self.test, self.options, number) for number, one in enumerate(chosen)]
        groups = [group for plan in plans for group in plan.groups]
        answers = answers_to(self.model, groups, on_step=self.on_step)
        rows = [
            self.effect(one, plan, answers[5 * i : 5 * i + 5])
            for i, (one, plan) in enumerate(zip(chosen, plans, strict=True))
        ]
        return rows, sum(len(group.rows) for group in groups)

    def tried(self) -> Iterator[_Suspect]:
        """Patterns that go with a class in training texts."""
        texts, split = self.train.texts, self.train
        n_classes = split.activations.n_classes
        members = one_hot(split.decisions, n_classes).T.bool()
        counts = count_phrases(texts, min_texts=max(5, len(texts) // 500))
        for c, weights in enumerate(counts.associated(members)):
            own = [texts[row] for row in rows_of(members[c])]
            most = max(4, _N_TRIED // n_classes)
            for words in counts.strongest(weights, members[c], at_most=most):
                yield _Suspect(phrase(words, own), c)
        n_words = torch.tensor([len(text.split()) for text in texts]).double()
        signs = [Words(name, "sign", re.compile(pattern)) for name, pattern in SIGNS.items()]
        beside: list[Edit] = [*signs, Capitals(), Longer(max(1, int(n_words.quantile(0.75))))]
        for edit in beside:
            has = split.having(edit)
            if has.sum() >= _N_FEW:
                c = int((members.double() @ has.double() / members.sum(dim=1).clamp_min(1)).argmax())
                own = [texts[row] for row in rows_of(members[c] & has)]
                yield _Suspect(as_standing(edit, own) if isinstance(edit, Words) else edit, c)

    def asked(self) -> Iterator[_Suspect]:
        """Patterns that were asked for."""
        options, texts = self.options, self.train.texts
        for term in options.terms:
            words = Words(term, "term", words_pattern(term))
            standing = as_standing(words, texts)
            where = standing.insertion or Insertion(f" {term}", at_start=False, own_sentence=False)
            yield _Suspect(replace(standing, name=term, insertion=where), None)
        for name, pattern in options.patterns.items():
            yield _Suspect(as_standing(Words(name, "pattern", re.compile(pattern)), texts), None)
        yield from (_Suspect(Swap(*pair), None) for pair in options.pairs)

    def strongest(self, tried: Sequence[_Suspect], few: Sequence[Edited]) -> list[_Suspect]:
        """The patterns with the largest effects on a few training texts each."""
        answers, before = answers_to(self.model, few, on_step=self.on_step), self.train.decisions
        effects = []
        for i, one in enumerate(tried):
            own = self.train.own(one.c)
            share = float((self.train.having(one.edit) & own).sum() / own.sum().clamp_min(1))
            lost = flips(before, few[2 * i], answers[2 * i])
            won = one.won(before, few[2 * i + 1], answers[2 * i + 1])
            effects.append(share * sum(float(hits.double().mean()) for hits in (lost, won) if len(hits)))
        order = sorted(range(len(tried)), key=lambda i: -effects[i])
        return [tried[i] for i in order[: self.options.n_measured] if effects[i] > 0]

    def effect(self, one: _Suspect, plan: "_Plan", answers: Sequence[Float[Tensor, "q c"]]) -> PatternEffect:
        """One row of the result."""
        out, out_control, into, into_control, elsewhere = answers
        before, activations = self.test.decisions, self.test.activations
        own, has = self.test.own(one.c), self.test.having(one.edit)
        lost, n_texts = Rate.of(flips(before, plan.out, out)), int((has & own).sum())
        row = PatternEffect(
            pattern=one.edit.name,
            kind=one.edit.kind,
            class_name=ANY if one.c is None else self.model.label_names[one.c],
            n_texts=n_texts,
            share=n_texts / max(1, int(own.sum())),
            out=lost,
            out_control=Rate.of(flips(before, plan.out_control, out_control)),
            into=Rate.of(one.won(before, plan.into, into)),
            into_control=Rate.of(one.won(before, plan.into_control, into_control)),
            out_change=self.change(one.c, plan.out, out),
            into_change=self.change(one.c, plan.into, into),
            n_decisions=round(lost.value * n_texts) if lost else 0,
            accuracy=float((activations.predictions == activations.labels).double().mean()),
            accuracy_without=self.accuracy_without(has, ((plan.out, out), (plan.elsewhere, elsewhere))),
            from_content=self.from_content(one),
            examples=(*self.examples("out", plan.out, out), *self.examples("in", plan.into, into)),
            regex=one.edit.regex if isinstance(one.edit, Words) else None,
        )
        return judged(row, asked=one.c is None)

    def change(self, c: int | None, group: Edited, answers: Float[Tensor, "q c"]) -> float | None:
        """Mean change of the probability of a class, or of the predicted class."""
        if not group.rows:
            return None
        rows = list(group.rows)
        before = self.test.activations.logits.float().softmax(dim=1).cpu()[rows]
        classes = self.test.decisions[rows] if c is None else torch.full((len(rows),), c)
        return float((answers - before).gather(1, classes[:, None]).mean())

    def accuracy_without(self, has: Bool[Tensor, " n"], changed: Sequence[tuple[Edited, Tensor]]) -> float:
        """Accuracy with the pattern out of all texts; those that were not run count like those that were."""
        labels = self.test.activations.labels.cpu()
        right = self.test.decisions == labels
        rows = [row for group, _ in changed for row in group.rows]
        if not rows:
            return float(right.double().mean())
        after = torch.cat([answers.argmax(dim=1) for _, answers in changed]) == labels[rows]
        return float((right[~has].sum() + has.sum() * after.double().mean()) / len(right))

    def from_content(self, one: _Suspect) -> float | None:
        """How well the other words of a training text of the class tell whether it has the pattern.

        Where it opens or ends most of its texts, something else may stand there in the others ("he said" for
        "she said"), which is not content: then as many words are taken from these too, if less is told so.
        """
        own = [self.train.texts[row] for row in rows_of(self.train.own(one.c))][:_N_CONTENT]
        without = [one.edit.without(text) for text in own]
        has = [after is not None for after in without]
        told = told_by_content([after or text for after, text in zip(without, own, strict=True)], has)
        cut = cut_of(one.edit, own) if isinstance(one.edit, Words) else None
        if told is None or told <= SPREAD or cut is None:
            return told
        alike = [after or cut(text) for after, text in zip(without, own, strict=True)]
        return min(told, told_by_content(alike, has) or told)

    def examples(self, direction: str, group: Edited, answers: Float[Tensor, "q c"]) -> Iterator[ChangedText]:
        """Texts whose decision changes."""
        names, before = self.model.label_names, self.test.decisions
        for i in rows_of(flips(before, group, answers))[:_N_EXAMPLES]:
            row = group.rows[i]
            classes = names[int(before[row])], names[int(answers[i].argmax())]
            yield ChangedText(direction, self.test.texts[row], group.texts[i], *classes)


def in_order(rows: Sequence[PatternEffect], texts: Sequence[Bool[Tensor, " n"]]) -> tuple[PatternEffect, ...]:
    """Rows, shortcuts first, then by the decisions that hang on each; one shortcut by two names is one.

    Args:
        rows: of an audit.
        texts: of its class with each pattern.
    """
    order = sorted(range(len(rows)), key=lambda i: _place(rows[i]))
    found: list[PatternEffect] = []
    for place, i in enumerate(order):
        row = rows[i]
        same = [
            j for j in order[:place] if rows[j].is_shortcut and rows[j].class_name == row.class_name != ANY
        ]
        same = [j for j in same if _jaccard(texts[i], texts[j]) >= SAME]
        if row.is_shortcut and same:
            why = f"Not another shortcut: its texts are those of {rows[same[0]].pattern!r}."
            row = replace(row, is_shortcut=False, finding=why)
        found.append(row)
    return tuple(sorted(found, key=lambda row: not row.is_shortcut))


def _place(row: PatternEffect) -> tuple[bool, bool, int]:
    # Texts that words make longer are also longer texts: the words come first, as they can be put in too.
    return not row.is_shortcut, row.is_shortcut and row.kind == "length", -row.n_decisions


def _jaccard(a: Bool[Tensor, " n"], b: Bool[Tensor, " n"]) -> float:
    return float((a & b).sum() / (a | b).sum().clamp_min(1))


_NONE = Edited((), ())


@dataclass(frozen=True)
class _Plan:
    """The changed test texts of one pattern; ``elsewhere``: without it, of other classes."""

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
        rng, most, edit = np.random.default_rng([options.seed, number]), options.max_texts, one.edit
        out, into = split.out_of(one, most), split.into(one, most)
        elsewhere = edited(split.texts, rows_of(~split.own(one.c)), edit.without, at_most=most)
        half = (most + 1) // 2  # of rates near zero, whose intervals are narrow
        out_control = edited(split.texts, out.rows, partial(random_out, edit, rng), at_most=half)
        into_control = _NONE
        if isinstance(edit, Words):
            random = partial(random_in, edit, [split.texts[row] for row in out.rows], rng)
            into_control = edited(split.texts, into.rows, random, at_most=half)
        return cls(out, out_control, into, into_control, elsewhere)


def told_by_content(texts: Sequence[str], has: Sequence[bool]) -> float | None:
    """Held-out AUROC with which the words of texts tell which of them are marked; None for too few.

    TF-IDF of the words, logistic regression, three folds.
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


def judged(row: PatternEffect, *, asked: bool) -> PatternEffect:
    """A row with its finding.

    A pattern that was found is a shortcut if taking it out or putting it in changes more decisions than
    random words do, at least 5 % of the decisions for its class change when it is taken out, and the other
    words of a text do not tell whether it is there. Of one that was asked for, only the first is asked.
    """
    hanging = row.share * row.out.value if row.out else 0.0
    rates = (row.out, row.out_control), (row.into, row.into_control)
    if asked and row.out is None and row.into is None:
        why = "no test text has it, so it was not measured"
    elif not any(rate is not None and rate.is_above(control) for rate, control in rates):
        why = "it changes no more decisions than random words do"
    elif not asked and hanging < SHARE:
        why = f"{hanging:.1%} of the decisions for {row.class_name} hang on it, fewer than {SHARE:.0%}"
    elif not asked and row.from_content is not None and row.from_content > SPREAD:
        why = f"the other words of a text tell whether it is there (AUROC {row.from_content:.2f})"
    else:
        return replace(row, is_shortcut=True, finding=_in_words(row))
    return replace(row, finding=f"Not a shortcut: {why}.")


def _in_words(row: PatternEffect) -> str:
    whose = "decisions" if row.class_name == ANY else f"decisions for {row.class_name}"
    subject = "The classifier hangs" if row.class_name == ANY else f"{row.class_name} hangs"
    how = "swapped" if row.kind == "pair" else "taken out"
    said = [f"{subject} on {row.pattern!r}: {row.n_texts} test texts have it"]
    if row.out is not None:
        of_some = "" if row.out.n >= row.n_texts else f" (of {row.out.n} that were read)"
        said.append(
            f"{how}, it changes {row.out.value:.0%} of their {whose}{of_some}{_beside(row.out_control)}"
        )
    if row.into is not None:
        become = "change" if row.class_name == ANY else f"become {row.class_name}"
        said.append(f"put in, {row.into.value:.0%} of other texts {become}{_beside(row.into_control)}")
    said.append(
        f"accuracy is {row.accuracy:.3f}, and {row.accuracy_without:.3f} with it taken out of all texts"
    )
    return "; ".join(said) + "."


def _beside(control: Rate | None) -> str:
    return f" (random words: {control.value:.0%})" if control else ""
