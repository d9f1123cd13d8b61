"""The classifier with its hidden state rebuilt from concepts. Ablation lives here and nowhere else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self, TypeVar, cast

import torch

from classifsae.activations import Activations, check_finite
from classifsae.activity import Activating, activating_sets
from classifsae.concepts.base import Concepts, rescale
from classifsae.errors import DataError, MismatchError
from classifsae.meaning.legend import Legend
from classifsae.meaning.sentences import Sentences
from classifsae.tensors import Bool, Float, Int, OnStep, Tail, Tensor, batches, put

_ENTRIES_KEPT = 1 << 24

Made = TypeVar("Made")

Through = Callable[[Tensor, Tensor], Tensor]
"""What the bottleneck makes of codes (b, m) and of the norms (b, 1) of their states."""


@dataclass(frozen=True)
class Bottleneck:
    """Class logits from concept activations: p(z) = tail(rescale(decode(z))).

    Attributes:
        concepts: what is left of the hidden state.
        tail: the rest of the classifier.
    """

    concepts: Concepts
    tail: Tail

    def states(self, codes: Float[Tensor, "b m"], norms: Float[Tensor, "b 1"]) -> Float[Tensor, "b d"]:
        """Hidden states rebuilt from one batch of codes, at these norms."""
        return rescale(self.concepts.decode(codes), norms)

    def logits(self, codes: Float[Tensor, "b m"], norms: Float[Tensor, "b 1"]) -> Float[Tensor, "b c"]:
        """Logits of one batch of codes, whose states had these norms."""
        return self.tail(self.states(codes, norms)).float()


@dataclass(frozen=True)
class Evaluation:
    """One test set rebuilt from its concepts; every score is a function of it.

    Attributes:
        bottleneck: concepts and tail.
        codes: activations of the m kept concepts.
        norms: norm of each hidden state.
        rebuilt: class logits through the concepts.
        original: the classifier's own logits.
        labels: ground truth.
        hidden: the hidden states themselves, in whatever precision they are kept.
        sentences: the texts and their embeddings, where a score may ask for them.
        documents: text that each row is a window of; None where every row is a text of its own.
        legend: the names of the concepts, where a score may ask for them.
        on_step: told how far a score has come.
    """

    bottleneck: Bottleneck
    codes: Float[Tensor, "n m"]
    norms: Float[Tensor, "n 1"]
    rebuilt: Float[Tensor, "n c"]
    original: Float[Tensor, "n c"]
    labels: Int[Tensor, " n"]
    hidden: Float[Tensor, "n d"]
    sentences: Sentences | None = None
    documents: Int[Tensor, " n"] | None = None
    legend: Legend | None = None
    on_step: OnStep | None = None
    _made: dict[object, object] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def concepts(self) -> Concepts:
        """The concepts that are evaluated."""
        return self.bottleneck.concepts

    @property
    def n_classes(self) -> int:
        """Number of classes c."""
        return self.original.shape[1]

    @property
    def width(self) -> int:
        """Width d of the hidden states."""
        return self.hidden.shape[1]

    @cached_property
    def activating(self) -> Activating:
        """The sentences on which each concept is strongly active."""
        return activating_sets(self.codes)

    def take(self, rows: Int[Tensor, " q"]) -> Self:
        """The evaluation of these sentences alone."""
        return replace(
            self,
            codes=self.codes[rows],
            norms=self.norms[rows],
            rebuilt=self.rebuilt[rows],
            original=self.original[rows],
            labels=self.labels[rows],
            hidden=self.hidden[rows],
            sentences=None if self.sentences is None else self.sentences.take(rows),
            documents=None if self.documents is None else self.documents[rows],
        )

    def without_one(
        self, rows: Int[Tensor, " q"], columns: Int[Tensor, " q"], *, through: Through | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """What comes of sentence ``rows[i]`` with its concept ``columns[i]`` set to zero, in batches of i.

        Args:
            rows: sentences.
            columns: concepts.
            through: logits (b, c) unless another function of codes and norms is given, such as
                ``bottleneck.states``; likewise below.
        """
        return self.with_one(rows, columns, self.codes.new_zeros(len(rows)), through=through)

    def with_one(
        self,
        rows: Int[Tensor, " q"],
        columns: Int[Tensor, " q"],
        values: Float[Tensor, " q"],
        *,
        through: Through | None = None,
    ) -> Iterator[tuple[slice, Tensor]]:
        """The same with the concept set to ``values[i]``."""
        for part in self.parts(len(rows)):
            codes = self.codes[rows[part]]
            codes[torch.arange(len(codes), device=codes.device), columns[part]] = values[part]
            yield part, self._run(codes, self.norms[rows[part]], through)

    def without_many(self, columns: list[int], *, through: Through | None = None) -> Tensor:
        """What comes of every sentence with all these concepts set to zero."""
        joined = None
        for part, made in self.parts_without_many(columns, through=through):
            joined = put(joined, part, made, len(self.codes))
        assert joined is not None
        return joined

    def parts_without_many(
        self, columns: list[int], *, through: Through | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """The same, in batches of sentences."""
        for part in self.parts(len(self.codes)):
            codes = self.codes[part].clone()
            codes[:, columns] = 0
            yield part, self._run(codes, self.norms[part], through)

    def with_only(
        self, rows: Int[Tensor, " q"], kept: Bool[Tensor, "q m"]
    ) -> Iterator[tuple[slice, Float[Tensor, "b c"]]]:
        """Logits of sentence ``rows[i]`` with all concepts but ``kept[i]`` set to zero, in batches of i."""
        for part in self.parts(len(rows)):
            yield part, self._run(self.codes[rows[part]] * kept[part], self.norms[rows[part]])

    def states(self) -> Float[Tensor, "n d"]:
        """The hidden state of every sentence, rebuilt from its concepts."""
        return self.without_many([], through=self.bottleneck.states)

    def states_of(self, rows: Int[Tensor, " b"] | slice) -> Float[Tensor, "b d"]:
        """The rebuilt states of these sentences; of more than 64 MB of states, no others are in memory."""
        if self.hidden.numel() <= _ENTRIES_KEPT:
            return self._kept_states[rows]
        return self._run(self.codes[rows], self.norms[rows], self.bottleneck.states)

    @cached_property
    def _kept_states(self) -> Float[Tensor, "n d"]:
        return self.states()

    def parts(self, n: int) -> Iterator[slice]:
        """Slices of n rows that go through the bottleneck together."""
        return batches(n, self.width, on=self.codes.device)

    def once(self, make: "Callable[[Self], Made]") -> "Made":
        """What a function makes of the evaluation, made once for all scores that ask for it."""
        if make not in self._made:
            self._made[make] = make(self)
        return cast("Made", self._made[make])

    def _run(self, codes: Tensor, norms: Tensor, through: Through | None = None) -> Tensor:
        with torch.no_grad():
            return (through or self.bottleneck.logits)(codes, norms)


def evaluate(
    concepts: Concepts,
    tail: Tail,
    test: Activations,
    *,
    sentences: Sentences | None = None,
    legend: Legend | None = None,
    on_step: OnStep | None = None,
) -> Evaluation:
    """Encode a test set and run the rest of the classifier on what the concepts rebuild.

    Args:
        concepts: fitted on activations of the same source.
        tail: of the classifier that made the activations.
        test: activations of the test split.
        sentences: of the same rows.
        legend: the names of the concepts.
        on_step: told how far scores have come.
    Raises:
        MismatchError: concepts and activations have different sources, or there are more sentences than
            activations, or fewer.
        DataError: there are no activations, or hidden states or rebuilt logits are not finite.
    """
    concepts.source.require(test.source, this="the concepts", that="the activations")
    if not len(test):
        raise DataError("there are activations of no sentence to score on; capture one text at least.")
    check_finite(test.hidden, test.ids)
    if sentences is not None and len(sentences) != len(test):
        raise MismatchError(
            f"there are {len(sentences)} sentences and activations of {len(test)}; embed the same texts."
        )
    device = test.hidden.device
    concepts = concepts.to(device)
    bottleneck = Bottleneck(concepts, tail)
    n = len(test)
    codes = norms = rebuilt = torch.empty(0)
    for part in batches(n, test.hidden.shape[1]):
        hidden = test.hidden[part].float()
        with torch.no_grad():
            found, norm = concepts.encode(hidden), hidden.norm(dim=1, keepdim=True)
            logits = bottleneck.logits(found, norm)
        first = part.start == 0
        codes = put(None if first else codes, part, found, n)
        norms = put(None if first else norms, part, norm, n)
        rebuilt = put(None if first else rebuilt, part, logits, n)
    evaluation = Evaluation(
        bottleneck=bottleneck,
        codes=codes,
        norms=norms,
        rebuilt=rebuilt,
        original=test.logits.float(),
        labels=test.labels,
        hidden=test.hidden,
        sentences=sentences,
        documents=test.documents,
        legend=legend,
        on_step=on_step,
    )
    if not torch.isfinite(evaluation.rebuilt).all():
        raise DataError("the classifier's tail returns NaN or infinity on rebuilt states; run it in float32.")
    return evaluation
