"""Topic coherence: against the formulas written as loops, and on topics that do and do not hold together."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from classifsae.activations import Activations
from classifsae.concepts.random import Random
from classifsae.meaning.sentences import Sentences
from classifsae.meaning.words import WordOptions, count_terms, tokenise
from classifsae.metrics import coherence as module
from classifsae.metrics import score
from classifsae.metrics.coherence import Coherence, CoherenceResult, coherence_of, top_words

pytest.importorskip("gensim")

EPSILON = 1e-12  # gensim's, so that pairs that never meet have a logarithm
TEXTS = [
    ("oil", "price", "bank"),
    ("oil", "price"),
    ("gold", "medal"),
    ("gold", "medal", "oil"),
    ("bank",),
] * 3


def slow_pmi(topic: tuple[str, ...], *, normalised: bool) -> float:
    """Mean over pairs of words; all texts are shorter than a window, so each is one."""
    values = []
    for a, b in itertools.combinations(topic, 2):
        p_a, p_b, both = (
            sum(set(words) <= set(t) for t in TEXTS) / len(TEXTS) for words in ([a], [b], [a, b])
        )
        pmi = math.log((both + EPSILON) / (p_a * p_b))
        values.append(pmi / -math.log(both + EPSILON) if normalised else pmi)
    return sum(values) / len(values)


def test_uci_and_npmi_are_means_over_pairs():
    topics = [("oil", "price"), ("gold", "medal", "oil"), ("price", "medal")]
    found = coherence_of(topics, TEXTS)
    assert found["c_uci"] == pytest.approx([slow_pmi(t, normalised=False) for t in topics])
    assert found["c_npmi"] == pytest.approx([slow_pmi(t, normalised=True) for t in topics])
    assert found["c_v"][0] > found["c_v"][2]


def test_a_topic_of_one_word_or_none_is_not_a_number():
    found = coherence_of([("oil",), ("oil", "price"), ()], TEXTS)
    assert [math.isnan(value) for value in found["c_v"]] == [True, False, True]
    assert all(math.isnan(value) for value in coherence_of([()], TEXTS)["c_npmi"])


def test_rare_and_ubiquitous_words_do_not_count():
    texts = tuple(f"everywhere {'often' if i % 2 else 'seldom' if i > 16 else 'common'}" for i in range(20))
    tokens = tokenise(texts, WordOptions(language="none"))
    counts = count_terms([t.lemmas for t in tokens], max_length=1)
    assert counts[("seldom",)] < 5
    assert top_words(tokens, [list(range(20))]) == [("often", "common")]


def test_means_are_weighted_by_activating_sets(train: Activations, test: Activations, tail: nn.Linear):
    words = (("oil", "price", "bank"), ("gold", "medal", "team"), ("moon", "orbit", "probe"))
    texts = tuple(" ".join(words[int(c)][:2] + words[i % 3][2:]) for i, c in enumerate(test.predictions))
    embeddings = normalize(torch.ones(len(test), 2), dim=1)
    concepts = Random(n_concepts=6, top_k=2).fit(train, tail)
    sentences = Sentences(texts, embeddings, "same")
    scores = score(concepts, tail, test, metrics={"coherence": Coherence()}, sentences=sentences)
    entries = scores.results["coherence"].as_json()["concepts"]
    alive = [e for e in entries if len(e["words"]) > 1]  # type: ignore[union-attr]
    total = sum(e["n_activating"] for e in alive)
    for measure in ("c_v", "c_uci", "c_npmi"):
        expected = sum(e[measure] * e["n_activating"] for e in alive) / total
        (found,) = [s.value for s in scores.flat() if s.name == measure]
        assert found == pytest.approx(expected)


def test_of_many_concepts_a_sample_is_scored_as_before(
    train: Activations, test: Activations, tail: nn.Linear, monkeypatch: pytest.MonkeyPatch
):
    concepts = Random(n_concepts=5).fit(train, tail)
    sentences = Sentences(
        texts=tuple(f"{'oil price' if i % 2 else 'gold medal'} win" for i in range(len(test))),
        embeddings=normalize(torch.ones(len(test), 3), dim=1),
        encoder="none",
    )

    def measured() -> CoherenceResult:
        metrics = {"coherence": Coherence(words=WordOptions(language="none"))}
        result = score(concepts, tail, test, metrics=metrics, sentences=sentences).results["coherence"]
        assert isinstance(result, CoherenceResult)
        return result

    whole = measured().concepts
    monkeypatch.setattr(module, "MOST_CONCEPTS", 3)
    sampled = measured()
    assert [math.isnan(c.c_v) for c in sampled.concepts] == [False, True, False, True, False]
    assert [c.c_npmi for c in sampled.concepts[::2]] == [c.c_npmi for c in whole[::2]]
    assert sampled.n_coherent == 3
    assert [c.words for c in sampled.concepts] == [c.words for c in whole]
