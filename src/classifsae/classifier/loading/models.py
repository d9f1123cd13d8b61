"""Models with their tokenizers, loaded from files or made from a configuration."""

from collections.abc import Sequence
from itertools import product

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from classifsae.classifier.config import BackboneConfig, Kind, TokenizerOptions
from classifsae.classifier.loading.configuration import (
    check_task,
    class_names,
    from_architecture,
    kind_of,
    read_configuration,
    set_labels,
)
from classifsae.classifier.loading.loaded import Loaded
from classifsae.classifier.loading.tokenizer import (
    check_vocabulary,
    load_tokenizer,
    settings_in,
    train_tokenizer,
)
from classifsae.classifier.reading.reader import answer_words, template_of
from classifsae.data.prompt import TEXT, fill
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError
from classifsae.hub.devices import placement
from classifsae.hub.files import folder_with, locate, only_local
from classifsae.hub.quiet import as_config_error, quiet, seeded

_AUTO = {"encoder": AutoModelForSequenceClassification, "decoder": AutoModelForCausalLM}


def load_trained(config: BackboneConfig, device: torch.device) -> Loaded:
    """A model that is a classifier already, on the device only where its weights are placed one by one.

    Raises:
        ConfigError: no such model; weights that are missing; several labels at once, or a regression.
    """
    with quiet():
        hf_config = read_configuration(config)
        check_task(hf_config, name=config.name)
        loaded = _pretrained(config, hf_config, dtype=getattr(torch, config.dtype), device=device)
    if missing := loaded.missing:
        raise ConfigError(
            f"{config.name} is no trained classifier, it lacks {missing[0]} "
            f"(and {len(missing) - 1} more); fine-tune it first (tuning: full)."
        )
    return loaded


def in_memory(model: object, tokenizer: object, *, kind: Kind | None, name: str) -> Loaded:
    """A trained classifier that was loaded by transformers already.

    Args:
        kind: None: that of the model's class.
        name: what messages call it.
    Raises:
        ConfigError: it is no such model, is wrapped in another, or has no fast tokenizer.
    """
    if not isinstance(model, PreTrainedModel):
        raise ConfigError(
            f"{name} is a {type(model).__name__}, no model of transformers; give a sequence classifier or "
            f"causal language model (one of peft after merge_and_unload())."
        )
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigError(f"{name}: the tokenizer is a {type(tokenizer).__name__}; give a fast tokenizer.")
    made_as = type(model).__name__
    if kind is None and not made_as.endswith(("ForSequenceClassification", "ForCausalLM", "LMHeadModel")):
        raise ConfigError(f"{name} is a {made_as}; give a sequence classifier or a causal language model.")
    found = kind or ("encoder" if made_as.endswith("ForSequenceClassification") else "decoder")
    check_task(model.config, name=name)
    check_vocabulary(model, tokenizer, name=name)
    labels = class_names(model.config, name=name) if found == "encoder" else ()
    settings = settings_in(model.config.to_diff_dict(), tokenizer)
    return Loaded(model, tokenizer, found, labels, settings=settings)


def load_untrained(config: BackboneConfig, label_names: Sequence[str], device: torch.device) -> Loaded:
    """A pretrained model with a head for these classes, fresh where it had none of that size.

    In float32, or, where little beside it will be trained, in the precision that is asked for.

    Args:
        label_names: of the classes; none: the model's own.
        device: only for weights that are placed one by one.
    Raises:
        ConfigError: no such model, or one whose blocks have no weights in the file.
    """
    dtype = torch.float32 if config.tuning == "full" else getattr(torch, config.dtype)
    with quiet(), seeded(config.seed):
        hf_config = read_configuration(config)
        if label_names:
            set_labels(hf_config, label_names)
        loaded = _pretrained(config, hf_config, dtype=dtype, device=device)
    body = f"{loaded.model.base_model_prefix}."
    lost = [weight for weight in loaded.missing if weight.startswith(body) and "pooler" not in weight]
    if lost:
        raise ConfigError(
            f"{config.name}: its files hold no weights for {lost[0]} (and {len(lost) - 1} more); "
            f"they are of another architecture, or damaged."
        )
    own, tokenizer = loaded.model.config.get_text_config(), loaded.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if own.pad_token_id is None:
        own.pad_token_id = tokenizer.pad_token_id
    return loaded


