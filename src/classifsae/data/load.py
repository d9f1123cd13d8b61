"""load_dataset: from a name, a file, a folder or a description to a training and a test part."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from classifsae.data.config import DatasetConfig, check_config, read_config
from classifsae.data.files import READERS, no_such_file, read_table
from classifsae.data.hub import read_hub
from classifsae.data.labels import check_classes, infer_label_names, label_indices, split_off, subsample
from classifsae.data.planted import PlantedOptions, generate
from classifsae.data.rows import Columns, Rows, concatenate, listed, read_rows
from classifsae.data.table import Table
from classifsae.data.texts import Dataset, Texts
from classifsae.errors import ConfigError, DataError, UnknownNameError
from classifsae.registry import PresetRegistry
from classifsae.storage import fingerprint

PRESETS = PresetRegistry("data set", "datasets")
PLANTED = "planted"
YAML_SUFFIXES = (".yaml", ".yml")
_FILE_SUFFIXES = (*READERS, *YAML_SUFFIXES, ".txt", ".xls", ".xlsx", ".gz", ".zip", ".arrow", ".pkl", ".ods")

Source = str | Path | Mapping[str, object] | DatasetConfig


def load_dataset(source: Source, **overrides: object) -> Dataset:
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
    train, test = _parts(config)
    return _finish(name, *_labelled(name, train, test, config), config)


def resolve(config: DatasetConfig) -> tuple[str, DatasetConfig]:
    """Follow a preset or a YAML file to where the data is.

    Returns:
        A short name for tables and folders, and the whole description.
    Raises:
        DataError: there is no such file.
        ConfigError: the YAML file is not a description of a data set.
    """
    if _is_yaml(config.name):
        path = Path(config.name).expanduser()
        if not path.is_file():
            raise no_such_file(path)
        described = _anchored(read_config(path), path.parent)
        if _is_yaml(described.name):
            raise ConfigError(f"{path}: name is another YAML file, {described.name}; name the data itself.")
        name, resolved = resolve(config.over(described))
        return (name if _is_file(described.train) else _safe(path.stem)), resolved
    preset = PRESETS.find(config.name)
    if preset is not None and not _is_path(config.name):
        return preset.stem, config.over(read_config(preset))
    return _short_name(config), config


def _config(source: Source, overrides: Mapping[str, object]) -> DatasetConfig:
    if isinstance(source, DatasetConfig):
        fields = source.stated()
    else:
        fields = dict(source) if isinstance(source, Mapping) else {"name": str(source)}
    return check_config({**fields, **overrides})


# --------------------------------------------------------------------------- where the tables are


@dataclass(frozen=True)
class _Tables:
    """Tables by split name; ``test`` is empty where the test part is to be split off."""

    train: Mapping[str, Table]
    test: Mapping[str, Table]


def _parts(config: DatasetConfig) -> tuple[Rows, Rows | None]:
    """The rows of both parts; None for a test part that is to be split off."""
    columns = Columns(config.text_column, config.label_column, config.id_column, config.concepts_column)
    tables = _find_tables(config)
    train, test = (
        [read_rows(table, columns, split=split) for split, table in part.items()]
        for part in (tables.train, tables.test)
    )
    return concatenate(train), concatenate(test) if test else None


def _find_tables(config: DatasetConfig) -> _Tables:
    if config.train is not None and _is_file(config.train):
        return _from_files(Path(config.train).expanduser(), config.test, split="train")
    path = Path(config.name).expanduser()
    if path.is_file():
        return _from_files(path, config.test, split="train" if config.test else "row")
    if path.is_dir():
        return _from_folder(path, config)
    if _is_path(config.name):
        raise no_such_file(path)
    return _choose(_from_hub(config), config, where=config.name)


def _from_files(train: Path, test: str | None, *, split: str) -> _Tables:
    tables = {} if test is None else {"test": read_table(Path(test).expanduser())}
    return _Tables({split: read_table(train)}, tables)


def _from_folder(folder: Path, config: DatasetConfig) -> _Tables:
    """Files named after their split, such as train.csv; else a folder in the Hub's layout."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in READERS]
    by_split = {path.stem: path for path in files}
    if len(by_split) < len(files):
        raise DataError(
            f"{folder} holds one split in two formats: {', '.join(p.name for p in files)}; remove one."
        )
    if (config.train or "train").split("+")[0] in by_split:
        return _choose(_LazyTables(by_split), config, where=str(folder))
    if any(folder.rglob("*.parquet")) or (folder / "README.md").is_file():
        tables = read_hub(str(folder), config=config.config, revision=None)
        return _choose(tables, config, where=str(folder))
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
    raise DataError(
        f"{folder} holds no file of the training split {config.train or 'train'!r} (such as train.csv; "
        f"extensions {', '.join(READERS)}), but {found}; set train and test, or name a file."
    )


