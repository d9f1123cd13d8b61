"""Soft prompts: the same for a text whatever its batch, learned on a frozen decoder, never left out."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from tiny_models import (
    DECODER,
    DECODERS,
    ENCODER,
    FIELDS,
    LIMIT,
    N_LAYERS,
    NAMES,
    SENTENCES,
    KilledError,
    build,
    classifier_of,
    ids_of,
    killed_at,
    texts,
)

from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.config import resolve_backbone
from classifsae.classifier.loading.soft_prompt import SoftPrompt, attach
from classifsae.classifier.preview import preview
from classifsae.classifier.reading.windows import windowed
from classifsae.classifier.tuning.finetune import _arguments, finetune
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError, MismatchError, StorageError
from classifsae.storage import finish, hash_tensors, manifest_of, read_tensors, write_tensors

PROMPTED = {
    **DECODER,
    "tuning": "soft_prompt",
    "soft_prompt": {"n_vectors": 3, "learning_rate": 2e-2, "final_learning_rate": 1e-3},
}
WORDS = ("minister", "goalkeeper", "dividend")


def prompted(family: str, *, n_vectors: int = 3, **options: object) -> Classifier:
    loaded = build(family, "decoder")
    prompt = SoftPrompt(torch.randn(n_vectors, 32, generator=torch.Generator().manual_seed(1)))
    attach(loaded.model, prompt)
    return classifier_of(replace(loaded, prompt=prompt), family, **options)


@pytest.mark.parametrize("family", DECODERS)
def test_states_equal_those_of_vectors_and_embeddings_put_together_by_hand(family):
    model = prompted(family, layer=2)
    states = model.states(model.batch(SENTENCES[:5]))
    vectors = model.model.soft_prompt.vectors
    for row, text in enumerate(SENTENCES[:5]):
        embedded = torch.cat([vectors, model.model.get_input_embeddings()(ids_of(model, text)[0])])[None]
        with torch.no_grad():
            own = model.model(inputs_embeds=embedded, output_hidden_states=True)
        torch.testing.assert_close(states.hidden[row], own.hidden_states[2][0, -1], atol=1e-5, rtol=1e-4)
        answers = own.logits[0, -1, list(model.opened.answers)]
        torch.testing.assert_close(states.logits[row], answers, atol=1e-5, rtol=1e-4)


def test_the_vectors_matter_and_the_tail_after_the_last_block_is_the_whole_model():
    model = prompted("gpt_neox", layer=N_LAYERS)
    bare = classifier_of(build("gpt_neox", "decoder"), "bare", layer=N_LAYERS)
    states = model.states(model.batch(SENTENCES[:5]))
    assert (states.logits - bare.logits(SENTENCES[:5])).abs().max() > 1e-3
    torch.testing.assert_close(model.tail(states.hidden), states.logits, atol=1e-5, rtol=1e-5)
    captured = capture(model, texts(16))
    torch.testing.assert_close(captured.hidden[:5], states.hidden, atol=1e-5, rtol=1e-4)


def test_texts_are_cut_on_the_left_so_that_vectors_and_tokens_fit():
    model = prompted("gpt_neox", n_vectors=10, max_length=60)
    encoded = model.reader.encode([" ".join(SENTENCES)])
    assert (len(encoded.rows[0].ids), encoded.n_long) == (50, 1)
    assert model.batch([" ".join(SENTENCES)])["input_ids"].shape == (1, 60)
    assert model.reader.tokenizer.decode(encoded.rows[0].ids).endswith("2(Business)\n")
    with pytest.raises(
        ConfigError, match=rf"max_length is {LIMIT}, but what is put around a text takes 1\d\d"
    ):
        prompted("gpt_neox", n_vectors=80)


def test_windows_leave_room_for_the_vectors():
    model = prompted("gpt_neox", max_length=70)
    found = windowed(model.reader, [" ".join(SENTENCES)], overlap=4)
    assert len(found.rows) > 1
    assert max(len(row.ids) for row in found.rows) <= 67
    for row, (start, end) in zip(found.rows, found.spans, strict=True):
        assert model.reader.encode([" ".join(SENTENCES)[start:end]]).rows == [row]


def test_a_dry_run_shows_what_the_vectors_leave_room_for(decoder_folder, tmp_path):
    config = resolve_backbone(decoder_folder, tuning="soft_prompt", max_length=60)
    long = Texts((" ".join(SENTENCES),), (0,), ("0",), NAMES)
    assert "tokens: 50 of " in preview(config, long)
    finetune(config, texts(8), folder=tmp_path, n_steps=1)
    assert "tokens: 50 of " in preview(resolve_backbone(tmp_path, tuning="none"), long)


@pytest.mark.parametrize("option", [{"quantization": "8bit"}, {"device_map": "auto"}])
def test_a_part_learned_beside_a_frozen_model_is_not_opened_otherwise(saved, option):
    with pytest.raises(ConfigError, match=r"was tuned beside the frozen .*; leave \w+ out"):
        Classifier.load(saved, **option)


def test_the_rate_falls_in_a_straight_line_from_the_first_step_to_the_last(tmp_path):
    config = resolve_backbone(PROMPTED, soft_prompt={})
    arguments = _arguments(config, tmp_path, n_steps=4, device=torch.device("cpu"))
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=arguments.learning_rate)
    schedule = transformers.get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        num_warmup_steps=arguments.get_warmup_steps(4),
        num_training_steps=4,
        scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
    )
    rates = []
    for _ in range(5):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([5e-3 - i / 4 * (5e-3 - 1e-4) for i in range(5)])


@pytest.fixture(scope="module")
def several_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder that knows three ways to label, and is told which by the first word: a toy instruct model."""
    rows = [(f"{task} {text}", (label + shift) % 3) for shift, task in enumerate(("zero", "one", "two"))
            for text, label in zip(*told(0), strict=True)]  # fmt: skip
    data = Texts(*zip(*rows, strict=True), tuple(map(str, range(len(rows)))), NAMES)
    shape = {"model_type": "gpt_neox", **FIELDS, "initializer_range": 0.1}
    model = finetune(DECODER, data, architecture=shape, n_steps=150, batch_size=24, learning_rate=5e-3)
    folder = tmp_path_factory.mktemp("several_tasks")
    model.model.save_pretrained(folder)
    model.reader.tokenizer.save_pretrained(folder)
    return folder


