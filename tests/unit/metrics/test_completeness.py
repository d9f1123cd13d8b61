import dataclasses
import json

import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.bottleneck import evaluate
from classifsae.concepts.identity import Identity
from classifsae.concepts.random import Random
from classifsae.errors import ConfigError, UnknownNameError
from classifsae.metrics import METRICS, Causality, Scores, score
from classifsae.metrics.completeness import Completeness, by_document, class_scores


def test_the_identity_recovers_every_decision(train: Activations, test: Activations, tail: nn.Linear):
    complete = score(Identity().fit(train, tail), tail, test).completeness
    assert complete.recovery_accuracy == 1.0
    assert complete.rebuilt_accuracy == complete.accuracy
    assert complete.rebuilt_cross_entropy == pytest.approx(complete.cross_entropy, rel=1e-4)
    assert complete.activation_rate == pytest.approx(100.0)


def test_recovery_is_agreement_with_the_classifier_and_not_with_the_truth(
    train: Activations, test: Activations, tail: nn.Linear
):
    concepts = Random(n_concepts=12, top_k=4).fit(train, tail)
    view = evaluate(concepts, tail, test)
    other = dataclasses.replace(view, labels=(view.labels + 1) % 3)
    one, two = Completeness().measure(view), Completeness().measure(other)
    hits = [int(a.argmax() == b.argmax()) for a, b in zip(view.rebuilt, view.original, strict=True)]
    assert one.recovery_accuracy == two.recovery_accuracy == pytest.approx(sum(hits) / len(hits))
    assert one.accuracy != two.accuracy


def test_activation_rate_counts_sentences(train: Activations, test: Activations, tail: nn.Linear):
    concepts = Random(n_concepts=12, top_k=4).fit(train, tail)
    view = evaluate(concepts, tail, test)
    rates = [100 * sum(abs(z) > 1e-6 for z in column) / len(test) for column in view.codes.T.tolist()]
    result = Completeness().measure(view)
    assert result.activation_rate == pytest.approx(sum(rates) / len(rates))
    assert result.max_activation_rate == pytest.approx(max(rates))


def test_class_scores_by_hand():
    predicted, labels = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    first, second, absent = class_scores(predicted, labels, n_classes=3)
    assert (first.recall, first.precision, first.f1) == pytest.approx((1.0, 0.5, 2 / 3))
    assert (second.recall, second.precision, second.f1) == pytest.approx((2 / 3, 1.0, 0.8))
    assert (absent.support, absent.predicted, absent.f1) == (0, 0, 0.0)


def test_every_number_is_written_with_its_unit_and_range(
    train: Activations, test: Activations, tail: nn.Linear
):
    scores = score(Random(n_concepts=12, top_k=4).fit(train, tail), tail, test)
    written = json.loads(json.dumps({name: result.as_json() for name, result in scores.results.items()}))
    entry = written["completeness"]["recovery_accuracy"]
    assert entry["value"] == scores.completeness.recovery_accuracy
    assert (entry["unit"], entry["range"], entry["better"]) == ("fraction", [0, 1], "higher")
    assert len(written["causality"]["concepts"]) == scores.causality.n_alive


def test_an_unknown_metric_is_refused():
    with pytest.raises(UnknownNameError, match=r"unknown metric 'casuality'. Did you mean 'causality'\?"):
        METRICS.load("casuality")


def test_a_document_is_decided_by_the_mean_of_its_rows_logits():
    logits = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
    documents = torch.tensor([0, 0, 0, 1])
    assert by_document(logits, documents).tolist() == [[1.0, pytest.approx(2 / 3)], [0.0, 2.0]]


def test_scores_of_whole_texts_beside_those_of_their_windows(
    train: Activations, test: Activations, tail: nn.Linear
):
    concepts = Random(n_concepts=12, top_k=4).fit(train, tail)
    view = evaluate(concepts, tail, test)
    rows = Completeness().measure(view)
    assert (rows.n_documents, rows.document_accuracy) == (len(test), rows.accuracy)
    assert rows.document_recovery_accuracy == rows.recovery_accuracy
    documents = torch.arange(len(test)) // 2 * 3  # numbered with gaps, as in a part of a data set
    labels = view.labels[torch.arange(len(test)) // 2 * 2]
    whole = Completeness().measure(dataclasses.replace(view, documents=documents, labels=labels))
    pairs = [slice(i, i + 2) for i in range(0, len(test), 2)]
    decided = [int(view.original[pair].mean(dim=0).argmax()) for pair in pairs]
    rebuilt = [int(view.rebuilt[pair].mean(dim=0).argmax()) for pair in pairs]
    assert (whole.n_sentences, whole.n_documents) == (len(test), len(pairs))
    agreed = [one == other for one, other in zip(decided, rebuilt, strict=True)]
    assert whole.document_recovery_accuracy == pytest.approx(sum(agreed) / len(agreed))
    right = [one == other for one, other in zip(decided, labels[::2].tolist(), strict=True)]
    assert whole.document_accuracy == pytest.approx(sum(right) / len(right))


def test_a_class_that_the_concepts_hardly_ever_answer_is_named(
    train: Activations, test: Activations, tail: nn.Linear
):
    assert score(Identity().fit(train, tail), tail, test).lost_classes == []
    weight, bias = tail.weight.detach().clone(), tail.bias.detach().clone()
    bias[1] -= 1e4  # never the largest
    blind = nn.Linear(*reversed(weight.shape))
    blind.load_state_dict({"weight": weight, "bias": bias})
    scores = score(Identity().fit(train, tail), blind, test)
    assert scores.lost_classes == [1]
    share = f"{100 * scores.completeness.recovery_accuracy:.1f} %"
    assert scores.notes(("red", "green", "blue")) == (
        "the concepts alone hardly ever predict green.",
        f"the concepts alone recover only {share} of the classifier's decisions.",
    )
    assert scores.notes()[0] == "the concepts alone hardly ever predict class 1."


def test_good_scores_have_no_notes_and_silent_concepts_have_one(
    train: Activations, test: Activations, tail: nn.Linear
):
    concepts = Identity().fit(train, tail)
    assert score(concepts, tail, test).notes() == ()
    silent = dataclasses.replace(evaluate(concepts, tail, test))
    silent.codes[:, 3] = 0
    causal = Causality().measure(silent)
    assert Scores({"causality": causal}).notes() == ("1 of 16 concepts fires on no test sentence.",)


def test_scores_that_were_not_asked_for_are_an_error_that_says_so(
    train: Activations, test: Activations, tail: nn.Linear
):
    scores = score(Identity().fit(train, tail), tail, test, metrics=["completeness"])
    with pytest.raises(ConfigError, match="causality was not measured, only completeness; add it to metrics"):
        scores.causality  # noqa: B018
    assert scores.notes() == ()


def test_a_class_that_the_classifier_never_answers_is_not_lost(
    train: Activations, test: Activations, tail: nn.Linear
):
    view = evaluate(Identity().fit(train, tail), tail, test)
    never = view.original.clone()
    never[:, 1] = -100.0
    silent = Completeness().measure(dataclasses.replace(view, original=never, rebuilt=never))
    assert silent.classes[1].support > 0
    assert silent.answered[1] == silent.classes[1].predicted == 0
    assert Scores({"completeness": silent}).lost_classes == []
