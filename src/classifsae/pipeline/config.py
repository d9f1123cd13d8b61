"""Experiment files: composable YAML to frozen, checked objects.

All mistakes in the values of options are reported together, before torch or transformers is imported; those
in the options of methods and metrics, which their classes check, come next.
"""

import itertools
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from classifsae.auditing.options import AuditOptions, Question
from classifsae.bounds import Count, NonNegativeInt, Seed, as_name
from classifsae.classifier.config import BackboneConfig, resolve_backbone
from classifsae.data.config import DatasetConfig, check_config
from classifsae.data.sources import anchored, resolve
from classifsae.errors import ClassifSAEError, ConfigError, one_line, setting
from classifsae.meaning.llm import NameOptions
from classifsae.meaning.words import WordOptions
from classifsae.registry import PresetRegistry, canonical, known_name
from classifsae.yaml_files import parse_yaml, read_yaml

if TYPE_CHECKING:
    from classifsae.concepts.base import ConceptMethod
    from classifsae.metrics.base import Metric

Tree = dict[str, JsonValue]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
Axes = list[tuple[str, list[JsonValue]]]
T = TypeVar("T")

NAMED = {"backbone": "model", "dataset": "name"}
"""Options that may be a name or a mapping, and the field of the mapping that holds the name."""

EXPERIMENTS = PresetRegistry("experiment", "experiments")
_EXAMPLE = setting("seeds", [1, 2, 3])
PLACES = ("{dataset}", "{backbone}")
"""What a path of a run may hold: places for the names of its data set and backbone."""

MAX_POINTS = 10_000
"""Runs of a sweep."""

_LONGEST_LABEL = 200
"""Of a method: with its seed it is the name of a file."""
COMPOSITION = ("extends", "sweep", "exceptions")
_METHODS, _METRICS = "classifsae.concepts", "classifsae.metrics"
"""Packages with a file for each method, and for each metric; asked for names without an import of torch."""


class ReportOptions(BaseModel, frozen=True, extra="forbid"):
    """What a report has beside its page and tables.

    Attributes:
        figures: draw every picture for print, as PNG and PDF.
    """

    figures: bool = False


