"""The question that a decoder is asked: the text, then one option per class (spec: index, then name)."""

from collections.abc import Sequence

from classifsae.errors import ConfigError

TEXT = "{text}"
OPTIONS = "{options}"
DEFAULT_TEMPLATE = "{text}\n\nOPTIONS:\n{options}\n"


def options(label_names: Sequence[str], answers: Sequence[str] | None = None) -> str:
    """One line per class: its answer and its name, as in ``0(World)``; once, where they are the same.

    Args:
        answers: what to answer for each class; None: its index.
    """
    words = [str(index) for index in range(len(label_names))] if answers is None else list(answers)
    pairs = zip((word.strip() for word in words), label_names, strict=True)
    return "\n".join(word if word == name else f"{word}({name})" for word, name in pairs)


def fill(template: str, text: str, label_names: Sequence[str], answers: Sequence[str] | None = None) -> str:
    """The prompt for one text. Braces in the text and in the names stay as they are.

    Raises:
        ConfigError: the template has no place for the text.
    """
    before, after = surroundings(template, label_names, answers)
    return before + text + after


def surroundings(
    template: str, label_names: Sequence[str], answers: Sequence[str] | None = None
) -> tuple[str, str]:
    """What stands before and after the text in every prompt.

    Raises:
        ConfigError: the text's place is missing or stands there twice.
    """
    if template.count(TEXT) != 1:
        raise ConfigError(
            f"the prompt template {template!r} must contain {TEXT} exactly once, "
            f"found {template.count(TEXT)}; {OPTIONS} is optional. The default is {DEFAULT_TEMPLATE!r}."
        )
    before, _, after = template.partition(TEXT)
    lines = options(label_names, answers)
    return before.replace(OPTIONS, lines), after.replace(OPTIONS, lines)
