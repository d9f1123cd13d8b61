"""Capture: each sentence once, in order, whatever the batching; resumed at the shard."""

import dataclasses
import json

import pytest
import torch
from tiny_models import NAMES, SENTENCES, texts

from classifsae.activations import Activations
from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier, States
from classifsae.errors import ConfigError, DamagedError, DataError
from classifsae.storage import manifest_of
from classifsae.tensors import batches_by_length


class KilledError(RuntimeError):
    pass


def same(one: Activations, other: Activations) -> bool:
    tensors = ("hidden", "logits", "labels")
    return one.ids == other.ids and all(torch.equal(getattr(one, t), getattr(other, t)) for t in tensors)


def test_what_is_no_classifier_or_no_texts_is_refused(tiny):
    with pytest.raises(
        ConfigError, match=r"capture takes the texts of one split, such as data\.test; got list"
    ):
        capture(tiny("bert"), ["a text"])
    with pytest.raises(ConfigError, match=r"capture takes a classifier.*got BertForSequenceClassification"):
        capture(tiny("bert").model, texts())


@pytest.mark.parametrize("family", ["bert", "gpt_neox"])
def test_each_sentence_once_in_order_whatever_the_batching(tiny, family):
    model, data = tiny(family), texts()
    one_by_one = torch.cat([model.hidden([text]) for text in data.texts])
    for max_tokens, shard_size in [(1, 64), (200, 10), (10**6, 7)]:
        found = capture(model, data, max_tokens=max_tokens, shard_size=shard_size)
        torch.testing.assert_close(found.hidden, one_by_one, atol=1e-5, rtol=1e-4)
        assert found.ids == data.ids
        assert found.labels.tolist() == list(data.labels)
    torch.testing.assert_close(
        found.logits, torch.cat([model.logits([text]) for text in data.texts]), atol=1e-5, rtol=1e-4
    )
    assert torch.equal(found.predictions, found.logits.argmax(dim=1))


def test_the_source_says_where_the_states_come_from(tiny):
    encoder, decoder = capture(tiny("bert"), texts(4)), capture(tiny("gpt2"), texts(4))
    assert encoder.source.model == tiny("bert").fingerprint != decoder.source.model
    assert (encoder.source.prompt, encoder.source.layer, encoder.source.dataset) == ("", 3, "tiny")
    assert decoder.source.prompt == tiny("gpt2").prompt != ""


