"""What README and docs/ show is true: Python runs, commands run or are at least understood as they stand.

Python runs from the first block of a page to the last, in a folder that has what the page speaks of, with
three changes (``SMALLER``): less data, and files in place of the Hub. Commands that end soon run, on a small
finished run. Of the others, ``run`` and its stages only resolve the experiment (``show``), ``launch slurm``
prints its scripts, and what needs a cluster, the Hub or a browser is read by the command line and no more, as
are commands within a line of text.
"""

import csv
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup
from typer.testing import CliRunner

import classifsae as cs
from classifsae.cli import app

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
INDENTED, INLINE = re.compile(r"^    (classifsae .*)$", re.MULTILINE), re.compile(r"`(classifsae [^`\n]+)`")
RUN = "runs/planted/minilm"

SMALLER = {
    'options={"n_train": 600, "n_test": 200}': 'options={"n_train": 40, "n_test": 20}',
    'load_dataset("agnews")': 'load_dataset("agnews", train="train.csv", test="test.csv")',
    'cs.load_dataset("dair-ai/emotion")': 'cs.load_dataset("my_folder")',
}
OTHER_WORDS = {"refund, money back": "from my tablet"}
"""Words that texts of the small run have, in place of others."""

AS_SHOW = {"run", "finetune", "capture", "fit", "score", "demo"}
READ_ONLY = {"verify", "logs", "status", "cancel", "serve", "--hub", "--install-completion"}
"""Words of commands that are not run here."""

SHAPE = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
TINY = {"architecture": SHAPE, "n_epochs": 8, "batch_size": 16, "learning_rate": 5e-3}
DECODER = TINY | {"architecture": SHAPE | {"model_type": "gpt_neox", "max_position_embeddings": 128}}
SMALL_RUN = {
    "backbone": TINY,
    "dataset": {
        "name": "planted",
        "options": {"n_train": 240, "n_test": 80, "shortcut": "signature", "shortcut_rate": 0.9},
    },
    "methods": {"whitened_kmeans": {}, "identity": {}},
    "metrics": ["completeness", "causality", "truth"],
    "words": {"language": "none"},
    "audit": None,
    "n_concepts": 8,
    "run_dir": RUN,
}


def blocks(page: str, *languages: str) -> list[str]:
    return [
        body for language, body in FENCED.findall(PAGES[page].read_text("utf-8")) if language in languages
    ]


def commands(page: str) -> list[tuple[str, ...]]:
    """The commands of a page's blocks, in words."""
    shown = [line for block in blocks(page, "", "bash") for line in block.splitlines()]
    shown += INDENTED.findall(PAGES[page].read_text("utf-8"))
    lines = [line.removeprefix("$ ").removeprefix("cat texts.txt | ") for line in shown]
    return [words_of(line) for line in lines if line.startswith("classifsae ")]


def commands_in_text(page: str) -> list[tuple[str, ...]]:
    """Those that stand within a line of text and say more than a name."""
    found = INLINE.findall(FENCED.sub("", PAGES[page].read_text("utf-8")))
    return [words for line in found if len(words := words_of(line)) > 1 and "-" not in words[1][0]]


def words_of(line: str) -> tuple[str, ...]:
    """The words after the program's name, with what stands for something put in its place."""
    words: list[str] = []
    for word in shlex.split(line, comments=True)[1:]:
        given = word.strip("[]") if word.count("[") != word.count("]") else word
        if given in {"...", "key=value", "[MODEL]"}:
            continue
        before = words[-1] if words else ""
        file = {"--examples": "texts.txt", "--without": "others.txt"}.get(before, "tiny.yaml")
        meant = {"FILE": file, "RUN": RUN, "DATA": "reviews.csv"}
        words.append(
            meant.get(given, OTHER_WORDS.get(given, given))
            .replace("EXPERIMENT.yaml", "tiny.yaml")
            .replace("EXPERIMENT", "tiny.yaml")
        )
    return tuple(words)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all that the pages speak of: data, classifiers, experiments and a finished run."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_data(folder)
        cs.run("tiny.yaml")
        shutil.copytree(RUN, "runs/agnews/minilm")
        write_classifiers(folder)
        yield folder


