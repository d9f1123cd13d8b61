"""Scores of what concepts know beyond the label, by hand, and the cheats that must not win them."""

import math
from dataclasses import replace

import pytest
import torch

from classifsae.meaning.sentences import Sentences
from classifsae.metrics._probe import probed
from classifsae.metrics.beyond_label import BeyondLabel
from classifsae.metrics.distinct import Distinct
from classifsae.metrics.facets import Facets, FacetsResult, share
from classifsae.metrics.truth import Truth, match
from classifsae.tensors import less_class_mean
from known_world import N_CLASSES, N_TOPICS, World

WORLD = World()


def test_a_row_less_the_mean_of_its_class_by_hand():
    rows = torch.tensor([[1.0], [3.0], [10.0]])
    assert less_class_mean(rows, torch.tensor([0, 0, 1])).flatten().tolist() == [-1, 1, 0]


def test_the_classes_alone_know_nothing_beyond_the_label():
    view = WORLD.evaluate(WORLD.of_class)
    found = BeyondLabel().measure(view)
    assert found.r2_beyond_label == pytest.approx(0, abs=1e-5)
    assert found.runner_up_gain == 0
    facets = Facets().measure(view)
    assert facets.concept_sim_share == pytest.approx(0, abs=1e-5)
    assert facets.concept_sim_share_tfidf == pytest.approx(0, abs=1e-5)
    assert math.isnan(facets.nameability)  # every sentence of the class is in the set


def test_class_and_topic_know_all_there_is():
    logits_of_cells = torch.stack([WORLD.logits[WORLD.cells == j][0] for j in range(6)])
    view = WORLD.evaluate(WORLD.of_cell, logits_of_cells)
    found = BeyondLabel().measure(view)
    assert found.r2_beyond_label > 0.5
    assert found.runner_up_gain > 0.3
    facets = Facets().measure(view)
    assert facets.concept_sim_share == pytest.approx(1, abs=0.1)
    assert facets.nameability == pytest.approx(1, abs=0.01)


def test_codes_shuffled_within_the_class_score_about_nothing():
    """One-hot codes that keep the class win nothing by being one-hot."""
    view = WORLD.evaluate(WORLD.shuffled(WORLD.of_cell))
    assert BeyondLabel().measure(view).r2_beyond_label == pytest.approx(0, abs=0.05)
    facets = Facets().measure(view)
    assert facets.concept_sim_share == pytest.approx(0, abs=0.05)
    assert facets.concept_sim_share_tfidf == pytest.approx(0, abs=0.05)
    assert facets.nameability == pytest.approx(0.5, abs=0.1)


def test_a_duplicated_concept_gains_nothing():
    once, twice = WORLD.of_cell, torch.cat([WORLD.of_cell, WORLD.of_cell], dim=1)
    first, second = Distinct().measure(WORLD.evaluate(once)), Distinct().measure(WORLD.evaluate(twice))
    assert (first.n_used, first.n_distinct) == (6, 6)
    assert (second.n_used, second.n_distinct) == (12, 6)
    assert second.effective_concepts == pytest.approx(first.effective_concepts)
    assert second.groups == tuple((j, j + 6) for j in range(6))
    before, after = Facets().measure(WORLD.evaluate(once)), Facets().measure(WORLD.evaluate(twice))
    assert after.concept_sim_share == pytest.approx(before.concept_sim_share)
    assert after.nameability == pytest.approx(before.nameability)
    assert after.n_clusters == before.n_clusters


def test_concepts_that_cover_little_have_no_share():
    some = WORLD.of_cell[:, :1]
    assert math.isnan(Facets().measure(WORLD.evaluate(some)).concept_sim_share)
    assert Distinct().measure(WORLD.evaluate(some)).distinct_coverage == pytest.approx(
        float((WORLD.cells == 0).double().mean())
    )


def test_a_concept_that_hardly_fires_is_not_counted():
    codes = torch.cat([WORLD.of_cell, torch.zeros(len(WORLD.cells), 1)], dim=1)
    codes[0, -1] = 1.0  # one sentence in 600 is under 0.5 %
    found = Distinct().measure(WORLD.evaluate(codes))
    assert (found.n_used, found.n_distinct, found.n_classes_covered) == (6, 6, N_CLASSES)


def test_the_evenness_of_equal_concepts_is_their_number():
    codes = torch.eye(4)[torch.arange(len(WORLD.cells)) % 4]
    assert Distinct().measure(WORLD.evaluate(codes)).effective_concepts == pytest.approx(4)


def test_the_truth_is_found_by_itself_and_missed_by_the_classes():
    exact = Truth().measure(WORLD.evaluate(WORLD.of_cell))
    assert (exact.truth_f1, exact.n_found, exact.n_well_found, exact.n_false) == (1, 6, 6, 0)
    assert {one.name for one in exact.concepts} == {f"{c}{t}" for c in range(3) for t in range(N_TOPICS)}
    coarse = Truth().measure(WORLD.evaluate(WORLD.of_class))
    assert coarse.truth_f1 < 0.4  # each of three classes is matched with one of two topics
    assert [one.position for one in coarse.concepts].count(None) == 3
    assert Truth().measure(WORLD.evaluate(WORLD.shuffled(WORLD.of_cell))).n_found == 0


