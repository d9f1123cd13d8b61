"""What trackers are told of a run: curves of training and fits, scores, pictures; and one that is missing."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave

from classifsae.errors import ConfigError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from e2e.conftest import SMALL, write_experiment

FEW = {
    "methods": {"sae": SMALL | {"n_vectors": 2000, "n_probe": 100}},
    "seeds": [1],
    "metrics": ["completeness"],
    "audit": None,
}


def tracked(folder: Path, name: str) -> Path:
    """The folder of what one tracker kept of a run."""
    pytest.importorskip(name, reason=f"{name} is not installed")
    (point,) = load_experiment(write_experiment(folder, **FEW, trackers=[name]))
    return run(point).folder / "trackers"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tensorboard_has_every_loss_the_scores_and_the_pictures(tmp_path: Path):
    where = tracked(tmp_path, "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # A picture that a report has; to draw one takes seconds.
    figures = where.parent / "report" / "figures"
    figures.mkdir()
    imsave(figures / "overview.png", np.zeros((4, 6, 3)))
    (point,) = load_experiment(tmp_path / "tiny.yaml")
    assert run(point).n_done == 0
    found = EventAccumulator(str(where / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("finetune/loss")] == [*range(1, 41)]
    assert {"fit sae seed 1/loss", "fit sae seed 1/reconstruction"} <= {*found.Tags()["scalars"]}
    assert found.Scalars("scores/sae seed 1/recovery_accuracy")[0].value <= 1
    (picture,) = found.Images("figures/overview")
    assert (picture.height, picture.width) == (4, 6)

    (point,) = load_experiment(tmp_path / "tiny.yaml", ["trackers=[]"])
    assert run(point).n_done == 0  # nothing that is made depends on trackers


@pytest.mark.filterwarnings("ignore")
def test_wandb_is_told_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    where = tracked(tmp_path, "wandb")
    (file,) = where.glob("wandb/offline-run-*/run-*.wandb")
    kept = file.read_bytes()
    for name in (b"finetune/loss", b"fit sae seed 1/loss", b"scores/sae seed 1/recovery_accuracy"):
        assert name in kept


@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_files_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    where = tracked(tmp_path, "mlflow")
    (losses,) = where.glob("mlflow/*/*/metrics/finetune/loss")
    assert [int(line.split()[2]) for line in losses.read_text().splitlines()] == [*range(1, 41)]
    assert list(where.glob("mlflow/*/*/metrics/fit sae seed 1/loss"))
    assert list(where.glob("mlflow/*/*/metrics/scores/sae seed 1/recovery_accuracy"))


@pytest.mark.filterwarnings("ignore")
def test_trackio_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    tracked(tmp_path, "trackio")
    assert list((tmp_path / "trackio").glob("classifsae*"))


def test_a_tracker_that_is_not_installed_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (point,) = load_experiment(write_experiment(tmp_path, **FEW, trackers=["wandb"]))
    monkeypatch.setattr(
        "classifsae.pipeline.trackers.find_spec", lambda n: None if n == "wandb" else find_spec(n)
    )
    with pytest.raises(ConfigError, match=r"trackers: wandb is not installed: pip install wandb"):
        run(point)
    assert not os.path.exists(tmp_path / "run")
