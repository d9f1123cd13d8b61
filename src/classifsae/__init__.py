"""ClassifSAE: open up a fine-tuned text classifier.

    data     = cs.load_dataset("ag_news")
    model    = cs.finetune("minilm", data.train)
    train    = cs.capture(model, data.train)
    test     = cs.capture(model, data.test)
    concepts = cs.ClassifSAE(n_concepts=20).fit(train, model.tail)  # or cs.Consensus, guided by texts
    scores   = cs.score(concepts, model.tail, test)
    cs.report(concepts, test, scores, texts=data.test, tail=model.tail).save("report/")
    cs.explain(model, concepts, "Oil prices fell after ...")

Names are imported when they are first used, so that ``import classifsae`` is instant.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from classifsae.activations import Activations, Guidance
    from classifsae.auditing.ask import Answer, ask
    from classifsae.auditing.effects import concept_effects
    from classifsae.auditing.held_out import HeldOut, MembershipGap, membership_gap
    from classifsae.auditing.labels import (
        SuspectLabel,
        classifier_probabilities,
        cross_validated_probabilities,
        suspect_labels,
        suspect_rows,
    )
    from classifsae.auditing.mistakes import MistakesByConcept, mistakes_by_concept
    from classifsae.auditing.options import AuditOptions
    from classifsae.auditing.remedy import remedy
    from classifsae.auditing.shortcuts import audit
    from classifsae.classifier.attribution import attribute
    from classifsae.classifier.capture import capture
    from classifsae.classifier.classifier import Classifier
    from classifsae.classifier.tuning.finetune import finetune
    from classifsae.concepts import Coder, Concept, ConceptMethod, Concepts, load_concepts
    from classifsae.concepts.classes import Classes
    from classifsae.concepts.classifsae import ClassifSAE
    from classifsae.concepts.conceptshap import ConceptSHAP
    from classifsae.concepts.consensus import Consensus
    from classifsae.concepts.hiconcept import HIConcept
    from classifsae.concepts.ica import ICA
    from classifsae.concepts.identity import Identity
    from classifsae.concepts.kmeans import KMeans
    from classifsae.concepts.pretrained import Pretrained
    from classifsae.concepts.random import Random
    from classifsae.concepts.sae import SAE
    from classifsae.concepts.whitened_kmeans import WhitenedKMeans
    from classifsae.data import Dataset, Texts, load_dataset, repeated_texts
    from classifsae.explaining.explainer import Explanation, explain
    from classifsae.explaining.typical import typical_of
    from classifsae.meaning.encoder import embed, load_encoder
    from classifsae.meaning.guidance import guide
    from classifsae.meaning.sentences import Sentences
    from classifsae.metrics import Scores, score
    from classifsae.pipeline.in_memory import run
    from classifsae.pipeline.transformer import ConceptTransformer
    from classifsae.pipeline.verify import verify
    from classifsae.progress import progress_bars
    from classifsae.reporting import About, Report, report
    from classifsae.reporting.figures.plots import plot

logging.getLogger("classifsae").addHandler(logging.NullHandler())

__version__ = "0.2.0"

_HOMES = {
    "Activations": "activations",
    "Guidance": "activations",
    "Answer": "auditing.ask",
    "ask": "auditing.ask",
    "concept_effects": "auditing.effects",
    "AuditOptions": "auditing.options",
    "remedy": "auditing.remedy",
    "audit": "auditing.shortcuts",
    "HeldOut": "auditing.held_out",
    "MembershipGap": "auditing.held_out",
    "membership_gap": "auditing.held_out",
    "SuspectLabel": "auditing.labels",
    "classifier_probabilities": "auditing.labels",
    "cross_validated_probabilities": "auditing.labels",
    "suspect_labels": "auditing.labels",
    "suspect_rows": "auditing.labels",
    "MistakesByConcept": "auditing.mistakes",
    "mistakes_by_concept": "auditing.mistakes",
    "attribute": "classifier.attribution",
    "Classifier": "classifier.classifier",
    "capture": "classifier.capture",
    "finetune": "classifier.tuning.finetune",
    "Coder": "concepts",
    "Concept": "concepts",
    "ConceptMethod": "concepts",
    "Concepts": "concepts",
    "load_concepts": "concepts",
    "Classes": "concepts.classes",
    "ClassifSAE": "concepts.classifsae",
    "ConceptSHAP": "concepts.conceptshap",
    "Consensus": "concepts.consensus",
    "HIConcept": "concepts.hiconcept",
    "ICA": "concepts.ica",
    "Identity": "concepts.identity",
    "KMeans": "concepts.kmeans",
    "Pretrained": "concepts.pretrained",
    "Random": "concepts.random",
    "SAE": "concepts.sae",
    "WhitenedKMeans": "concepts.whitened_kmeans",
    "Dataset": "data",
    "Texts": "data",
    "Explanation": "explaining.explainer",
    "explain": "explaining.explainer",
    "typical_of": "explaining.typical",
    "load_dataset": "data",
    "repeated_texts": "data",
    "embed": "meaning.encoder",
    "load_encoder": "meaning.encoder",
    "guide": "meaning.guidance",
    "Scores": "metrics",
    "score": "metrics",
    "About": "reporting",
    "Report": "reporting",
    "report": "reporting",
    "plot": "reporting.figures.plots",
    "Sentences": "meaning.sentences",
    "run": "pipeline.in_memory",
    "verify": "pipeline.verify",
    "progress_bars": "progress",
    "ConceptTransformer": "pipeline.transformer",
}

__all__ = [
    "ICA",
    "SAE",
    "About",
    "Activations",
    "Answer",
    "AuditOptions",
    "Classes",
    "ClassifSAE",
    "Classifier",
    "Coder",
    "Concept",
    "ConceptMethod",
    "ConceptSHAP",
    "ConceptTransformer",
    "Concepts",
    "Consensus",
    "Dataset",
    "Explanation",
    "Guidance",
    "HIConcept",
    "HeldOut",
    "Identity",
    "KMeans",
    "MembershipGap",
    "MistakesByConcept",
    "Pretrained",
    "Random",
    "Report",
    "Scores",
    "Sentences",
    "SuspectLabel",
    "Texts",
    "WhitenedKMeans",
    "ask",
    "attribute",
    "audit",
    "capture",
    "classifier_probabilities",
    "concept_effects",
    "cross_validated_probabilities",
    "embed",
    "explain",
    "finetune",
    "guide",
    "load_concepts",
    "load_dataset",
    "load_encoder",
    "membership_gap",
    "mistakes_by_concept",
    "plot",
    "progress_bars",
    "remedy",
    "repeated_texts",
    "report",
    "run",
    "score",
    "suspect_labels",
    "suspect_rows",
    "typical_of",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'classifsae' has no attribute {name!r}")
    return getattr(import_module(f"classifsae.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
