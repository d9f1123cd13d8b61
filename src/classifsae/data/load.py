"""load_dataset: from a name, a file, a folder or a description to a training and a test part."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from classifsae.data.config import DatasetConfig, check_config
from classifsae.data.labels import (
    check_classes,
    infer_label_names,
    label_indices,
    require_one_reading,
    split_off,
    subsample,
)
from classifsae.data.memory import WHOLE, tables_in_memory
from classifsae.data.planted import PlantedOptions, generate
from classifsae.data.repeats import repeated_texts
from classifsae.data.rows import NUMBERED, LabelledRows, listed, read_rows
from classifsae.data.sources import Tables, choose, find_tables, resolve, safe
from classifsae.data.table import Table
from classifsae.data.texts import Dataset, Texts
from classifsae.errors import ConfigError, DataError, setting

if TYPE_CHECKING:
    import datasets
    import pandas

PLANTED = "planted"

DatasetSource = str | Path | Mapping[str, object] | DatasetConfig


def load_dataset(
    source: "DatasetSource | pandas.DataFrame | datasets.Dataset | datasets.DatasetDict | None" = None,
    *,
    texts: Iterable[object] | None = None,
    labels: Iterable[object] | None = None,
    **overrides: object,
) -> Dataset:
    """Load a data set by preset, Hub name, file, folder or YAML description, or take one that is in memory.

    Args:
        source: a name or path, or a ``DatasetConfig``, or a mapping of its fields; a pandas data frame, a
            ``datasets.Dataset``, a mapping of columns to lists, or a mapping of splits to frames or
            ``datasets.Dataset``, such as a ``DatasetDict``.
        texts: instead of a source: n texts.
        labels: their labels: names, or indices.
        **overrides: fields of ``DatasetConfig`` that replace those of the source; ``name`` is free to choose
            where the data is in memory.
    Returns:
        A training and a test part; every row keeps its id and its original text.
    Raises:
        UnknownNameError: no such data set, with the closest names.
        ConfigError: options that cannot be.
        DataError: files, columns, texts or labels that cannot be used.
    """
    tables = tables_in_memory(source, texts=texts, labels=labels)
    if tables is not None:
        config = check_config({"name": "data", **overrides})
        name, parts = safe(config.name), _in_memory(tables, config)
        train, test = _labelled(name, config, parts)
    else:
        name, config = resolve(_config(source, overrides))
        is_planted = config.name == PLANTED
        train, test = _planted(config) if is_planted else _labelled(name, config, find_tables(config))
    check_classes(train.labels, train.label_names, where=f"{name}, training part")
    check_classes(test.labels, test.label_names, where=f"{name}, test part")
    train = _limited(train, config.max_train, "max_train", config.seed)
    test = _limited(test, config.max_test, "max_test", config.seed)
    kept, notes = _compared(name, train, test, drop_seen=config.drop_seen)
    return Dataset.of(name, train, kept, notes)


def _in_memory(tables: Mapping[str, Callable[[], Table]], config: DatasetConfig) -> tuple[Tables, Tables]:
    """The tables of both parts; none for a test part that is to be split off."""
    if list(tables) != [WHOLE]:
        return choose(tables, config, where=f"the data {config.name!r}")
    if config.train or config.test:
        raise ConfigError(
            "train and test name splits, and there is one table; give both, such as "
            "{'train': frame, 'test': frame}, or neither."
        )
    return {WHOLE: tables[WHOLE]()}, {}


def _config(source: object, overrides: Mapping[str, object]) -> DatasetConfig:
    if isinstance(source, DatasetConfig):
        fields = source.stated()
    else:
        if not isinstance(source, str | Path | Mapping):
            raise ConfigError(
                f"cannot load a data set from {type(source).__name__}; give a name or path, a pandas data "
                f"frame, a datasets.Dataset or DatasetDict, or texts= and labels=."
            )
        fields = dict(source) if isinstance(source, Mapping) else {"name": str(source)}
    return check_config({**fields, **overrides})


def _labelled(name: str, config: DatasetConfig, parts: tuple[Tables, Tables]) -> tuple[Texts, Texts]:
    """Both parts with class indices, split if there is no test part."""
    if config.options is not None:
        raise ConfigError(f"options is for {PLANTED} only, not for {config.name}; remove it.")
    train, test = ([read_rows(table, config, split=split) for split, table in part.items()] for part in parts)
    _require_distinct_ids([*train, *test])
    require_one_reading([*train, *test])
    label_names = config.label_names or infer_label_names([*train, *test])
    if len(label_names) < 2:
        raise DataError(
            f"{name} has only one class, {label_names[0]!r}; a classifier needs at least two: "
            f"add texts of another class, or set dataset.label_column to another column."
        )
    whole = _texts(train, label_names)
    return (whole, _texts(test, label_names)) if test else _split(name, whole, config)


def _texts(tables: Sequence[LabelledRows], label_names: tuple[str, ...]) -> Texts:
    """The rows of one part, one table after the other."""
    concepts = [rows.concepts for rows in tables if rows.concepts is not None]
    if concepts and len(concepts) < len(tables):
        raise DataError(
            f"only {len(concepts)} of {' and '.join(rows.where for rows in tables)} has a concepts column; "
            f"all need one, or none."
        )
    return Texts(
        texts=tuple(chain.from_iterable(rows.texts for rows in tables)),
        labels=tuple(chain.from_iterable(label_indices(rows, label_names) for rows in tables)),
        ids=tuple(chain.from_iterable(rows.ids for rows in tables)),
        label_names=label_names,
        concepts=tuple(chain.from_iterable(concepts)) if concepts else None,
    )


def _split(name: str, whole: Texts, config: DatasetConfig) -> tuple[Texts, Texts]:
    check_classes(whole.labels, whole.label_names, where=name)
    for index, label in enumerate(whole.label_names):
        if whole.labels.count(index) < 2:
            raise DataError(
                f"{name}: class {label!r} has 1 sentence, too few for a training and a test part; "
                f"add sentences, or set dataset.test to a file of test sentences."
            )
    first, second = split_off(whole.labels, config.test_fraction, np.random.default_rng(config.seed))
    return whole.take(first), whole.take(second)


def _require_distinct_ids(tables: Sequence[LabelledRows]) -> None:
    """Refuse two rows with one id.

    Raises:
        DataError: names some ids and their number.
    """
    counts = Counter(row_id for rows in tables for row_id in rows.ids)
    twice = [row_id for row_id, times in counts.items() if times > 1]
    if twice:
        raise DataError(
            f"{' and '.join(rows.where for rows in tables)}: {counts.total() - len(counts)} rows repeat the "
            f"id of another row: {listed(twice, most=5)}; set dataset.id_column to a column of different "
            f"values, or {setting('dataset.id_column', NUMBERED)} to number the rows."
        )


def _planted(config: DatasetConfig) -> tuple[Texts, Texts]:
    allowed = {"name", "options", "max_train", "max_test", "seed"}
    useless = sorted(config.stated().keys() - allowed)
    if useless:
        raise ConfigError(
            f"{useless[0]} has no meaning for planted; it takes options (such as {{'n_train': 400}}), "
            f"max_train, max_test and seed."
        )
    corpus = generate(config.options or PlantedOptions())
    return corpus.train, corpus.test


def _limited(texts: Texts, most: int | None, option: str, seed: int) -> Texts:
    """As many rows as are wanted, drawn at random."""
    if most is None or most >= len(texts):
        return texts
    n_classes = len(texts.label_names)
    if most < n_classes:
        raise ConfigError(
            f"{option} is {most}, but there are {n_classes} classes, and each needs a sentence; raise it."
        )
    return texts.take(subsample(texts.labels, most, np.random.default_rng(seed)))


def _compared(name: str, train: Texts, test: Texts, *, drop_seen: bool) -> tuple[Texts, tuple[str, ...]]:
    """The test part, and a note if texts of it stand in the training part too; without these if asked."""
    repeats = repeated_texts(train, test)
    if not repeats:
        return test, ()
    n_otherwise = sum(not repeat.is_labelled_alike for repeat in repeats)
    otherwise = f" ({n_otherwise} of them only with another label)" if n_otherwise else ""
    kept, what = test, "Scores on them say nothing of new texts; dataset.drop_seen=true leaves them out."
    if drop_seen:
        seen = {repeat.test_row for repeat in repeats}
        kept, what = test.take(sorted(set(range(len(test))) - seen)), "They were left out."
        check_classes(kept.labels, kept.label_names, where=f"{name}, what is left of the test part")
    examples = listed((repeat.text for repeat in repeats), most=3)
    stand = "stands" if len(repeats) == 1 else "stand"
    return kept, (
        f"{len(repeats)} of {len(test)} test texts {stand} in the training part too{otherwise}: {examples}. "
        f"{what}",
    )
