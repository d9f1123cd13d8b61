"""A report from fitted concepts, and its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from classifsae.activations import Activations
from classifsae.auditing.labels import check_test_labels, suspect_rows
from classifsae.auditing.mistakes import mistakes_by_concept
from classifsae.concepts import Concept
from classifsae.concepts.base import Concepts, role_of
from classifsae.data import Texts
from classifsae.errors import ConfigError
from classifsae.meaning.descriptions import MAX_DESCRIBED, Description, describe
from classifsae.meaning.own_names import with_names
from classifsae.metrics import Scores
from classifsae.metrics.base import number
from classifsae.notebook import Sheet, Shown, framed
from classifsae.reporting.concept import concept_in
from classifsae.reporting.figures.figures import figures as pictures
from classifsae.reporting.figures.figures import fonts_of
from classifsae.reporting.page.build import Fit, build
from classifsae.reporting.page.checks import Checks
from classifsae.reporting.page.content import About, RunReport
from classifsae.reporting.page.page import page, summary
from classifsae.reporting.tables.formats import save_tables
from classifsae.reporting.tables.runs import RunGroup
from classifsae.reporting.tables.table import Record, caption, sheet
from classifsae.storage import write_bytes, write_text
from classifsae.tensors import OnStep, Tail

PAGE, FIGURES = "index.html", "figures"


@dataclass(frozen=True)
class Report(Shown):
    """A report that is ready to be written.

    Attributes:
        content: all that it shows.
    """

    content: RunReport

    def sheet(self) -> Sheet:
        """What is shown: the table of the methods."""
        return sheet(self.content.records, title="Report, to be written: save(folder)")

    def _repr_html_(self) -> str:
        title = "<p><strong>Report, to be written: save(folder)</strong></p>"
        said = f"<p>{escape(caption(self.content.records))}</p>"
        return framed(f"{title}{said}{summary(self.content)}")

    def concept(self, latent: int | str, *, method: str | None = None) -> Concept:
        """One concept with its words, sentences and scores, as an object that shows itself.

        Args:
            latent: its number, or its name.
            method: label; by default the method that the page shows first.
        Raises:
            ConfigError: there is no such method or concept.
        """
        return concept_in(self.content, latent, method)

    def save(self, folder: str | Path, *, figures: bool = False, on_step: OnStep | None = None) -> Path:
        """Write ``index.html`` and ``table.*``; returns the page's path.

        Args:
            folder: of the report.
            figures: write every picture for print too, in ``figures/``.
            on_step: told how many of the pictures are drawn.
        Raises:
            StorageError: the folder cannot be written.
        """
        folder, records = Path(folder), self.content.records
        save_tables([RunGroup((), records, caption(records), tuple(self.content.about.notes))], folder)
        for name, picture in pictures(self.content, on_step=on_step) if figures else ():
            write_bytes(folder / FIGURES / name, picture)
        write_text(folder / PAGE, page(self.content))
        return folder / PAGE


def report(
    concepts: Concepts | Mapping[str, Concepts],
    test: Activations,
    scores: Scores | Mapping[str, Scores],
    *,
    texts: Texts,
    tail: Tail | None = None,
    descriptions: Mapping[str, Sequence[Description]] | None = None,
    seed: int = 42,
    about: About | None = None,
) -> Report:
    """What the concepts of one classifier mean and do, for people.

    Args:
        concepts: fitted; several by label, to have them side by side.
        test: activations of the test split.
        scores: of the concepts, by the same labels.
        texts: the test split, in the same order as the activations.
        tail: of the classifier; with it, the report says which concepts are behind wrong decisions.
        descriptions: of the concepts, by label; made here if not given.
        seed: of the concepts, for the caption of the table.
        about: names of data set and classifier, settings, versions and notes.
    Raises:
        ConfigError: concepts and scores of different labels.
        MismatchError: texts and activations are not of the same sentences.
    """
    by_label = {concepts.method: concepts} if isinstance(concepts, Concepts) else dict(concepts)
    scored = dict.fromkeys(by_label, scores) if isinstance(scores, Scores) else dict(scores)
    if scored.keys() != by_label.keys() or (isinstance(scores, Scores) and len(by_label) > 1):
        raise ConfigError(
            f"report: got concepts of {', '.join(by_label)} and scores of {', '.join(scored)}; "
            f"give one score per label, such as scores={{'sae': cs.score(...)}}."
        )
    notes = [f"{label}: {note}" for label, own in scored.items() for note in own.notes(texts.label_names)]
    about = about or About()
    about = replace(about, notes=(*about.notes, *notes))
    fits = []
    for label, fitted in by_label.items():
        given = None if descriptions is None else descriptions.get(label, ())
        described = _described(fitted, test, texts) if given is None else given
        found = {name: result.as_json() for name, result in scored[label].results.items()}
        fits.append(Fit(label, seed, fitted, found, described))
    if note := fonts_of(texts.label_names, [d for fit in fits for d in fit.descriptions]).note:
        about = replace(about, notes=(*about.notes, note))
    records = [_record(fit, scored[fit.label], about) for fit in fits]
    checks = _checks(by_label, test, texts, tail)
    return Report(build(fits, records, test, texts, tail, about=about, checks=checks))


def _checks(concepts: Mapping[str, Concepts], test: Activations, texts: Texts, tail: Tail | None) -> Checks:
    """Suspect labels of the test split, and mistakes by the concepts that are listed.

    The rows of a split text are no texts of their own, so that nothing is said of their labels here.
    """
    labels = check_test_labels(test, texts) if test.documents is None else None
    suspect = None if labels is None else suspect_rows(labels.test, test)
    mistakes = {
        label: mistakes_by_concept(own, tail, test, suspect=suspect)
        for label, own in concepts.items()
        if tail is not None and _is_listed(own)
    }
    return Checks(labels=labels, mistakes=mistakes)


def _is_listed(concepts: Concepts) -> bool:
    """Whether a page lists the concepts."""
    return len(concepts) <= MAX_DESCRIBED and role_of(concepts.method) == "method"


def _described(concepts: Concepts, test: Activations, texts: Texts) -> tuple[Description, ...]:
    """Descriptions of concepts that will be listed, under the names of their card if it has any."""
    found = describe(concepts, test, texts.texts) if _is_listed(concepts) else ()
    if not (found and concepts.card and concepts.card.names):
        return found
    return with_names(found, dict(zip(concepts.kept.tolist(), concepts.names, strict=True)))


def _record(fit: Fit, scores: Scores, about: About) -> Record:
    flat = {score.name: number(score.value) for score in scores.flat()}
    return {
        "dataset": about.dataset,
        "backbone": about.backbone,
        "method": fit.label,
        "seed": fit.seed,
        "role": role_of(fit.concepts.method),
        "n_concepts": len(fit.concepts),
        **flat,
    }
