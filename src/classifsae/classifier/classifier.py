"""The classifier under study: texts to hidden states to logits, opened at one layer that it owns."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from classifsae.classifier._frozen import Base, load_adapter, reopened, save_model
from classifsae.classifier._labels import agreed_labels
from classifsae.classifier._lora import is_adapter
from classifsae.classifier._models import Loaded, load_trained, token_limit
from classifsae.classifier._reader import Batch, Reader, Signature, template_of
from classifsae.classifier._soft_prompt import prepended
from classifsae.classifier._surgery import answering, captured, dissect, entered_at
from classifsae.classifier.config import BackboneConfig, Kind, resolve_backbone
from classifsae.errors import ConfigError, StorageError
from classifsae.storage import (
    Json,
    Manifest,
    finish,
    hash_tensors,
    manifest_of,
    read_json,
    write_json,
)
from classifsae.tensors import Float, Tensor

FACTS = "classifier.json"
N_PROBED = 4
ROWS_PER_TAIL = 8192
N_VERIFIED = 8


@dataclass(frozen=True)
class States:
    """What one pass over a batch gives.

    Attributes:
        hidden: sentence vectors at the hook layer, in the model's precision.
        logits: class logits, float32.
    """

    hidden: Float[Tensor, "b d"]
    logits: Float[Tensor, "b c"]


class Facts(BaseModel, frozen=True, extra="forbid"):
    """What a saved classifier says of itself beside its weights.

    ``n_vectors`` are those of its soft prompt; ``base`` is the frozen model, if it is kept by reference.
    """

    kind: Kind
    layer: int
    template: str | None
    max_length: int
    label_names: tuple[str, ...]
    n_vectors: int = 0
    base: Base | None = None


class Classifier:
    """A frozen text classifier that is read, and re-entered, at one layer.

    Attributes:
        name: what to call it in messages.
        model: the Hugging Face model, in evaluation mode, without gradients on its weights.
        kind: "encoder" (a sequence classifier) or "decoder" (a language model that answers with a token).
        layer: hook layer l in 1..L; the state is the residual stream entering block l, for L the last
            block's output.
        reader: from texts to padded batches.
        answers: a decoder's answer token for each class; empty for an encoder.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        name: str,
        label_names: Sequence[str],
        layer: int | None = None,
        template: str | None = None,
        max_length: int | None = None,
    ) -> None:
        self.name = name
        self.kind: Kind = loaded.kind
        self._loaded = loaded
        self.model = loaded.model.eval().requires_grad_(False)
        self._signature = signature_of(loaded)
        probe = self._signature.dummy(1, N_PROBED, self.device)
        self._anatomy = dissect(self.model, probe, name=name)
        self.layer = _checked_layer(layer, self.n_layers, self.kind, name=name)
        self.reader = Reader(
            tokenizer=loaded.tokenizer,
            signature=self._signature,
            label_names=tuple(label_names),
            template=template_of(self.kind, template),
            max_length=token_limit(loaded, max_length, name=name),
            reads=self._anatomy.reads,
            n_slots=self.n_vectors,
        )
        self.answers = self.reader.answers(name=name) if self.kind == "decoder" else ()
        self.reader.check_room()

    @classmethod
    def load(
        cls,
        source: str | Path | Mapping[str, Json] | BackboneConfig,
        *,
        label_names: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        **overrides: Json,
    ) -> Self:
        """Open a trained classifier: a folder of ``save``, any Hugging Face sequence classifier, a causal
        language model that answers with a label token, or a folder with a LoRA adapter of peft's.

        Args:
            source: a folder, a hub id, a preset, or a record of options.
            label_names: the data set's names; a decoder needs them, an encoder's own must be the same.
            device: where to run; a GPU if there is one.
            overrides: fields of :class:`BackboneConfig`, such as ``layer``, ``template`` or ``max_length``.
        Raises:
            ConfigError: no such model, no trained head, other classes, a layer out of range, an answer of
                several tokens.
            StorageError: a saved classifier that is unfinished.
        """
        config = resolve_backbone(source, **overrides, tuning="none")
        facts = _saved_facts(config)
        if facts is not None:
            config = resolve_backbone(
                {**_as_options(facts), **config.model_dump(mode="json", exclude_unset=True)}
            )
        loaded = _opened(config, facts, label_names)
        own = facts.label_names if facts is not None else _own_labels(loaded)
        if own is None and label_names is None:
            raise ConfigError(f"{config.name} answers with a token per class; give label_names.")
        names = agreed_labels(own or label_names or (), label_names, name=config.name)
        nn.Module.to(loaded.model, pick_device(device))
        return cls(
            loaded,
            name=config.name,
            label_names=names,
            layer=config.layer,
            template=config.template,
            max_length=config.max_length,
        )

    def save(self, folder: Path, *, inputs: str = "", facts: Mapping[str, Json] | None = None) -> Manifest:
        """Write weights (safetensors), tokenizer and options as an artefact; of a model that was frozen, only
        what was learned beside it.

        Raises:
            StorageError: the folder cannot be written.
        """
        saved = Facts(
            kind=self.kind,
            layer=self.layer,
            template=self.template,
            max_length=self.reader.max_length,
            label_names=self.label_names,
            n_vectors=self.n_vectors,
            base=self._loaded.base,
        )
        write_json(folder / FACTS, saved.model_dump(mode="json"))
        save_model(folder, self._loaded)
        return finish(folder, inputs=inputs, record={"fingerprint": self.fingerprint, **(facts or {})})

    @property
    def n_layers(self) -> int:
        """Number of transformer blocks L."""
        return len(self._anatomy.blocks)

    @property
    def width(self) -> int:
        """Width d of the hidden state."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def n_classes(self) -> int:
        """Number of classes c."""
        return len(self.label_names)

    @property
    def n_vectors(self) -> int:
        """Number of vectors of the soft prompt; 0 without one."""
        return 0 if self._loaded.prompt is None else len(self._loaded.prompt.vectors)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.reader.label_names

    @property
    def template(self) -> str | None:
        """What is put around a text; None: nothing."""
        return self.reader.template

    @property
    def prompt(self) -> str:
        """Fingerprint of what is put around a text, "" for nothing."""
        return self.reader.prompt

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The model's precision, which is that of the hidden states."""
        return self.model.dtype

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, those of a soft prompt or adapter among them."""
        return hash_tensors(sorted(self.model.state_dict().items()))

    def hidden(self, texts: Sequence[str]) -> Float[Tensor, "b d"]:
        """Sentence vectors at the hook layer, in one batch."""
        return self.states(self.batch(texts)).hidden

    def logits(self, texts: Sequence[str]) -> Float[Tensor, "b c"]:
        """Class logits, in one batch."""
        return self.states(self.batch(texts)).logits

    def batch(self, texts: Sequence[str]) -> Batch:
        """Tokenise and pad texts."""
        return self.reader.collate(self.reader.encode(texts).ids)

    @torch.inference_mode()
    def states(self, batch: Batch) -> States:
        """Sentence vectors and logits of a batch, in one pass."""
        return self._states_at(batch, self.layer)

    def tail(self, hidden: Float[Tensor, "b d"], /) -> Float[Tensor, "b c"]:
        """The rest of the classifier, from the hook layer on, on sequences of length 1 (spec section 5).

        Args:
            hidden: states in any precision, on any device; gradients flow back to them.
        Returns:
            Class logits, float32, on the device of ``hidden``.
        """
        return self._tail_from(hidden, self.layer)

    def verify(self, texts: Sequence[str]) -> None:
        """Check on a few texts that the tail after the last block equals the whole model.

        Raises:
            ConfigError: it does not, as the head reads more than the sentence vector.
        """
        with torch.inference_mode():
            states = self._states_at(self.batch(texts[:N_VERIFIED]), self.n_layers)
            gap = (self._tail_from(states.hidden, self.n_layers) - states.logits).abs().max().item()
        scale = max(1.0, states.logits.abs().max().item())
        # NaN is left to the check of the hidden states, which says where it stands.
        if gap > torch.finfo(self.dtype).eps ** 0.5 * scale:
            raise ConfigError(
                f"{self.name}: given the sentence vector alone, its head is {gap:.2g} off the whole model; "
                f"a head that reads more than one position has no one sentence vector: choose another model."
            )

    def _states_at(self, batch: Batch, layer: int) -> States:
        batch = batch.to(self.device)
        with self.prompting(), captured(self._anatomy.blocks[layer - 1]) as states:
            logits = self._run(batch.inputs)
        rows = torch.arange(len(batch.positions), device=self.device)
        return States(hidden=states[0][rows, batch.positions], logits=logits)

    def _tail_from(self, hidden: Float[Tensor, "b d"], layer: int) -> Float[Tensor, "b c"]:
        if len(hidden) == 0:
            return hidden.new_zeros((0, self.n_classes), dtype=torch.float32)
        parts = hidden.split(ROWS_PER_TAIL)
        return torch.cat([self._tail_of(part, layer) for part in parts]).to(hidden.device)

    def _tail_of(self, hidden: Float[Tensor, "b d"], layer: int) -> Float[Tensor, "b c"]:
        state = hidden.to(self.device, self.dtype)[:, None, :]
        with entered_at(self._anatomy, layer, state):
            return self._run(self._signature.dummy(len(hidden), 1, self.device))

    def _run(self, inputs: Mapping[str, Tensor]) -> Float[Tensor, "b c"]:
        with self.answering():
            return class_logits(self.model(**inputs).logits)

    def answering(self) -> AbstractContextManager[None]:
        """While this holds, a decoder's logits are those of its answer tokens only."""
        return answering(self.model, self.answers) if self.answers else nullcontext()

    def prompting(self) -> AbstractContextManager[None]:
        """While this holds, the model reads batches behind the soft prompt, if there is one."""
        prompt = self._loaded.prompt
        return nullcontext() if prompt is None else prepended(self.model, prompt)


