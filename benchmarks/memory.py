"""Memory of small runs on the CPU, stage by stage: what the doctor expects, against the measured peak.

Needs Linux, which counts each process's peak of resident memory and lets it be set back. Every row is a
process of its own, so that none inherits what another has left allocated.

    python benchmarks/memory.py [NAME ...]
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from classifsae.doctor import needs
from classifsae.pipeline.config import Experiment
from classifsae.pipeline.run import run

PLANTED = {"name": "planted", "options": {"n_train": 1000, "n_test": 400}}
METHODS = {"classifsae": {"n_vectors": 100_000}, "ica": {}, "random": {}}
METRICS = ["completeness", "causality"]
GPT = {
    "model_type": "gpt_neox",
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "max_position_embeddings": 512,
}
DECODER = {"architecture": GPT, "n_steps": 8, "batch_size": 16, "max_length": 128}
RUNS: dict[str, dict[str, object]] = {
    "minilm, full": {"model": "minilm", "n_steps": 20, "batch_size": 32},
    "minilm, LoRA": {"model": "minilm", "n_steps": 20, "batch_size": 32, "tuning": "lora"},
    "decoder, full": DECODER,
    "decoder, checkpointing": DECODER | {"gradient_checkpointing": True},
    "decoder, soft prompt": DECODER | {"tuning": "soft_prompt"},
}


class Peaks:
    """Watches a run and notes the peak of resident memory of each stage, in bytes."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str, /) -> Iterator[None]:
        """Set the peak back, and read it when the stage ends."""
        Path("/proc/self/clear_refs").write_text("5")
        yield
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        stage = name.partition(" ")[0]
        self.found[stage] = max(peak, self.found.get(stage, 0))

    def kept(self, name: str, /) -> None:
        """Nothing is."""


def experiment(name: str, folder: str) -> Experiment:
    given = {"backbone": RUNS[name], "dataset": PLANTED, "methods": METHODS, "metrics": METRICS}
    return Experiment.model_validate(given | {"run_dir": folder, "device": "cpu"})


def child(what: str, name: str) -> None:
    """Print the bytes of each stage as JSON."""
    with TemporaryDirectory() as folder:
        if what == "expected":
            found = {stage: cost.memory for stage, cost in needs(experiment(name, folder)).stages.items()}
        else:
            peaks = Peaks()
            run(experiment(name, folder), until="score", watch=peaks)
            found = dict(peaks.found)
    print(json.dumps(found))


def in_a_process(what: str, name: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, what, name], check=True, capture_output=True, text=True)
    read: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return read


def main(names: list[str]) -> None:
    for name in names or RUNS:
        expected, measured = in_a_process("expected", name), in_a_process("measured", name)
        print(f"\n{name:<24} expected  measured  ratio")
        for stage, peak in (measured | {"most at once": max(measured.values())}).items():
            guess = max(expected.values()) if stage == "most at once" else expected[stage]
            print(
                f"  {stage:<22} {guess / 1e6:5.0f} MB  {peak / 1e6:5.0f} MB  {guess / peak:5.2f}", flush=True
            )


if __name__ == "__main__":
    if sys.argv[1:2] in (["expected"], ["measured"]):
        child(*sys.argv[1:3])
    else:
        main(sys.argv[1:])
