"""Classifiers of which a small part was learned beside frozen weights: how they are saved and opened.

A frozen model that has a name, a folder or a hub id, is not copied: where it was is kept, with a
fingerprint of its weights, which must be the same when the classifier is opened.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel

from classifsae.classifier.config import UNMERGED, BackboneConfig, Kind, LoraOptions
from classifsae.classifier.loading.adapters import (
    WEIGHTS,
    adapter_folder,
    base_of,
    merged,
    read_adapter,
    with_lora,
    write_adapter,
)
from classifsae.classifier.loading.models import Loaded, load_trained, load_untrained
from classifsae.classifier.loading.soft_prompt import FILE as PROMPT
from classifsae.classifier.loading.soft_prompt import (
    SoftPrompt,
    attach,
    embeddings,
    read_prompt,
    without_prompt,
    write_prompt,
)
from classifsae.errors import ConfigError, MismatchError
from classifsae.hub.files import folder_with
from classifsae.hub.quiet import quiet
from classifsae.storage import cannot_write, hash_tensors, require_unchanged


class Base(BaseModel, frozen=True, extra="forbid"):
    """A frozen model: how it was loaded, and the SHA-256 of its weights as they then were."""

    model: str
    revision: str | None
    sha256: str | None
    dtype: Literal["float32", "bfloat16", "float16"]
    quantization: Literal["8bit"] | None = None
    seed: int
    fingerprint: str

    @classmethod
    def of(cls, config: BackboneConfig, loaded: Loaded) -> "Base":
        """What to remember of a model that was loaded to be tuned."""
        folder = Path(config.model or "").expanduser()
        return cls(
            model=str(folder.resolve()) if folder.is_dir() else config.model or "",
            revision=config.revision,
            sha256=config.sha256,
            dtype=config.dtype,
            quantization=config.quantization,
            seed=config.seed,
            fingerprint=_weights(loaded),
        )

    def load(self, kind: Kind, label_names: Sequence[str], device: torch.device) -> Loaded:
        """The model as it was before tuning, on the device only where its weights are placed one by one.

        Raises:
            ConfigError: it is not there any more.
            MismatchError: its weights are others.
        """
        fields = self.model_dump(exclude={"fingerprint"})
        apart = LoraOptions(merge=False)
        loaded = load_untrained(
            BackboneConfig(**fields, kind=kind, tuning="lora", lora=apart), label_names, device
        )
        found = _weights(loaded)
        if found != self.fingerprint:
            raise MismatchError(
                f"the classifier was tuned on {self.model} with weights of SHA-256 {self.fingerprint}, but "
                f"those there now have {found}; give the former back, "
                f"or delete the classifier's folder to tune it again."
            )
        return loaded


def started(config: BackboneConfig, loaded: Loaded) -> Loaded:
    """A model ready to be tuned: as it is, or frozen, with the few weights that will be learned.

    Raises:
        ConfigError: a soft prompt for an encoder, or LoRA without peft.
    """
    if config.tuning == "full":
        return loaded
    base = None if config.model is None else Base.of(config, loaded)
    if config.tuning == "lora":
        return replace(with_lora(loaded, config.lora, seed=config.seed, name=config.name), base=base)
    if loaded.kind == "encoder":
        raise ConfigError(
            f"tuning is soft_prompt, but {config.name} is an encoder; use full or lora, or a decoder."
        )
    prompt = SoftPrompt.drawn(loaded.model, config.soft_prompt.n_vectors, seed=config.seed)
    attach(loaded.model, prompt)
    return replace(loaded, prompt=prompt, base=base)


def finished(config: BackboneConfig, loaded: Loaded) -> Loaded:
    """A tuned model in the form in which it is kept."""
    return merged(loaded) if config.tuning == "lora" and config.lora.merge else loaded


def save_model(folder: Path, loaded: Loaded) -> None:
    """Write what was learned, and the rest of the model unless it is kept by reference.

    Raises:
        StorageError: the folder cannot be written.
    """
    if loaded.prompt is not None:
        write_prompt(folder, loaded.prompt)
    if loaded.adapter is not None:
        write_adapter(folder, loaded)
    if loaded.base is not None:
        return
    try:
        with quiet():
            loaded.model.save_pretrained(folder, state_dict=without_prompt(loaded.model.state_dict()))
            loaded.tokenizer.save_pretrained(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def reopened(
    config: BackboneConfig,
    device: torch.device,
    *,
    base: Base | None,
    n_vectors: int,
    kind: Kind,
    label_names: Sequence[str],
) -> Loaded:
    """The model of a saved classifier.

    Args:
        config: its folder, and how it is to be loaded.
        device: only for weights that are placed one by one.
        base: the frozen model, if it is kept by reference.
        n_vectors: of its soft prompt; 0 for none.
    Raises:
        ConfigError: the frozen model is gone, or is to be placed otherwise than when it was tuned.
        MismatchError: the frozen model, or the soft prompt, is another one.
        StorageError: a file is missing or damaged.
    """
    folder = Path(config.model or "").expanduser()
    if base is None:
        loaded = load_trained(config, device)
    else:
        _check_whole(config, base.model, base.quantization)
        loaded = base.load(kind, label_names, device)
    for file in (PROMPT, WEIGHTS):  # small, so that their bytes can be looked at each time
        if (folder / file).is_file():
            require_unchanged(folder, file)
    if n_vectors:
        width = embeddings(loaded.model).embedding_dim
        prompt = read_prompt(folder, n_vectors=n_vectors, width=width, name=config.name)
        attach(loaded.model, prompt)
        return replace(loaded, prompt=prompt, base=base)
    return loaded if base is None else replace(read_adapter(loaded, folder, name=base.model), base=base)


def load_adapter(
    config: BackboneConfig, folder: Path, label_names: Sequence[str], device: torch.device
) -> Loaded:
    """A model with the LoRA adapter of a folder that peft wrote.

    Args:
        folder: of the adapter's configuration; its weights are fetched from the hub to lie beside it.
        device: only for weights that are placed one by one.
    Raises:
        ConfigError: peft is missing, there is no such model, the two do not fit, or several GPUs.
        StorageError: the adapter's weights are missing or damaged.
    """
    of = base_of(config, folder)
    _check_whole(config, of.name, config.quantization)
    if config.quantization is not None and config.lora.merge:
        raise ConfigError(f"{config.name}: {UNMERGED}.")
    loaded = load_untrained(of.model_copy(update={"tuning": "lora"}), label_names, device)
    base = Base.of(of, loaded)
    folder_with(config.model or "", WEIGHTS, revision=config.revision)
    opened = replace(read_adapter(loaded, folder, name=of.name), base=base)
    return merged(opened) if config.lora.merge else opened


def base_config(config: BackboneConfig, base: Base | None) -> BackboneConfig:
    """The options of the model whose files hold configuration and tokenizer, whatever was learned beside it.

    Args:
        base: of a saved classifier, if its frozen model is kept by reference.
    Raises:
        ConfigError: an adapter that names no model, or is of another kind than LoRA.
    """
    if base is not None:
        return config.model_copy(update=base.model_dump(include={"model", "revision", "sha256"}))
    folder = adapter_folder(config) if config.tuning == "none" else None
    return config if folder is None else base_of(config, folder)


def _check_whole(config: BackboneConfig, model: str, quantization: str | None) -> None:
    """Refuse what would give other weights, or other places for them, than those that were tuned beside.

    Args:
        quantization: of the model that was tuned beside.
    Raises:
        ConfigError: other bits, or several GPUs.
    """
    for option, was in (("quantization", quantization), ("device_map", None)):
        if (value := getattr(config, option)) not in (None, was):
            raise ConfigError(
                f"{option} is {value}, but {config.name} is a small part learned beside {model}, which is "
                f"opened as it was then; leave {option} out."
            )


def _weights(loaded: Loaded) -> str:
    return hash_tensors(sorted(loaded.model.state_dict().items()))
