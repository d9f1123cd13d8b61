"""What messages tell to type."""

import subprocess

import pytest
import yaml

from classifsae.errors import setting

NAMES = [
    "yes",
    "no",
    "a, b",
    "it's",
    'so "called"',
    "[x]",
    "null",
    "1",
    "# 3",
    "θετικό",
    "긍정",
    "\U0001f600",
    "$HOME `ls` !",
]


@pytest.mark.parametrize("value", [NAMES, *NAMES])
def test_a_setting_passes_the_shell_and_yaml_unchanged(value: str | list[str]):
    typed = setting("dataset.label_names", value)
    given = subprocess.run(
        ["sh", "-c", f"printf %s {typed}"], capture_output=True, check=True
    ).stdout.decode()
    key, _, written = given.partition("=")
    assert (key, yaml.safe_load(written)) == ("dataset.label_names", value)


def test_a_setting_is_easy_to_read():
    assert setting("dataset.label_names", ("yes", "no")) == """'dataset.label_names=["yes", "no"]'"""
