"""The one training loop: seeded order, schedule, clipping, curves, checkpoint and exact resume.

Everything random is drawn from (seed, epoch) or (seed, step), so a run that was killed continues as
if nothing had happened: the state is the parameters, the optimiser's moments and the step number.
"""

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import torch
from pydantic import BaseModel
from torch import nn

from classifsae.activations import Guidance
from classifsae.errors import DataError, StorageError
from classifsae.stopping import is_asked, saves_first, stop_if_asked
from classifsae.storage import read_sealed, write_sealed
from classifsae.tensors import Float, Int, OnStep, Tensor

_LOG = logging.getLogger(__name__)

Curves: TypeAlias = dict[str, list[float]]

_CHECKPOINT_SECONDS = 30.0
_PAUSE_PER_SAVE = 20  # at most a twentieth of the time goes into saving

HELD_OUT_LOSS = "held-out loss"
"""Name of the curve of the loss on sentences that a fit does not learn from."""


class Spent(BaseModel):
    """What a fit cost.

    Attributes:
        n_steps: optimiser steps that were made; 0 for a method that makes none.
        n_vectors: sentence vectors that they saw, repeats counted.
        n_steps_at_most: steps that the schedule allowed.
        n_held_out: sentences that decided when to stop; 0: nothing did.
    """

    n_steps: int = 0
    n_vectors: int = 0
    n_steps_at_most: int = 0
    n_held_out: int = 0

    @property
    def said(self) -> str:
        """How many vectors, and why no more."""
        why = "no further gain" if self.n_steps < self.n_steps_at_most else "the whole plan"
        return f"{self.n_vectors:,} vectors ({why if self.n_held_out else 'a fixed number'})"


