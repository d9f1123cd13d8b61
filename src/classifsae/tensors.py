"""Shapes and the few callables that tie the parts together.

Axis names, in every annotation: n sentences, b batch, d width of the hidden state, p latents,
m concepts, c classes, t tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from jaxtyping import Bool, Float, Int
from torch import Tensor, device
from torch.nn.functional import one_hot

__all__ = [
    "Bool",
    "Float",
    "Int",
    "OnStep",
    "SentenceEncoder",
    "Tail",
    "Tensor",
    "batches",
    "batches_by_length",
    "less_class_mean",
    "put",
]


class Tail(Protocol):
    """The rest of the classifier, from the hook layer on: hidden states (b, d) to class logits (b, c)."""

    def __call__(self, hidden: Tensor, /) -> Tensor:
        """Class logits, differentiable in ``hidden``."""


class SentenceEncoder(Protocol):
    """Raw texts to unit-norm embeddings (n, e)."""

    @property
    def fingerprint(self) -> str:
        """Equal for encoders that give equal embeddings."""

    def __call__(self, texts: Sequence[str], /, *, on_step: "OnStep | None" = None) -> Tensor:
        """One unit-norm embedding per text, in their order."""


class OnStep(Protocol):
    """Told after each step of anything long: steps done, steps in all, and numbers worth showing."""

    def __call__(self, done: int, total: int, values: Mapping[str, float], /) -> None:
        """Show or record one step."""


def less_class_mean(rows: Float[Tensor, "n k"], classes: Int[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Each row less the mean of the rows of its class."""
    members = one_hot(classes).to(rows)
    means = members.T @ rows / members.sum(dim=0).clamp_min(1)[:, None]
    return rows - means[classes]


_ENTRIES_PER_BATCH, _ENTRIES_IN_CACHE, _ROWS_IN_CACHE = 1 << 22, 1 << 20, 1024


def batches(n: int, width: int, *, on: device | None = None) -> Iterator[slice]:
    """Slices of n rows whose tensors of this width stay small; on a processor, small enough for its cache.

    Args:
        n: rows.
        width: of the widest tensor.
        on: device of tensors that are gone through several times; None: each is read once.
    """
    size = max(64, _ENTRIES_PER_BATCH // width)
    if on is not None and on.type == "cpu":
        size = min(size, max(_ROWS_IN_CACHE, _ENTRIES_IN_CACHE // width))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def put(joined: Tensor | None, part: slice, made: Tensor, n: int) -> Tensor:
    """What was made of a block of n rows, in its place among all.

    Rather than joined at the end: small results that are kept between large blocks tear the heap, and memory
    grows by what no later block fits into.

    Args:
        joined: of the blocks before; None for the first.
        part: rows of this block.
        made: one row for each of them.
        n: rows in all.
    """
    joined = made.new_empty(n, *made.shape[1:]) if joined is None else joined
    joined[part] = made
    return joined


TOKENS_IN_CACHE = 2048
"""Tokens of a batch that a processor reads fastest: what a layer makes of more does not stay in its cache."""


def batches_by_length(lengths: Sequence[int], max_tokens: int, on: device) -> list[list[int]]:
    """Rows sorted by length and cut so that rows times the longest stays within ``max_tokens``.

    On a processor, within 2,048 tokens at most.
    """
    if on.type == "cpu":
        max_tokens = min(max_tokens, TOKENS_IN_CACHE)
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[row] <= max_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
