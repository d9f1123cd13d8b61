"""What every golden test of a fitted method compares: choice, codes, logits and scores."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from classifsae.activations import Activations
from classifsae.bottleneck import evaluate
from classifsae.concepts import Coder, ConceptMethod
from classifsae.metrics import score
from classifsae.metrics.causality import ConceptEffect, SegmentEffect
from classifsae.storage import read_tensors
from classifsae.tensors import Tail


@dataclass(frozen=True)
class Published:
    """A coder with the published weights, and what the published code made of it on the test split."""

    recipe: ConceptMethod
    coder: Coder
    folder: Path
    test: Activations
    tail: Tail

    @property
    def told(self) -> dict[str, Any]:
        return json.loads((self.folder / "test_scores.json").read_text())

    def agrees(self, *, codes: float, logits: float) -> None:
        """Everything that is recorded, by the published protocol; codes and logits to these tolerances."""
        told, recorded = self.told, read_tensors(self.folder / "test_eval.safetensors")
        concepts = self.recipe.keep_as_published(self.coder, self.test)
        assert concepts.kept.tolist() == told["selected"]
        assert [[told["selected"][j] for j in part] for part in concepts.segments] == told["segments"]
        view = evaluate(concepts, self.tail, self.test)
        assert largest(view.codes - recorded["codes"]) <= codes
        assert largest(view.rebuilt - recorded["logits_rebuilt"]) <= logits
        scores = score(concepts, self.tail, self.test)
        assert scores.completeness.recovery_accuracy == pytest.approx(
            told["completeness"]["Recovery accuracy"], abs=1e-6
        )
        for mine, theirs in zip(scores.causality.concepts, told["conditional"], strict=True):
            assert (mine.latent, mine.support) == (theirs["feature"], theirs["n"])
            assert_effect(mine, theirs)
        for part, theirs in zip(scores.causality.segments, told["global"], strict=True):
            removed = [told["selected"][j] for j in part.positions]
            assert (part.size, part.class_index, removed) == (
                theirs["size"],
                theirs["cls"],
                theirs["features"],
            )
            assert_effect(part, theirs)


def assert_effect(mine: ConceptEffect | SegmentEffect, theirs: dict[str, float]) -> None:
    assert mine.flip_rate == pytest.approx(theirs["flip"], abs=1e-4)
    assert mine.tvd == pytest.approx(theirs["tvd"], abs=1e-4)
    assert mine.accuracy_change == pytest.approx(theirs["acc"], abs=1e-4)


def largest(gap: torch.Tensor) -> float:
    return float(gap.detach().abs().max())
