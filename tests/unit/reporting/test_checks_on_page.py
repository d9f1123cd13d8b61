"""What the page says of labels, test texts and mistakes: no more than is known."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import classifsae as cs
from classifsae.activations import Activations
from classifsae.auditing.held_out import HeldOut, MembershipGap
from classifsae.auditing.labels import LabelCheck, SuspectLabel
from classifsae.auditing.mistakes import ConceptMistakes, MistakeKind, MistakesByConcept, OfKind
from classifsae.data import RepeatedText, Texts
from classifsae.reporting.page.checks import Checks
from classifsae.reporting.page.content import RunReport
from classifsae.reporting.page.page import page
from sample_report import LABELS, SCRIPT, sample_report

NOT_USED = "not used for learning"
GAP = MembershipGap(0.1, 0.3, 0.2, (0.15, 0.25), 0.61, (0.55, 0.66))
REPEATED = RepeatedText(SCRIPT, 3, "b-3", LABELS[0], ("a-1", "a-2"), (LABELS[0], LABELS[1]))


@pytest.fixture(scope="module")
def report() -> RunReport:
    return sample_report()


def suspect(row: int, text: str = "a sentence") -> SuspectLabel:
    return SuspectLabel(row, f"row-{row}", text, LABELS[0], LABELS[1], -0.5)


def shown(report: RunReport, **found: object) -> str:
    return " ".join(page(replace(report, checks=Checks(**found))).split())  # type: ignore[arg-type]


def test_that_test_sentences_were_not_used_for_learning_stands_only_where_it_is_known(report: RunReport):
    known, unknown = (HeldOut(is_known=is_known, membership=GAP) for is_known in (True, False))
    assert shown(report, held_out=known).count(NOT_USED) == 2
    for html in (shown(report, held_out=unknown), shown(report)):
        assert NOT_USED not in html
        assert '<a href="#held-out">whether they trained it</a> is not known' in html
    assert "in 61% of all pairs" in shown(report, held_out=unknown)


def test_repeated_texts_are_listed_with_their_rows_as_texts(report: RunReport):
    html = shown(report, held_out=HeldOut(is_known=True, membership=GAP, repeated=(REPEATED,)))
    assert "1 test sentence stands in the training part too" in html
    assert "test row b-3" in html
    assert "training row a-1" in html
    assert "and 1 more" in html
    assert SCRIPT not in html


def test_suspect_labels_come_first_and_long_lists_are_folded(report: RunReport):
    labels = LabelCheck(
        test=tuple(suspect(row) for row in range(7)),
        train=(suspect(0, SCRIPT),),
        n_mistakes=9,
        n_suspect_mistakes=7,
    )
    html = shown(report, labels=labels, held_out=HeldOut(is_known=False, membership=GAP))
    assert html.index('id="labels"') < html.index('id="mistakes"')
    assert "Of the classifier's 9 mistakes on test sentences, 7 have a suspect label" in html
    assert "<summary>2 more</summary>" in html
    assert "wrong labels that it learned are missed" in html
    assert SCRIPT not in html
    assert "No label is probably wrong" in shown(report, labels=LabelCheck(test=()))


def by_concept(report: RunReport, *, is_cause: bool) -> MistakesByConcept:
    first, second = sorted(card.latent for card in report.methods[0].concepts)[:2]
    of = OfKind(8, 6, 0.02, is_cause)
    return MistakesByConcept(
        kinds=(MistakeKind(0, 1, 9),),
        concepts=(
            ConceptMistakes(0, first, 0, (OfKind(0, 0, 1.0, is_cause=False),)),
            ConceptMistakes(1, second, 1, (of,)),
        ),
        n_correct=900,
        n_suspect=4,
        n_otherwise=2,
    )


def test_a_concept_is_a_cause_only_where_the_rule_says_so(report: RunReport):
    label = report.methods[0].label
    cause = shown(report, mistakes={label: by_concept(report, is_cause=True)})
    assert f"No concept of {label} is a cause" not in cause
    assert "without it 6 of 9 mistakes" in cause
    assert "<strong>8 / 6</strong>" in cause
    none = shown(report, mistakes={label: by_concept(report, is_cause=False)})
    assert f"No concept of {label} is a cause" in none
    assert "without it 6 of 9" not in none
    assert "8 / 6" in none
    assert "0 / 0" not in none  # a concept that carries nothing is left out
    assert "misled" not in none


def test_a_mistake_whose_label_is_suspect_says_so(report: RunReport):
    mistakes = (replace(report.mistakes[0], is_suspect=True), report.mistakes[1])
    assert page(replace(report, mistakes=mistakes)).count("the label is probably wrong") == 1


def test_a_report_in_python_checks_test_labels_and_mistakes(
    train: Activations, test: Activations, tail: nn.Linear
):
    concepts = cs.ICA(n_concepts=3).fit(train, tail)
    texts = Texts(tuple(map(str, range(len(test)))), tuple(test.labels.tolist()), test.ids, ("r", "g", "b"))
    scores = cs.score(concepts, tail, test)
    checks = cs.report(concepts, test, scores, texts=texts, tail=tail).content.checks
    assert checks.labels is not None
    assert checks.labels.test == cs.suspect_labels(texts, cs.classifier_probabilities(test))
    suspect = cs.suspect_rows(checks.labels.test, test)
    assert checks.mistakes == {"ica": cs.mistakes_by_concept(concepts, tail, test, suspect=suspect)}
    assert not checks.is_held_out
    without = cs.report(concepts, test, scores, texts=texts).content.checks
    assert without.mistakes == {}
    windows = replace(test, documents=torch.arange(len(test)) // 2)
    assert cs.report(concepts, windows, scores, texts=texts, tail=tail).content.checks.labels is None
