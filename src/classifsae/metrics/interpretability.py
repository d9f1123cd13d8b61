"""Do the concepts mean something? How alike the sentences are that activate the same ones."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

from classifsae.activity import activating_sets
from classifsae.bottleneck import Evaluation
from classifsae.metrics._similarity import (
    overlap_of,
    pair_moments,
    sentence_similarity,
    similarity_within,
    strongest,
)
from classifsae.metrics.base import Metric, Quantity, Result, mean


@dataclass(frozen=True)
class ConceptMeaning:
    """How alike the sentences are that activate one concept.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary.
        class_index: class that it belongs to.
        threshold: an activation above this counts: the natural break; not a number where all are equal.
        n_activating: sentences in the activating set.
        concept_sim: their mean pairwise cosine, in [-1, 1]; not a number for fewer than two.
    """

    position: int
    latent: int
    class_index: int
    threshold: float
    n_activating: int
    concept_sim: float


_INFINITY = float("inf")


@final
@dataclass(frozen=True)
class InterpretabilityResult(Result):
    """Interpretability on one test set."""

    concept_sim: Annotated[
        float,
        Quantity(
            "mean cosine of two sentences that activate the same concept, over all such pairs",
            "cosine", -1, 1, "higher",
        ),
    ]  # fmt: skip
    concept_sim_plain: Annotated[
        float, Quantity("the same, every concept counting alike", "cosine", -1, 1, "higher")
    ]
    dataset_cosine_mean: Annotated[
        float, Quantity("mean cosine of any two test sentences: the baseline", "cosine", -1, 1)
    ]
    dataset_cosine_variance: Annotated[float, Quantity("variance of that cosine", "cosine", 0, 1)]
    sentence_sim: Annotated[
        Mapping[int, float],
        Quantity(
            "mean cosine of a sentence to those that share exactly k of its 5 strongest concepts",
            "cosine", -1, 1, "higher",
        ),
    ]  # fmt: skip
    n_sentence_sim: Annotated[
        Mapping[int, int], Quantity("sentences that have such a neighbour", "count", 0, _INFINITY)
    ]
    n_activated: Annotated[int, Quantity("concepts that any sentence activates", "count", 0, _INFINITY)]
    jaccard: Annotated[
        float, Quantity("overlap of two activating sets, mean over pairs", "fraction", 0, 1, "lower")
    ]
    redundancy: Annotated[
        float, Quantity("concepts that activate on a covered sentence", "count", 1, _INFINITY, "lower")
    ]
    coverage: Annotated[float, Quantity("sentences that activate any concept", "fraction", 0, 1)]
    concepts: tuple[ConceptMeaning, ...]


@final
class Interpretability(Metric):
    """ConceptSim, SentenceSim(1..4), and the overlap of activating sets, from sentence embeddings.

    The activating set of a concept is the upper group of the two-class natural break of its activations.

        ConceptSim(j) = mean cosine of two sentences of its activating set
        ConceptSim    = sum over j of w_j ConceptSim(j) / sum w_j,  w_j = n_j (n_j - 1) / 2

    Source: Le Bail et al. 2025 (arXiv:2506.23951).
    """

    needs_sentences: ClassVar[bool] = True

    def measure(self, view: Evaluation) -> InterpretabilityResult:
        """Score the concepts of a view.

        Raises:
            ConfigError: the view has no sentences.
        """
        embeddings = self.sentences_of(view).embeddings.to(view.codes)
        activating = activating_sets(view.codes)
        within = similarity_within(activating.sets, embeddings).tolist()
        sizes = activating.sizes.tolist()
        overlap = overlap_of(activating.sets)
        cosine_mean, cosine_variance = pair_moments(embeddings)
        sentence_sim, n_sentence_sim = sentence_similarity(
            strongest(view.codes), embeddings, on_step=view.on_step
        )
        latents, classes = view.concepts.kept.tolist(), view.concepts.segment_of.tolist()
        shown = [sim if n >= 2 else math.nan for sim, n in zip(within, sizes, strict=True)]
        columns = zip(latents, classes, activating.thresholds.tolist(), sizes, shown, strict=True)
        return InterpretabilityResult(
            concept_sim=mean(within, [n * (n - 1) / 2 for n in sizes]),
            concept_sim_plain=mean(within),
            dataset_cosine_mean=cosine_mean,
            dataset_cosine_variance=cosine_variance,
            sentence_sim=sentence_sim,
            n_sentence_sim=n_sentence_sim,
            n_activated=sum(n > 0 for n in sizes),
            jaccard=overlap.jaccard,
            redundancy=overlap.redundancy,
            coverage=overlap.coverage,
            concepts=tuple(ConceptMeaning(j, *column) for j, column in enumerate(columns)),
        )
