"""k-means where the states vary beyond the label: whitened, and by default within each predicted class."""

from typing import ClassVar

import torch
from torch.nn.functional import one_hot

from classifsae.activations import Activations
from classifsae.bounds import Count, PositiveInt
from classifsae.concepts._optimise import Run
from classifsae.concepts._partition import PartitionCoder, linear_logits
from classifsae.concepts._rows import Rows, mean_row
from classifsae.concepts.base import ConceptMethod
from classifsae.concepts.kmeans import cluster, nearest
from classifsae.errors import ConfigError
from classifsae.tensors import Float, Int, Tail, Tensor

_TINY, _N_AXES = 1e-12, 30


class WhitenedKMeans(ConceptMethod):
    """Cluster the states in whitened principal axes, a share of the concepts within each predicted class.

    A few axes hold nearly all the variance of a fine-tuned state: the label. Divided by their spread,
    x = (h - mean) V / s, the others count as much. Per class, V and s are those of the states less the mean
    of their predicted class, and a sentence can only have a concept of its class.

    Attributes:
        n_axes: principal axes that are kept, the widest ones; None: 30, or all of narrower states.
        per_class: cluster within the predicted classes; else over all sentences.
        n_starts: runs of k-means, of which the one with the least variance within clusters is kept.
    """

    takes_half: ClassVar[bool] = True

    n_concepts: Count = 20
    n_axes: PositiveInt | None = None
    per_class: bool = True
    n_starts: PositiveInt = 3

    def check(self, *, n_sentences: int | None, width: int | None, n_classes: int | None = None) -> None:
        """Refuse also more axes than the states can span, and fewer concepts than classes to divide."""
        super().check(n_sentences=n_sentences, width=width, n_classes=n_classes)
        if self.per_class:
            self.require_one_per_class(n_classes, otherwise=" or set per_class: false")
        known = [most for most in (n_sentences, width) if most is not None]
        if self.n_axes is not None and known and self.n_axes > min(known):
            raise ConfigError(
                f"whitened_kmeans: n_axes is {self.n_axes}, but the states span at most {min(known)} axes, "
                f"as many as a state has numbers or as there are sentences; give 1 to {min(known)}."
            )

    def learn(self, train: Activations, tail: Tail, run: Run) -> PartitionCoder:
        """Whiten, cluster, and keep all as one linear score per concept."""
        hidden, classes = train.hidden, train.predictions
        if not self.per_class:
            classes = torch.zeros_like(classes)
        mean, axes = whitening(hidden, classes, self.n_axes or min(_N_AXES, hidden.shape[1]))
        shares = self.shares(classes.bincount(minlength=train.n_classes))
        centres = self.centres(Rows.of(hidden).less(mean).times(axes).all(), classes, shares)
        weights, bias = nearest(centres)
        weights = axes @ weights
        gate, gate_bias = linear_logits(hidden, train.logits)
        owner = torch.arange(len(shares), device=shares.device).repeat_interleave(shares)
        gates = {"gate": gate, "gate_bias": gate_bias, "owner": owner} if self.per_class else {}
        return PartitionCoder.of(hidden, weights, bias - mean @ weights, **gates)

    def centres(
        self, rows: Float[Tensor, "n r"], classes: Int[Tensor, " n"], shares: Int[Tensor, " c"]
    ) -> Float[Tensor, "k r"]:
        """Centres of the clusters of each class, one class after the other."""
        found = [
            cluster(rows[classes == c], int(shares[c]), seed=self.seed, n_starts=self.n_starts)
            for c in shares.nonzero().flatten().tolist()
        ]
        return torch.cat(found)

    def shares(self, sizes: Int[Tensor, " c"]) -> Int[Tensor, " c"]:
        """Concepts of each class: one at least, as many more as its share of the sentences asks for."""
        present = (sizes > 0).long()
        spare = self.n_concepts - int(present.sum())
        exact = spare * sizes / sizes.sum()
        shares = present + exact.floor().long()
        left = self.n_concepts - int(shares.sum())
        shares[(exact - exact.floor()).argsort(descending=True, stable=True)[:left]] += 1
        return torch.minimum(shares, sizes)


def whitening(
    hidden: Float[Tensor, "n d"], classes: Int[Tensor, " n"], n_axes: int
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d r"]]:
    """Mean of all states; widest principal axes of the states less their class's mean, over their spread."""
    rows, sizes = Rows.of(hidden), classes.bincount()
    members = Rows(len(rows), len(sizes), lambda some: one_hot(classes[some], len(sizes)).float(), len(sizes))
    means = members.product(rows) / sizes.clamp_min(1)[:, None]
    rest = rows.through(lambda some: rows[some] - means[classes[some]]).to(torch.float64)
    variances, axes = torch.linalg.eigh(rest.gram() / len(rest))
    kept = slice(len(variances) - n_axes, None)
    spread = variances[kept].clamp_min(_TINY * float(variances[-1])).sqrt()
    return mean_row(hidden), (axes[:, kept] / spread).flip(1).float()
