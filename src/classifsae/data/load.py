"""load_dataset: from a name, a file, a folder or a description to a training and a test part."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

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
from classifsae.data.planted import PlantedOptions, generate
from classifsae.data.repeats import repeated_texts
from classifsae.data.rows import NUMBERED, LabelledRows, listed, read_rows
from classifsae.data.sources import find_tables, resolve
from classifsae.data.texts import Dataset, Texts
from classifsae.errors import ConfigError, DataError, setting

PLANTED = "planted"

DatasetSource = str | Path | Mapping[str, object] | DatasetConfig


def load_dataset(source: DatasetSource, **overrides: object) -> Dataset:
    """Load a data set by preset, Hub name, file, folder or YAML description.

    Args:
        source: a name or path, or a ``DatasetConfig``, or a mapping of its fields.
        **overrides: fields of ``DatasetConfig`` that replace those of the source.
    Returns:
        A training and a test part; every row keeps its id and its original text.
    Raises:
        UnknownNameError: no such data set, with the closest names.
        ConfigError: options that cannot be.
        DataError: files, columns, texts or labels that cannot be used.
    """
    name, config = resolve(_config(source, overrides))
    train, test = _planted(config) if config.name == PLANTED else _labelled(name, config)
    check_classes(train.labels, train.label_names, where=f"{name}, training part")
    check_classes(test.labels, test.label_names, where=f"{name}, test part")
    train = _limited(train, config.max_train, "max_train", config.seed)
    test = _limited(test, config.max_test, "max_test", config.seed)
    kept, notes = _compared(name, train, test, drop_seen=config.drop_seen)
    return Dataset.of(name, train, kept, notes)


def _config(source: DatasetSource, overrides: Mapping[str, object]) -> DatasetConfig:
    if isinstance(source, DatasetConfig):
        fields = source.stated()
    else:
        fields = dict(source) if isinstance(source, Mapping) else {"name": str(source)}
    return check_config({**fields, **overrides})


def _labelled(name: str, config: DatasetConfig) -> tuple[Texts, Texts]:
    """Both parts with class indices, split if there is no test part."""
    if config.options is not None:
        raise ConfigError(f"options is for {PLANTED} only, not for {config.name}; remove it.")
    train, test = (
        [read_rows(table, config, split=split) for split, table in part.items()]
        for part in find_tables(config)
    )
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
    return kept, (
        f"{len(repeats)} of {len(test)} test texts stand in the training part too{otherwise}: {examples}. "
        f"{what}",
    )
