"""A change of the hidden state in the weights of the head: ours, saved, and read by transformers alone."""

from pathlib import Path

import pytest
import torch
from tiny_models import ENCODERS, N_LAYERS, SENTENCES

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.opening.folding import AffineMap
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts.base import Concepts
from classifsae.errors import ConfigError, MismatchError


def change_of(width: int) -> AffineMap:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.eye(width) + 0.2 * torch.randn(width, width, generator=generator)
    return AffineMap(matrix.double(), torch.randn(width, generator=generator).double())


@pytest.mark.parametrize("family", ENCODERS)
def test_the_head_reads_the_changed_state_and_the_original_stays(tiny, family):
    model = tiny(family, layer=N_LAYERS)
    change, states = change_of(model.width), model.states(model.batch(SENTENCES[:6]))
    before = model.logits(SENTENCES[:6])
    try:
        changed = model.changed(change)
    except ConfigError as error:
        assert "more than linear maps read the hidden state" in str(error)  # noqa: PT017
    else:
        wanted = model.tail(change(states.hidden).float())
        torch.testing.assert_close(changed.logits(SENTENCES[:6]), wanted, atol=1e-4, rtol=1e-4)
        assert changed.fingerprint != model.fingerprint
    torch.testing.assert_close(model.logits(SENTENCES[:6]), before)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_common_encoders_can_be_changed(tiny, family):
    model = tiny(family, layer=N_LAYERS)
    assert isinstance(model.changed(change_of(model.width)), Classifier)


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


def test_an_earlier_layer_and_a_decoder_are_refused(tiny):
    for model in (tiny("bert", layer=1), tiny("gpt2", layer=1)):
        with pytest.raises(ConfigError, match="more than linear maps read the hidden state of layer 1"):
            model.changed(change_of(model.width))


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
