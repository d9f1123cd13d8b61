"""A pattern taken out of a classifier: its hidden state changed so that the pattern decides no more."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import nll_loss

from classifsae.activations import Activations
from classifsae.auditing.answers import Edited, Rate, edited, read_changed, require_own
from classifsae.auditing.edits import Edit, phrase
from classifsae.classifier.opening.affine import AffineMap
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError, DataError
from classifsae.notebook import Shown
from classifsae.progress import with_bar
from classifsae.tensors import Bool, Float, Int, OnStep, Tail, Tensor

if TYPE_CHECKING:
    from classifsae.classifier.classifier import Classifier

ENOUGH = 0.8
"""Of the effect of a pattern, so much must go."""

DEAREST = 0.02
"""No more accuracy should be lost for it."""

MAX_PAIRS = 2000
"""Texts of a split that are read with the pattern and without it, at most."""

_N_FEW, _VALIDATION = 20, 0.25
_STEPS, _RATE, _DECAY, _AGREE = 100, 3e-3, 1e-3, 2.0
"""Of the refit: steps of Adam, learning rate, weights of the squared change and of the agreement of pairs."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """States of the same texts without a pattern and with it.

    Attributes:
        without, with_it: hidden states.
        labels: ground truth.
        had_it: whether the text as it is has the pattern; else it was put in.
    """

    without: Float[Tensor, "q d"]
    with_it: Float[Tensor, "q d"]
    labels: Int[Tensor, " q"]
    had_it: Bool[Tensor, " q"]

    def take(self, rows: Tensor) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.without[rows], self.with_it[rows], self.labels[rows], self.had_it[rows])


@dataclass(frozen=True)
class Effect:
    """What a pattern does to a classifier, on some texts.

    Attributes:
        changed: share of the decisions that differ with the pattern and without it, in [0, 1].
        accuracy: on the texts without the pattern.
        out, into: share of the decisions that change when it is taken out of the texts that have it, and put
            into others. None for no texts.
    """

    changed: float
    accuracy: float
    out: Rate | None = None
    into: Rate | None = None

    def is_little_of(self, before: "Effect") -> bool:
        """Whether 80 % of an effect is gone, in all and where the pattern is taken out."""
        pairs = [(before.changed, self.changed)]
        if before.out and self.out:
            pairs.append((before.out.value, self.out.value))
        return all(left <= (1 - ENOUGH) * was + 1e-9 for was, left in pairs)


@dataclass(frozen=True)
class Trial:
    """One way to take the pattern out, on the validation part of the training split.

    Attributes:
        way: "erase", "project" or "erase and refit".
        effect: of the pattern afterwards.
    """

    way: str
    effect: Effect


@dataclass(frozen=True, eq=False)
class Remedy(Shown):
    """A classifier without a pattern, and what it costs.

    Attributes:
        model: the changed classifier.
        pattern: what was taken out.
        way: the trial that was chosen.
        trials: all that were tried, on a validation part of the training split.
        before, after: effect of the pattern on test texts that are read with it and without it.
        accuracy: on the test split as it is, before and after.
        of_classes: recall of each class on the test split, before and after.
        n_changed: decisions on the test split that differ.
        n_pairs: test texts that were read with the pattern and without it.
    """

    model: "Classifier"
    pattern: str
    way: str
    trials: tuple[Trial, ...]
    before: Effect
    after: Effect
    accuracy: tuple[float, float]
    of_classes: dict[str, tuple[float, float]]
    n_changed: int
    n_pairs: int

    @property
    def reduction(self) -> float:
        """Share of the effect that is gone; at most 1."""
        return _gone(self.before.changed, self.after.changed) if self.before.changed else 0.0

    @property
    def finding(self) -> str:
        """The result in words."""
        left, was = self.after, self.before
        taken_out = (
            was.out and left.out and f", {_gone(was.out.value, left.out.value):.0%} where it is taken out"
        )
        said = (
            f"On {self.n_pairs} test texts, {self.pattern!r} changes {left.changed:.1%} of the decisions, "
            f"before {was.changed:.1%}: {self.reduction:.0%} of its effect is gone{taken_out or ''}. "
            f"Accuracy on these texts without it: {left.accuracy:.3f}, before {was.accuracy:.3f}."
        )
        if not left.is_little_of(was):
            said += (
                f" Less than {ENOUGH:.0%} is gone, as what tells these words also tells classes: train again "
                f"without them (--augment)."
            )
        if self.accuracy[1] < self.accuracy[0] - DEAREST:
            before, after = self.accuracy
            said += f" It costs accuracy: {after:.3f} on the test split, before {before:.3f}."
        return said


def _gone(before: float, after: float) -> float:
    return 1 - after / before if before else 1.0


@with_bar("remedy")
def remedy(
    model: "Classifier",
    words: str,
    train: Texts,
    test: Texts,
    *,
    train_activations: Activations,
    test_activations: Activations,
    on_step: OnStep | None = None,
) -> Remedy:
    """Take words out of a classifier.

    Training texts are read with the words and without them. Three changes of the hidden state are learned
    from these pairs: the projection of their mean difference, the erasure of all that tells linearly whether
    the words are there (LEACE), and the erasure with the head refitted to the labels of both. Of those after
    which at least 80 % of the effect is gone, in all and where the words are taken out, the one that leaves
    the best accuracy on a validation part of the training split is taken; without such, the one after which
    most of it is gone.

    Args:
        model: the classifier.
        words: as they stand in texts.
        train, test: the texts.
        train_activations, test_activations: captured from them, in the same order.
        on_step: told how many changed texts the classifier has read.
    Raises:
        ConfigError: no word is given.
        DataError: fewer than 20 training texts can be read both ways.
        MismatchError: the activations are of other texts.
    Source: Belrose et al. 2023 (arXiv:2306.03819) for LEACE; Kirichenko et al. 2022 (arXiv:2204.02937) for
        the refit of the last layer.
    """
    if not re.search(r"\w", words):
        raise ConfigError(f"{words!r} holds no word; give words as they stand in texts.")
    require_own(train, train_activations)
    require_own(test, test_activations)
    edit = phrase(words, train.texts)
    learned = pairs_of(model, edit, train, train_activations, on_step=on_step)
    if len(learned.labels) < _N_FEW:
        raise DataError(
            f"only {len(learned.labels)} training texts can be read with {words!r} and without it, at least "
            f"{_N_FEW} are needed; give words as they stand in the texts."
        )
    held_out = torch.arange(len(learned.labels)) % round(1 / _VALIDATION) == 0
    ways = list(ways_of(model.tail, learned.take(~held_out)))
    check = learned.take(held_out)
    trials = [Trial(way, effect_of(model.tail, change, check)) for way, change in ways]
    chosen = _best(trials, effect_of(model.tail, None, check))
    way, change = ways[chosen]
    cured = model.changed(change)
    pairs = pairs_of(model, edit, test, test_activations, on_step=on_step)
    after = cured.tail(test_activations.hidden.float()).argmax(dim=1).cpu()
    before, labels = test_activations.predictions.cpu(), test_activations.labels.cpu()
    of_classes = {
        name: (float((before[own] == c).double().mean()), float((after[own] == c).double().mean()))
        for c, name in enumerate(model.label_names)
        if (own := labels == c).any()
    }
    return Remedy(
        cured,
        edit.name,
        way,
        tuple(trials),
        effect_of(model.tail, None, pairs),
        effect_of(cured.tail, None, pairs),
        (float((before == labels).double().mean()), float((after == labels).double().mean())),
        of_classes,
        int((before != after).sum()),
        len(pairs.labels),
    )


def pairs_of(
    model: "Classifier",
    edit: Edit,
    texts: Texts,
    activations: Activations,
    *,
    on_step: OnStep | None = None,
) -> Pairs:
    """Texts that have a pattern, read without it, and texts that do not have it, read with it."""
    rows, half = range(len(texts)), MAX_PAIRS // 2
    out = edited(texts.texts, rows, edit.without, at_most=half)
    into = edited(texts.texts, rows, edit.into, at_most=half)
    without, with_it = (states.hidden.float() for states in read_changed(model, [out, into], on_step=on_step))
    hidden = activations.hidden.float().cpu()

    def own(group: Edited) -> Float[Tensor, "q d"]:
        return hidden[list(group.rows)]

    labels = activations.labels.cpu()[[*out.rows, *into.rows]]
    had_it = torch.arange(len(labels)) < len(out.rows)
    return Pairs(torch.cat([without, own(into)]), torch.cat([own(out), with_it]), labels, had_it)


def effect_of(tail: Tail, change: AffineMap | None, pairs: Pairs) -> Effect:
    """What a pattern does after a change of the hidden state."""
    with torch.no_grad():
        states = pairs.without, pairs.with_it
        without, with_it = (tail(change(h).float() if change else h).argmax(dim=1).cpu() for h in states)
    changed = without != with_it
    return Effect(
        float(changed.double().mean()),
        float((without == pairs.labels).double().mean()),
        Rate.of(changed[pairs.had_it]),
        Rate.of(changed[~pairs.had_it]),
    )


def ways_of(tail: Tail, pairs: Pairs) -> Iterator[tuple[str, AffineMap]]:
    """The changes that are tried."""
    difference = (pairs.with_it - pairs.without).double()
    mean = pairs.without.double().mean(dim=0)
    unit = difference.mean(dim=0)
    unit = unit / unit.norm().clamp_min(torch.finfo(torch.float64).tiny)
    yield "project", AffineMap.around(mean, -torch.outer(unit, unit))
    erased = leace(pairs)
    yield "erase", erased
    yield "erase and refit", refitted(tail, pairs, erased)


def leace(pairs: Pairs) -> AffineMap:
    """The least change of the states after which no linear map tells whether the pattern is there.

        r(h) = h - S^(1/2) u u' S^(-1/2) (h - m),  u the unit vector along S^(-1/2) c

    with S the covariance of the states, c their covariance with the presence of the pattern, and m the mean
    of the states without it, to which all are brought there (in the source: the mean of all). As every text
    is there both ways, what goes is the pattern, not the class that it goes with.

    Source: Belrose et al. 2023 (arXiv:2306.03819), for one binary concept.
    """
    states = torch.cat([pairs.without, pairs.with_it]).double()
    has = torch.cat([torch.zeros(len(pairs.labels)), torch.ones(len(pairs.labels))]).double()
    mean = states.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(states.T))
    real = values > values.max() * 1e-8
    roots, basis = values[real].sqrt(), vectors[:, real]
    direction = basis.T @ ((states - mean).T @ (has - 0.5)) / roots
    direction = direction / direction.norm()
    eraser = torch.outer(basis @ (roots * direction), basis @ (direction / roots))
    return AffineMap.around(pairs.without.double().mean(dim=0), -eraser)


def refitted(tail: Tail, pairs: Pairs, first: AffineMap) -> AffineMap:
    """A change of the states, ``first`` and then one by which the head gives the true labels both ways.

        mean over both of -ln p(label) + 2 mean over pairs of (KL(p, q) + KL(q, p)) + 0.001 ||C||^2

    over h + C (h - mean) + b, from C = 0 and b = 0, by Adam on all pairs at once.
    """
    n, mean = len(pairs.labels), pairs.without.mean(dim=0)
    states = first(torch.cat([pairs.without, pairs.with_it])).float() - mean
    labels = torch.cat([pairs.labels, pairs.labels])
    change = torch.zeros(len(mean), len(mean), requires_grad=True)
    offset = torch.zeros(len(mean), requires_grad=True)
    optimiser = torch.optim.Adam([change, offset], lr=_RATE)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        logs = tail(states + mean + states @ change.T + offset).log_softmax(dim=1).cpu()
        p, q = logs[:n], logs[n:]
        apart = ((p - q) * (p.exp() - q.exp())).sum(dim=1).mean()
        loss = nll_loss(logs, labels) + _AGREE * apart + _DECAY * change.square().sum()
        loss.backward()
        optimiser.step()
    found = AffineMap.around(mean.double(), change.detach().double())
    return AffineMap(found.matrix, found.offset + offset.detach().double()).after(first)


def _best(trials: Sequence[Trial], before: Effect) -> int:
    """The most accurate trial of those that take enough of the effect away, else the one that takes most."""
    left = [trial.effect.changed for trial in trials]
    enough = [i for i, trial in enumerate(trials) if trial.effect.is_little_of(before)]
    return max(enough, key=lambda i: trials[i].effect.accuracy) if enough else left.index(min(left))
