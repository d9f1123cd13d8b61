"""Peak memory of capture, every fit and the scores, from 5,000 to 200,000 sentences of width 1,024.

Random states, written as capture writes them and mapped from the disk; each number is of its own process.
Counted is anonymous memory, which a machine has to have: pages of the mapped file are the kernel's to drop.
Beside it, the peak of all resident memory, these pages included, and seconds. Needs Linux and 1 GB of disk.

    python benchmarks/memory_by_n.py [NAME ...]
    python benchmarks/memory_by_n.py 5000000 [NAME ...]     # other sizes: here a file of 20 GB

A process that takes more than 8 GB is killed. Beyond 200,000 sentences states repeat, and batches are large
and latents few, so that one pass over them is a few hundred quick steps.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from side_by_side import write
from torch import nn

from classifsae.activations import TENSORS, Activations, Source, finish_activations
from classifsae.bottleneck import evaluate
from classifsae.concepts.base import METHODS
from classifsae.concepts.random import Random
from classifsae.metrics.base import METRICS
from classifsae.storage import concatenate_files, write_tensors

SIZES, WIDTH, N_CLASSES, PER_SHARD, FLAT = (5_000, 50_000, 200_000), 1024, 4, 5000, 1.2
LIMIT = 8_000_000_000
FITS: dict[str, dict[str, object]] = {
    "classifsae": {"n_vectors": 50_000},
    "sae": {"n_vectors": 50_000, "n_probe": 2000},
    "conceptshap": {"n_epochs": 1, "threshold": 0.0},
    "hiconcept": {"n_epochs": 1},
    "ica": {"max_iterations": 50},
    "kmeans": {"n_starts": 1},
    "whitened_kmeans": {"n_starts": 1},
    "consensus": {},
    "classes": {},
    "identity": {},
    "random": {},
}
FEW_STEPS: dict[str, dict[str, object]] = {
    "classifsae": {"batch_size": 10_000, "n_latents": 64},
    "sae": {"batch_size": 10_000, "n_latents": 64},
    "conceptshap": {"batch_size": 10_000},
    "hiconcept": {"batch_size": 10_000},
}
SCORES = ("completeness", "causality", "control", "distinct", "beyond_label", "margins")
NAMES = ("capture", *FITS, "score")


def tail() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, N_CLASSES).requires_grad_(False)


def write_states(folder: Path, n: int) -> None:
    draws, made = torch.Generator().manual_seed(0), []
    centres = torch.randn(N_CLASSES, WIDTH, generator=draws)
    mixing = torch.randn(64, WIDTH, generator=draws) / 4
    for start in range(0, min(n, SIZES[-1]), PER_SHARD):
        labels = torch.randint(N_CLASSES, (PER_SHARD,), generator=draws)
        hidden = centres[labels] + torch.randn(PER_SHARD, 64, generator=draws) @ mixing
        hidden += 0.1 * torch.randn(PER_SHARD, WIDTH, generator=draws)
        made.append(folder / f"{start}.safetensors")
        write_tensors(made[-1], {"hidden": hidden, "logits": tail()(hidden), "labels": labels})
    repeated = made * -(-n // SIZES[-1])
    concatenate_files(folder / TENSORS, repeated[: n // PER_SHARD])
    for shard in made:
        shard.unlink()
    source = Source(model="m", layer=1, prompt="", dataset="d")
    finish_activations(folder, ids=tuple(map(str, range(n))), source=source, inputs="", facts={})


def captures(folder: Path, n: int) -> None:
    """Two words per text, one block of width 1,024: the states are many, the model is next to nothing."""
    import classifsae as cs

    words = [f"word{i}" for i in range(100)]
    texts = [f"{words[i % 100]} {words[i // 100 % 100]}" for i in range(n)]
    labels = tuple(i % 2 for i in range(n))
    data = cs.Texts(tuple(texts), labels, tuple(map(str, range(n))), ("a", "b"))
    form = {"model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 8}
    form |= {"intermediate_size": 32, "max_position_embeddings": 16}
    few = cs.Texts(data.texts[:64], labels[:64], data.ids[:64], ("a", "b"))
    options = {"architecture": form, "tokenizer": {"vocab_size": 300}, "kind": "encoder", "n_steps": 1}
    model = cs.finetune(options, few, device="cpu")
    cs.capture(model, data, folder=folder / "captured")


def work(name: str, folder: Path, n: int) -> None:
    if name == "capture":
        captures(folder, n)
        return
    states = Activations.load(folder)
    if name == "score":
        view = evaluate(Random().fit(states, tail()), tail(), states)
        for metric in SCORES:
            METRICS.load(metric)().measure(view)
    else:
        few_steps = FEW_STEPS.get(name, {}) if n > SIZES[-1] else {}
        METHODS.load(name)(**FITS[name] | few_steps).fit(states, tail())


class Watch(threading.Thread):
    """Looks at anonymous memory every other millisecond, and ends a process that takes too much."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.over = 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.002):
            self.peak = max(self.peak, status("RssAnon"))
            if self.peak > LIMIT:
                os.kill(os.getpid(), signal.SIGKILL)


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def child(name: str, folder: str, n: str) -> None:
    torch.set_num_threads(1)
    if name == "write":
        write_states(Path(folder), int(n))
        return
    watch, begin = Watch(), time.monotonic()
    watch.start()
    work(name, Path(folder), int(n))
    watch.over.set()
    watch.join()
    seconds = round(time.monotonic() - begin)
    print(json.dumps({"anonymous": watch.peak, "resident": status("VmHWM"), "seconds": seconds}))


def in_a_process(name: str, folder: str, n: int) -> str:
    command = [sys.executable, "-W", "ignore", __file__, "child", name, folder, str(n)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=one_thread).stdout


def main(sizes: tuple[int, ...], names: list[str]) -> None:
    found: dict[str, dict[int, dict[str, int]]] = {name: {} for name in names}
    for n in sizes:
        with TemporaryDirectory() as folder:
            in_a_process("write", folder, n)
            for name in names:
                one = found[name][n] = json.loads(in_a_process(name, folder, n).splitlines()[-1])
                said = f"{one['anonymous'] / 1e6:6.0f} MB  {one['seconds']:5} s"
                print(f"{name:<16} {n:>9,}  {said}", flush=True)
    print(f"\n{'':<16}" + "".join(f"{n:>16,}" for n in sizes) + "   growth")
    for name, by_n in found.items():
        peaks = [by_n[n] for n in sizes]
        growth = peaks[-1]["anonymous"] / peaks[0]["anonymous"]
        cells = (f"{p['anonymous'] / 1e6:6.0f} ({p['resident'] / 1e6:5.0f})" for p in peaks)
        note = "" if growth <= FLAT else "  not flat"
        print(f"{name:<16}" + "".join(f"{cell:>16}" for cell in cells) + f"   {growth:.2f}{note}")
    print(f"MB of anonymous memory (in brackets: resident); written to {write('memory_by_n', found)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:])
    else:
        given = sys.argv[1:]
        numbers = tuple(int(one) for one in given if one.isdigit())
        main(numbers or SIZES, [one for one in given if not one.isdigit()] or list(NAMES))
