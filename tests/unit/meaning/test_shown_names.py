"""Which name of a concept is shown, and for which concepts a user's own names were written."""

from pathlib import Path

import pytest

from classifsae.errors import ConfigError, StorageError
from classifsae.meaning.descriptions import Description, Origin, save_descriptions
from classifsae.meaning.names import NAMES, ConceptName, Fidelity, save_names
from classifsae.meaning.shown_names import read_own_names, shown_descriptions

NOW, BEFORE = "0e1" + 61 * "1", "a" * 64
"""Identities of concepts; the first begins with what YAML reads as a number."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that describes latents 3 and 5."""
    described = [
        Description(j, latent, name, (), ()) for j, (latent, name) in enumerate(((3, "oil"), (5, "gold")))
    ]
    save_descriptions(described, tmp_path / "descriptions")
    return tmp_path


def written(run: Path, text: str) -> Path:
    path = run / "own.yaml"
    path.write_text(text)
    return path


def shown(run: Path) -> tuple[Description, ...]:
    own = read_own_names(run / "own.yaml")
    found = shown_descriptions(run / "descriptions", named=run / "named", own=own, concepts=NOW)
    assert found is not None
    return found


def note(run: Path) -> str:
    return read_own_names(run / "own.yaml").note(NOW)


def test_without_other_names_those_of_the_descriptions_are_shown(run: Path):
    assert [(d.name, d.origin) for d in shown(run)] == [("oil", None), ("gold", None)]
    assert note(run) == ""
    own = read_own_names(run / "own.yaml")
    assert shown_descriptions(run / "elsewhere", named=run, own=own, concepts=NOW) is None


def test_a_name_made_by_the_run_says_how_well_it_fits(run: Path):
    fits = Fidelity(0.75, 0.1, better_than_chance=True, n_activating=9, n_others=9)
    made = (
        ConceptName(3, "crude", "endpoint", "oil", (), fidelity=fits),
        ConceptName(5, "ore", "words", "ore", ()),
    )
    save_names(made, run / "named")
    assert [d.name for d in shown(run)] == ["crude", "ore"]
    assert [d.origin for d in shown(run)] == [
        Origin("endpoint", 0.75, better_than_chance=True),
        Origin("words"),
    ]


def test_damaged_names_are_refused(run: Path):
    save_names((ConceptName(3, "crude", "words", "oil", ()),), run / "named")
    file = run / "named" / NAMES
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(StorageError, match="holds no names; delete it"):
        shown(run)


def test_ones_own_names_come_before_all_others(run: Path):
    save_names((ConceptName(5, "ore", "words", "ore", ()),), run / "named")
    written(run, f"concepts: {NOW[:12]}\n5: metals\n")
    assert [(d.name, d.origin) for d in shown(run)] == [("oil", None), ("metals", Origin("user"))]
    assert note(run) == ""


def test_names_that_were_written_for_other_concepts_are_not_shown_and_said(run: Path):
    written(run, f"concepts: {BEFORE[:12]}\n5: metals\n99: a latent of the old concepts\n")
    assert [d.name for d in shown(run)] == ["oil", "gold"]
    assert note(run).startswith(
        f"{run / 'own.yaml'} was written for other concepts, and its names are not shown."
    )


def test_names_that_do_not_say_what_they_were_written_for_are_shown_and_said(run: Path):
    written(run, "5: metals\n")
    assert [d.name for d in shown(run)] == ["oil", "metals"]
    assert "does not say which concepts its names were written for" in note(run)


@pytest.mark.parametrize("before", ["5: metals\n", f"concepts: {BEFORE[:12]}\n5: metals\n"])
def test_the_line_that_a_note_says_to_write_is_understood(run: Path, before: str):
    written(run, before)
    line = note(run).split("'")[1]
    written(run, f"{line}\n5: metals\n")
    assert note(run) == ""
    assert [d.name for d in shown(run)] == ["oil", "metals"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[metals]", "holds no names; write latents and names, one a line, such as '17: oil prices'."),
        ("5: [", "is no YAML; write latents"),
        ("gold: metals", "line 1: 'gold' is no latent's number; write latents"),
        ("[a]: metals", "line 1: a list is no latent's number; write latents"),
        ("3: oil\n5: ''", "line 2: the name of latent 5 has 0 characters, it may have 1 to 80; write one or"),
        (f"5: {'x' * 81}", "latent 5 has 81 characters, it may have 1 to 80; shorten it"),
        ("5: {a: b}", "the name of latent 5 is no text"),
        ("5: metals\n3: oil\n5: ore", "names latent 5 twice; keep one of the two lines"),
        ("4: ore", r"own.yaml: there is no concept with latent 4"),
        ("3: ore\n5: ore", r"own.yaml: latents 3, 5 would all be called 'ore'"),
    ],
)
def test_a_file_of_names_that_is_wrong_is_refused_in_one_line(run: Path, text: str, said: str):
    path = written(run, text)
    with pytest.raises(ConfigError, match=said) as error:
        shown(run)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert "pydantic" not in str(error.value)
