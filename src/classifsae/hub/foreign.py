"""What other people's models, configurations and tokenizers raise, said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from classifsae.errors import ClassifSAEError, ConfigError

MOST_SAID = 200


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
        said = " ".join(str(error).split())[:MOST_SAID].rstrip(".")
        raise ConfigError(f"{what} ({type(error).__name__}: {said}); {cure}.") from error
