"""Can a reader of the concepts' names foretell what the classifier decides?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, final

import torch
from torch.nn.functional import normalize, one_hot

from classifsae.bottleneck import Evaluation
from classifsae.bounds import PositiveInt, Seed
from classifsae.errors import ClassifSAEError, MismatchError
from classifsae.meaning.legend import Legend, Read
from classifsae.meaning.sentences import Sentences
from classifsae.metrics.base import Metric, Quantity, Result, mean
from classifsae.tensors import Bool, Float, Int, Tensor

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""What the names may weigh beside the text; which of these, the training split says."""

_MODEL = "language model"
_MOST_NAMES = 5
"""Names of one text that a language model is told."""


@final
@dataclass(frozen=True)
class SimulatabilityResult(Result):
    """How well decisions are foretold; NaN where a language model that was to read did not answer.

    Of ``scores.json`` also: the weight of the names (NaN for a language model, which weighs them itself), who
    reads, and why a language model did not.
    """

    simulatability: Annotated[
        float,
        Quantity(
            "decisions that a reader of the text and of the names of its concepts foretells, less those "
            "foretold from the text alone; every class counting alike",
            "higher",
            low=-1,
        ),
    ]
    foretold_with_names: Annotated[float, Quantity("decisions foretold from text and names", "higher")]
    foretold_from_text: Annotated[float, Quantity("decisions foretold from the text alone")]
    weight: float
    read_by: str
    failure: str


@final
class Simulatability(Metric):
    """Decisions that are foretold with the names of the active concepts, above those foretold without.

    The reader knows of each class its name, and a few sentences of the training split that the classifier
    answered with it. Without a language model it compares embeddings: with e(x) of a text, e_j of the name of
    concept j and a_j(x) its positive activations, which sum to one over the concepts of a text,

        p_c = unit(unit'(mean of e over the examples of class c) + unit'(e of the name of c))
        said(x) = argmax over c of (e(x) + w * sum over j of a_j(x) e_j) . p_c

    where unit' takes off the mean over the classes first. The weight w of the names is that of ``WEIGHTS``
    that foretells most decisions on the training sentences that are no examples, the smallest of several. So
    names that say nothing, or the wrong thing, are not heeded: w = 0, and the score is 0. What the reader has
    learned knows no concept but by its name. The score is the mean over several draws of examples.

        simulatability = foretold with names - foretold from the text (w = 0)

    Where a language model names the concepts, it is the reader: it is shown examples, and asked for the
    answer to each of some test texts twice, with and without names. It weighs them itself.

    Concepts that are the class, and are named so, have all there is to have: 1 - foretold from the text.

    Attributes:
        n_examples: sentences of each class that the reader is shown; half of those there are at most.
        n_draws: times that examples are drawn, without a language model.
        n_texts: test texts that a language model is asked about.
        seed: of examples and texts.
    Source: after ConSim (Poche et al. 2025, arXiv:2501.05855).
    """

    needs_sentences: ClassVar[bool] = True
    needs_names: ClassVar[bool] = True

    n_examples: PositiveInt = 10
    n_draws: PositiveInt = 20
    n_texts: PositiveInt = 100
    seed: Seed = 42

    def measure(self, evaluation: Evaluation) -> SimulatabilityResult:
        """Score the concepts of an evaluation.

        Raises:
            ConfigError: the evaluation has no sentences, or no names.
            MismatchError: its sentences and names were embedded by two encoders.
        """
        sentences = self.require(evaluation.sentences)
        legend = self.require_names(evaluation.legend)
        if len({legend.names.encoder, legend.examples.encoder, sentences.encoder}) > 1:
            raise MismatchError("names and sentences must be embedded by one encoder.")
        if legend.read is not None:
            return self._asked(evaluation, legend, legend.read)
        return self._compared(evaluation.codes.cpu(), sentences, legend, _decisions(evaluation))

    def _compared(
        self, codes: Float[Tensor, "n m"], sentences: Sentences, legend: Legend, decisions: Int[Tensor, " n"]
    ) -> SimulatabilityResult:
        """What who compares embeddings foretells."""
        draws = torch.Generator().manual_seed(self.seed)
        shown = drawn(legend.decisions, len(legend.classes), self.n_examples, self.n_draws, draws)
        views = prototypes(shown, legend.examples.embeddings.cpu(), legend.classes.embeddings)
        weight = best_weight(views, shown, legend)
        text, said = sentences.embeddings.cpu(), spoken(codes, legend.names.embeddings)
        without, with_names = (
            mean([foretold((text + w * said) @ view.T, decisions) for view in views]) for w in (0.0, weight)
        )
        return SimulatabilityResult(with_names - without, with_names, without, weight, "encoder", "")

    def _asked(self, evaluation: Evaluation, legend: Legend, read: Read) -> SimulatabilityResult:
        """What a language model foretells of some texts, with and without names."""
        draws, decisions = torch.Generator().manual_seed(self.seed), _decisions(evaluation)
        (shown,) = drawn(legend.decisions, len(legend.classes), self.n_examples, 1, draws)
        examples = [(legend.examples.texts[row], c) for c, row in shown.nonzero().tolist()]
        rows = torch.randperm(len(decisions), generator=draws)[: self.n_texts]
        try:
            answers = _answers(evaluation, rows, partial(read, examples), legend.names.texts)
        except ClassifSAEError as error:
            nan = math.nan
            return SimulatabilityResult(nan, nan, nan, nan, _MODEL, str(error))
        without, with_names = (by_class(said == decisions[rows], decisions[rows]) for said in answers)
        return SimulatabilityResult(with_names - without, with_names, without, math.nan, _MODEL, "")


