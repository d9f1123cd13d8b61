"""Classifiers of which a small part was learned beside frozen weights: how they are saved and opened.

A frozen model that has a name, a folder or a hub id, is not copied: where it was is kept, with a
fingerprint of its weights, which must be the same when the classifier is opened.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from classifsae.classifier._lora import base_of, merged, read_adapter, with_lora, write_adapter
from classifsae.classifier._models import Loaded, load_trained, load_untrained
from classifsae.classifier._quiet import quiet
from classifsae.classifier._soft_prompt import (
    SoftPrompt,
    attach,
    embeddings,
    read_prompt,
    without_prompt,
    write_prompt,
)
from classifsae.classifier.config import BackboneConfig, Kind
from classifsae.errors import ConfigError, MismatchError
from classifsae.storage import cannot_write, hash_tensors


class Base(BaseModel, frozen=True, extra="forbid"):
    """A frozen model: how it was loaded, and the SHA-256 of its weights as they then were."""

    model: str
    revision: str | None
    sha256: str | None
    dtype: Literal["float32", "bfloat16", "float16"]
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
            seed=config.seed,
            fingerprint=_weights(loaded),
        )

    def load(self, kind: Kind, label_names: Sequence[str]) -> Loaded:
        """The model as it was before tuning.

        Raises:
            ConfigError: it is not there any more.
            MismatchError: its weights are others.
        """
        fields = self.model_dump(exclude={"fingerprint"})
        loaded = load_untrained(BackboneConfig(**fields, kind=kind, tuning="lora"), label_names)
        found = _weights(loaded)
        if found != self.fingerprint:
            raise MismatchError(
                f"the classifier was tuned on {self.model} with weights of SHA-256 {self.fingerprint}, but "
                f"those there now have {found}; give the former back, or fine-tune again."
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
    config: BackboneConfig, *, base: Base | None, n_vectors: int, kind: Kind, label_names: Sequence[str]
) -> Loaded:
    """The model of a saved classifier.

    Args:
        config: its folder, and how it is to be loaded.
        base: the frozen model, if it is kept by reference.
        n_vectors: of its soft prompt; 0 for none.
    Raises:
        ConfigError: the frozen model is gone.
        MismatchError: the frozen model, or the soft prompt, is another one.
        StorageError: a file is missing or damaged.
    """
    folder = Path(config.model or "").expanduser()
    loaded = load_trained(config) if base is None else base.load(kind, label_names)
    if n_vectors:
        width = embeddings(loaded.model).embedding_dim
        prompt = read_prompt(folder, n_vectors=n_vectors, width=width, name=config.name)
        attach(loaded.model, prompt)
        return replace(loaded, prompt=prompt, base=base)
    return loaded if base is None else replace(read_adapter(loaded, folder, name=base.model), base=base)


def load_adapter(config: BackboneConfig, label_names: Sequence[str]) -> Loaded:
    """A model with the LoRA adapter of a folder that peft wrote.

    Raises:
        ConfigError: peft is missing, there is no such model, or the two do not fit.
        StorageError: the adapter's weights are missing or damaged.
    """
    of = base_of(config)
    loaded = load_untrained(of.model_copy(update={"tuning": "lora"}), label_names)
    base = Base.of(of, loaded)
    folder = Path(config.model or "").expanduser()
    opened = replace(read_adapter(loaded, folder, name=of.name), base=base)
    return merged(opened) if config.lora.merge else opened


def _weights(loaded: Loaded) -> str:
    return hash_tensors(sorted(loaded.model.state_dict().items()))
