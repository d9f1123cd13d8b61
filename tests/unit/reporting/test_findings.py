"""What next: at most five findings, the one that affects most decisions first, each with what to do."""

from dataclasses import replace

import pytest

from classifsae.auditing.answers import Rate
from classifsae.auditing.held_out import HeldOut, MembershipGap
from classifsae.auditing.labels import LabelCheck, SuspectLabel
from classifsae.auditing.shortcuts import AuditResult, PatternEffect
from classifsae.data import RepeatedText
from classifsae.reporting.page.checks import Checks
from classifsae.reporting.page.content import RunReport
from classifsae.reporting.page.findings import findings
from classifsae.reporting.page.page import page
from sample_report import LABELS, SCRIPT, sample_report

RATE = Rate(0.5, 0.4, 0.6, 100)
GAP = MembershipGap(0.1, 0.3, 0.2, (0.15, 0.25), 0.61, (0.55, 0.66))


def pattern(n_decisions: int, *, name: str = "sent from", kind: str = "phrase") -> PatternEffect:
    numbers = (50, 0.5, RATE, RATE, RATE, RATE, -0.1, 0.1, n_decisions, 0.9, 0.8, 0.5)
    return PatternEffect(name, kind, LABELS[0], *numbers, is_shortcut=True, finding=f"It hangs on {name}.")


@pytest.fixture(scope="module")
def report() -> RunReport:
    return sample_report()


def test_a_shortcut_comes_with_the_command_that_takes_it_out(report: RunReport):
    audit = AuditResult((pattern(40), pattern(60, name="a number", kind="sign")), n_read=100)
    first, second = findings(replace(report, audit=audit))[:2]
    assert first.says == "It hangs on a number."
    assert first.command == ""
    assert second.command == 'classifsae edit RUN --remove "sent from" --to NEW_FOLDER'


def test_findings_are_ranked_by_what_they_affect_and_at_most_five(report: RunReport):
    suspects = tuple(SuspectLabel(i, f"{i}", "text", LABELS[0], LABELS[1], -0.5) for i in range(30))
    repeated = (RepeatedText("text", 3, "b-3", LABELS[0], ("a-1",), (LABELS[0],)),)
    checks = Checks(
        labels=LabelCheck(test=suspects, n_mistakes=9, n_suspect_mistakes=7),
        held_out=HeldOut(is_known=True, membership=GAP, repeated=repeated),
    )
    audit = AuditResult(tuple(pattern(n, name=str(n)) for n in (10, 50, 20, 40, 60)), n_read=1)
    found = findings(replace(report, audit=audit, checks=checks))
    assert [one.n_affected for one in found] == [60, 50, 40, 30, 20]
    assert "Of the 9 mistakes, 7 have such a label." in found[3].says


@pytest.mark.parametrize(
    ("text", "label", "suggested", "share", "behind"),
    [
        (
            "Rain. Sent from here.",
            LABELS[1],
            LABELS[0],
            0.1,
            "sent from",
        ),  # has what speaks for another class
        ("Rain.", LABELS[0], LABELS[1], 0.9, "sent from"),  # lacks what nearly all of its class have
        ("Rain.", LABELS[0], LABELS[1], 0.1, ""),
        ("Rain. Sent from here.", LABELS[0], LABELS[1], 0.9, ""),
    ],
)
def test_a_label_that_a_shortcut_makes_look_wrong_is_marked(
    report: RunReport, text: str, label: str, suggested: str, share: float, behind: str
):
    suspect = SuspectLabel(0, "0", text, label, suggested, -0.5)
    checks = Checks(labels=LabelCheck(test=(suspect,)))
    shown = replace(report, checks=checks, audit=AuditResult((replace(pattern(1), share=share),), n_read=1))
    assert shown.shortcut_behind(suspect) == behind
    assert ("The label may be right" in page(shown)) == bool(behind)


def test_test_texts_that_may_have_trained_the_classifier_are_a_finding(report: RunReport):
    gap = MembershipGap(0.3, 0.1, -0.2, (-0.25, -0.15), 0.4, (0.35, 0.45))
    (first, *_) = findings(replace(report, checks=Checks(held_out=HeldOut(is_known=False, membership=gap))))
    assert first.says.startswith(
        "The test texts may have trained the classifier: a training text has a lower"
    )
    assert first.n_affected == report.n_test


def test_the_page_ends_with_what_next_and_escapes_it(report: RunReport):
    html = page(replace(report, audit=AuditResult((pattern(40, name=SCRIPT),), n_read=100)))
    assert "What next" in html
    assert SCRIPT not in html
    assert "Shortcuts: on what decisions hang" in html


def test_few_findings_are_said_plainly(report: RunReport):
    sound = replace(report, methods=())
    assert findings(sound) == []
    assert "Nothing was found that asks for action." in page(sound)
