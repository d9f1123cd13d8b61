"""Files of other people: what is damaged, newer or odd is one clear line; what is edited, another model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import NAMES, SENTENCES, build, own_adapter, texts

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.tuning.finetune import finetune
from classifsae.errors import ConfigError, StorageError
from classifsae.storage import read_json, write_json


@pytest.fixture
def folder(encoder_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder_folder, tmp_path / "foreign"))


def edit(file: Path, **fields: object) -> None:
    write_json(file, {**read_json(file), **fields})


def spoil(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the first matrix of the weights."""
    weights = load_file(folder / "model.safetensors")
    name = next(name for name, weight in weights.items() if weight.ndim == 2)
    save_file({**weights, name: change(weights[name])}, folder / "model.safetensors", {"format": "pt"})


READ = (
    "cannot read a model from .*; it must hold config.json, model.safetensors and tokenizer.json, of a model"
)
TOKENIZER = r"cannot load the tokenizer of foreign \(.*\); give a tokenizer.json that the installed"
LABELS = r"id2label in the config.json of foreign is \{.*\}, but must give 0 to \d a name each, all different"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a model of the tokenizer from a newer version": (
        lambda folder: edit(folder / "tokenizer.json", model={"type": "Newer"}), TOKENIZER,
    ),
    "a part of the tokenizer from a newer version": (
        lambda folder: edit(folder / "tokenizer.json", pre_tokenizer={"type": "Newer"}), TOKENIZER,
    ),
    "a tokenizer that needs a missing library": (
        lambda folder: edit(folder / "tokenizer_config.json", tokenizer_class="BertJapaneseTokenizer"),
        TOKENIZER,
    ),
    "half a tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text('{"version": "1.0", '), TOKENIZER,
    ),
    "options of a tokenizer that are a list": (
        lambda folder: (folder / "tokenizer_config.json").write_text("[1]"), TOKENIZER,
    ),
    "half a configuration": (lambda folder: (folder / "config.json").write_text("{"), READ),
    "a configuration that is a list": (lambda folder: (folder / "config.json").write_text("[1]"), READ),
    "a binary configuration": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"), READ),
    "a size in words": (lambda folder: edit(folder / "config.json", hidden_size="three"), READ),
    "a model type that is not known": (lambda folder: edit(folder / "config.json", model_type="newer"), READ),
    "a model that brings its own code": (
        lambda folder: edit(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Config"}),
        READ + r" type that transformers has itself \(code that comes with a model is never run\)",
    ),
    "labels in a list": (lambda folder: edit(folder / "config.json", id2label=list(NAMES)), READ),
    "labels the other way round": (
        lambda folder: edit(folder / "config.json", id2label={"World": 0, "Sports": 1, "Business": 2}), READ,
    ),
    "labels with gaps": (
        lambda folder: edit(folder / "config.json", id2label={"0": "a", "2": "b", "5": "c"}), LABELS,
    ),
    "a label without a name": (
        lambda folder: edit(folder / "config.json", id2label={"0": None, "1": "b", "2": "c"}), LABELS,
    ),
    "two labels of one name": (
        lambda folder: edit(folder / "config.json", id2label={"0": "a", "1": "b", "2": "b"}), LABELS,
    ),
    "no attention heads": (
        lambda folder: edit(folder / "config.json", num_attention_heads=0), "cannot load foreign as encoder",
    ),
    "a million blocks": (
        lambda folder: edit(folder / "config.json", num_hidden_layers=10**6),
        "foreign states 1000000 blocks .*, needs 1 to 1000",
    ),
    "no blocks": (
        lambda folder: edit(folder / "config.json", num_hidden_layers=0), "foreign states 0 blocks",
    ),
    "an unknown activation": (
        lambda folder: edit(folder / "config.json", hidden_act="newer"), "cannot load foreign as encoder",
    ),
    "weights that are no numbers": (lambda folder: spoil(folder, lambda w: w * torch.nan), "NaN"),
    "weights of another shape": (lambda folder: spoil(folder, lambda w: w[:-1].contiguous()), "foreign"),
    "half the weights": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x00" * 100),
        "cannot load foreign as encoder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_odd_files_are_one_clear_line(fault: str, folder: Path):
    spoil, said = FAULTS[fault]
    spoil(folder)
    with pytest.raises(ConfigError, match=said) as error:
        Classifier.load(folder)
    assert "\n" not in str(error.value)


def test_a_configuration_that_does_not_say_what_it_was_saved_from(folder: Path):
    edit(folder / "config.json", architectures=3)
    assert Classifier.load(folder).kind == "encoder"


def test_numbers_are_names_too(folder: Path):
    edit(folder / "config.json", id2label={"0": 1, "1": 2, "2": 3})
    assert Classifier.load(folder).label_names == ("1", "2", "3")


def renamed(file: Path, prefix: str) -> None:
    weights = {prefix + name: weight.clone() for name, weight in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.module."])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_weights_named_by_a_wrapper_are_said_to_be(family: str, prefix: str, tmp_path: Path):
    loaded = build(family, "encoder")
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    renamed(tmp_path / "model.safetensors", prefix)
    said = rf"begin with '{prefix}', which a wrapper such as DataParallel leaves; save the model"
    with pytest.raises(ConfigError, match=said):
        Classifier.load(tmp_path)
    with pytest.raises(ConfigError, match=said):
        finetune(tmp_path, texts(8), n_steps=1)


def test_a_body_named_by_a_wrapper_is_said_to_be(tmp_path: Path):
    loaded = build("bert", "encoder")
    loaded.model.bert.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    finetune(tmp_path, texts(8), n_steps=1)
    renamed(tmp_path / "model.safetensors", "module.")
    with pytest.raises(ConfigError, match=r"begin with 'module.', which a wrapper"):
        finetune(tmp_path, texts(8), n_steps=1)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_tokenizer_of_a_larger_model_is_refused(kind: str, tmp_path: Path):
    loaded = build("gpt2", kind)
    loaded.model.save_pretrained(tmp_path)
    n_tokens = len(loaded.tokenizer)
    loaded.tokenizer.add_tokens(["beyond"])
    loaded.tokenizer.save_pretrained(tmp_path)
    said = rf"tokens up to number {n_tokens} \('beyond'\), but the model has embeddings for {n_tokens} tokens"
    with pytest.raises(ConfigError, match=said):
        Classifier.load(tmp_path, label_names=NAMES)
    with pytest.raises(ConfigError, match=said):
        finetune(tmp_path, texts(8), n_steps=1)


def test_a_pad_token_that_the_model_does_not_know_is_never_read(tmp_path: Path):
    loaded = build("gpt2", "decoder")
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.add_special_tokens({"pad_token": "<beyond>"})
    loaded.tokenizer.save_pretrained(tmp_path)
    finetune(tmp_path, texts(8), n_steps=1)
    assert Classifier.load(tmp_path, label_names=NAMES).logits(SENTENCES[:4]).isfinite().all()


EDITS: dict[str, Callable[[Path], object]] = {
    "tokenizer": lambda folder: edit(folder / "tokenizer.json", normalizer={"type": "Lowercase"}),
    "its options": lambda folder: edit(folder / "tokenizer_config.json", truncation_side="left"),
    "configuration": lambda folder: edit(folder / "config.json", layer_norm_eps=1e-3),
}


@pytest.mark.parametrize("edited", EDITS)
def test_a_file_that_is_edited_in_place_makes_another_classifier(edited: str, folder: Path, tmp_path: Path):
    before = Classifier.load(folder)
    assert Classifier.load(folder).fingerprint == before.fingerprint
    before.save(tmp_path / "saved")
    EDITS[edited](folder)
    assert Classifier.load(folder).fingerprint != before.fingerprint
    assert Classifier.load(tmp_path / "saved").fingerprint == before.fingerprint


def test_what_does_not_matter_to_the_answers_makes_no_other_classifier(folder: Path, tmp_path: Path):
    before = Classifier.load(folder)
    edit(folder / "config.json", transformers_version="4.0.0")
    (folder / "README.md").write_text("About this model.")
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    assert Classifier.load(moved).fingerprint == before.fingerprint


def test_an_adapter_of_another_strength_is_another_classifier(decoder_folder: Path, tmp_path: Path):
    pytest.importorskip("peft")
    own_adapter(decoder_folder, tmp_path, "CAUSAL_LM")
    apart = {"model": str(tmp_path), "lora": {"merge": False}}
    before = Classifier.load(apart, label_names=NAMES)
    edit(tmp_path / "adapter_config.json", lora_alpha=64)
    after = Classifier.load(apart, label_names=NAMES)
    assert after.fingerprint != before.fingerprint
    assert not torch.equal(after.logits(SENTENCES[:4]), before.logits(SENTENCES[:4]))


def test_a_saved_classifier_with_an_edited_file_is_refused(folder: Path, tmp_path: Path):
    Classifier.load(folder).save(tmp_path / "saved")
    file = tmp_path / "saved" / "tokenizer.json"
    file.write_text(file.read_text().replace('"prices"', '"pricez"'))
    with pytest.raises(StorageError, match=r"tokenizer.json has the SHA-256 .*, but was written with"):
        Classifier.load(tmp_path / "saved")


def test_a_saved_classifier_says_nothing_of_settings_that_it_has_not(encoder_folder: Path, tmp_path: Path):
    finetune(encoder_folder, texts(8), folder=tmp_path / "tuned", n_steps=1)
    Classifier.load(encoder_folder).save(tmp_path / "loaded")
    assert "settings" not in json.loads((tmp_path / "tuned" / "classifier.json").read_text())
    assert "settings" in json.loads((tmp_path / "loaded" / "classifier.json").read_text())
