"""Trained classifiers, whole or a small part learned beside frozen weights: how they are saved and opened.

A frozen model that has a name, a folder or a hub id, is not copied: where it was is kept, with a
fingerprint of its weights, which must be the same when the classifier is opened.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from classifsae.classifier.config import UNMERGED, BackboneConfig, LoraOptions
from classifsae.classifier.loading import adapters
from classifsae.classifier.loading.loaded import Base, Facts, Loaded
from classifsae.classifier.loading.models import load_trained, load_untrained, make
from classifsae.classifier.loading.soft_prompt import FILE, NAME, SoftPrompt, attach, read_prompt
from classifsae.classifier.loading.tokenizer import settings_of, without
from classifsae.classifier.opening.affine import AffineMap, ChangeAt
from classifsae.classifier.reading.padding import NO_TOKEN
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError, MismatchError
from classifsae.hub.files import folder_with
from classifsae.hub.quiet import quiet, seeded
from classifsae.storage import hash_tensors, write_tensors, writing


def start(config: BackboneConfig, train: Texts, device: torch.device) -> Loaded:
    """The model before training, its new weights seeded: whole, or frozen with the few that will be learned.

    Raises:
        ConfigError: no such model, a soft prompt for an encoder, or LoRA without peft.
    """
    from_scratch = config.architecture is not None
    loaded = make(config, train) if from_scratch else load_untrained(config, train.label_names, device)
    if config.tuning == "full":
        return loaded
    base = None if config.model is None else _as_base(config, loaded)
    if config.tuning == "lora":
        with seeded(config.seed):
            adapter = adapters.adapted(loaded.model, loaded.kind, config.lora, name=config.name)
        return replace(loaded, adapter=adapter, base=base)
    if loaded.kind == "encoder":
        raise ConfigError(
            f"tuning is soft_prompt, but {config.name} is an encoder; use full or lora, or a decoder."
        )
    prompt = SoftPrompt.drawn(loaded.model, config.soft_prompt.n_vectors, seed=config.seed)
    return replace(loaded, prompt=attach(loaded.model, prompt), base=base)


def save_model(folder: Path, loaded: Loaded) -> None:
    """Write what was learned, and the rest of the model unless it is kept by reference.

    Raises:
        StorageError: the folder cannot be written.
    """
    if loaded.prompt is not None:
        write_tensors(folder / FILE, {"vectors": loaded.prompt.vectors})
    if loaded.change is not None:
        loaded.change.map.save(folder)
    if loaded.adapter is not None:
        adapters.write_adapter(folder, loaded)
    if loaded.base is not None:
        return
    weights = {name: w for name, w in loaded.model.state_dict().items() if not name.startswith(f"{NAME}.")}
    config = loaded.model.config.get_text_config()
    pad = config.pad_token_id
    config.pad_token_id = None if pad == NO_TOKEN else pad
    try:
        with quiet(), writing(folder):
            loaded.model.save_pretrained(folder, state_dict=weights)
            loaded.tokenizer.save_pretrained(folder)
    finally:
        config.pad_token_id = pad


def open_trained(
    config: BackboneConfig, facts: Facts | None, label_names: Sequence[str], device: torch.device
) -> Loaded:
    """The model of a trained classifier: one saved here, one tuned elsewhere, or a peft adapter.

    Args:
        facts: what a folder of ``Classifier.save`` says of itself; None for any other model.
        label_names: of the data; none if they are not known.
    Raises:
        ConfigError: there is no such model, or it is no trained classifier.
        MismatchError: a saved file, or the frozen model beside it, is another one.
        StorageError: a file is missing or damaged.
    """
    if facts is not None:
        return _reopened(config, facts, device)
    folder = adapters.adapter_folder(config)
    if folder is not None:
        return _with_foreign_adapter(config, folder, label_names, device)
    loaded = load_trained(config, device)
    return replace(loaded, settings=settings_of(config, loaded.tokenizer))


def _reopened(config: BackboneConfig, facts: Facts, device: torch.device) -> Loaded:
    """The model of a saved classifier."""
    folder, base = Path(config.model or "").expanduser(), facts.base
    if base is None:
        loaded = load_trained(config, device)
    else:
        _check_whole(config, base.model, base.quantization)
        loaded = replace(_load_base(base, facts, device), base=base)
    loaded = replace(loaded, label_names=facts.label_names, settings=facts.settings)
    if facts.changed_at is not None:
        width = int(loaded.model.config.get_text_config().hidden_size)
        loaded = replace(loaded, change=ChangeAt(facts.changed_at, AffineMap.load(folder, width=width)))
    if facts.n_vectors:
        prompt = read_prompt(folder, loaded.model, n_vectors=facts.n_vectors)
        return replace(loaded, prompt=attach(loaded.model, prompt))
    return loaded if base is None else adapters.read_adapter(loaded, folder, name=base.model)


def _with_foreign_adapter(
    config: BackboneConfig, folder: Path, label_names: Sequence[str], device: torch.device
) -> Loaded:
    """The model that an adapter names, with the adapter; its weights lie beside its configuration."""
    of = adapters.base_of(config, folder)
    _check_whole(config, of.name, config.quantization)
    if config.quantization is not None and config.lora.merge:
        raise ConfigError(f"{config.name}: {UNMERGED}.")
    loaded = load_untrained(of.model_copy(update={"tuning": "lora"}), label_names, device)
    base = _as_base(of, loaded)
    folder_with(config.model or "", adapters.WEIGHTS, revision=config.revision)
    opened = adapters.read_adapter(loaded, folder, name=of.name)
    if config.lora.merge:
        return replace(adapters.merged(opened), settings=settings_of(of, loaded.tokenizer))
    options = without(adapters.options_of(opened), "base_model_name_or_path", "revision")
    return replace(opened, base=base, settings=settings_of(of, loaded.tokenizer, options))


def _as_base(config: BackboneConfig, loaded: Loaded) -> Base:
    """What to remember of a model that was loaded to be tuned."""
    folder = Path(config.model or "").expanduser()
    return Base(
        model=str(folder.resolve()) if folder.is_dir() else config.model or "",
        fingerprint=hash_tensors(sorted(loaded.model.state_dict().items())),
        **config.model_dump(include={"revision", "sha256", "dtype", "quantization", "seed"}),
    )


def _load_base(base: Base, facts: Facts, device: torch.device) -> Loaded:
    """A frozen model as it was before tuning, with the same weights."""
    fields = base.model_dump(exclude={"fingerprint"})
    config = BackboneConfig(**fields, kind=facts.kind, tuning="lora", lora=LoraOptions(merge=False))
    loaded = load_untrained(config, facts.label_names, device)
    found = hash_tensors(sorted(loaded.model.state_dict().items()))
    if found != base.fingerprint:
        raise MismatchError(
            f"the classifier was tuned on {base.model} with weights of SHA-256 {base.fingerprint}, but those "
            f"there now have {found}; restore the former, or delete the classifier's folder to tune it again."
        )
    return loaded


def base_config(config: BackboneConfig, base: Base | None) -> BackboneConfig:
    """The options of the model whose files hold configuration and tokenizer, whatever was learned beside it.

    Args:
        base: of a saved classifier, if its frozen model is kept by reference.
    Raises:
        ConfigError: an adapter that names no model, or is of another kind than LoRA.
    """
    if base is not None:
        return config.model_copy(update=base.model_dump(include={"model", "revision", "sha256"}))
    folder = adapters.adapter_folder(config) if config.tuning == "none" else None
    return config if folder is None else adapters.base_of(config, folder)


def _check_whole(config: BackboneConfig, model: str, quantization: str | None) -> None:
    """Refuse other bits than those that were tuned beside (``quantization``), and several GPUs."""
    for option, was in (("quantization", quantization), ("device_map", None)):
        if (value := getattr(config, option)) not in (None, was):
            raise ConfigError(
                f"{option} is {value}, but {config.name} was tuned beside the frozen {model}, which "
                f"is loaded as it was then; leave {option} out."
            )
