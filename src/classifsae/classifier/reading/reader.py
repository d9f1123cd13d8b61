"""From texts to rows of tokens: template, truncation, and the tokens that stand for the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from classifsae.classifier.config import Kind
from classifsae.classifier.loading.loaded import Loaded, token_limit
from classifsae.classifier.reading.answers import answer_tokens, answer_words
from classifsae.classifier.reading.padding import Row
from classifsae.data.prompt import DEFAULT_TEMPLATE, surroundings
from classifsae.errors import ConfigError, DataError
from classifsae.storage import fingerprint
from classifsae.tensors import Int, Tensor

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Encoded:
    """The tokens of each text, cut at the limit, and how many texts were cut."""

    rows: list[Row]
    n_cut: int


@dataclass(frozen=True)
class Reader:
    """How one classifier reads texts.

    Attributes:
        tokenizer: a fast tokenizer.
        kind: an encoder cuts long texts on the side that its tokenizer does; a decoder on the left, so that
            the options survive.
        label_names: names of the classes, in order.
        template: what is put around a text; None: nothing.
        words: what is answered for each class; None: its index.
        max_length: tokens at most.
        n_slots: of these, places for the vectors of a soft prompt.
    """

    tokenizer: "PreTrainedTokenizerFast"
    kind: Kind
    label_names: tuple[str, ...]
    template: str | None
    words: tuple[str, ...] | None
    max_length: int
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

    @cached_property
    def around(self) -> tuple[str, str]:
        """What stands before and after every text."""
        if self.template is None:
            return "", ""
        return surroundings(self.template, self.label_names, self.words)

    @property
    def answers(self) -> tuple[str, ...]:
        """What a decoder answers for each class; an encoder answers nothing."""
        if self.kind == "encoder":
            return ()
        return self.words or tuple(str(index) for index in range(len(self.label_names)))

    def answer_tokens(self, *, name: str) -> tuple[int, ...]:
        """The tokens of the answers.

        Raises:
            ConfigError: an answer is not one token of its own.
        """
        return answer_tokens(self.tokenizer, self.filled(""), self.answers, name=name)

    def filled(self, text: str) -> str:
        """A text with the template around it."""
        before, after = self.around
        return before + text + after

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The tokens of texts inside the template, ``room`` at most.

        In a decoder, a text that is too long loses its beginning, and all of the template stays.

        Raises:
            DataError: a text has no token at all.
        """
        found = self._tokens([self.filled(text) for text in texts])
        if not all(found["input_ids"]):
            raise DataError("a text is empty and the template puts nothing around it; remove that text.")
        rows = _rows(found)
        cut = [number for number, row in enumerate(found.encodings or ()) if row.overflowing]
        if cut and self._keeps_template:
            shorter = _rows(self._tokens([self.filled(self._end(texts[number])) for number in cut]))
            for number, row in zip(cut, shorter, strict=True):
                rows[number] = row
        return Encoded(rows, len(cut))

    def call(self, text: str) -> dict[str, Int[Tensor, "1 t"]]:
        """What the tokenizer itself gives for one text, cut as above: what the model is called with."""
        if self._keeps_template and self.lengths([text])[0] > self.room:
            text = self._end(text)
        return dict(self._tokens(self.filled(text), return_tensors="pt"))

    def span(self, text: str) -> tuple[int, int]:
        """The characters of a text that are read, first and one past the last: all, unless it is too long.

        Raises:
            DataError: the text has no token at all.
        """
        if self.encode([text]).n_cut == 0:
            return 0, len(text)
        if self._keeps_template:
            return len(text) - len(self._end(text)), len(text)
        offsets = self._tokens(self.filled(text), return_offsets_mapping=True)["offset_mapping"]
        before = len(self.around[0])
        places = [place - before for pair in offsets if pair[0] < pair[1] for place in pair]
        return max(min(places), 0), min(max(places), len(text))

    def places(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For each token of each row of ``encode``: its characters in the text, first and one past the last.

        Equal numbers for a token that is none of the text's own.
        """
        found = self._tokens([self.filled(text) for text in texts], return_offsets_mapping=True)
        offsets, lost = list(found["offset_mapping"]), [0] * len(texts)
        for number, row in enumerate(found.encodings or ()):
            if row.overflowing and self._keeps_template:
                end = self._end(texts[number])
                offsets[number] = self._tokens(self.filled(end), return_offsets_mapping=True)[
                    "offset_mapping"
                ]
                lost[number] = len(texts[number]) - len(end)
        before = len(self.around[0])
        return [
            [(_clipped(s - before, len(text), n), _clipped(e - before, len(text), n)) for s, e in spans]
            for spans, text, n in zip(offsets, texts, lost, strict=True)
        ]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text inside the template, uncut."""
        prompts = [self.filled(text) for text in texts]
        return list(map(len, self.tokenizer(prompts, truncation=False, verbose=False)["input_ids"]))

    @property
    def _keeps_template(self) -> bool:
        """Whether more must stay of a text that is cut than its end and what follows it."""
        return self.kind == "decoder" and self.around[0] != ""

    def _tokens(self, prompts: str | Sequence[str], **options: object) -> "BatchEncoding":
        return self.tokenizer(prompts, truncation=True, max_length=self.room, verbose=False, **options)

    def _end(self, text: str) -> str:
        """The longest end of a text that is too long for which all of the template has room."""
        offsets = self.tokenizer(
            self.filled(text), truncation=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        before = len(self.around[0])
        places = [start - before for start, end in offsets if start < end]
        own = [place for place in places if 0 <= place < len(text)]
        n_lost = len(offsets) - self.room
        while n_lost < len(own):
            end = text[own[n_lost] :]
            excess = self.lengths([end])[0] - self.room
            if excess <= 0:
                return end
            n_lost += excess  # a cut inside a word may take a token more
        return ""


def reader_of(
    loaded: Loaded,
    *,
    name: str,
    label_names: Sequence[str],
    template: str | None,
    answers: Mapping[str, str] | Sequence[str] | None,
    max_length: int | None,
    n_slots: int,
) -> Reader:
    """The reader of a model; arguments that are None have the defaults of the model's kind.

    Raises:
        ConfigError: answers for a model with a classification head, or a limit that leaves no room for a text
            beside what is put around it.
    """
    if loaded.kind == "decoder":
        loaded.tokenizer.truncation_side = "left"
    reader = Reader(
        tokenizer=loaded.tokenizer,
        kind=loaded.kind,
        label_names=tuple(label_names),
        template=template_of(loaded.kind, template),
        words=answer_words(answers, label_names),
        max_length=token_limit(loaded, max_length, name=name),
        n_slots=n_slots,
    )
    if reader.kind == "encoder" and reader.words is not None:
        raise ConfigError(f"{name} has a classification head and answers nothing; leave answers out.")
    (n_around,) = reader.lengths([""])
    if n_around >= reader.room:
        raise ConfigError(
            f"max_length is {reader.max_length}, but what is put around a text takes {n_around + n_slots} "
            f"tokens; raise it, or shorten the template or the label names."
        )
    return reader


def template_of(kind: Kind, given: str | None) -> str | None:
    """The template given, else nothing for an encoder and the list of options for a decoder."""
    return DEFAULT_TEMPLATE if given is None and kind == "decoder" else given


def _clipped(place: int, length: int, lost: int) -> int:
    """A place in what is left of a text, as a place in the text of this length that lost its beginning."""
    return min(max(place, 0) + lost, length)


def _rows(found: "BatchEncoding") -> list[Row]:
    types = found.get("token_type_ids")
    return [
        Row(tuple(ids), None if types is None else tuple(types[i]))
        for i, ids in enumerate(found["input_ids"])
    ]
