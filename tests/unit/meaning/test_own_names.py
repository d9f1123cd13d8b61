"""A user's own names say which concepts they are of, and are left as they were written otherwise."""

from pathlib import Path

import pytest

from classifsae.concepts import Edits, Merge, Split
from classifsae.errors import ConfigError
from classifsae.meaning.own_names import mark_names, read_names


@pytest.mark.parametrize(
    ("written", "marked"),
    [
        ("5: metals\n", "concepts: abc  # for which these names are\n5: metals\n"),
        (
            "# mine\n\n5: metals  # ore\n",
            "# mine\n\nconcepts: abc  # for which these names are\n5: metals  # ore\n",
        ),
        ("---\n  5: metals\n", "---\n  concepts: abc  # for which these names are\n  5: metals\n"),
        ("{5: metals}", "{concepts: abc, 5: metals}"),
        ("", ""),
    ],
)
def test_a_file_is_marked_once_and_keeps_its_names_and_comments(tmp_path: Path, written: str, marked: str):
    file = tmp_path / "seed-1.yaml"
    file.write_text(written)
    before = read_names(file).names
    mark_names(file, "abc")
    assert file.read_text() == marked
    assert read_names(file).names == before
    mark_names(file, "def")
    assert file.read_text() == marked


def test_no_file_and_no_concepts_leave_everything_as_it_is(tmp_path: Path):
    mark_names(tmp_path / "none.yaml", "abc")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.yaml").write_text("5: metals\n")
    mark_names(tmp_path / "a.yaml", "")
    assert (tmp_path / "a.yaml").read_text() == "5: metals\n"


def test_names_of_other_concepts_say_so_with_the_line_to_write(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("concepts: 123456789012\n5: metals\n")
    own = read_names(file)
    assert own.note("123456789012") == ""
    assert "written for other concepts (123456789012)" in own.note("abc")
    assert "'concepts: abc'" in own.note("abc")


def test_a_file_also_says_what_is_merged_split_and_dropped(tmp_path: Path):
    file = tmp_path / "seed-1.yaml"
    merge, split = "merge: {oil: [1, 2], war: [3, 4]}", "split: {8: [floods, dams], 9: []}"
    file.write_text(f"5: metals\n{merge}\n{split}\ndrop: [7]\n")
    own = read_names(file)
    assert own.names == {5: "metals"}
    assert own.edits.merge == (Merge((1, 2), "oil"), Merge((3, 4), "war"))
    assert own.edits.split == (Split(8, ("floods", "dams")), Split(9))
    assert own.edits.drop == (7,)
    file.write_text("split: [8]\n")
    assert read_names(file).edits == Edits(split=(Split(8),))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "merge: [1, 2]",
            r"line 1: merge holds names and their latents, such as 'merge: \{oil",
        ),
        ("merge: {oil: 1}", "merge holds names and their latents"),
        ("merge: {oil: [a, b]}", "merge holds names and their latents"),
        ("merge: {}", "merge holds names and their latents"),
        ("split: 8", "split holds latents, or latents with two names"),
        ("split: {8: 9}", "split holds latents, or latents with two names"),
        ("drop: {7: x}", "drop holds latents, such as"),
        ("drop: all", "drop holds latents, such as"),
        ("drop:", "drop holds latents, such as"),
        ("merge: {'': [1, 2]}", "the name has 0 characters, it may have 1 to 80"),
    ],
)
def test_edits_that_are_none_are_refused(tmp_path: Path, written: str, said: str):
    file = tmp_path / "seed-1.yaml"
    file.write_text(f"{written}\n")
    with pytest.raises(ConfigError, match=said):
        read_names(file)
