"""What each concept does outside: answers to texts without, and with, the words that carry it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from classifsae.activations import Activations
from classifsae.activity import activating_sets
from classifsae.auditing.answers import (
    Edited,
    Rate,
    answers_to,
    edited,
    flips,
    read_changed,
    require_own,
    rows_of,
)
from classifsae.auditing.candidates import PhraseCounts, count_phrases
from classifsae.auditing.controls import random_in, random_out
from classifsae.auditing.edits import Words, phrase
from classifsae.auditing.options import AuditOptions
from classifsae.bottleneck import Evaluation, evaluate
from classifsae.concepts.base import Concepts, codes_of
from classifsae.data.texts import Texts
from classifsae.progress import with_bar
from classifsae.tensors import Bool, Float, OnStep, Tensor

if TYPE_CHECKING:
    from classifsae.classifier.classifier import Classifier

CARRIES = 0.1
"""A phrase carries a concept if at least this share of its activation goes with it, on average."""

MOVED = 0.01
"""A text says something of the sign of an effect if its probability moves by at least this."""

N_TRIED = 8
"""Texts by which it is judged whether a phrase carries a concept."""

N_CANDIDATES, _FEW = 10, 5


@dataclass(frozen=True)
class CarryingPhrase:
    """A phrase that carries a concept.

    Attributes:
        text: as it is written in most of its texts.
        lost: share of the activation that goes with it, mean over training texts that have it.
        n_texts: training texts on which the concept is strongly active that have it.
    """

    text: str
    lost: float
    n_texts: int


@dataclass(frozen=True)
class ConceptEffect:
    """One concept inside, by ablation, and outside, in text. Rates are shares of test texts in [0, 1].

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary.
        phrases: that carry it, the one that carries most of it first; none where no phrase does.
        out: of the texts on which it is strongly active that have one of its phrases, decisions that change
            when these are taken out.
        out_control: the same when as many random words are taken out.
        into: of the texts predicted as another class than its own where it is not strongly active, decisions
            that change to its class when the first phrase is put in.
        into_control: the same when as many random words of texts of the concept are put in.
        outside: mean change of the probability of the predicted class without the phrases, in [-1, 1].
        inside: the same on the same texts, of the state rebuilt without the concept. None without texts.
        into_change: mean change of the probability of the concept's class with the phrase.
    """

    position: int
    latent: int
    phrases: tuple[CarryingPhrase, ...]
    out: Rate | None
    out_control: Rate | None
    into: Rate | None
    into_control: Rate | None
    outside: float | None
    inside: float | None
    into_change: float | None


@dataclass(frozen=True)
class ConceptEffects:
    """The concepts of one method.

    Attributes:
        concepts: in their order.
        faithfulness: rank correlation over concepts of the effects inside and outside (Spearman), in [-1, 1];
            None for fewer than five concepts with texts.
        faithfulness_interval: 95 %, by a bootstrap over concepts.
        sign_agreement: share of pairs of concept and text whose probability moves by 0.01 or more outside and
            that moves the same way inside, in [0, 1].
        n_pairs: such pairs.
        n_read: changed texts that the classifier read.
    """

    concepts: tuple[ConceptEffect, ...]
    faithfulness: float | None
    faithfulness_interval: tuple[float, float] | None
    sign_agreement: float | None
    n_pairs: int
    n_read: int

    def flat(self) -> dict[str, float | None]:
        """The numbers of all concepts together by name."""
        low, high = self.faithfulness_interval or (None, None)
        return {
            "faithfulness": self.faithfulness,
            "faithfulness_low": low,
            "faithfulness_high": high,
            "sign_agreement": self.sign_agreement,
        }


@with_bar("effects in text")
def concept_effects(
    model: "Classifier",
    concepts: Concepts,
    train: Texts,
    test: Texts,
    *,
    train_activations: Activations,
    test_activations: Activations,
    options: AuditOptions | None = None,
    on_step: OnStep | None = None,
) -> ConceptEffects:
    """The effects of concepts in text, beside those of their ablation.

    Phrases of up to five words that go with a concept are taken out of training texts; those with which most
    of the activation goes carry it. On test texts they are taken out, and the first is put in.

    Args:
        model: the classifier.
        concepts: fitted on its activations.
        train, test: the texts.
        train_activations, test_activations: captured from them, in the same order.
        options: what is measured, and at what cost.
        on_step: told how many changed texts the classifier has read.
    Raises:
        MismatchError: concepts and activations have different sources, or the activations are of other texts.
    """
    require_own(train, train_activations)
    require_own(test, test_activations)
    texts = train.texts, test.texts
    found = _Effects(
        model, concepts, *texts, train_activations, test_activations, options or AuditOptions(), on_step
    )
    counts = count_phrases(train.texts, min_texts=max(_FEW, len(train) // 500))
    return found.measured(found.carrying(counts))


@dataclass(frozen=True)
class Carrier:
    """A phrase that carries a concept, as a pattern; the rest as for ``CarryingPhrase``."""

    words: Words
    lost: float
    n_texts: int


def phrases_of(
    texts: Sequence[str], counts: PhraseCounts, sets: Bool[Tensor, "k n"]
) -> Iterator[tuple[int, Words, int, Edited]]:
    """Number of a set of texts, phrase that goes with it, texts of the set with it, some of these without it.

    Args:
        texts: of a split.
        counts: of their phrases.
        sets: of texts.
    """
    for j, weights in enumerate(counts.associated(sets)):
        rows = rows_of(sets[j])
        own = [texts[row] for row in rows]
        for written in counts.strongest(weights, sets[j], at_most=N_CANDIDATES):
            words = phrase(written, own)
            group = edited(texts, rows, words.without, at_most=N_TRIED)
            if len(group.rows) > 1:
                yield j, words, sum(words.pattern.search(text) is not None for text in own), group


@dataclass(frozen=True, eq=False)
class _Effects:
    model: "Classifier"
    concepts: Concepts
    train: Sequence[str]
    test: Sequence[str]
    train_activations: Activations
    test_activations: Activations
    options: AuditOptions
    on_step: OnStep | None

    def carrying(self, counts: PhraseCounts) -> list[list[Carrier]]:
        """The phrases that carry each concept, found on training texts by leaving them out."""
        codes = codes_of(self.concepts, self.train_activations).cpu()
        tried = list(phrases_of(self.train, counts, activating_sets(codes).sets))
        states = read_changed(self.model, [group for *_, group in tried], on_step=self.on_step)
        found: list[list[Carrier]] = [[] for _ in range(len(self.concepts))]
        for (j, words, n_texts, group), read in zip(tried, states, strict=True):
            with torch.no_grad():
                after = self.concepts.encode(read.hidden.to(self.concepts.activation))[:, j].cpu()
            lost = float((1 - after / codes[list(group.rows), j]).clamp(-1, 1).mean())
            if lost >= CARRIES:
                found[j].append(Carrier(words, lost, n_texts))
        return [sorted(own, key=lambda c: -c.lost * c.n_texts)[: self.options.n_phrases] for own in found]

    def measured(self, carriers: Sequence[Sequence[Carrier]]) -> ConceptEffects:
        """The effects on test texts."""
        evaluation = evaluate(self.concepts, self.model.tail, self.test_activations)
        sets = activating_sets(evaluation.codes.cpu()).sets
        plans = [self.plan(j, own, sets[j]) for j, own in enumerate(carriers)]
        answers = answers_to(
            self.model, [group for plan in plans for group in plan.groups], on_step=self.on_step
        )
        inside = self.inside(evaluation, plans)
        outside = [self.change(plan.out, answers[4 * j]) for j, plan in enumerate(plans)]
        found = [
            self.effect(j, own, plan, answers[4 * j : 4 * j + 4], (inside[j], outside[j]))
            for j, (own, plan) in enumerate(zip(carriers, plans, strict=True))
        ]
        n_texts = sum(len(group.rows) for plan in plans for group in plan.groups)
        return _summary(found, torch.cat(inside), torch.cat(outside), n_texts)

    def effect(
        self,
        j: int,
        carriers: Sequence[Carrier],
        plan: "Plan",
        answers: Sequence[Float[Tensor, "q c"]],
        moved: tuple[Float[Tensor, " q"], Float[Tensor, " q"]],
    ) -> ConceptEffect:
        """The effects of one concept."""
        out, out_control, into, into_control = answers
        before, c = self.test_activations, int(self.concepts.segment_of[j])
        rates = (
            Rate.of(flips(before.predictions.cpu(), plan.out, out)),
            Rate.of(flips(before.predictions.cpu(), plan.out_control, out_control)),
            Rate.of(into.argmax(dim=1) == c),
            Rate.of(into_control.argmax(dim=1) == c),
        )
        inside, outside = map(_mean, moved)
        return ConceptEffect(
            j,
            int(self.concepts.kept[j]),
            tuple(CarryingPhrase(own.words.name, own.lost, own.n_texts) for own in carriers),
            *rates,
            outside=outside,
            inside=inside,
            into_change=_mean(into[:, c] - self.before[list(plan.into.rows), c]),
        )

    @cached_property
    def before(self) -> Float[Tensor, "n c"]:
        """Probabilities of the classes for the test texts as they are."""
        return self.test_activations.logits.float().softmax(dim=1).cpu()

    def change(self, group: Edited, answers: Float[Tensor, "q c"]) -> Float[Tensor, " q"]:
        """Change of the probability of the predicted class of each changed text."""
        rows = list(group.rows)
        classes = self.test_activations.predictions.cpu()[rows][:, None]
        return (answers.gather(1, classes) - self.before[rows].gather(1, classes))[:, 0]

    def inside(self, evaluation: Evaluation, plans: Sequence["Plan"]) -> list[Float[Tensor, " q"]]:
        """The same change where the state is rebuilt without the concept, for the texts of ``out``."""
        device, rebuilt = evaluation.codes.device, evaluation.rebuilt.softmax(dim=1)
        rows = torch.tensor(
            [row for plan in plans for row in plan.out.rows], dtype=torch.int64, device=device
        )
        sizes = [len(plan.out.rows) for plan in plans]
        columns = torch.arange(len(plans), device=device).repeat_interleave(
            torch.tensor(sizes, device=device)
        )
        classes = self.test_activations.predictions.to(device)[rows][:, None]
        found = torch.zeros(len(rows))
        for part, logits in evaluation.without_one(rows, columns):
            after, own = logits.softmax(dim=1).gather(1, classes[part]), classes[part]
            found[part] = (after - rebuilt[rows[part]].gather(1, own))[:, 0].cpu()
        return list(found.split(sizes))

    def plan(self, j: int, carriers: Sequence[Carrier], members: Bool[Tensor, " n"]) -> "Plan":
        """The changed test texts of one concept."""
        own_class = self.test_activations.predictions.cpu() == int(self.concepts.segment_of[j])
        return Plan.of(
            self.test,
            carriers,
            members=members,
            others=~own_class & ~members,
            at_most=self.options.texts_per_concept,
            rng=np.random.default_rng([self.options.seed, j]),
        )


_NONE = Edited((), ())


@dataclass(frozen=True)
class Plan:
    """Test texts of a concept without its phrases, others with the first, and the controls of both."""

    out: Edited = _NONE
    out_control: Edited = _NONE
    into: Edited = _NONE
    into_control: Edited = _NONE

    @property
    def groups(self) -> tuple[Edited, ...]:
        """All four."""
        return self.out, self.out_control, self.into, self.into_control

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        carriers: Sequence[Carrier],
        *,
        members: Bool[Tensor, " n"],
        others: Bool[Tensor, " n"],
        at_most: int,
        rng: np.random.Generator,
    ) -> Self:
        """Plan a concept.

        Args:
            texts: of a split.
            carriers: phrases of the concept, the first of which is put in.
            members: texts of the concept.
            others: texts that the phrase is put into.
            at_most: changed texts of each kind.
            rng: of the random words.
        """
        if not carriers:
            return cls()
        phrases, first = any_of(carriers), carriers[0].words
        out = edited(texts, rows_of(members), phrases.without, at_most=at_most)
        into = edited(texts, rows_of(others), first.into, at_most=at_most)
        sources = [texts[row] for row in rows_of(members) if first.pattern.search(texts[row])]
        return cls(
            out,
            edited(texts, out.rows, partial(random_out, phrases, rng), at_most=at_most),
            into,
            edited(texts, into.rows, partial(random_in, first, sources, rng), at_most=at_most),
        )


def any_of(carriers: Sequence[Carrier]) -> Words:
    """A pattern that finds any of these phrases."""
    return Words("", "phrase", re.compile("|".join(k.words.pattern.pattern for k in carriers), re.IGNORECASE))


def _summary(
    found: Sequence[ConceptEffect], inside: Float[Tensor, " q"], outside: Float[Tensor, " q"], n_texts: int
) -> ConceptEffects:
    pairs = [
        (e.inside, e.outside)
        for e in found
        if e.inside is not None and e.outside is not None and e.out is not None and e.out.n >= _FEW
    ]
    moved = outside.abs() >= MOVED
    agreed = (inside.sign() == outside.sign())[moved]
    correlation, interval = rank_correlation(pairs)
    return ConceptEffects(
        tuple(found), correlation, interval, _mean(agreed.double()), int(moved.sum()), n_texts
    )


def rank_correlation(
    pairs: Sequence[tuple[float, float]], *, n_draws: int = 1000, seed: int = 0
) -> tuple[float | None, tuple[float, float] | None]:
    """Spearman's correlation of pairs with a 95 % interval by bootstrap; None for fewer than five pairs."""
    from scipy.stats import spearmanr

    if len(pairs) < _FEW or len({a for a, _ in pairs}) < 2 or len({b for _, b in pairs}) < 2:
        return None, None
    values, rng = np.array(pairs), np.random.default_rng(seed)
    draws = [values[rng.integers(len(values), size=len(values))] for _ in range(n_draws)]
    found = [float(spearmanr(draw).statistic) for draw in draws if (np.ptp(draw, axis=0) > 0).all()]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(spearmanr(values).statistic), (float(low), float(high))


def _mean(values: Float[Tensor, " q"]) -> float | None:
    return float(values.double().mean()) if len(values) else None
