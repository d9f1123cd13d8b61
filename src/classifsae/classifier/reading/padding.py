"""How rows of tokens are padded to one batch, on which side, and where a head that reads one token looks."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from classifsae.classifier.loading.loaded import Loaded
from classifsae.errors import ConfigError
from classifsae.tensors import Float, Int, Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_TOKEN = -1
"""The pad token of a model that has none: its head finds padding nowhere, and reads the last position."""


@dataclass(frozen=True)
class Row:
    """One text as the tokenizer gives it.

    Attributes:
        ids: its tokens.
        types: their types; None if the tokenizer gives none.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Padding:
    """How rows become the arguments of one model.

    Attributes:
        accepts: names of the model's arguments.
        left: whether rows are filled up on the left; positions then count from the first token.
        token: what fills them up; the mask hides it.
        type: its type.
        ignored: the token that the head takes for padding wherever it stands; None: there is none.
        n_slots: places in front of each row's tokens for the vectors of a soft prompt.
    """

    accepts: frozenset[str]
    left: bool
    token: int
    type: int = 0
    ignored: int | None = None
    n_slots: int = 0

    def batch(self, rows: Sequence[Row]) -> dict[str, Int[Tensor, "b t"]]:
        """The model's arguments for some rows."""
        slots = (self.token,) * self.n_slots
        tokens = self._filled([slots + row.ids for row in rows], self.token)
        mask = self._filled([(1,) * (self.n_slots + len(row.ids)) for row in rows], 0)
        types = [(0,) * self.n_slots + row.types for row in rows if row.types is not None]
        if not types or "token_type_ids" not in self.accepts:
            return self.arguments(tokens, mask)
        return {**self.arguments(tokens, mask), "token_type_ids": self._filled(types, self.type)}

    def arguments(self, tokens: Int[Tensor, "b t"], mask: Int[Tensor, "b t"]) -> dict[str, Tensor]:
        """The model's arguments for padded tokens."""
        found = {"input_ids": tokens, "attention_mask": mask}
        if self.left and "position_ids" in self.accepts:
            found["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
        return found

    def dummy(self, n_rows: int, n_tokens: int, device: torch.device) -> dict[str, Tensor]:
        """Arguments for a run whose tokens do not matter, as long as none is padding."""
        distinct = [token for token in range(n_tokens + 1) if token != self.token][:n_tokens]
        tokens = torch.tensor(distinct, device=device).expand(n_rows, n_tokens)
        return self.arguments(tokens, torch.ones_like(tokens))

    def last(self, arguments: Mapping[str, Tensor]) -> Int[Tensor, " b"]:
        """Position of each row's last token but for ignored ones."""
        tokens = arguments["input_ids"]
        seen = arguments["attention_mask"] if self.ignored is None else tokens != self.ignored
        return (torch.arange(tokens.shape[1], device=tokens.device) * seen).argmax(dim=1)

    def _filled(self, rows: Sequence[Sequence[int]], value: int) -> Int[Tensor, "b t"]:
        return pad_sequence(
            [torch.tensor(row) for row in rows],
            batch_first=True,
            padding_value=value,
            padding_side="left" if self.left else "right",
        )


def padding_of(loaded: Loaded) -> Padding:
    """How a model is padded: a language model on the left, a sequence classifier on the right for a start.

    A model without a pad token is told of one that no text holds, so that it takes batches at all.
    """
    model, tokenizer = loaded.model, loaded.tokenizer
    config = model.config.get_text_config()
    if config.pad_token_id is None or config.pad_token_id < 0:
        config.pad_token_id = NO_TOKEN
    own, table = config.pad_token_id, model.get_input_embeddings()
    n_tokens = table.num_embeddings if isinstance(table, nn.Embedding) else len(tokenizer)
    candidates = (own, tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return Padding(
        accepts=frozenset(inspect.signature(model.forward).parameters),
        left=loaded.kind == "decoder",
        token=next(token for token in candidates if token is not None and 0 <= token < n_tokens),
        type=tokenizer.pad_token_type_id,
        ignored=own if loaded.kind == "encoder" and own != NO_TOKEN else None,
        n_slots=0 if loaded.prompt is None else len(loaded.prompt.vectors),
    )


@torch.no_grad()
def on_a_side_that_works(
    padding: Padding, model: "PreTrainedModel", *, reads: int | None, name: str
) -> Padding:
    """The padding of a sequence classifier on the right, else on the left, where the logits stay as they are.

    A head that reads the last token whatever it is can be padded on the left only.

    Args:
        reads: position that the head reads, 0 or -1; None: it reads a vector made from all tokens.
    Raises:
        ConfigError: padding changes the logits on either side, as the model mixes it into the text.
    """
    row = padding.dummy(1, 4, model.device)
    alone = model(**row).logits
    for left in (True,) if reads == -1 and padding.ignored is None else (False, True):
        tried, beside = replace(padding, left=left), (2, 0) if left else (0, 2)
        tokens = functional.pad(row["input_ids"], beside, value=padding.token)
        mask = functional.pad(row["attention_mask"], beside, value=0)
        if is_close(model(**tried.arguments(tokens, mask)).logits, alone):
            return tried
    raise ConfigError(
        f"{name}: padding changes its logits, as {type(model).__name__} mixes it into the text; "
        f"choose another model."
    )


def is_close(
    found: Float[Tensor, "b c"], own: Float[Tensor, "b c"], *, dtype: torch.dtype | None = None
) -> bool:
    """Whether two results of one computation differ by rounding only.

    Args:
        dtype: the precision that both were computed in; None: that of ``own``.
    """
    scale = max(1.0, own.abs().max().item())
    return (found - own).abs().max().item() <= torch.finfo(dtype or own.dtype).eps ** 0.5 * scale
