"""Matrices of all sentences that are made a block of rows at a time, so that memory does not grow with n."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch

from classifsae.concepts._optimise import generator
from classifsae.tensors import Float, Int, Tensor, batches, put

Some: TypeAlias = "slice | Int[Tensor, ' b']"

_MOST_ENTRIES, _FEWEST_ROWS = 1 << 24, 10_000
"""Entries that a fit holds at once where it cannot go through its rows in blocks; rows that it always may."""


@dataclass(frozen=True)
class Rows:
    """An (n, k) matrix of which only some rows exist at a time.

    Attributes:
        n: rows in all.
        width: k.
        make: some of the rows.
        widest: numbers of float32 in a row of the widest matrix that they are made from, which decides how
            many exist at a time.
    """

    n: int
    width: int
    make: Callable[[Some], Float[Tensor, "b k"]]
    widest: int

    @classmethod
    def of(cls, rows: Float[Tensor, "n k"], dtype: torch.dtype | None = None) -> "Rows":
        """The rows of a tensor, such as one that is mapped from the disk, in float32 at least."""
        (n, width), wide = rows.shape, dtype or torch.promote_types(rows.dtype, torch.float32)
        return cls(n, width, lambda some: rows[some].to(wide), _widest(width, wide))

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, some: Some) -> Float[Tensor, "b k"]:
        return self.make(some)

    def parts(self) -> Iterator[slice]:
        """Blocks that together are all rows."""
        return batches(self.n, self.widest)

    def total(self, of: Callable[[slice], Tensor]) -> Tensor:
        """Sum over blocks of what is made of each."""
        first, *others = self.parts()
        total = of(first)
        for part in others:
            total += of(part)
        return total

    def mean(self) -> Float[Tensor, " k"]:
        """The mean row."""
        return self.total(lambda part: self[part].sum(dim=0)) / self.n

    def at(self, chosen: Int[Tensor, " q"]) -> "Rows":
        """Some of the rows, in this order."""
        return Rows(len(chosen), self.width, lambda some: self[chosen[some]], self.widest)

    def less(self, centre: Float[Tensor, " k"]) -> "Rows":
        """Each row less this one."""
        return self.through(lambda some: self[some] - centre)

    def times(self, matrix: Float[Tensor, "k q"]) -> "Rows":
        """Each row through a linear map."""
        return self.through(lambda some: self[some] @ matrix, width=matrix.shape[1])

    def to(self, dtype: torch.dtype) -> "Rows":
        """The same rows in another precision; of a wider one, fewer exist at a time."""
        widest = max(self.widest, _widest(self.width, dtype))
        return Rows(self.n, self.width, lambda some: self[some].to(dtype), widest)

    def through(self, make: Callable[[Some], Tensor], *, width: int | None = None) -> "Rows":
        """What a function makes of the same rows."""
        width = width or self.width
        return Rows(self.n, width, make, max(self.widest, width))

    def gram(self) -> Float[Tensor, "k k"]:
        """rows^T rows."""

        def of(part: slice) -> Tensor:
            rows = self[part]
            return rows.T @ rows

        return self.total(of)

    def product(self, other: "Rows") -> Float[Tensor, "k q"]:
        """rows^T other."""
        wider = self if self.widest > other.widest else other
        return wider.total(lambda part: self[part].T @ other[part])

    def all(self) -> Float[Tensor, "n k"]:
        """All rows at once, for matrices that are narrow."""
        joined = None
        for part in self.parts():
            joined = put(joined, part, self[part], self.n)
        assert joined is not None
        return joined


def _widest(width: int, dtype: torch.dtype) -> int:
    """How many numbers of float32 are as large as a row of this type."""
    return width * dtype.itemsize // torch.float32.itemsize


def mean_row(rows: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
    """The mean row in float32, of half precision a block at a time."""
    return rows.mean(dim=0) if rows.dtype == torch.float32 else Rows.of(rows).mean()


def at_most(n: int, width: int, *, seed: int) -> Int[Tensor, " q"] | None:
    """Rows that stand for all where a fit has to hold them: a seeded choice, in order; None: all of them.

    Args:
        n: rows in all.
        width: numbers in a row; the wider, the fewer rows, but never fewer than 10,000.
        seed: of the choice.
    """
    most = max(_MOST_ENTRIES // width, _FEWEST_ROWS)
    return None if n <= most else torch.randperm(n, generator=generator(seed))[:most].sort().values
