"""How large a backbone is and how long its texts are, from its configuration alone: no weight is read."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifsae.classifier._models import Loaded, token_limit, without_weights
from classifsae.classifier._reader import template_of
from classifsae.classifier._surgery import blocks_of
from classifsae.classifier._windows import places
from classifsae.classifier.classifier import checked_layer
from classifsae.classifier.config import BackboneConfig
from classifsae.data.prompt import fill


@dataclass(frozen=True)
class Outline:
    """The size of a backbone and of what it reads.

    Attributes:
        n_parameters: in all.
        n_in_blocks: parameters of the transformer blocks, through which every token goes.
        n_layers: number of blocks L.
        layer: hook layer l in 1..L.
        width: d.
        n_heads: attention heads.
        tokens_cut: mean tokens of a text with what is put around it, cut at the limit.
        rows_per_text: mean rows that a text becomes when it is captured.
        tokens_per_row: mean tokens of such a row.
    """

    n_parameters: int
    n_in_blocks: int
    n_layers: int
    layer: int
    width: int
    n_heads: int
    tokens_cut: float
    rows_per_text: float
    tokens_per_row: float


def outline(config: BackboneConfig, texts: Sequence[str], label_names: Sequence[str]) -> Outline:
    """Count a backbone's parameters on the meta device, and the tokens of some texts.

    Args:
        texts: a sample.
    Raises:
        ConfigError: no such model, or none that could be opened; says why.
    """
    loaded = without_weights(config, label_names, texts)
    own = loaded.model.config.get_text_config()
    blocks = blocks_of(loaded.model, name=config.name)
    limit = token_limit(loaded, config.max_length, name=config.name)
    around, *lengths = _lengths(config, loaded, ["", *texts], label_names)
    cut = [min(length, limit) for length in lengths]
    rows = [_n_rows(length - around, limit - around, config) for length in lengths]
    return Outline(
        n_parameters=loaded.model.num_parameters(),
        n_in_blocks=sum(weight.numel() for weight in blocks.parameters()),
        n_layers=len(blocks),
        layer=checked_layer(config.layer, len(blocks), loaded.kind, name=config.name),
        width=int(own.hidden_size),
        n_heads=int(own.num_attention_heads),
        tokens_cut=sum(cut) / len(cut),
        rows_per_text=sum(rows) / len(rows),
        tokens_per_row=sum(n * length for n, length in zip(rows, cut, strict=True)) / sum(rows),
    )


def _n_rows(length: int, room: int, config: BackboneConfig) -> int:
    if config.long_texts == "cut" or room <= config.overlap:
        return 1
    return len(places(length, room, config.overlap))


def _lengths(
    config: BackboneConfig, loaded: Loaded, texts: Sequence[str], label_names: Sequence[str]
) -> list[int]:
    template = template_of(loaded.kind, config.template)
    prompts = [text if template is None else fill(template, text, label_names) for text in texts]
    n_vectors = config.soft_prompt.n_vectors if config.tuning == "soft_prompt" else 0
    rows = loaded.tokenizer(prompts, truncation=False, verbose=False)["input_ids"]
    return [n_vectors + len(row) for row in rows]