def class_logits(logits: Float[Tensor, "b *t c"]) -> Float[Tensor, "b c"]:
    """Logits per text, float32: those at the last position, if there is one per position."""
    return (logits if logits.ndim == 2 else logits[:, -1]).float()


def signature_of(loaded: Loaded) -> Signature:
    """How to call a model; gives it the tokenizer's pad token if it has none, and turns its cache off."""
    config = loaded.model.config.get_text_config()
    if config.pad_token_id is None or config.pad_token_id < 0:
        config.pad_token_id = loaded.tokenizer.pad_token_id
    config.use_cache = False
    accepts = frozenset(inspect.signature(loaded.model.forward).parameters)
    return Signature(kind=loaded.kind, pad_id=int(config.pad_token_id), accepts=accepts)


def pick_device(device: torch.device | str | None) -> torch.device:
    """The device given, else a GPU if there is one, else the CPU."""
    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _checked_layer(layer: int | None, n_layers: int, kind: Kind, *, name: str) -> int:
    """The hook layer in 1..L.

    Raises:
        ConfigError: it is out of range.
    """
    if layer is None:
        layer = n_layers if kind == "encoder" else max(n_layers - 1, 1)
    counted = layer if layer >= 0 else n_layers + 1 + layer
    if not 1 <= counted <= n_layers:
        raise ConfigError(
            f"layer is {layer}, but {name} has {n_layers} blocks; "
            f"give 1 to {n_layers}, or -{n_layers} to -1, counted from the end."
        )
    return counted


