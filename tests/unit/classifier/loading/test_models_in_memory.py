"""A classifier that transformers has loaded already is the one that its folder holds."""

from pathlib import Path

import pytest
import torch
from tiny_models import NAMES, SENTENCES, build
from transformers import BertModel, pipeline

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.loading.identity import stated_labels
from classifsae.errors import ConfigError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, loaded = tmp_path_factory.mktemp("models") / "topics", build("bert", "encoder")
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def test_a_pipeline_gives_the_classifier_of_its_folder(folder: Path):
    made = Classifier.from_pipeline(pipeline("text-classification", str(folder), device="cpu"))
    loaded = Classifier.load(folder, device="cpu")
    assert torch.equal(made.logits(SENTENCES[:8]), loaded.logits(SENTENCES[:8]))
    assert (made.name, made.label_names, made.layer) == ("topics", NAMES, loaded.layer)


@pytest.mark.parametrize("given", ["x", None, 5])
def test_what_is_no_pipeline_is_refused(given: object):
    with pytest.raises(ConfigError, match="from_pipeline takes a text-classification pipeline"):
        Classifier.from_pipeline(given)


def test_options_are_those_of_a_backbone(folder: Path):
    loaded = build("bert", "encoder")
    made = Classifier.from_model(loaded.model, loaded.tokenizer, name="mine", layer=1, max_length=7)
    assert (made.name, made.layer, made.reader.max_length) == ("mine", 1, 7)
    with pytest.raises(ConfigError, match="unknown option 'layers'"):
        Classifier.from_model(loaded.model, loaded.tokenizer, layers=1)


def test_a_decoder_answers_with_a_token_of_each_class():
    loaded = build("gpt2", "decoder")
    made = Classifier.from_model(loaded.model, loaded.tokenizer, label_names=NAMES)
    assert (made.kind, made.n_classes) == ("decoder", 3)
    with pytest.raises(ConfigError, match="answers with a token per class; give label_names"):
        Classifier.from_model(loaded.model, loaded.tokenizer)


def test_it_survives_the_disk_with_its_identity_and_its_class_names(tmp_path: Path):
    loaded = build("bert", "encoder")
    loaded.model.config.id2label = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    made = Classifier.from_model(loaded.model, loaded.tokenizer, label_names=["c", "a", "b"])
    made.save(tmp_path / "saved")
    again = Classifier.load(tmp_path / "saved", device="cpu")
    assert (again.fingerprint, again.label_names) == (made.fingerprint, ("c", "a", "b"))
    assert stated_labels(str(tmp_path / "saved"), None) == ("c", "a", "b")
    assert torch.equal(made.logits(SENTENCES[:8]), again.logits(SENTENCES[:8]))


def test_other_models_and_tokenizers_are_refused():
    loaded = build("bert", "encoder")
    with pytest.raises(ConfigError, match="is a Linear, no model of transformers"):
        Classifier.from_model(torch.nn.Linear(2, 2), loaded.tokenizer)
    with pytest.raises(ConfigError, match="is a BertModel; give a sequence classifier or a causal"):
        Classifier.from_model(BertModel(loaded.model.config), loaded.tokenizer)
    with pytest.raises(ConfigError, match="the tokenizer is a NoneType; give a fast tokenizer"):
        Classifier.from_model(loaded.model, None)
    with pytest.raises(ConfigError, match=r"has the classes .* the data set has others"):
        Classifier.from_model(loaded.model, loaded.tokenizer, label_names=["x", "y", "z"])
