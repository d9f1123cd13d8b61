"""Texts of the test part that stand in the training part too: scores on them say nothing of new texts."""

import unicodedata
from dataclasses import dataclass

from classifsae.data.texts import Texts


@dataclass(frozen=True)
class RepeatedText:
    """A test text that is also a training text, case, spacing and spelling of letters aside.

    Attributes:
        text: as it is in the test part.
        test_row: of the text in the test part, counted from 0.
        test_id: of that row.
        label: of that row.
        train_ids: rows of the training part with this text.
        train_labels: their labels, in the same order.
    """

    text: str
    test_row: int
    test_id: str
    label: str
    train_ids: tuple[str, ...]
    train_labels: tuple[str, ...]

    @property
    def is_labelled_alike(self) -> bool:
        """Whether a row of the training part has the same label."""
        return self.label in self.train_labels


def repeated_texts(train: Texts, test: Texts) -> tuple[RepeatedText, ...]:
    """The test texts that stand in the training part too, in the order of the test part; one pass over each.

    Two texts are the same if they differ in case, spacing, characters that nobody sees or the spelling of a
    letter alone (Unicode NFKC and case folding).
    """
    rows_of: dict[str, list[int]] = {}
    for row, text in enumerate(train.texts):
        rows_of.setdefault(plain(text), []).append(row)
    return tuple(
        RepeatedText(
            text=text,
            test_row=row,
            test_id=test.ids[row],
            label=test.label_names[test.labels[row]],
            train_ids=tuple(train.ids[same] for same in known),
            train_labels=tuple(train.label_names[train.labels[same]] for same in known),
        )
        for row, text in enumerate(test.texts)
        if (known := rows_of.get(plain(text)))
    )


def plain(text: str) -> str:
    """A text without case, spacing and characters that nobody sees, in one spelling of its letters."""
    if not text.isascii():
        one_spelling = unicodedata.normalize("NFKC", text)
        text = "".join(c for c in one_spelling if c.isascii() or unicodedata.category(c) != "Cf")
    return " ".join(text.casefold().split())
