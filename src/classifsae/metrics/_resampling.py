"""How much of a score is chance: over the sentences it was measured on, and those it was learned from."""

from collections.abc import Mapping
from math import isnan

import torch

from classifsae.activations import Activations, Guidance
from classifsae.activity import activating_sets
from classifsae.bottleneck import Evaluation
from classifsae.concepts.base import ConceptMethod, codes_of
from classifsae.metrics._stability import stability_over
from classifsae.metrics.base import Metric, mean
from classifsae.tensors import Tail


def sampling_errors(
    metrics: Mapping[str, Metric], evaluation: Evaluation, *, n_halves: int, seed: int = 42
) -> dict[str, float]:
    """Standard error of every score over the sentences that it was measured on.

    The spread (root mean square) of the score on random halves of the sentences around its mean over them. A
    half that is drawn without replacement strays from the whole by as much as the whole strays from all
    sentences there could be, so that nothing is rescaled. Not the bootstrap: that draws sentences twice, and
    a sentence is too much like itself for scores of pairs, such as ConceptSim. Whole texts are drawn where
    rows are windows of them.

    Args:
        metrics: by name.
        evaluation: of which halves are taken.
        n_halves: random halves.
        seed: of these; the same for all methods.
    Returns:
        By score, those without a number left out.
    Source: Politis, Romano & Wolf 1999, ch. 2 (subsampling).
    """
    draws = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {}
    for _ in range(n_halves):
        half = _half(evaluation, draws)
        for metric in metrics.values():
            for score in metric.measure(half).scores():
                found.setdefault(score.name, []).append(score.value)
    return {
        name: mean([(value - mean(values)) ** 2 for value in values]) ** 0.5
        for name, values in found.items()
        if not any(map(isnan, values))
    }


def _half(evaluation: Evaluation, draws: torch.Generator) -> Evaluation:
    """The evaluation of a random half of the texts."""
    documents = evaluation.documents
    owners = torch.arange(len(evaluation.codes)) if documents is None else documents.cpu()
    names = owners.unique()
    chosen = names[torch.randperm(len(names), generator=draws)[: (len(names) + 1) // 2]]
    return evaluation.take(torch.isin(owners, chosen).nonzero().flatten())


def stability_over_samples(
    recipe: ConceptMethod,
    train: Activations,
    tail: Tail,
    test: Activations,
    *,
    guidance: Guidance | None = None,
    share: float = 0.8,
    n_samples: int = 5,
    seed: int = 42,
) -> tuple[float, float]:
    """Whether a method finds the same concepts again in other sentences: ``stability`` of fits on parts.

    Args:
        recipe: fitted once for each sample.
        train: of which samples are drawn, without replacement.
        tail: the rest of the classifier.
        test: on which activating sets are compared.
        guidance: of the training texts, for a method that takes it.
        share: of the training sentences in a sample.
        n_samples: fits; all pairs of them are compared.
        seed: of the samples.
    Returns:
        Stability, and that beyond what the predicted class makes alike; both at most 1.
    """
    draws, sets = torch.Generator().manual_seed(seed), []
    for _ in range(n_samples):
        rows = torch.randperm(len(train), generator=draws)[: round(share * len(train))].sort().values
        guided = None if guidance is None else guidance.take(rows)
        concepts = recipe.fit(train.take(rows), tail, guidance=guided)
        sets.append(activating_sets(codes_of(concepts, test)).sets)
    return mean(stability_over(sets)), mean(stability_over(sets, test.predictions))
