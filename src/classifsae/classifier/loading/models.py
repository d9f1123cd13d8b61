"""Models and tokenizers, loaded or made from a configuration, and checked to be of use as a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from classifsae.classifier.config import BackboneConfig, Kind, TokenizerOptions
from classifsae.classifier.loading.new_tokenizer import train_tokenizer
from classifsae.classifier.loading.soft_prompt import SoftPrompt
from classifsae.errors import ConfigError, UnknownNameError
from classifsae.hub.devices import Placement, placement
from classifsae.hub.files import BACKBONES, folder_with, locate, only_local
from classifsae.hub.quiet import quiet, seeded
from classifsae.storage import Json

if TYPE_CHECKING:
    from peft import PeftModel

    from classifsae.classifier.loading.frozen import Base

_OTHER_HEADS = ("ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
_AUTO = {"encoder": AutoModelForSequenceClassification, "decoder": AutoModelForCausalLM}
_UNDECLARED = {"deberta-v2": {"position_buckets", "norm_rel_ebd", "share_att_key"}}
"""Fields that a model reads from its configuration, though the configuration's class does not list them."""


@dataclass(frozen=True)
class Loaded:
    """A model with the tokenizer that it reads with.

    Attributes:
        model: with its prompt or adapter inside, if it has one.
        tokenizer: a fast one.
        kind: encoder or decoder.
        missing: names of weights that its files do not hold, which are therefore random.
        prompt: the soft prompt in front of its tokens.
        adapter: peft's handle on the low-rank changes inside it.
        base: where the frozen weights are, if they are kept by reference.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    kind: Kind
    missing: tuple[str, ...] = ()
    prompt: SoftPrompt | None = None
    adapter: "PeftModel | None" = None
    base: "Base | None" = None


def load_trained(config: BackboneConfig, device: torch.device) -> Loaded:
    """A model that is a classifier already, on the device only where its weights are placed one by one.

    Raises:
        ConfigError: no such model; weights that are missing, such as those of a classification head; several
            labels at once, or a regression.
    """
    with quiet():
        hf_config = _hf_config(config)
        kind = _kind(config, hf_config)
        _check_task(config, hf_config)
        where = _placement(config, device)
        model, missing = _pretrained(config, hf_config, kind, dtype=getattr(torch, config.dtype), where=where)
        if missing:
            raise ConfigError(
                f"{config.name} is no trained classifier, it lacks {missing[0]} "
                f"(and {len(missing) - 1} more); fine-tune it first (tuning: full)."
            )
        return Loaded(model, _tokenizer(config, hf_config), kind)


def load_untrained(config: BackboneConfig, label_names: Sequence[str], device: torch.device) -> Loaded:
    """A pretrained model with a head for these classes, fresh where it had none of that size.

    In float32, or, where little beside it will be trained, in the precision that is asked for.

    Args:
        label_names: of the classes; none: the model's own.
        device: only for weights that are placed one by one.

    Raises:
        ConfigError: no such model, or one whose blocks have no weights in the file.
    """
    with quiet(), seeded(config.seed):
        hf_config = _hf_config(config)
        kind = _kind(config, hf_config)
        if label_names:
            _set_labels(hf_config, label_names)
        dtype = torch.float32 if config.tuning == "full" else getattr(torch, config.dtype)
        where = _placement(config, device)
        model, missing = _pretrained(config, hf_config, kind, dtype=dtype, where=where)
        _check_body(config, model, missing)
        return Loaded(model, _tokenizer(config, hf_config), kind, tuple(missing))


def make(config: BackboneConfig, label_names: Sequence[str], prompts: Sequence[str], kind: Kind) -> Loaded:
    """A model with random weights and a tokenizer trained on the prompts."""
    options = config.tokenizer or TokenizerOptions()
    tokenizer = train_tokenizer(prompts, kind=kind, vocab_size=options.vocab_size)
    hf_config = _architecture(config.architecture or {})
    for name, value in {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }.items():
        setattr(hf_config, name, value)
    _set_labels(hf_config, label_names)
    with quiet(), seeded(config.seed):
        model = _AUTO[kind].from_config(hf_config, dtype=torch.float32)
    return Loaded(model, tokenizer, kind)


def without_weights(config: BackboneConfig, label_names: Sequence[str]) -> Loaded:
    """A model on the meta device, which has shapes and no weights, with its tokenizer.

    Raises:
        ConfigError: no such model.
    """
    with quiet():
        hf_config = _hf_config(config)
        kind = _kind(config, hf_config)
        _set_labels(hf_config, label_names)
        return Loaded(_on_meta(hf_config, kind), _tokenizer(config, hf_config), kind)


def from_form(config: BackboneConfig, label_names: Sequence[str]) -> tuple[PreTrainedModel, Kind]:
    """The model of an architecture, or of a preset from the form that it states, on the meta device.

    Raises:
        ConfigError: it states none.
    """
    form = config.architecture or config.form
    if form is None:
        raise ConfigError(f"the form of {config.name} is not known; give a preset, or a folder.")
    hf_config = _architecture(form)
    if config.architecture is not None:
        hf_config.vocab_size = (config.tokenizer or TokenizerOptions()).vocab_size
    kind = _kind(config, hf_config)
    _set_labels(hf_config, label_names)
    with quiet():
        return _on_meta(hf_config, kind), kind


def _on_meta(hf_config: PreTrainedConfig, kind: Kind) -> PreTrainedModel:
    with torch.device("meta"):
        model: PreTrainedModel = _AUTO[kind].from_config(hf_config, dtype=torch.float32)
        return model


def kind_of_architecture(config: BackboneConfig) -> Kind:
    """Encoder or decoder, for a model that is made from scratch."""
    return _kind(config, _architecture(config.architecture or {}))


def token_limit(loaded: Loaded, asked: int | None, *, name: str, reserved: int = 0) -> int:
    """Tokens that a model can read, or fewer if asked.

    Args:
        reserved: tokens that come on top, those of an answer.
    Raises:
        ConfigError: more are asked than the model has positions, or there is no limit to take.
    """
    positions = n_positions(loaded.model)
    own = min(n for n in (positions, loaded.tokenizer.model_max_length) if n is not None) - reserved
    if asked is not None and positions is not None and asked > positions - reserved:
        besides = f" beside the {reserved} of an answer" if reserved else ""
        raise ConfigError(
            f"max_length is {asked}, but {name} reads {positions - reserved} tokens at most{besides}; "
            f"lower it."
        )
    if asked is None and own > 10**9:
        raise ConfigError(f"{name} states no limit of its own; give max_length.")
    return asked if asked is not None else own


def n_positions(model: PreTrainedModel) -> int | None:
    """Positions of a model, less those that RoBERTa-like embeddings reserve for padding."""
    total = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, module in model.named_modules():
        is_table = name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
        if is_table and module.padding_idx is not None:
            return module.num_embeddings - module.padding_idx - 1
    return None if total is None or total < 1 else int(total)  # XLNet says -1


def _placement(config: BackboneConfig, device: torch.device) -> Placement:
    return placement(quantization=config.quantization, device_map=config.device_map, device=device)


def _hf_config(config: BackboneConfig) -> PreTrainedConfig:
    location = locate(config.model or "", sha256=config.sha256)
    local_only = only_local(location)
    try:
        found = AutoConfig.from_pretrained(location, revision=config.revision, local_files_only=local_only)
    except (OSError, ValueError) as error:
        if Path(location).is_dir():
            raise ConfigError(
                f"cannot read a model from {location}: {_first_sentence(error)}; "
                f"it must hold config.json, model.safetensors and tokenizer.json."
            ) from error
        why = "the hub cannot be reached from here" if local_only else _first_sentence(error)
        hint = f"A local folder or an id on the hub works too, but {why}."
        raise UnknownNameError("backbone", config.model or "", BACKBONES.names(), hint=hint) from error
    if found.is_encoder_decoder:
        raise ConfigError(
            f"{config.name} is an encoder-decoder ({found.model_type}); choose an encoder or a decoder."
        )
    return found


def _kind(config: BackboneConfig, hf_config: PreTrainedConfig) -> Kind:
    """The kind that is asked for, else the one the model was saved as, else the one its family is."""
    if config.kind != "auto":
        return config.kind
    saved_as = (hf_config.architectures or [""])[0]
    if saved_as.endswith("ForSequenceClassification"):
        return "encoder"
    if saved_as.endswith(("ForCausalLM", "LMHeadModel")):
        return "decoder"
    family = hf_config.model_type
    if family in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "encoder"
    if family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "decoder"
    if family in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return "encoder"
    raise ConfigError(f"{config.name} ({family}) is neither a text encoder nor a decoder; choose another.")


def _check_task(config: BackboneConfig, hf_config: PreTrainedConfig) -> None:
    made_for = (hf_config.architectures or [""])[0]
    if made_for.endswith(_OTHER_HEADS):
        # Its head may carry the names that a sequence classifier's has, and would be taken for one.
        raise ConfigError(
            f"{config.name} is a {made_for}, which does not label whole texts; needs a sequence "
            f"classifier, a language model, or fine-tuning (tuning: full)."
        )
    task = hf_config.problem_type
    if task in ("multi_label_classification", "regression") or hf_config.num_labels == 1:
        raise ConfigError(
            f"{config.name} does {(task or 'regression').replace('_', ' ')}; "
            f"needs a model that gives one label out of several classes."
        )


def _pretrained(
    config: BackboneConfig,
    hf_config: PreTrainedConfig,
    kind: Kind,
    *,
    dtype: torch.dtype,
    where: Placement | None = None,
) -> tuple[PreTrainedModel, list[str]]:
    """The model, and the names of weights that its files do not hold."""
    location = locate(config.model or "")
    try:
        model, info = _AUTO[kind].from_pretrained(
            location,
            config=hf_config,
            revision=config.revision,
            dtype=dtype,
            use_safetensors=True,  # nothing is ever unpickled
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=only_local(location),
            **(where or {}),
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        why = _first_sentence(error)
        files = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)
        if all(folder_with(location, file, revision=config.revision) is None for file in files):
            why = _to_convert(location, config, hf_config, kind)
        raise ConfigError(
            f"cannot load {config.name} as {kind}: {why}; weights are read from safetensors files only."
        ) from error
    mismatched = [str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]]
    return model, sorted({*info["missing_keys"], *mismatched})


def _to_convert(location: str, config: BackboneConfig, hf_config: PreTrainedConfig, kind: Kind) -> str:
    """What to do with a model whose weights are pickled, or not there."""
    usual = "AutoModel" if kind == "encoder" else "AutoModelForCausalLM"
    model, to = (hf_config.architectures or [usual])[0], f"{config.name}-safetensors"
    source = f"'{location}'" if config.revision is None else f"'{location}', revision='{config.revision}'"
    steps = "; ".join(
        f"t.{name}.from_pretrained({source}).save_pretrained('{to}')" for name in (model, "AutoTokenizer")
    )
    return (
        f"{location} holds no {SAFE_WEIGHTS_NAME}; if its weights are pickled and you trust their author, "
        f'convert them once, python -c "import transformers as t; {steps}", and give ./{to} as the model'
    )


def _check_body(config: BackboneConfig, model: PreTrainedModel, missing: list[str]) -> None:
    body = f"{model.base_model_prefix}."
    lost = [name for name in missing if name.startswith(body) and "pooler" not in name]
    if lost:
        raise ConfigError(
            f"{config.name}: its files hold no weights for {lost[0]} (and {len(lost) - 1} more); "
            f"they are of another architecture, or damaged."
        )


def _tokenizer(config: BackboneConfig, hf_config: PreTrainedConfig) -> PreTrainedTokenizerFast:
    location = locate(config.model or "")
    local_only = only_local(location)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            location, revision=config.revision, local_files_only=local_only, config=hf_config
        )
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"cannot load the tokenizer of {config.name}: {_first_sentence(error)}.") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigError(
            f"{config.name} has no fast tokenizer (tokenizer.json); convert it, or choose another."
        )
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # made up, as the files were missing
        raise ConfigError(f"{config.name} comes without the vocabulary of its tokenizer; add tokenizer.json.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ConfigError(f"the tokenizer of {config.name} has neither a pad nor an end token; give it one.")
    return tokenizer


def _architecture(fields: dict[str, Json]) -> PreTrainedConfig:
    """A Hugging Face configuration from its fields, which it would otherwise take whatever they are called.

    Raises:
        ConfigError: unknown model type or field, or values that the configuration refuses.
    """
    given = dict(fields)
    family = str(given.pop("model_type", ""))
    if family not in CONFIG_MAPPING:
        raise UnknownNameError("model_type", family, CONFIG_MAPPING.keys())
    blank = CONFIG_MAPPING[family]()
    known = {*blank.to_dict(), *blank.attribute_map, *_UNDECLARED.get(family, ())}
    for name in given:
        if name not in known:
            raise UnknownNameError(f"field of {family}", name, known)
    try:
        return CONFIG_MAPPING[family].from_dict(given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"architecture: {_first_sentence(error)}.") from error


def _set_labels(hf_config: PreTrainedConfig, label_names: Sequence[str]) -> None:
    hf_config.id2label = dict(enumerate(label_names))
    hf_config.label2id = {name: index for index, name in enumerate(label_names)}
    hf_config.problem_type = "single_label_classification"


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".:")
