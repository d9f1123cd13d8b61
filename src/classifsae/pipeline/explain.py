"""What ``classifsae explain`` opens: a run's classifier, its concepts, and what these are called."""

import logging
from pathlib import Path

from classifsae.auditing.shortcuts import AuditResult
from classifsae.auditing.stored import load_findings
from classifsae.classifier.classifier import Classifier
from classifsae.concepts import Concepts
from classifsae.concepts.base import preference, role_of
from classifsae.data import load_dataset
from classifsae.errors import ConfigError, MismatchError, StorageError, UnknownNameError
from classifsae.explaining.explainer import Explainer, names_of
from classifsae.explaining.typical import load_typical
from classifsae.meaning.own_names import read_names
from classifsae.pipeline.config import Experiment
from classifsae.pipeline.run_folder import FitName, RunFolder, fits_of
from classifsae.pipeline.stages import load_classifier
from classifsae.storage import manifest_of

_LOG = logging.getLogger(__name__)


def explainer_of(
    folder: Path, *, method: str | None = None, seed: int | None = None, words: bool = True
) -> Explainer:
    """What explains texts by the concepts of a run.

    Args:
        folder: of the run.
        method: label of the method; by default that of consensus, else of classifsae, else the first that is
            no yardstick.
        seed: of the concepts; by default the first.
        words: leave out each word of a text in turn.
    Raises:
        StorageError: there is no run, or it has no finished concepts.
        ConfigError: there are no such concepts.
        MismatchError: the concepts are of another classifier than the run holds.
    """
    run = RunFolder(folder)
    experiment = run.read_experiment()
    which = chosen_fit(run, experiment, method, seed)
    concepts = Concepts.load(run.in_use(which))
    model = load_classifier(experiment, run, _label_names(run, experiment), None)
    _check(run, experiment, model, concepts)
    if note := read_names(run.own_names(which)).note(run.identity(which)):
        _LOG.warning(note)
    names = names_of(concepts, run.described(which) or ())
    if (
        role_of(concepts.method) == "label"
    ):  # its concepts are the predicted classes, whatever their sentences
        names = tuple(model.label_names[c] for c in concepts.segment_of.tolist())
    found = load_findings(AuditResult, run.audit)
    return Explainer(
        model,
        concepts,
        names,
        words=words,
        typical=load_typical(run.typical(which)),
        shortcuts=found.shortcuts if found else (),
    )


def chosen_fit(run: RunFolder, experiment: Experiment, method: str | None, seed: int | None) -> FitName:
    """The concepts asked for, or the usual ones.

    Raises:
        UnknownNameError: the run has no concepts of that method.
        ConfigError: it has none of that seed.
        StorageError: it has none at all.
    """
    found = [fit for fit in fits_of(experiment) if manifest_of(run.concepts(fit)) is not None]
    if not found:
        raise StorageError(f"{run.path} holds no finished concepts; run its experiment to the end first.")
    labels = [label for label in experiment.methods if label in {fit.label for fit in found}]
    if method is not None and method not in labels:
        raise UnknownNameError("method", method, labels, hint=f"These have concepts in {run.path}.")
    label = method or _usual(experiment, labels)
    seeds = [fit.seed for fit in found if fit.label == label]
    if seed is not None and seed not in seeds:
        raise ConfigError(
            f"there are no {label} concepts of seed {seed} in {run.path}; "
            f"choose from {', '.join(map(str, seeds))}."
        )
    return FitName(label, seeds[0] if seed is None else seed)


def _usual(experiment: Experiment, labels: list[str]) -> str:
    """The first label of consensus, else classifsae, else a method that is no yardstick, else of any."""
    recipes = {label: experiment.recipe(label, experiment.seeds[0]) for label in labels}
    return min(labels, key=lambda of: (preference(recipes[of].method_name()), recipes[of].role != "method"))


def _label_names(run: RunFolder, experiment: Experiment) -> tuple[str, ...] | None:
    """Names of the classes by the run's scores, or its data; a classifier tuned there knows its own."""
    if experiment.backbone.tuning != "none":
        return None
    return run.read_all_scores().label_names or load_dataset(experiment.dataset).label_names


def _check(run: RunFolder, experiment: Experiment, model: Classifier, concepts: Concepts) -> None:
    """Model, layer and prompt must agree; weights tuned here and read as kept are not hashed again."""
    source, kept = concepts.source, manifest_of(run.classifier)
    hashed = kept is None or experiment.backbone.dtype != "float32"  # of the weights as loaded
    noted = model.fingerprint if hashed or kept is None else kept.record.get("fingerprint")
    if (noted, model.layer, model.prompt) != (source.model, source.layer, source.prompt):
        raise MismatchError(
            f"the concepts in {run.path} are of another classifier than the one there; "
            f"run its experiment to the end."
        )
