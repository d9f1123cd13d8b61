"""What the texts say, for methods that are guided by them: an encoder's view of what the classifier reads."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from classifsae.activations import Guidance
from classifsae.data.texts import Texts
from classifsae.errors import MismatchError
from classifsae.meaning.encoder import MINILM, TokenEncoder, load_encoder
from classifsae.progress import with_bar
from classifsae.tensors import Float, OnStep, SentenceEncoder, Tensor, batches_by_length

_MAX_TOKENS = 16384


@with_bar("guidance")
def guide(
    texts: Texts | Sequence[str],
    weights: Sequence[NDArray[np.float32]] | None = None,
    *,
    encoder: str | SentenceEncoder = MINILM,
    device: torch.device | str | None = None,
    on_step: OnStep | None = None,
) -> Guidance:
    """What the texts say, as guidance for a method.

    With e_t the encoder's last state of token t, m its mean over all tokens of all texts, a_t the mean weight
    of the token's characters and idf_t = log(texts / texts that have the token),

        read = unit(sum over t of a_t idf_t (e_t - m)),  centred over texts, unit again.

    An encoder that gives no states of tokens guides by its embeddings alone.

    Args:
        texts: of the training split.
        weights: of their characters, as ``classifsae.attribute`` gives them; None: all alike.
        encoder: as for ``load_encoder``, or an encoder of your own.
        device: of an encoder that is named; None: a GPU if there is one.
        on_step: told how many texts of all are done.
    Raises:
        ConfigError: no such encoder.
    """
    raw = tuple(texts.texts if isinstance(texts, Texts) else texts)
    weights = weights or [np.ones(len(text), np.float32) for text in raw]
    made_by = load_encoder(encoder, device=device) if isinstance(encoder, str) else encoder
    if not isinstance(made_by, TokenEncoder):
        embeddings = made_by(raw, on_step=on_step)
        return Guidance(read=normalize(embeddings - embeddings.mean(dim=0), dim=1), embeddings=embeddings)
    read, embeddings = weighted_states(raw, weights, made_by, on_step=on_step)
    return Guidance(read=normalize(read - read.mean(dim=0), dim=1), embeddings=embeddings)


def weighted_states(
    texts: Sequence[str],
    weights: Sequence[NDArray[np.float32]],
    encoder: TokenEncoder,
    *,
    on_step: OnStep | None = None,
) -> tuple[Float[Tensor, "n e"], Float[Tensor, "n e"]]:
    """Weighted sum of each text's token states less their mean over all tokens, at unit norm; and embeddings.

    Each text is read once for both.
    """
    if len(weights) != len(texts):
        raise MismatchError(
            f"there are {len(texts)} texts and weights of {len(weights)}; attribute the same."
        )
    ids, spans = encoder.tokens(texts)
    of_tokens = token_weights(ids, spans, weights)
    sums, embedded, masses, real_states, n_tokens = [], [], torch.zeros(len(texts)), [], 0
    order: list[int] = []
    for batch in batches_by_length([len(row) for row in ids], _MAX_TOKENS, encoder.device):
        states, embeddings = (made.cpu() for made in encoder.read([ids[i] for i in batch]))
        width = states.shape[1]
        own = torch.tensor(np.stack([np.pad(of_tokens[i], (0, width - len(ids[i]))) for i in batch]))
        real = torch.tensor([[s < e for s, e in spans[i]] + [False] * (width - len(ids[i])) for i in batch])
        embedded.append(embeddings)
        sums.append(torch.einsum("bt,bte->be", own, states))
        masses[batch] = own.sum(dim=1)
        real_states.append(states[real].double().sum(dim=0))
        n_tokens += int(real.sum())
        order += batch
        if on_step:
            on_step(len(order), len(texts), {})
    back = torch.tensor(order).argsort()
    mean = (torch.stack(real_states).sum(dim=0) / max(n_tokens, 1)).float()
    return normalize(torch.cat(sums)[back] - masses[:, None] * mean, dim=1), torch.cat(embedded)[back]


def token_weights(
    ids: Sequence[Sequence[int]],
    spans: Sequence[Sequence[tuple[int, int]]],
    weights: Sequence[NDArray[np.float32]],
) -> list[NDArray[np.float32]]:
    """Per token the mean weight of its characters times its inverse document frequency."""
    texts_with = np.bincount(np.concatenate([np.unique(row) for row in ids]))
    idf = np.log(len(ids) / np.maximum(texts_with, 1)).astype(np.float32)
    found = []
    for row, places, own in zip(ids, spans, weights, strict=True):
        sums = np.concatenate([[0], own.cumsum()])
        starts, ends = np.array(places).T
        found.append(
            ((sums[ends] - sums[starts]) / np.maximum(ends - starts, 1) * idf[list(row)]).astype(np.float32)
        )
    return found
