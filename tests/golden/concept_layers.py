"""The published ConceptSHAP and HI-Concept runs: recorded weights, steps and batch orders."""

import json
from pathlib import Path

import pytest
import torch

from classifsae.concepts import Run
from classifsae.concepts._optimise import Objective, Schedule, optimise
from classifsae.storage import read_tensors
from classifsae.tensors import Tensor

WEIGHTS = ("concepts", "decoder_1", "decoder_2")
STEPS_PER_EPOCH = 5600 // 128
RATE = 3e-4


class RecordedOrder:
    """Batches of 128 in the recorded order; the rest of an epoch is dropped, as published."""

    def __init__(self, folder: Path) -> None:
        self._epochs = read_tensors(folder / "train_order.safetensors")["epoch_orders"].long()

    def rows(self, step: int) -> Tensor:
        epoch, batch = divmod(step, STEPS_PER_EPOCH)
        return self._epochs[epoch, 128 * batch : 128 * (batch + 1)]


def weights_in(tensors: dict[str, Tensor], *, prefix: str = "") -> dict[str, Tensor]:
    return {name: tensors[prefix + name].clone() for name in WEIGHTS}


def assert_step(
    objective: Objective,
    terms: dict[str, Tensor],
    recorded: dict[str, Tensor],
    told: dict[str, float],
    names: dict[str, str],
) -> None:
    """Terms, their weighted sum and every gradient within 1e-4 relative."""
    total = torch.stack([objective.weights[name] * term for name, term in terms.items()]).sum()
    total.backward()
    for mine, theirs in names.items():
        assert terms[mine].item() == pytest.approx(told[f"losses.{theirs}"], rel=1e-4), mine
    assert total.item() == pytest.approx(told["losses.total"], rel=1e-4)
    for name, parameter in objective.named_parameters():
        gradient = recorded[f"grad.{name.removeprefix('coder.')}"]
        assert parameter.grad is not None
        assert (parameter.grad - gradient).norm() <= 1e-4 * gradient.norm(), name


def replay(objective: Objective, folder: Path, *, n_steps: int) -> tuple[Run, list[dict[str, float]]]:
    """Train from the recorded start in the recorded order; returns our curves and the recorded ones."""
    run = Run()
    optimise(objective, RecordedOrder(folder), Schedule(n_steps, RATE, RATE, record_every=1), run)
    return run, json.loads((folder / "train_log.json").read_text())[:n_steps]


def worst_gap(run: Run, log: list[dict[str, float]], names: dict[str, str]) -> float:
    """Largest |ours - theirs| / max(1, |theirs|) over all steps and terms."""
    return max(
        abs(run.curves[mine][step] - entry[theirs]) / max(1.0, abs(entry[theirs]))
        for step, entry in enumerate(log)
        for mine, theirs in names.items()
    )
