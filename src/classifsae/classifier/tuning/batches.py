"""The order in which training reads its texts, planned beforehand so that a stopped run can go on."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

WINDOW = 50
"""Random batches among which texts are sorted by length."""


@dataclass(frozen=True)
class Plan:
    """The batches of a whole training run, as row indices; what is resumed is a place in this list.

    Attributes:
        batches: every batch in order, all passes over the texts one after the other.
        batch_size: rows per batch, fewer in the last of a pass.
    """

    batches: list[list[int]]
    batch_size: int
    drop_last: bool = False

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def plan_batches(lengths: list[int], *, batch_size: int, n_batches: int, seed: int) -> Plan:
    """Seeded passes over all rows, each row once per pass; rows of like length share a batch.

    Within each pass, windows of 50 random batches are sorted by length, cut, and the batches shuffled.
    """
    generator = torch.Generator().manual_seed(seed)
    batches: list[list[int]] = []
    while len(batches) < n_batches:
        order = torch.randperm(len(lengths), generator=generator).tolist()
        windows = [order[i : i + WINDOW * batch_size] for i in range(0, len(order), WINDOW * batch_size)]
        by_length = [row for window in windows for row in sorted(window, key=lengths.__getitem__)]
        cut = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        batches += [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]
    return Plan(batches[:n_batches], batch_size)
