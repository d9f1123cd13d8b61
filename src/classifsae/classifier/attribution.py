"""How much the classifier's decision on a text depends on each of its characters."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from classifsae.classifier.classifier import Classifier
from classifsae.data.texts import Texts
from classifsae.progress import with_bar
from classifsae.tensors import Float, OnStep, Tensor, batches_by_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@with_bar("attributing")
def attribute(
    classifier: Classifier,
    texts: Texts | Sequence[str],
    *,
    max_tokens: int = 8192,
    on_step: OnStep | None = None,
) -> list[NDArray[np.float32]]:
    """How much the decision on each text depends on each of its characters, by one gradient per text.

        a_t = || d (largest logit - mean of the logits) / d x_t ||,  x_t the input embedding of token t

    Args:
        classifier: whose decisions.
        texts: each read as for a capture: cut where it is too long, inside the template.
        max_tokens: tokens per batch at most, padding included.
        on_step: told how many texts are done.
    Returns:
        One weight per character of each text, that of its token; 0 where no token that is read holds it.
    Raises:
        DataError: a text has no token at all.
    """
    raw = texts.texts if isinstance(texts, Texts) else tuple(texts)
    rows, places = classifier.reader.encode(raw).rows, classifier.reader.places(raw)
    found, n_done = [np.zeros(len(text), np.float32) for text in raw], 0
    for batch in batches_by_length([len(row.ids) for row in rows], max_tokens, classifier.device):
        inputs = classifier.opened.padding.batch([rows[i] for i in batch])
        weights, mask = _pull(classifier, inputs).cpu(), inputs["attention_mask"].bool().cpu()
        for i, own, seen in zip(batch, weights, mask, strict=True):
            of_tokens = own[seen][classifier.n_vectors :].tolist()
            for (start, end), weight in zip(places[i], of_tokens, strict=True):
                found[i][start:end] = weight
        n_done += len(batch)
        if on_step:
            on_step(n_done, len(raw), {})
    return found


def _pull(classifier: Classifier, inputs: dict[str, Tensor]) -> Float[Tensor, "b t"]:
    """Norm of the gradient of each row's decision in the embedding of each of its tokens."""
    with torch.enable_grad(), _embeddings(classifier.model) as embedded:
        logits = classifier.opened.states(inputs, classifier.layer).logits
        decision = (logits.amax(dim=1) - logits.mean(dim=1)).sum()
        tokens, embeddings = embedded[-1]
        (gradient,) = torch.autograd.grad(decision, embeddings)
    norms, given = gradient.float().norm(dim=2), inputs["input_ids"].to(tokens.device)
    if tokens.shape == given.T.shape and tokens.equal(given.T):  # XLNet reads along the text first
        norms = norms.T
    return norms[:, : given.shape[1]]  # Longformer fills texts up further


@contextmanager
def _embeddings(model: "PreTrainedModel") -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect tokens and their embeddings while the model runs, these as leaves of its graph."""
    collected: list[tuple[Tensor, Tensor]] = []

    def collect(_: torch.nn.Module, given: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
        collected.append((given[0], embedded.detach().requires_grad_(True)))
        return collected[-1][1]

    with model.get_input_embeddings().register_forward_hook(collect):
        yield collected
