"""What a run tells TensorBoard, Weights & Biases, MLflow or trackio, through the trackers of accelerate.

Every number that a stage reports as it goes is a curve, under the name of the stage; then the scores; then
the pictures, if they were drawn. Nothing that a run makes depends on it.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from classifsae import ranks
from classifsae.errors import ConfigError
from classifsae.pipeline.config import Experiment, Tracker
from classifsae.pipeline.run_folder import Record, RunFolder
from classifsae.storage import writing

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from classifsae.pipeline.run import Watch
    from classifsae.tensors import OnStep

PROJECT = "classifsae"
_PACKAGES: dict[Tracker, str] = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow-skinny",
    "trackio": "trackio",
}


def require_installed(trackers: Sequence[Tracker]) -> None:
    """See that all trackers are installed.

    Raises:
        ConfigError: one is not.
    """
    for name in trackers:
        if find_spec(name) is None:
            raise ConfigError(
                f"trackers: {name} is not installed: pip install {_PACKAGES[name]}, or leave it out."
            )


class Tracks:
    """A watch that tells trackers too.

    Args:
        watch: told what it would be told without trackers.
        trackers: that have been started.
    """

    def __init__(self, watch: "Watch | None", trackers: "Sequence[GeneralTracker]") -> None:
        self._watch, self._trackers = watch, trackers
        self._axes: set[str] = set()

    @contextmanager
    def stage(self, name: str, /) -> Iterator["OnStep | None"]:
        """A stage begins; the numbers of its steps are tracked."""
        with self._watch.stage(name) if self._watch else nullcontext() as shown:

            def on_step(done: int, total: int, values: Mapping[str, float], /) -> None:
                if shown is not None:
                    shown(done, total, values)
                if values:
                    self._log({f"{name}/{key}": float(value) for key, value in values.items()}, done)

            yield on_step if self._trackers else shown

    def kept(self, name: str, /) -> None:
        """A stage is up to date, and has no curve."""
        if self._watch:
            self._watch.kept(name)

    def results(self, records: Sequence[Record], folder: RunFolder) -> None:
        """Track the final table, and the pictures of the report if they were drawn."""
        if not self._trackers:
            return
        for record in records:
            of = f"scores/{record['method']} seed {record['seed']}"
            numbers = {f"{of}/{k}": float(v) for k, v in record.items() if isinstance(v, int | float)}
            self._log({name: v for name, v in numbers.items() if not name.endswith("/seed")}, 0)
        from classifsae.reporting.save import FIGURES

        files = sorted((folder.report / FIGURES).glob("*.png"))
        for tracker in self._trackers:
            _log_pictures(tracker, files)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for tracker in self._trackers:
            if tracker.name == "wandb":  # whose own steps never go back, as those of the next stage do
                stage = next(iter(values)).rpartition("/")[0]
                if stage not in self._axes:
                    tracker.tracker.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
                    self._axes.add(stage)
                tracker.log({**values, f"{stage}/step": step})
            else:
                tracker.log(dict(values), step=step)


@contextmanager
def tracking(experiment: Experiment, folder: RunFolder, watch: "Watch | None") -> Iterator[Tracks]:
    """The trackers of an experiment, started, and closed at the end."""
    with ExitStack() as stack:
        yield Tracks(
            watch, [stack.enter_context(_started(t, experiment, folder)) for t in experiment.trackers]
        )


@contextmanager
def _started(name: Tracker, experiment: Experiment, folder: RunFolder) -> Iterator["GeneralTracker"]:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    where, title = folder.trackers, "/".join(folder.path.parts[-2:])
    with writing(where):
        where.mkdir(parents=True, exist_ok=True)
    options: dict[Tracker, dict[str, object]] = {
        "tensorboard": {"logging_dir": str(where)},
        "wandb": {"dir": str(where), "name": title},
        "mlflow": {"run_name": title},
        "trackio": {"name": title},
    }
    with ranks.alone():  # trackers ask accelerate for a state, which would wait for the other processes
        PartialState(cpu=experiment.device == "cpu")
    if name == "mlflow":
        _choose_store(where)
    tracker = LOGGER_TYPE_TO_CLASS[name](name if name == "tensorboard" else PROJECT, **options[name])
    tracker.main_process_only = False  # this process is the first one
    tracker.start()
    about = {"backbone": experiment.backbone.name, "methods": ", ".join(experiment.methods)}
    tracker.store_init_configuration({**about, "seeds": ", ".join(map(str, experiment.seeds))})
    try:
        yield tracker
    finally:
        tracker.finish()


def _choose_store(where: Path) -> None:
    """Files in the run's folder, unless the user has a place for what MLflow keeps."""
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow.set_tracking_uri((where / "mlflow").absolute().as_uri())


def _log_pictures(tracker: "GeneralTracker", files: Sequence[Path]) -> None:
    from matplotlib.image import imread

    if tracker.name == "mlflow":
        for file in files:
            tracker.log_artifact(str(file), "figures")
    elif tracker.name != "trackio":
        layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        for file in files:
            tracker.log_images({f"figures/{file.stem}": imread(file)[None, ..., :3]}, **layout)
