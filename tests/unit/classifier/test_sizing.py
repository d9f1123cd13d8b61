"""Bytes of a backbone: parameters of small models by hand, and formulas by hand on made-up counts."""

from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from classifsae.classifier.config import BACKBONES, BackboneConfig, resolve_backbone
from classifsae.classifier.loading.models import from_form
from classifsae.classifier.sizing import BackboneSize, backbone_size

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BERT = {
    "architecture": {
        "model_type": "bert",
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 16,
    },
    "tokenizer": {"vocab_size": 300},
    "batch_size": 4,
}
GPT = {
    "architecture": {
        "model_type": "gpt_neox",
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
    },
    "tokenizer": {"vocab_size": 300},
    "batch_size": 4,
}
BLOCK = 4 * (32 * 32 + 32) + (32 * 64 + 64) + (64 * 32 + 32) + 2 * 2 * 32
LEARNED = BackboneConfig.model_validate({"model": "m", "batch_size": 4, "precision": "float32"})
SIZE = BackboneSize(
    LEARNED, n_parameters=1000, n_in_blocks=600, n_embedded=300, n_trained=1000, n_layers=2, n_heads=2,
    width=10, n_tokens=8, rows_per_text=1.0,
)  # fmt: skip


def sized(fields: dict[str, object], texts: list[str] | None = None) -> BackboneSize:
    return backbone_size(BackboneConfig.model_validate(fields), texts or ["a b"], ("x", "y"))


def changed(**options: object) -> BackboneSize:
    """The made-up counts with other options; of a model that stays frozen little is trained."""
    config = BackboneConfig.model_validate(LEARNED.model_dump() | options)
    return replace(SIZE, config=config, n_trained=1000 if config.tuning == "full" else 20)


def test_a_backbone_is_counted_without_its_weights():
    found = sized(BERT, ["a b", "a " * 40])
    assert (found.n_layers, found.n_heads, found.width, found.n_tokens) == (3, 2, 32, 16)
    assert found.n_in_blocks == 3 * BLOCK
    assert found.n_embedded == 32 * (300 + 16 + 2)
    assert found.n_parameters == found.n_in_blocks + found.n_embedded + 2 * 32 + (32 * 32 + 32) + (32 * 2 + 2)


def test_long_texts_become_several_rows_in_windows():
    long = ["a" * 4 * 39]  # 40 tokens: windows of 16 that share 4 begin at 0, 12 and 24
    assert sized(BERT, long).rows_per_text == 1
    windows = BERT | {"long_texts": "windows", "overlap": 4}
    assert sized(windows, long).rows_per_text == 3
    assert sized(windows, [*long, "a"]).rows_per_text == 2


def test_a_few_weights_are_trained_beside_frozen_ones():
    full, prompt = sized(GPT), sized(GPT | {"tuning": "soft_prompt"})
    lora = sized(BERT | {"tuning": "lora", "lora": {"rank": 2, "target_modules": ["query"]}})
    assert full.n_trained == full.n_parameters == prompt.n_parameters
    assert prompt.n_trained == 10 * 32
    assert lora.n_trained == 3 * (2 * 32 + 32 * 2) + (32 * 2 + 2)  # and the head
    assert lora.n_parameters == sized(BERT).n_parameters
    assert backbone_size(resolve_backbone("minilm", tuning="none"), ["a b"], ("x", "y")).n_trained == 0


def test_what_is_put_around_a_text_counts():
    bare = sized(GPT | {"template": "{text}"}, ["a" * 40])
    assert bare.n_tokens == 11
    assert sized(GPT | {"template": "Say: {text} " + "!" * 40}, ["a" * 40]).n_tokens > bare.n_tokens + 10


def test_memory_of_tuning_by_hand():
    on_gpu, attention = 4 * 4 * 8 * 2 * 18 * 10, 4 * 4 * 8 * 2 * 3 * 2 * 8
    assert SIZE.tuning(GPU) == 16 * 1000 + on_gpu
    assert SIZE.tuning(CPU) == 16 * 1000 + on_gpu + attention
    assert changed(precision="bf16").tuning(GPU) == 16 * 1000 + 0.6 * on_gpu
    frozen = changed(tuning="soft_prompt", dtype="bfloat16")
    assert frozen.tuning(GPU) == 2 * 1000 + 16 * 20 + 0.6 * on_gpu
    # The tables of embeddings keep moments in 32 bits.
    assert changed(optimizer="adamw_8bit").tuning(GPU) == 8 * 1000 + 8 * 300 + 2 * 700 + on_gpu
    # One block, and the states between the blocks.
    assert changed(gradient_checkpointing=True).tuning(GPU) == 16 * 1000 + on_gpu / 2 + 4 * 4 * 8 * 10 * 2


def test_memory_of_reading_by_hand():
    read = {"tuning": "none", "dtype": "float16"}
    assert changed(**read).weights == 2 * 1000
    assert changed(**read, quantization="8bit").weights == 600 + 2 * 400
    assert changed(**read, max_tokens=100).batch == 2 * 100 * 12 * 10


@pytest.mark.parametrize(
    ("changes", "on_disk"),
    [
        ({}, 4 * 1000),
        ({"tuning": "soft_prompt"}, 4 * 20),
        ({"tuning": "lora", "lora": {"merge": False}}, 4 * 20),
        ({"tuning": "lora", "dtype": "bfloat16"}, 2 * 1000),
        ({"tuning": "soft_prompt", "model": None, "architecture": GPT["architecture"]}, 4 * 20 + 4 * 1000),
    ],
)
def test_only_what_was_learned_is_saved_beside_a_model_with_a_name(changes: dict[str, object], on_disk: int):
    found = changed(**changes)
    assert found.saved == on_disk
    assert found.checkpoint == 12 * found.n_trained


def test_what_a_backward_pass_keeps_is_about_that_of_a_real_one():
    form = BERT["architecture"] | {
        "hidden_size": 128,
        "intermediate_size": 512,
        "max_position_embeddings": 64,
    }
    config = BackboneConfig.model_validate(BERT | {"architecture": form, "precision": "float32"})
    found = backbone_size(config, ["a" * 4 * 63], ("x", "y"))
    kept = found.tuning(CPU) - 16 * found.n_parameters
    assert kept == pytest.approx(really_kept(form, n_rows=4, n_tokens=64), rel=0.15)


def really_kept(form: dict[str, object], *, n_rows: int, n_tokens: int) -> int:
    """Bytes of the tensors that a model with numbers in it keeps of one batch."""
    fields = {name: value for name, value in form.items() if name != "model_type"}
    model = BertForSequenceClassification(BertConfig(**fields, num_labels=2)).train()
    own = {weight.data_ptr() for weight in (*model.parameters(), *model.buffers())}
    found: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    given = torch.randn(n_rows, n_tokens, int(fields["hidden_size"]), requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(inputs_embeds=given)
    return sum(tensor.nbytes for tensor in found.values())


PUBLISHED = {  # millions of parameters, heads of a few classes aside
    "bert": 109.5, "deberta": 435, "gpt_j": 6051, "llama_instruct": 8030, "mistral_instruct": 7242,
    "pythia_410m": 405, "pythia_1b": 1012,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_form_that_a_preset_states_has_the_published_number_of_parameters(name: str):
    model, _ = from_form(resolve_backbone(name), ("x", "y"))
    assert model.num_parameters() / 1e6 == pytest.approx(PUBLISHED[name], rel=2e-3)


def test_every_preset_on_the_hub_states_its_form():
    packaged = {"minilm"}
    assert [n for n in BACKBONES.names() if n not in packaged and "form" not in BACKBONES.fields(n)] == []
