"""Concept methods: one public file each. ``recipe.fit(train, tail)`` gives fitted concepts."""

from classifsae.concepts._edits import Edits, Merge, Split, edited
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts._optimise import Run, Spent
from classifsae.concepts._shared import load_concepts
from classifsae.concepts._shown import Concept, ScoreCheck
from classifsae.concepts.base import METHODS, Coder, ConceptMethod, Concepts

__all__ = [
    "METHODS",
    "Coder",
    "Concept",
    "ConceptMethod",
    "Concepts",
    "Edits",
    "LinearCoder",
    "Merge",
    "Run",
    "ScoreCheck",
    "Spent",
    "Split",
    "edited",
    "load_concepts",
]
