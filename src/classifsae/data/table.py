"""Columns of one file or split, before anyone has said which is the text and which the label."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Rows of one file or split.

    Attributes:
        where: what messages call it: a file's path, or a Hub name and split.
        names: its columns, in order.
        n_rows: number of rows.
        column: the values of a column, None where there is none.
        class_names: names of integer classes, by column, where the source declares them.
    """

    where: str
    names: tuple[str, ...]
    n_rows: int
    column: Callable[[str], Sequence[object]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
