"""What can go wrong in the user's hands: one family, so that the command line can answer in one line."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pydantic import ValidationError


class ClassifSAEError(Exception):
    """The input is wrong. The message says what was given, what is allowed and what to do."""


class ConfigError(ClassifSAEError):
    """An option, or a combination of options, that cannot work."""


class UnknownNameError(ConfigError):
    """A name that stands for nothing, with the closest names that do."""

    def __init__(self, kind: str, given: str, known: Iterable[str], *, hint: str = "") -> None:
        names = sorted(known)
        close = get_close_matches(given, names, n=1, cutoff=0.6)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        advice = f" {hint}" if hint else ""
        super().__init__(f"unknown {kind} {given!r}.{guess} Known: {', '.join(names) or 'none'}.{advice}")


class DataError(ClassifSAEError):
    """Texts, labels or tensors that cannot be used as they are."""


class HubError(DataError):
    """A data set of the Hub that does not arrive: no network, or no such name."""


class MismatchError(ClassifSAEError):
    """Two things that do not belong together: other model, layer, prompt or data set."""


class StorageError(ClassifSAEError):
    """A folder or file that cannot be read or written."""


def setting(key: str, value: str | Sequence[str]) -> str:
    """What to type behind an experiment file to set an option, quoted for YAML and for the shell.

    ``setting("dataset.label_names", ["yes", "no"])`` is ``'dataset.label_names=["yes", "no"]'``.
    """
    plain = value if isinstance(value, str) else list(value)
    written = yaml.safe_dump(
        plain, default_style='"', default_flow_style=True, allow_unicode=True, width=sys.maxsize
    )
    return shlex.quote(f"{key}={written.strip()}")


def one_line(error: "ValidationError", *, known: Iterable[str] = ()) -> str:
    """All that pydantic found wrong, as one line: option, what is wrong with it, what was given."""
    return "; ".join(
        _complaint(detail["loc"], detail["type"], detail["msg"], detail["input"], known)
        for detail in error.errors(include_url=False)
    )


def _complaint(
    where: tuple[int | str, ...], kind: str, message: str, given: object, known: Iterable[str]
) -> str:
    path = ".".join(map(str, where))
    if kind == "extra_forbidden":
        return str(UnknownNameError("option", path, known))
    if kind == "value_error":
        said = message.removeprefix("Value error, ")
        return said if not path or said.startswith(f"{path}: ") else f"{path}: {said}"
    if kind in ("tuple_type", "list_type"):
        return f"{path}: must be a list such as [1, 2], got {given!r}"
    if kind == "too_short":
        return f"{path}: must name at least one"
    return f"{path}: {message[0].lower()}{message[1:]}, got {given!r}"
