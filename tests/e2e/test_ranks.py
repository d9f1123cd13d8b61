"""Two processes of torchrun at one run: the same states, nearly the same weights, one voice, one end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from classifsae.activations import Activations
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from classifsae.storage import read_tensors
from e2e.conftest import TINY, write_data, write_experiment

BACKBONE: dict = TINY["backbone"]  # type: ignore[assignment]
EXACT = BACKBONE["architecture"] | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def two(*arguments: str) -> subprocess.Popen[str]:
    """A command of two processes."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         "-m", "classifsae", *arguments],
        env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def of_rank(number: int, parent: int) -> int:
    """Id of one of the processes that torchrun started."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"\0RANK={number}\0" in Path(f"/proc/{child}/environ").read_text():
            return int(child)
    raise AssertionError(f"{parent} has no process of rank {number}")


@pytest.mark.slow
def test_two_processes_capture_the_same_bits_train_the_same_weights_and_speak_once(tmp_path: Path):
    data = str(write_data(tmp_path / "many.csv", n=5200))  # of which 4,160 train: two shards
    tuned = BACKBONE | {"architecture": EXACT, "class_weights": True, "batch_size": 23}
    file = write_experiment(tmp_path, dataset=data, backbone=tuned, run_dir=str(tmp_path / "one/{backbone}"))
    (point,) = load_experiment(file)
    alone = run(point, until="capture").folder
    ready = {"model": str(shutil.copytree(alone / "classifier", tmp_path / "ready")), "tuning": "none"}
    run(point.model_validate(point.model_dump(mode="json") | {"backbone": ready}), until="capture")

    sweep = {"sweep": {"backbone": [tuned, ready]}, "run_dir": str(tmp_path / "two/{backbone}")}
    file = write_experiment(tmp_path, dataset=data, **sweep)
    process = two("capture", str(file))
    said = process.communicate()[0]
    assert process.returncode == 0, said
    for stage, n in {"finetune": 1, "capture train": 2, "capture test": 2}.items():
        assert sum(line.startswith(f"{stage} ") for line in said.splitlines()) == n, said
    assert "Warning" not in said

    one, both = (read_tensors(tmp_path / n / "bert/classifier/model.safetensors") for n in ("one", "two"))
    torch.testing.assert_close(one, both, atol=1e-3, rtol=0)
    for split in ("train", "test"):
        near, own = (Activations.load(tmp_path / n / "bert/activations" / split) for n in ("two", "one"))
        torch.testing.assert_close(near.logits, own.logits, atol=1e-2, rtol=0)
        name = f"ready/activations/{split}/activations.safetensors"
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    again = [run(point, until="capture").n_done for point in load_experiment(file)]
    assert again == [0, 0]


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_with_one_line(tmp_path: Path):
    file = write_experiment(tmp_path, backbone=BACKBONE | {"n_steps": 100_000})
    process, checkpoints = two("run", str(file)), tmp_path / "run" / "classifier" / "checkpoints"
    while not checkpoints.exists():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    os.kill(of_rank(1, process.pid), signal.SIGKILL)
    begin = time.monotonic()
    said = process.communicate()[0]
    assert process.returncode != 0
    assert time.monotonic() - begin < 30
    (line,) = (line for line in said.splitlines() if line.startswith("classifsae:"))
    assert line.endswith("run the same command again to go on from here.")
