"""The one training loop: seeded order, schedule, clipping, curves, checkpoint and exact resume.

Everything random is drawn from (seed, epoch) or (seed, step), so a run that was killed continues as
if nothing had happened: the state is the parameters, the optimiser's moments and the step number.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import torch
from torch import nn

from classifsae.activations import Guidance
from classifsae.errors import DataError
from classifsae.stopping import is_asked, saves_first, stop_if_asked
from classifsae.storage import read_tensors, write_tensors
from classifsae.tensors import Float, Int, OnStep, Tensor

Curves: TypeAlias = dict[str, list[float]]

_CHECKPOINT_SECONDS = 30.0
_PAUSE_PER_SAVE = 20  # at most a twentieth of the time goes into saving


@dataclass(frozen=True)
class Run:
    """What goes with one fit: how it is watched and kept safe, and what guides it.

    Attributes:
        on_step: told of recorded steps.
        checkpoint: file from which an interrupted fit continues.
        inputs: fingerprint of what the fit depends on; a checkpoint of other inputs is not used.
        curves: filled with the recorded loss terms.
        guidance: what the training texts say, for methods that are guided by it.
    """

    on_step: OnStep | None = None
    checkpoint: Path | None = None
    inputs: str = ""
    curves: Curves = field(default_factory=dict)
    guidance: Guidance | None = None


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rate.

    Attributes:
        n_steps: optimiser steps in all.
        learning_rate: Adam's rate at the first step.
        final_learning_rate: rate that a half cosine reaches at the end; equal to the first for a constant.
        clip: largest gradient norm, or None for no clipping.
        record_every: distance of recorded steps; by default about 1,000 are recorded in all.
    """

    n_steps: int
    learning_rate: float
    final_learning_rate: float
    clip: float | None = None
    record_every: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step counted from 0: a half cosine without warm-up."""
        fall = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + fall * (1 + math.cos(math.pi * step / self.n_steps)) / 2

    def records(self, step: int) -> bool:
        """Whether this step's numbers are kept."""
        every = self.record_every or max(1, self.n_steps // 1000)
        return step % every == 0 or step == self.n_steps - 1


class Order(Protocol):
    """Which rows make up the batch of a step."""

    def rows(self, step: int) -> Int[Tensor, " b"]:
        """Row numbers of a batch."""


class ShuffledEpochs:
    """Every row once per epoch in a fresh seeded order; the last, partial batch of an epoch is used.

    Args:
        n_rows: rows in all.
        batch_size: rows per batch.
        seed: of the order.
        device: where row numbers are needed.
    """

    def __init__(self, n_rows: int, *, batch_size: int, seed: int, device: torch.device) -> None:
        self.per_epoch = math.ceil(n_rows / batch_size)
        self._n_rows, self._batch_size, self._seed, self._device = n_rows, batch_size, seed, device
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> Int[Tensor, " b"]:
        """Row numbers of the batch of a step counted from 0."""
        epoch, batch = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            order = torch.randperm(self._n_rows, generator=generator(self._seed, epoch))
            self._epoch, self._order = epoch, order.to(self._device)
        return self._order[batch * self._batch_size : (batch + 1) * self._batch_size]


def generator(seed: int, *counters: int) -> torch.Generator:
    """A CPU generator for one moment of a run, independent of all others."""
    mixed = seed
    # One step of a linear congruential generator per counter (Knuth's constants): near counters, far seeds.
    for counter in counters:
        mixed = (mixed * 6364136223846793005 + counter + 1442695040888963407) % (1 << 63)
    return torch.Generator().manual_seed(mixed)


class Objective(nn.Module, ABC):
    """What a fit minimises: named loss terms of a batch, and what must hold before and after a step."""

    weights: Mapping[str, float]

    @abstractmethod
    def losses(self, rows: Int[Tensor, " b"], step: int) -> dict[str, Float[Tensor, ""]]:
        """Loss terms of these rows at this step; the loss is their sum weighted by ``weights``."""

    def before_step(self) -> None:
        """Restore constraints on the parameters."""

    def after_backward(self) -> None:
        """Adjust gradients before they are clipped."""

    def numbers(self) -> dict[str, float]:
        """Further numbers worth a curve."""
        return {}


def optimise(objective: Objective, order: Order, schedule: Schedule, run: Run) -> None:
    """Minimise with Adam; continue from the run's checkpoint if it is of the same inputs.

    Raises:
        DataError: the loss is no longer a number; says which term.
    """
    optimiser = torch.optim.Adam(objective.parameters(), lr=schedule.learning_rate, fused=True)
    saver = _Saver(objective, optimiser, run)
    with nullcontext() if run.checkpoint is None else saves_first():
        for step in range(saver.restore(), schedule.n_steps):
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(step)
            values = _step(objective, optimiser, order.rows(step), step, schedule.clip)
            if schedule.records(step):
                numbers = _checked({k: float(v) for k, v in values.items()} | objective.numbers(), step)
                for name, number in numbers.items():
                    run.curves.setdefault(name, []).append(number)
                if run.on_step:
                    run.on_step(step + 1, schedule.n_steps, numbers)
            saver.save_now_and_then(step + 1)
    objective.before_step()  # once more, so that what is kept obeys the constraints too


def _step(
    objective: Objective, optimiser: torch.optim.Adam, rows: Tensor, step: int, clip: float | None
) -> dict[str, Tensor]:
    objective.before_step()
    terms = objective.losses(rows, step)
    total = torch.stack([objective.weights[name] * term for name, term in terms.items()]).sum()
    optimiser.zero_grad()
    # No further than the parameters: a classifier that the terms run through stays as it is.
    total.backward(inputs=list(objective.parameters()))
    objective.after_backward()
    values = {"loss": total.detach()} | {name: term.detach() for name, term in terms.items()}
    if clip is not None:
        values["gradient_norm"] = nn.utils.clip_grad_norm_(objective.parameters(), clip)
    optimiser.step()
    return values


def _checked(numbers: dict[str, float], step: int) -> dict[str, float]:
    bad = [name for name, number in numbers.items() if not math.isfinite(number)]
    if bad:
        raise DataError(
            f"training diverged at step {step}: {', '.join(bad)} is not finite; "
            f"lower the learning rate, or check the hidden states for extreme values."
        )
    return numbers


class _Saver:
    """Writes and reads the state of a fit: parameters, buffers, Adam's moments, curves and the step."""

    def __init__(self, objective: Objective, optimiser: torch.optim.Adam, run: Run) -> None:
        self._objective, self._optimiser, self._run = objective, optimiser, run
        self._pause, self._last = _CHECKPOINT_SECONDS, time.monotonic()

    def save_now_and_then(self, step: int) -> None:
        """Save when the last time is long enough ago, and long compared with what saving costs.

        Raises:
            Stopped: that was asked, and the state is saved.
        """
        if self._run.checkpoint is None or not (is_asked() or time.monotonic() - self._last >= self._pause):
            return
        begin = time.monotonic()
        write_tensors(self._run.checkpoint, self._state(step))
        self._last = time.monotonic()
        self._pause = max(_CHECKPOINT_SECONDS, _PAUSE_PER_SAVE * (self._last - begin))
        stop_if_asked()

    def restore(self) -> int:
        """Put the saved state in place; returns the step to go on with."""
        path = self._run.checkpoint
        if path is None or not path.is_file():
            return 0
        # Copies, as the file that the tensors are mapped from is written again while the fit goes on.
        state = {name: tensor.clone() for name, tensor in read_tensors(path).items()}
        if not torch.equal(state["inputs"], self._inputs()):
            return 0
        self._objective.load_state_dict(_under("objective/", state))
        for name, parameter in self._objective.named_parameters():
            moments = _under(f"adam/{name}/", state)
            self._optimiser.state[parameter] = {k: _placed(t, parameter) for k, t in moments.items()}
        for name, curve in _under("curve/", state).items():
            self._run.curves[name] = curve.tolist()
        return int(state["step"])

    def _state(self, step: int) -> dict[str, Tensor]:
        state = {f"objective/{name}": tensor for name, tensor in self._objective.state_dict().items()}
        for name, parameter in self._objective.named_parameters():
            for key, value in self._optimiser.state[parameter].items():
                state[f"adam/{name}/{key}"] = value
        for name, curve in self._run.curves.items():
            state[f"curve/{name}"] = torch.tensor(curve, dtype=torch.float64)
        return state | {"step": torch.tensor(step), "inputs": self._inputs()}

    def _inputs(self) -> Tensor:
        return torch.tensor(list(self._run.inputs.encode()) or [0], dtype=torch.uint8)


def _placed(state: Tensor, parameter: Tensor) -> Tensor:
    """A tensor of Adam's, the step too, as fused Adam takes it: on the parameter's device, in its layout."""
    if not state.dim():
        return state.to(parameter.device)
    # An encoder that began as a transpose lies column by column, and fused Adam goes along the memory.
    return torch.empty_like(parameter).copy_(state)


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
