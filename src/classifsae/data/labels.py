"""Class names and indices from labels as they were written; which rows go to the test part."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from classifsae.data.rows import LabelledRows, listed
from classifsae.errors import DataError

_INTEGER = re.compile(r"(0|-?[1-9][0-9]*)(\.0+)?")
_BOOLEAN = {"false": 0, "true": 1}


def infer_label_names(parts: Sequence[LabelledRows]) -> tuple[str, ...]:
    """Names of the classes, from the source if it declares them, else from the labels found.

    Integers, also as strings and as 1.0, are sorted as numbers; anything else as text.

    Raises:
        DataError: two parts declare different classes.
    """
    declared = {part.class_names for part in parts if part.class_names is not None}
    if len(declared) > 1:
        first, second, *_ = [part for part in parts if part.class_names is not None]
        raise DataError(
            f"{second.where} declares the classes {listed(second.class_names or ())}, {first.where} "
            f"{listed(first.class_names or ())}; set label_names to the classes of both."
        )
    if declared:
        return declared.pop()
    found = {label for part in parts for label in part.labels}
    if all(_INTEGER.fullmatch(label) for label in found):
        return tuple(str(number) for number in sorted({_integer(label) for label in found}))
    return tuple(sorted(found))


def label_indices(rows: LabelledRows, label_names: Sequence[str]) -> tuple[int, ...]:
    """Index of each label: by name, else as a number from 0 to c - 1, else as false (0) or true (1).

    Raises:
        DataError: some labels are none of these; says which were found and which are allowed.
    """
    found = {label: _plain(label) for label in set(rows.labels)}
    readings = [
        {label: table[key] for label, plain in found.items() for key in (label, plain) if key in table}
        for table in _readings(label_names)
    ]
    indices = max(readings, key=len)  # the first of the fullest
    if len(indices) < len(found):
        wrong = sorted(found.keys() - indices.keys())
        n_wrong = sum(label not in indices for label in rows.labels)
        raise DataError(
            f"{rows.where}: {n_wrong} rows have labels that are not declared: {listed(wrong)}; allowed are "
            f"{listed(label_names)}, or 0 to {len(label_names) - 1}; correct the labels, or set label_names."
        )
    return tuple(indices[label] for label in rows.labels)


def _readings(label_names: Sequence[str]) -> list[Mapping[str, int]]:
    """The ways to read a label, in order of preference; one must fit all labels of a part."""
    by_name = {name: index for index, name in enumerate(label_names)}
    by_number = {str(index): index for index in range(len(label_names))}
    return [by_name, by_number, *([_BOOLEAN] if len(label_names) == 2 else [])]


def _plain(label: str) -> str:
    """1.0 as 1 and True as true; anything else as it is."""
    if _INTEGER.fullmatch(label):
        return str(_integer(label))
    return label.lower() if label.lower() in _BOOLEAN else label


def _integer(label: str) -> int:
    return int(label.partition(".")[0])


def check_classes(labels: Sequence[int], label_names: Sequence[str], *, where: str) -> None:
    """Refuse a part in which a class has no sentence.

    Raises:
        DataError: names the classes and the part.
    """
    found = set(labels)
    absent = [name for index, name in enumerate(label_names) if index not in found]
    if absent:
        present = [name for index, name in enumerate(label_names) if index in found]
        raise DataError(
            f"{where}: no sentence of class {listed(absent)}, only of {listed(present)}; every class must be "
            f"in the training and in the test part: add sentences, or leave the class out of both."
        )


def split_off(
    labels: Sequence[int], fraction: float, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Split rows in two, class by class: round(fraction * n_c) of n_c rows, but 1 to n_c - 1, to the second.

    Returns:
        Row numbers of the first and of the second part, each in their original order.
    """
    counts = Counter(labels)
    sizes = {c: min(max(round(fraction * n), 1), n - 1) for c, n in counts.items()}
    second = set(_draw(labels, sizes, rng))
    return [i for i in range(len(labels)) if i not in second], sorted(second)


def subsample(labels: Sequence[int], n: int, rng: np.random.Generator) -> list[int]:
    """Draw n rows with the classes in their proportions (Sainte-Lague), at least one row of each class.

    Returns:
        Row numbers in their original order.
    """
    counts = Counter(labels)
    seats = dict.fromkeys(sorted(counts), 1)
    for _ in range(n - len(counts)):
        neediest = max(seats, key=lambda c: counts[c] / (2 * seats[c] + 1) if seats[c] < counts[c] else 0.0)
        seats[neediest] += 1
    return sorted(_draw(labels, seats, rng))


def _draw(labels: Sequence[int], sizes: Mapping[int, int], rng: np.random.Generator) -> Iterable[int]:
    """``sizes[c]`` rows of each class c, without replacement."""
    values = np.asarray(labels)
    for c in sorted(sizes):
        rows = np.flatnonzero(values == c)
        yield from rng.permutation(rows)[: sizes[c]].tolist()
