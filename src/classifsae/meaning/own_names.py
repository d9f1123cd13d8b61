"""A user's own names of concepts: a YAML file of latents and names, which says whose concepts they are.

It also says which concepts are merged, split or dropped.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import yaml

from classifsae.bounds import name_of_concept
from classifsae.concepts import Edits, Merge, Split
from classifsae.errors import ConfigError
from classifsae.meaning.descriptions import Description, Origin
from classifsae.storage import write_text

_CONCEPTS = "concepts"
_ALLOWED = "write latents and names, one a line, such as '17: oil prices'"
_EDITS = {
    "merge": "names and their latents, such as 'merge: {oil prices: [17, 40]}'",
    "split": "latents, or latents with two names, such as 'split: {8: [floods, dams]}'",
    "drop": "latents, such as 'drop: [3, 7]'",
}
"""Other keys of the file, and what they hold."""


@dataclass(frozen=True)
class OwnNames:
    """A user's own names of the concepts of one method and seed.

    Attributes:
        file: where they are.
        names: by latent; none where there is no file.
        concepts: identity of the concepts that they were written for, "" where the file does not say.
        edits: concepts that are merged, split or dropped.
    """

    file: Path
    names: Mapping[int, str] = field(default_factory=dict)
    concepts: str = ""
    edits: Edits = field(default_factory=Edits)

    def are_of_others(self, concepts: str) -> bool:
        """Whether they were written for other concepts than these, by their identity."""
        return bool(concepts and self.concepts) and concepts != self.concepts

    def note(self, concepts: str) -> str:
        """What to say where the concepts are now these; "" unless the names are of others."""
        if not self.are_of_others(concepts):
            return ""
        what = "names and edits" if self.edits else "names"
        return (
            f"your {what} in {self.file.name} are left out, as they were written for other concepts "
            f"({self.concepts}) than there are now ({concepts}); check each name, then write "
            f"'concepts: {concepts}' there."
        )


def read_names(file: Path) -> OwnNames:
    """A user's own names, a YAML mapping of latent to name.

    Raises:
        ConfigError: it is not such a mapping, or a name is empty, too long or given to a latent twice.
    """
    root = _parsed(file)[1] if file.is_file() else None
    names: dict[int, str] = {}
    concepts, edits = "", Edits()
    for key, value in [] if root is None else root.value:
        if isinstance(key, yaml.ScalarNode) and key.value == _CONCEPTS:
            if not isinstance(value, yaml.ScalarNode):
                raise ConfigError(f"{file}: {_CONCEPTS} is no text; write it as the run did, or delete it.")
            concepts = value.value
            continue
        if isinstance(key, yaml.ScalarNode) and key.value in _EDITS:
            edits = _with_edit(edits, file, key.value, value)
            continue
        latent, name = _own_name(file, key, value)
        if latent in names:
            raise ConfigError(f"{file} names latent {latent} twice; keep one of the two lines.")
        names[latent] = name
    return OwnNames(file, names, concepts, edits)


def mark_names(file: Path, concepts: str) -> None:
    """Add a line to a file of names that does not say which concepts it is of; nothing else in it changes.

    Args:
        concepts: their identity; "" if there are none yet.
    Raises:
        ConfigError: the file cannot be understood.
        StorageError: the file cannot be written.
    """
    if not concepts or not file.is_file() or read_names(file).concepts:
        return
    text, root = _parsed(file)
    if root is None:
        return
    start = root.start_mark
    if root.flow_style:
        at, line = start.index + 1, f"{_CONCEPTS}: {concepts}, "
    else:
        at, line = start.index, f"{_CONCEPTS}: {concepts}  # for which these names are\n{' ' * start.column}"
    write_text(file, text[:at] + line + text[at:])


def _parsed(path: Path) -> tuple[str, yaml.MappingNode | None]:
    """The text of a file of names, and the mapping in it; None for an empty file."""
    try:
        text = path.read_text("utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML; {_ALLOWED} ({' '.join(str(error).split())[:120]}).") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} holds no names; {_ALLOWED}.")
    return text, root


def _with_edit(edits: Edits, path: Path, kind: str, value: yaml.Node) -> Edits:
    """The edits with those that one key of the file says.

    Raises:
        ConfigError: the key holds something else.
    """
    where = f"{path}, line {value.start_mark.line + 1}"
    try:
        if kind == "merge" and isinstance(value, yaml.MappingNode) and value.value:
            pairs = [(_checked(where, one.value), _latents(many)) for one, many in value.value]
            return replace(edits, merge=tuple(Merge(latents, name) for name, latents in pairs))
        if kind == "split" and isinstance(value, yaml.MappingNode) and value.value:
            named = [(int(one.value), many.value) for one, many in value.value]
            splits = [
                Split(one, tuple(_checked(where, name.value) for name in names)) for one, names in named
            ]
            return replace(edits, split=tuple(splits))
        if kind == "split" and value.value:
            return replace(edits, split=tuple(map(Split, _latents(value))))
        if kind == "drop" and value.value:
            return replace(edits, drop=_latents(value))
    except (ValueError, TypeError, AttributeError):
        pass  # said below
    raise ConfigError(f"{where}: {kind} holds {_EDITS[kind]}.")


def _latents(node: yaml.Node) -> tuple[int, ...]:
    """The numbers of a list."""
    if not isinstance(node, yaml.SequenceNode):
        raise TypeError
    return tuple(int(item.value) for item in node.value)


def _own_name(path: Path, key: yaml.Node, value: yaml.Node) -> tuple[int, str]:
    """One line of a user's names."""
    where = f"{path}, line {key.start_mark.line + 1}"
    if not isinstance(key, yaml.ScalarNode) or not key.value.isdecimal():
        given = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
        close = get_close_matches(given, [_CONCEPTS, *_EDITS], n=1)
        guess = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(
            f"{where}: {repr(given) if given else 'a list'} is no latent's number{guess}; {_ALLOWED}."
        )
    if not isinstance(value, yaml.ScalarNode):
        raise ConfigError(f"{where}: the name of latent {key.value} is no text; {_ALLOWED}.")
    return int(key.value), _checked(where, value.value, of=f"of latent {key.value} ")


def _checked(where: str, given: str, *, of: str = "") -> str:
    """A name on one line.

    Raises:
        ConfigError: it is empty or too long.
    """
    try:
        return name_of_concept(given)
    except ValueError as error:
        raise ConfigError(f"{where}: the name {of}{error}.") from error


def with_names(
    descriptions: Sequence[Description], names: Mapping[int, str], *, of: str = "names"
) -> tuple[Description, ...]:
    """Descriptions under names of one's own, by latent; the others keep theirs.

    Args:
        descriptions: of the concepts of one method.
        names: by latent.
        of: what the names are of, for errors.

    Raises:
        ConfigError: a latent that is not described, or a name that two concepts would have.
    """
    known = {d.latent for d in descriptions}
    if unknown := sorted(names.keys() - known):
        listed = ", ".join(map(str, sorted(known)))
        raise ConfigError(
            f"{of}: there is no concept with latent {unknown[0]}; correct the number or delete the line. "
            f"Known: {listed}."
        )
    named = tuple(
        replace(d, name=names[d.latent], origin=Origin("user")) if d.latent in names else d
        for d in descriptions
    )
    name, n = Counter(d.name for d in named).most_common(1)[0] if named else ("", 0)
    if n > 1:
        both = ", ".join(str(d.latent) for d in named if d.name == name)
        raise ConfigError(f"{of}: latents {both} would all be called {name!r}; give each a name of its own.")
    return named
