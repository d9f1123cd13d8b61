"""Heads that read one vector made from all tokens: the vector is taken, and put in, where the head begins.

The neck is the first module, after the blocks, that is given one vector per text. For a mean-pooled
ModernBERT it is the prediction head, for ALBERT the pooler, for XLNet the summary: found by watching one
run, never by name.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from classifsae.tensors import Float, Tensor


@dataclass(frozen=True)
class Neck:
    """The one place where a text is one vector.

    Attributes:
        module: takes the vector as its first argument.
        width: of the vector.
    """

    module: nn.Module
    width: int


def find_neck(model: nn.Module, inputs: Mapping[str, Tensor], *, after: nn.Module | None) -> Neck | None:
    """The first module that is given one vector for one row of tokens; None if there is no such module.

    Args:
        inputs: one row of several tokens.
        after: only modules that are called once this one has returned; None: any.
    """
    found: list[Neck] = []
    passed = [after is None]

    def look(module: nn.Module, arguments: tuple[object, ...]) -> None:
        given = _vectors(arguments)
        if passed[0] and given is not None and given.shape[0] == 1:
            found.append(Neck(module, given.shape[1]))

    with ExitStack() as hooks, torch.no_grad():
        for module in model.modules():
            hooks.enter_context(module.register_forward_pre_hook(look))
        if after is not None:
            hooks.enter_context(after.register_forward_hook(lambda *_: passed.append(passed.pop() or True)))
        model(**inputs)
    return found[0] if found else None


@contextmanager
def read_at(neck: Neck) -> Iterator[list[Float[Tensor, "b d"]]]:
    """Collect what the head is given while the model runs."""
    given: list[Tensor] = []

    def look(_: nn.Module, arguments: tuple[object, ...]) -> None:
        vectors = _vectors(arguments)
        given.extend([] if vectors is None else [vectors])

    with neck.module.register_forward_pre_hook(look):
        yield given


@contextmanager
def given_at(neck: Neck, hidden: Float[Tensor, "b d"]) -> Iterator[None]:
    """Give the head these vectors, whatever the model makes of its tokens."""
    waiting = [hidden]

    def swap(_: nn.Module, arguments: tuple[object, ...]) -> tuple[object, ...]:
        # Once: a dropout may well be called again further down in the head.
        return (waiting.pop(), *arguments[1:]) if waiting and _vectors(arguments) is not None else arguments

    with neck.module.register_forward_pre_hook(swap):
        yield


def _vectors(arguments: tuple[object, ...]) -> Float[Tensor, "b d"] | None:
    """The first argument, if it is one vector per text."""
    first = arguments[0] if arguments else None
    return first if isinstance(first, Tensor) and first.is_floating_point() and first.ndim == 2 else None
