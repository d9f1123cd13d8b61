"""Several processes at one run, as torchrun starts them: the first leads, the others help where it says so.

They talk through torchrun's own store, which is asked now and then: a wait may last for hours, and a signal
is answered at once. Without torchrun there is one process, for which nothing here does anything.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from classifsae.errors import ClassifSAEError

if TYPE_CHECKING:
    from pydantic import JsonValue
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")

_SECONDS = 0.05
"""Between two looks at the store."""
_waits, _told = count(), count()


class LostError(ClassifSAEError):
    """Another process of the run ended, so that this one cannot go on."""

    def __init__(self) -> None:
        super().__init__("another process of this run ended; run the same command again to go on from here.")


def n_ranks() -> int:
    """Processes of this run."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ["RANK"]) if n_ranks() > 1 else 0


def local_rank() -> int:
    """Number of this process on its machine, from 0: of its GPU too."""
    return int(os.environ["LOCAL_RANK"]) if n_ranks() > 1 else 0


def is_first() -> bool:
    """Whether this process leads: prints, and writes what all have made."""
    return rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """As if there were no other process: what is set up in here waits for none."""
    names = ("LOCAL_RANK", "RANK", "WORLD_SIZE")
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def share(parts: Sequence[T]) -> Sequence[T]:
    """What of a list this process does."""
    return parts[rank() :: n_ranks()]


def wait() -> None:
    """Go on once all processes are here.

    Raises:
        LostError: they will not come.
    """
    if n_ranks() > 1:
        key = f"wait/{next(_waits)}"
        with together():
            _store().add(key, 1)
            _until(lambda: _store().add(key, 0) == n_ranks())


def tell(order: "JsonValue") -> None:
    """Say, as the first, what all do next; None: that there is no more to do."""
    if n_ranks() > 1 and is_first():
        _store().set(f"order/{next(_told)}", json.dumps(order))


def orders() -> Iterator["JsonValue"]:
    """What the first says, until there is no more to do.

    Raises:
        LostError: it will not say more.
    """
    for number in count():
        key = f"order/{number}"
        with together():
            _until(lambda key=key: _store().check([key]))  # type: ignore[misc]
            order = json.loads(_store().get(key))
        if order is None:
            return
        yield order


@contextmanager
def together() -> Iterator[None]:
    """What all processes do at the same time.

    Raises:
        LostError: one of them ended.
    """
    try:
        yield
    except RuntimeError as error:
        if n_ranks() == 1 or not _is_of_connection(error):
            raise
        raise LostError from error


def _is_of_connection(error: RuntimeError) -> bool:
    from torch.distributed import DistError

    return isinstance(error, DistError) or "gloo" in str(error)


def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(_SECONDS)


@cache
def _store() -> "Store":
    """The store of torchrun, with keys of this start of the processes alone."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    whole = TCPStore(address, port, is_master=False, wait_for_workers=False)
    return PrefixStore(f"classifsae/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", whole)
