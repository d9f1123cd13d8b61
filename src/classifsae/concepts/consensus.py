"""Groups on which many clusterings of states and texts agree, told from the state alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize, one_hot

from classifsae.activations import Activations, Guidance
from classifsae.bounds import Count, NonNegativeFloat, PositiveInt
from classifsae.concepts._evidence import (
    BATCH,
    Descent,
    EvidenceCoder,
    learn_decoder,
    learn_encoder,
    sparse,
    whitening,
)
from classifsae.concepts._optimise import Run
from classifsae.concepts._rows import Rows, at_most
from classifsae.concepts.base import ConceptMethod, Rate
from classifsae.concepts.kmeans import lloyd
from classifsae.errors import warn
from classifsae.storage import reading_at_random
from classifsae.tensors import Float, Tail, Tensor

_TEMPER = 0.01
_N_ROWS = 2500
"""Rows that a clustering's centres are fitted on, at most; all rows are then put to the nearest."""

_TEXT_AXES, _STATE_AXES = 60, (20, 40)
"""Principal axes of the texts, and the range of axes of the states, in a clustering."""

_MORE_CLUSTERS = 2
"""A clustering has between n and this many times n clusters."""

_TEXTS_ALONE = 3
"""Every third clustering of a kind sees the texts without the states."""


