"""The classifier's answers to changed texts: each changed text is run once, in batches by length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from classifsae.activations import Activations
from classifsae.classifier.opening.tail import States
from classifsae.data.texts import Texts
from classifsae.errors import MismatchError, require_kind
from classifsae.tensors import Bool, Float, Int, OnStep, Tensor

if TYPE_CHECKING:
    from classifsae.classifier.classifier import Classifier


def require_own(texts: Texts, activations: Activations) -> None:
    """See that activations are of these texts, row by row.

    Raises:
        MismatchError: they are not.
    """
    require_kind(texts, Texts, wanted="texts are those of one split, such as data.train")
    require_kind(activations, Activations, wanted="activations are what capture returns")
    if texts.ids != activations.ids:
        raise MismatchError(
            f"these {len(activations):,} activations are not of these {len(texts):,} texts (by their ids); "
            f"give those captured from the texts, training beside training and test beside test."
        )


@dataclass(frozen=True)
class Rate:
    """A share of some texts, with its 95 % interval.

    Attributes:
        value: in [0, 1].
        low, high: Wilson's interval (Wilson 1927).
        n: texts.
    """

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, hits: Bool[Tensor, " q"]) -> Self | None:
        """The share of true ones; None of none."""
        from scipy.stats import binomtest

        if not len(hits):
            return None
        interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
        share = float(hits.double().mean())
        return cls(share, float(interval.low), float(interval.high), len(hits))

    def is_above(self, control: "Rate | None") -> bool:
        """Whether the 95 % interval of the difference from a control is above zero; without one, its own is.

        Source: Newcombe 1998, Statistics in Medicine 17, method 10.
        """
        if control is None:
            return self.low > 0
        error = ((self.value - self.low) ** 2 + (control.high - control.value) ** 2) ** 0.5
        return self.value - control.value > error


@dataclass(frozen=True)
class Edited:
    """Some texts of a split, changed.

    Attributes:
        rows: of the texts.
        texts: what became of each.
    """

    rows: tuple[int, ...]
    texts: tuple[str, ...]


def edited(
    texts: Sequence[str], rows: Sequence[int], change: Callable[[str], str | None], *, at_most: int
) -> Edited:
    """Those of some texts that can be changed, at most so many, drawn evenly.

    Args:
        texts: of the split.
        rows: that are asked for.
        change: a text to the changed text; None where it cannot be changed.
        at_most: changed texts.
    """
    found = [(row, after) for row in rows if (after := change(texts[row])) is not None]
    chosen = np.unique(np.linspace(0, len(found) - 1, min(at_most, len(found))).round().astype(int))
    return Edited(tuple(found[i][0] for i in chosen), tuple(found[i][1] for i in chosen))


def read_changed(
    model: "Classifier", groups: Sequence[Edited], *, on_step: OnStep | None = None
) -> list[States]:
    """Sentence vectors and logits of the texts of each group.

    Args:
        model: the classifier.
        groups: of changed texts; a text in several of them is run once.
        on_step: told how many texts are done.
    """
    place = {text: i for i, text in enumerate(dict.fromkeys(t for group in groups for t in group.texts))}
    if not place:
        empty = States(torch.zeros(0, model.width), torch.zeros(0, model.n_classes))
        return [empty for _ in groups]
    states = model.read(list(place), on_step=on_step)
    rows = [[place[text] for text in group.texts] for group in groups]
    return [States(states.hidden[own], states.logits[own]) for own in rows]


def answers_to(
    model: "Classifier", groups: Sequence[Edited], *, on_step: OnStep | None = None
) -> list[Float[Tensor, "q c"]]:
    """Probabilities of the classes for the texts of each group; arguments as for ``read_changed``."""
    read = read_changed(model, groups, on_step=on_step)
    return [states.logits.float().softmax(dim=1) for states in read]


def rows_of(members: Bool[Tensor, " n"]) -> list[int]:
    """The rows that are members."""
    return members.nonzero().flatten().tolist()


def flips(before: Int[Tensor, " n"], group: Edited, answers: Float[Tensor, "q c"]) -> Bool[Tensor, " q"]:
    """Whether the decision on each text of a group is another than before."""
    return answers.argmax(dim=1) != before[list(group.rows)]
