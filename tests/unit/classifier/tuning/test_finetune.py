"""Fine-tuning: it learns, repeats itself bit for bit, resumes after a kill, and runs nothing it reads."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import DECODER, ENCODER, FIELDS, NAMES, SENTENCES, KilledError, killed_at, texts, topical

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.tuning.finetune import finetune, plan_batches
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError, DataError, StorageError
from classifsae.storage import manifest_of


@pytest.mark.parametrize("backbone", [DECODER, ENCODER], ids=["decoder", "encoder"])
def test_a_model_from_scratch_learns(backbone):
    data = topical()
    losses: list[float] = []
    model = finetune(
        backbone,
        data,
        on_step=lambda done, total, values: losses.append(values["loss"]),
        n_steps=100,
        learning_rate=1e-2,
        architecture={**backbone["architecture"], "initializer_range": 0.1, "num_hidden_layers": 1},
    )
    predicted = torch.cat([model.logits(data.texts[i : i + 8]) for i in range(0, 48, 8)]).argmax(dim=1)
    assert (predicted == torch.tensor(data.labels)).float().mean() > 0.9
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("backbone", [DECODER, ENCODER], ids=["decoder", "encoder"])
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(backbone, tmp_path, monkeypatch):
    whole = finetune(backbone, texts(), folder=tmp_path / "whole")

    read = torch.load

    def tensors_alone(*arguments, weights_only: bool, **options):
        assert weights_only  # nothing is called that a checkpoint names
        return read(*arguments, weights_only=weights_only, **options)

    monkeypatch.setattr(torch, "load", tensors_alone)
    folder = tmp_path / "killed"
    for step in (3, 5):  # each time, a checkpoint was written after every step before
        with pytest.raises(KilledError):
            finetune(backbone, texts(), folder=folder, on_step=killed_at(step), checkpoint_seconds=0)
    steps: list[int] = []
    resumed = finetune(
        backbone, texts(), folder=folder, on_step=lambda d, t, v: steps.append(d), checkpoint_seconds=0
    )
    assert steps == [5, 6]
    assert resumed.fingerprint == whole.fingerprint
    assert not (folder / "checkpoints").exists()
    assert manifest_of(folder) == manifest_of(tmp_path / "whole")


def test_accumulation_resumes_too(tmp_path):
    options = {**DECODER, "batch_size": 4, "gradient_accumulation": 2, "n_steps": 4}
    whole = finetune(options, texts())
    with pytest.raises(KilledError):
        finetune(options, texts(), folder=tmp_path, on_step=killed_at(3), checkpoint_seconds=0)
    assert finetune(options, texts(), folder=tmp_path).fingerprint == whole.fingerprint


def test_a_checkpoint_of_other_options_or_one_half_written_is_not_used(tmp_path):
    with pytest.raises(KilledError):
        finetune(DECODER, texts(), folder=tmp_path, on_step=killed_at(3), checkpoint_seconds=0)
    steps: list[int] = []

    def note(done, total, values):
        steps.append(done)
        raise KilledError

    with pytest.raises(KilledError):
        finetune(DECODER, texts(), folder=tmp_path, on_step=note, learning_rate=1e-4)
    assert steps == [1]

    with pytest.raises(KilledError):
        finetune(DECODER, texts(), folder=tmp_path, on_step=killed_at(3), checkpoint_seconds=0)
    (tmp_path / "checkpoints" / "checkpoint-2" / "manifest.json").unlink()
    with pytest.raises(KilledError):
        finetune(DECODER, texts(), folder=tmp_path, on_step=note)
    assert steps == [1, 1]


def test_a_tuned_classifier_survives_the_disk(tmp_path):
    tuned = finetune(DECODER, texts(), folder=tmp_path, layer=1, n_steps=2)
    loaded = Classifier.load(tmp_path)
    assert (loaded.kind, loaded.layer, loaded.label_names) == ("decoder", 1, NAMES)
    assert loaded.fingerprint == tuned.fingerprint
    assert loaded.prompt == tuned.prompt
    torch.testing.assert_close(loaded.hidden(SENTENCES[:4]), tuned.hidden(SENTENCES[:4]), atol=0, rtol=0)
    torch.testing.assert_close(loaded.logits(SENTENCES[:4]), tuned.logits(SENTENCES[:4]), atol=0, rtol=0)
    assert Classifier.load(tmp_path, layer=2).layer == 2
    assert not list(tmp_path.glob("*.bin"))
    assert not list(tmp_path.glob("*.pt*"))


def test_a_pretrained_encoder_gets_a_head_for_the_data(encoder_folder):
    data = Texts(SENTENCES[:8], (0, 1) * 4, tuple("abcdefgh"), ("no", "yes"))
    model = finetune(encoder_folder, data, n_steps=2, batch_size=4)
    assert model.label_names == ("no", "yes")
    assert model.logits(SENTENCES[:3]).shape == (3, 2)


def test_a_pretrained_decoder_is_tuned_on_its_answer_tokens(decoder_folder):
    model = finetune(decoder_folder, texts(), n_steps=2, batch_size=4)
    assert model.kind == "decoder"
    assert model.logits(SENTENCES[:3]).shape == (3, 3)


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_mixed_precision_checkpointing_and_class_weights_train_and_leave_float32(precision):
    model = finetune(
        DECODER,
        texts(),
        device="cpu",
        precision=precision,
        gradient_checkpointing=True,
        class_weights=True,
        n_steps=2,
    )
    assert model.dtype == torch.float32
    assert model.logits(SENTENCES[:2]).dtype == torch.float32
    assert "forward" not in vars(model.model)


def test_class_weights_change_the_loss_as_the_formula_says():
    labels = (0, 0, 0, 1, 1, 2)
    data = Texts(SENTENCES[:6], labels, tuple("abcdef"), NAMES)
    seen: dict[bool, float] = {}
    for weighted in (False, True):
        finetune(
            DECODER,
            data,
            class_weights=weighted,
            n_steps=1,
            batch_size=6,
            on_step=lambda d, t, v, weighted=weighted: seen.__setitem__(weighted, v["loss"]),
            architecture={"model_type": "gpt_neox", **FIELDS},
        )
    start = finetune(
        DECODER, data, n_steps=1, learning_rate=1e-12, architecture={"model_type": "gpt_neox", **FIELDS}
    )
    each = torch.nn.functional.cross_entropy(start.logits(data.texts), torch.tensor(labels), reduction="none")
    weights = torch.tensor([6 / (3 * labels.count(label)) for label in labels])  # w_c = N / (C n_c)
    assert seen[False] == pytest.approx(each.mean().item(), rel=1e-4)
    assert seen[True] == pytest.approx(((each * weights).sum() / weights.sum()).item(), rel=1e-4)


def test_global_random_state_is_left_alone():
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    expected = torch.rand(1).item(), random.random(), np.random.rand()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    finetune(DECODER, texts(8), n_steps=1)
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected


def test_nothing_is_printed(capfd):
    finetune(DECODER, texts(8), n_steps=1)
    assert capfd.readouterr() == ("", "")


def test_every_pass_holds_every_row_once_and_like_lengths_together():
    lengths = [int(n) for n in torch.randint(1, 100, (103,), generator=torch.Generator().manual_seed(0))]
    plan = plan_batches(lengths, batch_size=10, n_batches=22, seed=0)
    for one_pass in (plan[:11], plan[11:]):
        assert sorted(row for batch in one_pass for row in batch) == list(range(103))
    assert plan[:11] != plan[11:]
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in plan]
    assert sum(spread) / len(spread) < 20
    assert plan == plan_batches(lengths, batch_size=10, n_batches=22, seed=0)


def test_a_diverging_loss_is_one_clear_error():
    with pytest.raises(ConfigError, match=r"the loss is .* at step \d+ of 20; lower learning_rate"):
        finetune(DECODER, texts(), learning_rate=1e30, n_steps=20, clip=1e30)


def test_a_class_without_training_texts_is_refused():
    data = Texts(("a", "b"), (0, 1), ("1", "2"), NAMES)
    with pytest.raises(DataError, match="the training texts: no sentence of class 'Business'"):
        finetune(DECODER, data)


def test_a_misspelt_field_of_an_architecture_is_refused():
    wrong = {"model_type": "gpt_neox", "num_hiden_layers": 2}
    with pytest.raises(
        ConfigError, match=r"unknown field of gpt_neox 'num_hiden_layers'. Did you mean 'num_hidden"
    ):
        finetune({**DECODER, "architecture": wrong}, texts(8))
    with pytest.raises(ConfigError, match=r"unknown model_type 'gpt_nex'. Did you mean 'gpt_neox'"):
        finetune({**DECODER, "architecture": {"model_type": "gpt_nex"}}, texts(8))


def test_an_unwritable_folder_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*choose a folder"):
        finetune(DECODER, texts(8), n_steps=1, folder=tmp_path / "file" / "run")
