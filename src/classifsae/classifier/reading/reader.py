"""From texts to rows of tokens: template, truncation, and the tokens that stand for the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from classifsae.classifier.config import BackboneConfig, Kind
from classifsae.classifier.loading.loaded import Loaded, n_positions
from classifsae.classifier.reading.padding import Row
from classifsae.data.prompt import DEFAULT_TEMPLATE, surroundings
from classifsae.errors import ConfigError, DataError, UnknownNameError
from classifsae.storage import fingerprint
from classifsae.tensors import Int, Tensor

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerFast


NO_LIMIT = 10**9
"""A tokenizer without a limit states one beyond this."""

Span = tuple[int, int]
"""The first of some characters, and the one after the last."""


@dataclass(frozen=True)
class Encoded:
    """Texts as the rows that a model reads: one for each, but several for a long one in windows; in order.

    Attributes:
        rows: their tokens, template and special tokens included.
        owners: number of the text that each row is of.
        n_long: texts that are longer than the model reads.
        spans: characters of each row in its text; None where long texts are cut.
    """

    rows: list[Row]
    owners: list[int]
    n_long: int
    spans: list[Span] | None = None


@dataclass(frozen=True)
class Reader:
    """How one classifier reads texts.

    Attributes:
        tokenizer: a fast tokenizer.
        kind: an encoder cuts long texts on its tokenizer's side; a decoder on the left, so options survive.
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
        """The token that each answer is right after the prompt.

        Raises:
            ConfigError: an answer is several tokens, merges with the end of the prompt, or is another one's.
        """
        prompt = self.filled("")
        asked = self.tokenizer(prompt, verbose=False)["input_ids"]
        tokens: dict[int, str] = {}
        for word in self.answers:
            answered = self.tokenizer(prompt + word, verbose=False)["input_ids"]
            if answered[:-1] != asked:
                found = self.tokenizer.tokenize(word)
                raise ConfigError(
                    f"the answer {word!r} is not one token right after the prompt in the tokenizer of {name} "
                    f"(alone it is {found}); choose words of one token as answers (a space before a word "
                    f"belongs to the word, not to the end of the template)."
                )
            if (other := tokens.setdefault(answered[-1], word)) != word:
                raise ConfigError(
                    f"the answers {other!r} and {word!r} are the same token in the tokenizer of {name}; "
                    f"choose other words."
                )
        return tuple(tokens)

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
        return Encoded(rows, list(range(len(texts))), len(cut))

    def call(self, text: str) -> dict[str, Int[Tensor, "1 t"]]:
        """What the tokenizer itself gives for one text, cut as above: what the model is called with."""
        if self._keeps_template and self.lengths([text])[0] > self.room:
            text = self._end(text)
        return dict(self._tokens(self.filled(text), return_tensors="pt"))

    def span(self, text: str) -> Span:
        """The characters of a text that are read: all, unless it is too long.

        Raises:
            DataError: the text has no token at all.
        """
        if self.encode([text]).n_long == 0:
            return 0, len(text)
        if self._keeps_template:
            return len(text) - len(self._end(text)), len(text)
        offsets = self._tokens(self.filled(text), return_offsets_mapping=True)["offset_mapping"]
        own = self.inside(offsets, text)
        return own[0][0], own[-1][1]

    def reach(self, text: str, span: Span) -> Span:
        """The characters of a text that can be read once one place within a span is taken out.

        Args:
            span: first character and one past the last of some that are read now.
        """
        offsets, far = self.inside(self.offsets([text])[0], text), 2 * self.room
        if self.tokenizer.truncation_side == "left":
            n = sum(end > span[0] for _, end in offsets) + far
            return (offsets[-n][0], len(text)) if n < len(offsets) else (0, len(text))
        n = sum(start < span[1] for start, _ in offsets) + far
        return (0, offsets[n][0]) if n < len(offsets) else (0, len(text))

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
        return list(map(len, self.offsets(texts)))

    def offsets(self, texts: Sequence[str]) -> list[list[Span]]:
        """Characters of each token of each text, counted from the start of the template, uncut."""
        prompts = [self.filled(text) for text in texts]
        found = self.tokenizer(prompts, truncation=False, return_offsets_mapping=True, verbose=False)
        offsets: list[list[Span]] = found["offset_mapping"]
        return offsets

    def inside(self, offsets: Sequence[Span], text: str) -> list[Span]:
        """Characters, within a text, of the tokens that hold some of it."""
        before = len(self.around[0])
        spans = ((max(start - before, 0), min(end - before, len(text))) for start, end in offsets)
        return [(start, end) for start, end in spans if start < end]

    @property
    def _keeps_template(self) -> bool:
        """Whether more must stay of a text that is cut than its end and what follows it."""
        return self.kind == "decoder" and self.around[0] != ""

    def _tokens(self, prompts: str | Sequence[str], **options: object) -> "BatchEncoding":
        return self.tokenizer(prompts, truncation=True, max_length=self.room, verbose=False, **options)

    def _end(self, text: str) -> str:
        """The longest end of a text that is too long for which all of the template has room."""
        (offsets,), before = self.offsets([text]), len(self.around[0])
        own = [start - before for start, end in offsets if start < end and 0 <= start - before < len(text)]
        n_lost = len(offsets) - self.room
        while n_lost < len(own):
            end = text[own[n_lost] :]
            excess = self.lengths([end])[0] - self.room
            if excess <= 0:
                return end
            n_lost += excess  # a cut inside a word may take a token more
        return ""


