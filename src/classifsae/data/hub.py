"""Tables from the Hugging Face Hub, or from a local folder in the Hub's layout."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from classifsae.data.table import Table
from classifsae.errors import HubError
from classifsae.hub.files import hub_is_reachable

if TYPE_CHECKING:
    import datasets


def read_hub(name: str, *, config: str | None, revision: str | None) -> Mapping[str, Callable[[], Table]]:
    """Openers of every split of a Hub data set, or of a local folder in the Hub's layout.

    Raises:
        HubError: it is not there, cannot be reached, or cannot be read; one line, with the reason.
    """
    import datasets

    try:
        _require_reachable(name)
        splits = datasets.load_dataset(name, config, revision=revision)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:300]
        raise HubError(
            f"cannot load {name!r} from the Hub ({type(error).__name__}: {why}); "
            f"check the name and the network; there is no file or folder of this name here."
        ) from error
    return {str(split): partial(table_of, f"{name} ({split})", rows) for split, rows in splits.items()}


def _require_reachable(name: str) -> None:
    """Fail at once where the data set is neither here nor in the cache and the Hub cannot be reached.

    Raises:
        OSError: the Hub's client would retry for half a minute, with a page of log lines.
    """
    from datasets import config

    cached = Path(config.HF_DATASETS_CACHE) / name.replace("/", "___")
    if not (Path(name).exists() or cached.exists() or config.HF_HUB_OFFLINE or hub_is_reachable()):
        raise OSError("the Hub cannot be reached")


def table_of(where: str, rows: "datasets.Dataset") -> Table:
    """The rows of one split."""
    import datasets

    classes = {n: tuple(f.names) for n, f in rows.features.items() if isinstance(f, datasets.ClassLabel)}
    return Table(where, tuple(rows.column_names), len(rows), lambda name: list(rows[name][:]), classes)