class Experiment(BaseModel, frozen=True, extra="forbid"):
    """One point of an experiment: a backbone, a data set, and what is fitted and scored on them.

    Attributes:
        backbone: a preset, path or Hub id, or a mapping of ``BackboneConfig`` fields.
        dataset: a preset, path or Hub name, or a mapping of ``DatasetConfig`` fields.
        n_concepts: concepts per method, where a method does not say otherwise.
        methods: label to options; the option ``method`` names the method if the label does not.
        metrics: metric to options.
        encoder: of sentences, for the scores that ask what concepts mean: "minilm", or a folder or hub id
            that sentence-transformers can load.
        words: how texts are split into words.
        names: who names the concepts: "words", or a mapping of ``NameOptions`` fields.
        seeds: every method is fitted once for each.
        audit: what is looked for among the patterns on which decisions hang: a mapping of ``AuditOptions``
            fields; null or false: nothing.
        ask: questions about concepts of one's own: name to a mapping of ``Question`` fields.
        n_halves: random halves of the test sentences by which errors of all scores are measured; 0: none are.
        report: what it has beside page and tables.
        trackers: what is told of curves, scores and pictures beside the run's own files; none by default.
        device: "auto" takes a GPU if there is one.
        protocol: "published" chooses and segments concepts on the test split by ground truth, as the
            published code does; for comparison only.
        run_dir: folder of the run; ``{dataset}`` and ``{backbone}`` stand for their names.
    """

    backbone: BackboneConfig
    dataset: DatasetConfig
    n_concepts: Count = 20
    methods: Annotated[dict[str, dict[str, JsonValue]], Field(min_length=1)]
    metrics: dict[str, dict[str, JsonValue]] = {"completeness": {}, "causality": {}, "interpretability": {}}
    encoder: str = "minilm"
    words: WordOptions = WordOptions()
    names: NameOptions = NameOptions()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (42,)
    audit: AuditOptions | None = AuditOptions()
    ask: dict[str, Question] = {}
    n_halves: NonNegativeInt = 0
    report: ReportOptions = ReportOptions()
    trackers: tuple[Tracker, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    protocol: Literal["ours", "published"] = "ours"
    run_dir: str = "runs/{dataset}/{backbone}"

    @field_validator("backbone", mode="before")
    @classmethod
    def _backbone(cls, given: str | Tree) -> BackboneConfig:
        return _or_value_error(lambda: resolve_backbone(given))

    @field_validator("dataset", mode="before")
    @classmethod
    def _dataset(cls, given: str | Tree) -> DatasetConfig:
        return _or_value_error(lambda: check_config(_named("dataset", given)))

    @field_validator("names", mode="before")
    @classmethod
    def _source_of_names(cls, given: JsonValue) -> JsonValue:
        """A word alone is where names come from."""
        return {"from": given} if isinstance(given, str) else given

    @field_validator("methods", "metrics", mode="before")
    @classmethod
    def _options(cls, given: JsonValue) -> JsonValue:
        """A name, a list of names, and a name without options, are short for empty mappings."""
        if isinstance(given, str):
            return {given: {}}
        if isinstance(given, list):
            return {str(name): {} for name in given}
        return {k: v if v is not None else {} for k, v in given.items()} if isinstance(given, dict) else given

    @field_validator("audit", mode="before")
    @classmethod
    def _whether(cls, given: JsonValue) -> JsonValue:
        """Yes and no are short for all defaults and for null."""
        return {} if given is True else None if given is False else given

    @field_validator("ask", mode="before")
    @classmethod
    def _named_questions(cls, given: JsonValue) -> JsonValue:
        """A question is called what it stands under."""
        if not isinstance(given, dict):
            return given
        return {key: {"name": key, **v} if isinstance(v, dict) else v for key, v in given.items()}

    @field_validator("methods")
    @classmethod
    def _usable_as_folders(cls, given: dict[str, Tree]) -> dict[str, Tree]:
        for label in given:
            if len(label) > _LONGEST_LABEL:
                raise ValueError(
                    f"label {label[:60]!r}... names a folder: use at most {_LONGEST_LABEL} letters"
                )
            if not re.fullmatch(r"\w[\w.+-]*", label):
                raise ValueError(
                    f"label {label!r} names a folder: use letters, digits and . _ + -, a letter first"
                )
        return given

    @field_validator("seeds")
    @classmethod
    def _different(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(given)) < len(given):
            raise ValueError(f"must differ from each other, got {list(given)}")
        return given

    @field_validator("run_dir")
    @classmethod
    def _placeholders(cls, given: str) -> str:
        if set(re.findall(r"{[^{}]*}|[{}]", given.replace("{{", "").replace("}}", ""))) - {*PLACES}:
            raise ValueError("may hold {dataset} and {backbone}, and no other braces")
        if not given.strip():
            raise ValueError("is empty; give a folder, such as runs/{dataset}/{backbone}")
        return as_name(given)

    @model_validator(mode="after")
    def _known(self) -> Self:
        """Every method and metric is known; asked first, as it needs no import of torch."""
        return self._each(self._method, partial(known_name, "metric", _METRICS))

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        """Every method and metric can be made with its options."""
        return self._each(lambda label: self.recipe(label, self.seeds[0]), self._metric)

    def _each(self, method: Callable[[str], object], metric: Callable[[str], object]) -> Self:
        """This experiment, if these can be called with each label and each metric.

        Raises:
            ValueError: all that is wrong, in one line.
        """
        problems = [
            *(_problem(f"methods.{label}", partial(method, label)) for label in self.methods),
            *(_problem(f"metrics.{name}", partial(metric, name)) for name in self.metrics),
        ]
        if any(problems):
            raise ValueError("; ".join(filter(None, problems)))
        return self

    def _method(self, label: str) -> str:
        """Name of the method behind a label."""
        return known_name("method", _METHODS, str(self.methods[label].get("method", label)))

    def recipe(self, label: str, seed: int) -> "ConceptMethod":
        """The method behind a label, with its options and a seed.

        Raises:
            ConfigError: unknown method or option, or a value that is not allowed.
        """
        from classifsae.concepts.base import METHODS

        options = {name: value for name, value in self.methods[label].items() if name != "method"}
        if "seed" in options:
            raise ConfigError("seed is set for all methods together, by seeds: [1, 2, 3].")
        method = METHODS.load(self._method(label))
        if self.protocol == "published":
            options = {**method.published, **options}
        if method.model_fields["n_concepts"].default is not None:
            options.setdefault("n_concepts", self.n_concepts)
        return method(**options, seed=seed)

    def built_metrics(self) -> dict[str, "Metric"]:
        """All metrics with their options."""
        return {name: self._metric(name) for name in self.metrics}

    @property
    def needs_sentences(self) -> bool:
        """Whether a metric reads texts or their embeddings."""
        return any(metric.needs_sentences for metric in self.built_metrics().values())

    @property
    def needs_names(self) -> bool:
        """Whether a metric reads the names of the concepts."""
        return any(metric.needs_names for metric in self.built_metrics().values())

    @property
    def is_guided(self) -> bool:
        """Whether a method learns from the training texts too."""
        return any(self.recipe(label, self.seeds[0]).guided for label in self.methods)

    def in_full(self) -> Tree:
        """All options with their defaults, those of methods and metrics among them."""
        recipes = {label: self.recipe(label, self.seeds[0]) for label in self.methods}
        return {
            **self.model_dump(mode="json"),
            "dataset": resolve(self.dataset)[1].model_dump(mode="json", exclude_none=True),
            "methods": {
                label: {"method": recipe.method_name(), **recipe.model_dump(mode="json", exclude={"seed"})}
                for label, recipe in recipes.items()
            },
            "metrics": {name: made.model_dump(mode="json") for name, made in self.built_metrics().items()},
        }

    def anchored(self) -> Self:
        """The same with absolute paths to model and data, so that it can be opened from any directory."""
        backbone, folder = self.backbone, Path(self.backbone.model or "").expanduser()
        if backbone.model is not None and folder.is_dir():
            backbone = backbone.model_copy(update={"model": os.path.abspath(folder)})
        dataset = anchored(self.dataset, Path.cwd(), presets_first=True)
        return self.model_copy(update={"backbone": backbone, "dataset": dataset})

    def folder(self, dataset: str, backbone: str) -> Path:
        """The folder of the run."""
        return Path(self.run_dir.format(dataset=dataset, backbone=backbone)).expanduser()

    def _metric(self, name: str) -> "Metric":
        from classifsae.metrics.base import METRICS

        kind, options = METRICS.load(name), dict(self.metrics[name])
        if "words" in kind.model_fields:
            options.setdefault("words", self.words.model_dump(mode="json"))
        try:
            return kind(**options)
        except ValidationError as error:
            raise ConfigError(one_line(error, known=kind.model_fields)) from error


def load_experiment(path: Path, settings: Sequence[str] = ()) -> tuple[Experiment, ...]:
    """Read an experiment file and change it by ``key=value`` settings.

    Args:
        path: of the YAML file, or the name of one that comes with the package, such as "demo".
        settings: such as ``seeds=[1,2]`` or ``methods.sae.top_k=20``; values are YAML. Naming a
            ``dataset`` or ``backbone`` keeps the other fields of their mappings. A value, unless it is
            a mapping, stands whatever the file's exceptions say.
    Returns:
        One experiment per point of its sweep; one if there is no sweep.
    Raises:
        ConfigError: anything that is wrong with it, all of it in one message.
    """
    return experiments_of(read_tree(path), dict(map(_change, settings)), where=str(path))


def experiments_of(tree: Tree, changes: Tree, *, where: str) -> tuple[Experiment, ...]:
    """The experiments of a tree of options that is changed, as :func:`load_experiment` says.

    Args:
        where: what messages call it.
    Raises:
        ConfigError: anything that is wrong with it, all of it in one message.
    """
    for key, value in changes.items():
        if key == "extends":
            raise ConfigError("extends belongs in the experiment's file; name the options to change.")
        assign(tree, key, value)
    points = list(expand(tree))
    for point, (key, value) in itertools.product(points, _final(changes, tree)):
        assign(point, key, value)
    return _apart([_checked(point, where=where) for point in points], _axes(tree.get("sweep")))


def _apart(points: list[Experiment], axes: Axes) -> tuple[Experiment, ...]:
    """The points; those that would share a folder each in one of its own, named after what they vary.

    Such as ``runs/planted/minilm,n_concepts=10``.
    """
    if len(points) == 1:
        return tuple(points)
    numbered = [[(key, value, i) for i, value in enumerate(values, start=1)] for key, values in axes]
    steps = list(itertools.product(*numbered))
    sharing: dict[Path, list[int]] = {}
    for number, point in enumerate(points):
        folder = point.folder(resolve(point.dataset)[0], point.backbone.name)
        sharing.setdefault(folder, []).append(number)
    for numbers in sharing.values():
        varied = [len({i for _, _, i in axis}) > 1 for axis in zip(*(steps[n] for n in numbers), strict=True)]
        for number in numbers:
            own = itertools.compress(steps[number], varied)
            name = "".join(f",{key}={_in_a_name(value, i)}" for key, value, i in own)
            run_dir = points[number].run_dir.rstrip("/") + name
            points[number] = points[number].model_copy(update={"run_dir": run_dir})
    return tuple(points)


def _in_a_name(value: JsonValue, number: int) -> str:
    """A value as a part of a folder's name; its number on the axis where it does not read well there."""
    told = value if isinstance(value, str) else json.dumps(value)
    return told if re.fullmatch(r"[\w.+-]{1,40}", told) else f"no.{number}"


def changed(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """The experiment with ``key=value`` settings, such as ``dataset.train=moved/train.csv``.

    Raises:
        ConfigError: anything that is wrong with them.
    """
    if not settings:
        return experiment
    tree: Tree = experiment.model_dump(mode="json")
    (point,) = experiments_of(tree, dict(map(_change, settings)), where="the run's experiment")
    return point


def point_of(points: Sequence[Experiment], index: int, *, where: str) -> Experiment:
    """One point of a sweep, by its number.

    Raises:
        ConfigError: there is none of this number.
    """
    if not 1 <= index <= len(points):
        raise ConfigError(
            f"index is {index}, but {where} has {len(points)} runs; give 1 to {len(points)}, as numbered by "
            f"classifsae show {shlex.quote(where)}."
        )
    return points[index - 1]


def _change(given: str) -> tuple[str, JsonValue]:
    key, found, value = given.partition("=")
    if not found or not key:
        raise ConfigError(f"setting {given!r} is not of the form key=value, such as {_EXAMPLE}.")
    return key, parse_yaml(value, where=f"setting {key}")


def _final(changes: Tree, tree: Tree) -> list[tuple[str, JsonValue]]:
    """Settings that come after the exceptions too: all but mappings and what the sweep varies."""
    sweep = tree.get("sweep")
    varied = {*COMPOSITION, *(sweep if isinstance(sweep, dict) else ())}
    return [
        (key, value)
        for key, value in changes.items()
        if key not in varied and key.split(".")[0] not in COMPOSITION and not isinstance(value, dict)
    ]


def read_tree(path: Path, *, seen: tuple[Path, ...] = ()) -> Tree:
    """The file, or the experiment of this name where there is no such file, with what it extends underneath.

    Raises:
        ConfigError: it cannot be read, is not a mapping, or extends itself.
    """
    path = _file_of(path.expanduser()).resolve()
    if path in seen:
        raise ConfigError(f"{path.name} extends itself through {' > '.join(p.name for p in seen)}.")
    cure = f"a YAML file, or one of {', '.join(EXPERIMENTS.names())}"
    tree = read_yaml(path, what="the experiment file", cure=cure)
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must be a mapping of options, such as 'dataset: planted'.")
    base = tree.pop("extends", None)
    if base is None:
        return tree
    return merge(read_tree(path.parent / str(base), seen=(*seen, path)), tree)


def _file_of(path: Path) -> Path:
    """The path, or the file of the packaged experiment that a name without an extension stands for."""
    preset = None if path.suffix or path.is_file() else EXPERIMENTS.find(path.name)
    return path if preset is None else preset


def merge(base: Tree, top: Tree) -> Tree:
    """``top`` over ``base``: mappings merge, lists and scalars replace; a list of methods chooses."""
    merged = deepcopy(base)
    for key, value in top.items():
        below = merged.get(key)
        if key in NAMED and isinstance(value, dict) and isinstance(below, str):
            below = _named(key, below)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = merge(below, value)
        else:
            merged[key] = _chosen(key, value, below)
    return merged


def _chosen(key: str, value: JsonValue, below: JsonValue) -> JsonValue:
    """A new value; methods or metrics that a list names keep the options that they had."""
    if key in ("methods", "metrics") and isinstance(value, list) and isinstance(below, dict):
        return {str(name): deepcopy(below.get(str(name))) for name in value}
    return deepcopy(value)


def assign(tree: Tree, key: str, value: JsonValue) -> None:
    """Set one option, ``a.b.c`` for nested ones; a name for a backbone or data set keeps its other fields.

    Raises:
        ConfigError: the path leads through something that is not a mapping.
    """
    *above, last = key.split(".")
    here = tree
    for step in above:
        below = here.setdefault(step, {})
        if isinstance(below, str) and step in NAMED:
            here[step] = below = _named(step, below)
        if below is None:
            here[step] = below = {}
        if not isinstance(below, dict):
            raise ConfigError(f"setting {key}: {step} is {below!r}, which has no options of its own.")
        here = below
    old = here.get(last)
    if last in NAMED and not above and isinstance(old, dict) and isinstance(value, str):
        old[NAMED[last]] = value
        return
    here[last] = value if above else _chosen(last, value, old)


def expand(tree: Tree) -> Iterator[Tree]:
    """One tree per point of the sweep, with the exceptions that apply to it."""
    exceptions, axes = tree.get("exceptions") or [], _axes(tree.get("sweep"))
    if not isinstance(exceptions, list):
        raise ConfigError("exceptions must be a list of {when: {...}, set: {...}}.")
    if (n_points := math.prod(len(values) for _, values in axes)) > MAX_POINTS:
        raise ConfigError(f"sweep has {n_points:,} runs, more than {MAX_POINTS:,}; give fewer values.")
    plain = {key: value for key, value in tree.items() if key not in COMPOSITION}
    for values in itertools.product(*(values for _, values in axes)):
        point = deepcopy(plain)
        for (key, _), value in zip(axes, values, strict=True):
            assign(point, key, value)
        for exception in exceptions:
            point = _with_exception(point, exception)
        yield point


def _axes(sweep: JsonValue) -> Axes:
    """What a sweep varies, and through which values."""
    axes = [(k, v) for k, v in sweep.items() if isinstance(v, list) and v] if isinstance(sweep, dict) else []
    if sweep and (not isinstance(sweep, dict) or len(axes) < len(sweep)):
        raise ConfigError("sweep must map options to lists of values, such as {dataset: [imdb, agnews]}.")
    return axes


def _with_exception(point: Tree, exception: JsonValue) -> Tree:
    """The point, changed if the exception is about it; methods that it does not run stay out."""
    when, change = _parts_of(exception)
    if not all(_matches(point, key, value) for key, value in when.items()):
        return point
    change, methods = deepcopy(change), point.get("methods")
    changed = change.get("methods")
    if isinstance(changed, dict) and isinstance(methods, dict):
        change["methods"] = {label: options for label, options in changed.items() if label in methods}
    return merge(point, change)


def _parts_of(exception: JsonValue) -> tuple[Tree, Tree]:
    if isinstance(exception, dict) and exception.keys() == {"when", "set"}:
        when, change = exception["when"], exception["set"]
        if isinstance(when, dict) and isinstance(change, dict):
            return when, change
    raise ConfigError(f"an exception must be {{when: {{...}}, set: {{...}}}}, got {exception!r}.")


def _matches(point: Tree, key: str, wanted: JsonValue) -> bool:
    if key not in Experiment.model_fields:
        raise ConfigError(
            f"exceptions: when {key!r} is not an option; use backbone, dataset or another option."
        )
    value = point.get(key)
    if key in NAMED:
        name = value.get(NAMED[key]) if isinstance(value, dict) else value
        names = wanted if isinstance(wanted, list) else [wanted]
        return canonical(str(name)) in {canonical(str(one)) for one in names}
    return value == wanted


def _checked(point: Tree, *, where: str) -> Experiment:
    for required in ("backbone", "dataset", "methods"):
        if point.get(required) is None:
            raise ConfigError(f"{where}: {required} is missing; add a line such as '{_EXAMPLES[required]}'.")
    try:
        return Experiment.model_validate(point)
    except ValidationError as error:
        raise ConfigError(f"{where}: {one_line(error, known=_known_options(point, error))}") from error


def _known_options(point: Tree, error: ValidationError) -> list[str]:
    """All options, those of a mapping as ``mapping.option``.

    Options of methods, whose classes import torch, only where an unknown name may be one of them.
    """
    options = list(Experiment.model_fields)
    for part, kind in _MAPPINGS.items():
        options += [f"{part}.{field.alias or name}" for name, field in kind.model_fields.items()]
    known = {option.rpartition(".")[2] for option in options}
    unknown = [str(detail["loc"][0]) for detail in error.errors() if detail["type"] == "extra_forbidden"]
    methods = point["methods"]
    if isinstance(methods, dict) and any(
        name not in known and not get_close_matches(name, Experiment.model_fields) for name in unknown
    ):
        from classifsae.concepts.base import METHODS

        for label in methods:
            with suppress(ConfigError):  # that is said once all other options are right
                options += [f"methods.{label}.{name}" for name in METHODS.load(label).model_fields]
    return options


_MAPPINGS: dict[str, type[BaseModel]] = {
    "backbone": BackboneConfig,
    "dataset": DatasetConfig,
    "words": WordOptions,
    "names": NameOptions,
    "audit": AuditOptions,
    "report": ReportOptions,
}
_EXAMPLES = {
    "backbone": "backbone: minilm",
    "dataset": "dataset: planted",
    "methods": "methods: {classifsae: {}}",
}


def _named(key: str, given: str | Tree) -> Tree:
    return given if isinstance(given, dict) else {NAMED[key]: given}


def _problem(where: str, call: Callable[[], object]) -> str:
    """What is wrong with a call; nothing if it returns."""
    try:
        call()
    except ClassifSAEError as error:
        return f"{where}: {error}"
    return ""


def _or_value_error(build: Callable[[], T]) -> T:
    """What ``build`` returns; its complaint in the form that pydantic collects."""
    try:
        return build()
    except ClassifSAEError as error:
        raise ValueError(str(error)) from error
