"""Bars in a notebook, for whatever shows one on the command line; one switch for all of them."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from classifsae.tensors import OnStep

P = ParamSpec("P")
R = TypeVar("R")

SECONDS_BEFORE = 2.0
"""What ends sooner shows no bar."""


class _Switch:
    """What was asked for, and whether a bar is shown now: what is done within it shows none of its own."""

    asked: bool | None = None
    is_busy: bool = False


def progress_bars(shown: bool | None) -> None:
    """Show progress bars, or show none.

    Args:
        shown: True: in scripts too; False: nowhere; None: in notebooks, as it is to begin with.
    """
    _Switch.asked = shown


def with_bar(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function with an ``on_step`` that shows a bar of this name where none is given."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def shown(*args: P.args, **kwargs: P.kwargs) -> R:
            if kwargs.get("on_step") is not None:
                return function(*args, **kwargs)
            with bar(name) as on_step:
                return function(*args, **{**kwargs, "on_step": on_step})  # type: ignore[arg-type]

        return shown

    return decorate


@contextmanager
def bar(name: str) -> Iterator[OnStep | None]:
    """What to tell of each step so that a bar shows it; None where no bar is to be shown."""
    if _Switch.is_busy or not (_is_notebook() if _Switch.asked is None else _Switch.asked):
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets the bar is one of text, which is fine
        from tqdm.auto import tqdm

        shown = tqdm(desc=name, delay=SECONDS_BEFORE, leave=False)

    def on_step(done: int, total: int, values: Mapping[str, float], /) -> None:
        if shown.total != total:
            shown.reset(total)
        shown.set_postfix(values, refresh=False)
        shown.update(done - shown.n)

    _Switch.is_busy = True
    try:
        yield on_step
    finally:
        _Switch.is_busy = False
        shown.close()


class NotebookBars:
    """A bar for each stage of a run."""

    def stage(self, name: str, /) -> AbstractContextManager[OnStep | None]:
        """Show a stage while it runs."""
        return bar(name)

    def kept(self, name: str, /) -> None:
        """Nothing is shown of a stage that is up to date."""


def _is_notebook() -> bool:
    """Whether this process is the kernel of a notebook; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return "ZMQInteractiveShell" in {base.__name__ for base in type(shell).__mro__}
