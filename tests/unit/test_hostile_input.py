"""Files and options of strangers that mean harm or are broken: each is one clear line, or read as it stands.

None ends in a traceback, takes for ever, overwrites a file, or is unpickled. ``docs/reliability.md`` says how
many there are; ``test_the_docs_say_how_many`` counts them, here and where else such inputs are tried.
"""

import ast
import json
import os
import pickle
import re
import signal
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from classifsae.activations import Activations, Source
from classifsae.auditing.options import AuditOptions
from classifsae.classifier.config import BackboneConfig
from classifsae.concepts import load_concepts
from classifsae.concepts.kmeans import KMeans
from classifsae.data import Dataset, DatasetConfig, load_dataset
from classifsae.data.stream import stream_texts
from classifsae.errors import ClassifSAEError
from classifsae.launch.profile import read_profile
from classifsae.meaning.own_names import read_names
from classifsae.pipeline.audit import options_of
from classifsae.pipeline.config import Experiment, experiments_of, load_experiment
from classifsae.pipeline.run_folder import RunFolder
from classifsae.storage import (
    MANIFEST,
    finish,
    manifest_of,
    noted_manifest,
    read_tensors,
    write_json,
    write_tensors,
)
from unit import test_yaml_files
from unit.data import test_load_dataset
from unit.meaning import test_llm, test_names, test_own_names
from unit.pipeline import test_config

SECONDS, LONGEST = 20, 4000
"""For one input; characters of one line."""

Says = str | Callable[[object], bool]
"""What the line says, or whether the input was read as it stands."""


