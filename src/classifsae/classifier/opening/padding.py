"""On which side a model may be padded: the one on which padding leaves its logits as they are."""

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from classifsae.errors import ConfigError
from classifsae.tensors import Float, Int, Tensor


@torch.no_grad()
def pads_left(model: PreTrainedModel, tokens: Int[Tensor, "1 t"], *, pad_id: int, name: str) -> bool:
    """Whether a sequence classifier is padded on the left, as XLNet is; on the right wherever that works.

    Args:
        tokens: one row, none of them padding.
    Raises:
        ConfigError: padding changes the logits on either side, as the model mixes it into the text.
    """
    alone = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    for left in (False, True):
        sides = (2, 0) if left else (0, 2)
        mask = functional.pad(torch.ones_like(tokens), sides, value=0)
        padded = model(input_ids=functional.pad(tokens, sides, value=pad_id), attention_mask=mask).logits
        if is_close(padded, alone):
            return left
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
