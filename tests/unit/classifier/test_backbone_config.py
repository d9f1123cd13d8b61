"""Options of a backbone: each belongs to one part, and the part decides what is made again."""

import subprocess
import sys

import pytest

from classifsae.classifier.config import (
    BackboneConfig,
    Input,
    LoraOptions,
    Origin,
    Reading,
    SoftPromptOptions,
    TokenizerOptions,
    Tuning,
)

OTHER_VALUES = {
    "preset": "bert", "model": "./other", "sha256": "00", "revision": "main", "form": {"model_type": "bert"},
    "architecture": {"model_type": "gpt2"}, "tokenizer": TokenizerOptions(vocab_size=300), "tiny": True,
    "kind": "decoder", "quantization": "8bit", "device_map": "auto",
    "template": "{text}?", "answers": ("no", "yes"), "max_length": 8,
    "layer": 1, "long_texts": "windows", "overlap": 2, "dtype": "bfloat16", "max_tokens": 64,
    "tuning": "lora", "soft_prompt": SoftPromptOptions(n_vectors=2), "lora": LoraOptions(rank=2),
    "n_steps": 5, "n_epochs": 2.0, "batch_size": 4, "gradient_accumulation": 2, "learning_rate": 0.1,
    "weight_decay": 0.2, "warmup": 0.3, "clip": 2.0, "gradient_checkpointing": True, "precision": "bf16",
    "optimizer": "adamw_8bit", "class_weights": True, "seed": 1,
}  # fmt: skip
READ_ONLY = {"layer", "long_texts", "overlap", "max_tokens"}


def test_every_option_belongs_to_exactly_one_part():
    parts = [Origin.model_fields, Reading.model_fields, Tuning.model_fields]
    assert set(BackboneConfig.model_fields) == set().union(*parts)
    assert len(BackboneConfig.model_fields) == sum(map(len, parts))
    assert not BackboneConfig.__annotations__


def test_every_option_is_tried_here():
    assert OTHER_VALUES.keys() == BackboneConfig.model_fields.keys()


@pytest.mark.parametrize("option", BackboneConfig.model_fields)
@pytest.mark.parametrize("tuning", ["full", "soft_prompt"])
def test_another_value_of_an_option_trains_or_captures_again(option: str, tuning: str):
    before = BackboneConfig(model="./mine", tuning=tuning)
    after = before.model_copy(update={option: OTHER_VALUES[option]})
    trains = before.training_fields() != after.training_fields()
    captures = before.reading_fields() != after.reading_fields()
    frozen_weights_in_another_precision = option == "dtype" and tuning != "full"
    assert trains == (frozen_weights_in_another_precision or (option not in READ_ONLY and option != "dtype"))
    assert captures == (option in Reading.model_fields)


def test_how_a_model_is_loaded_decides_what_it_computes_wherever_its_files_are():
    fields = BackboneConfig(model="./mine", tuning="none").loading_fields().keys()
    assert {"kind", "quantization", "lora", "device_map"} <= fields
    assert not fields & {"preset", "model", "sha256", "revision", "form", "layer", "n_steps"}


def test_what_the_model_is_given_is_the_same_in_training_and_in_reading():
    config = BackboneConfig(model="./mine")
    shared = config.training_fields().keys() & config.reading_fields().keys()
    assert shared == Input.model_fields.keys() == {"template", "answers", "max_length"}


def test_options_are_read_without_torch_and_classifiers_without_transformers():
    """Each is imported by every command, long before a model is needed."""
    program = """
import sys
import classifsae.classifier.config
assert not {"torch", "transformers"} & sys.modules.keys()
import classifsae.classifier.capture, classifsae.classifier.classifier, classifsae.classifier.tuning.finetune
import classifsae.hub.devices, classifsae.hub.files, classifsae.hub.quiet
assert not {"transformers", "peft", "bitsandbytes", "accelerate"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True)