def told(shift: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    rows = tuple(f"{WORDS[i % 3]} {SENTENCES[i % 16]}" for i in range(48))
    return rows, tuple((i + shift) % 3 for i in range(48))


def accuracy(model: Classifier, data: Texts) -> float:
    logits = torch.cat([model.logits(data.texts[i : i + 16]) for i in range(0, len(data), 16)])
    return (logits.argmax(dim=1) == torch.tensor(data.labels)).float().mean().item()


def test_it_clearly_beats_the_untuned_decoder_whose_weights_stay(several_tasks, tmp_path):
    data = Texts(*told(0), tuple(map(str, range(48))), NAMES)
    untuned = Classifier.load(several_tasks, label_names=NAMES)
    vectors = {"learning_rate": 2e-2, "final_learning_rate": 1e-3}
    options = {"tuning": "soft_prompt", "soft_prompt": vectors, "n_steps": 120, "batch_size": 8}
    tuned = finetune(several_tasks, data, folder=tmp_path, **options)
    assert accuracy(untuned, data) < 0.5
    assert accuracy(tuned, data) > 0.9
    before, after = untuned.model.state_dict(), tuned.model.state_dict()
    assert after.keys() - before.keys() == {"soft_prompt.vectors"}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_model_with_a_name_is_kept_by_reference_and_opened_with_its_vectors(decoder_folder, tmp_path):
    tuned = finetune(decoder_folder, texts(), folder=tmp_path, tuning="soft_prompt", n_steps=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "classifier.json", "manifest.json", "soft_prompt.safetensors",
    ]  # fmt: skip
    loaded = Classifier.load(tmp_path, layer=1)
    assert (loaded.n_vectors, loaded.layer, loaded.fingerprint) == (10, 1, tuned.fingerprint)
    torch.testing.assert_close(loaded.logits(SENTENCES[:4]), tuned.logits(SENTENCES[:4]), atol=0, rtol=0)
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


def test_a_model_from_scratch_is_saved_beside_its_vectors(tmp_path):
    tuned = finetune(PROMPTED, texts(), folder=tmp_path, n_steps=2)
    assert not any("soft_prompt" in name for name in read_tensors(tmp_path / "model.safetensors"))
    loaded = Classifier.load(tmp_path)
    assert loaded.fingerprint == tuned.fingerprint
    torch.testing.assert_close(loaded.logits(SENTENCES[:4]), tuned.logits(SENTENCES[:4]), atol=0, rtol=0)


def test_a_killed_run_resumes_to_the_same_vectors_bit_for_bit(tmp_path):
    whole = finetune(PROMPTED, texts(), folder=tmp_path / "whole")
    folder = tmp_path / "killed"
    for step in (3, 5):
        with pytest.raises(KilledError):
            finetune(PROMPTED, texts(), folder=folder, on_step=killed_at(step), checkpoint_seconds=0)
    (checkpoint,) = (folder / "checkpoints").iterdir()
    assert list(read_tensors(checkpoint / "weights.safetensors")) == ["soft_prompt.vectors"]
    steps: list[int] = []
    resumed = finetune(PROMPTED, texts(), folder=folder, on_step=lambda d, t, v: steps.append(d))
    assert steps == [5, 6]
    assert resumed.fingerprint == whole.fingerprint
    assert manifest_of(folder) == manifest_of(tmp_path / "whole")


def test_checkpointing_of_gradients_changes_nothing():
    plain = finetune(PROMPTED, texts(), n_steps=3)
    saved = finetune(PROMPTED, texts(), n_steps=3, gradient_checkpointing=True)
    torch.testing.assert_close(
        plain.model.soft_prompt.vectors, saved.model.soft_prompt.vectors, atol=1e-6, rtol=1e-5
    )


def test_a_frozen_model_in_half_precision_is_tuned_and_opened_in_it(decoder_folder, tmp_path):
    options = {"tuning": "soft_prompt", "dtype": "bfloat16", "n_steps": 2}
    tuned = finetune(decoder_folder, texts(), folder=tmp_path, **options)
    loaded = Classifier.load(tmp_path)
    assert tuned.dtype == loaded.dtype == torch.bfloat16
    assert loaded.model.soft_prompt.vectors.dtype == torch.float32
    assert loaded.fingerprint == tuned.fingerprint


@pytest.fixture
def saved(decoder_folder, tmp_path) -> Path:
    finetune(decoder_folder, texts(8), folder=tmp_path / "tuned", tuning="soft_prompt", n_steps=1)
    return tmp_path / "tuned"


def test_the_vectors_of_another_classifier_are_refused(saved, decoder_folder, tmp_path):
    other = tmp_path / "other"
    finetune(decoder_folder, texts(8), folder=other, tuning="soft_prompt", n_steps=1, seed=7)
    shutil.copy(other / "soft_prompt.safetensors", saved)
    with pytest.raises(StorageError, match=r"soft_prompt.safetensors has the SHA-256 .* give its own file"):
        Classifier.load(saved)


def test_a_missing_file_of_vectors_is_an_error(saved):
    (saved / "soft_prompt.safetensors").unlink()
    with pytest.raises(StorageError, match=r"soft_prompt.safetensors is missing"):
        Classifier.load(saved)
    finish(saved, inputs="", record={})
    with pytest.raises(StorageError, match=r"cannot read .*soft_prompt.safetensors"):
        Classifier.load(saved)


@pytest.mark.parametrize("shape", [(10, 31), (9, 32)], ids=["width", "number"])
def test_vectors_of_another_width_or_number_are_an_error(saved, shape):
    write_tensors(saved / "soft_prompt.safetensors", {"vectors": torch.zeros(shape)})
    finish(saved, inputs="", record={})
    with pytest.raises(MismatchError, match=r"holds vectors of shape .* has 10 vectors of width 32"):
        Classifier.load(saved)


def test_another_model_in_the_place_of_the_frozen_one_is_an_error(tmp_path):
    base = tmp_path / "base"
    loaded = build("gpt_neox", "decoder")
    loaded.tokenizer.save_pretrained(base)
    loaded.model.save_pretrained(base)
    finetune(base, texts(8), folder=tmp_path / "tuned", tuning="soft_prompt", n_steps=1)
    first = hash_tensors(sorted(loaded.model.state_dict().items()))
    with torch.no_grad():
        next(loaded.model.parameters())[0, 0] += 1
    loaded.model.save_pretrained(base)
    with pytest.raises(MismatchError, match=rf"weights of SHA-256 {first}, but those there now have"):
        Classifier.load(tmp_path / "tuned")


def test_an_encoder_is_refused():
    with pytest.raises(ConfigError, match="tuning is soft_prompt, but bert is an encoder; use full or lora"):
        finetune(ENCODER, texts(8), tuning="soft_prompt")
