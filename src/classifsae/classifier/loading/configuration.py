"""A model's Hugging Face configuration: read from its files or made from fields, and checked."""

from collections.abc import Sequence
from pathlib import Path

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from classifsae.classifier.config import BackboneConfig, Kind
from classifsae.errors import ConfigError, UnknownNameError
from classifsae.hub.files import BACKBONES, locate, only_local
from classifsae.hub.quiet import as_config_error, quiet
from classifsae.storage import Json

_OTHER_HEADS = ("ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
MOST_LAYERS = 1000
_UNDECLARED = {"deberta-v2": {"position_buckets", "norm_rel_ebd", "share_att_key"}}
"""Fields that a model reads from its configuration, though the configuration's class does not list them."""


def read_configuration(config: BackboneConfig) -> PreTrainedConfig:
    """The configuration of a model, here or on the hub.

    Raises:
        ConfigError: there is no such model, or it is of a type that cannot be opened.
    """
    location = locate(config.model or "", sha256=config.sha256)
    local_only = only_local(location)
    cure = (
        "it must hold config.json, model.safetensors and tokenizer.json, of a model type that transformers "
        "has itself (code that comes with a model is never run)"
    )
    with as_config_error(f"cannot read a model from {location}", cure=cure):
        try:
            found = AutoConfig.from_pretrained(
                location, revision=config.revision, local_files_only=local_only, trust_remote_code=False
            )
        except OSError as error:
            if Path(location).is_dir():
                raise
            why = "the hub cannot be reached from here" if local_only else str(error).strip().split("\n")[0]
            hint = f"A local folder or an id on the hub works too, but {why.rstrip('.')}."
            raise UnknownNameError("backbone", config.model or "", BACKBONES.names(), hint=hint) from error
    require_layers(found, name=config.name)
    if found.is_encoder_decoder:
        raise ConfigError(
            f"{config.name} is an encoder-decoder ({found.model_type}); choose an encoder or a decoder."
        )
    return found


def require_layers(hf_config: PreTrainedConfig, *, name: str) -> None:
    """Refuse a number of blocks that no model has, before as many are made.

    Raises:
        ConfigError: it has none, or more than a thousand.
    """
    n_layers = getattr(hf_config.get_text_config(), "num_hidden_layers", None)
    if isinstance(n_layers, int) and not 1 <= n_layers <= MOST_LAYERS:
        raise ConfigError(
            f"{name} states {n_layers} blocks (num_hidden_layers), needs 1 to {MOST_LAYERS}; correct its "
            f"configuration."
        )


def kind_of(config: BackboneConfig, hf_config: PreTrainedConfig) -> Kind:
    """The kind that is asked for, else the one the model was saved as, else the one its family is.

    Raises:
        ConfigError: it is of neither kind.
    """
    if config.kind != "auto":
        return config.kind
    saved_as, family = _saved_as(hf_config), hf_config.model_type
    if saved_as.endswith("ForSequenceClassification"):
        return "encoder"
    if saved_as.endswith(("ForCausalLM", "LMHeadModel")):
        return "decoder"
    if family in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "encoder"
    if family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "decoder"
    if family in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return "encoder"
    raise ConfigError(f"{config.name} ({family}) is neither a text encoder nor a decoder; choose another.")


def width_of(config: BackboneConfig) -> int | None:
    """Width d of a model's hidden states by its configuration alone; None where that does not say.

    Raises:
        ConfigError: no such model.
    """
    with quiet():
        made = config.architecture is not None
        hf_config = from_architecture(config.architecture or {}) if made else read_configuration(config)
    return getattr(hf_config.get_text_config(), "hidden_size", None)


def check_task(hf_config: PreTrainedConfig, *, name: str) -> None:
    """Refuse a trained model that does not give a text one label out of several.

    Raises:
        ConfigError: says what it does instead.
    """
    made_for = _saved_as(hf_config)
    if made_for.endswith(_OTHER_HEADS):
        # Its head may carry the names that a sequence classifier's has, and would be taken for one.
        raise ConfigError(
            f"{name} is a {made_for}, which does not label whole texts; needs a sequence classifier, "
            f"a language model, or fine-tuning (tuning: full)."
        )
    task = hf_config.problem_type
    if task in ("multi_label_classification", "regression") or hf_config.num_labels == 1:
        raise ConfigError(
            f"{name} does {(task or 'regression').replace('_', ' ')}; "
            f"needs a model that gives one label out of several classes."
        )


def class_names(hf_config: PreTrainedConfig, *, name: str) -> tuple[str, ...]:
    """The names that a sequence classifier has for its classes, in the order of its logits.

    Raises:
        ConfigError: they are no names of 0, 1, 2 and so on, or one stands there twice.
    """
    given: dict[int, object] = {int(index): label for index, label in (hf_config.id2label or {}).items()}
    names = tuple(str(given[i]) for i in range(len(given)) if isinstance(given.get(i), str | int))
    if len(set(names)) < len(given):
        raise ConfigError(
            f"id2label in the config.json of {name} is {given}, but must give 0 to {len(given) - 1} a name "
            f"each, all different; correct it there."
        )
    return names


def set_labels(hf_config: PreTrainedConfig, label_names: Sequence[str]) -> None:
    """Let a model have one class for each of these names."""
    hf_config.id2label = dict(enumerate(label_names))
    hf_config.label2id = {name: index for index, name in enumerate(label_names)}
    hf_config.problem_type = "single_label_classification"


def from_architecture(fields: dict[str, Json]) -> PreTrainedConfig:
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
    with as_config_error("architecture", cure=f"see the configuration of {family} in transformers"):
        made: PreTrainedConfig = CONFIG_MAPPING[family].from_dict(given)
    require_layers(made, name="architecture")
    return made


def _saved_as(hf_config: PreTrainedConfig) -> str:
    """The class that a model was saved from; "" if unknown."""
    saved_from = hf_config.architectures
    return str(saved_from[0]) if isinstance(saved_from, list) and saved_from else ""
