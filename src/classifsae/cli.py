"""The command line: the stages' own words, each command a few lines."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from classifsae.errors import ClassifSAEError, ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    from classifsae.explaining.explainer import Explanation
    from classifsae.pipeline.config import Experiment
    from classifsae.pipeline.run import Stop
    from classifsae.tensors import OnStep

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Open up a text classifier: concepts that reproduce, change and explain its decisions.",
)
console, errors = Console(), Console(stderr=True)

ExperimentFile = Annotated[Path, typer.Argument(help="YAML file of the experiment.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        help="key=value changes, such as dataset=reviews.csv or seeds=[1,2,3].", show_default=False
    ),
]

Index = Annotated[
    int | None,
    typer.Option(help="Number of one point of a sweep, from 1, as 'show' lists them.", show_default=False),
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)
]
GivenTexts = Annotated[list[str] | None, typer.Argument(help="Texts to explain.", show_default=False)]
TextFile = Annotated[
    str | None,
    typer.Option("--file", help="Texts to explain: .txt (one a line), .csv, .jsonl, .parquet; - for stdin."),
]
MethodLabel = Annotated[str | None, typer.Option(help="Whose concepts; classifsae if the run has it.")]
Seed = Annotated[int | None, typer.Option(help="Of which seed; the first.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
WithWords = Annotated[bool, typer.Option(help="Say which words carry each concept.")]

ShowPrompt = Annotated[
    bool,
    typer.Option("--prompt", help="Print what the model is asked about the first training text instead."),
]
RunFolders = Annotated[list[Path], typer.Argument(help="Folders of finished runs.", show_default=False)]
TablesFolder = Annotated[Path, typer.Option(help="Folder for the tables.")]


@app.command()
def run(experiment: ExperimentFile, settings: Settings = None, index: Index = None) -> None:
    """Run all stages; a second call does nothing."""
    _run(experiment, settings, index, until="report")


@app.command()
def finetune(experiment: ExperimentFile, settings: Settings = None, index: Index = None) -> None:
    """Train the classifier."""
    _run(experiment, settings, index, until="finetune")


@app.command()
def capture(experiment: ExperimentFile, settings: Settings = None, index: Index = None) -> None:
    """Train the classifier and capture its activations."""
    _run(experiment, settings, index, until="capture")


@app.command()
def fit(experiment: ExperimentFile, settings: Settings = None, index: Index = None) -> None:
    """All stages up to the concepts."""
    _run(experiment, settings, index, until="fit")


@app.command()
def score(experiment: ExperimentFile, settings: Settings = None, index: Index = None) -> None:
    """All stages up to the scores."""
    _run(experiment, settings, index, until="score")


@app.command()
def report(runs: RunFolders, to: TablesFolder = Path("report")) -> None:
    """Put finished runs side by side in one table: Markdown, LaTeX, CSV and JSON."""
    from classifsae.reporting import load_groups, save_tables
    from classifsae.reporting.tables.table import terminal

    groups = load_groups(runs)
    save_tables(groups, to)
    for group in groups:
        console.print(terminal(group.records, title=group.title, notes=group.notes))
    console.print(f"Tables as md, tex, csv and json: {to}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def explain(
    run: RunFolder,
    texts: GivenTexts = None,
    *,
    file: TextFile = None,
    method: MethodLabel = None,
    seed: Seed = None,
    as_json: AsJson = False,
    words: WithWords = True,
) -> None:
    """Say what decides a text: the concepts that fire, the answer without each, and their words."""
    from classifsae.pipeline.finished import Finished

    given = _given(texts, file)
    explainer = Finished.open(run).explainer(method, seed, words=words)
    for number, text in enumerate(given):
        _print_explanation(explainer.explain(text), as_json=as_json, first=number == 0)


@app.command()
def show(
    experiment: ExperimentFile,
    settings: Settings = None,
    index: Index = None,
    prompt: ShowPrompt = False,
) -> None:
    """Print what is stated in an experiment, a list of a sweep's points, or one of them with all defaults."""
    import yaml

    from classifsae.pipeline.config import load_experiment, point_of

    points = load_experiment(experiment, settings or [])
    chosen = points if index is None else (point_of(points, index, where=str(experiment)),)
    if prompt:
        for point in chosen:
            _show_prompt(point)
    elif len(chosen) > 1:
        _list_points(chosen)
    else:
        (point,) = chosen
        tree = point.model_dump(mode="json", exclude_defaults=True) if index is None else point.in_full()
        console.out("---\n" + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), end="")


@app.command()
def doctor(
    experiment: Annotated[Path | None, typer.Argument(help="YAML file of an experiment.")] = None,
    settings: Settings = None,
    index: Index = None,
) -> None:
    """Say what this machine has, and what an experiment would take before anything starts."""
    from classifsae.doctor import experiment_report, machine_report, sweep_report
    from classifsae.pipeline.config import load_experiment, point_of

    points = load_experiment(experiment, settings or []) if experiment else ()
    chosen = points if index is None else (point_of(points, index, where=str(experiment)),)
    console.print(machine_report())
    if chosen:
        console.print(sweep_report(chosen) if len(chosen) > 1 else experiment_report(chosen[0]))


@app.command("list")
def list_names(
    kind: Annotated[str, typer.Argument(help="methods, datasets, backbones or metrics", show_default=False)],
) -> None:
    """List what there is."""
    for name, about in _listed(kind):
        console.out(f"{name:<20} {about}")


def main() -> None:
    """Entry point: exit status 0 done, 2 the input is wrong, 1 anything else."""
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        app(arguments)
    except ClassifSAEError as error:
        if debug:
            raise
        _complain(str(error))
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        _complain("stopped; run the same command again to go on from here.")
        raise SystemExit(130) from None
    except Exception as error:
        if debug:
            raise
        _complain(f"{type(error).__name__}: {error} (a fault of ClassifSAE; --debug shows where)")
        raise SystemExit(1) from error


