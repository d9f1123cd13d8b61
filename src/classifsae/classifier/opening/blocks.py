"""Reading and replacing the state between two blocks of a transformer, with no branch per architecture.

The blocks are the one ``ModuleList`` of length ``num_hidden_layers``. A state is read with a forward hook,
and put in by overriding ``forward`` on block instances, so the model is called as it always is. A model
without one such list, or whose head reads several positions, is opened at its neck instead: the first
module, after the blocks, that is given one vector per text. For a mean-pooled ModernBERT it is the prediction
head, for ALBERT the pooler, for XLNet the summary: found by watching one run, never by name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from classifsae.errors import ConfigError
from classifsae.tensors import Float, Int, Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Structure:
    """Where a model can be opened.

    Attributes:
        n_layers: number of transformer blocks L.
        width: width d of the states.
        blocks: these blocks, in order; empty if they cannot be told apart, as where layers share one block.
        arities: what each block returns: None for the bare state, else the length of a tuple with it first.
        reads: position of the last block's output that the head reads: 0 or -1; None: no one position.
        neck: the module that takes in the head's one vector, as its first argument, if ``reads`` is None.
        embeddings: the modules before the blocks that give states of tokens, such as tables of embeddings.
    """

    n_layers: int
    width: int
    blocks: tuple[nn.Module, ...]
    arities: tuple[int | None, ...]
    reads: int | None
    neck: nn.Module | None = None
    embeddings: tuple[nn.Module, ...] = ()


@torch.enable_grad()
def structure_of(model: "PreTrainedModel", inputs: Mapping[str, Tensor], *, name: str) -> Structure:
    """Learn a classifier's structure from one run on one row of tokens.

    Args:
        inputs: one row of distinct tokens, none of them padding.
    Raises:
        ConfigError: a head that is never given one vector per text.
    """
    lists = _lists_of_blocks(model)
    n_layers = int(model.config.get_text_config().num_hidden_layers)
    opened = _opened(model, inputs, tuple(lists[0])) if len(lists) == 1 else None
    if opened is not None and opened.reads is not None:
        return opened
    found = _find_neck(model, inputs, after=None if opened is None else opened.blocks[-1])
    if found is None:
        raise ConfigError(
            f"{name}: its head reads no one position of {type(model).__name__} and is never given one vector "
            f"per text, so that there is no sentence vector: choose another model or pooling."
        )
    neck, width = found
    return Structure(n_layers, width, (), (), reads=None, neck=neck)


def _opened(
    model: "PreTrainedModel", inputs: Mapping[str, Tensor], blocks: tuple[nn.Module, ...]
) -> Structure | None:
    """What the blocks return, and what the head reads of it; None if no hook sees them run."""
    arities: list[int | None] = []
    leaf: list[Tensor] = []
    before: list[tuple[nn.Module, object]] = []

    def note_before(module: nn.Module, _: object, output: object) -> None:
        if not arities:
            before.append((module, output))

    def note(block: nn.Module, _: object, output: object) -> object:
        arities.append(len(output) if isinstance(output, tuple | list) else None)
        if block is not blocks[-1]:
            return output
        leaf.append(_state(output).detach().requires_grad_())
        return _returned(leaf[0], arities[-1])

    with ExitStack() as hooks:
        for block in blocks:
            hooks.enter_context(block.register_forward_hook(note))
        hooks.enter_context(register_module_forward_hook(note_before))
        logits: Tensor = model(**inputs).logits
    if not leaf:
        return None
    reads = _position_read(logits, leaf[0], inputs["input_ids"])
    inside = {*blocks[0].modules()}
    embeddings = _outermost(
        [
            module
            for module, output in before
            if module not in inside and isinstance(output, Tensor) and output.shape == leaf[0].shape
        ]
    )
    return Structure(len(blocks), leaf[0].shape[-1], blocks, tuple(arities), reads, embeddings=embeddings)


def _outermost(modules: Sequence[nn.Module]) -> tuple[nn.Module, ...]:
    """The modules that are no part of another."""
    parts = {part for module in modules for part in module.modules() if part is not module}
    return tuple(module for module in dict.fromkeys(modules) if module not in parts)


def _find_neck(
    model: nn.Module, inputs: Mapping[str, Tensor], *, after: nn.Module | None
) -> tuple[nn.Module, int] | None:
    """The first module that is given one vector for one row of tokens, and the width of the vector.

    Args:
        after: only modules that are called once this one has returned; None: any.
    """
    found: list[tuple[nn.Module, int]] = []

    def look(module: nn.Module, arguments: tuple[object, ...]) -> None:
        given = _vectors(arguments)
        if given is not None and given.shape[0] == 1:
            found.append((module, given.shape[1]))

    before = nullcontext() if after is None else after.register_forward_hook(lambda *_: found.clear())
    with torch.no_grad(), register_module_forward_pre_hook(look), before:
        model(**inputs)
    return found[0] if found else None


def blocks_of(model: "PreTrainedModel", *, name: str) -> nn.ModuleList:
    """The one list of as many modules as the model has layers.

    Raises:
        ConfigError: there is none (ALBERT shares one block between its layers), or more than one.
    """
    found = _lists_of_blocks(model)
    if len(found) != 1:
        raise ConfigError(
            f"{name}: found {len(found)} lists of its blocks in {type(model).__name__}, needs one; "
            f"models that share a block between layers, such as ALBERT, have none: choose another."
        )
    return found[0]


def _lists_of_blocks(model: "PreTrainedModel") -> list[nn.ModuleList]:
    """Lists of as many modules as the model has layers, but for those inside another."""
    n_layers = model.config.get_text_config().num_hidden_layers
    found = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers
    }
    return [m for path, m in found.items() if not any(path.startswith(f"{other}.") for other in found)]


def _position_read(
    logits: Float[Tensor, "1 *t c"], state: Float[Tensor, "1 t d"], tokens: Int[Tensor, "1 t"]
) -> int | None:
    """Which position of the last block's output the class logits depend on, by their gradient; None: several.

    None as well for states that are not in rows of tokens, as those of XLNet, which run along the text first.
    """
    if logits.ndim == 3:
        return -1
    if state.shape[:2] != tokens.shape:
        return None
    (gradient,) = torch.autograd.grad(logits.float().square().sum(), state)
    read = gradient[0].abs().sum(dim=1).nonzero().flatten().tolist()
    return {(0,): 0, (state.shape[1] - 1,): -1}.get(tuple(read))


@contextmanager
def captured(block: nn.Module) -> Iterator[list[Float[Tensor, "b t d"]]]:
    """Collect what a block returns while the model runs."""
    states: list[Tensor] = []
    with block.register_forward_hook(lambda _, __, output: states.append(_state(output))):
        yield states


@contextmanager
def entered_at(structure: Structure, layer: int, state: Float[Tensor, "b 1 d"]) -> Iterator[None]:
    """Let the model start at block ``layer`` from a given state; what comes before costs nothing."""
    skipped = dict.fromkeys(structure.embeddings) | dict(
        zip(structure.blocks[:layer], structure.arities, strict=False)
    )
    with overridden("forward", {part: partial(_returned, state, arity) for part, arity in skipped.items()}):
        yield


@contextmanager
def read_at(neck: nn.Module) -> Iterator[list[Float[Tensor, "b d"]]]:
    """Collect what the head is given while the model runs."""
    given: list[Tensor] = []

    def look(_: nn.Module, arguments: tuple[object, ...]) -> None:
        vectors = _vectors(arguments)
        given.extend([] if vectors is None else [vectors])

    with neck.register_forward_pre_hook(look):
        yield given


@contextmanager
def changed_at(neck: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Give the head other vectors in place of those that the model makes of its tokens."""
    waiting = [change]

    def swap(_: nn.Module, arguments: tuple[object, ...]) -> tuple[object, ...]:
        vectors = _vectors(arguments)
        if vectors is None or not waiting:
            return arguments
        # Once: a dropout may well be called again further down in the head.
        return (waiting.pop()(vectors), *arguments[1:])

    with neck.register_forward_pre_hook(swap):
        yield


