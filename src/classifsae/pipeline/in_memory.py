"""A whole run from Python: an experiment whose data set or classifier may be in memory.

What is in memory is first written into the run's folder, so that the run can be explained, audited and
compared later as any other, from the command line too.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml

from classifsae import ranks
from classifsae.classifier.classifier import Classifier
from classifsae.data import Dataset, DatasetConfig, Texts, load_dataset
from classifsae.data.memory import tables_in_memory
from classifsae.data.sources import PRESETS, safe
from classifsae.errors import ConfigError, require_kind, setting
from classifsae.pipeline import run as runs
from classifsae.pipeline.config import Experiment, Tree, experiments_of, read_tree
from classifsae.pipeline.run_folder import SPLITS, RunFolder
from classifsae.pipeline.starter import REST
from classifsae.progress import NotebookBars
from classifsae.storage import Json, clear, fingerprint, finish, kept, write_text


def run(
    experiment: str | Path | Mapping[str, object] | None = None,
    *,
    until: runs.Stop = "report",
    watch: runs.Watch | None = None,
    **options: object,
) -> runs.Outcome:
    """Run a whole experiment from Python: the same stages and files as ``classifsae run``.

    Args:
        experiment: a file, or a name of ``classifsae list experiments``, or a mapping of options; without the
            first two, the methods and scores that ``classifsae init`` writes, of a backbone "minilm" if none
            is given.
        until: the last stage.
        watch: told what the run is doing; None: a bar per stage in a notebook.
        options: of the experiment. ``dataset`` may be in memory: a :class:`Dataset`, or anything that
            ``load_dataset`` takes; ``backbone`` may be a :class:`Classifier`, which is opened as it is.
    Returns:
        The run's folder and scores; a second call finds all stages done and returns the same.
    Raises:
        ClassifSAEError: any input that is wrong; what was finished before stays.
    """
    if ranks.n_ranks() > 1:
        raise ConfigError("cs.run is for one process; under torchrun start `-m classifsae run EXPERIMENT`.")
    require_kind(
        {} if experiment is None else experiment,
        (str, Path, Mapping),
        wanted="run takes an experiment file, or options such as dataset= and methods=",
    )
    if isinstance(experiment, Mapping):
        options, experiment = {**experiment, **options}, None
    if experiment is None and options.get("dataset") is None:
        raise ConfigError("run needs dataset=: a name such as 'planted', a file, or data in memory.")
    tree: Tree = {"backbone": "minilm", **yaml.safe_load(REST)} if experiment is None else {}
    tree = tree or read_tree(Path(str(experiment)))
    changes = {key: _as_json(value) for key, value in options.items()}
    data, model = _data(options.get("dataset")), options.get("backbone")
    if data is not None:
        changes["dataset"] = _dataset(data, Path(data.name))  # where it will be is not known yet
    if isinstance(model, Classifier):
        changes["backbone"] = _backbone(model, Path(model.name))
    points = experiments_of(tree, cast(Tree, changes), where=str(experiment or "run"))
    if len(points) > 1:
        raise ConfigError(f"{experiment} is a sweep of {len(points)} runs; start them by classifsae run.")
    return runs.run(_written(points[0], data, model), until=until, watch=watch or NotebookBars())


def _as_json(value: object) -> object:
    if isinstance(value, DatasetConfig):
        return value.stated()
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def _data(given: object) -> Dataset | None:
    """The data set, if it is in memory."""
    if isinstance(given, Texts):
        raise ConfigError("run needs a training and a test part: dataset= takes the whole Dataset.")
    if isinstance(given, Dataset) or given is None:
        return given
    is_described = isinstance(given, str | Path | DatasetConfig) or tables_in_memory(given) is None
    return None if is_described else load_dataset(cast(Mapping[str, object], given))


def _written(point: Experiment, data: Dataset | None, model: object) -> Experiment:
    """The experiment with all that was in memory in files of the run's folder."""
    folder = RunFolder.of(point)
    changes: dict[str, Json] = {}
    if data is None and not isinstance(model, Classifier):
        return point
    with folder.held():
        if data is not None:
            changes["dataset"] = _dataset(data, _write_texts(data, folder))
        if isinstance(model, Classifier):
            changes["backbone"] = _backbone(model, _write_model(model, folder))
    return Experiment.model_validate(point.model_dump(mode="json") | changes)


def _dataset(data: Dataset, folder: Path) -> Json:
    """The data set as its files are described; a preset's name would stand for what it describes."""
    name = f"{data.name}-texts" if PRESETS.find(data.name) else data.name
    files: dict[str, Json] = {split: str(folder / f"{split}.jsonl") for split in SPLITS}
    return {"name": name, **files, "label_names": list(data.label_names)}


def _backbone(model: Classifier, folder: Path) -> Json:
    """The classifier as its folder is opened."""
    where = str(folder) if folder.is_absolute() else f"./{folder}"
    return {"model": where, "tuning": "none", "dtype": str(model.dtype).removeprefix("torch.")}


def _write_texts(data: Dataset, folder: RunFolder) -> Path:
    """Write both parts, an object a row.

    Raises:
        ConfigError: the folder holds the run of other texts.
    """
    target = folder.given("texts", safe(data.name)).absolute()
    files = {f"{split}.jsonl": _rows(data.train if split == "train" else data.test) for split in SPLITS}
    held = fingerprint({**files})
    manifest = kept(target)
    if manifest is not None and manifest.inputs != held and folder.has_results:
        raise _held_by_another(folder, "of other texts")
    if manifest is None or manifest.inputs != held:
        clear(target)
        for name, rows in files.items():
            write_text(target / name, rows)
        finish(target, inputs=held, record={})
    return target


def _rows(texts: Texts) -> str:
    rows: list[Json] = [
        {"id": row_id, "text": text, "label": texts.label_names[label]}
        | ({} if texts.concepts is None else {"concepts": list(texts.concepts[row])})
        for row, (row_id, text, label) in enumerate(zip(texts.ids, texts.texts, texts.labels, strict=True))
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_model(model: Classifier, folder: RunFolder) -> Path:
    """Save the classifier, unless it is there.

    Raises:
        ConfigError: the folder holds the run of another.
    """
    target = folder.given("classifier", model.name).absolute()
    read_as = fingerprint(model.fingerprint, model.layer, model.prompt, model.reader.max_length)
    manifest = kept(target)
    is_another = manifest is not None and manifest.record["fingerprint"] != model.fingerprint
    if is_another and folder.has_results:
        raise _held_by_another(folder, "of another classifier")
    if manifest is None or manifest.inputs != read_as:
        clear(target)
        model.save(target, inputs=read_as)
    return target


def _held_by_another(folder: RunFolder, whose: str) -> ConfigError:
    other = setting("run_dir", f"{folder.path}-2")
    return ConfigError(
        f"{folder.path} holds the run {whose}, which this one would replace: give another folder, such as "
        f"{other}, or delete that one."
    )
