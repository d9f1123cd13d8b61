"""How large a backbone is and how long its texts are, from its configuration alone: no weight is read."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from classifsae.classifier._kept import Kept, kept_bytes
from classifsae.classifier.classifier import checked_layer
from classifsae.classifier.config import BackboneConfig, Kind
from classifsae.classifier.loading.adapters import adapted
from classifsae.classifier.loading.frozen import base_config
from classifsae.classifier.loading.loaded import n_positions, token_limit
from classifsae.classifier.loading.models import from_form, without_weights
from classifsae.classifier.loading.new_tokenizer import train_tokenizer
from classifsae.classifier.loading.saved import with_saved
from classifsae.classifier.loading.soft_prompt import embeddings
from classifsae.classifier.opening.blocks import blocks_of
from classifsae.classifier.reading.reader import template_of
from classifsae.classifier.reading.windows import places
from classifsae.data.prompt import fill
from classifsae.errors import ConfigError

CHARACTERS_PER_TOKEN = 4
"""Of English, where no tokenizer is at hand."""

_FORM = (
    "{}, whose files cannot be had here, has the form that its preset states, and reads a token for every "
    f"{CHARACTERS_PER_TOKEN} characters"
)


@dataclass(frozen=True)
class Outline:
    """The size of a backbone and of what it reads.

    Attributes:
        n_parameters: in all, before anything is put beside them.
        n_in_blocks: parameters of the transformer blocks, through which every token goes.
        n_embedded: parameters of the tables of embeddings.
        n_trained: parameters that tuning changes; 0 for a model that is not tuned.
        n_layers: number of blocks L.
        layer: hook layer l in 1..L.
        width: d.
        n_heads: attention heads.
        tokens_cut: mean tokens of a text with what is put around it, cut at the limit.
        tokens_longest: of the longest text, cut likewise.
        rows_per_text: mean rows that a text becomes when it is captured.
        tokens_per_row: mean tokens of such a row.
        kept: what a float32 model keeps of a batch of the longest texts for the backward pass; None where
            nothing is tuned.
        fused: kinds of devices on which weights of attention are never stored.
        assumed: what is taken from the preset or by rule, as there was no file to read; in words.
    """

    n_parameters: int
    n_in_blocks: int
    n_embedded: int
    n_trained: int
    n_layers: int
    layer: int
    width: int
    n_heads: int
    tokens_cut: float
    tokens_longest: int
    rows_per_text: float
    tokens_per_row: float
    kept: Kept | None
    fused: frozenset[str]
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Skeleton:
    """A model without numbers, and with a tokenizer if there is one at hand."""

    model: PreTrainedModel
    kind: Kind
    tokenizer: PreTrainedTokenizerFast | None
    limit: int
    n_slots: int
    assumed: tuple[str, ...] = ()

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of prompts, uncut, with the vectors of a soft prompt."""
        if self.tokenizer is None:
            counts = [max(1, -(-len(prompt) // CHARACTERS_PER_TOKEN)) for prompt in prompts]
        else:
            rows = self.tokenizer(list(prompts), truncation=False, verbose=False)["input_ids"]
            counts = [len(row) for row in rows]
        return [self.n_slots + count for count in counts]


def outline(config: BackboneConfig, texts: Sequence[str], label_names: Sequence[str]) -> Outline:
    """Count a backbone's parameters on the meta device, and the tokens of some texts.

    A preset whose files cannot be had is made from the form that it states.

    Args:
        texts: a sample.
    Raises:
        ConfigError: no such model, or none that could be opened; says why.
    """
    found = _skeleton(config, texts, label_names)
    model, own = found.model, found.model.config.get_text_config()
    n_parameters, blocks = model.num_parameters(), blocks_of(model, name=config.name)
    n_in_blocks = sum(weight.numel() for weight in blocks.parameters())
    around, *lengths = found.lengths(_prompts(config, found.kind, ["", *texts], label_names))
    cut = [min(length, found.limit) for length in lengths]
    rows = [_n_rows(length - around, found.limit - around, config) for length in lengths]
    return Outline(
        n_parameters=n_parameters,
        n_in_blocks=n_in_blocks,
        n_embedded=sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding)),
        n_trained=_n_trained(config, model, found.kind),
        n_layers=len(blocks),
        layer=checked_layer(config.layer, len(blocks), found.kind, name=config.name),
        width=int(own.hidden_size),
        n_heads=int(own.num_attention_heads),
        tokens_cut=sum(cut) / len(cut),
        tokens_longest=max(cut),
        rows_per_text=sum(rows) / len(rows),
        tokens_per_row=sum(n * length for n, length in zip(rows, cut, strict=True)) / sum(rows),
        kept=_kept(config, model, max(cut)),
        fused=_fused(own),
        assumed=found.assumed,
    )


def _skeleton(config: BackboneConfig, texts: Sequence[str], label_names: Sequence[str]) -> _Skeleton:
    """The model from its files; from the form of its preset, where they cannot be had."""
    config, facts = with_saved(config)
    config = base_config(config, None if facts is None else facts.base)
    n_slots = config.soft_prompt.n_vectors if config.tuning == "soft_prompt" else 0
    n_slots = n_slots if facts is None else facts.n_vectors
    if config.architecture is not None:
        model, kind = from_form(config, label_names)
        tokenizer = train_tokenizer(texts, kind=kind, vocab_size=model.config.vocab_size)
        limits = [n for n in (config.max_length, n_positions(model)) if n is not None]
        return _Skeleton(model, kind, tokenizer, min(limits), n_slots)
    try:
        loaded = without_weights(config, label_names)
    except ConfigError:
        if config.form is None:
            raise
        model, kind = from_form(config, label_names)
        positions = n_positions(model)
        limits = [n for n in (config.max_length, positions) if n is not None]
        return _Skeleton(model, kind, None, min(limits), n_slots, (_FORM.format(config.name),))
    limit = token_limit(loaded, config.max_length, name=config.name)
    return _Skeleton(loaded.model, loaded.kind, loaded.tokenizer, limit, n_slots)


def _n_trained(config: BackboneConfig, model: PreTrainedModel, kind: Kind) -> int:
    """Weights that tuning changes; all others of the model want no gradients from now on.

    Raises:
        ConfigError: LoRA without peft, or without modules to change.
    """
    if config.tuning == "lora":
        adapter = adapted(model, kind, config.lora, name=config.name)
        return sum(weight.numel() for weight in adapter.parameters() if weight.requires_grad)
    if config.tuning == "full":
        return model.num_parameters()
    model.requires_grad_(False)
    n_vectors = config.soft_prompt.n_vectors if config.tuning == "soft_prompt" else 0
    return n_vectors * embeddings(model).embedding_dim


def _kept(config: BackboneConfig, model: PreTrainedModel, n_tokens: int) -> Kept | None:
    if config.tuning == "none":
        return None
    return kept_bytes(model, n_rows=config.batch_size, n_tokens=n_tokens)


def _fused(own: PreTrainedConfig) -> frozenset[str]:
    """Where attention is one kernel: not if the model computes it step by step, nor on a CPU with dropout."""
    if own._attn_implementation == "eager":
        return frozenset()
    drops = any(value for name, value in own.to_dict().items() if "att" in name and "drop" in name)
    return frozenset({"cuda"} if drops else {"cuda", "cpu"})


def _n_rows(length: int, room: int, config: BackboneConfig) -> int:
    if config.long_texts == "cut" or room <= config.overlap:
        return 1
    return len(places(length, room, config.overlap))


def _prompts(
    config: BackboneConfig, kind: Kind, texts: Sequence[str], label_names: Sequence[str]
) -> list[str]:
    template = template_of(kind, config.template)
    return [text if template is None else fill(template, text, label_names) for text in texts]
