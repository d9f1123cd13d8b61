"""The order in which training reads its texts, planned beforehand so that a stopped run can go on."""

import torch

WINDOW = 50
"""Random batches among which texts are sorted by length."""


def plan_batches(lengths: list[int], *, batch_size: int, n_batches: int, seed: int) -> list[list[int]]:
    """The batches of a whole run, as row indices: seeded passes over all rows, each row once per pass.

    Rows of like length share a batch: within each pass, windows of 50 random batches are sorted by length,
    cut, and the batches shuffled. What is resumed is a place in this list.
    """
    generator = torch.Generator().manual_seed(seed)
    batches: list[list[int]] = []
    while len(batches) < n_batches:
        order = torch.randperm(len(lengths), generator=generator).tolist()
        windows = [order[i : i + WINDOW * batch_size] for i in range(0, len(order), WINDOW * batch_size)]
        by_length = [row for window in windows for row in sorted(window, key=lengths.__getitem__)]
        cut = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        batches += [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]
    return batches[:n_batches]
