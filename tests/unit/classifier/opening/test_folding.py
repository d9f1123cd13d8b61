"""A change of the hidden state: in the weights that read it where they are linear, else as the model runs."""

from pathlib import Path

import pytest
import torch
from tiny_models import DECODERS, ENCODERS, N_LAYERS, SENTENCES

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.opening.affine import AffineMap
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts.base import Concepts
from classifsae.errors import ClassifSAEError, ConfigError, MismatchError
from classifsae.storage import write_tensors


def change_of(width: int) -> AffineMap:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.eye(width) + 0.2 * torch.randn(width, width, generator=generator)
    return AffineMap(matrix.double(), torch.randn(width, generator=generator).double())


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_the_head_reads_the_changed_state_and_the_original_stays(tiny, family):
    model = tiny(family, layer=N_LAYERS)
    change, states = change_of(model.width), model.states(model.batch(SENTENCES[:6]))
    changed = model.changed(change)
    wanted = model.tail(change(states.hidden).float())
    torch.testing.assert_close(changed.logits(SENTENCES[:6]), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(changed.tail(states.hidden), wanted, atol=1e-4, rtol=1e-4)
    assert changed.fingerprint != model.fingerprint
    torch.testing.assert_close(model.logits(SENTENCES[:6]), states.logits)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_common_encoders_stay_plain_models(tiny, family):
    model = tiny(family, layer=N_LAYERS)
    assert model.changed(change_of(model.width)).is_plain


def test_a_changed_classifier_is_a_plain_model_on_the_disk(tiny, tmp_path: Path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    changed = tiny("bert", layer=N_LAYERS).changed(change_of(tiny("bert", layer=N_LAYERS).width))
    changed.save(tmp_path)
    wanted = changed.logits(SENTENCES[:1])
    torch.testing.assert_close(Classifier.load(str(tmp_path)).logits(SENTENCES[:1]), wanted)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path)(SENTENCES[0], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**tokens).logits, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_a_change_before_the_last_block_is_made_on_the_token_that_decides(tiny, tmp_path: Path, family):
    model = tiny(family, layer=1)
    change = change_of(model.width)
    changed = model.changed(change)
    assert not changed.is_plain
    batch = model.batch(SENTENCES[:5])
    hidden = model.states(batch).hidden
    torch.testing.assert_close(changed.states(batch).hidden, hidden)
    torch.testing.assert_close(changed.tail(hidden), model.tail(change(hidden).float()), atol=1e-4, rtol=1e-4)
    alone = torch.cat([changed.logits([text]) for text in SENTENCES[:5]])
    torch.testing.assert_close(changed.logits(SENTENCES[:5]), alone, atol=1e-4, rtol=1e-4)
    assert (alone - model.logits(SENTENCES[:5])).abs().max() > 1e-3
    changed.verify(SENTENCES)
    changed.save(tmp_path)
    again = Classifier.load(str(tmp_path), label_names=model.label_names)
    torch.testing.assert_close(again.logits(SENTENCES[:5]), changed.logits(SENTENCES[:5]))
    assert (again.fingerprint, again.is_plain) == (changed.fingerprint, False)


def test_no_change_is_no_change_and_two_changes_are_made_one_after_the_other(tiny):
    model = tiny("gpt2", layer=1)
    width, batch = model.width, model.batch(SENTENCES[:5])
    nothing = AffineMap(torch.eye(width).double(), torch.zeros(width).double())
    torch.testing.assert_close(model.changed(nothing).logits(SENTENCES[:5]), model.logits(SENTENCES[:5]))
    first, second = change_of(width), AffineMap(2 * torch.eye(width).double(), torch.ones(width).double())
    hidden = model.states(batch).hidden
    both = model.changed(first).changed(second)
    wanted = model.tail(first(second(hidden)).float())
    torch.testing.assert_close(both.tail(hidden), wanted, atol=1e-4, rtol=1e-4)


def test_a_saved_change_that_is_damaged_is_refused(tiny, tmp_path: Path):
    model = tiny("gpt2", layer=1)
    model.changed(change_of(model.width)).save(tmp_path)
    write_tensors(tmp_path / "change.safetensors", {"matrix": torch.eye(3), "offset": torch.zeros(3)})
    with pytest.raises(ClassifSAEError, match=r"change\.safetensors"):
        Classifier.load(str(tmp_path), label_names=model.label_names)


def concepts_of(model: Classifier) -> Concepts:
    from classifsae.activations import Source

    width = model.width
    return Concepts(
        coder=LinearCoder(mean=torch.zeros(width), encoder=torch.eye(width), decoder=torch.eye(width)),
        kept=torch.tensor([0, 2]),
        class_activation=torch.ones(2, model.n_classes),
        activation=torch.ones(2),
        source=Source(model=model.fingerprint, layer=model.layer, prompt=model.prompt, dataset="data"),
        method="toy",
    )


def test_a_concept_that_is_left_out_changes_nothing_any_more(tiny):
    model = tiny("bert", layer=N_LAYERS)
    without = model.without(concepts_of(model), [2])
    hidden = model.hidden(SENTENCES[:4])
    moved = hidden.clone()
    moved[:, 2] += 5
    torch.testing.assert_close(without.tail(moved), without.tail(hidden), atol=1e-4, rtol=1e-4)
    moved[:, 2] = 0
    torch.testing.assert_close(without.tail(hidden), model.tail(moved), atol=1e-4, rtol=1e-4)


def test_a_concept_that_is_not_there_and_one_of_another_classifier_are_refused(tiny):
    model, other = tiny("bert", layer=N_LAYERS), tiny("roberta", layer=N_LAYERS)
    with pytest.raises(ConfigError, match="there is no concept 1; choose from 0, 2"):
        model.without(concepts_of(model), [1])
    with pytest.raises(MismatchError, match="another classifier"):
        other.without(concepts_of(model), [2])
