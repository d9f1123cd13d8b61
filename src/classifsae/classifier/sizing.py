"""How large a backbone is, and how many bytes it takes: from its configuration alone, no weight is read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from classifsae.classifier.config import BackboneConfig, Kind
from classifsae.classifier.loading.adapters import adapted
from classifsae.classifier.loading.frozen import base_config
from classifsae.classifier.loading.loaded import Base, n_positions, with_saved
from classifsae.classifier.loading.models import from_form, without_weights
from classifsae.classifier.loading.soft_prompt import embeddings
from classifsae.classifier.opening.blocks import blocks_of
from classifsae.classifier.reading.reader import template_of
from classifsae.classifier.tuning.finetune import computes_in_half
from classifsae.data.prompt import fill
from classifsae.errors import ConfigError

TOKENS_PER_GRADIENT = 2
"""A batch of ``max_tokens`` tokens is so many where a gradient is taken, which keeps what it passes."""

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_CHARACTERS_PER_TOKEN = 4  # of English, with most tokenizers
_READ = 12  # numbers per token and neuron that a forward pass holds at once
_KEPT = 18  # and per block, if there is a backward pass: counted on BERT, MiniLM, GPT-NeoX and Llama
_HALVED = 0.6  # of that, where most but not all of it is in 16 bits


@dataclass(frozen=True)
class BackboneSize:
    """The size of a backbone and of what it reads.

    Attributes:
        config: its options.
        n_parameters: in all, before anything is put beside them.
        n_in_blocks, n_embedded: those of the transformer blocks, and of the tables of embeddings.
        n_trained: those that tuning changes; 0 for a model that is not tuned.
        n_layers, n_heads, width: L, heads of attention and d.
        n_tokens: of the longest text with what is put around it, cut at the limit.
        rows_per_text: mean rows that a text becomes when it is captured.
        assumed: what is taken from the preset, as there was no file to read, in words; or "".
    """

    config: BackboneConfig
    n_parameters: int
    n_in_blocks: int
    n_embedded: int
    n_trained: int
    n_layers: int
    n_heads: int
    width: int
    n_tokens: int
    rows_per_text: float
    assumed: str = ""

    @property
    def weights(self) -> float:
        """Bytes of the weights as they are captured and scored."""
        in_eight = self.n_in_blocks if self.config.quantization == "8bit" else 0
        return in_eight + float(_BYTES[self.config.dtype] * (self.n_parameters - in_eight))

    @property
    def batch(self) -> float:
        """Bytes of the largest batch of capture."""
        return float(_READ * _BYTES[self.config.dtype] * self.config.max_tokens * self.width)

    @property
    def moments(self) -> float:
        """Bytes of AdamW's two moments of what is trained; those of embeddings are never in 8 bits."""
        if self.config.optimizer == "adamw":
            return 8.0 * self.n_trained
        return 2.0 * self.n_trained + 6.0 * min(self.n_embedded, self.n_trained)

    @property
    def saved(self) -> float:
        """Bytes of the tuned classifier on the disk: of a frozen model that has a name, what was learned."""
        if self.config.tuning == "lora" and self.config.lora.merge:
            return float(_BYTES[self.config.dtype] * self.n_parameters)
        is_known = self.config.tuning == "full" or self.config.model is not None
        return 4.0 * (self.n_trained if is_known else self.n_trained + self.n_parameters)

    @property
    def checkpoint(self) -> float:
        """Bytes on the disk while it is tuned: what is trained, with its moments."""
        return 4.0 * self.n_trained + self.moments

    def tuning(self, device: torch.device) -> float:
        """Bytes at once while it is tuned: weights, gradients, moments, and what the backward pass needs.

        Weights that are trained are in float32, others in ``dtype``.
        """
        weights = 0 if self.config.tuning == "full" else self.weights
        kept = self._kept(self.config.batch_size * self.n_tokens, device)
        return weights + 8.0 * self.n_trained + self.moments + kept

    def attribution(self, device: torch.device) -> float:
        """Bytes at once while gradients are taken in the embeddings of a batch of tokens."""
        return self.weights + self._kept(self.config.max_tokens // TOKENS_PER_GRADIENT, device)

    def _kept(self, n_tokens: int, device: torch.device) -> float:
        """Bytes that the forward pass of a batch of the longest texts keeps for the backward pass.

        On a CPU weights of attention are among them; on a GPU attention is one kernel, which stores none.
        """
        config = self.config
        attention = 3 * self.n_heads * self.n_tokens if device.type == "cpu" else 0
        block, depth = _KEPT * self.width + attention, self.n_layers
        per_token = depth * self.width + block if config.gradient_checkpointing else depth * block
        half = computes_in_half(config, device) or (config.tuning != "full" and config.dtype != "float32")
        return 4.0 * n_tokens * per_token * (_HALVED if half else 1)


def backbone_size(config: BackboneConfig, texts: Sequence[str], label_names: Sequence[str]) -> BackboneSize:
    """Size a backbone on the meta device, where tensors have shapes and no numbers.

    A preset whose files cannot be had is made from the form that it states.

    Args:
        texts: a sample, of which the lengths count.
    Raises:
        ConfigError: no such model, or none that could be opened; says why.
    """
    config, facts = with_saved(config)
    model, kind, assumed = _on_meta(config, None if facts is None else facts.base, label_names)
    lengths = _lengths(texts, template_of(kind, config.template), label_names)
    limit = min(n for n in (config.max_length, n_positions(model), max(lengths)) if n is not None)
    own, blocks = model.config.get_text_config(), blocks_of(model, name=config.name)
    return BackboneSize(
        config=config,
        n_parameters=model.num_parameters(),
        n_in_blocks=sum(weight.numel() for weight in blocks.parameters()),
        n_embedded=sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding)),
        n_layers=len(blocks),
        n_heads=int(own.num_attention_heads),
        width=int(own.hidden_size),
        n_tokens=limit,
        rows_per_text=sum(_n_rows(length, limit, config) for length in lengths) / len(lengths),
        assumed=assumed,
        n_trained=_n_trained(config, model, kind),  # last, as it puts LoRA into the model
    )