def _given(texts: list[str] | None, file: str | None) -> Iterator[str]:
    """The texts given, those of the file, or else what comes or is typed on standard input."""
    from classifsae.data.stream import stream_texts

    if texts and file is not None:
        raise ConfigError("explain takes either texts or --file FILE; both were given.")
    if texts:
        return iter(texts)
    return _typed() if file is None else stream_texts(file)


def _typed() -> Iterator[str]:
    """Texts on standard input, asked for if it is a terminal."""
    from classifsae.data.stream import STANDARD_INPUT, stream_texts

    if sys.stdin.isatty():
        errors.print("One text a line; Ctrl-D ends.", style="dim")
    found = False
    for text in stream_texts(STANDARD_INPUT):
        found = True
        yield text
    if not found:
        raise ConfigError(
            'explain was given no text; give it some, such as "Oil prices fell", or --file FILE.'
        )


def _print_explanation(explanation: "Explanation", *, as_json: bool, first: bool) -> None:
    """Print it at once, so that a long list can be read while it grows."""
    if as_json:
        console.out(json.dumps(explanation.as_json(), ensure_ascii=False), highlight=False)
    else:
        from classifsae.explaining.terminal import printed

        console.print(printed(explanation, legend=first), highlight=False)


def _show_prompt(point: "Experiment") -> None:
    from classifsae.classifier.preview import preview
    from classifsae.data import load_dataset

    console.out(preview(point.backbone, load_dataset(point.dataset).train), highlight=False)


def _complain(message: str) -> None:
    errors.print(
        f"classifsae: {' '.join(message.split())}",
        style="bold red",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _list_points(points: "Sequence[Experiment]") -> None:
    """One line per point: its number, what it is about, where it goes, and what of it is on the disk."""
    from classifsae.pipeline.run import progress

    rows = [("", "backbone", "data set", "run folder", "done")]
    for number, point in enumerate(points, start=1):
        found = progress(point)
        rows.append((str(number), point.backbone.name, found.dataset, str(found.folder), str(found)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *cells in rows:
        line = [first.rjust(widths[0]), *(c.ljust(w) for c, w in zip(cells, widths[1:], strict=True))]
        console.out("  ".join(line).rstrip())


def _run(path: Path, settings: list[str] | None, index: int | None, *, until: "Stop") -> None:
    from classifsae.pipeline.config import load_experiment, point_of
    from classifsae.pipeline.run import REPORT, TABLE
    from classifsae.pipeline.run import run as run_experiment
    from classifsae.reporting.save import PAGE
    from classifsae.reporting.tables.table import terminal

    points = load_experiment(path, settings or [])
    for point in points if index is None else [point_of(points, index, where=str(path))]:
        outcome = run_experiment(point, until=until, watch=Bars())
        if outcome.n_done == 0:
            console.print(
                f"Nothing to do: all {outcome.n_kept} stages of {outcome.folder} are up to date.",
                highlight=False,
            )
        if outcome.records:
            console.print(terminal(outcome.records, notes=outcome.notes))
            console.print(
                f"Table, scores and summary: {outcome.folder / TABLE}", highlight=False, soft_wrap=True
            )
        if until == "report":
            page = outcome.folder / REPORT / PAGE
            console.print(f"The page to open in a browser: {page}", highlight=False, soft_wrap=True)
        if outcome.failures:
            raise DataError(" ".join(outcome.failures))


class Bars:
    """One line per stage: a bar while it runs on a terminal, a plain line when it ends."""

    @contextmanager
    def stage(self, name: str, /) -> Iterator["OnStep"]:
        """Show a stage while it runs."""
        columns = (
            TextColumn("{task.description:<25}", table_column=Column(no_wrap=True, min_width=25)),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            # What does not fit beside the bar is cut off, never the bar.
            TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True, ratio=1)),
        )
        begin = time.monotonic()
        shown = console.is_terminal
        with Progress(*columns, console=console, transient=True, expand=True, disable=not shown) as progress:
            task = progress.add_task(name, total=None, numbers="")
            yield _to_bar(progress, task)
        console.print(f"{name:<28} {time.monotonic() - begin:7.1f} s", highlight=False)

    def kept(self, name: str, /) -> None:
        """Say that a stage is up to date."""
        console.print(f"{name:<28}  up to date", style="dim", highlight=False)


def _to_bar(progress: Progress, task: TaskID) -> "OnStep":
    def on_step(done: int, total: int, values: Mapping[str, float], /) -> None:
        first = sorted(values, key=lambda name: name not in ("loss", "dead"))
        numbers = "  ".join(f"{name} {values[name]:.3g}" for name in first)
        progress.update(task, completed=done, total=total, numbers=numbers)

    return on_step


def _listed(kind: str) -> list[tuple[str, str]]:
    """Names of one kind, each with the first line of what it says of itself."""
    from classifsae.concepts import METHODS, ConceptMethod
    from classifsae.data.sources import PRESETS
    from classifsae.hub.files import BACKBONES
    from classifsae.metrics import METRICS, Metric
    from classifsae.registry import ClassRegistry, PresetRegistry

    registries: dict[str, ClassRegistry[ConceptMethod] | ClassRegistry[Metric] | PresetRegistry] = {
        "methods": METHODS,
        "metrics": METRICS,
        "backbones": BACKBONES,
        "datasets": PRESETS,
    }
    if kind not in registries:
        raise UnknownNameError("kind", kind, registries)
    registry = registries[kind]
    return [(name, registry.about(name)) for name in registry.names()]
