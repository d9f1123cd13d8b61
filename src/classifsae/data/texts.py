"""Texts with labels, as every later stage sees them."""

from dataclasses import dataclass
from functools import cached_property

from classifsae.errors import DataError
from classifsae.storage import fingerprint


@dataclass(frozen=True)
class Texts:
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

    @cached_property
    def identity(self) -> str:
        """Fingerprint of the rows: texts, labels, ids and label names."""
        return fingerprint(list(self.texts), list(self.labels), list(self.ids), list(self.label_names))


@dataclass(frozen=True)
class Dataset:
    """A training and a test part with the same classes.

    Attributes:
        name: short name for tables and folders.
    """

    name: str
    train: Texts
    test: Texts

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of all classes."""
        return self.train.label_names