@dataclass(frozen=True)
class Case:
    """One input: what it does to a folder, and what becomes of it."""

    do: Callable[[Path], object]
    says: Says


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """End what takes longer."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.folder / "unpickled",))


# --------------------------------------------------------------------- experiments


def experiment(*changes: str) -> Case:
    *given, says = changes

    def do(folder: Path) -> object:
        file = folder / "e.yaml"
        file.write_text("dataset: planted\nbackbone: minilm\nmethods: [sae, random]\n")
        (point,) = load_experiment(file, given)
        return point, RunFolder.of(point), point.in_full()

    return Case(do, says)


EXPERIMENTS: dict[str, Case] = {
    "a seed below 0": experiment("seeds=[-1]", "seeds.0: .*greater than or equal to 0"),
    "half a seed": experiment("seeds=[1.5]", "seeds.0: .*integer"),
    "a seed that is true": experiment("seeds=[[]]", "seeds.0: .*integer"),
    "no number of concepts": experiment("n_concepts=.nan", "n_concepts: .*"),
    "concepts below 0": experiment("n_concepts=-3", "n_concepts: .*greater than 0"),
    "a number of 5,000 digits": experiment(f"n_concepts={'9' * 5000}", "n_concepts|not YAML"),
    "a learning rate below 0": experiment("backbone.learning_rate=-1", "learning_rate: .*greater than 0"),
    "a learning rate that is no number": experiment("backbone.learning_rate=.nan", "learning_rate: "),
    "a batch of 10^12": experiment("backbone.batch_size=1000000000000", "batch_size: .*less than"),
    "epochs without end": experiment("backbone.n_epochs=.inf", "n_epochs: "),
    "a vocabulary of 10^12": experiment("backbone={tokenizer: {vocab_size: 1000000000000}}", "vocab_size: "),
    "a label that steers the terminal": experiment(
        'methods={"\\u001b[31m": {method: sae}}', "names a folder: use letters"
    ),
    "a label that leads out": experiment('methods={"..": {method: sae}}', "names a folder: use letters"),
    "a label of 900 letters": experiment(f"methods={{{'a' * 900}: {{method: sae}}}}", "at most 200"),
    "methods as a number": experiment("methods=7", "methods: "),
    "a method that is a list": experiment("methods={sae: [1]}", "methods.sae: "),
    "a method of a module that is not there": experiment("methods={x: {method: 'os:system'}}", "os:system"),
    "a method with code in its name": experiment(
        "methods={x: {method: '__import__(\"os\")'}}", "methods.x: unknown method"
    ),
    "a language model in a file": experiment(
        "names={from: endpoint, url: 'file:///etc/passwd', model: m}", "url"
    ),
    "a language model by ftp": experiment("names={from: endpoint, url: 'ftp://h/v1', model: m}", "url"),
    "an address that is no address": experiment(
        "names={from: endpoint, url: 'http://[::1', model: m}", "url"
    ),
    "a name with NUL": experiment('dataset="a\\0b.csv"', "control character"),
    "no name of a data set": experiment("dataset=''", "dataset"),
    "a backbone in a device": experiment("device='cuda:10000000000000000000000'", "device: "),
    "a device that is not there": experiment("device=toaster", "device: "),
    "a folder in itself": experiment("run_dir={dataset: x}", "run_dir: "),
    "no folder": experiment("run_dir=''", "run_dir: is empty"),
    "a tracker that is a module": experiment("trackers=[os]", "trackers.0: "),
    "a broken pattern": experiment("audit={patterns: {x: '('}}", "pattern"),
    "a sweep over itself": experiment("sweep={sweep: [1, 2]}", "sweep"),
    "a sweep of nothing": experiment("sweep={seeds: []}", "sweep"),
    "an experiment in /etc": experiment("extends=/etc/passwd", "extends belongs in"),
}


def file_of(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
        return path

    return write


def yaml_file(content: bytes | str, says: str) -> Case:
    return Case(lambda folder: load_experiment(file_of("e.yaml", content)(folder)), says)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)
FILES: dict[str, Case] = {
    "a pickle": yaml_file(pickle.dumps({"dataset": "planted"}), "is no text in UTF-8|is not YAML"),
    "a tag of Python": yaml_file("dataset: !!python/name:os.system", "could not determine a constructor"),
    "a tag of one's own": yaml_file("dataset: !secret x", "could not determine a constructor"),
    "a set": yaml_file("dataset: !!set {a, b}", "is missing"),
    "bytes": yaml_file("dataset: !!binary aGVsbG8=", "is missing"),
    "a date": yaml_file("dataset: 2020-01-01", "is missing"),
    "a bomb": yaml_file(BOMB, "more than 200,000 values"),
    "an alias of itself": yaml_file("a: &a [*a]", "line 1: an alias stands inside"),
    "a merge of itself": yaml_file("a: &a {<<: *a}", "an alias stands inside"),
    "methods inside themselves": yaml_file(
        "dataset: planted\nbackbone: minilm\nmethods: &a {sae: {x: *a}}", "an alias stands inside"
    ),
    "a list as a key": yaml_file("? [a, b]\n: c", "."),
    "a folder that extends": yaml_file("extends: .", "cannot read"),
    "another's file that extends": yaml_file("extends: ../../../../../../etc/passwd", "."),
    "a number as an extension": yaml_file("extends: 3", "cannot read"),
    "a lone surrogate": yaml_file("dataset: \ud800", "."),
    "escapes of the terminal": yaml_file("dataset: \x1b[2J", "not YAML"),
}


# --------------------------------------------------------------------------- texts

FORMULA, HTML, ANSI = (
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script><img src=x onerror=y>",
    "\x1b]0;x\x07\x1b[2J",
)
TEXTS = {
    "a formula": FORMULA,
    "HTML": HTML,
    "escapes of the terminal": ANSI,
    "right to left": "\u202eevil \u2067שלום\u2069 مرحبا",  # noqa: RUF001
    "emoji": "👩‍👩‍👧‍👦🏴‍☠️ \U0001f9ff",
    "NUL": "a\0b",
    "a megabyte": "word " * 200_000,
    "one word of a megabyte": "x" * 1_000_000,
    "line ends of all kinds": "a\u2028b\u2029c\x0bd\x0ce\x85f",
    "a byte order mark inside": "a\ufeffb",
    "a template": "{{7*7}} ${7*7} %s {0.__class__}",
    "combining marks": "e" + "\u0301" * 5000,
}


def written(folder: Path, name: str, text: str) -> Path:
    """A data set of a suffix in which every other text is this one."""
    path, rows = folder / name, [(text if i % 2 else f"text {i}", "ab"[i % 2]) for i in range(20)]
    if name.endswith("parquet"):
        parquet.write_table(pa.table({"text": [t for t, _ in rows], "label": [y for _, y in rows]}), path)
    elif name.endswith("jsonl"):
        path.write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in rows))
    else:
        quoted = [f'"{t.replace(chr(34), chr(34) * 2)}",{y}\r\n' for t, y in rows]
        path.write_bytes(("text,label\r\n" + "".join(quoted)).encode())
    return path


def text_in(suffix: str, text: str) -> Case:
    def is_whole(data: object) -> bool:
        assert isinstance(data, Dataset)
        return text in data.train.texts and data.label_names == ("a", "b")

    return Case(lambda folder: load_dataset(written(folder, f"d.{suffix}", text)), is_whole)


KEPT: dict[str, Case] = {
    f"{kind} in {suffix}": text_in(suffix, text)
    for kind, text in TEXTS.items()
    for suffix in ("csv", "jsonl", "parquet")
}


# ---------------------------------------------------------------------------- data


def data(name: str, content: bytes | str, says: Says) -> Case:
    return Case(lambda folder: load_dataset(file_of(name, content)(folder)), says)


def table(says: Says, **columns: object) -> Case:
    def do(folder: Path) -> object:
        parquet.write_table(pa.table(columns), folder / "d.parquet")
        return load_dataset(folder / "d.parquet")

    return Case(do, says)


def twice(folder: Path) -> object:
    texts = pa.array(["a", "b"] * 10)
    parquet.write_table(
        pa.Table.from_arrays([texts, texts, texts], ["text", "text", "label"]), folder / "d.parquet"
    )
    return load_dataset(folder / "d.parquet")


def trapped(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(pickle.dumps(Trap(folder)))
        return folder / name

    return write


def fifo(folder: Path) -> object:
    os.mkfifo(folder / "d.csv")
    return load_dataset(folder / "d.csv")


def readme(folder: Path) -> object:
    (folder / "data").mkdir()
    written(folder / "data", "train.csv", "x")
    (folder / "data" / "README.md").write_text(
        "---\nconfigs: !!python/object/apply:os.system ['touch x']\n---\n"
    )
    return load_dataset(folder / "data")


def loop(folder: Path) -> object:
    (folder / "data").mkdir()
    (folder / "data" / "train.csv").symlink_to(folder / "data" / "test.csv")
    (folder / "data" / "test.csv").symlink_to(folder / "data" / "train.csv")
    return load_dataset(folder / "data")


MANY = [("text of the row", "ab"[i % 2]) for i in range(20)]
LABELLED = "".join(f"{t} {i},{y}\n" for i, (t, y) in enumerate(MANY))
DATA: dict[str, Case] = {
    "UTF-16": data("d.csv", ("text,label\n" + LABELLED).encode("utf-16"), "is not UTF-8"),
    "Latin-1": data("d.jsonl", '{"text": "é"}'.encode("latin-1"), "is not UTF-8"),
    "one quote": data("d.csv", 'text,label\n"' + LABELLED, "cannot be read as CSV"),
    "quotes alone": data("d.csv", '"' * 9999, "."),
    "a megabyte of commas": data("d.csv", "," * 1_000_000, "."),
    "10,000 columns": data(
        "d.csv", ",".join(f"c{i}" for i in range(10_000)) + "\n" + ",".join(["x"] * 10_000), "holds the text"
    ),
    "a header of blanks": data("d.csv", " , \nx,y\n", "."),
    "NUL as a header": data("d.csv", "\0,label\n" + LABELLED, "."),
    "a header that steers the terminal": data("d.csv", "\x1b[31mtext,label\n" + LABELLED, "."),
    "a label that leads out": data(
        "d.csv",
        "text,label\n" + LABELLED.replace(",a", ",../../a"),
        lambda d: isinstance(d, Dataset) and "../../a" in d.label_names,
    ),
    "a label of HTML": data(
        "d.csv",
        "text,label\n" + LABELLED.replace(",a", ",<b>a</b>"),
        lambda d: isinstance(d, Dataset) and "<b>a</b>" in d.label_names,
    ),
    "a label that is a formula": data(
        "d.csv",
        "text,label\n" + LABELLED.replace(",a", ",=1+1"),
        lambda d: isinstance(d, Dataset) and "=1+1" in d.label_names,
    ),
    "a label that turns a line around": data(
        "d.csv",
        "text,label\n" + LABELLED.replace(",a", ",a\u202eb"),
        lambda d: isinstance(d, Dataset) and "a\u202eb" in d.label_names,
    ),
    "a label of two lines": data("d.jsonl", '{"text": "a", "label": "a\\nb"}\n', "only one class, 'a b'"),
    "a key twice": data("d.jsonl", '{"text": "a", "label": "x", "label": "y"}\n', "'label' is there twice"),
    "a label that is a list": data("d.jsonl", '{"text": "a", "label": ["a"]}\n', "labels and ids must be"),
    "a label that is a mapping": data(
        "d.jsonl", '{"text": "a", "label": {"a": 1}}\n', "labels and ids must be"
    ),
    "a label that is no number": data("d.jsonl", '{"text": "a", "label": NaN}\n', "has no label in 1 of 1"),
    "a label of 10,000 digits": data("d.jsonl", '{"text": "a", "label": ' + "9" * 10_000 + "}\n", "."),
    "a text that is a list": data("d.jsonl", '{"text": ["a"], "label": 1}\n', "texts must be strings"),
    "a text of blanks": data("d.jsonl", '{"text": "\\u00a0 \\t", "label": 1}\n', "has no text"),
    "a lone surrogate": data("d.jsonl", '{"text": "\\udfff", "label": 1}\n', "not valid Unicode"),
    "a lone surrogate in a label": data("d.jsonl", '{"text": "a", "label": "\\udfff"}\n', "."),
    "a lone surrogate in a key": data("d.jsonl", '{"\\udfff": "a", "label": "b"}\n', "."),
    "objects nested deep": data("d.jsonl", '{"a":' * 100_000 + "1" + "}" * 100_000, "cannot be read as JSON"),
    "a number": data("d.json", "1e999", "each must be an object"),
    "text before JSON": data("d.jsonl", "x" * 1000 + '{"text": "a"}', "cannot be read as JSON"),
    "a pickle named CSV": Case(
        lambda f: load_dataset(trapped("d.csv")(f)), "is not UTF-8|is empty|holds|read"
    ),
    "a pickle named JSON": Case(lambda f: load_dataset(trapped("d.json")(f)), "is not UTF-8|read as JSON"),
    "a pickle named Parquet": Case(lambda f: load_dataset(trapped("d.parquet")(f)), "read as Parquet"),
    "a pickle": Case(lambda f: load_dataset(trapped("d.pkl")(f)), "is not supported"),
    "a queue of the system": Case(fifo, "no such file"),
    "a file of the system": Case(lambda _: load_dataset("../../../../../../../etc/passwd"), "."),
    "a device": Case(lambda _: load_dataset("/dev/zero"), "."),
    "a tag in a README": Case(readme, lambda d: isinstance(d, Dataset)),
    "links in a loop": Case(loop, "."),
    "a Parquet of no rows": table(
        "is empty", text=pa.array([], pa.string()), label=pa.array([], pa.string())
    ),
    "a Parquet of bytes": table("texts must be strings", text=[b"a"] * 20, label=["a", "b"] * 10),
    "a Parquet of lists": table("texts must be strings", text=[["a"]] * 20, label=["a", "b"] * 10),
    "a Parquet of nothing": table(
        "holds the text|has no text|texts must", text=pa.nulls(20), label=["a", "b"] * 10
    ),
    "a Parquet of times": table(
        "labels and ids must be", text=["a"] * 20, label=pa.array(range(20), pa.timestamp("s"))
    ),
    "a Parquet of structs": table(
        "labels and ids must be", text=["a"] * 20, label=[{"x": i} for i in range(20)]
    ),
    "a Parquet with a column twice": Case(twice, "names a column twice"),
    "a Parquet with a wrong footer": data(
        "d.parquet",
        b"PAR1" + b"\0" * 100 + struct.pack("<I", 0xFFFFFFFF) + b"PAR1",
        "cannot be read as Parquet",
    ),
    "a YAML bomb": data("d.yaml", BOMB, "more than 200,000 values"),
    "a YAML with a tag": data("d.yaml", "name: !!python/name:os.system", "constructor"),
}


# ------------------------------------------------------- texts, names, words, jobs


def named(content: bytes | str, says: Says) -> Case:
    return Case(lambda folder: read_names(file_of("seed-1.yaml", content)(folder)), says)


def words(says: str, **files: bytes | str) -> Case:
    def do(folder: Path) -> AuditOptions | None:
        given = {kind: file_of(f"{kind}.txt", content)(folder) for kind, content in files.items()}
        return options_of(terms=given.get("terms"), pairs=given.get("pairs"), patterns=[])

    return Case(do, says)


def profile(content: bytes | str, says: str) -> Case:
    return Case(lambda folder: read_profile(file_of("p.yaml", content)(folder)), says)


def texts(name: str, content: bytes | str, says: Says) -> Case:
    return Case(lambda folder: [*stream_texts(str(file_of(name, content)(folder)))], says)


OTHERS: dict[str, Case] = {
    "names in UTF-16": named("5: oil".encode("utf-16"), "is no YAML"),
    "names with NUL": named("5: o\0il", "is no YAML"),
    "names that are a bomb": named(BOMB, "is no latent's number"),
    "names with a tag": named("5: !!python/object/apply:os.system [x]", "is no text"),
    "names nested deep": named("a: " + "[" * 5000, "is no YAML"),
    "a name that is a list": named("5: [a, b]", "is no text"),
    "a name of 1 MB": named("5: " + "x" * 1_000_000, "it may have 1 to 80"),
    "a name of nothing": named("5: ''", "write one or leave it out"),
    "a latent of 5,000 digits": named("9" * 5000 + ": oil", "."),
    "a latent below 0": named("-5: oil", "is no latent's number"),
    "a latent twice": named("5: oil\n5: gas", "."),
    "a latent in a list": named("? [1]\n: oil", "is no latent's number"),
    "edits of 5,000 digits": named(f"drop: [{'9' * 5000}]", "drop holds latents"),
    "concepts that are a list": named("concepts: [a]\n5: oil", "concepts is no text"),
    "a name that steers the terminal": named('5: "\\e[31moil"', "has a control character"),
    "a pickle of names": Case(lambda f: read_names(trapped("seed-1.yaml")(f)), "is no YAML"),
    "words in UTF-16": words(".", terms="oil".encode("utf-16")),
    "no words": words("is empty", terms=" \n"),
    "words in bytes": words("give a text file in UTF-8", terms=bytes(range(256))),
    "pairs of one": words(".", pairs="he\nshe\n"),
    "pairs of three": words(".", pairs="he,she,they\n"),
    "pairs in UTF-16": words(".", pairs="he,she".encode("utf-16")),
    "jobs in UTF-16": profile("partition: gpu".encode("utf-16"), "UTF-8"),
    "jobs nested deep": profile("a: " + "[" * 5000 + "]" * 5000, "inside each other"),
    "jobs that are a bomb": profile(BOMB, "."),
    "jobs twice": profile("partition: a\npartition: b", "is there twice"),
    "a job of two lines": profile('partition: "a\\n#SBATCH --uid=0"', "partition"),
    "jobs below 0": profile("cpus: -4", "cpus: .*greater than 0"),
    "jobs with an unknown option": profile("run: rm", "unknown option 'run'"),
    "texts in UTF-16": texts("t.txt", "a\nb".encode("utf-16"), "is not UTF-8"),
    "texts with NUL": texts("t.txt", "a\0b\n", lambda found: found == ["a\0b"]),
    "texts of nothing": texts("t.txt", "\n \n", lambda found: found == []),
    "texts of 1 MB": texts("t.txt", "x" * 10**6, lambda found: found == ["x" * 10**6]),
    "texts in a pickle": Case(lambda f: [*stream_texts(str(trapped("t.txt")(f)))], "is not UTF-8"),
}


# ---------------------------------------------------------------- tensors and runs


def safetensors(header: object, body: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensors(content: bytes, says: Says = "cannot read") -> Case:
    return Case(lambda folder: read_tensors(file_of("t.safetensors", content)(folder)), says)


def of_tensor(**changes: object) -> bytes:
    return safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}, b"\0" * 8)


def zipped(folder: Path) -> object:
    with zipfile.ZipFile(folder / "t.safetensors", "w") as file:
        file.writestr("data.pkl", pickle.dumps(Trap(folder)))
    return read_tensors(folder / "t.safetensors")


def saved(folder: Path) -> Path:
    """Concepts as they are saved."""
    hidden = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))
    source, tail = Source(model="m", layer=2, prompt="", dataset="d"), torch.nn.Linear(16, 3)
    logits, ids = hidden[:, :3] * 3, tuple(map(str, range(60)))
    states = Activations(hidden, logits, logits.argmax(dim=1), ids, source)
    KMeans(n_concepts=4).fit(states, tail).save(folder / "concepts")
    return folder / "concepts"


def sealed(folder: Path, record: dict[str, object] | None = None) -> None:
    noted = noted_manifest(folder)
    assert noted is not None
    finish(folder, inputs=noted.inputs, record={**noted.record, **(record or {})})  # type: ignore[dict-item]


def concepts(change: Callable[[torch.Tensor], torch.Tensor | None], says: str) -> Case:
    """Concepts of which one tensor is changed, with a manifest that fits."""

    def do(folder: Path) -> object:
        file = saved(folder) / "concepts.safetensors"
        held = {name: tensor.clone() for name, tensor in read_tensors(file).items()}
        name = "coder.weights"
        made = change(held.pop(name))
        write_tensors(file, held if made is None else {**held, name: made})
        sealed(file.parent)
        return load_concepts(file.parent)

    return Case(do, says)


def recorded(says: str, **record: object) -> Case:
    def do(folder: Path) -> object:
        sealed(saved(folder), record)
        return load_concepts(folder / "concepts")

    return Case(do, says)


def of_run(name: str, content: bytes | str, says: str) -> Case:
    """A run's folder in which one file is a stranger's."""

    def do(folder: Path) -> object:
        write_json(
            folder / "experiment.json", {"dataset": "planted", "backbone": "minilm", "methods": ["sae"]}
        )
        write_json(folder / "summary.json", [{"dataset": "d", "backbone": "b", "method": "sae", "seed": 1}])
        file_of(name, content)(folder)
        if name != MANIFEST:  # that fits
            finish(folder, inputs="", record={})
        run = RunFolder(folder)
        return manifest_of(folder), run.read_experiment(), run.results()

    return Case(do, says)


DEEP = "[" * 100_000 + "]" * 100_000
TENSORS: dict[str, Case] = {
    "nothing": tensors(b""),
    "seven bytes": tensors(b"\0" * 7),
    "a header of 2^63 bytes": tensors(safetensors({}, length=2**63)),
    "a header of 2^64 - 1 bytes": tensors(safetensors({}, length=2**64 - 1)),
    "a header that is longer than the file": tensors(safetensors({}, length=10_000)),
    "a header that is no JSON": tensors(safetensors(b"\xff" * 40)),
    "a header nested deep": tensors(safetensors(DEEP.encode())),
    "a header that is a list": tensors(safetensors([1])),
    "an unknown type": tensors(of_tensor(dtype="F99")),
    "a shape that does not fit": tensors(of_tensor(shape=[3])),
    "a shape below 0": tensors(of_tensor(shape=[-2])),
    "a shape of 2^62 by 2^62": tensors(of_tensor(shape=[2**62, 2**62])),
    "offsets outside": tensors(of_tensor(data_offsets=[0, 800])),
    "offsets the other way round": tensors(of_tensor(data_offsets=[8, 0])),
    "a pickle": Case(lambda f: read_tensors(trapped("t.safetensors")(f)), "cannot read"),
    "a zip of torch": Case(zipped, "cannot read"),
    "concepts of another width": concepts(lambda t: t[..., :-1].contiguous(), "cannot be read"),
    "concepts with one axis more": concepts(lambda t: t[None], "cannot be read"),
    "concepts of integers": concepts(lambda t: t.long(), "cannot be read"),
    "concepts of no tensor": concepts(lambda t: None, "cannot be read"),
    "concepts of NaN": concepts(lambda t: t * torch.nan, "cannot be read"),
    "concepts of infinity": concepts(lambda t: t / 0, "cannot be read"),
    "a dictionary of a stranger": recorded("is not part of ClassifSAE", coder="os:system"),
    "a dictionary that is a number": recorded("cannot be read", coder=3),
    "a dictionary that is no class": recorded(
        "cannot be read|not a Coder", coder="classifsae.errors:setting"
    ),
    "settings that are a list": recorded("cannot be read", settings=[1]),
    "unknown settings": recorded("cannot be read", settings={"evil": 1}),
    "a source that is a word": recorded("cannot be read", source="x"),
    "an experiment that is a list": of_run("experiment.json", "[1]", "is not understood"),
    "an experiment nested deep": of_run("experiment.json", DEEP, "cannot read"),
    "an experiment in UTF-16": of_run("experiment.json", "{}".encode("utf-16"), "cannot read"),
    "an experiment with a number of 9,999 digits": of_run("experiment.json", "9" * 9999, "cannot read"),
    "a summary nested deep": of_run("summary.json", DEEP, "are damaged"),
    "a summary of nothing": of_run("summary.json", "[]", "are damaged"),
    "scores that are a list": of_run("scores.json", "[1]", "are damaged"),
    "a manifest nested deep": of_run(MANIFEST, DEEP, "is not a manifest of this version"),
    "a manifest that is a word": of_run(MANIFEST, '"x"', "is not a manifest of this version"),
    "a manifest of another version": of_run(MANIFEST, '{"format": 99}', "is not a manifest of this version"),
}

CORPUS: dict[str, dict[str, Case]] = {
    "options of an experiment": EXPERIMENTS,
    "experiment files": FILES,
    "texts, in CSV, JSON Lines and Parquet": KEPT,
    "data files": DATA,
    "files of names, words, texts and jobs": OTHERS,
    "tensors, concepts and run folders": TENSORS,
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in CORPUS for name in CORPUS[kind]])
def test_one_clear_line_or_as_it_stands(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    case, inner = CORPUS[kind][name], tmp_path / "inner"
    inner.mkdir()
    write_json(tmp_path / "beside.json", {"mine": 1})
    monkeypatch.chdir(inner)
    with in_time(SECONDS):
        try:
            found = case.do(inner)
        except ClassifSAEError as error:
            said = str(error)
            assert isinstance(case.says, str), said
            assert re.search(case.says, said), said
            assert len(said) < LONGEST
        else:
            assert not isinstance(case.says, str), found
            assert case.says(found)
    assert not (inner / "unpickled").exists()
    assert [path.name for path in tmp_path.iterdir() if path != inner] == ["beside.json"]
    assert files(tmp_path)["beside.json"] == b'{\n "mine": 1\n}\n'


# ----- whatever comes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("sae"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
OPTIONS = st.sampled_from([*Experiment.model_fields, "sweep", "exceptions", "extends", "seed"])
PARTS = {
    "backbone": st.sampled_from([*BackboneConfig.model_fields]),
    "dataset": st.sampled_from([*DatasetConfig.model_fields]),
    "methods": st.sampled_from(["sae", "ica", "classifsae"]),
}


@st.composite
def changes(draw: st.DrawFn) -> dict[str, object]:
    """One option of an experiment, or one below it, with any value."""
    key = draw(OPTIONS)
    value = draw(VALUES)
    return {f"{key}.{draw(PARTS[key])}" if key in PARTS and draw(st.booleans()) else key: value}


@settings(max_examples=200, deadline=None)
@given(changes())
def test_an_option_of_any_value_is_refused_in_one_line_or_taken(changed: dict[str, object]):
    tree = {"dataset": "planted", "backbone": "minilm", "methods": ["sae"]}
    with suppress(ClassifSAEError):
        for point in experiments_of(tree, changed, where="it"):  # type: ignore[arg-type]
            point.in_full()


PIECES = ["text", "label", '"', ",", "\n", "\r", "\0", "a", "\ufeff", "{", "[", "\x1b", "\u2028"]
ROWS = st.lists(st.text(max_size=6) | st.sampled_from(PIECES), max_size=40).map("".join)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["csv", "tsv", "json", "jsonl", "parquet", "yaml"]),
    st.binary(max_size=60) | ROWS.map(lambda text: ("text,label\n" + text).encode("utf-8", "replace")),
)
def test_a_file_of_any_bytes_is_refused_in_one_line_or_read(suffix: str, content: bytes):
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"d.{suffix}"
        path.write_bytes(content)
        with suppress(ClassifSAEError):
            assert load_dataset(path).train.texts
        assert path.read_bytes() == content


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["text", "label", "id"]), VALUES, max_size=3), max_size=6))
def test_objects_of_any_value_are_refused_in_one_line_or_read(rows: list[dict[str, object]]):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "d.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with suppress(ClassifSAEError):
            load_dataset(path)


# ----- how many

ELSEWHERE: dict[str, tuple[Callable[..., object], ...]] = {
    "YAML": (
        test_yaml_files.test_what_is_no_plain_tree_is_refused,
        test_yaml_files.test_what_is_no_text_is_refused,
        test_yaml_files.test_what_cannot_be_read_is_refused,
    ),
    "options of an experiment": (test_config.test_what_is_wrong_is_said_in_one_line,),
    "data files": (
        test_load_dataset.test_bad_files_are_named_in_one_line,
        test_load_dataset.test_a_path_where_nothing_is,
        test_load_dataset.test_a_name_that_no_file_has,
    ),
    "files of names, words, texts and jobs": (
        test_own_names.test_edits_that_are_none_are_refused,
        test_names.test_a_prompt_that_cannot_be_filled_in_is_refused,
    ),
    "language models that hang, lie or never end": (
        test_llm.test_an_answer_without_end_is_given_up_in_time,
        test_llm.test_an_answer_that_would_fill_the_memory_is_left,
        test_llm.test_a_slow_answer_is_given_up_and_asked_again,
        test_llm.test_a_refusal_is_not_asked_again_and_tells_no_key,
        test_llm.test_an_error_without_words_is_its_number,
        test_llm.test_rubbish_is_said_to_be_rubbish,
        test_llm.test_a_redirect_is_not_followed_so_that_the_key_stays,
        test_llm.test_what_is_no_http_is_one_clear_line,
        test_llm.test_nobody_listening_is_one_clear_line,
    ),
}


def n_inputs(test: Callable[..., object]) -> int:
    """How many inputs a test is run with."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    return len(list(marks[0].args[1])) if marks else 1


def n_faults() -> int:
    """How many models with odd files are loaded, by the table of that test beside its helpers."""
    file = Path(__file__).parent / "classifier" / "loading" / "test_foreign_files.py"
    tables = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.AnnAssign)]
    (faults,) = (node.value for node in tables if ast.unparse(node.target) == "FAULTS")
    assert isinstance(faults, ast.Dict)
    return len(faults.keys)


def counted() -> dict[str, int]:
    """Inputs that are tried, by kind: of this file and of others."""
    found = Counter({kind: len(cases) for kind, cases in CORPUS.items()})
    for kind, tests in ELSEWHERE.items():
        found[kind] += sum(map(n_inputs, tests))
    return {**found, "models and tokenizers": n_faults()}


def test_the_docs_say_how_many():
    said = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    lines = [f"| {kind} | {n} |" for kind, n in counted().items()]
    lines.append(f"| together | {sum(counted().values())} |")
    missing = [line for line in lines if line not in said]
    assert not missing, "\n".join(lines)
