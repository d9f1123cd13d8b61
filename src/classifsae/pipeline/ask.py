"""What ``classifsae ask`` opens: questions about concepts of one's own, asked of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch

from classifsae.auditing.ask import Answer, Asked, Examples, Found, ask
from classifsae.auditing.options import AuditOptions
from classifsae.auditing.probe import FEWEST
from classifsae.data import load_dataset
from classifsae.data.load import PLANTED
from classifsae.data.stream import stream_texts
from classifsae.errors import ConfigError, DataError, UnknownNameError
from classifsae.explaining.explainer import names_of
from classifsae.pipeline.audit import work_of
from classifsae.pipeline.run_folder import FitName, RunFolder, fits_of
from classifsae.pipeline.stages import Work
from classifsae.storage import manifest_of
from classifsae.tensors import Bool, OnStep, Tensor

if TYPE_CHECKING:
    from classifsae.concepts.base import Concepts

_YES, _NO = {"true", "yes", "1"}, {"false", "no", "0"}


@dataclass(frozen=True)
class Question:
    """A concept, or the values of a column; just one of examples, words and column is given.

    Attributes:
        name: of the concept.
        examples: texts that have it.
        without: texts that do not; None: the rest of the training texts.
        words: a text that has any of them has it.
        column: of the data.
    """

    name: str = ""
    examples: tuple[str, ...] | None = None
    without: tuple[str, ...] | None = None
    words: tuple[str, ...] | None = None
    column: str | None = None

    @classmethod
    def of(
        cls,
        *,
        name: str | None = None,
        examples: str | None = None,
        without: str | None = None,
        words: str | None = None,
        column: str | None = None,
    ) -> Self:
        """A question as it is typed.

        Args:
            name: of the concept; by default the file's name, or the words.
            examples, without: files of texts.
            words: with commas between them.
            column: of the data.
        Raises:
            ConfigError: none or several of examples, words and column; a name for a column, or texts without
                the concept beside anything but examples; no words.
            DataError: a file cannot be read.
        """
        given = [option for option in (examples, words, column) if option is not None]
        if len(given) != 1:
            raise ConfigError(
                f"ask takes one of --examples FILE, --words LIST and --column NAME; {len(given)} were given."
            )
        if without is not None and examples is None:
            raise ConfigError("--without FILE goes with --examples FILE; give both, or leave it out.")
        if name is not None and column is not None:
            raise ConfigError("--name does not go with --column, whose values are the names; leave it out.")
        listed = tuple(dict.fromkeys(word.strip() for word in (words or "").split(",") if word.strip()))
        if words is not None and not listed:
            raise ConfigError(f"--words is {words!r}; give words with commas between them.")
        return cls(
            name or ", ".join(listed) or Path(examples or "").stem,
            None if examples is None else tuple(stream_texts(examples)),
            None if without is None else tuple(stream_texts(without)),
            listed or None,
            column,
        )


def answers_to(folder: Path, question: Question, *, on_step: OnStep | None = None) -> list[Answer]:
    """Ask a run.

    Args:
        folder: of the run.
        question: one, or one per value of a column.
        on_step: told how many texts the classifier has read, or how many values are done.
    Raises:
        StorageError: there is no run, or it has no activations.
        DataError: too few texts have the concept, or do not.
        ConfigError: no such column.
    """
    work = work_of(folder)
    if question.column is not None:
        members = list(_values(work, question.column))  # before anything long
        return list(_answers(_asked(work), members, on_step))
    concepts, names = _first_concepts(work)
    rows = work.rows("train")
    train, test = work.activations("train"), work.activations("test")
    return [
        ask(
            work.classifier,
            rows,
            work.rows("test"),
            name=question.name,
            words=question.words,
            examples=question.examples,
            without=question.without,
            train_activations=train,
            test_activations=test,
            concepts=concepts,
            names=names,
            options=work.experiment.audit,
            on_step=on_step,
        )
    ]


def _answers(
    asked: Asked, members: Sequence[tuple[str, Bool[Tensor, " n"]]], on_step: OnStep | None
) -> Iterator[Answer]:
    for number, (name, has) in enumerate(members, start=1):
        yield asked.about(name, has)
        if on_step:
            on_step(number, len(members), {})


def _asked(work: Work) -> Asked:
    """What the questions of all values share; as they are many, each reads fewer changed texts."""
    test, options = work.activations("test"), work.experiment.audit or AuditOptions()
    return Asked(
        work.classifier,
        Examples.of_texts(work.rows("train"), work.activations("train")),
        work.rows("test"),
        test,
        Found.of(*_first_concepts(work), test),
        options.model_copy(update={"max_texts": min(options.max_texts, options.texts_per_concept)}),
        None,
    )


def _first_concepts(work: Work) -> "tuple[Concepts | None, tuple[str, ...]]":
    """The concepts of the run's first method and seed that are finished, and their names; None for none."""
    which = _first_fit(work.folder, work)
    if which is None:
        return None, ()
    concepts = work.concepts(which).to(work.device)
    return concepts, names_of(concepts, work.folder.described(which) or ())


def _first_fit(run: RunFolder, work: Work) -> FitName | None:
    finished = (which for which in fits_of(work.experiment) if manifest_of(run.concepts(which)) is not None)
    return next(finished, None)


def _values(work: Work, column: str) -> Iterator[tuple[str, Bool[Tensor, " n"]]]:
    """Each value of a column that enough training texts have and lack, and which have it.

    Of a column of booleans only whether it is true is asked.

    Raises:
        ConfigError: no such column.
        DataError: no value has enough texts.
    """
    concepts = _column(work, column)
    values = sorted({name for names in concepts for name in names})
    if {value.lower() for value in values} <= _YES | _NO:
        values = [value for value in values if value.lower() in _YES]
    found = False
    for value in values:
        has = torch.tensor([value in names for names in concepts])
        if min(int(has.sum()), int((~has).sum())) >= FEWEST:
            found = True
            yield (column if value.lower() in _YES else value), has
    if not found:
        raise DataError(
            f"no value of column {column!r} has {FEWEST} training texts with it and as many without; choose "
            f"another column."
        )


def _column(work: Work, column: str) -> tuple[tuple[str, ...], ...]:
    """The values of a column in each row of the training activations."""
    known = work.data.train.concepts
    if column != (work.experiment.dataset.concepts_column or "concepts") or known is None:
        if work.experiment.dataset.name == PLANTED:
            raise UnknownNameError("column", column, ["concepts"] if known else [])
        known = load_dataset(work.experiment.dataset, concepts_column=column).train.concepts
    assert known is not None  # or the column was refused
    documents = work.activations("train").documents
    return known if documents is None else tuple(known[document] for document in documents.tolist())
