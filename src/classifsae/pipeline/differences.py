"""By how much an artefact differs from the same one made again."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import torch

from classifsae.storage import Json, manifest_of, read_json, read_tensors
from classifsae.tensors import Tensor

_CHUNK = 1 << 22
"""Numbers of a tensor that are compared at once."""


class Gap(NamedTuple):
    """Two values in one place that are not equal; ``size`` is None where one is no number."""

    place: str
    size: float | None


def differences(was: Path, now: Path) -> tuple[str, ...]:
    """What of a finished artefact differs from another, a line for each file; none where they are equal.

    Raises:
        DamagedError, StorageError: one of them cannot be read.
    """
    noted, made = manifest_of(was), manifest_of(now)
    if noted is None or made is None:
        return ("is not in the run",) if noted is None else ("is not made again",)
    said = _values("manifest.json", noted.record, made.record)
    for name in sorted({*noted.files, *made.files}):
        if name not in made.files:
            said.append(f"{name}: is not made again")
        elif name not in noted.files:
            said.append(f"{name}: is not in the run")
        elif noted.files[name].sha256 != made.files[name].sha256:
            said += _of_file(name, was / name, now / name)
    return tuple(said)


def _of_file(name: str, was: Path, now: Path) -> list[str]:
    if name.endswith(".safetensors"):
        said = _tensors(name, read_tensors(was), read_tensors(now))
    elif name.endswith(".json"):
        said = _values(name, read_json(was), read_json(now))
    else:
        return [_lines(name, was.read_bytes(), now.read_bytes())]
    return said or [f"{name}: the same values in other bytes"]


def _tensors(name: str, was: dict[str, Tensor], now: dict[str, Tensor]) -> list[str]:
    said, n_other, n_all, most, place = [], 0, 0, 0.0, ""
    for key in sorted({*was, *now}):
        if key not in was or key not in now:
            said.append(f"{name}: {key} is not {'in the run' if key in now else 'made again'}")
        elif (kind := _kind(was[key])) != (again := _kind(now[key])):
            said.append(f"{name}: {key} is {kind}, made again {again}")
        else:
            n, gap = _apart(was[key], now[key])
            n_other, n_all = n_other + n, n_all + was[key].numel()
            if n and gap >= most:
                most, place = gap, key
    if n_other:
        said.append(f"{name}: {n_other:,} of {n_all:,} numbers differ, by at most {most:.2g} ({place})")
    return said


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype}".replace("torch.", "")


def _apart(was: Tensor, now: Tensor) -> tuple[int, float]:
    """How many numbers differ, and the largest absolute difference; infinite where just one is NaN."""
    n, most = 0, 0.0
    for a, b in zip(was.flatten().split(_CHUNK), now.flatten().split(_CHUNK), strict=True):
        a, b = a.double(), b.double()  # noqa: PLW2901
        other = (a != b) & ~(a.isnan() & b.isnan())
        if other.any():
            n += int(other.sum())
            most = max(most, (a - b)[other].abs().nan_to_num(nan=torch.inf).max().item())
    return n, most


def _values(name: str, was: Json, now: Json) -> list[str]:
    gaps = list(_gaps(was, now))
    numbers = [(gap.size, gap.place) for gap in gaps if gap.size is not None]
    others = [gap.place for gap in gaps if gap.size is None]
    said = []
    if numbers:
        most, place = max(numbers, key=lambda pair: pair[0])
        differ = "number differs" if len(numbers) == 1 else "numbers differ"
        said.append(f"{name}: {len(numbers):,} {differ}, by at most {most:.2g} ({place})")
    if others:
        differ = "value differs" if len(others) == 1 else "values differ"
        said.append(f"{name}: {len(others):,} other {differ}, the first {others[0]}")
    return said


def _gaps(was: Json, now: Json, place: str = "") -> Iterator[Gap]:
    """All places in which two trees of values are not equal."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in {**was, **now}:
            if key in was and key in now:
                yield from _gaps(was[key], now[key], f"{place}.{key}" if place else key)
            else:
                yield Gap(f"{place}.{key}" if place else key, None)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _gaps(one, other, f"{place}[{index}]")
    elif was != now or type(was) is not type(now):
        yield Gap(place or "the whole", _distance(was, now))


def _distance(was: Json, now: Json) -> float | None:
    """Between two numbers; None where one is none."""
    if isinstance(was, bool) or isinstance(now, bool):
        return None
    return abs(was - now) if isinstance(was, int | float) and isinstance(now, int | float) else None


def _lines(name: str, was: bytes, now: bytes) -> str:
    try:
        pairs = [*zip_longest(was.decode().splitlines(), now.decode().splitlines())]
    except UnicodeDecodeError:
        return f"{name}: other bytes"
    n = sum(one != other for one, other in pairs)
    return f"{name}: {n:,} of {len(pairs):,} lines differ" if n else f"{name}: other line ends"
