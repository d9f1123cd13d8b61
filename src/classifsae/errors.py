"""What can go wrong in the user's hands: one family, so that the command line can answer in one line."""

import json
import shlex
import sys
import warnings
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import JsonValue, ValidationError


class ClassifSAEError(Exception):
    """The input is wrong. The message says what was given, what is allowed and what to do."""


class ConfigError(ClassifSAEError):
    """An option, or a combination of options, that cannot work."""


class ClassifSAEWarning(UserWarning):
    """A result that is usable but probably not what was wanted, such as concepts that are dead."""


def warn(message: str) -> None:
    """Warn of a usable result that is probably not what was wanted, at the line that called the package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("classifsae."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, ClassifSAEWarning, stacklevel=level)


def require_kind(given: object, kind: type | tuple[type, ...], *, wanted: str) -> None:
    """See that an argument is of the kind that is read.

    Args:
        given: the argument.
        kind: its class, or several that are read.
        wanted: what is taken, such as "capture takes texts, such as data.test".
    Raises:
        ConfigError: it is of another.
    """
    if not isinstance(given, kind):
        raise ConfigError(f"{wanted}; got {type(given).__name__}.")


class UnknownNameError(ConfigError):
    """A name that stands for nothing, with the closest names that do.

    Args:
        kind: what the name is of, such as "method".
        given: the name.
        known: names that could stand there.
        elsewhere: what else may be meant, where no known name is close.
        hint: a further sentence.
    """

    def __init__(
        self, kind: str, given: str, known: Iterable[str], *, elsewhere: Iterable[str] = (), hint: str = ""
    ) -> None:
        names = sorted(known)
        close = get_close_matches(given, names, n=1, cutoff=0.6) or sorted(elsewhere)
        guess = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
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


class DamagedError(StorageError):
    """An artefact that is not as it was written.

    Args:
        folder: of the artefact.
        name: of the file there.
        what: is wrong with it.
        cure: what to do, where no run makes it again.
    """

    def __init__(self, folder: "Path", name: str, what: str, *, cure: str = "") -> None:
        again = f"give its own file back, or, if a run made it, delete {folder} to have it made again"
        super().__init__(f"{folder / name} {what}; {cure or again}.")
        self.folder, self.name, self.what, self.said = folder, name, what, f"{folder / name} {what}"


def setting(key: str, value: "JsonValue") -> str:
    """``key=value`` as it is typed after a command: one word to the shell, and YAML for just this value."""
    return shlex.quote(f"{key}={value if _is_plain(value) else _quoted(value)}")


def _is_plain(value: "JsonValue") -> bool:
    """Whether a value is a text that YAML reads as it stands."""
    import yaml

    try:
        return isinstance(value, str) and bool(yaml.safe_load(value) == value)
    except yaml.YAMLError:
        return False


def _quoted(value: "JsonValue") -> str:
    """A value as JSON, which is YAML once what cannot be printed is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def one_line(error: "ValidationError", *, known: Collection[str] = ()) -> str:
    """All that pydantic found wrong, as one line: option, what is wrong with it, what was given.

    Args:
        known: options that there are, those of a mapping as ``mapping.option``.
    """
    return "; ".join(
        _complaint(detail["loc"], detail["type"], detail["msg"], detail["input"], known)
        for detail in error.errors(include_url=False)
    )


def _complaint(
    where: tuple[int | str, ...], kind: str, message: str, given: object, known: Collection[str]
) -> str:
    path = ".".join(map(str, where)) or "the whole"
    if kind == "extra_forbidden":
        return str(unknown_option(path, known)).rstrip(".")
    if kind == "value_error":
        said = message.removeprefix("Value error, ")
        return said if not where or said.startswith(f"{path}: ") else f"{path}: {said}"
    if kind in ("tuple_type", "list_type"):
        return f"{path}: must be a list such as [1, 2], got {_shown(given)}"
    if kind in ("model_type", "dict_type"):
        return f"{path}: must be a mapping of options, got {_shown(given)}"
    if kind == "too_short":
        return f"{path}: must name at least one"
    return f"{path}: {message[0].lower()}{message[1:]}, got {_shown(given)}"


def _shown(given: object, most: int = 200) -> str:
    text = repr(given)
    return text if len(text) <= most else f"{text[:most]}..."


def unknown_option(path: str, known: Collection[str]) -> UnknownNameError:
    """An option that there is not, with the closest beside it, else those of its name in other mappings."""
    above, _, name = path.rpartition(".")
    beside = [option for option in known if option.rpartition(".")[0] == above]
    elsewhere = [option for option in known if option.rpartition(".")[2] == name]
    return UnknownNameError("option", path, beside, elsewhere=elsewhere)