def _decisions(evaluation: Evaluation) -> Int[Tensor, " n"]:
    return evaluation.original.argmax(dim=1).cpu()


def _answers(
    evaluation: Evaluation,
    rows: Int[Tensor, " q"],
    read: Callable[[str, Sequence[str]], int | None],
    names: Sequence[str],
) -> Int[Tensor, "2 q"]:
    """The class that a language model answers for each text without names, and with them; -1 for none."""
    texts = Metric.require(evaluation.sentences).texts
    told = strongest_names(evaluation.codes.cpu()[rows], names)
    answers = torch.full((2, len(rows)), -1)
    for i, (row, own) in enumerate(zip(rows.tolist(), told, strict=True)):
        for k, said in enumerate(((), own)):
            answer = read(texts[row], said)
            answers[k, i] = -1 if answer is None else answer
        if evaluation.on_step is not None:
            evaluation.on_step(i + 1, len(rows), {})
    return answers


def drawn(
    decisions: Int[Tensor, " v"], n_classes: int, n_examples: int, n_draws: int, draws: torch.Generator
) -> Bool[Tensor, "r c v"]:
    """Which sentences are shown as examples of each class, in each draw; half of a class at most."""
    of_class = one_hot(decisions, n_classes).T.bool()
    order = torch.rand(n_draws, 1, len(decisions), generator=draws).where(of_class, -1.0)
    ranks = order.argsort(dim=2, descending=True).argsort(dim=2)
    return ranks < (of_class.sum(dim=1) // 2).clamp_max(n_examples)[:, None]


def prototypes(
    shown: Bool[Tensor, "r c v"], examples: Float[Tensor, "v e"], classes: Float[Tensor, "c e"]
) -> Float[Tensor, "r c e"]:
    """What the reader takes each class to be about, in each draw: its examples and its name, alike.

    A class without examples is its name alone.
    """
    sizes = shown.sum(dim=2, keepdim=True)
    means = (shown.float() @ examples / sizes.clamp_min(1)).where(sizes > 0, classes)
    return normalize(_apart(means) + _apart(classes), dim=-1)


def _apart(rows: Float[Tensor, "*r c e"]) -> Float[Tensor, "*r c e"]:
    """Unit vectors of what tells the classes from each other."""
    return normalize(rows - rows.mean(dim=-2, keepdim=True), dim=-1)


def spoken(codes: Float[Tensor, "n m"], names: Float[Tensor, "m e"]) -> Float[Tensor, "n e"]:
    """The names of each sentence's concepts, by their share of its positive activations; 0 without any."""
    positive = codes.clamp_min(0)
    return normalize(positive, p=1, dim=1) @ names


def strongest_names(codes: Float[Tensor, "n m"], names: Sequence[str]) -> list[list[str]]:
    """The names of each sentence's most active concepts, five at most, the strongest first."""
    found = codes.topk(min(_MOST_NAMES, codes.shape[1]), dim=1)
    pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return [[names[j] for j, value in zip(*row, strict=True) if value > 0] for row in pairs]


def best_weight(views: Float[Tensor, "r c e"], shown: Bool[Tensor, "r c v"], legend: Legend) -> float:
    """The weight of the names that foretells most decisions on sentences that are no examples."""
    texts, told = legend.examples.embeddings.cpu(), spoken(legend.codes, legend.names.embeddings)
    others = list(zip(views, ~shown.any(dim=1), strict=True))

    def share(weight: float) -> float:
        heard = texts + weight * told
        return mean([foretold(heard[rows] @ view.T, legend.decisions[rows]) for view, rows in others])

    return max(WEIGHTS, key=share)


def foretold(scores: Float[Tensor, "n c"], decisions: Int[Tensor, " n"]) -> float:
    """Share of the decisions that the largest score foretells, every class counting alike."""
    return by_class(scores.argmax(dim=1) == decisions, decisions)


def by_class(right: Bool[Tensor, " n"], classes: Int[Tensor, " n"]) -> float:
    """Mean over the classes that occur of the share that is right; NaN without any."""
    sizes, n_right = classes.bincount(), classes.bincount(weights=right.double())
    return float((n_right[sizes > 0] / sizes[sizes > 0]).mean())
