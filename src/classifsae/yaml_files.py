"""YAML files that strangers may have written: read once, refused where they are no plain tree of options."""

import re
from pathlib import Path

import yaml
from pydantic import JsonValue

from classifsae.errors import ConfigError

MAX_BYTES, MAX_NODES, MAX_DEPTH = 4_000_000, 200_000, 50
"""Of a file; of the tree with its aliases filled in; of mappings and lists inside each other."""
_UNLIKELY = re.compile(r"[-+]?0[0-9_]+|.*:.*")
_UNFINISHED = 0
"""Size of a node whose parts are being counted."""


def read_yaml(
    path: Path, *, what: str = "the file", cure: str = "a YAML file", as_texts: bool = False
) -> JsonValue:
    """A YAML file as plain values.

    Args:
        path: of the file.
        what, cure: what it is, and whose path to give, for messages.
        as_texts: leave 4:00:00 or 012 as they are written, whatever numbers YAML sees in them.
    Raises:
        ConfigError: it cannot be read, or ``parse_yaml`` refuses it.
    """
    try:
        if path.is_fifo():  # to open it would wait for a writer
            raise ConfigError(f"{path} is a pipe; give the path of {cure}.")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot read {what} {path}: {why}; give the path of {cure}.") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES / 1e6:.0f} MB; give a YAML file of options.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is no text in UTF-8 (byte {error.start} is {data[error.start]:#x}); save it as UTF-8."
        ) from error
    return parse_yaml(text, where=str(path), as_texts=as_texts)


def parse_yaml(text: str, *, where: str, as_texts: bool = False) -> JsonValue:
    """YAML as plain values: no tags but those of JSON's types, no key twice, no tree that explodes.

    Args:
        text: of a file or an option.
        where: what it is, for messages.
        as_texts: whether all values are texts, as they are written.
    Raises:
        ConfigError: it is not YAML, or one of these.
    """
    try:
        loader = yaml.BaseLoader(text) if as_texts else yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _size_of(root, {}, where=where, depth=0)
        value: JsonValue = loader.construct_document(root)
    except (yaml.YAMLError, ValueError) as error:
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise ConfigError(
                f"{where} holds characters that this locale cannot read; set PYTHONUTF8=1 in the environment."
            ) from error
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split())}; correct it.") from error
    except RecursionError as error:
        raise _too_deep(where) from error
    return value


def _size_of(node: yaml.Node, known: dict[int, int], *, where: str, depth: int) -> int:
    """Nodes below a node, those of an alias counted each time."""
    if depth > MAX_DEPTH:
        raise _too_deep(where)
    if id(node) in known:
        if known[id(node)] == _UNFINISHED:
            line = node.start_mark.line + 1
            raise ConfigError(
                f"{where}, line {line}: an alias stands inside what it stands for; write it out."
            )
        return known[id(node)]
    if isinstance(node, yaml.ScalarNode):
        _require_plain(node, where=where)
    known[id(node)], size = _UNFINISHED, 1
    if isinstance(node, yaml.MappingNode):
        _require_different(node, where=where)
        parts = [part for pair in node.value for part in pair]
    else:
        parts = node.value if isinstance(node, yaml.SequenceNode) else []
    size += sum(_size_of(part, known, where=where, depth=depth + 1) for part in parts)
    if size > MAX_NODES:
        raise ConfigError(f"{where} has more than {MAX_NODES:,} values with its aliases; write fewer.")
    known[id(node)] = size
    return size


def _require_plain(node: yaml.ScalarNode, *, where: str) -> None:
    """Refuse numbers that are not what they seem: YAML reads 010 as 8, and 1:30 as 90."""
    if node.tag.endswith((":int", ":float")) and _UNLIKELY.fullmatch(node.value):
        line = node.start_mark.line + 1
        read = yaml.safe_load(node.value)
        raise ConfigError(
            f"{where}, line {line}: YAML reads {node.value} as {read}; write {read}, or "
            f"'{node.value}' in quotes for a text."
        )


def _require_different(node: yaml.MappingNode, *, where: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"{where}, line {line}: {key.value!r} is there twice; leave one of them.")
            seen.add(key.value)


def _too_deep(where: str) -> ConfigError:
    return ConfigError(f"{where} has more than {MAX_DEPTH} lists or mappings inside each other; write fewer.")