def _vectors(arguments: tuple[object, ...]) -> Float[Tensor, "b d"] | None:
    """The first argument, if it is one vector per text."""
    first = arguments[0] if arguments else None
    return first if isinstance(first, Tensor) and first.is_floating_point() and first.ndim == 2 else None


@contextmanager
def answering(model: "PreTrainedModel", tokens: tuple[int, ...]) -> Iterator[None]:
    """Multiply only the given tokens' rows of the unembedding: logits (b, t, V) become (b, t, c)."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"{type(model).__name__} has no linear unembedding; choose another language model.")
    rows = torch.tensor(tokens, device=head.weight.device)

    def forward(state: Tensor) -> Tensor:
        bias = None if head.bias is None else head.bias[rows]
        return functional.linear(state.to(head.weight.device), head.weight[rows], bias)

    with overridden("forward", {head: forward}):
        yield


@contextmanager
def overridden(attribute: str, values: Mapping[nn.Module, object]) -> Iterator[None]:
    """Override an attribute of module instances, and put back what was there whatever happens."""
    before = {module: vars(module).get(attribute) for module in values}
    try:
        for module, value in values.items():
            vars(module)[attribute] = value
        yield
    finally:
        for module, old in before.items():
            vars(module).pop(attribute, None)
            if old is not None:
                vars(module)[attribute] = old


def with_state(output: object, change: Callable[[Tensor], Tensor]) -> object:
    """What a block returned, with another state in it."""
    state = change(_state(output))
    return (state, *output[1:]) if isinstance(output, tuple | list) else state


def _state(output: object) -> Tensor:
    state = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(state, Tensor):
        raise ConfigError(f"a block returns {type(state).__name__}, not a tensor; choose another model.")
    return state


def _returned(state: Tensor, arity: int | None, *_: object, **__: object) -> object:
    """What a block returns for a state, whatever the block is given."""
    return state if arity is None else (state, *[None] * (arity - 1))
