"""Half precision, 8 bits and models over several devices: they work here, or one line says why not."""

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from tiny_models import (
    DECODER,
    NAMES,
    SENTENCES,
    KilledError,
    build,
    classifier_of,
    killed_at,
    own_adapter,
    texts,
    topical,
)

from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.config import resolve_backbone
from classifsae.classifier.loading.loaded import Loaded
from classifsae.classifier.opening.blocks import blocks_of
from classifsae.classifier.tuning.finetune import finetune
from classifsae.errors import ConfigError
from classifsae.hub.devices import place


@pytest.fixture
def without_bitsandbytes(monkeypatch):
    monkeypatch.setattr("classifsae.hub.devices.find_spec", lambda name: None)


def test_training_in_fp16_needs_a_gpu():
    with pytest.raises(ConfigError, match="precision is fp16, which is trained on a GPU only, and this is"):
        finetune(DECODER, texts(8), precision="fp16", device="cpu")


def test_the_8_bit_optimiser_names_what_it_needs(without_bitsandbytes):
    with pytest.raises(ConfigError, match=r'needs bitsandbytes: pip install "classifsae\[quantization\]"'):
        finetune(DECODER, texts(8), optimizer="adamw_8bit")


def test_8_bit_weights_name_what_they_need(without_bitsandbytes, encoder_folder):
    with pytest.raises(ConfigError, match="quantization is 8bit, which needs bitsandbytes"):
        Classifier.load(encoder_folder, quantization="8bit")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"quantization": "8bit"},
            "weights in 8 bits stay as they are; tuning must be lora, soft_prompt or none",
        ),
        (
            {"quantization": "8bit", "tuning": "lora"},
            "changes added to weights in 8 bits would be rounded; set lora.merge to false",
        ),
        ({"device_map": "auto"}, "device_map is for a model that is not tuned; tuning must be none"),
        ({"quantization": "4bit"}, "backbone: quantization: input should be '8bit'"),
    ],
)
def test_what_cannot_be_tuned_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        resolve_backbone({"model": "x", **fields})


