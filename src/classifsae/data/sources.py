"""Where a data set is: presets, YAML descriptions, files, folders, the Hub."""

import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from classifsae.data.config import DatasetConfig, read_config
from classifsae.data.files import READERS, no_such_file, read_table
from classifsae.data.hub import read_hub
from classifsae.data.rows import listed
from classifsae.data.table import Table
from classifsae.errors import ConfigError, DataError, UnknownNameError
from classifsae.registry import PresetRegistry

PRESETS = PresetRegistry("data set", "datasets")
YAML_SUFFIXES = (".yaml", ".yml")
_FILE_SUFFIXES = (*READERS, *YAML_SUFFIXES, ".txt", ".xls", ".xlsx", ".gz", ".zip", ".arrow", ".pkl", ".ods")

Opener = Callable[[], Table]
Tables = Mapping[str, Table]
"""By name of the split."""


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
        described = anchored(read_config(path), path.parent)
        if _is_yaml(described.name):
            raise ConfigError(f"{path}: name is another YAML file, {described.name}; name the data itself.")
        name, resolved = resolve(config.over(described))
        return (name if _is_file(described.train) else safe(path.stem)), resolved
    preset = PRESETS.find(config.name)
    if preset is not None and not _is_path(config.name):
        return preset.stem, config.over(read_config(preset))
    return _short_name(config), config


def find_tables(config: DatasetConfig) -> tuple[Tables, Tables]:
    """Open the tables of a resolved description.

    Returns:
        Those of the training part and those of the test part; none for a test part that is to be split off.
    Raises:
        DataError: no such file, folder or split, or one that cannot be read.
        UnknownNameError: the name stands for nothing, here or on the Hub.
    """
    path = Path(config.name).expanduser()
    if _is_file(config.train) or path.is_file():
        return _from_files(path, config)
    if path.is_dir():
        return _from_folder(path, config)
    if _is_path(config.name):
        raise no_such_file(path)
    return choose(_from_hub(config), config, where=config.name)


def _from_files(path: Path, config: DatasetConfig) -> tuple[Tables, Tables]:
    test = {} if config.test is None else {"test": read_table(Path(config.test).expanduser())}
    if config.train is not None and _is_file(config.train):
        return {"train": read_table(Path(config.train).expanduser())}, test
    return {"train" if test else "row": read_table(path)}, test


def _from_folder(folder: Path, config: DatasetConfig) -> tuple[Tables, Tables]:
    """Files named after their split, such as train.csv; else a folder in the Hub's layout."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in READERS]
    by_split = {path.stem: path for path in files}
    if len(by_split) < len(files):
        raise DataError(
            f"{folder} holds one split in two formats: {', '.join(p.name for p in files)}; remove one."
        )
    if (config.train or "train").split("+")[0] in by_split:
        openers = {split: partial(read_table, path) for split, path in by_split.items()}
        return choose(openers, config, where=str(folder))
    if any(folder.rglob("*.parquet")) or (folder / "README.md").is_file():
        tables = read_hub(str(folder), config=config.config, revision=None)
        return choose(tables, config, where=str(folder))
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
    raise DataError(
        f"{folder} holds no file of the training split {config.train or 'train'!r} (such as train.csv; "
        f"extensions {', '.join(READERS)}), but {found}; set dataset.train and dataset.test, or name a file."
    )


def choose(openers: Mapping[str, Opener], config: DatasetConfig, *, where: str) -> tuple[Tables, Tables]:
    """Read the splits that were asked for; the test part is split off where ``train`` is the only split.

    Raises:
        DataError: there is no such split.
    """
    train = config.train or "train"
    test = config.test or ("" if set(openers) == {train} else "test")
    chosen: list[Tables] = []
    for option, wanted in (("train", train), ("test", test)):
        splits = [split.strip() for split in wanted.split("+")] if wanted else []
        for split in splits:
            if split not in openers:
                raise DataError(
                    f"{where} has no split {split!r}; splits: {listed(openers)}; set dataset.{option} to one "
                    f"of them, or to several with + between them."
                )
        chosen.append({split: openers[split]() for split in splits})
    return chosen[0], chosen[1]


def _from_hub(config: DatasetConfig) -> Mapping[str, Opener]:
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


def _is_yaml(name: str) -> bool:
    return Path(name).suffix.lower() in YAML_SUFFIXES


def _is_file(name: str | None) -> bool:
    return name is not None and Path(name).suffix.lower() in _FILE_SUFFIXES


def _is_path(name: str) -> bool:
    """Whether a name can only be a path: it has a file's extension, or starts or continues like a path."""
    return _is_file(name) or name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1


def anchored(config: DatasetConfig, folder: Path, *, presets_first: bool = False) -> DatasetConfig:
    """The same data set with the paths that are relative to a folder made absolute.

    Args:
        presets_first: a name that a preset has too is the preset, whatever lies in the folder.
    """
    is_free = _is_file(config.train) or (presets_first and PRESETS.find(config.name) is not None)
    fields = {field: getattr(config, field) for field in ("name", "train", "test")}
    paths = {
        field: str(folder / Path(value).expanduser())
        for field, value in fields.items()
        if value is not None
        and (_is_path(value) or (field == "name" and not is_free and (folder / value).exists()))
    }
    return config.model_copy(update=paths)


def _short_name(config: DatasetConfig) -> str:
    """A name for tables and folders: the file's or folder's, or the Hub's without its owner."""
    path = Path(config.name).expanduser()
    if _is_file(config.train):
        return safe(config.name)
    real = Path(os.path.realpath(path))  # which takes a loop of links as it is
    stem = real.stem if path.is_file() else real.name
    return safe(stem if config.config is None else f"{stem}_{config.config}")


def safe(name: str) -> str:
    """A name without what folders may not have in theirs."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
