"""What other people's models, configurations and tokenizers raise, said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from classifsae.errors import ConfigError

_RAISED = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError,
    SafetensorError, StrictDataclassError, TypeError, ValueError,
)  # fmt: skip
MOST_SAID = 200


@contextmanager
def as_config_error(what: str, *, cure: str) -> Iterator[None]:
    """Turn an error of code that is not ours into ours.

    Args:
        what: did not work.
        cure: what to do instead.
    Raises:
        ConfigError: anything of the kind was raised; errors of our own go through as they are.
    """
    try:
        yield
    except _RAISED as error:
        said = " ".join(str(error).split())[:MOST_SAID]
        raise ConfigError(f"{what} ({type(error).__name__}: {said}); {cure}.") from error
