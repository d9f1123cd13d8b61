"""Being asked to stop, by Ctrl-C, SIGTERM or a closed terminal.

A training saves where it is first, all else stops at once.
"""

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType


class Stopped(BaseException):
    """A signal asked to stop.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class _Asked:
    """Who asked, and how many trainings would rather save before they stop."""

    by: int | None = None
    n_saving: int = 0


_asked = _Asked()


def listen() -> None:
    """Raise ``Stopped`` where this process is when it is asked to stop, or once a training has saved."""
    owner = os.getpid()
    _asked.by = None

    def answer(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker, which has nothing to save
            os._exit(128 + number)
        if number not in (signal.SIGINT, signal.SIGTERM):
            _forget_terminal()
        is_repeated = _asked.by is not None
        _asked.by = _asked.by or number
        if not _asked.n_saving or (is_repeated and number == signal.SIGINT):
            raise Stopped(_asked.by)

    for number in _signals():
        signal.signal(number, answer)


def _signals() -> Iterator[signal.Signals]:
    """What asks to stop here; a terminal that closes does not under nohup."""
    yield from (signal.SIGINT, signal.SIGTERM)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        yield signal.SIGHUP


def _forget_terminal() -> None:
    """Print into nothing where the terminal was, which can no longer be written to."""
    with open(os.devnull, "wb") as nowhere:
        for stream in (1, 2):
            with suppress(OSError):  # closed by whoever started this
                if stat.S_ISCHR(os.fstat(stream).st_mode):
                    os.dup2(nowhere.fileno(), stream)


@contextmanager
def saves_first() -> Iterator[None]:
    """What runs in here asks ``is_asked`` at each step, saves, and then calls ``stop_if_asked``."""
    _asked.n_saving += 1
    try:
        yield
    finally:
        _asked.n_saving -= 1
    stop_if_asked()


def ask(number: int) -> None:
    """Have this process stop as if it had been asked by a signal of this number."""
    _asked.by = _asked.by or number


def stop_listening() -> None:
    """End without being disturbed."""
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)


def is_asked() -> bool:
    """Whether this process is asked to stop."""
    return _asked.by is not None


def stop_if_asked() -> None:
    """Stop now if that was asked.

    Raises:
        Stopped: it was.
    """
    if _asked.by is not None:
        raise Stopped(_asked.by)
