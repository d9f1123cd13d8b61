"""Do the concepts mean something? How alike the sentences are that activate the same ones."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

from classifsae.bottleneck import Evaluation
from classifsae.metrics._similarity import (
    overlap_of,
    pair_moments,
    sentence_similarity,
    similarity_within,
    strongest,
)
from classifsae.metrics.base import Metric, OfConcept, Quantity, Result, mean


@dataclass(frozen=True)
class ConceptMeaning(OfConcept):
    """How alike the sentences are that activate one concept.

    Attributes:
        threshold: an activation above this counts: the natural break; NaN where all are equal.
        n_activating: sentences in the activating set.
        concept_sim: their mean pairwise cosine, in [-1, 1]; NaN for fewer than two.
    """

    threshold: float
    n_activating: int
    concept_sim: float


@final
@dataclass(frozen=True)
class InterpretabilityResult(Result):
    """Interpretability on one test set."""

    concept_sim: Annotated[
        float,
        Quantity.cosine(
            "mean cosine of two sentences that activate the same concept, over all such pairs", "higher"
        ),
    ]
    concept_sim_plain: Annotated[float, Quantity.cosine("the same, every concept counting alike", "higher")]
    dataset_cosine_mean: Annotated[
        float, Quantity.cosine("mean cosine of any two test sentences: the baseline")
    ]
    dataset_cosine_variance: Annotated[float, Quantity("variance of that cosine", unit="cosine")]
    sentence_sim: Annotated[
        Mapping[int, float],
        Quantity.cosine(
            "mean cosine of a sentence to those that share exactly k of its 5 strongest concepts", "higher"
        ),
    ]
    n_sentence_sim: Annotated[Mapping[int, int], Quantity.count("sentences that have such a neighbour")]
    n_activated: Annotated[int, Quantity.count("concepts that any sentence activates")]
    jaccard: Annotated[float, Quantity("overlap of two activating sets, mean over pairs", "lower")]
    redundancy: Annotated[
        float, Quantity.count("concepts that activate on a covered sentence", "lower", low=1)
    ]
    coverage: Annotated[float, Quantity("sentences that activate any concept")]
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

    def measure(self, evaluation: Evaluation) -> InterpretabilityResult:
        """Score the concepts of an evaluation.

        Raises:
            ConfigError: the evaluation has no sentences.
        """
        embeddings = self.require(evaluation.sentences).embeddings.to(evaluation.codes)
        activating = evaluation.activating
        within = similarity_within(activating.sets, embeddings).tolist()
        sizes = activating.sizes.tolist()
        overlap = overlap_of(activating.sets)
        cosine_mean, cosine_variance = pair_moments(embeddings)
        sentence_sim, n_sentence_sim = sentence_similarity(
            strongest(evaluation.codes), embeddings, on_step=evaluation.on_step
        )
        latents, classes = evaluation.concepts.kept.tolist(), evaluation.concepts.segment_of.tolist()
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
