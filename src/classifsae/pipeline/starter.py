"""A first experiment file for somebody's own data: what was inferred of it, with a comment at each choice."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import JsonValue

from classifsae.classifier.config import BackboneConfig, resolve_backbone
from classifsae.classifier.loading.identity import stated_labels
from classifsae.classifier.loading.labels import agreed_labels
from classifsae.data import DatasetConfig, Texts, load_dataset
from classifsae.data.config import check_config
from classifsae.data.load import PLANTED
from classifsae.data.rows import columns_of, usual_column
from classifsae.data.sources import find_tables, resolve
from classifsae.data.table import Table
from classifsae.errors import ConfigError, DataError
from classifsae.hub.files import hub_is_reachable
from classifsae.pipeline.config import assign, load_experiment
from classifsae.storage import write_text

_N_CONCEPTS = 20
_MAX_SHOWN = 12
"""Classes whose sizes are listed."""
_SPLIT = ", split off by class (another share: test_fraction: 0.1)"
REST = """\
methods:  # more: classifsae list methods
  consensus: {}  # groups on which states and texts agree
  classifsae: {}  # the supervised sparse autoencoder
  identity: {}  # ceiling: every neuron a concept
  random: {}  # yardstick: random directions
metrics:  # more: classifsae list metrics
  completeness: {}  # do they reproduce the decisions?
  causality: {}  # what happens without one?
  distinct: {}
  beyond_label: {}  # do they say more than the label?
  interpretability: {}
  facets: {}
  simulatability: {}  # do their names foretell decisions?
seeds: [1]  # [1, 2, 3] shows how much they vary
"""
"""What is fitted and scored at first, as it stands in a file."""


def write_starter(
    source: str, *, model: str | None = None, settings: Sequence[str] = (), to: Path | None = None
) -> Path:
    """Write a commented experiment file for a data set, and a classifier if there is one.

    Args:
        source: of the texts, as for ``load_dataset``.
        model: a trained classifier, which is opened as it is, or a model to fine-tune.
        settings: such as ``dataset.text_column=body``, for what cannot be inferred.
        to: the file; by default the data set's name, in the working directory.
    Returns:
        The file.
    Raises:
        ConfigError: the file is there already, a model of other classes, or a setting that cannot be.
        DataError: data that cannot be read, or columns that have to be named.
    """
    fields = _dataset_fields(source, settings)
    columns, is_split = _found(check_config(fields))
    data = load_dataset(fields | columns)
    file = to or Path(f"{data.name}.yaml")
    if file.exists():
        raise ConfigError(f"{file} is there already and is left as it is; give another file with --to.")
    model = model or "minilm"
    lines = [
        f"# Concepts of a classifier on {data.name}. All options: classifsae show {file}",
        f"# {len(data.train):,} training and {len(data.test):,} test texts{_SPLIT if is_split else ''}.",
        _class_sizes(data.train),
        _block("dataset", fields | columns),
        _backbone(resolve_backbone(model), model, data.label_names),
        f"n_concepts: {min(max(_N_CONCEPTS, 2 * len(data.label_names)), len(data.train))}",
        REST,
    ]
    write_text(file, "\n".join(lines))
    load_experiment(file)
    return file


def _dataset_fields(source: str, settings: Sequence[str]) -> dict[str, JsonValue]:
    """What is stated of the data set."""
    tree: dict[str, JsonValue] = {"dataset": {"name": source}}
    for given in settings:
        key, _, value = given.partition("=")
        if not key.startswith("dataset."):
            raise ConfigError(
                f"init takes settings of the data set, such as dataset.text_column=body, not {given!r}; "
                f"change others in the file."
            )
        assign(tree, key, yaml.safe_load(value))
    fields = tree["dataset"]
    assert isinstance(fields, dict)
    return fields


def _found(config: DatasetConfig) -> tuple[dict[str, JsonValue], bool]:
    """The columns that are taken without being named, and whether a test part has to be split off."""
    _, resolved = resolve(config)
    if resolved.name == PLANTED:
        return {}, False
    train, test = find_tables(resolved)
    text, label = _columns(next(iter(train.values())), resolved)
    columns: dict[str, JsonValue] = {"text_column": text, "label_column": label}
    return {key: name for key, name in columns.items() if getattr(resolved, key) is None}, not test


def _columns(table: Table, config: DatasetConfig) -> tuple[str, str]:
    """The columns of texts and labels: by their names, else the longest texts and the fewest values.

    Raises:
        DataError: there are no such columns; proposes one.
    """
    text = config.text_column or usual_column(table, "text")
    if text is None:
        others = [name for name in table.names if name != config.label_column]
        text = max(
            others, key=lambda name: sum(len(str(value)) for value in table.column(name)), default=None
        )
    label = config.label_column or usual_column(table, "label") or _labels_by_values(table, text)
    return columns_of(table, config.model_copy(update={"text_column": text, "label_column": label}))


def _labels_by_values(table: Table, text: str | None) -> str | None:
    """The column of the fewest values that may be labels.

    Raises:
        DataError: its name is one of them: the file does not begin with the names of its columns.
    """
    n_values = {name: len({*map(str, table.column(name))}) for name in table.names if name != text}
    few = {name: n for name, n in n_values.items() if 2 <= n <= table.n_rows / 2}
    label = min(few, key=few.__getitem__, default=None)
    if label is not None and label in map(str, table.column(label)):
        raise DataError(
            f"{table.where} has no names of columns: {label!r} in its first line is a label; put a line "
            f"there, such as text,label."
        )
    return label


def _class_sizes(train: Texts) -> str:
    """How many training texts each class has, the largest first."""
    counts = Counter(train.labels)
    sizes = [(train.label_names[c], counts[c]) for c in sorted(counts, key=lambda c: (-counts[c], c))]
    shown = ", ".join(f"{name} ({n:,})" for name, n in sizes[:_MAX_SHOWN])
    more = f" and {len(sizes) - _MAX_SHOWN} more" if len(sizes) > _MAX_SHOWN else ""
    return f"# {len(sizes)} classes: {shown}{more}."


def _backbone(backbone: BackboneConfig, model: str, label_names: Sequence[str]) -> str:
    """The classifier: opened as it is if it is one of these classes, else fine-tuned."""
    own = None if backbone.preset is not None else stated_labels(model, backbone.revision)
    if own is None:
        how = "full  # lora trains a few weights only"
        if backbone.preset is None and not _is_looked_at(model):
            how = "full  # none, if it has these classes already: the Hub could not be asked"
        return _block("backbone", {"model": model}) + f"\n  tuning: {how}"
    agreed_labels(own, label_names, name=model)
    return _block("backbone", {"model": model}) + "\n  tuning: none  # it has these classes already"


def _is_looked_at(model: str) -> bool:
    """Whether a model that states no classes could be asked for them.

    Raises:
        ConfigError: it is a folder without a model.
    """
    folder = Path(model).expanduser()
    if folder.is_dir() and not any(
        (folder / file).is_file() for file in ("config.json", "adapter_config.json")
    ):
        raise ConfigError(f"{model} holds no config.json; give the folder of a model, or a preset.")
    return folder.is_dir() or hub_is_reachable()


def _block(key: str, fields: dict[str, JsonValue]) -> str:
    return yaml.safe_dump({key: fields}, sort_keys=False, allow_unicode=True, width=sys.maxsize).rstrip("\n")