@dataclass(frozen=True)
class Run:
    """What goes with one fit: how it is watched and kept safe, and what guides it.

    Attributes:
        on_step: told of recorded steps.
        checkpoint: file from which an interrupted fit continues.
        inputs: fingerprint of what the fit depends on; a checkpoint of other inputs is not used.
        curves: filled with the recorded loss terms.
        guidance: what the training texts say, for methods that are guided by it.
        spent: filled with what the fit cost.
    """

    on_step: OnStep | None = None
    checkpoint: Path | None = None
    inputs: str = ""
    curves: Curves = field(default_factory=dict)
    guidance: Guidance | None = None
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True)
class EarlyStop:
    """Ends a fit whose loss on held-out sentences no longer falls.

    Attributes:
        rows: the sentences, none of which is learned from.
        every: steps between two looks at the loss.
        first: the first step that may be the last.
        patience: looks in a row that must bring no gain.
        least: gain that counts, as a share of all that the loss has fallen.
    """

    rows: Int[Tensor, " v"]
    every: int
    first: int
    patience: int = 3
    least: float = 0.01

    @classmethod
    def in_second_half(cls, rows: Int[Tensor, " v"], n_steps: int) -> "EarlyStop | None":
        """With forty looks in all steps; None without rows to look at."""
        return cls(rows, max(1, n_steps // 40), n_steps // 2) if len(rows) else None

    def looks(self, n_done: int) -> bool:
        """Whether the loss is looked at after so many steps."""
        return n_done >= self.first and n_done % self.every == 0

    def is_over(self, losses: Sequence[float]) -> bool:
        """Whether these losses, one per look, have stopped falling."""
        before, late = losses[: -self.patience], losses[-self.patience :]
        return bool(before) and min(before) - min(late) <= self.least * (max(losses) - min(losses))


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rate.

    Attributes:
        n_steps: optimiser steps in all.
        learning_rate: Adam's rate at the first step.
        final_learning_rate: rate that a half cosine reaches at the end; equal to the first for a constant.
        clip: largest gradient norm, or None for no clipping.
        record_every: distance of recorded steps; by default about 1,000 are recorded in all.
        early_stop: what may end it before; None: nothing.
    """

    n_steps: int
    learning_rate: float
    final_learning_rate: float
    clip: float | None = None
    record_every: int = 0
    early_stop: EarlyStop | None = None

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


_HELD_OUT = 1 << 40
"""Sets the draw of the held-out rows apart from that of any epoch."""


class ShuffledEpochs:
    """Every row once per epoch in a fresh seeded order; the last, partial batch of an epoch is used.

    Args:
        n_rows: rows in all.
        batch_size: rows per batch.
        seed: of the order.
        device: where row numbers are needed.
        n_held_out: rows that are in no batch, drawn by the seed.
    """

    def __init__(
        self, n_rows: int, *, batch_size: int, seed: int, device: torch.device, n_held_out: int = 0
    ) -> None:
        rows = torch.arange(n_rows)
        if n_held_out:
            rows = torch.randperm(n_rows, generator=generator(seed, _HELD_OUT))
        self.held_out, self._learned = rows[:n_held_out].to(device), rows[n_held_out:]
        self.per_epoch = math.ceil(len(self._learned) / batch_size)
        self._batch_size, self._seed, self._device = batch_size, seed, device
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> Int[Tensor, " b"]:
        """Row numbers of the batch of a step counted from 0."""
        epoch, batch = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            order = torch.randperm(len(self._learned), generator=generator(self._seed, epoch))
            self._epoch, self._order = epoch, self._learned[order].to(self._device)
        return self._order[batch * self._batch_size : (batch + 1) * self._batch_size]


def n_held_out(n_sentences: int) -> int:
    """Sentences that are not learned from where the data decide the budget: a tenth, at most 500."""
    return min(n_sentences // 10, 500)


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

    @torch.no_grad()
    def held_out_loss(self, rows: Int[Tensor, " v"], step: int) -> float:
        """The loss on rows that are not learned from; leaves everything as it is."""
        return float(sum(self.weights[name] * term for name, term in self.losses(rows, step).items()))

    def numbers(self) -> dict[str, float]:
        """Further numbers worth a curve."""
        return {}


def optimise(objective: Objective, order: Order, schedule: Schedule, run: Run) -> None:
    """Minimise with Adam; continue from the run's checkpoint if it is of the same inputs.

    Raises:
        DataError: the loss is no longer a number; says which term.
    """
    optimiser = AlongMemory(objective.parameters(), lr=schedule.learning_rate)
    saver, spent, early_stop = _Saver(objective, optimiser, run), run.spent, schedule.early_stop
    spent.n_steps_at_most = schedule.n_steps
    spent.n_held_out = len(early_stop.rows) if early_stop else 0
    with nullcontext() if run.checkpoint is None else saves_first():
        for step in range(saver.restore(), schedule.n_steps):
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(step)
            rows = order.rows(step)
            values = _step(objective, optimiser, rows, step, schedule.clip)
            spent.n_steps, spent.n_vectors = step + 1, spent.n_vectors + len(rows)
            if schedule.records(step):
                numbers = _checked({k: float(v) for k, v in values.items()} | objective.numbers(), step)
                for name, number in numbers.items():
                    run.curves.setdefault(name, []).append(number)
                if run.on_step:
                    run.on_step(step + 1, schedule.n_steps, numbers)
            if early_stop and early_stop.looks(step + 1):
                losses = run.curves.setdefault(HELD_OUT_LOSS, [])
                losses.append(objective.held_out_loss(early_stop.rows, step))
                if early_stop.is_over(losses):
                    break
            saver.save_now_and_then(step + 1)
    objective.before_step()  # once more, so that what is kept obeys the constraints too


class AlongMemory(torch.optim.Adam):
    """Fused Adam, given parameters that lie column by column as their transposes, in the same memory.

    It would copy them at each step: an encoder that began as the transpose of a decoder lies like that.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float) -> None:
        self._turned: dict[nn.Parameter, nn.Parameter] = {}
        given = list(parameters)
        for parameter in given:
            if parameter.dim() == 2 and not parameter.is_contiguous() and parameter.T.is_contiguous():
                self._turned[parameter] = nn.Parameter(parameter.detach().T)
        super().__init__([self._turned.get(parameter, parameter) for parameter in given], lr=lr, fused=True)

    def update(self) -> None:
        """One step along the gradients, which are then gone."""
        for parameter, turned in self._turned.items():
            turned.grad = None if parameter.grad is None else parameter.grad.T
            parameter.grad = None
        self.step()
        self.zero_grad()

    def moments(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Averages and number of steps of a parameter, in its own shape."""
        return {k: self._as_given(parameter, v) for k, v in self.state[self._own(parameter)].items()}

    def put_back(self, parameter: nn.Parameter, moments: Mapping[str, Tensor]) -> None:
        """Go on from moments that were taken; all stand on the parameter's device, in its layout."""
        own = self._own(parameter)
        self.state[own] = {
            k: torch.empty_like(own).copy_(self._as_given(parameter, v)) if v.dim() else v.to(own.device)
            for k, v in moments.items()
        }

    def _own(self, parameter: nn.Parameter) -> nn.Parameter:
        return self._turned.get(parameter, parameter)

    def _as_given(self, parameter: nn.Parameter, moment: Tensor) -> Tensor:
        return moment.T if parameter in self._turned and moment.dim() else moment


def _step(
    objective: Objective, optimiser: AlongMemory, rows: Tensor, step: int, clip: float | None
) -> dict[str, Tensor]:
    objective.before_step()
    terms = objective.losses(rows, step)
    total = torch.stack([objective.weights[name] * term for name, term in terms.items()]).sum()
    # No further than the parameters: a classifier that the terms run through stays as it is.
    total.backward(inputs=list(objective.parameters()))
    objective.after_backward()
    values = {"loss": total.detach()} | {name: term.detach() for name, term in terms.items()}
    if clip is not None:
        values["gradient_norm"] = nn.utils.clip_grad_norm_(objective.parameters(), clip)
    optimiser.update()
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

    def __init__(self, objective: Objective, optimiser: AlongMemory, run: Run) -> None:
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
        write_sealed(self._run.checkpoint, self._state(step))
        self._last = time.monotonic()
        self._pause = max(_CHECKPOINT_SECONDS, _PAUSE_PER_SAVE * (self._last - begin))
        stop_if_asked()

    def restore(self) -> int:
        """Put the saved state in place; returns the step to go on with."""
        path = self._run.checkpoint
        if path is None or not path.is_file():
            return 0
        try:
            state = read_sealed(path)
        except StorageError as error:
            _LOG.warning("%s; the fit begins again.", error)
            return 0
        if "n_vectors" not in state or not torch.equal(state["inputs"], self._inputs()):
            return 0
        self._objective.load_state_dict(_under("objective/", state))
        for name, parameter in self._objective.named_parameters():
            self._optimiser.put_back(parameter, _under(f"adam/{name}/", state))
        for place, curve in sorted(_under("curve/", state).items()):
            self._run.curves[place.split("/", 1)[-1]] = curve.tolist()
        self._run.spent.n_steps, self._run.spent.n_vectors = int(state["step"]), int(state["n_vectors"])
        return int(state["step"])

    def _state(self, step: int) -> dict[str, Tensor]:
        state = {f"objective/{name}": tensor for name, tensor in self._objective.state_dict().items()}
        for name, parameter in self._objective.named_parameters():
            for key, value in self._optimiser.moments(parameter).items():
                state[f"adam/{name}/{key}"] = value
        for place, (name, curve) in enumerate(self._run.curves.items()):  # whose order is seen in reports
            state[f"curve/{place:04d}/{name}"] = torch.tensor(curve, dtype=torch.float64)
        n_vectors = torch.tensor(self._run.spent.n_vectors)
        return state | {"step": torch.tensor(step), "n_vectors": n_vectors, "inputs": self._inputs()}

    def _inputs(self) -> Tensor:
        return torch.tensor(list(self._run.inputs.encode()) or [0], dtype=torch.uint8)


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
