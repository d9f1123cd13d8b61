"""Tables from the Hugging Face Hub, or from a local folder in the Hub's layout."""

import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from classifsae.data.table import Table
from classifsae.errors import HubError

if TYPE_CHECKING:
    import datasets


def read_hub(name: str, *, config: str | None, revision: str | None) -> Mapping[str, Callable[[], Table]]:
    """Openers of every split of a Hub data set, or of a local folder in the Hub's layout.

    Raises:
        HubError: it is not there, cannot be reached, or cannot be read; one line, with the reason.
    """
    import datasets

    try:
        if not Path(name).exists():
            _require_reachable(name)
        splits = datasets.load_dataset(name, config, revision=revision)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise cannot_load(name, error) from error
    return {str(split): partial(_table, f"{name} ({split})", rows) for split, rows in splits.items()}


def cannot_load(name: str, error: Exception) -> HubError:
    """The one message for a Hub data set that does not arrive."""
    why = " ".join(str(error).split())[:300]
    return HubError(
        f"cannot load {name!r} from the Hub ({type(error).__name__}: {why}); "
        f"check the name and the network; there is no file or folder of this name here."
    )


def _require_reachable(name: str) -> None:
    """Fail at once where the Hub cannot be reached and the data set is not in the cache.

    Without this the Hub's client retries for half a minute, with a page of log lines.

    Raises:
        OSError: says why the Hub cannot be reached.
    """
    from datasets import config

    cached = Path(config.HF_DATASETS_CACHE) / name.replace("/", "___")
    if config.HF_HUB_OFFLINE or cached.exists():
        return
    try:
        urlopen(Request(config.HF_ENDPOINT, method="HEAD"), timeout=10).close()
    except HTTPError as answer:
        answer.close()  # any answer will do
    except URLError as error:
        if not isinstance(error.reason, ssl.SSLError):
            raise


def _table(where: str, rows: "datasets.Dataset") -> Table:
    import datasets

    classes = {n: tuple(f.names) for n, f in rows.features.items() if isinstance(f, datasets.ClassLabel)}
    return Table(where, tuple(rows.column_names), len(rows), lambda name: list(rows[name][:]), classes)
