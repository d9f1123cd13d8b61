"""The question that a decoder is asked: the text, then one option per class (spec: index, then name)."""

from collections.abc import Sequence

from classifsae.errors import ConfigError

TEXT = "{text}"
OPTIONS = "{options}"
DEFAULT_TEMPLATE = "{text}\n\nOPTIONS:\n{options}\n"


def check_template(template: str) -> str:
    """Return the template if it can be filled.

    Raises:
        ConfigError: the text's place is missing or stands there twice.
    """
    if template.count(TEXT) != 1:
        raise ConfigError(
            f"the prompt template {template!r} must contain {TEXT} exactly once, "
            f"found {template.count(TEXT)}; {OPTIONS} is optional. The default is {DEFAULT_TEMPLATE!r}."
        )
    return template


def options(label_names: Sequence[str]) -> str:
    """One line per class: its index, which is the answer, and its name, as in ``0(World)``."""
    return "\n".join(f"{index}({name})" for index, name in enumerate(label_names))


def fill(template: str, text: str, label_names: Sequence[str]) -> str:
    """The prompt for one text. Braces in the text and in the names stay as they are.

    Raises:
        ConfigError: the template has no place for the text.
    """
    before, after = surroundings(template, label_names)
    return before + text + after


def surroundings(template: str, label_names: Sequence[str]) -> tuple[str, str]:
    """What stands before and after the text in every prompt.

    Raises:
        ConfigError: the template has no place for the text.
    """
    before, _, after = check_template(template).partition(TEXT)
    lines = options(label_names)
    return before.replace(OPTIONS, lines), after.replace(OPTIONS, lines)