def make(config: BackboneConfig, train: Texts) -> Loaded:
    """A model with random weights, and a tokenizer trained on the texts as the model reads them."""
    hf_config = from_architecture(config.architecture or {})
    kind, options = kind_of(config, hf_config), config.tokenizer or TokenizerOptions()
    template, words = template_of(kind, config.template), answer_words(config.answers, train.label_names)
    around = TEXT if template is None else template
    prompts = [fill(around, text, train.label_names, words) for text in train.texts]
    tokenizer = train_tokenizer(prompts, kind=kind, vocab_size=options.vocab_size)
    hf_config.vocab_size = len(tokenizer)
    hf_config.pad_token_id = tokenizer.pad_token_id
    hf_config.bos_token_id = None
    hf_config.eos_token_id = tokenizer.eos_token_id
    set_labels(hf_config, train.label_names)
    with quiet(), seeded(config.seed):
        model = _AUTO[kind].from_config(hf_config, dtype=torch.float32)
    return Loaded(model, tokenizer, kind)


def without_weights(config: BackboneConfig, label_names: Sequence[str]) -> Loaded:
    """A model on the meta device, which has shapes and no weights, with its tokenizer.

    Raises:
        ConfigError: no such model.
    """
    with quiet():
        hf_config = read_configuration(config)
        tokenizer = load_tokenizer(config, hf_config)
    model, kind = _on_meta(config, hf_config, label_names)
    return Loaded(model, tokenizer, kind)


def from_form(config: BackboneConfig, label_names: Sequence[str]) -> tuple[PreTrainedModel, Kind]:
    """The model of an architecture, or of a preset from the form that it states, on the meta device.

    Raises:
        ConfigError: it states none.
    """
    form = config.architecture or config.form
    if form is None:
        raise ConfigError(f"the form of {config.name} is not known; give a preset, or a folder.")
    hf_config = from_architecture(form)
    if config.architecture is not None:
        hf_config.vocab_size = (config.tokenizer or TokenizerOptions()).vocab_size
    return _on_meta(config, hf_config, label_names)


def _on_meta(
    config: BackboneConfig, hf_config: PreTrainedConfig, label_names: Sequence[str]
) -> tuple[PreTrainedModel, Kind]:
    kind = kind_of(config, hf_config)
    set_labels(hf_config, label_names)
    with quiet(), torch.device("meta"):
        return _AUTO[kind].from_config(hf_config, dtype=torch.float32), kind


def _pretrained(
    config: BackboneConfig, hf_config: PreTrainedConfig, *, dtype: torch.dtype, device: torch.device
) -> Loaded:
    """A model with weights from its files, and its tokenizer."""
    location, kind = locate(config.model or ""), kind_of(config, hf_config)
    names = class_names(hf_config, name=config.name) if kind == "encoder" else ()
    tokenizer = load_tokenizer(config, hf_config)
    where = placement(quantization=config.quantization, device_map=config.device_map, device=device)
    files = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)
    if not any(folder_with(location, file, revision=config.revision) for file in files):
        raise ConfigError(
            f"cannot load {config.name} as {kind}: {_to_convert(location, config, hf_config, kind)}; "
            f"weights are read from safetensors files only."
        )
    cure = f"choose a model whose files are whole, as {kind}"
    with as_config_error(f"cannot load {config.name} as {kind}", cure=cure):
        model, info = _AUTO[kind].from_pretrained(
            location,
            config=hf_config,
            revision=config.revision,
            dtype=dtype,
            use_safetensors=True,  # nothing is ever unpickled
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=only_local(location),
            trust_remote_code=False,
            **where,
        )
    check_vocabulary(model, tokenizer, name=config.name)
    _check_prefix(model, info["missing_keys"], info["unexpected_keys"], name=config.name)
    mismatched = {str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]}
    return Loaded(model, tokenizer, kind, names, tuple(sorted({*info["missing_keys"], *mismatched})))


def _check_prefix(model: PreTrainedModel, missing: set[str], unexpected: set[str], *, name: str) -> None:
    """Refuse weights whose names all begin alike, as a wrapper such as DataParallel leaves them."""
    wanted = missing | {weight.removeprefix(f"{model.base_model_prefix}.") for weight in missing}
    pairs = product(unexpected, wanted)
    found = {other.removesuffix(weight) for other, weight in pairs if other.endswith(f".{weight}")}
    for prefix in sorted(found, key=len):
        if 2 * sum(prefix + weight in unexpected for weight in wanted) > len(missing):
            raise ConfigError(
                f"the names of the weights of {name} begin with {prefix!r}, which a wrapper such as "
                f"DataParallel leaves; save the model inside the wrapper "
                f"(wrapped.module.save_pretrained), or take that off the names in {SAFE_WEIGHTS_NAME}."
            )


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
