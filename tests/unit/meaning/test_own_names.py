"""A user's own names say which concepts they are of, and are left as they were written otherwise."""

from pathlib import Path

import pytest

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
