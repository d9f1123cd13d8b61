"""Do the concepts mean something beyond the label? How alike and how nameable their sentences are."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize, one_hot

from classifsae.activity import sizes_of
from classifsae.bottleneck import Evaluation
from classifsae.bounds import Seed
from classifsae.concepts.kmeans import cluster
from classifsae.metrics._distinct import distinct_concepts, within_classes
from classifsae.metrics._similarity import similarity_within
from classifsae.metrics.base import Metric, Quantity, Result, mean
from classifsae.tensors import Bool, Float, Int, Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COVERED = 0.95
"""Concepts whose activating sets cover a smaller share of the sentences have no ConceptSim share."""

_NO_ROOM = 1e-3
"""Cosine by which clusters must be more alike than the classes for a share to mean something."""

_N_STARTS, _N_COMPONENTS, _RIDGE, _FEWEST = 3, 100, 10.0, 3


@final
@dataclass(frozen=True)
class FacetsResult(Result):
    """What the concepts of one test set mean beyond the label."""

    concept_sim_share: Annotated[
        float,
        Quantity(
            "ConceptSim within the predicted class: 0 as the class itself, 1 as clusters of embeddings",
            "higher",
            low=-math.inf,
            high=math.inf,
        ),
    ]
    concept_sim_share_tfidf: Annotated[
        float,
        Quantity(
            "the same, judged by TF-IDF vectors instead of the encoder",
            "higher",
            low=-math.inf,
            high=math.inf,
        ),
    ]
    nameability: Annotated[
        float,
        Quantity(
            "held-out AUC within the class of telling a concept's sentences by their words (0.5: chance)",
            "higher",
        ),
    ]
    n_clusters: Annotated[
        int, Quantity.count("clusters of embeddings compared with: one per distinct concept")
    ]


@final
class Facets(Metric):
    """ConceptSim within the predicted class, by two judges, and how well words tell a concept's sentences.

    ConceptSim within the class is the mean cosine of two sentences of one predicted class on which the same
    concept is strongly active, over all such pairs. With C that of the concepts, P that of the classes
    themselves and E that of as many k-means clusters of the embeddings as there are distinct concepts,

        share = (C - P) / (E - P),  only where the activating sets cover 95 % of the sentences, and there
                                    are three sentences or more per concept.

    The second judge (TF-IDF, 100 components) took no part in any method. Nameability is the AUC, on the half
    of the sentences that it was not fitted on and within each predicted class, of a ridge regression from
    words to membership; mean over concepts, weighted by sentences. Duplicates count as one concept.

    Attributes:
        seed: of clusters, components and halves.
    """

    needs_sentences: ClassVar[bool] = True

    seed: Seed = 42

    def measure(self, evaluation: Evaluation) -> FacetsResult:
        """Score the concepts of an evaluation.

        Raises:
            ConfigError: the evaluation has no sentences.
        """
        sentences = self.require(evaluation.sentences)
        classes = evaluation.original.argmax(dim=1)
        sets = distinct_concepts(evaluation).sets
        embeddings = sentences.embeddings.to(evaluation.codes)
        by_encoder = by_words = math.nan
        vocabulary = shared_words(sentences.texts)
        covered = len(sets) and sets.any(dim=0).double().mean() >= COVERED
        if covered and len(classes) >= _FEWEST * len(sets):
            clusters = clusters_of(embeddings, len(sets), seed=self.seed)
            by_encoder = share(sets, clusters, classes, embeddings)
            if len(vocabulary) > 1:
                words = tfidf(sentences.texts, vocabulary, seed=self.seed).to(embeddings)
                by_words = share(sets, clusters, classes, words)
        named = len(sets) and vocabulary
        return FacetsResult(
            concept_sim_share=by_encoder,
            concept_sim_share_tfidf=by_words,
            nameability=nameability(sentences.texts, vocabulary, sets, classes, seed=self.seed)
            if named
            else math.nan,
            n_clusters=len(sets),
        )


def clusters_of(embeddings: Float[Tensor, "n e"], k: int, *, seed: int) -> Bool[Tensor, "k n"]:
    """The k-means clusters of the embeddings, as sets."""
    centres = cluster(embeddings, k, seed=seed, n_starts=_N_STARTS)
    nearest = (embeddings @ centres.T - centres.square().sum(dim=1) / 2).argmax(dim=1)
    return one_hot(nearest, k).T.bool()


def share(
    sets: Bool[Tensor, "g n"],
    clusters: Bool[Tensor, "k n"],
    classes: Int[Tensor, " n"],
    judge: Float[Tensor, "n e"],
) -> float:
    """How far ConceptSim within the class has come from the classes themselves to the clusters.

    NaN where the clusters are no more alike than the classes: there is no way to go.
    """
    n_classes = int(classes.max()) + 1
    whole = torch.ones(1, len(classes), dtype=torch.bool, device=sets.device)
    own, floor, ceiling = (
        concept_sim(within_classes(some, classes, n_classes), judge) for some in (sets, whole, clusters)
    )
    return (own - floor) / (ceiling - floor) if ceiling - floor > _NO_ROOM else math.nan


def concept_sim(sets: Bool[Tensor, "s n"], judge: Float[Tensor, "n e"]) -> float:
    """Mean cosine of the pairs of different sentences that share a set, over all pairs of all sets."""
    sizes = sizes_of(sets).double()
    return mean(similarity_within(sets, judge).tolist(), (sizes * (sizes - 1) / 2).tolist())


@lru_cache(maxsize=1)  # every method of a run asks for those of the same texts
def shared_words(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The words that at least two texts have, and at most half of them; none where texts share no words."""
    from sklearn.feature_extraction.text import CountVectorizer

    words_of = CountVectorizer().build_analyzer()
    n_texts = Counter(word for text in texts for word in set(words_of(text)))
    return tuple(sorted(word for word, n in n_texts.items() if 2 <= n <= len(texts) / 2))


