"""What an experiment reads: its data set, or what is published of it where it is out of reach."""

import math
from dataclasses import dataclass

from classifsae.classifier.sizing import CHARACTERS_PER_TOKEN
from classifsae.data import DatasetConfig, load_dataset
from classifsae.data.config import DatasetSizes
from classifsae.data.sources import resolve
from classifsae.errors import HubError

_SAMPLE = 256
_SPREAD = 32


@dataclass(frozen=True)
class Matter:
    """How much there is to read.

    Attributes:
        name: short name of the data set.
        n_train, n_test: texts.
        label_names: of the classes.
        sample: some training texts, or made-up ones of about their lengths.
        assumed: what was not read but taken from the preset, in words.
    """

    name: str
    n_train: int
    n_test: int
    label_names: tuple[str, ...]
    sample: tuple[str, ...]
    assumed: tuple[str, ...] = ()

    @property
    def n_classes(self) -> int:
        """Number of classes c."""
        return len(self.label_names)


def matter_of(config: DatasetConfig) -> Matter:
    """Load a data set; one of the Hub that does not arrive is described by its preset's sizes.

    Raises:
        ClassifSAEError: it cannot be loaded, and no sizes are stated.
    """
    try:
        data = load_dataset(config)
    except HubError:
        name, resolved = resolve(config)
        if resolved.sizes is None or resolved.label_names is None:
            raise
        return _described(name, resolved, resolved.sizes, resolved.label_names)
    step = max(1, len(data.train) // _SAMPLE)
    sample = data.train.texts[::step]
    return Matter(data.name, len(data.train), len(data.test), data.label_names, sample)


def _described(name: str, config: DatasetConfig, sizes: DatasetSizes, label_names: tuple[str, ...]) -> Matter:
    assumed = (
        f"{name}, which cannot be had from the Hub here, has as many texts as its preset states, of "
        f"{sizes.n_characters} characters on average, their lengths spread exponentially"
    )
    return Matter(
        name,
        min(sizes.n_train, config.max_train or sizes.n_train),
        min(sizes.n_test, config.max_test or sizes.n_test),
        label_names,
        tuple("the " * round(n / CHARACTERS_PER_TOKEN) for n in spread(sizes.n_characters)),
        (assumed,),
    )


def spread(mean: float) -> list[float]:
    """Quantiles of an exponential distribution: few texts are several times as long as the mean one."""
    lengths = [-math.log(1 - (i + 0.5) / _SPREAD) for i in range(_SPREAD)]
    return [mean * length * _SPREAD / sum(lengths) for length in lengths]
