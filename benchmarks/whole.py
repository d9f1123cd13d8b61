"""The whole comparison on AG News after fine-tuning: seven methods and `consensus`, all scores, the page.

    python benchmarks/whole.py [DATASET] [key=value ...]

DATASET is a folder with train and test files; without one the Hub's data set is taken, cut to as many texts.
The classifier is kept in runs/bench/whole; all else is made anew.

Beside it stands what the published procedure would take here for its five methods, at 1,000,000 vectors for
the autoencoders and 20 epochs for the concept layers. Nobody runs it: its parts are timed, by the twins of
the other benchmarks on a few texts or steps, and multiplied.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from parts import in_fours, one_pass_per_concept, pair_by_pair
from side_by_side import RESULTS, seconds, write
from training_step import BATCH, compare

from classifsae.bottleneck import Evaluation, evaluate
from classifsae.concepts.base import METHODS
from classifsae.concepts.sae import probe_strength
from classifsae.errors import HubError
from classifsae.metrics._similarity import strongest
from classifsae.metrics.base import METRICS
from classifsae.pipeline.config import Experiment, load_experiment
from classifsae.pipeline.run import checked_work, run
from classifsae.pipeline.run_folder import FitName
from classifsae.pipeline.stages import Work

FIVE = ("classifsae", "sae", "ica", "conceptshap", "hiconcept")
EIGHT = ("consensus", *FIVE, "identity", "random")
N_TRAIN, N_TEST, N_VECTORS, N_EPOCHS, SEED = 5600, 2000, 1_000_000, 20, 1
N_READ, N_ABLATED, N_COMPARED = 100, 40, 500
"""Texts, and sentences, that a twin is timed on."""

Times = dict[str, tuple[float, float]]
"""Seconds of the clock and of the processor, by what they were spent on."""


@dataclass
class Clock:
    """Watches a run and times its stages."""

    stages: Times = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, /) -> Iterator[None]:
        """Time a stage."""
        begin = time.perf_counter(), time.process_time()
        yield
        self.stages[name] = (time.perf_counter() - begin[0], time.process_time() - begin[1])

    def kept(self, name: str, /) -> None:
        """A stage that is up to date takes no time."""


def experiment_of(dataset: str | None, settings: Sequence[str], run_dir: Path) -> Experiment:
    """The packaged experiment with budgets that follow from the data, one seed, and all scores there are."""
    (found,) = load_experiment(
        Path("ag_news_minilm"),
        [
            f"methods={{{', '.join(f'{name}: {{}}' for name in EIGHT)}}}",
            f"metrics=[{', '.join(METRICS.names())}]",
            f"seeds=[{SEED}]",
            *([f"dataset={dataset}"] if dataset else []),
            f"dataset.max_train={N_TRAIN}",
            f"dataset.max_test={N_TEST}",
            *settings,
            f"run_dir={run_dir}",
        ],
    )
    return found


def published(work: Work, stages: Times) -> dict[str, float]:
    """Seconds of the processor that the parts of the published procedure take for five methods."""
    train, test = work.activations("train"), work.activations("test")
    width, n_test, texts = train.hidden.shape[1], len(test), work.texts("test").texts
    five = [FitName(name, SEED) for name in FIVE]
    views = [evaluate(work.concepts(which), work.tail, test, sentences=work.sentences()) for which in five]
    steps = N_VECTORS // BATCH
    found = {
        f"{name}, {steps} steps of the twin": steps
        * compare(width, 2 * width, supervised=name == "classifsae")["twin_ms"]
        / 1000
        for name in ("sae", "classifsae")
    }
    layers = {name: METHODS.load(name)(n_epochs=N_EPOCHS, seed=SEED) for name in ("conceptshap", "hiconcept")}
    found |= {
        f"{name}, {N_EPOCHS} epochs of ours": seconds(partial(recipe.fit, train, work.tail))
        for name, recipe in layers.items()
    }
    coder, decisions = work.concepts(FitName("sae", SEED)).coder, test.predictions
    codes = coder.encode(test.hidden.float())
    found["sae, its probe on the test texts"] = seconds(lambda: probe_strength(codes, decisions, seed=SEED))
    found["ica, ours"] = stages[f"fit {FitName('ica', SEED)}"][1]
    n_texts = len(train) + n_test
    found["capture, texts in fours"] = (
        seconds(lambda: [work.classifier.hidden(four) for four in in_fours(texts[:N_READ])])
        * n_texts
        / N_READ
    )
    few = [view.take(torch.arange(N_ABLATED)) for view in views]
    found["causality, one pass per concept"] = (
        seconds(lambda: [one_pass_per_concept(view) for view in few]) * n_test / N_ABLATED
    )
    some = [view.take(torch.arange(N_COMPARED)) for view in views]
    found["similarity, pair by pair"] = (
        seconds(lambda: [pairs_of(view) for view in some]) * (n_test / N_COMPARED) ** 2
    )
    return found


def pairs_of(view: Evaluation) -> None:
    assert view.sentences is not None
    pair_by_pair(view.activating.sets, strongest(view.codes), view.sentences.embeddings)


def by_kind(stages: Times) -> Times:
    """Times of stages, those of the same kind for several methods added."""
    found: Times = {}
    for name, (clock, processor) in stages.items():
        kind = name if name.startswith(("capture", "fit", "score")) else name.split()[0]
        before = found.get(kind, (0.0, 0.0))
        found[kind] = (before[0] + clock, before[1] + processor)
    return found


def compared(experiment: Experiment, classifier: Path) -> tuple[Times, dict[str, float]]:
    """Run everything but fine-tuning; times of stages, and of the published procedure."""
    run_dir = Path(experiment.run_dir)
    shutil.copytree(classifier, run_dir / "classifier")
    clock = Clock()
    with clock.stage("all after fine-tuning"):
        run(experiment, watch=clock)
    return by_kind(clock.stages), published(checked_work(experiment, "report"), clock.stages)


def main() -> None:
    given = [argument for argument in sys.argv[1:] if "=" not in argument]
    settings = [argument for argument in sys.argv[1:] if "=" in argument]
    dataset = str(Path(given[0]).resolve()) if given else None
    kept = RESULTS.resolve() / "whole"
    try:
        run(experiment_of(dataset, settings, kept), until="finetune", watch=Clock())
    except HubError as error:
        print(f"skipped: {error}")
        return
    with tempfile.TemporaryDirectory() as folder:
        ours, twin = compared(experiment_of(dataset, settings, Path(folder) / "run"), kept / "classifier")
    for name, (clock, processor) in ours.items():
        print(f"{name:<40} {clock:7.1f} s {processor:7.1f} s of the processor")
    for name, processor in twin.items():
        print(f"{name:<40} {'':9} {processor:7.1f} s of the processor")
    ratio = sum(twin.values()) / ours["all"][1]
    print(f"published, five methods: {sum(twin.values()):.0f} s of the processor, {ratio:.1f} times ours")
    print(f"written to {write('whole', {'ours': ours, 'published': twin, 'ratio': ratio})}")


if __name__ == "__main__":
    main()
