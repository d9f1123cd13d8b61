"""A method tried for a moment on made-up states of the right width, to know what fitting and scoring cost.

Methods that are trained in steps are timed by the step; all else is run at two small sizes and drawn out
along the line through them. The rest of the classifier is a linear map here, whose rows are counted.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.nn.functional import normalize

from classifsae.activations import Activations, Source
from classifsae.concepts import Run
from classifsae.concepts._autoencoder import SparseMethod
from classifsae.concepts._concept_layer import ConceptLayerMethod
from classifsae.concepts.base import ConceptMethod, Concepts
from classifsae.concepts.conceptshap import ConceptSHAP
from classifsae.concepts.sae import SAE
from classifsae.doctor.speed import wait
from classifsae.meaning.sentences import Sentences
from classifsae.metrics import score
from classifsae.metrics.base import Metric
from classifsae.tensors import Float, Int, Tensor

_SOURCE = Source(model="trial", layer=1, prompt="", dataset="trial")
_N_STEPS, _FEWEST_STEPS = 30, 4
_MOST_FLOPS = 5e10
_N_PROBE = 100
_N_WORDS, _WORDS_PER_TEXT, _EMBEDDED = 200, 20, 384
_N_CLASSES = 4  # their number decides little of what a method costs
_NUMBERS_PER_STEP = 8  # that a training step holds, per row of its batch and latent or neuron
_ROWS = (512, 1024)
_SCORED = (32, 96)


@dataclass(frozen=True)
class Effort:
    """What something takes.

    Attributes:
        seconds: without the rest of the classifier, but for a linear map.
        tail_rows: rows that go through the rest of the classifier.
    """

    seconds: float
    tail_rows: float


@dataclass(frozen=True)
class Trial:
    """What a method would take on a data set.

    Attributes:
        fit: for the training part; each of its tail rows goes forward and back.
        score: for the test part.
        n_bytes: of the fitted concepts.
        batch_bytes: of what one step of training holds.
    """

    fit: Effort
    score: Effort
    n_bytes: int
    batch_bytes: int


class CountingTail(nn.Linear):
    """A linear head that counts the rows it is given."""

    n_rows = 0

    def forward(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Logits that mean nothing."""
        self.n_rows += len(hidden)
        return super().forward(hidden)


@dataclass(frozen=True)
class Sizes:
    """What a method works on.

    Attributes:
        width: d.
        n_train, n_test: rows.
        device: "cpu" or "cuda".
    """

    width: int
    n_train: int
    n_test: int
    device: str

    def states(self, n: int) -> Activations:
        """One cloud of n made-up states per class, spread as hidden states are: Laplace, not normal."""
        generator = torch.Generator().manual_seed(0)
        labels: Int[Tensor, " n"] = torch.arange(n) % _N_CLASSES
        uniform = torch.rand(n, self.width, generator=generator) - 0.5
        noise = -uniform.sign() * (1 - 2 * uniform.abs()).clamp_min(1e-6).log()
        centres = torch.randn(_N_CLASSES, self.width, generator=generator)
        return Activations(
            hidden=(noise + centres[labels]).to(self.device),
            logits=4 * torch.eye(_N_CLASSES, device=self.device)[labels],
            labels=labels.to(self.device),
            ids=tuple(map(str, range(n))),
            source=_SOURCE,
        )


def try_out(recipe: ConceptMethod, metrics: Mapping[str, Metric], sizes: Sizes) -> Trial:
    """Fit and score a method on few made-up states, and draw its costs out to a data set.

    Methods that differ in nothing but how long they are trained, and in weights and rates, are tried once.

    Raises:
        ClassifSAEError: options that cannot work at this width.
    """
    short = _shortened(recipe) if isinstance(recipe, (SparseMethod, ConceptLayerMethod)) else recipe
    tried = _tried(_Key(short, tuple(metrics.items()), sizes.width, sizes.device))
    batch_size = 0
    if isinstance(recipe, (SparseMethod, ConceptLayerMethod)):
        fit, batch_size = _all_steps(recipe, tried, sizes.n_train), recipe.batch_size
    else:
        fit = _at(tried.efforts, _ROWS, sizes.n_train)
    return Trial(
        fit,
        _at(tried.scored, _SCORED, sizes.n_test),
        n_bytes=tried.n_bytes,
        batch_bytes=_NUMBERS_PER_STEP * 4 * tried.n_numbers * batch_size,
    )


@dataclass(frozen=True)
class _Key:
    """All that a trial depends on."""

    recipe: ConceptMethod
    metrics: tuple[tuple[str, Metric], ...]
    width: int
    device: str

    def __hash__(self) -> int:
        return hash((self.recipe.model_dump_json(), self.width, self.device))


@dataclass(frozen=True)
class _Tried:
    """What a trial of a method took.

    Attributes:
        efforts: of one step of training and of what comes after it, or of fitting two numbers of rows.
        scored: of scoring two numbers of rows.
        n_bytes: of the fitted concepts.
        n_numbers: latents and neurons.
    """

    efforts: tuple[Effort, Effort]
    scored: tuple[Effort, Effort]
    n_bytes: int
    n_numbers: int


