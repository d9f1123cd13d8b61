"""A model read at one of its layers, and continued from there: the hook and the tail."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from classifsae.classifier.loading.loaded import Loaded
from classifsae.classifier.loading.soft_prompt import SoftPrompt, prepended
from classifsae.classifier.opening.affine import ChangeAt
from classifsae.classifier.opening.blocks import (
    Structure,
    answering,
    captured,
    changed_at,
    entered_at,
    read_at,
    structure_of,
)
from classifsae.classifier.reading.padding import Padding, on_a_side_that_works, padding_of
from classifsae.errors import ConfigError
from classifsae.hub.quiet import as_config_error
from classifsae.tensors import Float, Int, Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

N_TRIED = 4
ROWS_PER_TAIL, ROWS_IN_CACHE = 8192, 1024
"""States that go through the tail together; on a processor fewer, whose products then stay in its cache."""


@dataclass(frozen=True)
class States:
    """What one pass over a batch gives.

    Attributes:
        hidden: sentence vectors at the hook layer, in the model's precision.
        logits: class logits, float32.
    """

    hidden: Float[Tensor, "b d"]
    logits: Float[Tensor, "b c"]


@dataclass(frozen=True)
class OpenedModel:
    """A model that has been looked into.

    Attributes:
        model: the Hugging Face model.
        padding: how it is given rows of tokens.
        structure: where it can be read and entered.
        prompt: the soft prompt in front of its tokens.
        answers: the tokens whose logits are those of the classes; none for a classification head.
        change: of the sentence vector, made whenever the model runs; hidden states are those before it.
    """

    model: "PreTrainedModel"
    padding: Padding
    structure: Structure
    prompt: SoftPrompt | None
    answers: tuple[int, ...] = ()
    change: ChangeAt | None = None

    def prompting(self) -> AbstractContextManager[None]:
        """While this holds, the model reads batches behind the soft prompt, if there is one."""
        return nullcontext() if self.prompt is None else prepended(self.model, self.prompt)

    def class_logits(self, called: nn.Module, arguments: Mapping[str, Tensor]) -> Float[Tensor, "b c"]:
        """Logits of the classes, float32, of the model or of a wrapper of it."""
        with answering(self.model, self.answers) if self.answers else nullcontext():
            logits: Tensor = called(**arguments).logits
        return (logits if logits.ndim == 2 else logits[:, -1]).float()

    def own_logits(self, arguments: Mapping[str, Tensor]) -> Float[Tensor, "b c"]:
        """Logits of the classes as the model itself gives them."""
        device = self.model.device
        given = {name: value.to(device, non_blocking=True) for name, value in arguments.items()}
        if self.change is None:
            return self.class_logits(self.model, given).to(device)
        with self.change.made(self.structure, self.positions(given)):
            return self.class_logits(self.model, given).to(device)

    def positions(self, arguments: Mapping[str, Tensor]) -> Int[Tensor, " b"]:
        """Position of the token of each row of a batch whose state is the sentence vector."""
        if self.structure.reads == 0:
            return torch.zeros(len(arguments["input_ids"]), dtype=torch.int64)
        return self.padding.last(arguments)

    def states(self, arguments: Mapping[str, Tensor], layer: int) -> States:
        """Sentence vectors at a layer and class logits of a batch, in one pass."""
        neck = self.structure.neck
        place = captured(self.structure.blocks[layer - 1]) if neck is None else read_at(neck)
        with self.prompting(), place as found:
            logits = self.own_logits(arguments)
        hidden = found[0]
        if self.structure.reads == 0:
            hidden = hidden[:, 0].clone()  # not a view, which would keep all positions in memory
        elif neck is None:
            last = self.positions(arguments).to(hidden.device)
            hidden = hidden[torch.arange(len(last), device=hidden.device), last]
        return States(hidden.to(logits.device), logits)

    def tail(self, hidden: Float[Tensor, "b d"], layer: int) -> Float[Tensor, "b c"]:
        """Class logits, float32, of states at a layer, each a sequence of length 1."""
        size = ROWS_IN_CACHE if self.model.device.type == "cpu" else ROWS_PER_TAIL
        parts = [self._tail_of(part, layer) for part in hidden.split(size)]
        return torch.cat(parts).to(hidden.device)

    def _tail_of(self, hidden: Float[Tensor, "b d"], layer: int) -> Float[Tensor, "b c"]:
        device, neck = self.model.device, self.structure.neck
        hidden = hidden.to(device, self.model.dtype)
        if neck is None:
            entered = entered_at(self.structure, layer, hidden[:, None, :])
        else:
            entered = changed_at(neck, lambda _: hidden)
        with entered:
            return self.own_logits(self.padding.dummy(len(hidden), 1, device))


def open_model(loaded: Loaded, *, name: str) -> OpenedModel:
    """Look into a model by running it on one short row of tokens.

    Raises:
        ConfigError: it breaks, it holds NaN, padding changes its logits, or it has no sentence vector.
    """
    model = loaded.model
    with opening(model, f"a row of {N_TRIED} tokens", name=name):
        model.config.get_text_config().use_cache = False
        padding = padding_of(loaded)
        row = padding.dummy(1, N_TRIED, model.device)
        _check_numbers(model, row, name=name)
        structure = structure_of(model, row, name=name)
        if loaded.kind == "encoder":
            padding = on_a_side_that_works(padding, model, reads=structure.reads, name=name)
        return OpenedModel(model, padding, structure, loaded.prompt, change=loaded.change)


def opening(model: "PreTrainedModel", on: str, *, name: str) -> AbstractContextManager[None]:
    """Say of a model that breaks where it is tried that it does."""
    fault = f"{name}: {type(model).__name__} cannot be opened on {on}"
    return as_config_error(fault, cure="choose another model")


@torch.no_grad()
def _check_numbers(model: "PreTrainedModel", row: Mapping[str, Tensor], *, name: str) -> None:
    """Refuse a model with NaN in a weight, or that answers with NaN or infinity."""
    logits = model(**row).logits
    is_sound = bool(logits.isfinite().all())
    # Infinity may be meant, in the bias of a token that is never answered; NaN may be met by a later text.
    broken = [
        weight
        for weight, values in model.named_parameters()
        if not values.is_meta and bool(values.isnan().any() if is_sound else not values.isfinite().all())
    ]
    if broken:
        raise ConfigError(
            f"{name}: the weight {broken[0]} (and {len(broken) - 1} more) holds NaN or infinity, as its "
            f"training diverged or its file is damaged; choose another model."
        )
    if is_sound:
        return
    if (logits.isnan() | logits.isposinf()).any():  # a token that is never answered may have minus infinity
        cure = "choose another model" if model.dtype == torch.float32 else "set dtype to float32"
        raise ConfigError(f"{name}: its logits are NaN or infinite in {model.dtype}; {cure}.")
