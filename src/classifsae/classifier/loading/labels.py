"""Names of the classes: the model's own against the data set's."""

import re
from collections.abc import Sequence

import torch

from classifsae.errors import ConfigError, setting
from classifsae.registry import canonical
from classifsae.tensors import Int, Tensor

_FAR = 3.0
"""Standard deviations by which another order of the classes must fit better than the given one."""


def agreed_labels(own: Sequence[str], wanted: Sequence[str] | None, *, name: str) -> tuple[str, ...]:
    """Names of the classes in the model's order, spelled as the data set spells them.

    Names are matched in any case, with any separators. A model whose own names say nothing, such as
    ``LABEL_0``, ``LABEL_1``, takes the data set's in their order.

    Args:
        own: the model's names.
        wanted: the data set's names, if known.
    Raises:
        ConfigError: another number of classes, or other names.
    """
    if wanted is None:
        return tuple(own)
    if len(own) != len(wanted):
        raise ConfigError(
            f"{name} has {len(own)} classes ({', '.join(own)}), "
            f"the data set {len(wanted)} ({', '.join(wanted)}); "
            f"fine-tune it on this data set (tuning: full), or give data with the same classes."
        )
    if have_same_names(own, wanted):
        spelled = {canonical(theirs): theirs for theirs in wanted}
        return tuple(spelled[canonical(n)] for n in own)
    if tuple(own) != tuple(wanted) and not _say_nothing(own):
        raise ConfigError(
            f"{name} has the classes {', '.join(own)}, the data set has others ({', '.join(wanted)}); "
            f"{_cure_of_other_names(own, wanted)}, or fine-tune the model on them (tuning: full)."
        )
    return tuple(wanted)


def _cure_of_other_names(own: Sequence[str], wanted: Sequence[str]) -> str:
    """What to do about labels that are not the model's names; numbers are indices only from 0."""
    numbers = [str(index) for index in range(len(own))]
    names_given = setting("dataset.label_names", [*own])
    if all(re.fullmatch(r"-?\d+", name) for name in wanted) and sorted(wanted) != sorted(numbers):
        return (
            f"write the labels as 0 to {len(own) - 1} in the model's order and set {names_given}; else write "
            f"the model's names in the data"
        )
    return (
        f"where its labels are numbers from 0 in the model's order, set {names_given}; else write the "
        f"model's names in the data"
    )


def have_same_names(own: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a model and a data set have the same names for their classes, in any order."""
    theirs = set(map(canonical, wanted))
    return len(theirs) == len(wanted) and theirs == set(map(canonical, own))


def require_same_order(own: Sequence[str], wanted: Sequence[str], *, name: str) -> None:
    """Refuse texts whose labels count the classes in another order than the model does.

    Raises:
        ConfigError: another number of classes, other names, or another order.
    """
    agreed = agreed_labels(own, wanted, name=name)
    if agreed != tuple(wanted):
        raise ConfigError(
            f"{name} has the classes {', '.join(own)}, the texts have them in another order "
            f"({', '.join(wanted)}); take the texts of data.in_order_of({list(agreed)})."
        )


def unnamed_classes_note(own: Sequence[str], taken: Sequence[str], *, name: str) -> str | None:
    """Which name went to which index, where the model's own names say nothing; None where they do.

    Args:
        own: the model's names.
        taken: the names that are used for them.
    """
    if not _say_nothing(own) or _say_nothing(taken):
        return None
    pairs = ", ".join(f"{index} = {label}" for index, label in enumerate(taken))
    return f"{name} has no names for its classes; they are taken in the data set's order: {pairs}."


def label_order_note(
    labels: Int[Tensor, " n"],
    predictions: Int[Tensor, " n"],
    label_names: Sequence[str],
    *,
    given: Sequence[str] | None = None,
) -> str | None:
    """A warning that labels and predictions may count the classes in different orders; None if not.

    It is given if the two agree no more often than independent ones with the same class frequencies would;
    or if, of the texts of some classes, at least twice as many would agree once these classes changed places,
    and by more than chance explains (a difference of at least 3 times the square root of the sum).

    Args:
        labels: ground truth, class indices.
        predictions: what the classifier answers for the same texts.
        label_names: names of all c classes.
        given: the same in the data set's order, where the model has these names too, so that labels are
            matched by them.
    """
    n, c = len(labels), len(label_names)
    if n == 0:
        return None
    table = torch.bincount(labels.cpu() * c + predictions.cpu(), minlength=c * c).reshape(c, c)
    places = _best_places(table)
    moved = places != torch.arange(c)
    right, best = table.diagonal(), table[torch.arange(c), places]
    before, after = int(right[moved].sum()), int(best[moved].sum())
    is_better = after >= 2 * max(before, 1) and not _is_chance(table[:, places])
    is_far = is_better and after - before >= _FAR * (after + before) ** 0.5
    if not (is_far or _is_chance(table)):
        return None
    chance = ", no more than by chance" if _is_chance(table) else ""
    said = f"The classifier agrees with the labels on {int(right.sum()) / n:.1%} of the texts{chance}"
    if not is_better:
        return f"{said}: check that it was trained on these classes."
    order = [label_names[index] for index in places.argsort().tolist()]
    return (
        f"{said}; with the classes in the order {', '.join(order)} it would be {int(best.sum()) / n:.1%}. "
        f"{_cure_of_other_order(order, places, label_names, given)}; else correct the labels."
    )


def _cure_of_other_order(
    order: list[str], places: Int[Tensor, " c"], label_names: Sequence[str], given: Sequence[str] | None
) -> str:
    """What brings the classes into the order that fits; of a model that has their names, its own names do."""
    if given is None:
        return f"Where the data writes these names, set {setting('dataset.label_names', [*order])}"
    cure = "Correct id2label in the model's config.json"
    if any(re.fullmatch(r"-?\d+", name) for name in given):  # then numbers are names too
        return cure
    answered = [label_names[place] for place in places.tolist()]
    called = [answered[label_names.index(name)] for name in given]
    return f"{cure}; where the data writes numbers instead, set {setting('dataset.label_names', [*called])}"


def _best_places(table: Int[Tensor, "c c"]) -> Int[Tensor, " c"]:
    """The class of the predictions (columns) that each class of the labels (rows) fits best, each once."""
    c = len(table)
    if bool((table.diagonal() == table.amax(dim=1)).all()):
        return torch.arange(c)
    from scipy.optimize import linear_sum_assignment

    stay = torch.eye(c, dtype=table.dtype)  # of two that fit equally well, the one that moves fewer classes
    _, places = linear_sum_assignment((table * (c + 1) + stay).numpy(), maximize=True)
    return torch.from_numpy(places)


def _is_chance(table: Int[Tensor, "c c"]) -> bool:
    """Whether labels and predictions agree no more often than independent ones would."""
    return bool(table.trace() * table.sum() <= table.sum(dim=0) @ table.sum(dim=1))


def _say_nothing(names: Sequence[str]) -> bool:
    """Whether names only count the classes from 0, such as ``LABEL_0``, ``class 0`` or ``0``."""
    counted = r"(?:(?:label|class)[\W_]*)?{}"
    return all(re.fullmatch(counted.format(i), name, re.IGNORECASE) for i, name in enumerate(names))
