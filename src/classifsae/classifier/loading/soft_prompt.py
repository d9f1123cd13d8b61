"""A soft prompt: trainable vectors in front of a frozen decoder's token embeddings (spec section 2).

Source: Lester et al. 2021 (arXiv:2104.08691). Ours and not peft's, which puts the vectors in front of the
padding and drops the positions, so that what a text gives would depend on the others in its batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from classifsae.errors import ConfigError, MismatchError
from classifsae.storage import read_tensors
from classifsae.tensors import Float, Int, Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "soft_prompt"
FILE = f"{NAME}.safetensors"


class SoftPrompt(nn.Module):
    """The vectors.

    Args:
        vectors: in the order in which they are read, float32.
    """

    def __init__(self, vectors: Float[Tensor, "v d"]) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    @classmethod
    def drawn(cls, model: "PreTrainedModel", n_vectors: int, *, seed: int) -> "SoftPrompt":
        """Start from the embeddings of random tokens, which have the scale that the model is used to."""
        table = embeddings(model).weight
        rows = torch.randint(len(table), (n_vectors,), generator=torch.Generator().manual_seed(seed))
        return cls(table[rows.to(table.device)].detach().float().clone())

    def forward(self, embedded: Float[Tensor, "b t d"], mask: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """Put the vectors in at the first v positions of each row that are not padding."""
        n_vectors = len(self.vectors)
        places = (mask > 0) & (mask.cumsum(dim=1) <= n_vectors)
        vectors = self.vectors.to(embedded).repeat(len(embedded), 1)
        return embedded.masked_scatter(places[..., None], vectors)


def embeddings(model: "PreTrainedModel") -> nn.Embedding:
    """A model's token embeddings.

    Raises:
        ConfigError: it has none of the usual kind.
    """
    table = model.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        raise ConfigError(f"{type(model).__name__} has no plain token embeddings; choose another model.")
    return table


def attach(model: "PreTrainedModel", prompt: SoftPrompt) -> SoftPrompt:
    """Make the prompt a part of a model, frozen but for the prompt: it moves and is hashed with it."""
    model.requires_grad_(False)
    model.add_module(NAME, prompt)
    return prompt


@contextmanager
def prepended(model: "PreTrainedModel", prompt: SoftPrompt) -> Iterator[None]:
    """While this holds, a model called with tokens reads the vectors where rows have room for them."""

    def embed(
        _: nn.Module, arguments: tuple[object, ...], options: dict[str, Tensor]
    ) -> tuple[tuple[object, ...], dict[str, Tensor]]:
        embedded = embeddings(model)(options.pop("input_ids"))
        return arguments, {**options, "inputs_embeds": prompt(embedded, options["attention_mask"])}

    with model.register_forward_pre_hook(embed, with_kwargs=True):
        yield


def read_prompt(folder: Path, model: "PreTrainedModel", *, n_vectors: int) -> SoftPrompt:
    """The vectors of a saved classifier.

    Raises:
        StorageError: the file is missing or damaged.
        MismatchError: other vectors than the classifier's, or of another width than the model's.
    """
    vectors, width = read_tensors(folder / FILE)["vectors"], embeddings(model).embedding_dim
    if tuple(vectors.shape) != (n_vectors, width):
        raise MismatchError(
            f"{folder / FILE} holds vectors of shape {tuple(vectors.shape)}, but the classifier has "
            f"{n_vectors} vectors of width {width}; restore its own file, or, if a run made "
            f"it, delete the folder to tune again."
        )
    return SoftPrompt(vectors.float().clone())
