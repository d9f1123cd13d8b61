"""A model with the tokenizer that it reads with, and how many tokens it has positions for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from classifsae.classifier.config import Kind
from classifsae.classifier.loading.saved import Base
from classifsae.classifier.loading.soft_prompt import SoftPrompt

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Loaded:
    """A model with the tokenizer that it reads with.

    Attributes:
        model: with its prompt or adapter inside, if it has one.
        tokenizer: a fast one.
        kind: encoder or decoder.
        label_names: the names that a sequence classifier has for its classes; none for a decoder.
        missing: names of weights that its files do not hold, which are therefore random.
        settings: fingerprint of the configuration and tokenizer that came with weights tuned elsewhere.
        prompt: the soft prompt in front of its tokens.
        adapter: peft's handle on the low-rank changes inside it.
        base: where the frozen weights are, if they are kept by reference.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerFast"
    kind: Kind
    label_names: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    settings: str = ""
    prompt: SoftPrompt | None = None
    adapter: "PeftModel | None" = None
    base: Base | None = None


def n_positions(model: "PreTrainedModel") -> int | None:
    """Positions of a model, less those that RoBERTa-like embeddings reserve for padding; None: any number."""
    total = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, module in model.named_modules():
        is_table = name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
        if is_table and module.padding_idx is not None:
            return module.num_embeddings - module.padding_idx - 1
    return None if total is None or total < 1 else int(total)  # XLNet says -1
