"""k-means of the hidden states: each sentence has the one concept whose centre is nearest."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from classifsae.activations import Activations
from classifsae.bounds import Count, PositiveInt
from classifsae.concepts._optimise import Run
from classifsae.concepts._partition import PartitionCoder
from classifsae.concepts._rows import at_most
from classifsae.concepts.base import ConceptMethod
from classifsae.storage import reading_at_random
from classifsae.tensors import Float, Tail, Tensor

if TYPE_CHECKING:
    from sklearn.cluster import KMeans as Lloyd

_MAX_STEPS, _TOLERANCE = 100, 1e-4


class KMeans(ConceptMethod):
    """Cluster the states as they are; a sentence has the concept of its cluster, and no other.

    Of very many sentences (more than 10,000, and more than 2^24 numbers in all states) centres are found on a
    seeded part; all sentences are then put to the nearest, and their means are the concepts' states.

    Attributes:
        n_starts: runs of k-means, of which the one with the least variance within clusters is kept.
    """

    takes_half: ClassVar[bool] = True

    n_concepts: Count = 20
    n_starts: PositiveInt = 3

    def learn(self, train: Activations, tail: Tail, run: Run) -> PartitionCoder:
        """Lloyd's k-means of scikit-learn."""
        centres = cluster(train.hidden, self.n_concepts, seed=self.seed, n_starts=self.n_starts)
        return PartitionCoder.of(train.hidden, *nearest(centres))


def cluster(rows: Float[Tensor, "n r"], k: int, *, seed: int, n_starts: int) -> Float[Tensor, "k r"]:
    """Centres of k clusters of the rows, or of a part of very many, on the rows' device."""
    some = at_most(*rows.shape, seed=seed)
    with reading_at_random(rows):
        part = (rows if some is None else rows[some.to(rows.device)]).float().cpu()
    found = lloyd(part.numpy(), k, seed=seed, n_starts=n_starts, in_place=some is not None)
    return torch.from_numpy(found.cluster_centers_).to(rows.device)


def lloyd(
    rows: NDArray[np.floating], k: int, *, seed: int, n_starts: int = 1, in_place: bool = False
) -> "Lloyd":
    """k-means of scikit-learn, fitted; on one thread, as several would add up in another order every time.

    Args:
        in_place: hold the rows once rather than three times. They are rounded then, and the end is when no
            row changes its cluster: for the variance that its tolerance is of, scikit-learn takes a copy.
    """
    from sklearn.cluster import KMeans as Lloyd
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        tolerance = 0.0 if in_place else _TOLERANCE
        found = Lloyd(
            k, n_init=n_starts, max_iter=_MAX_STEPS, tol=tolerance, random_state=seed, copy_x=not in_place
        )
        return found.fit(rows)


def nearest(centres: Float[Tensor, "k r"]) -> tuple[Float[Tensor, "r k"], Float[Tensor, " k"]]:
    """Weights and bias of scores x W + b that are largest for the nearest centre: c . x - ||c||^2 / 2."""
    return centres.T.contiguous(), -centres.square().sum(dim=1) / 2
