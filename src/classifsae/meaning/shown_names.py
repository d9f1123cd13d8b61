"""Which name of a concept is shown: the user's own, else the one that the run made, else its words."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from classifsae.errors import ConfigError
from classifsae.meaning.descriptions import Description, Origin, load_descriptions, with_names
from classifsae.meaning.names import ConceptName, load_names
from classifsae.storage import manifest_of

MOST_OWN = 80
"""Characters of a name of one's own."""

CONCEPTS = "concepts"
"""Key, in a file of names of one's own, of the concepts that these were written for."""

_N_DIGITS = 12
_ALLOWED = "write latents and names, one a line, such as '17: oil prices'"


@dataclass(frozen=True)
class OwnNames:
    """A user's own names of the concepts of one method and seed.

    Attributes:
        path: of their file.
        by_latent: the names.
        concepts: identity of the concepts that they were written for, as the file says; "" where it does not.
    """

    path: Path
    by_latent: Mapping[int, str]
    concepts: str = ""

    def fit(self, concepts: str) -> bool:
        """Whether they may be shown for the concepts of this identity: no others are named in the file."""
        return self.concepts in ("", concepts[:_N_DIGITS])

    def note(self, concepts: str) -> str:
        """What to tell the user who finds the names beside the concepts of this identity; "" for nothing."""
        line = f"{CONCEPTS}: {concepts[:_N_DIGITS]}"
        if not self.by_latent or self.concepts == concepts[:_N_DIGITS]:
            return ""
        if self.concepts:
            return (
                f"{self.path} was written for other concepts, and its names are not shown. Correct the names "
                f"that do not fit the present ones and write '{line}' there, or delete the file."
            )
        return (
            f"{self.path} does not say which concepts its names were written for. If they fit the present "
            f"ones, write '{line}' there: then a run says when the concepts have changed."
        )


def read_own_names(path: Path) -> OwnNames:
    """A user's own names: a YAML mapping of latent to name, and of ``concepts`` to the concepts' identity.

    Returns:
        No names where there is no such file.
    Raises:
        ConfigError: it is not such a mapping, or a name is empty, too long or given to a latent twice.
    """
    names: dict[int, str] = {}
    concepts = ""
    for key, value in _lines(path):
        where = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode) or not (key.value.isdecimal() or key.value == CONCEPTS):
            given = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list"
            raise ConfigError(f"{where}: {given} is no latent's number; {_ALLOWED}.")
        if not isinstance(value, yaml.ScalarNode):
            raise ConfigError(f"{where}: the name of latent {key.value} is no text; {_ALLOWED}.")
        if key.value == CONCEPTS:
            concepts = value.value
            continue
        if int(key.value) in names:
            raise ConfigError(f"{path} names latent {key.value} twice; keep one of the two lines.")
        names[int(key.value)] = _checked(value.value, f"{where}: the name of latent {key.value}")
    return OwnNames(path, names, concepts)


def _lines(path: Path) -> list[tuple[yaml.Node, yaml.Node]]:
    """Keys and values of a YAML mapping, as they are written."""
    if not path.is_file():
        return []
    try:
        root = yaml.compose(path.read_text("utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML; {_ALLOWED} ({' '.join(str(error).split())[:120]}).") from error
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} holds no names; {_ALLOWED}.")
    return list(root.value)


def _checked(given: str, what: str) -> str:
    name = " ".join(given.split())
    if not 1 <= len(name) <= MOST_OWN:
        raise ConfigError(
            f"{what} has {len(name)} characters, it may have 1 to {MOST_OWN}; "
            f"{'shorten it' if name else 'write one or delete the line'}."
        )
    return name


def shown_descriptions(
    folder: Path, *, named: Path, own: OwnNames, concepts: str
) -> tuple[Description, ...] | None:
    """The descriptions in a folder, under the names that are shown.

    Args:
        folder: of the descriptions.
        named: of the names that the run made; there need not be any.
        own: the user's, which are left out where they were written for other concepts.
        concepts: identity of the concepts described.
    Returns:
        None where there are no descriptions, as of a method with more than 50 concepts.
    Raises:
        StorageError: the files are damaged.
        ConfigError: the user's names do not fit.
    """
    found = load_descriptions(folder)
    if found is None:
        return None
    made = {name.latent: name for name in load_names(named)} if manifest_of(named) else {}
    described = tuple(_renamed(d, made[d.latent]) if d.latent in made else d for d in found)
    return with_names(described, own.by_latent, of=str(own.path)) if own.fit(concepts) else described


def _renamed(described: Description, name: ConceptName) -> Description:
    fits = name.fidelity
    origin = Origin(name.made_by, fits.auroc, fits.better_than_chance) if fits else Origin(name.made_by)
    return replace(described, name=name.name, origin=origin)