def _on_meta(
    config: BackboneConfig, base: Base | None, label_names: Sequence[str]
) -> tuple[PreTrainedModel, Kind, str]:
    """The model from its files; from the form of its preset, which is said, where they cannot be had."""
    if config.architecture is not None:
        return *from_form(config, label_names), ""
    try:
        loaded = without_weights(base_config(config, base), label_names)
    except ConfigError:
        if config.form is None:
            raise
        said = f"{config.name}, whose files cannot be had here, has the form that its preset states"
        return *from_form(config, label_names), said
    return loaded.model, loaded.kind, ""


def _lengths(texts: Sequence[str], template: str | None, label_names: Sequence[str]) -> list[int]:
    """About the tokens of texts, uncut, with what is put around them."""
    prompts = [text if template is None else fill(template, text, label_names) for text in texts]
    return [1 + len(prompt) // _CHARACTERS_PER_TOKEN for prompt in prompts]


def _n_rows(length: int, limit: int, config: BackboneConfig) -> int:
    """Windows of a text, each as long as the limit, that share at least the overlap; or the one row."""
    if config.long_texts == "cut" or limit <= config.overlap:
        return 1
    return max(1, math.ceil((length - config.overlap) / (limit - config.overlap)))


def _n_trained(config: BackboneConfig, model: PreTrainedModel, kind: Kind) -> int:
    if config.tuning == "full":
        return model.num_parameters()
    if config.tuning == "lora":
        adapter = adapted(model, kind, config.lora, name=config.name)
        return sum(weight.numel() for weight in adapter.parameters() if weight.requires_grad)
    return config.soft_prompt.n_vectors * embeddings(model).embedding_dim if config.tuning != "none" else 0
