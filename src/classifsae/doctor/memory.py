"""Bytes of weights, gradients, moments and activations, and of what stays on the disk."""

from classifsae.classifier.config import BackboneConfig
from classifsae.classifier.sizing import Outline

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

_HALVED = 0.6  # of activations, when most but not all of them are in 16 bits
_BLOCK = 256  # weights whose 8-bit moments share a scale of 4 bytes
_ATTENTION = 3  # arrays of attention weights that a block holds at once
_READING = 12  # numbers per token and neuron that a forward pass without gradients holds at once


def loaded(shape: Outline, config: BackboneConfig) -> float:
    """Bytes of the weights of a classifier that is read; the blocks' in 8 bits if asked for."""
    each = BYTES[config.dtype]
    if config.quantization == "8bit":
        return shape.n_in_blocks + each * float(shape.n_parameters - shape.n_in_blocks)
    return float(each * shape.n_parameters)


def moments(shape: Outline, config: BackboneConfig) -> float:
    """Bytes of AdamW's two moments of what is trained; those of embeddings are never in 8 bits."""
    if config.optimizer == "adamw":
        return 8.0 * shape.n_trained
    wide = min(shape.n_embedded, shape.n_trained) if config.tuning == "full" else 0
    return 8.0 * wide + (2 + 8 / _BLOCK) * (shape.n_trained - wide)


def activations(shape: Outline, config: BackboneConfig, *, device: str, half: bool) -> float:
    """Bytes that the forward pass keeps for the backward pass, of the longest texts together."""
    if shape.kept is None:
        return 0.0
    kept = float(shape.kept.others + (0 if device in shape.fused else shape.kept.attention))
    if config.gradient_checkpointing:
        states = 4.0 * config.batch_size * shape.tokens_longest * shape.width * shape.n_layers
        kept = kept / shape.n_layers + states
    in_half = half or (config.tuning != "full" and config.dtype != "float32")
    return kept * (_HALVED if in_half else 1)


def training(shape: Outline, config: BackboneConfig, *, device: str, half: bool) -> float:
    """Bytes that tuning holds at once: weights, gradients and moments of the trained ones, activations.

    In full tuning weights are in float32, with a copy of the blocks' in 16 bits where it computes in those;
    frozen ones are in ``dtype``, and what is trained beside them in float32.
    """
    if config.tuning == "full":
        weights = 4.0 * shape.n_parameters + (2.0 * shape.n_in_blocks if half else 0)
    else:
        weights = float(BYTES[config.dtype] * shape.n_parameters) + 4.0 * shape.n_trained
    trained = 4.0 * shape.n_trained + moments(shape, config)
    return weights + trained + activations(shape, config, device=device, half=half)


def reading(shape: Outline, config: BackboneConfig, n_tokens: float) -> float:
    """Bytes that one batch of capture holds beside the weights, stored attention of one block among them."""
    stored = 0 if shape.fused else _ATTENTION * shape.n_heads * shape.tokens_per_row
    return BYTES[config.dtype] * n_tokens * (_READING * shape.width + stored)


def saved(shape: Outline, config: BackboneConfig) -> float:
    """Bytes of a tuned classifier on the disk: of a frozen model that has a name only what was learned."""
    if config.tuning == "full":
        return 4.0 * shape.n_parameters
    if config.tuning == "lora" and config.lora.merge:
        return float(BYTES[config.dtype] * shape.n_parameters)
    beside = 4.0 * shape.n_parameters if config.architecture is not None else 0.0
    return 4.0 * shape.n_trained + beside


def checkpoint(shape: Outline, config: BackboneConfig) -> float:
    """Bytes of a checkpoint of training: what is trained, with its moments."""
    return 4.0 * shape.n_trained + moments(shape, config)
