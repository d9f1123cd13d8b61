"""Interpretability against the published implementation, for every method, from its codes and embeddings."""

import json
import math
from pathlib import Path

import pytest
import torch

from classifsae.activity import activating_sets
from classifsae.metrics._similarity import (
    overlap_of,
    pair_moments,
    sentence_similarity,
    similarity_within,
    strongest,
)
from classifsae.metrics.base import mean
from classifsae.storage import read_tensors


@pytest.mark.parametrize("method", ["classifsae", "sae", "ica", "conceptshap", "hiconcept"])
def test_every_similarity_score(golden: Path, method: str):
    told = json.loads((golden / method / "test_scores.json").read_text())
    recorded = read_tensors(golden / method / "test_eval.safetensors")
    embeddings = read_tensors(golden / "sentence_embeddings.safetensors")["embeddings"]
    names, published = list(map(str, told["selected"])), told["interpretability"]

    activating = activating_sets(recorded["codes"])
    rows = [told["selected"].index(latent) for latent in recorded["activating_feature"].tolist()]
    assert torch.equal(activating.sets[rows], recorded["activating"].bool())
    assert activating.thresholds.tolist() == pytest.approx(
        [told["natural_break"][n] for n in names], abs=1e-4
    )

    within, sizes = similarity_within(activating.sets, embeddings).tolist(), activating.sets.sum(dim=1)
    assert within == pytest.approx([told["concept_sim"][n] for n in names], abs=1e-4)
    weighted = mean(within, [n * (n - 1) / 2 for n in sizes.tolist()])
    assert weighted == pytest.approx(published["Weighted Averaged ConceptSim"], abs=1e-4)
    assert mean(within) == pytest.approx(published["Unweighted Averaged ConceptSim"], abs=1e-4)
    baseline = told["dataset_cosine_mean"], told["dataset_cosine_var"]
    assert pair_moments(embeddings) == pytest.approx(baseline, abs=1e-4)

    means, support = sentence_similarity(strongest(recorded["codes"]), embeddings)
    ours = [0.0 if math.isnan(value) else value for value in means.values()]  # the published code says 0
    assert ours == pytest.approx(told["sentence_sim"], abs=1e-4)
    assert list(support.values()) == told["sentence_sim_n"]

    overlap = overlap_of(activating.sets)
    assert overlap.jaccard == pytest.approx(published["avg_jaccard"], abs=1e-4)
    assert overlap.redundancy == pytest.approx(published["redundancy"], abs=1e-4)
    assert overlap.coverage == pytest.approx(published["coverage"], abs=1e-4)
