"""YAML that strangers wrote is read as plain values, or refused in one line and at once."""

import os
from pathlib import Path

import pytest

from classifsae.errors import ConfigError
from classifsae.yaml_files import MAX_BYTES, parse_yaml, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1\nb: [x, true, null, 1.5]", {"a": 1, "b": ["x", True, None, 1.5]}),
        ("[0, -5, 0.5, '010', 1e3]", [0, -5, 0.5, "010", "1e3"]),
        ("a: &one {x: 1}\nb: *one", {"a": {"x": 1}, "b": {"x": 1}}),
        ("a: &one {x: 1}\nb: {<<: *one, y: 2}", {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
    ],
)
def test_plain_values_are_read(text: str, value: object):
    assert parse_yaml(text, where="it") == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2", "it, line 2: 'a' is there twice"),
        ("x: {a: 1,\n a: 2}", "it, line 2: 'a' is there twice"),
        (BOMB, "more than 200,000 values with its aliases"),
        ("a: " + "[" * 5000 + "]" * 5000, "more than 50 lists or mappings"),
        ("[" * 60 + "]" * 60, "more than 50 lists or mappings"),
        ("a: !!python/object/apply:os.system ['true']", "it is not YAML: could not determine a constructor"),
        ("a: [", "it is not YAML"),
        ("a: 1\n--- \nb: 2", "it is not YAML: expected a single document"),
        ("a: 2020-13-45", "it is not YAML: month must be in 1..12"),
        ("a: \0", "it is not YAML"),
        ("a: 1\nb: 010", "it, line 2: YAML reads 010 as 8; write 8, or '010' in quotes"),
        ("a: 1:30", "YAML reads 1:30 as 90"),
    ],
)
def test_what_is_no_plain_tree_is_refused(text: str, says: str):
    with pytest.raises(ConfigError, match=says):
        parse_yaml(text, where="it")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("a: 1".encode("utf-16"), "is no text in UTF-8"),
        (bytes(range(256)), "is no text in UTF-8"),
        (b"#" * (MAX_BYTES + 1), "is larger than 4 MB"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, says: str):
    (tmp_path / "a.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=says):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("name", ["none.yaml", ".", "a\0b", "x" * 300])
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match="cannot read the file"):
        read_yaml(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match="is a pipe; give the path of a YAML file"):
        read_yaml(tmp_path / "a.yaml")