class Consensus(ConceptMethod):
    """Learn concepts on which clusterings of states and texts agree, as evidence that adds up to the logits.

    1. Many k-means clusterings: of what the classifier reads in the texts, and of that with the directions of
       the states that tell the texts, always beside the classifier's probabilities; each with other numbers
       of clusters and axes, other rows and weights. Without guidance: of whitened axes of the states.
    2. Their agreement: a normalised cut of the graph of sentences and clusters into n groups.
    3. An encoder relu(h W + b) whose codes say the groups and give the logits by a linear map.
    4. A linear decoder, from a ridge regression to the states, trained through the classifier's tail.

    Of very many sentences (more than 10,000, and more than 2^24 numbers in all states) a seeded part is used.

    Attributes:
        n_clusterings: of step 1.
        class_weight: of the classifier's probabilities beside views of unit norm, in step 1.
        fidelity: weight of the logits in step 3; the groups have weight 2.
        least: smallest code that stays, as a share of the sentence's largest.
        n_steps: of step 3; step 4 takes half as many.
    """

    guided: ClassVar[bool] = True
    takes_half: ClassVar[bool] = True
    remedy: ClassVar[str] = "lower n_concepts"

    n_concepts: Count = 20
    n_clusterings: PositiveInt = 40
    class_weight: NonNegativeFloat = 0.7
    fidelity: NonNegativeFloat = 3.0
    least: Rate = 0.1
    n_steps: PositiveInt = 300

    def check(self, *, n_sentences: int | None, width: int | None, n_classes: int | None = None) -> None:
        """Refuse also fewer concepts than classes: some class would have no group of its own."""
        super().check(n_sentences=n_sentences, width=width, n_classes=n_classes)
        self.require_one_per_class(n_classes)

    def learn(self, train: Activations, tail: Tail, run: Run) -> EvidenceCoder:
        """Cluster, agree, and learn to tell the groups from the state.

        Warns:
            ClassifSAEWarning: there is no guidance by texts.
        """
        if run.guidance is None:
            said = "consensus: without guidance by the texts, concepts are found in the states alone."
            warn(said)
        states, logits, guidance = Rows.of(train.hidden), train.logits.float(), run.guidance
        if (some := at_most(*train.hidden.shape, seed=self.seed)) is not None:
            some = some.to(logits.device)
            states, logits = states.at(some), logits[some]
            guidance = None if guidance is None else guidance.take(some)
        with reading_at_random(train.hidden):
            return self._learn(states, logits, guidance, tail, run)

    def _learn(
        self,
        states: Rows,
        logits: Float[Tensor, "n c"],
        guidance: Guidance | None,
        tail: Tail,
        run: Run,
    ) -> EvidenceCoder:
        progress = _Progress(run, self.n_clusterings + self.n_steps + self.n_steps // 2)
        views = Views.of(states, logits, guidance, class_weight=self.class_weight)
        labels = list(self.clusterings(views, progress))
        groups = torch.from_numpy(agreement(labels, self.n_concepts, seed=self.seed)).to(logits.device)
        weights, bias = learn_encoder(
            states,
            logits,
            one_hot(groups, self.n_concepts).to(logits),
            fidelity=self.fidelity,
            descent=Descent(len(states), self.n_steps, self.seed, progress.losses("encoder")),
        )
        n_steps = self.n_steps + self.n_steps // 2
        run.spent.n_steps, run.spent.n_vectors, run.spent.n_steps_at_most = n_steps, n_steps * BATCH, n_steps
        codes = states.through(
            lambda rows: sparse(states[rows] @ weights + bias, self.least), width=self.n_concepts
        )
        decoder, mean = learn_decoder(
            codes.all(),
            states,
            logits,
            tail,
            descent=Descent(len(states), self.n_steps // 2, self.seed, progress.losses("decoder")),
        )
        return EvidenceCoder(weights=weights, bias=bias, decoder=decoder, mean=mean, least=self.least)

    def clusterings(self, views: "Views", progress: "_Progress") -> Iterator[NDArray[np.int64]]:
        """The cluster of every sentence, once for each clustering."""
        draws = np.random.default_rng(self.seed)
        for i in range(self.n_clusterings):
            k = int(draws.integers(self.n_concepts, _MORE_CLUSTERS * self.n_concepts + 1))
            n_axes = int(draws.integers(_STATE_AXES[0], _STATE_AXES[1] + 1))
            view = views.view(i, n_axes=n_axes, weight=2.0 ** draws.uniform(-1, 1))
            rows = draws.permutation(len(view))[:_N_ROWS]
            found = lloyd(view[rows], min(k, len(rows)), seed=int(draws.integers(1 << 30)))
            yield found.predict(view)
            progress.step()


@dataclass(frozen=True)
class Views:
    """What sentences are clustered by, in float32 on the CPU.

    Attributes:
        classes: probabilities of the classifier, weighted.
        states: coordinates of the states, the most telling axes first, in one way or more.
        texts: leading principal axes of what the classifier reads; None without guidance.
    """

    classes: NDArray[np.float32]
    states: tuple[Float[Tensor, "n d"], ...]
    texts: NDArray[np.float32] | None

    @classmethod
    def of(
        cls, hidden: Rows, logits: Float[Tensor, "n c"], guidance: Guidance | None, *, class_weight: float
    ) -> "Views":
        """The views of a training split."""
        mean, axes = whitening(hidden, temper=_TEMPER)
        centred = hidden.to(torch.float64).less(mean)
        classes = (class_weight * logits.softmax(dim=1)).cpu().numpy()
        if guidance is None:
            return cls(classes, (centred.times(axes.flip(1)[:, : _STATE_AXES[1]]).all().cpu(),), None)
        white, (read, embeddings) = (
            centred.times(axes),
            (_centred(texts, mean.device) for texts in (guidance.read, guidance.embeddings)),
        )
        directions = [telling_directions(white, texts)[:, : _STATE_AXES[1]] for texts in (embeddings, read)]
        states = tuple(white.times(most).all().cpu() for most in directions)
        _, principal = torch.linalg.eigh(read.gram())
        texts = read.times(principal[:, -_TEXT_AXES:]).to(torch.float32).all()
        return cls(classes, states, texts.cpu().numpy())

    def view(self, index: int, *, n_axes: int, weight: float) -> NDArray[np.float32]:
        """The index-th of them, in turn: texts alone, or states with texts of this weight."""
        states = self.states[index % len(self.states)][:, :n_axes]
        if self.texts is None:
            parts = [(states / states.norm(dim=1, keepdim=True).clamp_min(n_axes**0.5)).numpy()]
        elif index // len(self.states) % _TEXTS_ALONE == 0:
            parts = [self.texts]
        else:
            parts = [normalize(states, dim=1).numpy(), weight * self.texts]
        return np.concatenate([*parts, self.classes], axis=1, dtype=np.float32)


def _centred(texts: Float[Tensor, "n e"], device: torch.device) -> Rows:
    rows = Rows.of(texts).through(lambda some: texts[some].to(device, torch.float64))
    return rows.less(rows.mean())


def telling_directions(white: Rows, texts: Rows) -> Float[Tensor, "d r"]:
    """Directions of whitened states, those first that tell most of the texts (reduced-rank regression)."""
    return torch.linalg.svd(white.product(texts), full_matrices=False).U


def agreement(labels: list[NDArray[np.int64]], k: int, *, seed: int) -> NDArray[np.int64]:
    """One clustering of many: a normalised cut of the graph of sentences and their clusters into k groups.

    k-means of the k leading left singular vectors of B, scaled by their values, at unit norm per sentence. B
    has a column per cluster, its members over the square root of their number; rows over the square root of
    their degree.

    Source: Dhillon 2001, "Co-clustering documents and words using bipartite spectral graph partitioning".
    """
    from scipy.linalg import eigh
    from scipy.sparse import csr_array, diags_array, hstack

    n, columns = len(labels[0]), []
    for found in labels:
        sizes = np.maximum(np.bincount(found), 1)
        columns.append(csr_array((sizes[found] ** -0.5, (np.arange(n), found)), shape=(n, len(sizes))))
    graph = hstack(columns, format="csr")
    graph = diags_array((graph @ graph.sum(axis=0)) ** -0.5) @ graph
    # Of the small dense product: a Lanczos method misses vectors of equal values, as groups apart have.
    products = (graph.T @ graph).toarray()
    n_columns = len(products)
    _, right = eigh(products, subset_by_index=(n_columns - k, n_columns - 1))
    vectors = graph @ right
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return lloyd(vectors, k, seed=seed, n_starts=4).predict(vectors).astype(np.int64)


@dataclass
class _Progress:
    """Steps of all kinds, counted together, and the losses that belong to them."""

    run: Run
    total: int
    done: int = 0

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        if self.run.on_step:
            self.run.on_step(self.done, self.total, {})

    def losses(self, name: str) -> Callable[[float], None]:
        """Keeps each loss of a kind in a curve of this name."""
        curve = self.run.curves.setdefault(name, [])

        def keep(loss: float) -> None:
            curve.append(loss)
            self.step()

        return keep
