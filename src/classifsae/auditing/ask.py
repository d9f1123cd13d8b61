"""A concept of one's own: whether the states tell it, whether the classifier uses it, and to what end."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from classifsae.activations import Activations
from classifsae.activity import activating_sets, sizes_of
from classifsae.auditing.ablation import Ablation, Accuracy, ablate, random_directions, whole, within_class
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
from classifsae.auditing.edits import Words, phrase, words_pattern
from classifsae.auditing.effects import (
    CARRIES,
    N_CANDIDATES,
    N_TRIED,
    Carrier,
    CarryingPhrase,
    Plan,
    phrases_of,
)
from classifsae.auditing.options import AuditOptions
from classifsae.auditing.probe import Area, Probe, require_enough
from classifsae.concepts.base import Concepts, codes_of
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError, DataError
from classifsae.notebook import Shown
from classifsae.progress import with_bar
from classifsae.storage import Json
from classifsae.tensors import Bool, Float, Int, OnStep, Tensor

if TYPE_CHECKING:
    from classifsae.classifier.classifier import Classifier

MOST = 10_000
"""Texts that a probe is learned from; of more, half of them with the concept, where there are so many."""

_N_OVERLAPS, _FEW, _TINY = 5, 5, 1e-9


@dataclass(frozen=True)
class TextEffects:
    """Decisions on test texts without, and with, the words that carry a concept. Rates are in [0, 1].

    Attributes:
        phrases: with which most of the probe's score goes, the one with most of it first; all words that were
            asked about.
        out: of the texts marked by the probe that have one of them, decisions that change without them; of
            words that were asked about, of all texts that have one.
        out_control: the same with as many random words.
        into: of the other texts, decisions that change when the first phrase is put in.
        into_control: the same with as many random words of texts that have it.
        accuracy: on the texts of ``out``, as they are and without the phrases. None for no texts.
    """

    phrases: tuple[CarryingPhrase, ...]
    out: Rate | None
    out_control: Rate | None
    into: Rate | None
    into_control: Rate | None
    accuracy: Accuracy | None

    @property
    def is_above(self) -> bool:
        """Whether taking the words out or putting them in changes more decisions than random words do."""
        return more_than(self.out, self.out_control) or more_than(self.into, self.into_control)


def more_than(rate: Rate | None, control: Rate | None) -> bool:
    """Whether one share is above another beyond chance; false where one is missing."""
    return rate is not None and control is not None and rate.is_above(control)


@dataclass(frozen=True)
class Overlap:
    """A found concept whose test texts are also those of the concept that was asked for.

    Attributes:
        position: of the found concept among those kept.
        name: of the found concept.
        jaccard: texts that have both over texts that have either, in [0, 1].
        n_both, n_own: test texts that have both, and that have the found concept.
    """

    position: int
    name: str
    jaccard: float
    n_both: int
    n_own: int


@dataclass(frozen=True)
class Answer(Shown):
    """What is known of a concept of one's own.

    Attributes:
        name: of the concept.
        n_with, n_without: training texts that the probe was learned from.
        auroc: of the probe on texts it was not learned from.
        auroc_within: the same among texts of one class, true and predicted; None where no class has both.
        c: inverse strength of the probe's regularisation, chosen by cross-validation.
        n_marked, n_test: test texts that have the concept, and in all.
        removed: the classifier without the probe's direction.
        beyond_class: without the direction in which texts of one class differ.
        text: the classifier's decisions on changed texts.
        overlaps: found concepts with more texts in common than chance would have, the largest first.
        is_words: whether words were asked about, so that those taken out and put in are the concept.
        is_known: whether ``n_marked`` test texts are known to have it; else the probe says so.
        is_used: whether the classifier uses it by the rule in ``finding``.
        finding: the result in words.
    """

    name: str
    n_with: int
    n_without: int
    auroc: Area
    auroc_within: Area | None
    c: float
    n_marked: int
    n_test: int
    removed: Ablation
    beyond_class: Ablation
    text: TextEffects
    overlaps: tuple[Overlap, ...]
    is_words: bool = False
    is_known: bool = False
    is_used: bool = False
    finding: str = ""

    @property
    def accuracy(self) -> Accuracy:
        """On its test texts, with its words and without, or without its direction where no text has them."""
        return self.text.accuracy or self.removed.accuracy_marked or self.removed.accuracy

    @property
    def is_told(self) -> bool:
        """Whether the states tell it among texts of one class, better than chance."""
        return self.auroc_within is not None and self.auroc_within.low > 0.5

    def as_json(self) -> dict[str, Json]:
        """All of it."""
        return asdict(self)


@dataclass(frozen=True)
class Answers:
    """What an experiment asked.

    Attributes:
        answers: in the order of the questions.
        unanswered: name of a question, and why it could not be answered.
    """

    answers: tuple[Answer, ...]
    unanswered: tuple[tuple[str, str], ...] = ()


@with_bar("asking")
def ask(
    model: "Classifier",
    train: Texts,
    test: Texts,
    *,
    name: str,
    has: Sequence[bool] | None = None,
    words: Sequence[str] | None = None,
    examples: Sequence[str] | None = None,
    without: Sequence[str] | None = None,
    train_activations: Activations,
    test_activations: Activations,
    concepts: Concepts | None = None,
    names: Sequence[str] = (),
    options: AuditOptions | None = None,
    on_step: OnStep | None = None,
) -> Answer:
    """Ask about a concept that examples show.

    A linear probe is learned on the states of training texts, and its direction taken out of those of test
    texts; the phrases that carry it are taken out of test texts and put in.

    Args:
        model: the classifier.
        train, test: the texts.
        name: of the concept.
        has: which training texts have it; else ``words`` or ``examples``.
        words: words or phrases; a text that has any of them, whatever its case, has the concept.
        examples: texts that have it. Those that are training texts, whatever their case and space, are these;
            the classifier reads the others.
        without: texts that do not have it, beside ``examples``; None: the rest of the training texts.
        train_activations, test_activations: captured from them, in the same order.
        concepts: found on the same activations, to see which of them overlap.
        names: one per concept; None given: their numbers.
        options: how many phrases, how many changed texts, and the seed.
        on_step: told how many texts the classifier has read.
    Raises:
        ConfigError: none or several of ``has``, ``words`` and ``examples``.
        DataError: fewer than ten texts have it, or do not; or a text is said to do both.
        MismatchError: concepts and activations have different sources, or the activations are of other texts.
    """
    require_own(train, train_activations)
    require_own(test, test_activations)
    if sum(given is not None for given in (has, words, examples)) != 1:
        raise ConfigError("ask takes one of has=, words= and examples=.")
    pool = Examples.of_texts(train, train_activations)
    terms = (words,) if isinstance(words, str) else tuple(words or ())
    if examples is not None:
        pool, members = pool.shown(model, examples, without, on_step=on_step)
    else:
        members = with_words(train.texts, terms) if has is None else torch.tensor(list(has), dtype=torch.bool)
    if len(members) != len(pool.texts):
        raise DataError(
            f"has= says of {len(members)} texts whether they have it; there are {len(pool.texts)}."
        )
    found = Found.of(concepts, names, test_activations)
    asked = Asked(model, pool, test, test_activations, found, options or AuditOptions(), on_step)
    return asked.about(name, members, terms=terms)


def most_read(options: AuditOptions) -> int:
    """Changed texts that the classifier reads at most for one concept, beside examples that are new to it."""
    return N_CANDIDATES * N_TRIED + 4 * options.max_texts


def with_words(texts: Sequence[str], words: Sequence[str]) -> Bool[Tensor, " n"]:
    """Which texts have any of these words or phrases, whatever their case."""
    patterns = [words_pattern(word) for word in words]
    return torch.tensor([any(pattern.search(text) for pattern in patterns) for text in texts])


@dataclass(frozen=True, eq=False)
class Examples:
    """Texts from which a concept is learned, and what the classifier made of them, on the CPU.

    Attributes:
        texts: of the training split, and new ones.
        hidden: their states.
        decisions: their predicted classes.
        labels: their true classes; of new texts the predicted ones.
    """

    texts: tuple[str, ...]
    hidden: Float[Tensor, "n d"]
    decisions: Int[Tensor, " n"]
    labels: Int[Tensor, " n"]

    @property
    def kinds(self) -> Int[Tensor, " n"]:
        """Equal for texts of one true class and one predicted class."""
        return self.labels * (int(self.decisions.max()) + 1) + self.decisions

    @classmethod
    def of_texts(cls, texts: Texts, activations: Activations) -> Self:
        """All texts of a split."""
        predictions, labels = activations.predictions.cpu(), activations.labels.cpu()
        return cls(texts.texts, activations.hidden.float().cpu(), predictions, labels)

    def take(self, rows: Int[Tensor, " q"]) -> Self:
        """These texts alone."""
        return replace(
            self,
            texts=tuple(self.texts[row] for row in rows.tolist()),
            hidden=self.hidden[rows],
            decisions=self.decisions[rows],
            labels=self.labels[rows],
        )

    def shown(
        self,
        model: "Classifier",
        examples: Sequence[str],
        without: Sequence[str] | None,
        *,
        on_step: OnStep | None,
    ) -> tuple[Self, Bool[Tensor, " k"]]:
        """These texts with other examples beside them, or the examples alone, and which have the concept.

        Raises:
            DataError: a text is said to have it and not to have it, or there are too few.
        """
        said = {_plain(text): False for text in without or ()}
        both = [text for text in examples if _plain(text) in said]
        if both:
            raise DataError(
                f"{len(both)} texts are given both with the concept and without, such as {both[0][:60]!r}; "
                f"leave each in one of the two."
            )
        said |= {_plain(text): True for text in examples}
        own = [said.get(_plain(text)) for text in self.texts]
        here = {_plain(text) for text, has in zip(self.texts, own, strict=True) if has is not None}
        new = {_plain(text): text for text in (*examples, *(without or ())) if _plain(text) not in here}
        rows = [row for row, has in enumerate(own) if has is not None or without is None]
        members = torch.tensor([bool(own[row]) for row in rows] + [said[key] for key in new])
        require_enough(members)  # before the classifier reads
        pool = self.take(torch.tensor(rows, dtype=torch.int64))
        (read,) = read_changed(model, [Edited((), tuple(new.values()))], on_step=on_step)
        predicted = read.logits.argmax(dim=1).cpu()
        return replace(
            pool,
            texts=(*pool.texts, *new.values()),
            hidden=torch.cat([pool.hidden, read.hidden.float().cpu()]),
            decisions=torch.cat([pool.decisions, predicted]),
            labels=torch.cat([pool.labels, predicted]),
        ), members


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True, eq=False)
class Found:
    """The test texts of each concept that a method found, and its name."""

    sets: Bool[Tensor, "m n"]
    names: tuple[str, ...]

    @classmethod
    def of(cls, concepts: Concepts | None, names: Sequence[str], test: Activations) -> Self:
        """Those of a method; none where there is no method."""
        if concepts is None:
            return cls(torch.zeros(0, len(test), dtype=torch.bool), ())
        concepts.source.require(test.source, this="the concepts", that="the activations")
        known = tuple(names) or concepts.names
        return cls(activating_sets(codes_of(concepts, test)).sets.cpu(), known)

    def overlaps(self, marked: Bool[Tensor, " n"]) -> tuple[Overlap, ...]:
        """The concepts with more texts in common with these than if they were drawn at random."""
        n_own, n_marked = sizes_of(self.sets), int(marked.sum())
        both = sizes_of(self.sets & marked)
        jaccard = both / (n_own + n_marked - both).clamp_min(1)
        beyond = both > n_own * n_marked / max(1, len(marked))
        order = jaccard.where(beyond, 0).argsort(descending=True)[:_N_OVERLAPS].tolist()
        return tuple(
            Overlap(j, self.names[j], float(jaccard[j]), int(both[j]), int(n_own[j]))
            for j in order
            if beyond[j]
        )


@dataclass(frozen=True, eq=False)
class Asked:
    """All that questions about concepts share.

    Attributes:
        model: the classifier.
        pool: texts that concepts are learned from.
        test, test_activations: the test split.
        found: concepts that a method found.
        options: how many phrases, how many changed texts, and the seed.
        on_step: told how many texts the classifier has read.
    """

    model: "Classifier"
    pool: Examples
    test: Texts
    test_activations: Activations
    found: Found
    options: AuditOptions
    on_step: OnStep | None

    def about(
        self,
        name: str,
        has: Bool[Tensor, " n"],
        *,
        terms: Sequence[str] = (),
        known: Bool[Tensor, " q"] | None = None,
    ) -> Answer:
        """The answer about one concept.

        Args:
            name: of the concept.
            has: which texts of the pool have it.
            terms: its words, if these are what it is; else they are found.
            known: which test texts have it; None: those that the probe marks.
        Raises:
            DataError: fewer than ten have it, or do not.
        """
        require_enough(has)
        pool, members, seed = self.pool, has, self.options.seed
        if len(has) > MOST:
            rows = _drawn(has)
            pool, members = pool.take(rows), has[rows]
        probe = Probe.fit(pool.hidden, members, seed=seed)
        n_classes, test = self.test_activations.n_classes, self.test_activations
        is_known = known is not None and bool(known.any())
        marked = known if known is not None and is_known else probe.marks(test.hidden)
        directions = (
            whole(pool.hidden, probe.weights, n_classes),
            within_class(pool.hidden, probe.weights, members, pool.labels, n_classes),
        )
        controls = random_directions(pool.hidden, pool.labels, seed=seed)
        removed, beyond = (ablate(one, controls, self.model.tail, test, marked) for one in directions)
        answer = Answer(
            name=name,
            n_with=int(has.sum()),
            n_without=int((~has).sum()),
            auroc=Area.of(probe.held_out, members),
            auroc_within=Area.within(probe.held_out, members, pool.kinds),
            c=probe.c,
            n_marked=int(marked.sum()),
            n_test=len(test),
            removed=removed,
            beyond_class=beyond,
            text=self.in_text(probe, has, marked, terms),
            overlaps=self.found.overlaps(marked),
            is_words=bool(terms),
            is_known=is_known,
        )
        return judged(answer)

    @cached_property
    def counts(self) -> PhraseCounts:
        """Phrases of the pool, counted once for all questions."""
        return count_phrases(self.pool.texts, min_texts=max(_FEW, len(self.pool.texts) // 500))

    def in_text(
        self, probe: Probe, has: Bool[Tensor, " n"], marked: Bool[Tensor, " q"], terms: Sequence[str]
    ) -> TextEffects:
        """The effects of its words on test texts; of words that were asked about, wherever they stand."""
        carriers, texts = self.carriers(probe, has, terms), self.test.texts
        if terms:
            marked = with_words(texts, terms)
        rng = np.random.default_rng(self.options.seed)
        most = self.options.max_texts
        plan = Plan.of(texts, carriers, members=marked, others=~marked, at_most=most, rng=rng)
        answers = answers_to(self.model, plan.groups, on_step=self.on_step)
        before, labels = self.test_activations.predictions.cpu(), self.test_activations.labels.cpu()
        out, out_control, into, into_control = (
            Rate.of(flips(before, group, read.cpu()))
            for group, read in zip(plan.groups, answers, strict=True)
        )
        rows = list(plan.out.rows)
        right, after = before[rows] == labels[rows], answers[0].argmax(dim=1).cpu() == labels[rows]
        phrases = tuple(CarryingPhrase(own.words.name, own.lost, own.n_texts) for own in carriers)
        return TextEffects(phrases, out, out_control, into, into_control, Accuracy.of(right, after))

    def carriers(self, probe: Probe, has: Bool[Tensor, " n"], terms: Sequence[str]) -> list[Carrier]:
        """Phrases that go with the concept and whose removal lowers the probe's score, in texts that have it.

        What is lost is a share of the score's lead over its mean on the texts without the concept. Words that
        were asked about are all there is, whatever they carry.
        """
        scores = probe.scores(self.pool.hidden)
        floor = scores[~has].mean()
        tried = list(self.terms(terms) if terms else self.phrases(has))
        states = read_changed(self.model, [group for *_, group in tried], on_step=self.on_step)
        found = []
        for (words, n_texts, group), read in zip(tried, states, strict=True):
            before = scores[list(group.rows)]
            lead = (before - floor).clamp_min(_TINY)
            lost = float(((before - probe.scores(read.hidden)) / lead).clamp(-1, 1).mean())
            if terms or lost >= CARRIES:
                found.append(Carrier(words, lost, n_texts))
        if terms:
            return sorted(found, key=lambda own: -own.n_texts)
        return sorted(found, key=lambda own: -own.lost * own.n_texts)[: self.options.n_phrases]

    def phrases(self, has: Bool[Tensor, " n"]) -> Iterator[tuple[Words, int, Edited]]:
        """Phrases that go with the concept, how many of its texts have each, some of these without it."""
        return (
            (words, n, group) for _, words, n, group in phrases_of(self.pool.texts, self.counts, has[None])
        )

    def terms(self, terms: Sequence[str]) -> Iterator[tuple[Words, int, Edited]]:
        """The same of words that are given; those that no text has, or nothing else, are left out."""
        for term in terms:
            rows = rows_of(with_words(self.pool.texts, [term]))
            words = phrase(term, [self.pool.texts[row] for row in rows])
            group = edited(self.pool.texts, rows, words.without, at_most=N_TRIED)
            if group.rows:
                yield words, len(rows), group


def _drawn(has: Bool[Tensor, " n"]) -> Int[Tensor, " k"]:
    """At most so many rows, half of them with the concept if there are so many, drawn evenly."""
    members, others = has.nonzero()[:, 0], (~has).nonzero()[:, 0]
    n_with = min(len(members), max(MOST // 2, MOST - len(others)))
    some = [
        rows[torch.linspace(0, len(rows) - 1, min(len(rows), n)).round().long()]
        for rows, n in ((members, n_with), (others, MOST - n_with))
    ]
    return torch.cat(some).sort().values


def judged(answer: Answer) -> Answer:
    """An answer with its finding.

    The classifier uses a concept if the states tell it among texts of one class, and taking its words out of
    texts, or putting them in, changes more decisions than random words do; or, on its test texts, more
    decisions change without the direction in which texts of one class differ than without random ones. Of
    words that were asked about, their effect in text is enough: they are the concept, while words that were
    found may be those of the class.
    """
    marked = answer.beyond_class.marked
    inside = answer.is_told and marked is not None and marked.is_above
    in_text = (answer.is_told or answer.is_words) and answer.text.is_above
    said = (_told(answer), _used(answer, inside=inside, in_text=in_text), _helps(answer))
    return replace(answer, is_used=inside or in_text, finding=" ".join(said))


def _told(answer: Answer) -> str:
    area, within = answer.auroc, answer.auroc_within
    if area.low <= 0.5:
        return f"The states do not tell it: AUROC {area.value:.2f}, no better than chance."
    if within is None:
        return (
            f"The states tell it (AUROC {area.value:.2f}) by the class alone: no class has texts with it "
            f"and without."
        )
    if not answer.is_told:
        return (
            f"The states tell it (AUROC {area.value:.2f}) no better than the class does: within a class "
            f"AUROC is {within.value:.2f}."
        )
    return f"The states tell it: AUROC {area.value:.2f}, within a class {within.value:.2f}."


def _used(answer: Answer, *, inside: bool, in_text: bool) -> str:
    if not (inside or in_text):
        if answer.text.is_above:
            return "Its words change decisions, but they may be words of the class."
        return (
            "Nothing shows that the classifier uses it: its words and direction change no more than others."
        )
    text, because = answer.text, []
    if in_text and text.out is not None and more_than(text.out, text.out_control):
        because.append(f"without its words {_beside(text.out, text.out_control)} of its decisions change")
    if in_text and text.into is not None and more_than(text.into, text.into_control):
        because.append(f"with them put into other texts {_beside(text.into, text.into_control)} change")
    if inside and answer.beyond_class.marked is not None:
        because.append(f"along its direction within the class {answer.beyond_class.marked.changed.value:.0%}")
    return f"The classifier uses it: {', '.join(because)}."


def _beside(rate: Rate, control: Rate | None) -> str:
    return f"{rate.value:.0%}" + (f" (random words: {control.value:.0%})" if control else "")


def _helps(answer: Answer) -> str:
    whose, accuracy = "words" if answer.text.accuracy else "direction", answer.accuracy
    how = "It helps" if accuracy.high < 0 else "It hurts" if accuracy.low > 0 else "No clear help or harm"
    on_its_texts = f"accuracy on its texts is {accuracy.before:.3f}"
    return f"{how}: {on_its_texts}, and without its {whose} {accuracy.after:.3f}."
