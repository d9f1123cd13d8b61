"""load_dataset: from a name, a file, a folder or a description to a training and a test part."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from classifsae.data.config import DatasetConfig, check_config
from classifsae.data.labels import check_classes, infer_label_names, label_indices, split_off, subsample
from classifsae.data.planted import PlantedOptions, generate
from classifsae.data.rows import Columns, LabelledRows, concatenate, listed, read_rows
from classifsae.data.sources import find_tables, resolve
from classifsae.data.texts import Dataset, Texts
from classifsae.errors import ConfigError, DataError
from classifsae.storage import fingerprint

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
        UnknownNameError: no such data set or option, with the closest names.
        ConfigError: options that cannot be.
        DataError: files, columns, texts or labels that cannot be used.
    """
    name, config = resolve(_config(source, overrides))
    if config.name == PLANTED:
        return _finish(name, *_planted(config), config)
    if config.options is not None:
        raise ConfigError(f"options is for {PLANTED} only, not for {config.name}; remove it.")
    train, test = _parts(config)
    return _finish(name, *_labelled(name, train, test, config), config)


def _config(source: DatasetSource, overrides: Mapping[str, object]) -> DatasetConfig:
    if isinstance(source, DatasetConfig):
        fields = source.stated()
    else:
        fields = dict(source) if isinstance(source, Mapping) else {"name": str(source)}
    return check_config({**fields, **overrides})


def _parts(config: DatasetConfig) -> tuple[LabelledRows, LabelledRows | None]:
    """The rows of both parts; None for a test part that is to be split off."""
    columns = Columns(config.text_column, config.label_column, config.id_column, config.concepts_column)
    tables = find_tables(config)
    train, test = (
        [read_rows(table, columns, split=split) for split, table in part.items()]
        for part in (tables.train, tables.test)
    )
    return concatenate(train), concatenate(test) if test else None


def _labelled(
    name: str, train: LabelledRows, test: LabelledRows | None, config: DatasetConfig
) -> tuple[Texts, Texts]:
    """Both parts with class indices, split if there was no test part."""
    given = [train] if test is None else [train, test]
    _require_distinct_ids(given)
    label_names = config.label_names or infer_label_names(given)
    if len(label_names) < 2:
        raise DataError(
            f"{name} has only one class, {label_names[0]!r}; a classifier needs at least two: "
            f"add texts of another class, or set label_column to another column."
        )
    texts = [_texts(rows, label_names) for rows in given]
    if test is not None:
        return texts[0], texts[1]
    return _split(name, texts[0], config)


def _split(name: str, whole: Texts, config: DatasetConfig) -> tuple[Texts, Texts]:
    check_classes(whole.labels, whole.label_names, where=name)
    for index, label in enumerate(whole.label_names):
        if whole.labels.count(index) < 2:
            raise DataError(
                f"{name}: class {label!r} has 1 sentence, too few for a training and a test part; "
                f"add sentences, or give a test file with test=..."
            )
    rng = np.random.default_rng(config.seed)
    first, second = split_off(whole.labels, config.test_fraction, rng)
    return take(whole, first), take(whole, second)


def _texts(rows: LabelledRows, label_names: tuple[str, ...]) -> Texts:
    labels = label_indices(rows, label_names)
    return Texts(rows.texts, labels, rows.ids, label_names, concepts=rows.concepts)


def take(texts: Texts, rows: Sequence[int]) -> Texts:
    """The given rows, in the given order."""
    concepts = texts.concepts
    return replace(
        texts,
        texts=tuple(texts.texts[i] for i in rows),
        labels=tuple(texts.labels[i] for i in rows),
        ids=tuple(texts.ids[i] for i in rows),
        concepts=None if concepts is None else tuple(concepts[i] for i in rows),
    )


def _require_distinct_ids(parts: Sequence[LabelledRows]) -> None:
    """Refuse two rows with one id.

    Raises:
        DataError: names some ids and their number.
    """
    seen: set[str] = set()
    twice: list[str] = []
    for row_id in (row_id for part in parts for row_id in part.ids):
        (twice.append if row_id in seen else seen.add)(row_id)
    if twice:
        raise DataError(
            f"{' and '.join(part.where for part in parts)}: {len(twice)} rows repeat the id of another row: "
            f"{listed(dict.fromkeys(twice), most=5)}; set id_column to a column of different values, "
            f'or to "#" to number the rows.'
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


def _finish(name: str, train: Texts, test: Texts, config: DatasetConfig) -> Dataset:
    """Draw the wanted numbers of rows, check the classes, and note the fingerprint of both parts."""
    check_classes(train.labels, train.label_names, where=f"{name}, training part")
    check_classes(test.labels, test.label_names, where=f"{name}, test part")
    train = _limited(train, config.max_train, "max_train", config.seed)
    test = _limited(test, config.max_test, "max_test", config.seed)
    identity = fingerprint(train.identity, test.identity)
    return Dataset(name, replace(train, dataset=identity), replace(test, dataset=identity))


def _limited(texts: Texts, most: int | None, option: str, seed: int) -> Texts:
    if most is None or most >= len(texts):
        return texts
    n_classes = len(texts.label_names)
    if most < n_classes:
        raise ConfigError(
            f"{option} is {most}, but there are {n_classes} classes, and each needs a sentence; raise it."
        )
    return take(texts, subsample(texts.labels, most, np.random.default_rng(seed)))