def write_data(folder: Path) -> None:
    corpus = cs.load_dataset("planted", options={"n_train": 100, "n_test": 40})
    for part, texts in (("train", corpus.train), ("test", corpus.test)):
        with (folder / f"{part}.csv").open("w", newline="") as stream:
            named = [corpus.label_names[label] for label in texts.labels]
            csv.writer(stream).writerows([("text", "label"), *zip(texts.texts, named, strict=True)])
    shutil.copytree(folder, folder / "my_folder")
    rows = [
        f"{'dull and slow' if i % 2 else 'warm and witty'} film no {i},{'bad' if i % 2 else 'good'},{i % 2}"
        for i in range(80)
    ]
    for name in ("reviews.csv", "new.csv", "reviews_2023.csv", "reviews_2024.csv"):
        (folder / name).write_text("\n".join(["review,sentiment,stars", *rows]))
    (folder / "texts.txt").write_text("\n".join(corpus.train.texts[:12]))
    (folder / "others.txt").write_text("\n".join(corpus.train.texts[12:24]))
    (folder / "texts.csv").write_text("text\noil prices fell\n")
    (folder / "terms.txt").write_text("bank\nclub\n")
    (folder / "pairs.csv").write_text("he,she\n")
    (folder / "reviews.yaml").write_text(
        "name: reviews\ntrain: reviews_2023.csv\ntest: reviews_2024.csv\ntext_column: review\n"
    )
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SMALL_RUN))
    (folder / "sweep.yaml").write_text(
        yaml.safe_dump(SMALL_RUN | {"sweep": {"n_concepts": [4, 8]}, "run_dir": "runs/{dataset}-{backbone}"})
    )
    (folder / "cluster.yaml").write_text("partition: cpu\ntime: 1:00:00\ngpus: 0\n")
    (folder / "experiments").symlink_to(ROOT / "experiments")


def write_classifiers(folder: Path) -> None:
    data, reviews = (
        cs.load_dataset("planted", options={"n_train": 80, "n_test": 40}),
        cs.load_dataset("reviews.csv"),
    )
    for name, backbone in (("my/hf-classifier", TINY), ("my-classifier", TINY), ("my/causal-lm", DECODER)):
        texts = reviews.train if name == "my-classifier" else data.train
        model = cs.finetune(backbone | {"n_epochs": 1}, texts)
        model.model.save_pretrained(folder / name)
        model.reader.tokenizer.save_pretrained(folder / name)
    lora = {"model": "my/hf-classifier", "tuning": "lora", "lora": {"merge": False}, "n_epochs": 1}
    cs.finetune(lora, data.train, folder=folder / "my" / "peft-adapter")


@pytest.fixture(scope="module")
def known(place: Path) -> dict[str, object]:
    """What a page may take for granted, having been introduced on another."""
    import pandas

    data = cs.load_dataset("planted", options={"n_train": 80, "n_test": 40})
    model = cs.finetune(TINY, data.train)
    train, test = cs.capture(model, data.train), cs.capture(model, data.test)
    concepts = cs.WhitenedKMeans(n_concepts=8).fit(train, model.tail)
    known = {
        "cs": cs,
        "Path": Path,
        "pandas": pandas,
        "data": data,
        "model": model,
        "train": train,
        "test": test,
    }
    more = {"scores": cs.score(concepts, model.tail, test), "sentences": cs.embed(data.test)}
    return known | more | {"concepts": concepts, "names": [f"topic {j}" for j in range(len(concepts))]}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_python_of_a_page_runs(
    page: str, place: Path, known: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(place)
    code = "\n".join(blocks(page, "python"))
    for shown, smaller in SMALLER.items():
        code = code.replace(shown, smaller)
    exec(compile(code, page, "exec"), dict(known))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_the_commands_of_a_page_hold(page: str, place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    for words in commands(page):
        parsed(words)
        if not READ_ONLY & set(words):
            run(words)


@pytest.mark.parametrize("page", [page for page in PAGES if commands_in_text(page)])
def test_the_commands_within_a_text_are_understood(page: str):
    for words in commands_in_text(page):
        parsed(words)


def test_every_public_name_stands_in_the_reference():
    named = re.findall(r"^::: classifsae\.(\w+)$", PAGES["api.md"].read_text("utf-8"), flags=re.MULTILINE)
    assert sorted(named) == sorted(cs.__all__)


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_within_the_repository_lead_to_files(page: str):
    """As the repository shows the pages; links of the site are checked by ``make docs``."""
    path = PAGES.get(page, ROOT / page)
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", FENCED.sub("", path.read_text("utf-8"))):
        assert (path.parent / target).exists(), target


def parsed(words: tuple[str, ...]) -> None:
    """Let the command line read a command: names, options, and what each of them takes."""
    command, names = typer.main.get_command(app), list(words)
    while isinstance(command, TyperGroup) and names and not names[0].startswith("-"):
        command = command.commands[names.pop(0)]
    if not isinstance(command, TyperGroup):
        command.make_context(words[0], names)


def run(words: tuple[str, ...]) -> None:
    """Run a command, or what stands for it."""
    command, *rest = words
    if command in AS_SHOW:
        only = rest.index("--only") if "--only" in rest else len(rest)
        rest = [word for word in rest[:only] if word not in {"--figures", "--jobs", "4"}]
        words = ("show", *(["demo"] if command == "demo" else []), *rest)
    elif words[:2] == ("launch", "slurm") and "--dry-run" not in words:
        words += ("--dry-run",)
    if "--to" in words:
        shutil.rmtree(words[words.index("--to") + 1], ignore_errors=True)
    if command == "init":
        for file in ("reviews.yaml", "my-classifier.yaml"):
            Path(file).unlink(missing_ok=True)
    typed = "Oil prices fell.\nThe club won.\n" if command == "explain" else ""
    done = CliRunner().invoke(app, list(words), input=typed)
    assert done.exit_code == 0, f"classifsae {shlex.join(words)}: {done.exception or done.output}"
