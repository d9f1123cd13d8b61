"""How fast this machine is, measured for a moment on what the stages spend their time on."""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
from torch import nn

from classifsae.classifier.sizing import Outline
from classifsae.tensors import Tensor

_SECONDS, _LONG = 0.4, 1.0
_MOST_FLOPS = 1e10
_WIDEST = 2048
_MOST_TOKENS, _FEWEST_TOKENS = 4096, 32
_PER_BLOCK = 12  # parameters of a transformer block with a four times wider middle, in units of d * d
_OPTIMISER_SIZE = 1 << 22


@dataclass(frozen=True)
class Speed:
    """Seconds per token and parameter of the blocks, and per parameter of an optimiser step.

    Attributes:
        forward: reading.
        training: forward and backward pass together.
        update: one step of AdamW.
    """

    forward: float
    training: float
    update: float


@dataclass(frozen=True)
class Block:
    """One transformer block and what it reads.

    Attributes:
        width, n_heads: of the block.
        n_tokens: of a text, a power of two, so that texts of about equal length are measured once.
    """

    width: int
    n_heads: int
    n_tokens: int

    @classmethod
    def of(cls, outline: Outline) -> Self:
        """The block of a model, of a wide one a narrower one, and texts of about their mean length."""
        width = min(outline.width, _WIDEST)  # speeds are per parameter, and change little beyond
        heads = outline.n_heads if width % outline.n_heads == 0 else 1
        return cls(width, heads, 2 ** round(math.log2(max(1, outline.tokens_cut))))


@cache
def measure(shape: Block, *, device: str, half: bool, batch_size: int, dtype: torch.dtype) -> Speed:
    """Time one transformer block of the model's width, and an optimiser step.

    Args:
        half: whether training computes in bfloat16.
        batch_size: texts that training reads at once; capture reads many.
        dtype: in which capture reads.
    """
    width = shape.width
    block = nn.TransformerEncoderLayer(width, shape.n_heads, 4 * width, batch_first=True).to(device)
    reader = deepcopy(block).to(dtype) if dtype is not torch.float32 else block

    def read(states: Tensor) -> None:
        with torch.no_grad():
            reader(states.to(dtype))

    def learn(states: Tensor) -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            block(states).float().square().mean().backward()

    many = max(1, _MOST_TOKENS // shape.n_tokens)
    return Speed(
        _per_token(read, many, shape, device) / (_PER_BLOCK * width**2),
        _per_token(learn, min(batch_size, many), shape, device) / (_PER_BLOCK * width**2),
        _update(device) / _OPTIMISER_SIZE,
    )


def _per_token(work: Callable[[Tensor], None], n_rows: int, shape: Block, device: str) -> float:
    """Seconds per token on rows of mean length, as many as wanted, or as few and short as are soon done."""
    most = max(_FEWEST_TOKENS, _MOST_FLOPS / (6 * _PER_BLOCK * shape.width**2))
    length = max(1, round(min(shape.n_tokens, most)))
    states = torch.randn(max(1, round(min(n_rows, most / length))), length, shape.width, device=device)
    return seconds(lambda: work(states), device) / (states.shape[0] * length)


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Mean seconds of one call, the first not counted, unless it alone takes long."""
    first = _timed(work, device)
    if first > _LONG:
        return first
    begin, n_calls = time.perf_counter(), 0
    while n_calls < 2 or time.perf_counter() - begin < _SECONDS:
        _timed(work, device)
        n_calls += 1
    return (time.perf_counter() - begin) / n_calls


def _timed(work: Callable[[], object], device: str) -> float:
    begin = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - begin


def wait(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _update(device: str) -> float:
    weight = nn.Parameter(torch.zeros(_OPTIMISER_SIZE, device=device))
    weight.grad = torch.ones_like(weight)
    optimiser = torch.optim.AdamW([weight], fused=True)
    return seconds(optimiser.step, device)
