"""Class names and indices from labels as they were written; which rows go to the test part."""

import re
from collections import Counter
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from classifsae.bounds import as_name
from classifsae.data.rows import LabelledRows, listed
from classifsae.errors import DataError, setting

_INTEGER = re.compile(r"(0|-?[1-9][0-9]*)(\.0+)?")
_NUMBER = re.compile(r"((?<!\w)-?\d+(?:\.\d+)?|\d+(?:\.\d+)?)")
_BOOLEAN = {"false": "0", "true": "1"}
_FEW = 20


def infer_label_names(parts: Sequence[LabelledRows]) -> tuple[str, ...]:
    """Names of the classes, from the source if it declares them, else from the labels found.

    Labels are sorted as text, but numbers, also inside them, as numbers.

    Raises:
        DataError: two parts declare different classes, or labels differ in case only.
    """
    declared = {part.class_names: part.where for part in parts if part.class_names is not None}
    if len(declared) > 1:
        (first, here), (second, there), *_ = declared.items()
        raise DataError(
            f"{there} declares the classes {listed(second)}, {here} {listed(first)}; they must be the same: "
            f"write both anew."
        )
    if declared:
        return next(iter(declared))
    counts = Counter(_plain(label) for part in parts for label in part.labels)
    for name in counts:
        try:
            as_name(name)
        except ValueError as error:
            raise DataError(f"{parts[0].where}: the label {error}.") from error
    names = sorted(_booleans_as_numbers(counts.keys()), key=_in_order)
    usual = {name.casefold(): name for name in sorted(names, key=lambda name: counts[name])}
    if len(usual) == 1:
        return tuple(usual.values())
    if len(usual) < len(names):
        alike = [name for name in names if sum(n.casefold() == name.casefold() for n in names) > 1]
        choice = setting("dataset.label_names", [*sorted(usual.values(), key=_in_order)])
        raise DataError(
            f"the labels {listed(alike)} differ in case only; write them alike, or set {choice} to take them "
            f"as one."
        )
    return tuple(names)


def require_one_reading(parts: Sequence[LabelledRows]) -> None:
    """Refuse numbers that are indices in one part, which declares numeric names, and names in another.

    Raises:
        DataError: names both parts.
    """
    declared = {part.class_names: part.where for part in parts if part.class_names is not None}
    for names, where in declared.items():
        numeric = [(i, name) for i, name in enumerate(names) if _INTEGER.fullmatch(name) and name != str(i)]
        for part in parts:
            if numeric and part.class_names is None and any(map(_INTEGER.fullmatch, part.labels)):
                index, name = numeric[0]
                raise DataError(
                    f"the numbers in {where} count declared classes ({index} is class {name!r}), those in "
                    f"{part.where} are not declared and may be names; write both parts alike."
                )


def _booleans_as_numbers(labels: Set[str]) -> Set[str]:
    """The labels, with false as 0 and true as 1 where all others are numbers."""
    numbers = {label for label in labels if _INTEGER.fullmatch(label)}
    if not numbers or labels - numbers - _BOOLEAN.keys():
        return labels
    return {_BOOLEAN.get(label, label) for label in labels}


def _in_order(name: str) -> tuple[list[str | float], str]:
    """What names are sorted by: their text, with the numbers in it as numbers."""
    pieces = _NUMBER.split(name)
    return [float(piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


def label_indices(rows: LabelledRows, label_names: Sequence[str]) -> tuple[int, ...]:
    """Index of each label: by name in any case, else as a number from 0 to c - 1, false being 0 and true 1.

    Where the source declares classes, whole numbers are their indices and nothing else: those of the classes
    that are declared, if ``label_names`` are the same in another order, else those of ``label_names``.

    Raises:
        DataError: some labels are none of these; says which were found and which are allowed.
    """
    by_name = {_plain(name).casefold(): index for index, name in enumerate(label_names)}
    by_number = {str(index): index for index in range(len(label_names))}
    if len(label_names) == 2:
        by_number |= {"false": 0, "true": 1}
    keys = {label: _plain(label).casefold() for label in set(rows.labels)}
    if rows.class_names is None:
        indices = max((by_name, by_number), key=lambda table: sum(key in table for key in keys.values()))
    else:
        declared = [_plain(name).casefold() for name in rows.class_names]
        if sorted(declared) == sorted(by_name):
            by_number = {str(index): by_name[name] for index, name in enumerate(declared)}
        in_words = {name: index for name, index in by_name.items() if not _INTEGER.fullmatch(name)}
        indices = in_words | by_number
    wrong = {label for label, key in keys.items() if key not in indices}
    if wrong:
        n_wrong = sum(label in wrong for label in rows.labels)
        names = sorted(keys, key=_in_order)
        cure = ""
        if rows.class_names is None and 1 < len(names) <= _FEW:
            if len(names) == len(label_names) and all(map(_INTEGER.fullmatch, names)):
                cure = f": write them as 0 to {len(names) - 1}, in the order of the names"
            else:
                cure = f", or set {setting('dataset.label_names', [*names])}"
        raise DataError(
            f"{rows.where}: {n_wrong} rows have labels that are not declared: {listed(sorted(wrong))}; "
            f"allowed are {listed(label_names)}, or 0 to {len(label_names) - 1}; correct the labels{cure}."
        )
    return tuple(indices[keys[label]] for label in rows.labels)


def _plain(label: str) -> str:
    """1.0 as 1 and True as true; anything else as it is."""
    if _INTEGER.fullmatch(label):
        return label.partition(".")[0]
    return label.lower() if label.lower() in _BOOLEAN else label


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
    place, size = _shuffled(labels, rng)
    second = place < np.clip(np.rint(fraction * size), 1, size - 1)
    return np.flatnonzero(~second).tolist(), np.flatnonzero(second).tolist()


def subsample(labels: Sequence[int], n: int, rng: np.random.Generator) -> list[int]:
    """Draw n rows with the classes in their proportions (Sainte-Lague), at least one row of each class.

    Returns:
        Row numbers in their original order.
    """
    place, size = _shuffled(labels, rng)
    turn = np.where(place == 0, 0, (2 * place + 1) / size)
    return sorted(np.lexsort((np.asarray(labels), turn))[:n].tolist())


def _shuffled(labels: Sequence[int], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each row's place in a random order of its class, from 0, and the number of rows of that class.

    Not scikit-learn's stratified draws: these may leave out a small class.
    """
    values = np.asarray(labels)
    place = np.zeros(len(values), dtype=int)
    for c in np.unique(values):
        rows = rng.permutation(np.flatnonzero(values == c))
        place[rows] = np.arange(len(rows))
    return place, np.bincount(values)[values]
