"""An affine change of the sentence vector, folded into the weights that read it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from classifsae.classifier.opening.affine import AffineMap
from classifsae.classifier.opening.tail import OpenedModel
from classifsae.classifier.reading.padding import is_close
from classifsae.hub.devices import is_quantized
from classifsae.tensors import Float, Tensor

_N_TRIED = 4


@torch.no_grad()
def fold(opened: OpenedModel, change: AffineMap, *, layer: int) -> bool:
    """Change the weights that read the sentence vector h so that they read A h + b, if linear maps do.

    Returns:
        Whether they were changed: not where something else than linear maps with a bias reads h, as where a
        normalisation comes first, and not where the weights are kept in 8 bits.
    """
    if opened.change is not None:
        return False
    width, model = len(change.offset), opened.model
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(_N_TRIED, width, generator=generator).to(model.device, model.dtype)
    wanted = opened.tail(change(hidden.float().cpu()).to(hidden), layer)
    with _given(model) as given:
        opened.tail(hidden, layer)
    readers = [reader for reader, states in given.items() if any(_are(states, hidden) for states in states)]
    if is_quantized(model) or not readers or any(reader.bias is None for reader in readers):
        return False
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
        return False
    return True


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
