"""Texts with labels, as every later stage sees them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from classifsae.errors import ConfigError, DataError
from classifsae.notebook import Sheet, Shown, data_frame
from classifsae.storage import fingerprint

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Texts(Shown):
    """n labelled texts, untouched, in the order of their source.

    Attributes:
        texts: the original texts.
        labels: ground truth, indices into ``label_names``.
        ids: row ids, unique within the data set, kept through every stage.
        label_names: names of all c classes, whether or not they occur here.
        dataset: fingerprint of the whole data set that these rows are a part of.
        concepts: names of the true concepts of each text, where the data set knows them.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    ids: tuple[str, ...]
    label_names: tuple[str, ...]
    dataset: str = ""
    concepts: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.texts), len(self.labels), len(self.ids)}
        if len(lengths) != 1:
            raise DataError(f"texts, labels and ids must be equally many, got {sorted(lengths)}.")

    def __len__(self) -> int:
        return len(self.texts)

    def sheet(self) -> Sheet:
        """What is shown: how many texts each class has, and the first of them."""
        rows = [
            (name, self.labels.count(c), self.texts[self.labels.index(c)] if c in self.labels else None)
            for c, name in enumerate(self.label_names)
        ]
        title = f"Texts: {len(self):,} of {len(self.label_names)} classes"
        return Sheet(title, heads=("class", "texts", "the first"), rows=rows)

    @cached_property
    def identity(self) -> str:
        """Fingerprint of the rows: texts, labels, ids and label names."""
        return fingerprint(list(self.texts), list(self.labels), list(self.ids), list(self.label_names))

    def take(self, rows: Sequence[int]) -> Self:
        """The given rows, in the given order."""
        concepts = self.concepts
        return replace(
            self,
            texts=tuple(self.texts[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
            ids=tuple(self.ids[row] for row in rows),
            concepts=None if concepts is None else tuple(concepts[row] for row in rows),
        )


@dataclass(frozen=True)
class Dataset(Shown):
    """A training and a test part with the same classes.

    Attributes:
        name: short name for tables and folders.
        train: what classifiers and concepts learn from.
        test: what they are scored on.
        notes: what a reader of the scores should know of the data, a sentence or two each.
    """

    name: str
    train: Texts
    test: Texts
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, train: Texts, test: Texts, notes: tuple[str, ...] = ()) -> Self:
        """A data set whose parts carry the fingerprint of both."""
        identity = fingerprint(train.identity, test.identity)
        return cls(name, replace(train, dataset=identity), replace(test, dataset=identity), notes)

    def sheet(self) -> Sheet:
        """What is shown: sizes by class, an example of each, and the notes."""
        train, test = self.train, self.test
        rows = [
            (name, train.labels.count(c), test.labels.count(c), train.texts[train.labels.index(c)])
            for c, name in enumerate(self.label_names)
        ]
        title = f"Dataset {self.name}: {len(train):,} training and {len(test):,} test texts"
        return Sheet(title, self.notes, ("class", "training", "test", "the first"), rows, "label_names")

    def to_pandas(self) -> "pandas.DataFrame":
        """A row per text: its id, part, text and label.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = [
            {"id": row_id, "part": part, "text": text, "label": self.label_names[label]}
            for part, texts in (("train", self.train), ("test", self.test))
            for row_id, text, label in zip(texts.ids, texts.texts, texts.labels, strict=True)
        ]
        return data_frame(rows, index="id")

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of all classes."""
        return self.train.label_names

    def in_order_of(self, label_names: Sequence[str]) -> Self:
        """The same texts with the same classes, numbered in another order, such as a classifier's.

        Raises:
            ConfigError: other classes than the data set's.
        """
        if tuple(label_names) == self.label_names:
            return self
        if sorted(label_names) != sorted(self.label_names):
            raise ConfigError(
                f"{self.name} has the classes {', '.join(self.label_names)}, not {', '.join(label_names)}; "
                f"give the same names in another order."
            )
        index = [label_names.index(name) for name in self.label_names]
        train, test = (
            replace(part, labels=tuple(index[c] for c in part.labels), label_names=tuple(label_names))
            for part in (self.train, self.test)
        )
        return self.of(self.name, train, test, self.notes)
