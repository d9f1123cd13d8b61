"""From texts to padded batches: template, truncation, padding and the tokens that stand for the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from classifsae.classifier.config import Kind
from classifsae.classifier.reading.answers import Answers, Tokens, check_distinct
from classifsae.data.prompt import DEFAULT_TEMPLATE, fill, surroundings
from classifsae.errors import ConfigError, DataError
from classifsae.storage import fingerprint
from classifsae.tensors import Int, Tensor


@dataclass(frozen=True)
class Encoded:
    """Token ids of each text, cut at the limit, and how many texts were cut."""

    ids: list[list[int]]
    n_cut: int


@dataclass(frozen=True)
class Batch:
    """One padded batch.

    Attributes:
        inputs: what the model is called with, each (b, t).
        positions: where each row's sentence vector stands.
    """

    inputs: dict[str, Tensor]
    positions: Int[Tensor, " b"]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.positions.to(device))


@dataclass(frozen=True)
class Signature:
    """How a model is called.

    Attributes:
        kind: encoder (cuts on the right) or decoder (cuts on the left, so that the options survive).
        left: whether rows are filled up on the left.
        pad_id: token that fills up rows.
        accepts: names of the model's arguments.
    """

    kind: Kind
    left: bool
    pad_id: int
    accepts: frozenset[str]

    def inputs(self, tokens: Int[Tensor, "b t"], mask: Int[Tensor, "b t"]) -> dict[str, Tensor]:
        """The model's arguments; with padding on the left, positions count from the first token."""
        inputs = {"input_ids": tokens, "attention_mask": mask}
        if self.kind == "decoder" and "position_ids" in self.accepts:
            inputs["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
        return inputs

    def extended(self, inputs: Mapping[str, Tensor], tokens: Tokens) -> dict[str, Tensor]:
        """The same arguments with more tokens at the end of every row, which are filled up on the left."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        more = torch.tensor(tokens, dtype=ids.dtype, device=ids.device).expand(len(ids), -1)
        return self.inputs(torch.cat([ids, more], dim=1), torch.cat([mask, torch.ones_like(more)], dim=1))

    def dummy(self, n_rows: int, n_tokens: int, device: torch.device) -> dict[str, Tensor]:
        """Arguments for a run whose tokens do not matter, as long as none is padding."""
        distinct = [token for token in range(n_tokens + 1) if token != self.pad_id][:n_tokens]
        tokens = torch.tensor(distinct, device=device).expand(n_rows, n_tokens)
        return self.inputs(tokens, torch.ones_like(tokens))


@dataclass(frozen=True)
class Reader:
    """How one classifier reads texts.

    Attributes:
        tokenizer: a fast tokenizer.
        signature: how the model is called.
        label_names: names of the classes, in order.
        template: what is put around a text; None: nothing.
        words: what is answered for each class; None: its index.
        max_length: tokens at most.
        reads: position of the sentence vector, 0 or -1 (the last token that is not padding); None: the
            head reads a vector made from all tokens.
        n_slots: places in front of each row's tokens for the vectors of a soft prompt.
    """

    tokenizer: PreTrainedTokenizerFast
    signature: Signature
    label_names: tuple[str, ...]
    template: str | None
    words: tuple[str, ...] | None
    max_length: int
    reads: int | None
    n_slots: int = 0

    @property
    def prompt(self) -> str:
        """Fingerprint of what is put around a text; "" for nothing."""
        if self.template is None:
            return ""
        return fingerprint(self.template, list(self.label_names), list(self.words or ()))

    @property
    def room(self) -> int:
        """Tokens of a text and its template at most."""
        return self.max_length - self.n_slots

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Token ids of texts inside the template, at most ``max_length`` each, less the slots.

        What is too long loses its end in an encoder. In a decoder the text loses its beginning, and
        all of the template stays.

        Raises:
            DataError: a text has no token at all.
        """
        prompts = [self._filled(text) for text in texts]
        side = "left" if self.signature.kind == "decoder" else "right"
        if self.tokenizer.truncation_side != side:
            self.tokenizer.truncation_side = side
        rows = self.tokenizer(prompts, truncation=True, max_length=self.room, verbose=False)
        if not all(rows["input_ids"]):
            raise DataError("a text is empty, and the template puts nothing around it; remove it.")
        ids = list(rows["input_ids"])
        cut = [number for number, row in enumerate(rows.encodings or ()) if row.overflowing]
        if side == "left" and self.around[0]:
            for number in cut:
                text = texts[number]
                ids[number] = self._ids(self._filled(text[self._beginning(text) :]))
        return Encoded(ids, len(cut))

    def span(self, text: str) -> tuple[int, int]:
        """The characters of a text that are read, first and one past the last: all, unless it is too long.

        Raises:
            DataError: the text has no token at all.
        """
        encoded = self.encode([text])
        if encoded.n_cut == 0:
            return 0, len(text)
        before = len(self.around[0])
        if before and self.signature.kind == "decoder":
            return self._beginning(text), len(text)
        offsets = self.tokenizer(
            self._filled(text),
            truncation=True,
            max_length=self.room,
            return_offsets_mapping=True,
            verbose=False,
        )["offset_mapping"]
        places = [place - before for pair in offsets if pair[0] < pair[1] for place in pair]
        return max(min(places), 0), min(max(places), len(text))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text inside the template, uncut."""
        prompts = [self._filled(text) for text in texts]
        return list(map(len, self.tokenizer(prompts, truncation=False, verbose=False)["input_ids"]))

    def collate(self, ids: Sequence[Sequence[int]]) -> Batch:
        """Pad rows of token ids to the longest, the slots in front of the tokens."""
        ids = [[self.signature.pad_id] * self.n_slots + list(row) for row in ids]
        width = max(map(len, ids))
        left = self.signature.left
        tokens = torch.tensor([self._padded(row, width, left=left) for row in ids])
        mask = torch.tensor([self._mask(len(row), width, left=left) for row in ids])
        return Batch(self.signature.inputs(tokens, mask), self._positions(tokens))

    def answers(self, *, name: str) -> Answers:
        """The tokens that stand for each class: its word or index, as it is tokenised right after the prompt.

        Raises:
            ConfigError: an index is several tokens, a word does not begin with a token of its own or is the
                beginning of another, or the tokenizer ends the prompt with a token of its own.
        """
        prompt = self._ids(self._filled(""))
        words = self.words or [str(index) for index in range(len(self.label_names))]
        tokens = [self._answer(prompt, index, word, name=name) for index, word in enumerate(words)]
        check_distinct(tokens, words)
        return Answers(tuple(tokens))

    def ids_before_answer(self) -> list[int]:
        """Tokens of the prompt around an empty text."""
        return self._ids(self._filled(""))

    def check_room(self) -> None:
        """Refuse a limit that leaves no room for a text beside what is put around it.

        Raises:
            ConfigError: the template alone fills the limit.
        """
        n_around = len(self._ids(self._filled("")))
        if n_around >= self.room:
            n_taken = n_around + self.n_slots
            raise ConfigError(
                f"max_length is {self.max_length}, but what is put around a text takes {n_taken} tokens; "
                f"raise it, or shorten the template or the label names."
            )

    def _answer(self, prompt: list[int], index: int, word: str, *, name: str) -> Tokens:
        answered = self._ids(self._filled("") + word)
        tokens = tuple(answered[len(prompt) :])
        follows = answered[: len(prompt)] == prompt and len(tokens) > 0
        if follows and (self.words is not None or len(tokens) == 1):
            return tokens
        alone = self.tokenizer.convert_ids_to_tokens(self._ids(word, special=False))
        where = f"label {self.label_names[index]!r}: its answer {word!r}"
        if self.words is not None:
            raise ConfigError(
                f"{where} does not begin with a token of its own right after the prompt in the tokenizer of "
                f"{name}; move the space at the end of the template to the beginning of the answers."
            )
        raise ConfigError(
            f"{where} is not one token right after the prompt in the tokenizer of {name} (alone it is "
            f"{alone}); give the words to answer as answers, use another model, or fewer classes."
        )

    @property
    def around(self) -> tuple[str, str]:
        """What stands before and after every text."""
        if self.template is None:
            return "", ""
        return surroundings(self.template, self.label_names, self.words)

    def _beginning(self, text: str) -> int:
        """First character that a decoder reads of a text that is too long, with all of the template."""
        offsets = self.tokenizer(
            self._filled(text), truncation=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        before = len(self.around[0])
        places = [start - before for start, end in offsets if start < end]
        own = [place for place in places if 0 <= place < len(text)]
        n_lost = len(offsets) - self.room
        while n_lost < len(own):
            excess = self.lengths([text[own[n_lost] :]])[0] - self.room
            if excess <= 0:
                return own[n_lost]
            n_lost += excess  # a cut inside a word may take a token more
        return len(text)

    def _filled(self, text: str) -> str:
        return text if self.template is None else fill(self.template, text, self.label_names, self.words)

    def _ids(self, text: str, *, special: bool = True) -> list[int]:
        return list(
            self.tokenizer(text, add_special_tokens=special, truncation=False, verbose=False)["input_ids"]
        )

    def _padded(self, row: Sequence[int], width: int, *, left: bool) -> list[int]:
        fill_up = [self.signature.pad_id] * (width - len(row))
        return [*fill_up, *row] if left else [*row, *fill_up]

    def _mask(self, length: int, width: int, *, left: bool) -> list[int]:
        off, on = [0] * (width - length), [1] * length
        return off + on if left else on + off

    def _positions(self, tokens: Int[Tensor, "b t"]) -> Int[Tensor, " b"]:
        """Where the head looks: the first token, or the last whose id is not that of padding."""
        if self.reads != -1:
            return torch.zeros(len(tokens), dtype=torch.long)
        if self.signature.left:
            return torch.full((len(tokens),), tokens.shape[1] - 1)
        return (torch.arange(tokens.shape[1]) * (tokens != self.signature.pad_id)).argmax(dim=1)


def template_of(kind: Kind, given: str | None) -> str | None:
    """The template given, else nothing for an encoder and the list of options for a decoder."""
    return DEFAULT_TEMPLATE if given is None and kind == "decoder" else given