@cache
def _tried(key: _Key) -> _Tried:
    sizes = Sizes(key.width, 0, 0, key.device)
    tail = CountingTail(key.width, _N_CLASSES).to(key.device).requires_grad_(False)
    if isinstance(key.recipe, (SparseMethod, ConceptLayerMethod)):
        efforts, concepts = _in_steps(key.recipe, tail, sizes)
    else:
        efforts, concepts = _at_two_sizes(key.recipe, tail, sizes)
    few, more = (_scored(concepts, dict(key.metrics), tail, sizes.states(n), key.device) for n in _SCORED)
    n_bytes = sum(tensor.nbytes for tensor in concepts.state_dict().values())
    return _Tried(efforts, (few, more), n_bytes, concepts.coder.n_latents + key.width)


def _in_steps(
    short: SparseMethod | ConceptLayerMethod, tail: CountingTail, sizes: Sizes
) -> tuple[tuple[Effort, Effort], Concepts]:
    """Time a step of a short training, and what comes after it."""
    times: list[float] = []

    def on_step(done: int, total: int, values: Mapping[str, float], /) -> None:
        wait(sizes.device)
        times.append(time.perf_counter())

    concepts = short.fit(
        sizes.states(_steps(short, sizes) * short.batch_size), tail, run=Run(on_step=on_step)
    )
    after = time.perf_counter() - times[-1]
    per_step = (times[-1] - times[0]) / (len(times) - 1)
    return (Effort(per_step, tail.n_rows / len(times)), Effort(after, 0.0)), concepts


def _steps(short: SparseMethod | ConceptLayerMethod, sizes: Sizes) -> int:
    """Steps that a short training takes: fewer, where each is long."""
    flops = 6 * short.batch_size * sizes.width * 4 * sizes.width
    return max(_FEWEST_STEPS, min(_N_STEPS, round(_MOST_FLOPS / flops)))


def _all_steps(recipe: SparseMethod | ConceptLayerMethod, tried: _Tried, n_train: int) -> Effort:
    """The steps of a whole training, and what comes after them."""
    step, after = tried.efforts
    n_steps = _n_steps(recipe, n_train)
    probed = max(1.0, min(recipe.n_probe, n_train) / _N_PROBE) if isinstance(recipe, SAE) else 1.0
    return Effort(n_steps * step.seconds + probed * after.seconds, n_steps * step.tail_rows)


def _n_steps(recipe: SparseMethod | ConceptLayerMethod, n_train: int) -> int:
    nothing = torch.empty(n_train, 0)
    labels = torch.empty(0, dtype=torch.int64)
    return recipe.plan(Activations(nothing, nothing, labels, (), _SOURCE))[1].n_steps


def _shortened(recipe: SparseMethod | ConceptLayerMethod) -> SparseMethod | ConceptLayerMethod:
    """The same method with one pass over its rows, and the default of every option that costs no time."""
    fields = type(recipe).model_fields
    plain = {name: fields[name].default for name, value in recipe if isinstance(value, float)}
    if isinstance(recipe, ConceptLayerMethod):
        # No direction is near a made-up state, so that any threshold would leave no concept to score.
        open_ = {"threshold": 0.0} if isinstance(recipe, ConceptSHAP) else {}
        return recipe.model_copy(update={**plain, "n_epochs": 1, **open_})
    probed = {"n_probe": _N_PROBE} if isinstance(recipe, SAE) else {}
    return recipe.model_copy(update={**plain, "n_vectors": 1, **probed})


def _at_two_sizes(
    recipe: ConceptMethod, tail: CountingTail, sizes: Sizes
) -> tuple[tuple[Effort, Effort], Concepts]:
    efforts = []
    for n in _ROWS:
        train = sizes.states(n)
        begin, before = time.perf_counter(), tail.n_rows
        concepts = recipe.fit(train, tail)
        wait(sizes.device)
        efforts.append(Effort(time.perf_counter() - begin, tail.n_rows - before))
    few, more = efforts
    return (few, more), concepts


def _scored(
    concepts: Concepts, metrics: Mapping[str, Metric], tail: CountingTail, test: Activations, device: str
) -> Effort:
    begin, before = time.perf_counter(), tail.n_rows
    sentences = _sentences(len(test)) if any(m.needs_sentences for m in metrics.values()) else None
    score(concepts, tail, test, metrics=metrics, sentences=sentences)
    wait(device)
    return Effort(time.perf_counter() - begin, tail.n_rows - before)


def _sentences(n: int) -> Sentences:
    """As many made-up texts, embedded anywhere."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(_N_WORDS, (n, _WORDS_PER_TEXT), generator=generator).tolist()
    texts = tuple(" ".join(f"word{i}" for i in text) for text in words)
    return Sentences(texts, normalize(torch.randn(n, _EMBEDDED, generator=generator), dim=1), "trial")


def _at(efforts: Sequence[Effort], sizes: tuple[int, int], n: int) -> Effort:
    """The effort at n on the lines through the efforts at two sizes."""
    few, more = efforts
    return Effort(
        line(sizes, (few.seconds, more.seconds), n), line(sizes, (few.tail_rows, more.tail_rows), n)
    )


def line(sizes: tuple[int, int], values: tuple[float, float], n: int) -> float:
    """The value at n of the line through two points, which never falls and is never below zero."""
    slope = max(0.0, (values[1] - values[0]) / (sizes[1] - sizes[0]))
    return max(0.0, values[1] + slope * (n - sizes[1]))
