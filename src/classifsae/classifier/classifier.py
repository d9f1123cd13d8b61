"""The classifier under study: texts to hidden states to logits, opened at one layer that it owns."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ValidationError
from transformers import PreTrainedModel

from classifsae.classifier.config import BackboneConfig, Kind, resolve_backbone
from classifsae.classifier.loading.adapters import adapter_folder
from classifsae.classifier.loading.frozen import Base, load_adapter, reopened, save_model
from classifsae.classifier.loading.labels import agreed_labels
from classifsae.classifier.loading.models import Loaded, load_trained, token_limit
from classifsae.classifier.loading.soft_prompt import prepended
from classifsae.classifier.opening.blocks import (
    Anatomy,
    answering,
    captured,
    dissect,
    entered_at,
    last_positions,
)
from classifsae.classifier.opening.neck import given_at, read_at
from classifsae.classifier.opening.padding import is_close, pads_left
from classifsae.classifier.reading.answers import Answers, Tokens, answer_words
from classifsae.classifier.reading.reader import Batch, Reader, Signature, template_of
from classifsae.errors import ConfigError, StorageError
from classifsae.hub.devices import is_quantized, pick_device, place
from classifsae.hub.foreign import as_config_error
from classifsae.storage import (
    Json,
    Manifest,
    broken_file,
    finish,
    hash_tensors,
    manifest_of,
    read_json,
    write_json,
)
from classifsae.tensors import Float, Tensor, batches_by_length

ModelCall = Callable[[Mapping[str, Tensor]], Tensor]
"""From a model's arguments to its logits."""