def test_probes_are_told_what_concepts_are_not():
    """The states hold the row and the logits, which give class and topic away."""
    coarse = Truth().measure(WORLD.evaluate(WORLD.of_class))
    assert coarse.probe_f1 > 0.95 > coarse.truth_f1
    assert coarse.probe_f1 == Truth().measure(WORLD.evaluate(WORLD.of_cell)).probe_f1
    assert all(one.probe_f1 > 0.9 for one in coarse.concepts)


def test_probes_leave_out_what_too_few_sentences_have_or_lack():
    view = WORLD.evaluate(WORLD.of_cell)
    assert view.sentences is not None
    known = [(*names, "everywhere") for names in view.sentences.concepts or ()]
    known[:3] = [(*names, "rare") for names in known[:3]]
    found = Truth().measure(replace(view, sentences=replace(view.sentences, concepts=tuple(known))))
    by_name = {one.name: one.probe_f1 for one in found.concepts}
    assert math.isnan(by_name["everywhere"])
    assert math.isnan(by_name["rare"])
    assert found.probe_f1 > 0.9


def test_probes_find_nothing_that_is_not_there():
    view = WORLD.evaluate(WORLD.of_cell)
    noise = torch.randn(view.hidden.shape, generator=torch.Generator().manual_seed(0))
    assert Truth().measure(replace(view, hidden=noise)).probe_f1 < 0.2


def test_a_true_concept_of_one_sentence_is_no_trouble_for_probes():
    hidden = torch.eye(12)[:, :4]
    true = torch.zeros(3, 12, dtype=torch.bool)
    true[0, 0], true[1] = True, True  # once, always, never
    told = probed(hidden, true, seed=0)
    assert told[1].all()
    assert not told[2].any()
    assert not told[0, 0]  # the half that judges it knew no example


def test_true_concepts_are_told_apart_by_how_rare_they_are():
    """The topics of the last class are on half as many sentences, and are the only ones found."""
    view = WORLD.evaluate(WORLD.of_cell[:, 4:])
    assert view.sentences is not None
    known = view.sentences.concepts or ()
    kept = [i for i, names in enumerate(known) if names[0] not in ("20", "21") or i % 2]
    parts = {n: getattr(view, n)[kept] for n in ("codes", "norms", "rebuilt", "original", "labels", "hidden")}
    sentences = Sentences(
        tuple(view.sentences.texts[i] for i in kept),
        view.sentences.embeddings[kept],
        "e",
        tuple(known[i] for i in kept),
    )
    found = Truth().measure(replace(view, **parts, sentences=sentences))
    assert found.truth_f1_rare == pytest.approx(2 / 3)  # of three: those two, and one that is missed
    assert found.truth_f1_common == 0


def test_each_true_concept_is_matched_with_one_set_by_hand():
    true = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]).bool()
    sets = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    assert match(sets, true) == [1, 0]
    assert match(sets[:1], true) in ([0, None], [None, 0])


def test_without_true_concepts_the_truth_is_not_a_number():
    view = WORLD.evaluate(WORLD.of_cell)
    assert view.sentences is not None
    unknown = type(view.sentences)(view.sentences.texts, view.sentences.embeddings, "e")
    found = Truth().measure(replace(view, sentences=unknown))
    assert math.isnan(found.truth_f1)
    assert math.isnan(found.probe_f1)
    assert (found.n_true, found.concepts) == (0, ())


def facets_of(texts: tuple[str, ...], n: int) -> FacetsResult:
    """Of the first sentences of the world, under other texts."""
    view = WORLD.evaluate(WORLD.of_cell)
    assert view.sentences is not None
    few = {name: getattr(view, name)[:n] for name in ("codes", "norms", "rebuilt", "original", "labels")}
    sentences = Sentences(texts, view.sentences.embeddings[:n], "e")
    return Facets().measure(replace(view, **few, sentences=sentences))


def test_with_hardly_more_sentences_than_concepts_there_is_no_share():
    found = facets_of(tuple(WORLD.words[:12]), 12)
    assert found.n_clusters > 4
    assert math.isnan(found.concept_sim_share)


def test_clusters_that_are_the_classes_leave_nothing_to_gain():
    view = WORLD.evaluate(WORLD.of_class)
    assert view.sentences is not None
    classes = WORLD.of_class.T.bool()
    assert math.isnan(share(classes, classes, WORLD.classes, view.sentences.embeddings))


def test_texts_that_share_no_word_have_no_scores_by_words():
    found = facets_of(tuple(f"one{i} two{i}" for i in range(120)), 120)
    assert found.concept_sim_share == pytest.approx(1, abs=0.2)
    assert math.isnan(found.concept_sim_share_tfidf)
    assert math.isnan(found.nameability)
