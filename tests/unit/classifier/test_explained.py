"""Explanations by a real classifier, encoder and decoder, also of texts that are too long for it."""

import dataclasses

import pytest
import torch
from tiny_models import SENTENCES, texts

from classifsae.classifier.capture import capture
from classifsae.concepts.random import Random
from classifsae.explaining.explainer import explain


@pytest.mark.parametrize(("family", "layer"), [("bert", None), ("bert", 1), ("gpt_neox", None)])
def test_a_classifier_is_explained_by_its_own_logits_and_ablations(tiny, family, layer):
    model = tiny(family, layer=layer)
    train = capture(model, texts())
    classes = torch.eye(model.n_classes)[
        torch.arange(len(train)) % model.n_classes
    ]  # its own may be one only
    concepts = Random(n_concepts=6, top_k=4).fit(dataclasses.replace(train, logits=classes), model.tail)
    long = " ".join(SENTENCES) + " 🙂"
    short, cut = explain(model, concepts, [SENTENCES[3], long])
    expected = model.logits([SENTENCES[3]]).double().softmax(dim=1)[0].tolist()
    assert list(short.classifier.probabilities.values()) == pytest.approx(expected, abs=1e-4)
    assert sum(c.share for c in short.concepts) == pytest.approx(100)
    assert (short.is_cut, cut.is_cut) == (False, True)
    start, end = cut.read
    assert 0 < len(cut.words or ()) < len(long.split())
    assert all(w.end > start and w.start < end for w in cut.words or ())

    hidden = model.hidden([SENTENCES[3]])
    codes = concepts.encode(hidden)
    codes[0, short.concepts[0].position] = 0
    state = concepts.decode(codes)
    after = model.tail(state * hidden.norm() / state.norm()).double().softmax(dim=1)[0]
    assert torch.tensor(list(short.concepts[0].without.probabilities.values())) == pytest.approx(
        after, abs=1e-4
    )
