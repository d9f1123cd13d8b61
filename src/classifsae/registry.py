"""Names a user may type: each is a file name, in a folder of classes (*.py) or of presets (*.yaml)."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from importlib.metadata import EntryPoints, entry_points
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from pkgutil import iter_modules
from typing import Generic, TypeVar

import yaml
from pydantic import JsonValue

from classifsae.errors import ConfigError, UnknownNameError

T = TypeVar("T")

_MARKS = r"\s_/\-\u2010-\u2015"
_SEPARATOR = re.compile(rf"(?<=[^{_MARKS}])[{_MARKS}]+(?=[^{_MARKS}])")
_PART_OF_A_NUMBER = re.compile(rf"(?<=\d)[{_MARKS}]+(?=\d)|(?<!\w)-(?=\d)")  # 4-5 is not 45, nor -1 1
_MINUS = "\u2212"  # none of the marks
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))


def canonical(name: str) -> str:
    """Spelling without case and separators: ``pythia-410m`` and ``Pythia_410M`` are one name.

    Separators are blanks, dashes, ``_`` and ``/`` between two other characters. Nothing else is dropped, so
    that names in any script, and ``C`` and ``C++``, stay what they are.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
    return _SEPARATOR.sub("", _PART_OF_A_NUMBER.sub(_MINUS, folded))


def cleaned(name: str) -> str:
    """A name as it looks: composed accents, nothing invisible, single blanks inside and none around."""
    return " ".join(unicodedata.normalize("NFC", name.translate(_INVISIBLE)).split())


@cache
def _installed(group: str) -> EntryPoints:
    """Entry points of all installed packages; finding them reads a file of each."""
    return entry_points(group=group)


def import_object(path: str) -> object:
    """The object at ``package.module:Name``.

    Raises:
        ConfigError: the path is not of that form, or nothing is there.
    """
    module, _, attribute = path.partition(":")
    try:
        found: object = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot import {path!r} ({error}); write it as package.module:Class.") from error
    return found


def names_in(package: str) -> list[str]:
    """Every name in a folder of classes, its entry points included, sorted; nothing of it is imported."""
    spec = find_spec(package)
    assert spec is not None
    modules = [m.name for m in iter_modules(spec.submodule_search_locations)]
    return sorted({m for m in modules if not m.startswith("_") and m != "base"} | _installed(package).names)


def known_name(kind: str, package: str, given: str) -> str:
    """A name as its file spells it; a ``package.module:Class`` as it is. Nothing is imported.

    Raises:
        UnknownNameError: no such name.
    """
    known = {canonical(name): name for name in names_in(package)}
    if ":" not in given and canonical(given) not in known:
        hint = f"Your own {kind} may be given as package.module:Class."
        raise UnknownNameError(kind, given, known.values(), hint=hint)
    return known.get(canonical(given), given)


@dataclass(frozen=True)
class ClassRegistry(Generic[T]):
    """One class per public module of a package, plus entry points and ``package.module:Class``.

    The module ``concepts/sae.py`` defines exactly one subclass of ``base`` of its own: that is ``sae``.

    Attributes:
        kind: what an entry is called in messages, such as "method".
        package: dotted name of the folder; modules whose name starts with "_" or is "base" are not entries.
        base: what every entry is a subclass of.
    """

    kind: str
    package: str
    base: type[T]

    def names(self) -> list[str]:
        """Every known name, sorted."""
        return names_in(self.package)

    def load(self, name: str) -> type[T]:
        """The class behind a name.

        Raises:
            UnknownNameError: no such name.
            ConfigError: the name leads to something that is not an entry of this kind.
        """
        if ":" in name:
            return self._checked(import_object(name), name)
        name = known_name(self.kind, self.package, name)
        for point in _installed(self.package).select(name=name):
            return self._checked(point.load(), name)
        return self._defined_in(f"{self.package}.{name}", name)

    def about(self, name: str) -> str:
        """What a class says of itself in its first line."""
        return (self.load(name).__doc__ or "").partition("\n")[0]

    def _defined_in(self, module: str, name: str) -> type[T]:
        own = [
            value
            for value in vars(import_module(module)).values()
            if isinstance(value, type) and issubclass(value, self.base) and value.__module__ == module
        ]
        if len(own) != 1:
            raise ConfigError(
                f"{module} must define one {self.kind} ({self.base.__name__}), found {len(own)}."
            )
        return self._checked(own[0], name)

    def _checked(self, found: object, name: str) -> type[T]:
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise ConfigError(
                f"{name!r} is not a {self.kind}: it must be a subclass of {self.base.__name__}."
            )
        return found


@dataclass(frozen=True)
class PresetRegistry:
    """One YAML file per preset, in a folder of ``classifsae/presets``."""

    kind: str
    folder: str

    def names(self) -> list[str]:
        """Every known name, sorted."""
        return sorted(self._paths())

    def find(self, name: str) -> Path | None:
        """The file of a preset, or None if there is no such preset; no path names one."""
        if set(name) & set("/\\~") or name.startswith("."):
            return None
        by_spelling = {canonical(n): path for n, path in self._paths().items()}
        return by_spelling.get(canonical(name))

    def fields(self, name: str) -> dict[str, JsonValue]:
        """What a preset states; nothing where there is no such preset."""
        path = self.find(name)
        found: dict[str, JsonValue] = {} if path is None else yaml.safe_load(path.read_text("utf-8"))
        return found

    def about(self, name: str) -> str:
        """What a preset says of itself: the comment that its file begins with."""
        lines = self._paths()[name].read_text("utf-8").splitlines()
        return " ".join(line[1:].strip() for line in takewhile(lambda line: line.startswith("#"), lines))

    def _paths(self) -> dict[str, Path]:
        folder = resources.files("classifsae") / "presets" / self.folder
        return {Path(str(f)).stem: Path(str(f)) for f in folder.iterdir() if f.name.endswith(".yaml")}
