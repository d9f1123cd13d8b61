"""Libraries that print, draw bars, raise and draw random numbers of their own, kept to themselves."""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from classifsae.errors import ClassifSAEError, ConfigError

# It says which kernels it does without, wherever peft is imported, and a line per product in 8 bits.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Hugging Face's bars and warnings; what matters is checked and raised by us."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as hf_logging

    level, hub_level = hf_logging.get_verbosity(), hub_logging.get_verbosity()
    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hub_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if bars:
            hf_logging.enable_progress_bar()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run with global generators seeded, as Hugging Face initialises from them, and put them back after."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def as_config_error(what: str, *, cure: str) -> Iterator[None]:
    """Turn whatever code that is not ours raises into a ConfigError; keep the errors of our own.

    Any exception, as there is no list: the tokenizers library raises bare ``Exception``, for one.

    Args:
        what: did not work.
        cure: what to do instead.
    Raises:
        ConfigError: says what did not work, what was raised, and what to do.
    """
    try:
        yield
    except ClassifSAEError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200].rstrip(".")
        raise ConfigError(f"{what} ({type(error).__name__}: {said}); {cure}.") from error