def test_accumulated_batches_are_one_large_batch():
    steady = {**DECODER, "architecture": {**DECODER["architecture"], "hidden_dropout": 0.0}, "n_steps": 1}
    steady["architecture"]["attention_dropout"] = 0.0
    whole = finetune(steady, texts(8), batch_size=8)
    parts = finetune(steady, texts(8), batch_size=4, gradient_accumulation=2)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_8_bit_optimiser_resumes_to_the_same_weights_bit_for_bit(tmp_path):
    pytest.importorskip("bitsandbytes")
    options = {**DECODER, "optimizer": "adamw_8bit"}
    whole = finetune(options, texts())
    with pytest.raises(KilledError):
        finetune(options, texts(), folder=tmp_path, on_step=killed_at(4), checkpoint_seconds=0)
    state = torch.load(tmp_path / "checkpoints" / "checkpoint-3" / "optimizer.pt", weights_only=True)["state"]
    assert any("uint8" in str(slots) for slots in state.values())
    assert finetune(options, texts(), folder=tmp_path).fingerprint == whole.fingerprint
    assert whole.fingerprint != finetune(DECODER, texts()).fingerprint


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_model_in_8_bits_is_close_and_survives_the_disk(kind, encoder_folder, decoder_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    folder = encoder_folder if kind == "encoder" else decoder_folder
    exact = Classifier.load(folder, label_names=NAMES, device="cpu")
    model = Classifier.load(folder, label_names=NAMES, quantization="8bit", device="cpu")
    assert sum(weight.dtype == torch.int8 for weight in model.model.parameters()) >= 4 * model.n_layers
    batch = model.batch(SENTENCES[:16])
    near, own = model.states(batch), exact.states(batch)
    assert 0 < (near.logits - own.logits).abs().max() < 0.1 * own.logits.abs().max()
    hidden = near.hidden.clone().requires_grad_()
    model.tail(hidden).square().sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum(dim=1).min() > 0
    capture(model, texts(8))
    model.save(tmp_path)
    loaded = Classifier.load(tmp_path, device="cpu")
    assert loaded.fingerprint == model.fingerprint
    torch.testing.assert_close(loaded.states(batch).logits, near.logits, atol=0, rtol=0)


BESIDE = {
    "lora": {"tuning": "lora", "lora": {"merge": False, "learning_rate": 2e-2, "dropout": 0.0}},
    "soft_prompt": {"tuning": "soft_prompt", "soft_prompt": {"n_vectors": 4, "learning_rate": 5e-2}},
}


@pytest.mark.parametrize("way", BESIDE)
def test_little_is_tuned_beside_weights_in_8_bits_and_survives_a_kill(way, decoder_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("peft")
    options = {**BESIDE[way], "quantization": "8bit", "batch_size": 8, "n_steps": 12, "device": "cpu"}
    losses: list[float] = []
    tuned = finetune(
        decoder_folder, topical(), folder=tmp_path / "whole", **options,
        on_step=lambda d, t, v: losses.append(v["loss"]),
    )  # fmt: skip
    assert sum(losses[-4:]) < sum(losses[:4])
    frozen = Classifier.load(decoder_folder, label_names=NAMES, quantization="8bit", device="cpu")
    weights = tuned.model.state_dict()
    for name, weight in frozen.model.named_parameters():
        if weight.dtype == torch.int8:
            kept = (
                weights[name] if name in weights else weights[name.replace(".weight", ".base_layer.weight")]
            )
            assert torch.equal(kept, weight)
    with pytest.raises(KilledError):
        finetune(
            decoder_folder, topical(), folder=tmp_path / "killed", on_step=killed_at(8),
            checkpoint_seconds=0, **options,
        )  # fmt: skip
    resumed = finetune(decoder_folder, topical(), folder=tmp_path / "killed", **options)
    assert resumed.fingerprint == tuned.fingerprint
    loaded = Classifier.load(tmp_path / "whole", device="cpu")
    assert loaded.fingerprint == tuned.fingerprint
    found = capture(loaded, topical())
    torch.testing.assert_close(found.logits[:8], tuned.logits(topical().texts[:8]), atol=0.05, rtol=0.05)


def test_an_adapter_is_opened_over_a_model_in_8_bits(decoder_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("peft")
    own_adapter(decoder_folder, tmp_path, "CAUSAL_LM")
    exact = Classifier.load(tmp_path, label_names=NAMES, lora={"merge": False}, device="cpu")
    near = Classifier.load(
        tmp_path, label_names=NAMES, lora={"merge": False}, quantization="8bit", device="cpu"
    )
    own, other = exact.logits(SENTENCES[:8]), near.logits(SENTENCES[:8])
    assert 0 < (own - other).abs().max() < 0.1 * own.abs().max()
    with pytest.raises(ConfigError, match=r"8 bits would be rounded; set lora.merge to false"):
        Classifier.load(tmp_path, label_names=NAMES, quantization="8bit", device="cpu")


def test_a_device_map_places_the_model_on_what_there_is(encoder_folder):
    mapped = Classifier.load(encoder_folder, device_map="auto")
    whole = Classifier.load(encoder_folder)
    torch.testing.assert_close(mapped.logits(SENTENCES[:4]), whole.logits(SENTENCES[:4]))


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_the_tail_works_on_a_model_spread_over_devices(kind, tiny):
    """The hooks that carry states between devices are there, though every device is the CPU."""
    family = "bert" if kind == "encoder" else "gpt_neox"
    loaded = build(family, kind)
    for module in [*blocks_of(loaded.model, name=family), *loaded.model.children()]:
        add_hook_to_module(module, AlignDevicesHook(execution_device="cpu"))
    spread = classifier_of(loaded, family, layer=2)
    plain = tiny(family, layer=2)
    states = plain.states(plain.batch(SENTENCES[:4]))
    torch.testing.assert_close(spread.hidden(SENTENCES[:4]), states.hidden)
    torch.testing.assert_close(spread.tail(states.hidden), plain.tail(states.hidden))


@pytest.mark.parametrize("family", ["bert", "gpt_neox"])
def test_states_in_float16_are_kept_as_they_are(family, tmp_path):
    half, full = build(family, "encoder"), build(family, "encoder")
    model = classifier_of(Loaded(half.model.half(), half.tokenizer, "encoder"), family)
    found = capture(model, texts(), folder=tmp_path)
    exact = capture(classifier_of(full, family), texts())
    assert (found.hidden.dtype, found.logits.dtype) == (torch.float16, torch.float32)
    torch.testing.assert_close(found.hidden.float(), exact.hidden, atol=0.05, rtol=0.05)
    torch.testing.assert_close(model.tail(found.hidden), found.logits, atol=0.01, rtol=0.01)


def test_a_model_that_does_not_fit_is_refused():
    loaded = build("bert", "encoder")
    loaded.model.classifier.to("meta")
    with pytest.raises(ConfigError, match="bert does not fit on the devices here"):
        place(loaded.model, torch.device("cpu"), name="bert")
