"""The classifier under study: texts to hidden states to logits, opened at one layer that it owns."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch

from classifsae.classifier.config import BackboneConfig, Kind, resolve_backbone
from classifsae.classifier.loading.labels import agreed_labels
from classifsae.classifier.loading.loaded import FACTS, Facts, Loaded, with_saved
from classifsae.classifier.opening.affine import AffineMap, ChangeAt
from classifsae.classifier.opening.folding import fold
from classifsae.classifier.opening.tail import OpenedModel, States, open_model, opening
from classifsae.classifier.reading.padding import Row, is_close
from classifsae.classifier.reading.reader import reader_of
from classifsae.errors import ConfigError, MismatchError
from classifsae.hub.devices import is_quantized, pick_device, place
from classifsae.notebook import Sheet, Shown, short
from classifsae.storage import Json, Manifest, fingerprint, finish, hash_tensors, write_json
from classifsae.tensors import Float, OnStep, Tensor, batches_by_length

if TYPE_CHECKING:
    from transformers import Pipeline, PreTrainedModel, PreTrainedTokenizerBase

    from classifsae.concepts.base import Concepts

N_VERIFIED = 8
OTHER_HEAD = (
    "given the sentence vector alone, its head is {:.2g} off the whole model; a head that reads more than "
    "one position has no one sentence vector"
)
OTHER_CALL = "called on one text as its tokenizer gives it, its logits are {:.2g} off those in a padded batch"


class Classifier(Shown):
    """A frozen text classifier that is read, and re-entered, at one layer.

    Attributes:
        name: what to call it in messages.
        model: the Hugging Face model, in evaluation mode, without gradients on its weights.
        kind: "encoder" (a sequence classifier) or "decoder" (a language model that answers with a token).
        n_layers, width: number of transformer blocks L, width d of the hidden state.
        layer: hook layer l in 1..L; the state is what enters block l, but for L what the last block returns.
        label_names, n_classes: names of the classes in the order of the logits, and their number c.
        template: what is put around a text; None: nothing.
        prompt: fingerprint of what is put around a text, "" for nothing.
        n_vectors: number of vectors of the soft prompt; 0 without one.
        reader: from texts to rows of tokens.
        opened: the model with the places where it is read and entered.
    """

    def __init__(self, loaded: Loaded, config: BackboneConfig, label_names: Sequence[str]) -> None:
        self.name, self.kind, self._loaded = config.name, loaded.kind, loaded
        self.model = loaded.model.eval().requires_grad_(False)
        opened = open_model(loaded, name=self.name)
        self.n_layers, self.width = opened.structure.n_layers, opened.structure.width
        self.layer = _checked_layer(config.layer, self.n_layers, self.kind, name=self.name)
        if opened.structure.neck is not None and self.layer < self.n_layers:
            raise ConfigError(
                f"layer is {config.layer}, but {self.name} is opened at its last layer only, where its head "
                f"takes in one vector per text: it pools the tokens, or shares blocks between layers; "
                f"give {self.n_layers} or -1."
            )
        self.reader = reader_of(loaded, config, label_names, n_slots=opened.padding.n_slots)
        self.opened: OpenedModel = replace(opened, answers=self.reader.answer_tokens(name=self.name))
        self.label_names, self.n_classes = self.reader.label_names, len(self.reader.label_names)
        self.template, self.prompt = self.reader.template, self.reader.prompt
        self.n_vectors = self.reader.n_slots

    def sheet(self) -> Sheet:
        """What is shown: the model, where it is opened, and its classes."""
        return Sheet(
            f"Classifier {self.name}: {self.kind}, opened at layer {self.layer} of {self.n_layers}",
            (
                f"{self.n_classes} classes: {short(', '.join(self.label_names), most=100)}",
                f"states of width {self.width}, texts of at most {self.reader.max_length} tokens",
                f"{type(self.model).__name__}, {self.dtype}, on {self.device}",
            ),
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
            ConfigError: no such model, no trained head, other classes, no such layer, a bad answer.
            StorageError: a saved classifier that is unfinished.
        """
        from classifsae.classifier.loading.frozen import open_trained

        config, facts = with_saved(resolve_backbone(source, **overrides, tuning="none"))
        loaded = open_trained(config, facts, label_names or (), pick_device(device))
        names = _names_of(loaded, label_names, name=config.name)
        place(loaded.model, pick_device(device), name=config.name)
        return cls(loaded, config, names)

    @classmethod
    def from_model(
        cls,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase | None",
        *,
        label_names: Sequence[str] | None = None,
        name: str = "",
        **overrides: Json,
    ) -> Self:
        """Open a trained classifier that transformers has loaded; it stays on its device.

        The model itself is opened, not a copy: it is put in evaluation mode, its weights without gradients.

        Args:
            model: a sequence classifier, or a causal language model that answers with a label token.
            tokenizer: its fast tokenizer.
            label_names: as for :meth:`load`.
            name: what to call it; by default the end of the path or Hub id that it came from.
            overrides: fields of :class:`BackboneConfig`, such as ``layer``, ``template`` or ``max_length``.
        Raises:
            ConfigError: another kind of model or tokenizer, other classes, no such layer, a bad answer.
        """
        from classifsae.classifier.loading.models import in_memory

        called = Path(name or getattr(model, "name_or_path", "") or "classifier").name
        config = resolve_backbone({"model": f"./{called}"}, **overrides, tuning="none")
        kind = None if config.kind == "auto" else config.kind
        loaded = in_memory(model, tokenizer, kind=kind, name=config.name)
        return cls(loaded, config, _names_of(loaded, label_names, name=config.name))

    @classmethod
    def from_pipeline(
        cls,
        pipeline: "Pipeline",
        *,
        label_names: Sequence[str] | None = None,
        name: str = "",
        **overrides: Json,
    ) -> Self:
        """Open the classifier of a ``text-classification`` pipeline of transformers; see :meth:`from_model`.

        Raises:
            ConfigError: as :meth:`from_model`.
        """
        model, tokenizer = (getattr(pipeline, part, None) for part in ("model", "tokenizer"))
        if model is None or tokenizer is None:
            raise ConfigError(
                f"from_pipeline takes a text-classification pipeline of transformers; got "
                f"{type(pipeline).__name__}. For a model and its tokenizer: from_model."
            )
        return cls.from_model(model, tokenizer, label_names=label_names, name=name, **overrides)

    def save(self, folder: str | Path, *, inputs: str = "") -> Manifest:
        """Write weights (safetensors), tokenizer and options; of a frozen model, what was learned beside it.

        Raises:
            StorageError: the folder cannot be written.
        """
        from classifsae.classifier.loading.frozen import save_model

        saved = Facts(
            kind=self.kind,
            layer=self.layer,
            template=self.template,
            answers=self.reader.words,
            max_length=self.reader.max_length,
            label_names=self.label_names,
            n_vectors=self.n_vectors,
            base=self._loaded.base,
            settings=self._loaded.settings,
            changed_at=self._loaded.change.layer if self._loaded.change else None,
        )
        folder = Path(folder)
        left_out = {name for name in ("settings", "changed_at") if not getattr(saved, name)}
        write_json(folder / FACTS, saved.model_dump(mode="json", exclude=left_out))
        save_model(folder, self._loaded)
        return finish(folder, inputs=inputs, record={"fingerprint": self.fingerprint})

    def changed(self, change: AffineMap) -> Self:
        """A copy whose head, or next block, is given A h + b in place of the hidden state h.

        Where linear maps alone read h, the change goes into their weights, so that the copy is a plain model
        of transformers; else it is made where the model runs, on the token that decides, and the copy is
        loaded by ``Classifier.load`` alone.

        Raises:
            ConfigError: the classifier is changed at another layer already.
        """
        if self._loaded.base is None and self._loaded.change is None:
            folded = deepcopy(self)
            vars(folded).pop("fingerprint", None)
            if fold(folded.opened, change, layer=folded.layer):
                return folded
        earlier = self._loaded.change
        if earlier is not None and earlier.layer != self.layer:
            raise ConfigError(
                f"{self.name} is changed at layer {earlier.layer} already, and read at layer {self.layer}; "
                f"load it with layer={earlier.layer}."
            )
        made = ChangeAt(self.layer, change if earlier is None else earlier.map.after(change))
        changed = copy(self)
        vars(changed).pop("fingerprint", None)
        changed._loaded = replace(self._loaded, change=made)
        changed.opened = replace(self.opened, change=made)
        return changed

    @property
    def is_plain(self) -> bool:
        """Whether transformers alone reads it from its folder as it is."""
        return self._loaded.change is None

    def without(self, concepts: "Concepts", latents: Sequence[int]) -> Self:
        """A copy in which some concepts can change nothing.

        The part of the hidden state along their directions is fixed at that of the state of no concepts: an
        orthogonal projection.

        Args:
            concepts: fitted on activations of this classifier.
            latents: of the concepts, their numbers in the method's dictionary.
        Raises:
            MismatchError: the concepts are of another classifier, layer or prompt.
            ConfigError: no such concept, or none is given.
        """
        if not latents:
            raise ConfigError(
                f"no concept is given; choose from {', '.join(map(str, concepts.kept.tolist()))}."
            )
        if (concepts.source.model, concepts.source.layer) != (self.fingerprint, self.layer):
            raise MismatchError(
                "the concepts were learned from another classifier; give the one they were fitted on."
            )
        spanned = torch.linalg.qr(concepts.directions(latents).double().T).Q
        return self.changed(AffineMap.around(concepts.origin().double(), -spanned @ spanned.T))

    def __sklearn_clone__(self) -> Self:
        return self  # it is frozen, and too large to be copied for each fold

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
        """SHA-256 of all weights; of one tuned elsewhere, of its configuration and tokenizer too."""
        weights = hash_tensors(sorted(self.model.state_dict().items()))
        if (made := self._loaded.change) is not None:
            change = hash_tensors([("matrix", made.map.matrix), ("offset", made.map.offset)])
            weights = fingerprint(weights, made.layer, change)
        return fingerprint(weights, self._loaded.settings) if self._loaded.settings else weights

    def hidden(self, texts: Sequence[str]) -> Float[Tensor, "b d"]:
        """Sentence vectors at the hook layer, in one batch."""
        return self.states(self.batch(texts)).hidden

    def logits(self, texts: Sequence[str]) -> Float[Tensor, "b c"]:
        """Class logits, in one batch."""
        return self.states(self.batch(texts)).logits

    def batch(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The model's arguments for some texts, tokenised and padded."""
        return self.opened.padding.batch(self.reader.encode(texts).rows)

    @torch.inference_mode()
    def states(self, batch: Mapping[str, Tensor]) -> States:
        """Sentence vectors and logits of a batch, in one pass."""
        return self.opened.states(batch, self.layer)

    def read(self, texts: Sequence[str], *, max_tokens: int = 16384, on_step: OnStep | None = None) -> States:
        """Sentence vectors and logits of any number of texts, in their order, on the CPU.

        Texts that are the same tokens once they are cut are run once.
        """
        rows = self.reader.encode(texts).rows
        place = {row: i for i, row in enumerate(dict.fromkeys(rows))}
        told = None if on_step is None else lambda done: on_step(done, len(place), {})
        states = self.states_of(list(place), max_tokens=max_tokens, on_rows=told)
        each = torch.tensor([place[row] for row in rows])
        return States(states.hidden[each], states.logits[each])

    def states_of(
        self, rows: Sequence[Row], *, max_tokens: int, on_rows: Callable[[int], None] | None = None
    ) -> States:
        """Sentence vectors and logits of tokenised texts, in their order, on the CPU.

        Args:
            rows: the tokens of each text.
            max_tokens: padded tokens per batch.
            on_rows: told after each batch how many texts are done.
        """
        done: list[States] = []
        order: list[int] = []
        for batch in batches_by_length([len(row.ids) for row in rows], max_tokens, self.device):
            states = self.states(self.opened.padding.batch([rows[i] for i in batch]))
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

    def reach(self, text: str, span: tuple[int, int]) -> tuple[int, int]:
        """The characters of a text that can be read once one place within a span is taken out."""
        return self.reader.reach(text, span)

    def tail(self, hidden: Float[Tensor, "b d"], /) -> Float[Tensor, "b c"]:
        """The rest of the classifier, from the hook layer on, on sequences of length 1 (spec section 5).

        Args:
            hidden: states in any precision, on any device; gradients flow back to them.
        Returns:
            Class logits, float32, on the device of ``hidden``.
        """
        if len(hidden) == 0:
            return hidden.new_zeros((0, self.n_classes), dtype=torch.float32)
        return self.opened.tail(hidden, self.layer)

    def verify(self, texts: Sequence[str]) -> None:
        """Check on a few texts that all is read as the model is called, and that the sentence vector decides.

        The logits of a padded batch must be those of the model on each text as its tokenizer gives it, and
        those of the tail after the last block must be the same.

        Raises:
            ConfigError: they are not; or the model breaks.
        """
        few, in_8_bits = texts[:N_VERIFIED], is_quantized(self.model)
        with torch.inference_mode(), opening(self.model, "the texts", name=self.name):
            states = self.opened.states(self.batch(few), self.n_layers)
            rebuilt = self.opened.tail(states.hidden, self.n_layers)
            # In 8 bits, the other texts of a batch move the logits.
            called = states.logits if in_8_bits else torch.cat([self._called(text) for text in few])
        if states.hidden.isnan().any():  # left to the check of the hidden states, which says where it stands
            return
        precision = torch.float16 if in_8_bits else self.dtype
        for found, fault in ((rebuilt, OTHER_HEAD), (called, OTHER_CALL)):
            if not is_close(found, states.logits, dtype=precision):
                gap = (found - states.logits).abs().max().item()
                raise ConfigError(f"{self.name}: {fault.format(gap)}; choose another model.")

    def _called(self, text: str) -> Float[Tensor, "1 c"]:
        """Logits of one text, read without any of our padding; behind the soft prompt, if there is one."""
        if self.n_vectors:
            return self.states(self.batch([text])).logits
        arguments = self.reader.call(text)
        accepted = self.opened.padding.accepts
        return self.opened.own_logits({name: arguments[name] for name in arguments if name in accepted})


def _names_of(loaded: Loaded, label_names: Sequence[str] | None, *, name: str) -> tuple[str, ...]:
    """Names of the classes: the model's own, as the data spells them."""
    own = loaded.label_names
    if not own and label_names is None:
        raise ConfigError(f"{name} answers with a token per class; give label_names.")
    return agreed_labels(own or label_names or (), label_names, name=name)


def _checked_layer(layer: int | None, n_layers: int, kind: Kind, *, name: str) -> int:
    """The hook layer in 1..L."""
    if layer is None:
        layer = n_layers if kind == "encoder" else max(n_layers - 1, 1)
    counted = layer if layer >= 0 else n_layers + 1 + layer
    if not 1 <= counted <= n_layers:
        raise ConfigError(
            f"layer is {layer}, but {name} has {n_layers} blocks; "
            f"give 1 to {n_layers}, or -{n_layers} to -1, counted from the end."
        )
    return counted
