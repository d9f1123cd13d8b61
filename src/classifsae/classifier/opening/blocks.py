"""Reading and replacing the state between two blocks of a transformer, with no branch per architecture.

The blocks are the one ``ModuleList`` of length ``num_hidden_layers``. A state is read with a forward hook,
and put in by overriding ``forward`` on block instances, so the model is called as it always is. A model
without one such list, or whose head reads several positions, is opened at its neck instead.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from classifsae.classifier.opening.neck import Neck, find_neck
from classifsae.errors import ConfigError
from classifsae.tensors import Float, Int, Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Structure:
    """Where a model can be opened.

    Attributes:
        n_layers: number of transformer blocks L.
        blocks: these blocks, in order; empty if they cannot be told apart, as where layers share one block.
        arities: what each block returns: None for the bare state, else the length of a tuple with it first.
        reads: position that the head reads from the last block's output: 0 or -1; None: it reads no one
            position, or nothing is known of the blocks.
        neck: where the head takes in its one vector, if ``reads`` is None.
    """

    n_layers: int
    blocks: tuple[nn.Module, ...]
    arities: tuple[int | None, ...]
    reads: int | None
    neck: Neck | None = None


@torch.enable_grad()
def structure_of(model: "PreTrainedModel", inputs: Mapping[str, Tensor], *, name: str) -> Structure:
    """Learn a classifier's structure from one run on one row of tokens.

    Args:
        inputs: one row of distinct tokens, none of them padding.
        name: what to call the model in messages.
    Raises:
        ConfigError: a head that is never given one vector per text.
    """
    lists = _lists_of_blocks(model)
    n_layers = int(model.config.get_text_config().num_hidden_layers)
    opened = _opened(model, inputs, tuple(lists[0])) if len(lists) == 1 else None
    if opened is not None and opened.reads is not None:
        return opened
    neck = find_neck(model, inputs, after=None if opened is None else opened.blocks[-1])
    if neck is None:
        raise ConfigError(
            f"{name}: its head reads no one position of {type(model).__name__} and is never given one vector "
            f"per text, so that there is no sentence vector: choose another model or pooling."
        )
    return Structure(n_layers, (), (), reads=None, neck=neck)


def _opened(
    model: "PreTrainedModel", inputs: Mapping[str, Tensor], blocks: tuple[nn.Module, ...]
) -> Structure | None:
    """What the blocks return, and what the head reads of it; None if no hook sees them run."""
    arities: list[int | None] = []
    leaf: list[Tensor] = []

    def note(block: nn.Module, _: object, output: object) -> object:
        arities.append(len(output) if isinstance(output, tuple | list) else None)
        if block is not blocks[-1]:
            return output
        leaf.append(_state(output).detach().requires_grad_())
        return _returned(leaf[0], arities[-1])

    with ExitStack() as hooks:
        for block in blocks:
            hooks.enter_context(block.register_forward_hook(note))
        logits: Tensor = model(**inputs).logits
    if not leaf:
        return None
    return Structure(
        len(blocks), blocks, tuple(arities), _position_read(logits, leaf[0], inputs["input_ids"])
    )


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
    """Let the model start at block ``layer`` from a given state; the blocks before it cost nothing."""
    skipped = zip(structure.blocks[:layer], structure.arities, strict=False)
    with replaced_forward({block: _constant(_returned(state, arity)) for block, arity in skipped}):
        yield


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

    with replaced_forward({head: forward}):
        yield


@contextmanager
def replaced_forward(replacements: Mapping[nn.Module, Callable[..., object]]) -> Iterator[None]:
    """Override ``forward`` on module instances, and put back what was there whatever happens."""
    before = {module: vars(module).get("forward") for module in replacements}
    try:
        for module, forward in replacements.items():
            vars(module)["forward"] = forward
        yield
    finally:
        for module, old in before.items():
            vars(module).pop("forward", None)
            if old is not None:
                vars(module)["forward"] = old


def _constant(value: object) -> Callable[..., object]:
    return lambda *_, **__: value


def _state(output: object) -> Tensor:
    state = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(state, Tensor):
        raise ConfigError(f"a block returns {type(state).__name__}, not a tensor; choose another model.")
    return state


def _returned(state: Tensor, arity: int | None) -> object:
    return state if arity is None else (state, *[None] * (arity - 1))
