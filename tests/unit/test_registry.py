import pytest

from classifsae.concepts import METHODS
from classifsae.errors import ConfigError
from classifsae.registry import PresetRegistry, canonical, import_object


@pytest.mark.parametrize("name", ["ClassifSAE", "classif_sae", "classif-sae", "classifsae"])
def test_spelling_does_not_matter(name: str):
    assert METHODS.load(name).method_name() == "classifsae"


def test_private_modules_and_the_base_are_no_methods():
    assert not [name for name in METHODS.names() if name.startswith("_") or name == "base"]
    assert {"classifsae", "identity", "random", "sae"} <= set(METHODS.names())


def test_every_method_says_what_it_is():
    assert all(METHODS.about(name) for name in METHODS.names())


@pytest.mark.parametrize("folder", ["backbones", "datasets"])
def test_presets_are_found_in_any_spelling_and_say_what_they_are(folder: str):
    registry = PresetRegistry("preset", folder)
    assert registry.names()
    for name in registry.names():
        assert registry.find(name.upper().replace("_", "-")) is not None
        assert registry.about(name), f"{name}.yaml must begin with a comment that says what it is"
    assert registry.find("no such preset") is None


def test_canonical_drops_case_and_separators():
    assert canonical("Pythia-410M") == canonical("pythia_410m") == "pythia410m"


def test_an_object_is_imported_by_its_path():
    assert import_object("pathlib:Path").__name__ == "Path"
    with pytest.raises(ConfigError, match=r"write it as package.module:Class"):
        import_object("pathlib")
