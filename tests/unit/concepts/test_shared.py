"""Shared concepts: what is written beside them, and what is refused when they are read."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts import Concepts, load_concepts
from classifsae.concepts.kmeans import KMeans
from classifsae.errors import ConfigError, MismatchError, StorageError
from classifsae.metrics import score
from classifsae.storage import MANIFEST, Manifest, finish

CARD = {
    "names": ["oil", "a|b", "war", "chip"],
    "label_names": ["x", "y", "z"],
    "backbone": "minilm",
    "dataset": "news",
    "scores": {"recovery_accuracy": 0.98765, "stability": None},
}


@pytest.fixture(scope="module")
def plain(train: Activations, tail: nn.Linear) -> Concepts:
    return KMeans(n_concepts=4).fit(train, tail)


@pytest.fixture
def folder(plain: Concepts, tmp_path: Path) -> Path:
    plain.with_card(**CARD).save(tmp_path / "shared")
    return tmp_path / "shared"


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_numbers_names_and_scores_survive_the_disk(plain: Concepts, folder: Path, train: Activations):
    back = load_concepts(folder)
    assert torch.equal(back.encode(train.hidden), plain.encode(train.hidden))
    assert back.names == tuple(CARD["names"])
    assert back.card.scores == CARD["scores"]
    assert back.source == plain.source


def test_concepts_without_a_card_are_as_before_and_can_be_loaded(plain: Concepts, tmp_path: Path):
    plain.save(tmp_path / "plain")
    assert {file.name for file in (tmp_path / "plain").iterdir()} == {
        "concepts.safetensors", "curves.json", "manifest.json"
    }  # fmt: skip
    assert load_concepts(tmp_path / "plain").names == tuple(f"concept {j}" for j in plain.kept.tolist())


def test_the_model_card_has_a_row_for_every_concept_and_score(plain: Concepts, folder: Path):
    lines = (folder / "README.md").read_text().splitlines()
    assert lines[0] == "---"
    assert "# 4 concepts of minilm on news" in lines
    (row,) = [line for line in lines if "a\\|b" in line]
    latent, _, label, share, activation = (
        cell.strip() for cell in row.replace("\\|", "").strip("|").split("|")
    )
    assert int(latent) == int(plain.kept[1])
    assert label == "xyz"[plain.segment_of[1]]
    assert share == f"{100 * plain.class_shares[1].max():.0f} %"
    assert activation == f"{plain.activation[1].item():.3g}"
    (row,) = [line for line in lines if "`recovery_accuracy`" in line]
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["0.9877", "0-1 ↑"]
    assert "share of the sentences on which the classifier decides as" in row
    (row,) = [line for line in lines if "`stability`" in line]
    assert row.split("|")[2].strip() == "undefined"


def test_scores_of_the_run_table_come_first_and_all_have_their_unit_and_meaning(
    plain: Concepts, tail: nn.Linear, test: Activations, tmp_path: Path
):
    scores = score(plain, tail, test, n_halves=2)
    plain.with_card(scores=scores).save(tmp_path / "s")
    first, _, rest = (
        (tmp_path / "s" / "README.md").read_text().partition("## Scores")[2].partition("<details>")
    )
    assert 5 <= first.count("`") // 2 < 12
    assert "fraction, 0 to 1, higher is better" in rest
    rows = [
        [cell.strip() for cell in line.split(" | ")] for line in (first + rest).splitlines() if "`" in line
    ]
    assert len(rows) == len(scores.record())
    assert all(len(row) == 4 and row[3].strip("| ") for row in rows), rows


def test_a_bundle_is_verified_by_its_own_scores(
    plain: Concepts, tail: nn.Linear, test: Activations, tmp_path: Path
):
    scores = score(plain, tail, test)
    plain.with_card(scores=scores).save(tmp_path / "s")
    back = load_concepts(tmp_path / "s")
    found = back.verify(tail, test)
    assert found.is_same
    assert (set(found.same), found.unmeasured) == (set(scores.record()), ())
    stated = scores.record() | {"recovery_accuracy": 0.5, "stability": 1.0}
    found = plain.with_card(scores=stated).verify(tail, test)
    assert found.differs == {"recovery_accuracy": (0.5, scores.completeness.recovery_accuracy)}
    assert found.unmeasured == ("stability",)
    assert not found.is_same
    assert "1 of" in repr(found)
    assert "recovery_accuracy  0.5" in repr(found)
    with pytest.raises(ConfigError, match="these concepts state no scores"):
        plain.verify(tail, test)
    other = test.take(torch.arange(20))
    assert "n_sentences" in back.verify(tail, other).differs


def test_a_card_has_a_name_for_each(plain: Concepts):
    with pytest.raises(MismatchError, match="1 names are given for 4; give one for each"):
        plain.with_card(names=["one"])
    with pytest.raises(MismatchError, match="2 label_names are given for 3"):
        plain.with_card(label_names=["a", "b"])
    with pytest.raises(ConfigError, match="two concepts would be called 'a'"):
        plain.with_card(names=["a"] * 4)
    with pytest.raises(ConfigError, match=r"with_card: scores\.x: input should be a valid number"):
        plain.with_card(scores={"x": "y"})
    assert plain.card is None


def test_scores_go_with_concepts_as_they_are(plain: Concepts, tail: nn.Linear, test: Activations):
    scores = score(plain, tail, test, metrics=["completeness"])
    assert plain.with_card(scores=scores).card == plain.with_card(scores=scores.record()).card


def sealed_again(folder: Path, **record: object) -> None:
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_text())
    finish(folder, inputs=manifest.inputs, record=manifest.record | record, besides=("README.md",))


def test_a_readme_may_be_edited_and_nothing_else(folder: Path):
    (folder / "README.md").write_text("Ours.")
    assert len(load_concepts(folder)) == 4
    tensors = folder / "concepts.safetensors"
    raw = bytearray(tensors.read_bytes())
    raw[-1] ^= 1
    tensors.write_bytes(raw)
    with pytest.raises(StorageError, match="has the SHA-256"):
        load_concepts(folder)
    tensors.unlink()
    with pytest.raises(StorageError, match="is missing; get the bundle again from where it came") as raised:
        load_concepts(folder)
    assert "delete" not in str(raised.value)


def test_another_version_says_what_to_do(folder: Path):
    change(folder / "card.json", format=2, version="9.1.0")
    said = r'of format 2, and this reads 1; .*: pip install "classifsae==9.1.0", or have them saved again'
    with pytest.raises(StorageError, match=said):
        load_concepts(folder)


@pytest.mark.parametrize("format", [1, 99])
@pytest.mark.parametrize("has_card", [True, False])
def test_a_manifest_of_another_format_names_the_version_that_wrote_it_and_nothing_is_to_be_deleted(
    plain: Concepts, tmp_path: Path, has_card: bool, format: int
):
    (plain.with_card(**CARD) if has_card else plain).save(tmp_path / "b")
    made_with = {"versions": {"classifsae": "9.1.0"}}
    change(tmp_path / "b" / MANIFEST, format=format, made_with=made_with, whatever={"new": 1})
    if has_card:
        change(tmp_path / "b" / "card.json", version="9.1.0")
    said = rf'{MANIFEST} is of format {format}, and this reads 2; .* 9\.1\.0: pip install "classifsae==9.1.0"'
    with pytest.raises(StorageError, match=said) as raised:
        load_concepts(tmp_path / "b")
    assert "delete" not in str(raised.value)


def test_a_format_that_this_version_does_not_write_is_not_cured_by_installing_it(folder: Path):
    change(folder / MANIFEST, format=99)
    with pytest.raises(StorageError, match="it writes no such thing: get the bundle again") as raised:
        load_concepts(folder)
    assert "pip install" not in str(raised.value)


def test_a_changed_manifest_of_another_version_says_both_cures(folder: Path):
    change(folder / "card.json", version="9.1.0")
    change(folder / MANIFEST, whatever=1)
    said = r'not as it was written; get the bundle again .*pip install "classifsae==9.1.0"'
    with pytest.raises(StorageError, match=said):
        load_concepts(folder)


def test_a_run_is_no_bundle_and_other_artefacts_are_none_either(train: Activations, tmp_path: Path):
    (tmp_path / "run" / "concepts").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"is the folder of a run; `classifsae share .*run --to FOLDER`"):
        load_concepts(tmp_path / "run")
    train.save(tmp_path / "activations")
    with pytest.raises(StorageError, match="holds no concepts"):
        load_concepts(tmp_path / "activations")


@pytest.mark.parametrize("where", [None, 5, ["a"]])
def test_only_a_folder_or_a_name_is_looked_up(where: object):
    with pytest.raises(ConfigError, match="takes a folder, or owner/name on the Hub; got"):
        load_concepts(where)


def test_saving_says_in_a_line_what_was_written(plain: Concepts, tmp_path: Path):
    said = repr(plain.save(tmp_path / "a"))
    assert said.startswith("Manifest ")
    assert "2 files" in said


def test_settings_of_another_version_say_what_to_do(folder: Path):
    change(folder / "card.json", version="9.1.0")
    sealed_again(folder, settings={"sharpness": 3})
    with pytest.raises(StorageError, match=r"cannot be read \(.*sharpness.*pip install"):
        load_concepts(folder)


def test_code_of_others_is_not_imported(folder: Path):
    sealed_again(folder, coder="antigravity:Coder")
    with pytest.raises(ConfigError, match=r"need 'antigravity:Coder', which is not part of ClassifSAE"):
        load_concepts(folder)


@pytest.mark.parametrize("where", ["./nowhere", "/no/such/folder", "nowhere", ""])
def test_a_folder_that_is_not_there_is_not_looked_up_on_the_hub(where: str):
    with pytest.raises(StorageError, match="there is no folder"):
        load_concepts(where)