def _saved_facts(config: BackboneConfig) -> Facts | None:
    """What a folder of ``Classifier.save`` says of itself; None for any other model."""
    folder = Path(config.model or "").expanduser()
    if not (folder / FACTS).is_file():
        return None
    if manifest_of(folder) is None:
        raise StorageError(f"{folder} holds an unfinished classifier; run the finetune stage again.")
    try:
        return Facts.model_validate(read_json(folder / FACTS))
    except ValidationError as error:
        raise StorageError(f"{folder / FACTS} is damaged; delete {folder} to have it made again.") from error


def _as_options(facts: Facts) -> dict[str, Json]:
    return facts.model_dump(mode="json", exclude={"label_names", "n_vectors", "base"})


def _opened(config: BackboneConfig, facts: Facts | None, label_names: Sequence[str] | None) -> Loaded:
    """The model behind a name, whatever was learned."""
    if facts is not None:
        return reopened(
            config,
            base=facts.base,
            n_vectors=facts.n_vectors,
            kind=facts.kind,
            label_names=facts.label_names,
        )
    return load_adapter(config, label_names or ()) if is_adapter(config) else load_trained(config)


def _own_labels(loaded: Loaded) -> tuple[str, ...] | None:
    """The names that a sequence classifier knows its classes by."""
    if loaded.kind == "decoder":
        return None
    names = {int(index): name for index, name in (loaded.model.config.id2label or {}).items()}
    return tuple(names[index] for index in sorted(names))
