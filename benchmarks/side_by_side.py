"""What the benchmarks share: two ways of doing the same, timed in turn, and the machine they ran on."""

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

RESULTS = Path("runs/bench")


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call: on a busy machine it says more than the clock, with one thread."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def in_turn(n_rounds: int, **works: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each piece of work, one after the other in every round, after one round that is not kept."""
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(n_rounds + 1)][1:]
    return {name: [taken[name] for taken in rounds] for name in works}


def write(name: str, results: object) -> Path:
    """Write results and the machine as JSON under ``RESULTS``."""
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")
    return path
