"""An affine change of the sentence vector, folded into the weights that read it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from classifsae.classifier.opening.tail import OpenedModel
from classifsae.classifier.reading.padding import is_close
from classifsae.errors import ConfigError
from classifsae.hub.devices import is_quantized
from classifsae.tensors import Float, Tensor

_N_TRIED = 4


@dataclass(frozen=True, eq=False)
class AffineMap:
    """A change of sentence vectors: h becomes A h + b.

    Attributes:
        matrix: A.
        offset: b.
    """

    matrix: Float[Tensor, "d d"]
    offset: Float[Tensor, " d"]

    @classmethod
    def around(cls, mean: Float[Tensor, " d"], change: Float[Tensor, "d d"]) -> Self:
        """h + C (h - mean), for a mean and a change C."""
        identity = torch.eye(len(mean), dtype=change.dtype, device=change.device)
        return cls(identity + change, -change @ mean)

    def __call__(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The changed vectors, in the precision of the change."""
        return hidden.to(self.matrix) @ self.matrix.T + self.offset

    def after(self, first: "AffineMap") -> "AffineMap":
        """The change that is the other one first, then this one."""
        return AffineMap(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)


@torch.no_grad()
def fold(opened: OpenedModel, change: AffineMap, *, layer: int, name: str) -> None:
    """Change the weights that read the sentence vector h so that they read A h + b.

    Raises:
        ConfigError: something else than linear maps with a bias reads it, as where a normalisation comes
            first, or the weights are kept in 8 bits.
    """
    width, model = len(change.offset), opened.model
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(_N_TRIED, width, generator=generator).to(model.device, model.dtype)
    wanted = opened.tail(change(hidden.float().cpu()).to(hidden), layer)
    with _given(model) as given:
        opened.tail(hidden, layer)
    readers = [reader for reader, states in given.items() if any(_are(states, hidden) for states in states)]
    if is_quantized(model) or not readers or any(reader.bias is None for reader in readers):
        raise _cannot(name, layer)
    before = [(reader, reader.weight.clone(), reader.bias.clone()) for reader in readers]
    for reader in readers:
        weight = reader.weight.double()
        matrix, offset = change.matrix.to(weight), change.offset.to(weight)
        reader.bias.copy_(reader.bias.double() + weight @ offset)
        reader.weight.copy_(weight @ matrix)
    if not is_close(opened.tail(hidden, layer), wanted, dtype=model.dtype):
        for reader, weight, bias in before:
            reader.weight.copy_(weight)
            reader.bias.copy_(bias)
        raise _cannot(name, layer)


def _cannot(name: str, layer: int) -> ConfigError:
    return ConfigError(
        f"{name}: more than linear maps read the hidden state of layer {layer}, so no part of "
        f"it can be left out; choose an encoder with a classification head, read after its last block."
    )


def _are(states: Tensor, hidden: Float[Tensor, "b d"]) -> bool:
    """Whether a linear map was given just these vectors."""
    flat = states.reshape(-1, states.shape[-1])
    return flat.shape == hidden.shape and bool(torch.equal(flat, hidden))


@contextmanager
def _given(model: nn.Module) -> Iterator[dict[nn.Linear, list[Tensor]]]:
    """Collect what each linear map is given while the model runs."""
    found: dict[nn.Linear, list[Tensor]] = {}

    def look(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Linear)
        found.setdefault(module, []).append(arguments[0])

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                hooks.callback(module.register_forward_pre_hook(look).remove)
        yield found
