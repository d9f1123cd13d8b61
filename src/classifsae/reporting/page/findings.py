"""What next: the few findings of a run that affect most decisions, each with what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass

from classifsae.auditing.held_out import CHANCE
from classifsae.reporting.page.content import RunReport

MOST = 5
LOW_RECOVERY = 0.9


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        n_affected: test decisions, or labels, that it is about.
        says: the finding in words.
        do: what to do about it.
        command: that does it; "" where none does.
    """

    n_affected: int
    says: str
    do: str
    command: str


def findings(report: RunReport) -> list[Finding]:
    """At most five findings, those first that affect most decisions."""
    found = [
        *_shortcuts(report),
        *_labels(report),
        *_trained_on(report),
        *_repeated(report),
        *_causes(report),
        *_incomplete(report),
    ]
    return sorted(found, key=lambda one: -one.n_affected)[:MOST]


def _shortcuts(report: RunReport) -> Iterator[Finding]:
    for row in report.audit.shortcuts if report.audit else ():
        removable = row.kind in ("phrase", "term")
        yield Finding(
            row.n_decisions,
            row.finding,
            "Take it out of the classifier, and see what that costs."
            if removable
            else "Look at the texts in the section on shortcuts, and train on texts without it.",
            f'classifsae edit RUN --remove "{row.pattern}" --to NEW_FOLDER' if removable else "",
        )


def _labels(report: RunReport) -> Iterator[Finding]:
    labels = report.checks.labels
    n_test = len(labels.test) if labels else 0
    n_train = len(labels.train) if labels else 0
    if labels and (n_test or n_train):
        blamed = ""
        if labels.n_mistakes:
            blamed = f" Of the {labels.n_mistakes} mistakes, {labels.n_suspect_mistakes} have such a label."
        behind = sum(bool(report.shortcut_behind(one)) for one in (*labels.test, *labels.train))
        if behind:
            blamed += f" For {behind} of them a shortcut may be the reason instead: they say so in the list."
        yield Finding(
            n_test + n_train,
            f"{n_test} test labels and {n_train} training labels are probably wrong.{blamed}",
            "Read the list, correct the data, and run again: the accuracy is measured against these labels.",
            "",
        )


def _trained_on(report: RunReport) -> Iterator[Finding]:
    held_out = report.checks.held_out
    if held_out and not held_out.is_known and held_out.membership.auroc_interval[1] < CHANCE:
        yield Finding(
            report.n_test,
            f"The test texts may have trained the classifier: {held_out.membership.of_pairs}.",
            "Score it on texts that it has not seen.",
            "classifsae run EXPERIMENT dataset.test=UNSEEN_TEXTS",
        )


def _repeated(report: RunReport) -> Iterator[Finding]:
    held_out = report.checks.held_out
    if held_out and held_out.repeated:
        n = len(held_out.repeated)
        yield Finding(
            n,
            f"{n} test texts are training texts too, but for case and space: scores on them flatter.",
            "Leave them out of the test split.",
            "classifsae run EXPERIMENT dataset.drop_seen=true",
        )


def _causes(report: RunReport) -> Iterator[Finding]:
    for method in report.listed[:1]:
        found = report.checks.mistakes.get(method.label)
        for concept, kind, of_kind in found.causes if found else ():
            classes = report.label_names[kind.label], report.label_names[kind.prediction]
            yield Finding(
                of_kind.n_repaired,
                f"Without the concept {method.names[concept.latent]!r}, {of_kind.n_repaired} of "
                f"{kind.n_mistakes} mistakes {classes[0]} taken for {classes[1]} are repaired, and "
                f"{concept.n_made} made.",
                "Take it out of the classifier, and see what that costs.",
                f"classifsae edit RUN --concepts {concept.latent} --method {method.label} --to NEW_FOLDER",
            )


def _incomplete(report: RunReport) -> Iterator[Finding]:
    for method in report.listed[:1]:
        if method.recovery is not None and method.recovery < LOW_RECOVERY:
            yield Finding(
                round((1 - method.recovery) * report.n_test),
                f"The concepts of {method.label} do not explain {1 - method.recovery:.1%} of the decisions.",
                "Give them more room.",
                f"classifsae run EXPERIMENT n_concepts={2 * max(1, method.n_concepts)}",
            )