class _LazyTables(Mapping[str, Table]):
    """Tables of a folder by split, each read when it is asked for."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, split: str) -> Table:
        return read_table(self._paths[split])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _choose(tables: Mapping[str, Table], config: DatasetConfig, *, where: str) -> _Tables:
    """The splits that were asked for; the test part is split off where ``train`` is the only split."""
    test = config.test or ("" if set(tables) == {config.train or "train"} else "test")
    chosen: list[dict[str, Table]] = []
    for option, wanted in (("train", config.train or "train"), ("test", test)):
        splits = [split.strip() for split in wanted.split("+")] if wanted else []
        for split in splits:
            if split not in tables:
                raise DataError(
                    f"{where} has no split {split!r}; splits: {listed(tables)}; set {option} to one of them, "
                    f"or to several with + between them."
                )
        chosen.append({split: tables[split] for split in splits})
    return _Tables(*chosen)


def _from_hub(config: DatasetConfig) -> Mapping[str, Table]:
    name = config.name
    bare = "/" not in name
    if bare and get_close_matches(name, PRESETS.names(), n=1):
        raise _unknown(name, "")
    try:
        return read_hub(name, config=config.config, revision=config.revision)
    except DataError as error:
        if bare:
            raise _unknown(name, f" The Hub was asked too: {error}") from error
        raise


def _unknown(name: str, more: str) -> UnknownNameError:
    hint = f"Write a Hub data set as owner/name, a file or folder as a path such as ./{name}.{more}"
    return UnknownNameError("data set", name, PRESETS.names(), hint=hint)


# --------------------------------------------------------------------------- from rows to parts


def _labelled(name: str, train: Rows, test: Rows | None, config: DatasetConfig) -> tuple[Texts, Texts]:
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
    check_classes(whole.labels, whole.label_names, part="only", where=name)
    for index, label in enumerate(whole.label_names):
        if whole.labels.count(index) < 2:
            raise DataError(
                f"{name}: class {label!r} has 1 sentence, too few for a training and a test part; "
                f"add sentences, or give a test file with test=..."
            )
    rng = np.random.default_rng(config.seed)
    first, second = split_off(whole.labels, config.test_fraction, rng)
    return take(whole, first), take(whole, second)


def _texts(rows: Rows, label_names: tuple[str, ...]) -> Texts:
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


def _require_distinct_ids(parts: Sequence[Rows]) -> None:
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
    parts = {
        "training": _limited(train, config.max_train, config),
        "test": _limited(test, config.max_test, config),
    }
    for part, texts in parts.items():
        check_classes(texts.labels, texts.label_names, part=part, where=name)
    identity = fingerprint(*(texts.identity for texts in parts.values()))
    train, test = (replace(texts, dataset=identity) for texts in parts.values())
    return Dataset(name, train, test)


def _limited(texts: Texts, most: int | None, config: DatasetConfig) -> Texts:
    if most is None or most >= len(texts):
        return texts
    n_classes = len(set(texts.labels))
    if most < n_classes:
        raise ConfigError(
            f"max_train and max_test must be at least the number of classes, {n_classes}; got {most}."
        )
    return take(texts, subsample(texts.labels, most, np.random.default_rng(config.seed)))


# --------------------------------------------------------------------------- what a name looks like


def _is_yaml(name: str) -> bool:
    return Path(name).suffix.lower() in YAML_SUFFIXES


def _is_file(name: str | None) -> bool:
    return name is not None and Path(name).suffix.lower() in _FILE_SUFFIXES


def _is_path(name: str) -> bool:
    """Whether a name can only be a path: it has a file's extension, or starts or continues like a path."""
    return _is_file(name) or name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1


def _anchored(config: DatasetConfig, folder: Path) -> DatasetConfig:
    """Paths of a YAML file, relative to the file itself."""
    fields = {field: getattr(config, field) for field in ("name", "train", "test")}
    paths = {
        field: str(folder / Path(value).expanduser())
        for field, value in fields.items()
        if value is not None and (_is_path(value) or (field == "name" and (folder / value).exists()))
    }
    return config.model_copy(update=paths)


def _short_name(config: DatasetConfig) -> str:
    """A name for tables and folders: the file's or folder's, or the Hub's without its owner."""
    path = Path(config.name).expanduser()
    if _is_file(config.train):
        return _safe(config.name)
    stem = path.resolve().stem if path.is_file() else path.resolve().name
    return _safe(stem if config.config is None else f"{stem}_{config.config}")


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
