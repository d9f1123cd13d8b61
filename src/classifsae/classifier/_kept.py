"""What training keeps of a batch from the forward to the backward pass, counted on the meta device.

There tensors have shapes and no numbers: every architecture, frozen in part or not, is counted as it is,
in no time and no memory.
"""

from dataclasses import dataclass

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import PreTrainedModel

from classifsae.classifier.loading.soft_prompt import embeddings
from classifsae.hub.quiet import quiet
from classifsae.tensors import Tensor


@dataclass(frozen=True)
class Kept:
    """Bytes that a float32 model keeps of one batch.

    Attributes:
        attention: of the weights of attention, tokens by tokens, which some kernels never store.
        others: of everything else.
    """

    attention: int
    others: int


def kept_bytes(model: PreTrainedModel, *, n_rows: int, n_tokens: int) -> Kept:
    """Count what the backward pass of a model on the meta device would need, dropout included.

    Args:
        model: those of its weights that are frozen do not want gradients.
        n_rows, n_tokens: of the batch.
    Raises:
        RuntimeError: the model looks at numbers, of which there are none.
    """
    weights = {_place(weight) for weight in (*model.parameters(), *model.buffers())}
    found: dict[StorageWeakRef, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.is_meta and _place(tensor) not in weights:
            found.setdefault(_place(tensor), tensor)
        return tensor

    table = embeddings(model).weight
    given = torch.empty(n_rows, n_tokens, table.shape[1], device="meta", requires_grad=True)
    with quiet(), torch.device("meta"), saved_tensors_hooks(note, lambda tensor: tensor):
        output = model.train()(inputs_embeds=given)
    del output
    square = sum(t.nbytes for t in found.values() if t.shape[-2:] == (n_tokens, n_tokens))
    return Kept(square, sum(tensor.nbytes for tensor in found.values()) - square)


def _place(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())
