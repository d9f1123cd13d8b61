"""What ``classifsae audit`` opens: the audit that a run holds, with what is asked for beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from classifsae.auditing.options import AuditOptions
from classifsae.auditing.shortcuts import AuditResult, audit, most_read
from classifsae.auditing.stored import load_findings
from classifsae.data import load_dataset
from classifsae.errors import ConfigError, StorageError, one_line
from classifsae.pipeline.checks import usable_device
from classifsae.pipeline.run_folder import SPLITS, RunFolder
from classifsae.pipeline.stages import Work
from classifsae.storage import manifest_of
from classifsae.tensors import OnStep


def work_of(folder: Path) -> Work:
    """A run's classifier, data and activations.

    Raises:
        StorageError: there is no run, or it has no activations.
    """
    run = RunFolder(folder)
    experiment = run.read_experiment()
    if any(manifest_of(run.activations(split)) is None for split in SPLITS):
        raise StorageError(f"{run.path} holds no activations; run its experiment to the end first.")
    return Work(experiment, load_dataset(experiment.dataset), run, usable_device(experiment))


def options_of(*, terms: Path | None, pairs: Path | None, patterns: Sequence[str]) -> AuditOptions | None:
    """What is asked for by files and expressions; None where nothing is.

    Args:
        terms: file of words, one per line.
        pairs: file of two columns.
        patterns: each NAME=REGEX.
    Raises:
        ConfigError: a file that cannot be read, or an expression that is none or has no name of its own.
    """
    named: dict[str, str] = {}
    for written in patterns:
        name, _, pattern = written.partition("=")
        if not name.strip() or not pattern or name in named:
            why = "is the second of its name" if name in named else "has no name or no expression"
            raise ConfigError(f"--pattern {written!r} {why}; give NAME=REGEX, such as code=[A-Z]{{2}}[0-9]+.")
        named[name] = pattern
    options = {"terms": terms, "pairs": pairs, "patterns": named or None}
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return AuditOptions.model_validate(given) if given else None
    except ValidationError as error:
        raise ConfigError(one_line(error)) from error


def cost(n_texts: int) -> str:
    """What is said before the classifier reads changed texts."""
    return f"The classifier reads at most {n_texts:,} changed texts."


def audit_of(
    folder: Path,
    *,
    options: AuditOptions | None = None,
    say: Callable[[str], None],
    on_step: OnStep | None = None,
) -> AuditResult:
    """The patterns on which the decisions of a run's classifier hang.

    Args:
        folder: of the run.
        options: what is asked for beside what the run's audit found; None: nothing.
        say: told what an audit that is made now will cost.
        on_step: told how many changed texts the classifier has read.
    Raises:
        StorageError: there is no run, or it has no activations.
    """
    work = work_of(folder)
    kept = load_findings(AuditResult, work.folder.audit)
    if options is None and kept is not None:
        return kept
    asked = options.model_dump(exclude_unset=True) if options else {}
    options = (work.experiment.audit or AuditOptions()).model_copy(update=asked)
    train, test = (work.activations(split) for split in SPLITS)
    say(cost(most_read(options, train.n_classes, known=kept is not None)))
    return audit(
        work.classifier,
        work.rows("train"),
        work.rows("test"),
        train_activations=train,
        test_activations=test,
        options=options,
        known=kept,
        on_step=on_step,
    )
