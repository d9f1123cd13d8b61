from pathlib import Path

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from classifsae.concepts import _optimise
from classifsae.concepts._optimise import (
    AlongMemory,
    EarlyStop,
    Objective,
    Run,
    Schedule,
    ShuffledEpochs,
    generator,
    optimise,
)
from classifsae.errors import DataError

CPU = torch.device("cpu")


class Line(Objective):
    """Least squares with noise drawn per step, as methods with random masks do."""

    weights = {"square": 1.0}  # noqa: RUF012

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(3))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._x = scale * torch.randn(20, 3, generator=generator(1))

    def losses(self, rows: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        self.seen += len(rows)
        noise = torch.randn(len(rows), generator=generator(7, step))
        return {"square": (self._x[rows] @ self.slope - self._x[rows].sum(dim=1) - noise).square().mean()}


def fit(run: Run, *, n_steps: int = 30, scale: float = 1.0) -> Line:
    objective = Line(scale=scale)
    order = ShuffledEpochs(20, batch_size=8, seed=3, device=CPU)
    optimise(objective, order, Schedule(n_steps, 0.1, 0.01, clip=1.0), run)
    return objective


def fit_until_no_gain(run: Run) -> Line:
    objective = Line()
    order = ShuffledEpochs(20, batch_size=8, seed=3, device=CPU, n_held_out=4)
    early_stop = EarlyStop.in_second_half(order.held_out, 200)
    optimise(objective, order, Schedule(200, 0.1, 0.01, clip=1.0, early_stop=early_stop), run)
    return objective


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_at", [1, 2, 17, 29])
def test_a_killed_fit_ends_bit_for_bit_as_if_it_had_not_been(
    killed_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = Run()
    expected = fit(whole)
    monkeypatch.setattr(_optimise, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(_optimise, "_PAUSE_PER_SAVE", 0.0)

    def kill(done: int, total: int, values: object) -> None:
        if done == killed_at:
            raise KilledError

    with pytest.raises(KilledError):
        fit(Run(on_step=kill, checkpoint=tmp_path / "c.safetensors", inputs="a"))
    steps: list[int] = []
    again = Run(on_step=lambda d, t, v: steps.append(d), checkpoint=tmp_path / "c.safetensors", inputs="a")
    resumed = fit(again)
    assert steps[0] == killed_at
    assert torch.equal(resumed.slope, expected.slope)
    assert torch.equal(resumed.seen, expected.seen)
    assert list(again.curves.items()) == list(whole.curves.items())


@pytest.mark.parametrize("killed_at", [40, 106, 114])
def test_a_killed_fit_that_stops_early_ends_bit_for_bit_as_if_it_had_not_been(
    killed_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = Run()
    expected = fit_until_no_gain(whole)
    assert 114 <= whole.spent.n_steps < whole.spent.n_steps_at_most == 200
    assert whole.spent.n_held_out == 4
    assert whole.spent.said == f"{whole.spent.n_vectors:,} vectors (no further gain)"
    monkeypatch.setattr(_optimise, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(_optimise, "_PAUSE_PER_SAVE", 0.0)

    def kill(done: int, total: int, values: object) -> None:
        if done == killed_at:
            raise KilledError

    with pytest.raises(KilledError):
        fit_until_no_gain(Run(on_step=kill, checkpoint=tmp_path / "c.safetensors", inputs="a"))
    again = Run(checkpoint=tmp_path / "c.safetensors", inputs="a")
    resumed = fit_until_no_gain(again)
    assert torch.equal(resumed.slope, expected.slope)
    assert again.spent == whole.spent
    assert list(again.curves.items()) == list(whole.curves.items())


def test_a_fit_is_over_when_three_looks_in_a_row_bring_less_than_a_hundredth_of_the_fall():
    early_stop = EarlyStop(torch.arange(2), every=5, first=10)
    assert [early_stop.looks(n) for n in (5, 9, 10, 12, 15)] == [False, False, True, False, True]
    assert not early_stop.is_over([10.0, 5.0, 4.0])
    assert not early_stop.is_over([10.0, 2.0, 3.0, 3.0, 1.9])
    assert early_stop.is_over([10.0, 2.0, 3.0, 3.0, 1.95])


def test_held_out_rows_are_in_no_batch_and_all_others_once_per_epoch():
    order = ShuffledEpochs(10, batch_size=4, seed=0, device=CPU, n_held_out=3)
    assert order.per_epoch == 2
    seen = torch.cat([order.rows(step) for step in range(2)]).tolist()
    assert sorted(seen + order.held_out.tolist()) == list(range(10))


def test_a_checkpoint_of_other_inputs_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_optimise, "_CHECKPOINT_SECONDS", 0.0)
    fit(Run(checkpoint=tmp_path / "c.safetensors", inputs="a"))
    steps: list[int] = []
    fit(Run(on_step=lambda d, t, v: steps.append(d), checkpoint=tmp_path / "c.safetensors", inputs="b"))
    assert steps[0] == 1


def test_every_row_is_seen_once_per_epoch_also_those_of_the_last_partial_batch():
    order = ShuffledEpochs(10, batch_size=4, seed=0, device=CPU)
    assert order.per_epoch == 3
    first = torch.cat([order.rows(step) for step in range(3)])
    second = torch.cat([order.rows(step) for step in range(3, 6)])
    assert sorted(first.tolist()) == list(range(10)) == sorted(second.tolist())
    assert first.tolist() != second.tolist()


def test_a_batch_does_not_depend_on_what_was_asked_before():
    one, other = (ShuffledEpochs(10, batch_size=4, seed=0, device=CPU) for _ in range(2))
    other.rows(0)
    assert torch.equal(one.rows(7), other.rows(7))


def test_the_rate_falls_along_a_half_cosine():
    schedule = Schedule(n_steps=100, learning_rate=1.0, final_learning_rate=0.0)
    assert [schedule.rate(s) for s in (0, 50, 100)] == pytest.approx([1.0, 0.5, 0.0])


def test_the_rate_is_constant_where_both_ends_are_equal():
    schedule = Schedule(n_steps=100, learning_rate=0.3, final_learning_rate=0.3)
    assert {schedule.rate(s) for s in range(100)} == {0.3}


def test_curves_hold_about_a_thousand_steps_and_the_last():
    schedule = Schedule(n_steps=5000, learning_rate=1.0, final_learning_rate=0.0)
    kept = [s for s in range(5000) if schedule.records(s)]
    assert len(kept) == 1001
    assert kept[-1] == 4999


def test_a_loss_that_is_no_number_stops_the_fit():
    with pytest.raises(
        DataError, match=r"training diverged at step 0: .*square.* is not finite; lower the learning rate"
    ):
        fit(Run(), scale=float("inf"))


def test_seeds_do_not_meet():
    draws = {
        torch.rand(1, generator=generator(seed, step)).item() for seed in range(20) for step in range(20)
    }
    assert len(draws) == 400


def test_a_parameter_that_lies_column_by_column_learns_as_any_other_and_is_not_copied():
    def after(parameter: torch.nn.Parameter, *, saved: bool) -> torch.nn.Parameter:
        optimiser = AlongMemory([parameter], lr=0.1)
        for step in range(4):
            if saved and step == 2:
                moments = {name: moment.clone() for name, moment in optimiser.moments(parameter).items()}
                optimiser = AlongMemory([parameter], lr=0.1)
                optimiser.put_back(parameter, moments)
            (parameter - wanted).pow(4).sum().backward()
            optimiser.update()
        assert parameter.grad is None
        return parameter

    wanted = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    rows = after(torch.nn.Parameter(torch.zeros(3, 5)), saved=False)
    columns, resumed = (
        after(torch.nn.Parameter(torch.zeros(5, 3).T), saved=saved) for saved in (False, True)
    )
    assert columns.stride() == (1, 3)
    assert torch.allclose(columns, rows, atol=1e-6)
    assert torch.equal(columns, resumed)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        after(torch.nn.Parameter(torch.zeros(5, 3).T), saved=False)
    assert not any(event.name == "aten::contiguous" for event in seen.events())