def test_on_disk_and_in_memory_are_the_same(tiny, tmp_path):
    model, data = tiny("gpt2"), texts()
    steps: list[tuple[int, int]] = []
    stored = capture(
        model, data, folder=tmp_path, shard_size=10, on_step=lambda d, t, v: steps.append((d, t))
    )
    assert same(stored, capture(model, data, shard_size=10))
    assert same(stored, Activations.load(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "activations.safetensors",
        "ids.json",
        "manifest.json",
    ]
    assert steps[-1] == (64, 64)
    assert steps == sorted(steps)


def test_a_killed_capture_resumes_at_its_shard_to_the_same_bits(tiny, tmp_path, monkeypatch):
    model, data = tiny("bert"), texts()
    whole = capture(model, data, folder=tmp_path / "whole", shard_size=16)

    def kill(done, total, values):
        if done > 40:
            raise KilledError

    with pytest.raises(KilledError):
        capture(model, data, folder=tmp_path / "killed", shard_size=16, on_step=kill)
    assert manifest_of(tmp_path / "killed") is None
    n_rows = 0
    run = Classifier.states

    def counted(self, batch) -> States:
        nonlocal n_rows
        n_rows += len(batch["input_ids"])
        return run(self, batch)

    monkeypatch.setattr(Classifier, "states", counted)
    resumed = capture(model, data, folder=tmp_path / "killed", shard_size=16)
    assert n_rows == 32  # two of four shards were there
    assert same(resumed, whole)
    assert manifest_of(tmp_path / "killed") == manifest_of(tmp_path / "whole")


def test_a_shard_whose_manifest_is_gone_is_named_and_not_left_out(tiny, tmp_path):
    def lose(done, total, values):
        if done == total:
            next(tmp_path.glob("shards-*/000000000000/manifest.json")).unlink()

    with pytest.raises(DamagedError, match=r"000000000000/manifest\.json is missing"):
        capture(tiny("bert"), texts(), folder=tmp_path, shard_size=16, on_step=lose)


def test_a_shard_of_other_texts_or_another_layer_is_not_used(tiny, tmp_path):
    def kill(done, total, values):
        if done > 16:
            raise KilledError

    data = texts(32)
    with pytest.raises(KilledError):
        capture(tiny("bert"), data, folder=tmp_path, shard_size=16, on_step=kill)
    other = dataclasses.replace(data, texts=SENTENCES[32:])
    found = capture(tiny("bert", layer=1), other, folder=tmp_path, shard_size=16)
    assert same(found, capture(tiny("bert", layer=1), other, shard_size=16))
    assert not list(tmp_path.glob("shards-*"))


def test_texts_that_were_cut_are_counted(tiny, tmp_path, caplog):
    data = dataclasses.replace(texts(4), texts=("word " * 500, "a", "word " * 400, "b"))
    capture(tiny("bert"), data, folder=tmp_path, shard_size=2)
    assert json.loads((tmp_path / "manifest.json").read_text())["record"]["n_cut"] == 2
    assert caplog.messages == ["2 of 4 texts were cut at 96 tokens"]


def test_hidden_states_that_are_not_numbers_are_refused(tiny):
    model = tiny("bert")
    weight = model.model.bert.encoder.layer[0].output.dense.bias
    before = weight[0].item()
    weight[0] = float("nan")
    try:
        with pytest.raises(DataError, match="3 of 3 hidden states hold NaN or infinity, first row 'row-0'"):
            capture(model, texts(3))
    finally:
        weight[0] = before


def test_states_keep_the_models_precision(encoder_folder, tmp_path):
    model = Classifier.load(encoder_folder, dtype="bfloat16")
    found = capture(model, texts(6), folder=tmp_path)
    assert found.hidden.dtype == torch.bfloat16
    assert found.logits.dtype == torch.float32


def test_other_classes_than_the_models_are_refused(tiny):
    data = dataclasses.replace(texts(4), label_names=(*NAMES, "SciTech"))
    with pytest.raises(ConfigError, match=r"bert has 3 classes \(World, .*\), the data set 4"):
        capture(tiny("bert"), data)


def test_no_texts_are_refused(tiny):
    with pytest.raises(DataError, match="there are no texts to capture"):
        capture(tiny("bert"), dataclasses.replace(texts(0)))


def test_batches_hold_every_row_once_within_the_bound():
    lengths = [5, 9, 2, 30, 7, 7, 1]
    batches = batches_by_length(lengths, max_tokens=20, on=torch.device("cpu"))
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 20


@pytest.mark.parametrize("family", ["bert", "gpt_neox"])
def test_read_gives_every_text_its_row_and_runs_equal_ones_once(tiny, family, monkeypatch):
    model = tiny(family)
    one_by_one = torch.cat([model.hidden([text]) for text in SENTENCES[:5]])
    n_rows: list[int] = []
    run = Classifier.states
    monkeypatch.setattr(
        Classifier, "states", lambda self, batch: n_rows.append(len(batch["input_ids"])) or run(self, batch)
    )
    found = model.read([*SENTENCES[:5], *SENTENCES[:5]], max_tokens=100)
    assert sum(n_rows) == 5
    torch.testing.assert_close(found.hidden, torch.cat([one_by_one] * 2), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt_neox"])
def test_the_span_is_what_is_read_of_a_text(tiny, family):
    model = tiny(family)
    long = "".join(f"number {i}, naïve 🙂, " for i in range(100))
    assert model.span("short 🙂") == (0, 7)
    start, end = model.span(long)
    assert (start == 0) == (family == "bert")  # a decoder is cut on the left
    assert (end == len(long)) == (family == "gpt_neox")
    assert 40 < end - start < len(long)
    beyond = long[:end] + " and more" if family == "bert" else "and more " + long
    assert torch.equal(model.hidden([beyond]), model.hidden([long]))
