"""Options of an audit, and questions of one's own, as an experiment file states them."""

import csv
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from classifsae.bounds import PositiveInt, Seed
from classifsae.data.stream import stream_texts
from classifsae.errors import ClassifSAEError


class AuditOptions(BaseModel):
    """What is looked for, and at what cost.

    Attributes:
        terms: words or phrases that must not matter, each a row of its own; or a file, one per line.
        patterns: regular expressions by name, likewise.
        pairs: words of which each is replaced by the other, such as he and she, likewise; or a file with two
            columns and a comma between them.
        n_measured: patterns measured on test texts: those with the largest effects in training texts.
        max_texts: changed test texts per pattern and direction; half as many for controls.
        methods: whose concepts are measured in text: those of the first method, or of all.
        n_phrases: phrases of a concept, those that carry most of it.
        texts_per_concept: changed test texts per concept, direction and control.
        seed: of the random words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    terms: tuple[str, ...] = ()
    patterns: dict[str, str] = {}
    pairs: tuple[tuple[str, str], ...] = ()
    n_measured: PositiveInt = 12
    max_texts: PositiveInt = 200
    methods: Literal["first", "all", "none"] = "first"
    n_phrases: PositiveInt = 5
    texts_per_concept: PositiveInt = 40
    seed: Seed = 0

    @field_validator("terms", mode="before")
    @classmethod
    def _read_terms(cls, given: object) -> object:
        if not isinstance(given, str | Path):
            return given
        return [line.strip() for line in _lines(given)]

    @field_validator("pairs", mode="before")
    @classmethod
    def _read_pairs(cls, given: object) -> object:
        if not isinstance(given, str | Path):
            return given
        rows = [[cell.strip() for cell in row] for row in csv.reader(_lines(given))]
        for number, row in enumerate(rows, start=1):
            if len(row) != 2 or not all(row):
                raise ValueError(
                    f"line {number} of {given} is {row}; give two words with a comma between them"
                )
        return rows

    @field_validator("terms")
    @classmethod
    def _with_letters(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        for term in terms:
            if not term.strip():
                raise ValueError("a term is empty; give words")
        first: dict[str, str] = {}
        for term in terms:
            first.setdefault(term.casefold(), term)  # as they are found in any case
        return tuple(first.values())

    @field_validator("pairs")
    @classmethod
    def _two(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for first, second in pairs:
            if (
                not first.strip()
                or first.casefold().split() == second.casefold().split()
                or not second.strip()
            ):
                raise ValueError(f"{first},{second} is no pair; give two different words")
        return tuple(dict.fromkeys(pairs))

    @field_validator("patterns")
    @classmethod
    def _readable(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            try:
                matches_nothing = re.compile(pattern).search("") is not None
            except re.error as error:
                raise ValueError(f"{name} is {pattern!r}, no regular expression: {error}") from error
            if matches_nothing:
                raise ValueError(
                    f"{name} is {pattern!r}, which matches an empty text; let it match a character"
                )
        return patterns


class Question(BaseModel):
    """A concept of one's own, or the values of a column; just one of examples, words and column is given.

    Attributes:
        name: of the concept; by default the words.
        examples: texts that have it, or a file of them.
        without: texts that do not, or a file; None: the rest of the training texts.
        words: a text that has any of them has it; a list, or one text with commas between them.
        column: of the data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    examples: tuple[str, ...] | None = None
    without: tuple[str, ...] | None = None
    words: tuple[str, ...] | None = None
    column: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        n_given = sum(given.get(kind) is not None for kind in ("examples", "words", "column"))
        if n_given != 1:
            raise ValueError(f"a question has one of examples, words and column; {n_given} were given")
        if given.get("without") is not None and given.get("examples") is None:
            raise ValueError("without goes with examples; give both, or leave it out")
        return given

    @field_validator("examples", "without", mode="before")
    @classmethod
    def _read(cls, given: object) -> object:
        try:
            return tuple(stream_texts(str(given))) if isinstance(given, str | Path) else given
        except ClassifSAEError as error:
            raise ValueError(str(error)) from error

    @field_validator("words", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        return given.split(",") if isinstance(given, str) else given

    @field_validator("words")
    @classmethod
    def _with_words(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if given is None:
            return None
        words = tuple(dict.fromkeys(word.strip() for word in given if word.strip()))
        if not words:
            raise ValueError("there are none; give words with commas between them")
        return words

    @property
    def title(self) -> str:
        """What it is called."""
        return self.name or ", ".join(self.words or ()) or self.column or "examples"


def _lines(file: str | Path) -> list[str]:
    try:
        lines = Path(file).expanduser().read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {file}: {error}; give a text file in UTF-8, or a list") from error
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise ValueError(f"{file} is empty; give one or more lines")
    return filled
