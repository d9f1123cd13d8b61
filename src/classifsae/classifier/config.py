"""What a backbone is and how it is tuned: a preset, path, hub id or mapping becomes one checked record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, JsonValue, ValidationError, field_validator, model_validator

from classifsae.bounds import Name, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Seed
from classifsae.classifier.loading.toy import shrunk
from classifsae.errors import ConfigError, one_line
from classifsae.hub.files import BACKBONES

Kind = Literal["encoder", "decoder"]
LongTexts = Literal["cut", "windows"]

DEFAULT_EPOCHS = 3.0
UNMERGED = "changes added to weights in 8 bits would be rounded; set lora.merge to false"


class TokenizerOptions(BaseModel, frozen=True, extra="forbid"):
    """A byte-level BPE tokenizer trained on the training texts; every digit is a token of its own.

    Attributes:
        vocab_size: number of tokens at most, at least the 256 bytes and the special tokens.
    """

    vocab_size: Annotated[int, Field(ge=300, le=10**7)] = 8192


class SoftPromptOptions(BaseModel, frozen=True, extra="forbid"):
    """Trainable vectors in front of the token embeddings of a frozen decoder (spec section 2).

    Attributes:
        n_vectors: v.
        learning_rate: AdamW's at the first step.
        final_learning_rate: AdamW's at the last step; it falls linearly, without warm-up.
    """

    n_vectors: PositiveInt = 10
    learning_rate: PositiveFloat = 5e-3
    final_learning_rate: PositiveFloat = 1e-4


class LoraOptions(BaseModel, frozen=True, extra="forbid"):
    """Trainable low-rank changes of a frozen model's linear maps (Hu et al. 2021, arXiv:2106.09685).

    Attributes:
        rank: of each change.
        alpha: changes are scaled by alpha / rank.
        dropout: share of a change's inputs that is dropped in training.
        target_modules: names, or their ends, of the maps to change; "all-linear"; None: peft's own choice.
        learning_rate: peak of the cosine schedule.
        merge: save the whole model with the changes added; else the adapter alone, with a reference to it.
    """

    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    target_modules: tuple[str, ...] | Literal["all-linear"] | None = None
    learning_rate: PositiveFloat = 2e-4
    merge: bool = True


class _Part(BaseModel, frozen=True, extra="forbid"):
    """Options that belong together; unknown ones are refused."""


class Files(_Part):
    """Where the files of a model are.

    Attributes:
        preset: the preset that these options started from; set by ``resolve_backbone``.
        model: a preset, a local folder, a hub id, or ``package:NAME`` for weights inside a Python package.
        sha256: SHA-256 that ``model.safetensors`` must have, checked before use.
        revision: branch, tag or commit on the hub.
        form: of a preset, ``model_type`` and sizes, so that its costs are known without its files.
    """

    preset: str | None = None
    model: Name | None = None
    sha256: str | None = None
    revision: Name | None = None
    form: dict[str, JsonValue] | None = None


class Origin(Files):
    """Which weights, and how they are placed.

    Attributes:
        architecture: instead of ``model``: fields of a Hugging Face configuration, for random weights.
        tokenizer: of a model from scratch.
        tiny: the preset's architecture at toy size with random weights, to try an experiment in seconds.
        kind: a sequence classifier, or a language model that answers with a label token; "auto" follows
            what the model was saved as, else the family it is of.
        quantization: "8bit" loads the matrices of blocks that are not tuned in 8 bits (needs bitsandbytes).
        device_map: "auto" spreads a model that is not tuned over all GPUs.
    """

    architecture: dict[str, JsonValue] | None = None
    tokenizer: TokenizerOptions | None = None
    tiny: bool = False
    kind: Literal["auto", "encoder", "decoder"] = "auto"
    quantization: Literal["8bit"] | None = None
    device_map: Literal["auto"] | None = None


class Input(_Part):
    """What the model is given of a text, when it is tuned and when it is read.

    Attributes:
        template: what is put around a text; None: nothing for an encoder, the list of options for a decoder.
        answers: what a decoder answers for each class, each word one token, in the order of the classes or
            as label to word; None: the index of the class.
        max_length: tokens at most; None: the model's limit.
    """

    template: str | None = None
    answers: tuple[str, ...] | dict[str, str] | None = None
    max_length: PositiveInt | None = None


class Reading(Input):
    """How a text becomes a hidden state.

    Attributes:
        layer: hook layer l in 1..L, or negative, counted from the end: -1 is L. None: L for an encoder,
            L - 1 for a decoder.
        long_texts: how longer texts are captured: "cut", as in training, or as overlapping "windows".
        overlap: tokens that neighbouring windows share at least.
        dtype: precision of a trained classifier, and of weights that stay frozen while others are tuned.
        max_tokens: padded tokens per batch when activations are captured.
    """

    layer: int | None = None
    long_texts: LongTexts = "cut"
    overlap: NonNegativeInt = 32
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    max_tokens: PositiveInt = 16384


class Learned(_Part):
    """What is learned: the model, or a part beside it.

    Attributes:
        tuning: "full" trains all weights, "soft_prompt" and "lora" a few beside frozen ones; "none" means
            that the model is a classifier already.
        soft_prompt, lora: options of that tuning.
    """

    tuning: Literal["full", "soft_prompt", "lora", "none"] = "full"
    soft_prompt: SoftPromptOptions = SoftPromptOptions()
    lora: LoraOptions = LoraOptions()


class Tuning(Learned):
    """How the model is aligned with the task. Published values: spec section 2.

    Attributes:
        n_steps: optimiser steps; excludes ``n_epochs``.
        n_epochs: passes over the training texts; 3 if neither is given.
        batch_size: texts per forward pass.
        gradient_accumulation: forward passes per optimiser step.
        learning_rate: of full tuning: peak of a cosine schedule.
        weight_decay: decoupled weight decay of AdamW.
        warmup: share of the steps in which the rate rises linearly; none for a soft prompt.
        clip: largest gradient norm.
        gradient_checkpointing: recompute instead of store, to save memory.
        precision: of both passes, weights stay in float32; "auto": bf16 where the device computes in it.
        optimizer: AdamW, with 32-bit or 8-bit states (the latter needs bitsandbytes).
        class_weights: weigh class c by N / (C n_c).
        seed: of initial weights, order and dropout.
    """

    n_steps: PositiveInt | None = None
    n_epochs: PositiveFloat | None = None
    batch_size: PositiveInt = 16
    gradient_accumulation: PositiveInt = 1
    learning_rate: PositiveFloat = 2e-6
    weight_decay: NonNegativeFloat = 0.01
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    clip: PositiveFloat = 1.0
    gradient_checkpointing: bool = False
    precision: Literal["float32", "bf16", "fp16", "auto"] = "float32"
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    class_weights: bool = False
    seed: Seed = 42


class BackboneConfig(Tuning, Reading, Origin):
    """A backbone: where its weights are from, how it is tuned, and how it reads a text.

    Every field belongs to one of the three parts, and the part decides what is made again when it changes.
    """

    def training_fields(self) -> dict[str, JsonValue]:
        """Options that decide the trained weights: where one differs, the model is trained again."""
        fields = {*Origin.model_fields, *Input.model_fields, *Tuning.model_fields}
        if self.tuning != "full":
            fields.add("dtype")  # the frozen weights that are tuned beside are loaded in it
        return self.model_dump(mode="json", include=fields)

    def loading_fields(self) -> dict[str, JsonValue]:
        """Options that decide, beside its files, what a model that is not tuned here computes."""
        fields = {*Origin.model_fields, *Learned.model_fields} - Files.model_fields.keys()
        return self.model_dump(mode="json", include=fields)

    def reading_fields(self) -> dict[str, JsonValue]:
        """Options that decide the states of a trained model: where one differs, they are captured again."""
        return self.model_dump(mode="json", include=set(Reading.model_fields))

    @property
    def name(self) -> str:
        """What to call the backbone in messages, tables and folders."""
        if self.preset is not None:
            return f"{self.preset}-tiny" if self.tiny else self.preset
        if self.model is not None:
            return self.model.rstrip("/").split("/")[-1].removeprefix("package:")
        return str((self.architecture or {}).get("model_type"))

    @field_validator("answers", mode="before")
    @classmethod
    def _words(cls, given: JsonValue) -> JsonValue:
        words = list(given.values()) if isinstance(given, dict) else given
        if words is None or (isinstance(words, list | tuple) and all(isinstance(w, str) for w in words)):
            return given
        raise ValueError(
            f"must be a list of words or label: word, got {given!r}; quote numbers, 'yes' and 'no', "
            f"which YAML does not read as words"
        )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        scratch, unmerged = self.architecture is not None, self.tuning == "lora" and not self.lora.merge
        eight_bits = self.quantization is not None
        contradictions = {
            "a preset is named as model, such as model: minilm": self.preset and not (self.model or scratch),
            "give exactly one of model and architecture": (self.model is not None) == scratch,
            "tokenizer is for an architecture; a model brings its own": self.tokenizer and not scratch,
            "an architecture has random weights; tuning must be full": scratch and self.tuning == "none",
            "lora.merge is false, but there is no model to refer to; set it to true": scratch and unmerged,
            "weights in 8 bits stay as they are; tuning must be lora, soft_prompt or none": eight_bits
            and (scratch or self.tuning == "full"),
            UNMERGED: eight_bits and self.tuning == "lora" and self.lora.merge,
            "device_map is for a model that is not tuned; tuning must be none": self.device_map
            and self.tuning != "none",
            "give one of n_steps and n_epochs, not both": self.n_steps and self.n_epochs,
        }
        if found := [said for said, holds in contradictions.items() if holds]:
            raise ValueError(found[0])
        return self


def resolve_backbone(
    given: str | Path | Mapping[str, JsonValue] | BackboneConfig, **overrides: JsonValue
) -> BackboneConfig:
    """The full record behind what a user may write for a backbone.

    Args:
        given: a preset, local folder or hub id; or fields, whose ``model`` may name a preset to start from.
        overrides: fields that replace those of ``given``.
    Raises:
        ConfigError: unknown or contradictory fields.
    """
    fields = _fields(given)
    model = fields.get("model")
    if isinstance(model, str) and (preset := BACKBONES.find(model)) is not None:
        given_fields = {k: v for k, v in fields.items() if k != "model"}
        fields = _overlay({**BACKBONES.fields(model), "preset": preset.stem}, given_fields)
    fields = _overlay(fields, overrides)
    if fields.get("tiny") and "architecture" not in fields:
        fields = shrunk(fields)
    try:
        return BackboneConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"backbone: {one_line(error, known=BackboneConfig.model_fields)}.") from error


def _fields(given: str | Path | Mapping[str, JsonValue] | BackboneConfig) -> dict[str, JsonValue]:
    if isinstance(given, BackboneConfig):
        return given.model_dump(mode="json", exclude_unset=True)
    if isinstance(given, Mapping):
        return dict(given)
    return {"model": str(given)}


def _overlay(base: dict[str, JsonValue], top: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """``top`` over ``base``; a new budget, in steps or in epochs, replaces the old one."""
    budget = {"n_steps", "n_epochs"}
    dropped = budget if any(top.get(name) is not None for name in budget) else set()
    return {**{k: v for k, v in base.items() if k not in dropped}, **top}