FACTS = "classifier.json"
N_PROBED = 4
ROWS_PER_TAIL = 8192
NUMBERS_PER_TAIL = 2**26
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
    answers: tuple[str, ...] | None = None
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
        answers: the tokens of a decoder's answer for each class; none for an encoder.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        name: str,
        label_names: Sequence[str],
        layer: int | None = None,
        template: str | None = None,
        answers: Mapping[str, str] | Sequence[str] | None = None,
        max_length: int | None = None,
    ) -> None:
        self.name = name
        self.kind: Kind = loaded.kind
        self._loaded = loaded
        self.model = loaded.model.eval().requires_grad_(False)
        with _opening(self.model, f"a row of {N_PROBED} tokens", name=name):
            self._signature = _padded_where_it_works(signature_of(loaded), self.model, name=name)
            probe = self._signature.dummy(1, N_PROBED, self.device)
            self._anatomy = dissect(self.model, probe, name=name)
        self.layer = checked_layer(layer, self.n_layers, self.kind, name=name)
        _check_neck(layer, self.layer, self._anatomy, name=name)
        self.reader = Reader(
            tokenizer=loaded.tokenizer,
            signature=self._signature,
            label_names=tuple(label_names),
            template=template_of(self.kind, template),
            words=answer_words(answers, label_names),
            max_length=token_limit(loaded, max_length, name=name),
            reads=self._anatomy.reads,
            n_slots=self.n_vectors,
        )
        self.reader, self.answers = with_answers(self.reader, loaded, asked=max_length, name=name)
        self._answer_states: dict[Tokens, Tensor] = {}
        if self.answers.n_extra and self.layer == self.n_layers:
            raise ConfigError(
                f"layer is {self.layer}, the last of {name}, after which no further token of an answer can "
                f"look at the hidden state; give a layer below, or answers of one token each."
            )

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
        config, facts = with_saved(resolve_backbone(source, **overrides, tuning="none"))
        loaded = _opened(config, facts, label_names, pick_device(device))
        own = facts.label_names if facts is not None else _own_labels(loaded)
        if own is None and label_names is None:
            raise ConfigError(f"{config.name} answers with a token per class; give label_names.")
        names = agreed_labels(own or label_names or (), label_names, name=config.name)
        place(loaded.model, pick_device(device), name=config.name)
        return cls(
            loaded,
            name=config.name,
            label_names=names,
            layer=config.layer,
            template=config.template,
            answers=config.answers,
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
            answers=self.reader.words,
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
        return self._anatomy.n_layers

    @property
    def width(self) -> int:
        """Width d of the hidden state."""
        neck = self._anatomy.neck
        return neck.width if neck is not None else int(self.model.config.get_text_config().hidden_size)

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
        """Where the model takes its tokens."""
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
        return self._states_at(batch, self.layer, self.answers)

    def read(self, texts: Sequence[str], *, max_tokens: int = 16384) -> States:
        """Sentence vectors and logits of any number of texts, in their order, on the CPU.

        Texts that are the same tokens once they are cut are run once.
        """
        ids = [tuple(row) for row in self.reader.encode(texts).ids]
        place = {row: i for i, row in enumerate(dict.fromkeys(ids))}
        states = self.states_of(list(place), max_tokens=max_tokens)
        rows = torch.tensor([place[row] for row in ids])
        return States(states.hidden[rows], states.logits[rows])

    def states_of(
        self,
        ids: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        on_rows: Callable[[int], None] | None = None,
    ) -> States:
        """Sentence vectors and logits of tokenised texts, in their order, on the CPU.

        Args:
            ids: token ids of each text.
            max_tokens: padded tokens per batch.
            on_rows: told after each batch how many texts are done.
        """
        done: list[States] = []
        order: list[int] = []
        for batch in batches_by_length([len(row) for row in ids], max_tokens):
            states = self.states(self.reader.collate([ids[i] for i in batch]))
            done.append(States(states.hidden.cpu(), states.logits.cpu()))
            order += batch
            if on_rows is not None:
                on_rows(len(order))
        back = torch.tensor(order).argsort()
        return States(
            torch.cat([states.hidden for states in done])[back],
            torch.cat([states.logits for states in done])[back],
        )

    def span(self, text: str) -> tuple[int, int]:
        """The characters of a text that are read, first and one past the last."""
        return self.reader.span(text)

    def tail(self, hidden: Float[Tensor, "b d"], /) -> Float[Tensor, "b c"]:
        """The rest of the classifier, from the hook layer on, on sequences of length 1 (spec section 5).

        Args:
            hidden: states in any precision, on any device; gradients flow back to them.
        Returns:
            Class logits, float32, on the device of ``hidden``.
        """
        return self._tail_from(hidden, self.layer, self.answers)

    def verify(self, texts: Sequence[str]) -> None:
        """Check on a few texts that the tail after the last block equals the whole model.

        Raises:
            ConfigError: it does not, as the head reads more than the sentence vector; or the model breaks.
        """
        last, first = self.n_layers, self.answers.first  # later tokens look back, beyond the sentence vector
        batch = self.batch(texts[:N_VERIFIED])
        with torch.inference_mode(), _opening(self.model, "the texts", name=self.name):
            states = self._states_at(batch, last, first)
            rebuilt = self._tail_from(states.hidden, last, first)
        if states.hidden.isnan().any():  # left to the check of the hidden states, which says where it stands
            return
        precision = torch.float16 if is_quantized(self.model) else self.dtype
        if not is_close(rebuilt, states.logits, dtype=precision):
            gap = (rebuilt - states.logits).abs().max().item()
            raise ConfigError(
                f"{self.name}: given the sentence vector alone, its head is {gap:.2g} off the whole model; "
                f"a head that reads more than one position has no one sentence vector: choose another model."
            )

    def _states_at(self, batch: Batch, layer: int, answers: Answers) -> States:
        batch = batch.to(self.device)
        if self._anatomy.neck is not None:
            with read_at(self._anatomy.neck) as given:
                logits = self._classes(self._run, batch.inputs, answers)
            return States(hidden=given[0].to(self.device), logits=logits.to(self.device))
        with self.prompting(), captured(self._anatomy.blocks[layer - 1]) as states:
            logits = self._classes(self._run, batch.inputs, answers)
        rows = torch.arange(len(batch.positions), device=states[0].device)
        hidden = states[0][rows, batch.positions.to(states[0].device)]
        return States(hidden=hidden.to(self.device), logits=logits.to(self.device))

    def _tail_from(self, hidden: Float[Tensor, "b d"], layer: int, answers: Answers) -> Float[Tensor, "b c"]:
        if len(hidden) == 0:
            return hidden.new_zeros((0, self.n_classes), dtype=torch.float32)
        parts = hidden.split(ROWS_PER_TAIL if answers.n_extra == 0 else self._rows_per_tail(answers))
        return torch.cat([self._tail_of(part, layer, answers) for part in parts]).to(hidden.device)

    def _rows_per_tail(self, answers: Answers) -> int:
        """Rows whose logits over the whole vocabulary, at every token of an answer, are a bounded number."""
        n_numbers = (1 + answers.n_extra) * int(self.model.config.get_text_config().vocab_size)
        return max(1, NUMBERS_PER_TAIL // n_numbers)

    def _tail_of(self, hidden: Float[Tensor, "b d"], layer: int, answers: Answers) -> Float[Tensor, "b c"]:
        hidden, neck = hidden.to(self.device, self.dtype), self._anatomy.neck
        if answers.n_extra:
            return answers.total(lambda tokens: self._after_state(hidden, layer, tokens))
        if neck is not None:
            entered = given_at(neck, hidden)
        else:
            entered = entered_at(self._anatomy, layer, hidden[:, None, :])
        with entered:
            return self._classes(self._run, self._signature.dummy(len(hidden), 1, self.device), answers)

    def _after_state(
        self, hidden: Float[Tensor, "b d"], layer: int, tokens: Tokens
    ) -> Float[Tensor, "b k v"]:
        """Logits of the next token at a state that stands for the prompt, and at each token after it."""
        if tokens not in self._answer_states:
            self._answer_states[tokens] = self._states_of(tokens, layer)
        after = self._answer_states[tokens].to(hidden.device).expand(len(hidden), -1, -1)
        states = torch.cat([hidden[:, None, :], after], dim=1)
        with entered_at(self._anatomy, layer, states), last_positions(self.model, 1 + len(tokens)):
            return self._run(self._signature.dummy(len(hidden), 1 + len(tokens), self.device))

    def _states_of(self, tokens: Tokens, layer: int) -> Float[Tensor, "1 k d"]:
        """States at a layer of an answer's tokens after the prompt around an empty text, soft or not."""
        prompt = self.reader.collate([[*self.reader.ids_before_answer(), *tokens]]).to(self.device)
        # Kept for later calls, which may want gradients: not made in inference mode, even if this call is.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            self.prompting(),
            captured(self._anatomy.blocks[layer - 1]) as states,
        ):
            self._run(prompt.inputs)
        return states[0][:, states[0].shape[1] - len(tokens) :]

    def _run(self, inputs: Mapping[str, Tensor]) -> Float[Tensor, "b *t v"]:
        logits: Tensor = self.model(**inputs).logits
        return logits

    def class_logits(self, run: ModelCall, inputs: Mapping[str, Tensor]) -> Float[Tensor, "b c"]:
        """Logits of the classes, float32.

        Args:
            run: from the model's arguments to its logits; the model itself, or a wrapper of it.
            inputs: the arguments, as ``batch`` gives them.
        """
        return self._classes(run, inputs, self.answers)

    def _classes(
        self, run: ModelCall, inputs: Mapping[str, Tensor], answers: Answers
    ) -> Float[Tensor, "b c"]:
        if answers.n_extra:
            return answers.total(lambda tokens: self._after(run, inputs, tokens))
        firsts = tuple(token for (token,) in answers.tokens)
        with answering(self.model, firsts) if firsts else nullcontext():
            logits = run(inputs)
        return (logits if logits.ndim == 2 else logits[:, -1]).float()

    def _after(self, run: ModelCall, inputs: Mapping[str, Tensor], tokens: Tokens) -> Float[Tensor, "b k v"]:
        """Logits of the next token at the end of each prompt, and at each token after it."""
        with last_positions(self.model, 1 + len(tokens)):
            return run(self._signature.extended(inputs, tokens))

    def prompting(self) -> AbstractContextManager[None]:
        """While this holds, the model reads batches behind the soft prompt, if there is one."""
        prompt = self._loaded.prompt
        return nullcontext() if prompt is None else prepended(self.model, prompt)


def with_answers(reader: Reader, loaded: Loaded, *, asked: int | None, name: str) -> tuple[Reader, Answers]:
    """The tokens of the answers, and the reader with a limit that leaves them room.

    Raises:
        ConfigError: answers for a model with a classification head, or ones that cannot be read.
    """
    if loaded.kind == "encoder":
        if reader.words is not None:
            raise ConfigError(f"{name} has a classification head and answers nothing; leave answers out.")
        reader.check_room()
        return reader, Answers()
    answers = reader.answers(name=name)
    limit = token_limit(loaded, asked, name=name, reserved=answers.n_extra)
    reader = replace(reader, max_length=limit)
    reader.check_room()
    return reader, answers


def signature_of(loaded: Loaded) -> Signature:
    """How to call a model; gives it the tokenizer's pad token if it has none, and turns its cache off."""
    config = loaded.model.config.get_text_config()
    if config.pad_token_id is None or config.pad_token_id < 0:
        config.pad_token_id = loaded.tokenizer.pad_token_id
    config.use_cache = False
    accepts = frozenset(inspect.signature(loaded.model.forward).parameters)
    pad_id = int(config.pad_token_id)
    return Signature(kind=loaded.kind, left=loaded.kind == "decoder", pad_id=pad_id, accepts=accepts)


def _padded_where_it_works(signature: Signature, model: PreTrainedModel, *, name: str) -> Signature:
    """The signature of a model that has been tried.

    Raises:
        ConfigError: a sequence classifier that no padding leaves alone.
    """
    if signature.kind == "decoder":
        return signature
    probe = signature.dummy(1, N_PROBED, model.device)["input_ids"]
    return replace(signature, left=pads_left(model, probe, pad_id=signature.pad_id, name=name))


def _opening(model: PreTrainedModel, on: str, *, name: str) -> AbstractContextManager[None]:
    """Say of a model that breaks where it is tried that it does."""
    return as_config_error(
        f"{name}: {type(model).__name__} cannot be opened on {on}", cure="choose another model"
    )


def checked_layer(layer: int | None, n_layers: int, kind: Kind, *, name: str) -> int:
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


def _check_neck(layer: int | None, counted: int, anatomy: Anatomy, *, name: str) -> None:
    """Refuse a layer at which a model has no sentence vector.

    Raises:
        ConfigError: it is below the last one of a model whose head pools.
    """
    if anatomy.neck is not None and counted < anatomy.n_layers:
        raise ConfigError(
            f"layer is {layer}, but {name} is opened at its last layer only, where its head takes in one "
            f"vector per text: it pools the tokens, or shares blocks between layers; "
            f"give {anatomy.n_layers} or -1."
        )


def with_saved(config: BackboneConfig) -> tuple[BackboneConfig, Facts | None]:
    """The options, and under them those of a folder of ``Classifier.save``, if it is one."""
    facts = _saved_facts(config)
    if facts is None:
        return config, None
    saved = facts.model_dump(mode="json", exclude={"label_names", "n_vectors", "base"})
    return resolve_backbone({**saved, **config.model_dump(mode="json", exclude_unset=True)}), facts


def _saved_facts(config: BackboneConfig) -> Facts | None:
    """What a folder of ``Classifier.save`` says of itself; None for any other model."""
    folder = Path(config.model or "").expanduser()
    if not (folder / FACTS).is_file():
        return None
    if (broken := broken_file(folder)) is not None:
        raise StorageError(
            f"{folder / broken} is missing or was changed; give it back, or run the finetune stage again."
        )
    if manifest_of(folder) is None:
        raise StorageError(f"{folder} holds an unfinished classifier; run the finetune stage again.")
    try:
        return Facts.model_validate(read_json(folder / FACTS))
    except ValidationError as error:
        raise StorageError(f"{folder / FACTS} is damaged; delete {folder} to have it made again.") from error


def _opened(
    config: BackboneConfig, facts: Facts | None, label_names: Sequence[str] | None, device: torch.device
) -> Loaded:
    """The model behind a name, whatever was learned."""
    if facts is not None:
        return reopened(
            config,
            device,
            base=facts.base,
            n_vectors=facts.n_vectors,
            kind=facts.kind,
            label_names=facts.label_names,
        )
    folder = adapter_folder(config)
    if folder is None:
        return load_trained(config, device)
    return load_adapter(config, folder, label_names or (), device)


def _own_labels(loaded: Loaded) -> tuple[str, ...] | None:
    """The names that a sequence classifier knows its classes by."""
    if loaded.kind == "decoder":
        return None
    names = {int(index): name for index, name in (loaded.model.config.id2label or {}).items()}
    return tuple(names[index] for index in sorted(names))
