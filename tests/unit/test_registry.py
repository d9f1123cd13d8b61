import pytest

from classifsae.concepts import METHODS
from classifsae.errors import ConfigError
from classifsae.metrics import METRICS
from classifsae.registry import PresetRegistry, canonical, import_object


@pytest.mark.parametrize("name", ["ClassifSAE", "classif_sae", "classif-sae", "classifsae"])
def test_spelling_does_not_matter(name: str):
    assert METHODS.load(name).method_name() == "classifsae"


def test_private_modules_and_the_base_are_no_methods():
    assert not [name for name in METHODS.names() if name.startswith("_") or name == "base"]
    assert {"classifsae", "identity", "random", "sae"} <= set(METHODS.names())


def test_every_method_says_what_it_is():
    assert all(METHODS.about(name).endswith(".") for name in METHODS.names())
    assert all(METRICS.about(name).endswith(".") for name in METRICS.names())


@pytest.mark.parametrize("folder", ["backbones", "datasets"])
def test_presets_are_found_in_any_spelling_and_say_what_they_are(folder: str):
    registry = PresetRegistry("preset", folder)
    assert registry.names()
    for name in registry.names():
        assert registry.find(name.upper().replace("_", "-")) is not None
        assert registry.about(name).endswith("."), (
            f"{name}.yaml must begin with a comment that says what it is"
        )
    assert registry.find("no such preset") is None
    assert registry.find("отзывы imdb") is None


def test_canonical_drops_case_and_separators():
    assert canonical("Pythia-410M") == canonical("pythia_410m") == "pythia410m"
    assert canonical("Sci/Tech") == canonical("scitech")
    assert canonical("smollm2-135m") == canonical("SmolLM2_135M") != canonical("smollm2135m")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ΘΕΤΙΚΟ", "θετικο"),
        ("Straße", "STRASSE"),
        ("\uff21\uff22\u3000\uff43", "abc"),
        ("caf\u00e9 noir", "cafe\u0301-noir"),
        ("\uae0d\uc815", "\u1100\u1173\u11bc\u110c\u1165\u11bc"),
        ("class\u00a02", "Class_2"),
        ("non\u2013offensive", "non-offensive"),
    ],
)
def test_canonical_knows_case_and_separators_in_every_script(one: str, other: str):
    assert canonical(one) == canonical(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("θετικό", "αρνητικό"),
        ("긍정", "부정"),
        ("-1", "1"),
        ("class -1", "class 1"),
        ("4-5", "45"),
        ("C", "C++"),
        ("A-", "A"),
        ("!", "?"),
        ("отзывы_imdb", "imdb"),
    ],
)
def test_canonical_drops_nothing_else(one: str, other: str):
    assert canonical(one) != canonical(other)


def test_an_object_is_imported_by_its_path():
    assert import_object("pathlib:Path").__name__ == "Path"
    with pytest.raises(ConfigError, match=r"write it as package.module:Class"):
        import_object("pathlib")
