"""A run folder, opened again: its options, its classifier, its concepts and what they are called."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from classifsae.classifier.classifier import Classifier
from classifsae.concepts.base import Concepts
from classifsae.data import load_dataset
from classifsae.errors import ConfigError, MismatchError, StorageError, UnknownNameError, one_line
from classifsae.explaining.explainer import Explainer, names_of
from classifsae.meaning.descriptions import load_descriptions
from classifsae.pipeline.config import Experiment
from classifsae.storage import manifest_of, read_json

EXPERIMENT, SCORES = "experiment.json", "scores.json"


def place_of(run: Path, kind: str, label: str, seed: int) -> Path:
    """The folder of one method and seed within a run."""
    return run / kind / label / f"seed-{seed}"


def open_classifier(
    experiment: Experiment, run: Path, *, label_names: tuple[str, ...] | None, device: str | None
) -> Classifier:
    """The classifier of a run: trained there, or loaded from where it was.

    Raises:
        ClassifSAEError: it cannot be loaded.
    """
    backbone = experiment.backbone
    if backbone.tuning == "none":
        return Classifier.load(backbone, label_names=label_names, device=device)
    reading = backbone.model_dump(include={"layer", "template", "max_length", "dtype"}, exclude_none=True)
    return Classifier.load(str(run / "classifier"), label_names=label_names, device=device, **reading)


class _Page(BaseModel, extra="ignore", frozen=True):
    """What ``scores.json`` says of the classes."""

    label_names: tuple[str, ...]


@dataclass(frozen=True)
class Finished:
    """A run in which concepts were fitted.

    Attributes:
        folder: of the run.
        experiment: the options that made it.
    """

    folder: Path
    experiment: Experiment

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the options of a run.

        Raises:
            StorageError: there is no run, or its options cannot be understood.
        """
        if not (folder / EXPERIMENT).is_file():
            raise StorageError(
                f"{folder} is no run: it holds no {EXPERIMENT}; give the folder of a run, such as "
                f"runs/planted/minilm."
            )
        try:
            experiment = Experiment.model_validate(read_json(folder / EXPERIMENT))
        except ValidationError as error:
            raise StorageError(
                f"{folder / EXPERIMENT} is not understood ({one_line(error)}); run its experiment file again."
            ) from error
        return cls(folder, experiment)

    @property
    def fitted(self) -> list[str]:
        """Labels of the methods with finished concepts for at least one seed, in the experiment's order."""
        labels = self.experiment.methods
        return [label for label in labels if any(self._has(label, s) for s in self.experiment.seeds)]

    def explainer(self, method: str | None, seed: int | None, *, words: bool) -> Explainer:
        """What explains texts by the concepts of one method and seed, the usual ones where not given.

        Raises:
            ConfigError: there are no such concepts.
            MismatchError: the concepts are of another classifier than the run holds.
        """
        label = self.method(method)
        seed = self.seed(label, seed)
        concepts = Concepts.load(place_of(self.folder, "concepts", label, seed))
        model = open_classifier(self.experiment, self.folder, label_names=self._label_names(), device=None)
        self._check(model, concepts)
        descriptions = load_descriptions(self.folder, label, seed) or ()
        return Explainer(model, concepts, names_of(concepts, descriptions), words=words)

    def method(self, asked: str | None) -> str:
        """The label asked for, else classifsae, else the first that is no yardstick.

        Raises:
            UnknownNameError: the run has no concepts of that label.
            StorageError: it has none at all.
        """
        labels = self.fitted
        if not labels:
            raise StorageError(
                f"{self.folder} holds no finished concepts; run its experiment to the end first."
            )
        if asked is not None:
            if asked not in labels:
                raise UnknownNameError("method", asked, labels, hint=f"These have concepts in {self.folder}.")
            return asked
        recipes = {label: self.experiment.recipe(label, self.experiment.seeds[0]) for label in labels}
        ours = [label for label, recipe in recipes.items() if recipe.method_name() == "classifsae"]
        real = [label for label, recipe in recipes.items() if recipe.role == "method"]
        return [*ours, *real, *labels][0]

    def seed(self, label: str, asked: int | None) -> int:
        """The seed asked for, else the first.

        Raises:
            ConfigError: the run has no concepts of that seed.
        """
        seeds = [seed for seed in self.experiment.seeds if self._has(label, seed)]
        if asked is not None and asked not in seeds:
            raise ConfigError(
                f"there are no {label} concepts of seed {asked} in {self.folder}; "
                f"choose from {', '.join(map(str, seeds))}."
            )
        return seeds[0] if asked is None else asked

    def _has(self, label: str, seed: int) -> bool:
        return manifest_of(place_of(self.folder, "concepts", label, seed)) is not None

    def _label_names(self) -> tuple[str, ...] | None:
        """What the run's scores, or its data, call the classes; a trained classifier knows its own names."""
        path = self.folder / SCORES
        if self.experiment.backbone.tuning != "none":
            return None
        if not path.is_file():
            return load_dataset(self.experiment.dataset).label_names
        try:
            return _Page.model_validate(read_json(path)).label_names
        except ValidationError as error:
            raise StorageError(f"{path} is damaged ({one_line(error)}); run the experiment again.") from error

    def _check(self, model: Classifier, concepts: Concepts) -> None:
        """Model, layer and prompt must agree; weights tuned here and read as kept are not hashed again."""
        source, kept = concepts.source, manifest_of(self.folder / "classifier")
        hashed = kept is None or self.experiment.backbone.dtype != "float32"  # of the weights as loaded
        noted = model.fingerprint if hashed or kept is None else kept.record.get("fingerprint")
        if (noted, model.layer, model.prompt) != (source.model, source.layer, source.prompt):
            raise MismatchError(
                f"the concepts in {self.folder} are of another classifier than the one there; "
                f"run its experiment to the end."
            )
