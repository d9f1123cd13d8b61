"""Attribution: the gradient of each decision in each token, given to the token's own characters."""

import numpy as np
import pytest
import torch
from tiny_models import SENTENCES, build, classifier_of

from classifsae.classifier.attribution import attribute
from classifsae.classifier.classifier import Classifier

LONG = " ".join(SENTENCES * 12)


def by_hand(model: Classifier, text: str) -> np.ndarray:
    """The same for one text without padding, from the input embeddings on."""
    row = model.reader.encode([text]).rows[0]
    ids = torch.tensor([row.ids])
    embedded = model.model.get_input_embeddings()(ids).detach().requires_grad_(True)
    arguments = {"inputs_embeds": embedded, "attention_mask": torch.ones_like(ids)}
    logits = model.opened.class_logits(model.model, arguments)[0]
    (gradient,) = torch.autograd.grad(logits.max() - logits.mean(), embedded)
    found = np.zeros(len(text), np.float32)
    for (start, end), weight in zip(
        model.reader.places([text])[0], gradient[0].norm(dim=1).tolist(), strict=True
    ):
        found[start:end] = weight
    return found


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt_neox", "llama"])
def test_weights_are_those_of_each_text_alone(tiny, family):
    model = tiny(family)
    texts = [*SENTENCES[:6], LONG]
    done: list[int] = []
    found = attribute(model, texts, max_tokens=300, on_step=lambda n, total, _: done.append(n))
    assert done[-1] == len(texts)
    assert [len(weights) for weights in found] == list(map(len, texts))
    for text, weights in zip(texts, found, strict=True):
        np.testing.assert_allclose(weights, by_hand(model, text), atol=1e-5, rtol=1e-3)
        assert weights.max() > 0


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt_neox"])
def test_places_are_the_characters_of_the_tokens_that_are_read(tiny, family):
    model = tiny(family)
    for text in (*SENTENCES[:4], LONG):
        (places,), (row,) = model.reader.places([text]), model.reader.encode([text]).rows
        assert len(places) == len(row.ids)
        start, end = model.span(text)
        own = [place for place in places if place[0] < place[1]]
        assert all(start <= first < last <= end for first, last in own)
        read = "".join(text[first:last] for first, last in own)
        assert read.replace(" ", "") == text[start:end].replace(" ", "")


def test_what_is_cut_off_has_no_weight(tiny):
    model = tiny("bert")
    (weights,) = attribute(model, [LONG])
    start, end = model.span(LONG)
    assert weights[start:end].max() > 0
    assert not weights[end:].any()


@pytest.mark.parametrize("family", ["xlnet", "longformer", "albert", "xlm"])
def test_models_that_read_along_the_text_or_fill_it_up_are_read_alike(family: str):
    model = classifier_of(build(family, "encoder"), family, max_length=64)
    texts = [*SENTENCES[:5], SENTENCES[0]]
    for text, weights in zip(texts, attribute(model, texts), strict=True):
        np.testing.assert_allclose(weights, attribute(model, [text])[0], atol=1e-5, rtol=1e-3)
