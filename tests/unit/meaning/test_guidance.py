"""Guidance: what an encoder says of what the classifier reads, by hand and against a loop."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from classifsae.errors import MismatchError
from classifsae.meaning.encoder import TokenEncoder, load_encoder
from classifsae.meaning.guidance import guide, token_weights, weighted_states

TEXTS = ("the cat sat", "the dog ran far", "the cat ran")


class Words:
    """One token per word; its state is a fixed random vector of the word."""

    fingerprint = "words"

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.known = sorted({word for text in TEXTS for word in text.split()})
        self.table = torch.randn(len(self.known), 5, generator=torch.Generator().manual_seed(0))

    def __call__(self, texts, /, *, on_step=None):
        return normalize(torch.stack([self.table[self._ids(text)].mean(dim=0) for text in texts]), dim=1)

    def _ids(self, text: str) -> list[int]:
        return [self.known.index(word) for word in text.split()]

    def tokens(self, texts, /):
        spans = []
        for text in texts:
            starts = [0, *(i + 1 for i, letter in enumerate(text) if letter == " ")]
            spans.append([(s, s + len(word)) for s, word in zip(starts, text.split(), strict=True)])
        return [self._ids(text) for text in texts], spans

    def read(self, ids, /):
        width = max(map(len, ids))
        states = torch.stack([self.table[row + [0] * (width - len(row))] for row in ids])
        means = torch.stack([self.table[row].mean(dim=0) for row in ids])
        return states, normalize(means, dim=1)


def weights_of(seed: int) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    return [draws.random(len(text)).astype(np.float32) for text in TEXTS]


def test_weights_of_other_texts_are_refused():
    with pytest.raises(MismatchError, match="there are 3 texts and weights of 2"):
        guide(TEXTS, weights_of(0)[:2], encoder=Words())


def test_weighted_states_are_those_of_a_loop():
    encoder, weights = Words(), weights_of(1)
    words = [text.split() for text in TEXTS]
    mean = torch.stack([encoder.table[encoder.known.index(w)] for text in words for w in text]).mean(dim=0)
    wanted = []
    for text, own in zip(TEXTS, weights, strict=True):
        total, place = torch.zeros(5), 0
        for word in text.split():
            idf = np.log(3 / sum(word in other for other in words))
            weight = own[place : place + len(word)].mean() * idf
            total += float(weight) * (encoder.table[encoder.known.index(word)] - mean)
            place += len(word) + 1
        wanted.append(total)
    found, embeddings = weighted_states(TEXTS, weights, encoder)
    assert torch.allclose(found, normalize(torch.stack(wanted), dim=1), atol=1e-5)
    torch.testing.assert_close(embeddings, encoder(TEXTS))


def test_a_word_of_every_text_has_no_weight():
    ids, spans = Words().tokens(TEXTS)
    assert [weights[0] for weights in token_weights(ids, spans, weights_of(2))] == [0, 0, 0]


def test_guidance_is_centred_and_of_unit_norm():
    found = guide(TEXTS, weights_of(3), encoder=Words())
    assert torch.allclose(found.read.norm(dim=1), torch.ones(3))
    assert found.embeddings.shape == (3, 5)


def test_an_encoder_without_states_of_tokens_guides_by_its_embeddings():
    class Plain:
        fingerprint = "plain"

        def __call__(self, texts, /, *, on_step=None):
            return torch.eye(3)[: len(texts)]

    found = guide(TEXTS, encoder=Plain())
    assert torch.allclose(found.read, normalize(torch.eye(3) - 1 / 3, dim=1))


def test_the_packaged_encoder_gives_the_mean_of_its_tokens_as_embedding():
    encoder = load_encoder()
    assert isinstance(encoder, TokenEncoder)
    ids, _ = encoder.tokens(TEXTS[:1])
    states, embeddings = encoder.read(ids)
    assert torch.allclose(normalize(states[0].mean(dim=0), dim=0), encoder(TEXTS[:1])[0], atol=1e-5)
    assert embeddings.equal(encoder(TEXTS[:1]))


def test_guidance_reads_each_text_once_and_embeds_as_the_encoder_does():
    encoder = load_encoder()
    n_read, read = [], encoder.read
    encoder.read = lambda ids: n_read.append(len(ids)) or read(ids)
    wanted = encoder(TEXTS)
    n_read.clear()
    assert guide(TEXTS, weights_of(3), encoder=encoder).embeddings.equal(wanted)
    assert sum(n_read) == len(TEXTS)