def reader_of(loaded: Loaded, config: BackboneConfig, label_names: Sequence[str], *, n_slots: int) -> Reader:
    """The reader of a model; options that are None have the defaults of the model's kind.

    Raises:
        ConfigError: answers for a model with a classification head; a limit that leaves no room for a text
            beside what is put around it, that is beyond the model's positions, or that nothing states.
    """
    if loaded.kind == "decoder":
        loaded.tokenizer.truncation_side = "left"
    reader = Reader(
        tokenizer=loaded.tokenizer,
        kind=loaded.kind,
        label_names=tuple(label_names),
        template=template_of(loaded.kind, config.template),
        words=answer_words(config.answers, label_names),
        max_length=_token_limit(loaded, config.max_length, name=config.name),
        n_slots=n_slots,
    )
    if reader.kind == "encoder" and reader.words is not None:
        raise ConfigError(f"{config.name} has a classification head and answers nothing; leave answers out.")
    (n_around,) = reader.lengths([""])
    if n_around >= reader.room:
        raise ConfigError(
            f"max_length is {reader.max_length}, but what is put around a text takes {n_around + n_slots} "
            f"tokens; raise it, or shorten the template or the label names."
        )
    return reader


def _token_limit(loaded: Loaded, asked: int | None, *, name: str) -> int:
    """Tokens that a model can read, or fewer if asked."""
    positions = n_positions(loaded.model)
    if asked is not None:
        if positions is not None and asked > positions:
            raise ConfigError(
                f"max_length is {asked}, but {name} reads {positions} tokens at most; lower it."
            )
        return asked
    stated = loaded.tokenizer.model_max_length
    if not isinstance(stated, (int, float)):
        raise ConfigError(
            f"the tokenizer of {name} states a model_max_length of {stated!r}; "
            f"write a number into its tokenizer_config.json, or give max_length."
        )
    own = int(min(n for n in (positions, stated) if n is not None))
    if own > NO_LIMIT:
        raise ConfigError(f"{name} states no limit of its own; give max_length.")
    return own


def answer_words(
    given: Mapping[str, str] | Sequence[str] | None, label_names: Sequence[str]
) -> tuple[str, ...] | None:
    """One word per class, in the order of the classes; None: the classes' indices.

    Args:
        given: words in that order, or label to word.
    Raises:
        ConfigError: another number of words than classes, or the same word twice.
        UnknownNameError: a word for a label that there is not.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        for label in given:
            if label not in label_names:
                raise UnknownNameError("label in answers", label, label_names)
        given = [given[name] for name in label_names if name in given]
    words = tuple(given)
    if len(words) != len(label_names):
        raise ConfigError(
            f"answers has {len(words)} words for {len(label_names)} classes ({', '.join(label_names)}); "
            f"give one for each."
        )
    if len(set(words)) < len(words) or not all(words):
        raise ConfigError(f"answers must differ from each other and not be empty, got {list(words)}.")
    return words


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
