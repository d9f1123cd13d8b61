"""A language model as the reader of names: it is asked what the classifier answers to a text."""

import re
from collections.abc import Sequence

from classifsae.meaning.legend import Read
from classifsae.meaning.llm import Ask
from classifsae.meaning.names import shown_lines

_TEXT_CHARACTERS = 300


def reader(ask: Ask, label_names: Sequence[str]) -> Read:
    """A reader that asks a language model, one text at a time.

    Args:
        ask: the language model.
        label_names: of the classes, which it has to choose from.
    """

    def read(examples: Sequence[tuple[str, int]], text: str, names: Sequence[str]) -> int | None:
        return foretold(ask(question(examples, text, names, label_names)), label_names)

    return read


def question(
    examples: Sequence[tuple[str, int]], text: str, names: Sequence[str], label_names: Sequence[str]
) -> str:
    """What a language model is asked for one text.

    Args:
        examples: texts with the classes that the classifier answered.
        text: the one in question.
        names: of the concepts that are active on it, the strongest first; none: they are not spoken of.
        label_names: of the classes.
    """
    seen = "\n".join(f"Text: {_short(example)}\nAnswer: {label_names[c]}" for example, c in examples)
    concepts = f"\nConcepts that it finds in this text, the strongest first: {'; '.join(names)}."
    return (
        f"A text classifier sorts texts into: {', '.join(label_names)}. Some of its answers, which may be "
        f"wrong:\n{seen}\nWhat does it answer to the next text?\nText: {_short(text)}"
        f"{concepts if names else ''}\nReply with one of {', '.join(label_names)}, and nothing else."
    )


def foretold(answer: str, label_names: Sequence[str]) -> int | None:
    """The class that an answer names: the one that stands first in its first line, the longest of several.

    Returns:
        None where it names none.
    """
    line = next(iter(shown_lines(answer)), "").casefold()
    places = [
        (found.start(), -len(name), c)
        for c, name in enumerate(label_names)
        if (found := re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", line))
    ]
    return min(places)[2] if places else None


def _short(text: str) -> str:
    return " ".join(text.split())[:_TEXT_CHARACTERS]
