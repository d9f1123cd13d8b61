"""From activations and scores to what a page shows."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import classifsae as cs
from classifsae.activations import Activations
from classifsae.activity import activating_sets
from classifsae.bottleneck import evaluate
from classifsae.concepts import Concepts
from classifsae.data import Texts
from classifsae.errors import ConfigError, MismatchError, StorageError
from classifsae.explaining.contributions import mean_contributions
from classifsae.meaning.descriptions import ActiveSentence, Description, Word
from classifsae.reporting import About
from classifsae.reporting.page.build import Fit, build, concept_map, histogram, thinned
from classifsae.reporting.page.page import page
from classifsae.reporting.page.stored_scores import ConceptScores


@pytest.fixture(scope="module")
def concepts(train: Activations, tail: nn.Linear) -> Concepts:
    method = cs.ClassifSAE(n_concepts=5, n_latents=24, top_k=4, n_vectors=6000, batch_size=60, seed=1)
    return method.fit(train, tail)


@pytest.fixture(scope="module")
def texts(test: Activations) -> Texts:
    return Texts(
        texts=tuple(f"sentence number {i}" for i in range(len(test))),
        labels=tuple(test.labels.tolist()),
        ids=test.ids,
        label_names=("red", "green", "blue"),
    )


@pytest.fixture(scope="module")
def scores(concepts: Concepts, test: Activations, tail: nn.Linear) -> cs.Scores:
    return cs.score(concepts, tail, test)


def as_json(scores: cs.Scores) -> dict[str, object]:
    return {name: result.as_json() for name, result in scores.results.items()}


def test_a_card_repeats_the_scores_of_its_concept(
    concepts: Concepts, test: Activations, texts: Texts, tail: nn.Linear, scores: cs.Scores
):
    flat = {s.name: s.value for s in scores.flat()}
    report = build(
        [Fit("mine", 3, concepts, as_json(scores))], [record(seed=3, **flat)], test, texts, tail
    )  # fmt: skip
    (method,) = report.methods
    assert (method.label, method.seed, method.method, method.n_concepts) == (
        "mine", 3, "classifsae", len(concepts),
    )  # fmt: skip
    assert method.recovery == scores.completeness.recovery_accuracy
    codes = concepts.encode(test.hidden)
    by_latent = {card.latent: card for card in method.concepts}
    for effect in scores.causality.concepts:
        card = by_latent[effect.latent]
        assert (card.class_index, card.scores.support) == (effect.class_index, effect.support)
        if effect.support:
            assert (card.scores.flip_rate, card.scores.tvd) == (effect.flip_rate, effect.tvd)
        share = (codes[:, effect.position].abs() > 1e-6).double().mean().item()
        assert card.activation_rate == pytest.approx(100 * share)
        assert card.scores.concept_sim is None


def test_concepts_come_by_class_the_most_influential_first(
    concepts: Concepts, test: Activations, texts: Texts, tail: nn.Linear, scores: cs.Scores
):
    report = build([Fit("mine", 1, concepts, as_json(scores))], [], test, texts, tail)
    keys = [(card.class_index, -(card.influence or 0)) for card in report.methods[0].concepts]
    assert keys == sorted(keys)


def test_without_scores_everything_is_still_listed_and_shown(
    concepts: Concepts, test: Activations, texts: Texts
):
    report = build([Fit("mine", 1, concepts, {})], [record()], test, texts)
    card = report.methods[0].concepts[0]
    assert card.scores == ConceptScores()
    assert (card.influence, report.methods[0].recovery) == (None, None)
    assert card.name == f"concept {card.latent}"
    assert card.examples[0].activation == max(example.activation for example in card.examples)
    assert "mine" in page(report)


def record(**changes: object) -> dict[str, object]:
    own = {"dataset": "d", "backbone": "b", "method": "mine", "seed": 1, "role": "method", "n_concepts": 5}
    return own | changes


def test_descriptions_give_names_words_and_sentences(concepts: Concepts, test: Activations, texts: Texts):
    described = [
        Description(j, latent, f"name {j}", (Word("word", 1.0),), (ActiveSentence(7, 2.5),))
        for j, latent in enumerate(concepts.kept.tolist())
    ]
    report = build([Fit("mine", 1, concepts, {}, described)], [], test, texts)
    for card in report.methods[0].concepts:
        assert card.name == f"name {concepts.kept.tolist().index(card.latent)}"
        (example,) = card.examples
        assert (example.text, example.activation) == ("sentence number 7", 2.5)
        assert (example.label, example.prediction) == (int(test.labels[7]), int(test.predictions[7]))


def test_mistakes_are_the_surest_first_and_name_what_moves_them(
    concepts: Concepts, test: Activations, texts: Texts, tail: nn.Linear
):
    report = build([Fit("mine", 1, concepts, {})], [], test, texts, tail)
    wrong = (test.predictions != test.labels).nonzero().flatten().tolist()
    assert report.n_mistakes == len(wrong) == len(report.mistakes)
    assert report.accuracy == pytest.approx(1 - len(wrong) / len(test))
    sure = [mistake.confidence for mistake in report.mistakes]
    assert sure == sorted(sure, reverse=True)
    # A naive twin: take each concept away by hand.
    view = evaluate(concepts, tail, test)
    mistake = report.mistakes[0]
    row = texts.texts.index(mistake.text)
    for behind in mistake.behind["mine"]:
        codes = view.codes[row : row + 1].clone()
        codes[0, concepts.kept.tolist().index(behind.latent)] = 0
        after = view.bottleneck.logits(codes, view.norms[row : row + 1]).softmax(dim=1)[0]
        before = view.rebuilt[row].softmax(dim=0)
        change = (after - before)[mistake.prediction].item()
        assert behind.change == pytest.approx(change, abs=1e-6)
    sizes = [abs(behind.change) for behind in mistake.behind["mine"]]
    assert sizes == sorted(sizes, reverse=True)


def test_the_confusion_counts_every_sentence_once(concepts: Concepts, test: Activations, texts: Texts):
    report = build([Fit("mine", 1, concepts, {})], [], test, texts)
    assert sum(map(sum, report.confusion)) == len(test)
    assert report.confusion[1][2] == int(((test.labels == 1) & (test.predictions == 2)).sum())


def test_a_classifier_that_makes_no_mistake_has_none(
    concepts: Concepts, test: Activations, texts: Texts, tail: nn.Linear
):
    right = replace(test, labels=test.predictions)
    same = replace(texts, labels=tuple(test.predictions.tolist()))
    report = build([Fit("mine", 1, concepts, {})], [record()], right, same, tail)
    assert (report.accuracy, report.mistakes) == (1, ())
    assert "gets every test sentence right" in page(report)


def test_yardsticks_and_methods_of_many_concepts_are_not_listed(
    train: Activations, test: Activations, texts: Texts, tail: nn.Linear
):
    random = cs.Random(n_concepts=4, top_k=2).fit(train, tail)
    wide = Concepts(
        coder=random.coder, kept=torch.zeros(51, dtype=torch.int64), class_activation=torch.ones(51, 3),
        activation=torch.ones(51), source=random.source, method="ica",
    )  # fmt: skip
    report = build([Fit("lowest", 1, random, {}), Fit("wide", 1, wide, {})], [], test, texts, tail)
    assert report.listed == ()
    assert [m.left_out for m in report.methods] == [
        "it is a yardstick (what random directions give)",
        "it has 51 concepts, and at most 50 are listed",
    ]


def test_concepts_and_classes_stand_amid_their_sentences_on_the_map(concepts: Concepts, test: Activations):
    classes = torch.nn.functional.one_hot(test.predictions, 3).T.bool()
    found = concept_map(test, torch.cat([classes, torch.zeros(1, len(test), dtype=torch.bool)]))
    assert found is not None
    assert found.concepts == (*found.prototypes, None)
    everyone = concept_map(test, torch.ones(1, len(test), dtype=torch.bool))
    assert everyone is not None
    assert everyone.concepts[0] == pytest.approx((0, 0), abs=1e-5)  # the plane goes through the mean of all


def test_facets_cover_a_class_and_labels_are_none(train: Activations, test: Activations, texts: Texts):
    """One concept per predicted class says the class and no more; each sentence of a class is at no edge."""
    labels = cs.Classes().fit(train, lambda hidden: hidden[:, :3])
    same = replace(test, logits=test.hidden[:, :3])
    (method,) = build([Fit("mine", 1, labels, {})], [record(role="method")], same, texts).methods
    assert all(card.is_label and card.edge is not None for card in method.concepts)
    assert [card.coverage[card.class_index] for card in method.concepts] == [1, 1, 1]
    assert method.covered == (0, 0, 0)
    assert [method.facets(c) for c in range(3)] == [[], [], []]


def test_a_concept_on_half_of_a_class_is_a_facet_with_its_weakest_sentence(
    concepts: Concepts, test: Activations, texts: Texts
):
    (method,) = build([Fit("mine", 1, concepts, {})], [record()], test, texts).methods
    sets = activating_sets(concepts.encode(test.hidden)).sets
    for c in range(3):
        members = test.predictions == c
        own = method.facets(c)
        shares = [card.coverage[c] for card in own]
        assert shares == sorted(shares, reverse=True)
        positions = [concepts.kept.tolist().index(card.latent) for card in own]
        assert shares == pytest.approx([float((sets[j] & members).sum() / members.sum()) for j in positions])
        together = (sets[positions].any(dim=0) & members).sum() / members.sum()
        assert method.covered[c] == pytest.approx(float(together))
        for card, j in zip(own, positions, strict=True):
            strongest = concepts.encode(test.hidden)[sets[j] & members, j].sort(descending=True).values
            shown = [example.activation for example in card.typical]
            assert shown == pytest.approx(strongest[:3].tolist())
            assert all(example.prediction == c for example in card.typical)
            assert (card.edge is None) == (len(strongest) <= 3)
            if card.edge:
                assert card.edge.activation == pytest.approx(float(strongest[-1]))


def test_typical_sentences_are_different_texts(concepts: Concepts, test: Activations, texts: Texts):
    same = replace(texts, texts=("one", "two") * (len(texts) // 2))
    (method,) = build([Fit("mine", 1, concepts, {})], [record()], test, same).methods
    for card in method.concepts:
        shown = [example.text for example in card.typical]
        assert len(shown) == len(set(shown)) <= 2
        assert card.edge is None


def test_a_yardstick_of_ones_own_is_known_by_its_record(concepts: Concepts, test: Activations, texts: Texts):
    report = build([Fit("mine", 1, concepts, {})], [record(role="ceiling")], test, texts)
    assert report.methods[0].left_out == "it is the ceiling (what is recovered with nothing left out)"
    assert report.yardsticks == {"mine"}


def test_the_map_has_the_plane_along_which_unit_vectors_vary_most(concepts: Concepts, test: Activations):
    sets = activating_sets(concepts.encode(test.hidden)).sets
    found = concept_map(test, sets)
    assert found is not None
    unit = torch.nn.functional.normalize(test.hidden, dim=1)
    standard = (unit - unit.mean(dim=0)) / unit.std(dim=0, correction=0)
    variances = torch.linalg.eigvalsh(torch.cov(standard.T))
    assert found.explained == pytest.approx((variances[-2:].flip(0) / variances.sum()).tolist(), abs=1e-5)
    places = torch.tensor([(x, y) for x, y, _ in found.sentences])
    assert (places.T @ places)[0, 1].item() == pytest.approx(0, abs=1e-2)
    assert concept_map(test, sets) == found


def test_texts_of_other_sentences_are_refused(concepts: Concepts, test: Activations, texts: Texts):
    other = replace(texts, ids=texts.ids[::-1])
    with pytest.raises(MismatchError, match="not of the same sentences in the same order"):
        build([Fit("mine", 1, concepts, {})], [], test, other)


@pytest.mark.parametrize(
    ("causality", "said"),
    [
        ({"concepts": [{"position": 99, "tvd": 0.1}]}, "more concepts than there are"),
        ({"concepts": [{"position": 0, "tvd": "x"}]}, "tvd"),
    ],
)
def test_damaged_scores_are_one_clear_line(
    concepts: Concepts, test: Activations, texts: Texts, causality: dict[str, object], said: str
):
    with pytest.raises(StorageError, match=rf"the scores are damaged \(.*{said}.*\); score the concepts"):
        build([Fit("mine", 1, concepts, {"causality": causality})], [], test, texts)


def test_numbers_of_the_control_are_not_taken_for_those_of_a_concept(
    concepts: Concepts, test: Activations, texts: Texts
):
    control = {"control": {"concepts": [{"position": 0, "tvd": 0.9, "flip_rate": 0.9}]}}
    report = build([Fit("mine", 1, concepts, control)], [], test, texts)
    assert {card.scores.tvd for card in report.methods[0].concepts} == {None}


def test_a_histogram_counts_every_value_once():
    values = torch.tensor([1.0, 1.0, 2.05, 3.4])
    found = histogram(values)
    assert (found.edges[0], found.edges[-1]) == (1.0, pytest.approx(3.4))
    assert (found.counts[0], found.counts[10], found.counts[-1], sum(found.counts)) == (2, 1, 1, 4)
    same = histogram(torch.tensor([2.0, 2.0]))
    assert same.counts == (2,)
    assert same.edges[0] < 2 < same.edges[1]


def test_a_curve_is_thinned_to_means_of_neighbours():
    assert thinned([1.0, 2.0, 3.0], 5) == (1, 2, 3)
    assert thinned([1.0, 3.0, 5.0, 7.0, 10.0], 3) == (2, 6, 10)
    assert thinned([0.0] * 5 + [9.0, 9.0], 3) == (0, 0, 9)
    assert thinned([], 3) == ()


def test_one_line_writes_a_report(
    concepts: Concepts, test: Activations, texts: Texts, tail: nn.Linear, scores: cs.Scores
):
    report = cs.report(concepts, test, scores, texts=texts, tail=tail, descriptions={}, about=About("news"))
    assert report.content.records[0]["method"] == "classifsae"
    assert report.content.about.dataset == "news"
    assert report.content.about.notes == tuple(
        f"classifsae: {note}" for note in scores.notes(texts.label_names)
    )  # fmt: skip
    again = cs.report({"mine": concepts}, test, {"mine": scores}, texts=texts, descriptions={})
    assert again.content.methods[0].label == "mine"


def test_scores_of_other_labels_are_refused(
    concepts: Concepts, test: Activations, texts: Texts, scores: cs.Scores
):
    with pytest.raises(ConfigError, match="concepts of mine and scores of yours; give one score per label"):
        cs.report({"mine": concepts}, test, {"yours": scores}, texts=texts, descriptions={})


def test_voices_are_the_largest_mean_contributions_for_and_against_each_class(
    concepts: Concepts, test: Activations, texts: Texts, tail: nn.Linear
):
    (method,) = build([Fit("mine", 1, concepts, {})], [record()], test, texts, tail).methods
    voices = method.voices
    assert voices is not None
    evaluation = evaluate(concepts, tail, test)
    found = mean_contributions(evaluation)
    heard = found.n_fires >= 5
    for c in range(3):
        values = found.values[heard, c]
        for spoken, sign in ((voices.speak_for[c], 1), (voices.speak_against[c], -1)):
            expected = sorted((sign * v for v in values.tolist() if sign * v >= 0.05), reverse=True)[:4]
            assert [sign * voice.logits for voice in spoken] == pytest.approx(expected)
            for voice in spoken:
                position = concepts.kept.tolist().index(voice.latent)
                assert voice.n_fires == int((evaluation.codes[:, position] != 0).sum())
    emptied = evaluation.without_many(list(range(len(concepts)))).argmax(dim=1)
    assert voices.answers == pytest.approx([(emptied == c).double().mean().item() for c in range(3)])
    assert voices.answer == emptied.mode().values.item()
    assert voices.n_sentences == len(test)


def test_without_a_tail_nobody_speaks(concepts: Concepts, test: Activations, texts: Texts):
    (method,) = build([Fit("mine", 1, concepts, {})], [record()], test, texts).methods
    assert method.voices is None


def test_at_most_five_hundred_sentences_are_heard(
    concepts: Concepts, test: Activations, texts: Texts, tail: nn.Linear, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("classifsae.reporting.page.build.N_HEARD", 20)
    (method,) = build([Fit("mine", 1, concepts, {})], [record()], test, texts, tail).methods
    assert method.voices is not None
    assert method.voices.n_sentences == 20