@lru_cache(maxsize=1)
def tfidf(texts: tuple[str, ...], vocabulary: tuple[str, ...], *, seed: int) -> Float[Tensor, "n r"]:
    """Unit vectors of the texts: leading components of TF-IDF; 0 for a text without any of the words."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    counts = TfidfVectorizer(sublinear_tf=True, vocabulary=vocabulary).fit_transform(texts)
    n_components = min(_N_COMPONENTS, min(counts.shape) - 1)
    found = TruncatedSVD(n_components, random_state=seed).fit_transform(counts)
    return normalize(torch.from_numpy(found), dim=1)


def nameability(
    texts: tuple[str, ...],
    vocabulary: tuple[str, ...],
    sets: Bool[Tensor, "g n"],
    classes: Int[Tensor, " n"],
    *,
    seed: int,
) -> float:
    """Mean AUC of memberships from words, by concept, class and half, weighted by sentences of the concept.

    Cells with fewer than 3 sentences in the set, or outside of it, have no AUC.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.metrics import roc_auc_score

    words = CountVectorizer(binary=True, vocabulary=vocabulary).fit_transform(texts).astype(float)
    member, of_class = sets.T.cpu().numpy(), classes.cpu().numpy()
    order = np.random.default_rng(seed).permutation(len(texts))
    halves, aucs, weights = np.array_split(order, 2), [], []
    for learn, judge in (halves, halves[::-1]):
        for c in np.unique(of_class):
            fit, held = learn[of_class[learn] == c], judge[of_class[judge] == c]
            said, true = ridge_of_words(words[fit], member[fit], words[held]), member[held]
            for j in range(member.shape[1]):
                n_in = int(true[:, j].sum())
                if _FEWEST <= n_in <= len(held) - _FEWEST:
                    aucs.append(float(roc_auc_score(true[:, j], said[:, j])))
                    weights.append(float(n_in))
    return mean(aucs, weights)


def ridge_of_words(
    words: "csr_matrix", wanted: NDArray[np.bool_], others: "csr_matrix"
) -> NDArray[np.float64]:
    """Ridge regression from the words of some texts, in the dual, and what it says of others."""
    centre = wanted.mean(axis=0) if len(wanted) else np.zeros(wanted.shape[1])
    gram = (words @ words.T).toarray() + _RIDGE * np.eye(len(wanted))
    return (others @ words.T) @ np.linalg.solve(gram, wanted - centre)
