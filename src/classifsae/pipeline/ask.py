"""What ``classifsae ask`` opens: questions about concepts of one's own, asked of a run."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError

from classifsae.auditing.ask import Answer, Answers, Asked, Examples, Found, ask, most_read, with_words
from classifsae.auditing.options import AuditOptions, Question
from classifsae.auditing.probe import FEWEST, require_counts, require_enough
from classifsae.data import Dataset, load_dataset
from classifsae.data.load import PLANTED
from classifsae.errors import ConfigError, DataError, UnknownNameError, one_line
from classifsae.explaining.explainer import names_of
from classifsae.pipeline.audit import cost
from classifsae.pipeline.config import Experiment
from classifsae.pipeline.run_folder import SPLITS, Split, fits_of
from classifsae.pipeline.stages import Work
from classifsae.storage import manifest_of
from classifsae.tensors import Bool, OnStep, Tensor

if TYPE_CHECKING:
    from classifsae.concepts.base import Concepts

_YES, _NO = {"true", "yes", "1"}, {"false", "no", "0"}


def question_of(
    *,
    name: str | None = None,
    examples: str | None = None,
    without: str | None = None,
    words: str | None = None,
    column: str | None = None,
) -> Question:
    """A question as it is typed.

    Args:
        name: of the concept; by default the file's name, or the words.
        examples, without: files of texts.
        words: with commas between them.
        column: of the data, whose values are the names.
    Raises:
        ConfigError: none or several of examples, words and column; texts without the concept beside anything
            but examples; a name for a column; no words; a file that cannot be read.
    """
    if name is not None and column is not None:
        raise ConfigError("--name does not go with --column, whose values are the names; leave it out.")
    called = name or Path(examples or "").stem
    given = {"name": called, "examples": examples, "without": without, "words": words, "column": column}
    try:
        return Question.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(f"{one_line(error).rstrip('.')}.") from error


def answers_to(
    work: Work,
    question: Question,
    *,
    say: Callable[[str], None] | None = None,
    on_step: OnStep | None = None,
) -> list[Answer]:
    """Ask a run.

    Args:
        work: the run.
        question: one, or one per value of a column.
        say: told what it will cost.
        on_step: told how many texts the classifier has read, or how many values are done.
    Raises:
        DataError: too few texts have the concept, or do not.
        ConfigError: no such column.
    """
    if question.column is not None:
        of_train, of_test = (
            _per_row(work, split, known)
            for split, known in zip(SPLITS, _column(work.experiment, work.data, question.column), strict=True)
        )
        values = list(_values(of_train, question.column))  # before anything long
        asked = _asked(work)
        if say:
            say(cost(len(values) * most_read(asked.options)))
        return list(_answers(asked, values, of_train, of_test, on_step))
    concepts, names = _first_concepts(work)
    train, test = work.activations("train"), work.activations("test")
    if question.words is not None:
        require_enough(with_words(work.rows("train").texts, question.words))  # before anything is said
    elif question.examples is not None:
        others = len(train) if question.without is None else len(question.without)
        require_counts(len(question.examples), others)
    if say:
        n_examples = len(question.examples or ()) + len(question.without or ())
        say(cost(n_examples + most_read(work.experiment.audit or AuditOptions())))
    return [
        ask(
            work.classifier,
            work.rows("train"),
            work.rows("test"),
            name=question.title,
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


def all_answers(work: Work, questions: Sequence[Question], *, on_step: OnStep | None = None) -> Answers:
    """Ask a run several questions; those that cannot be answered say why.

    Args:
        work: the run.
        questions: to be answered, in their order.
        on_step: as for ``answers_to``.
    """
    found: list[Answer] = []
    unanswered: list[tuple[str, str]] = []
    for question in questions:
        try:
            found += answers_to(work, question, on_step=on_step)
        except (ConfigError, DataError) as error:
            unanswered.append((question.title, str(error)))
    return Answers(tuple(found), tuple(unanswered))


def _answers(
    asked: Asked,
    values: Sequence[tuple[str, str]],
    train: Sequence[tuple[str, ...]],
    test: Sequence[tuple[str, ...]],
    on_step: OnStep | None,
) -> Iterator[Answer]:
    for number, (name, value) in enumerate(values, start=1):
        yield asked.about(name, _having(value, train), known=_having(value, test))
        if on_step:
            on_step(number, len(values), {})


def _having(value: str, known: Sequence[tuple[str, ...]]) -> Bool[Tensor, " n"]:
    return torch.tensor([value in names for names in known])


def _per_row(work: Work, split: Split, known: Sequence[tuple[str, ...]]) -> Sequence[tuple[str, ...]]:
    """What is known of the text behind each row of the activations."""
    documents = work.activations(split).documents
    return known if documents is None else tuple(known[document] for document in documents.tolist())


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
    fits = fits_of(work.experiment)
    which = next((fit for fit in fits if manifest_of(work.folder.concepts(fit)) is not None), None)
    if which is None:
        return None, ()
    concepts = work.concepts(which).to(work.device)
    return concepts, names_of(concepts, work.folder.described(which) or ())


def require_answerable(experiment: Experiment, data: Dataset) -> None:
    """See, before the first stage, that the questions of an experiment have texts to learn from.

    Raises:
        ConfigError: no such column, or too few training texts have the words or the values.
    """
    for key, question in experiment.ask.items():
        try:
            if question.column is not None:
                list(_values(_column(experiment, data, question.column)[0], question.column))
            elif question.words is not None:
                require_enough(with_words(data.train.texts, question.words))
        except (ConfigError, DataError) as error:
            raise ConfigError(f"ask.{key}: {error}") from error


def _values(known: Sequence[tuple[str, ...]], column: str) -> Iterator[tuple[str, str]]:
    """Each value of a column that enough training texts have and lack: what it is called, and the value.

    Of a column of booleans only whether it is true is asked.

    Raises:
        DataError: no value has enough texts.
    """
    values = sorted({name for names in known for name in names})
    if {value.lower() for value in values} <= _YES | _NO:
        values = [value for value in values if value.lower() in _YES]
    found = False
    for value in values:
        has = _having(value, known)
        if min(int(has.sum()), int((~has).sum())) >= FEWEST:
            found = True
            yield (column if value.lower() in _YES else value), value
    if not found:
        raise DataError(
            f"no value of column {column!r} has {FEWEST} training texts with it and as many without; choose "
            f"another column."
        )


def _column(
    experiment: Experiment, data: Dataset, column: str
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    """The values of a column for each training text, and for each test text.

    Raises:
        ConfigError: no such column.
    """
    found = data
    if column != (experiment.dataset.concepts_column or "concepts") or data.train.concepts is None:
        if experiment.dataset.name == PLANTED:
            raise UnknownNameError("column", column, ["concepts"] if data.train.concepts else [])
        found = load_dataset(experiment.dataset, concepts_column=column)
    train, test = found.train.concepts, found.test.concepts
    assert train is not None  # or the column was refused
    return train, test if test is not None else ((),) * len(found.test)
