"""The terms that concept methods minimise: pure functions of tensors, each a scalar.

Source of all: Le Bail et al. 2025 (arXiv:2506.23951) and the configuration its authors published.
"""

import torch
from torch.nn.functional import cross_entropy

from classifsae.tensors import Float, Int, Tensor, batches

_TINY = 1e-6


def normalised_square(guess: Float[Tensor, "b d"], truth: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    """Squared error of each entry over the distance of the true row from the batch mean.

        sq_bi = (guess - truth)_bi^2 / (||truth_b - mean over the batch of truth|| + 1e-6)

    Args:
        guess: the reconstruction.
        truth: what it should be.
    Returns:
        Entries >= 0, in units of the hidden state.
    """
    return (guess - truth).square() / _spread(truth)[:, None]


def reconstruction(rebuilt: Float[Tensor, "b d"], hidden: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Dense-batch normalised error: entries of ``normalised_square`` summed over d, averaged over b."""
    return ((rebuilt - hidden).square().sum(dim=1) / _spread(hidden)).mean()


def _spread(truth: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    return (truth - truth.mean(dim=0)).norm(dim=1) + _TINY


def ghost(
    rebuilt: Float[Tensor, "b d"],
    hidden: Float[Tensor, "b d"],
    pre_codes: Float[Tensor, "b g"],
    directions: Float[Tensor, "g d"],
) -> Float[Tensor, ""]:
    """Ghost gradients: dead latents learn to explain what the living leave over.

        r = hidden - rebuilt;  g = exp(pre_codes) directions, scaled per row to ||r|| / 2
        q = normalised_square(g, r);  L = mean of q * sg(normalised_square(rebuilt, hidden) / (q + 1e-6))

    Args:
        rebuilt: the reconstruction from the living latents.
        hidden: what it should be.
        pre_codes: values of the g dead latents, those that have not fired of late, before relu and TopK.
        directions: their decoder directions.
    Returns:
        A number >= 0; exactly 0, without gradient, when nothing is dead (the published code counts
        a constant there).
    """
    if not len(directions):
        return rebuilt.new_zeros(())
    residual = hidden - rebuilt
    guess = pre_codes.exp() @ directions
    scale = residual.norm(dim=1, keepdim=True) / (2 * guess.norm(dim=1, keepdim=True) + _TINY)
    q = normalised_square(guess * scale.detach(), residual.detach())
    weight = normalised_square(rebuilt, hidden) / (q + _TINY)
    return (q * weight.detach()).mean()


def activation_rate(codes: Float[Tensor, "b p"], *, rate: float) -> Float[Tensor, ""]:
    """What each latent activates beyond its share of the batch.

        L = sum over p of (sum of codes - sum of its floor(b * rate) largest) / b

    Args:
        codes: activations >= 0.
        rate: share of sentences in [0, 1) on which a latent may fire for free.
    """
    n_free = int(codes.shape[0] * rate)
    return (codes.sum() - codes.topk(n_free, dim=0).values.sum()) / codes.shape[0]


def imitation(logits: Float[Tensor, "b c"], predictions: Int[Tensor, " b"]) -> Float[Tensor, ""]:
    """Cross-entropy, in nats, of a concept-based classifier with the labels the classifier predicted."""
    return cross_entropy(logits, predictions)


def resemblance(similarities: Float[Tensor, "b m"]) -> Float[Tensor, ""]:
    """R_sim: each concept should resemble the quarter of the batch that is closest to it.

        R_sim = - mean over m of the mean of the top floor(b / 4), at least 1, of its similarities

    Args:
        similarities: of each state to each concept, in [-1, 1].
    Returns:
        A number in [-1, 1], smaller for a closer resemblance.
    """
    n_closest = max(1, similarities.shape[0] // 4)
    return -similarities.topk(n_closest, dim=0).values.mean()


def crowding(directions: Float[Tensor, "d m"]) -> Float[Tensor, ""]:
    """R_far: concepts should point away from each other.

        R_far = mean over all m * m entries of (directions^T directions - I)

    Args:
        directions: unit columns.
    Returns:
        Mean cosine of two concepts times (m - 1) / m: at least -1 / m, where they sum to zero.
    """
    return (directions.T @ directions - torch.eye(directions.shape[1]).to(directions)).mean()


def flip(before: Float[Tensor, "b c"], after: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
    """Removing concepts should change the decision: minus the L1 distance of the two predictions.

        Flip = - mean over b of sum over c of |softmax(before) - softmax(after)|

    Args:
        before: logits from all concepts.
        after: logits from those that were kept.
    Returns:
        A number in [-2, 0], minus twice the total variation distance.
    """
    gap = before.softmax(dim=1) - after.softmax(dim=1)
    return -gap.abs().sum(dim=1).mean()


def without_row_component_(gradient: Float[Tensor, "p d"], rows: Float[Tensor, "p d"]) -> None:
    """Leave of a gradient, in place, what turns unit rows without stretching them."""
    for part in batches(*rows.shape):  # their products, which are as large, stay small
        own = rows[part]
        gradient[part].addcmul_(torch.linalg.vecdot(gradient[part], own)[:, None], own, value=-1)


def unit_rows(rows: Float[Tensor, "p d"]) -> Float[Tensor, "p d"]:
    """Rows scaled to length 1."""
    return rows / rows.norm(dim=1, keepdim=True)
