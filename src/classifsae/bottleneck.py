"""The classifier with its hidden state rebuilt from concepts. Ablation lives here and nowhere else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from classifsae.activations import Activations, check_finite
from classifsae.concepts.base import Concepts, rescale
from classifsae.errors import DataError, MismatchError
from classifsae.meaning.sentences import Sentences
from classifsae.tensors import Bool, Float, Int, OnStep, Tail, Tensor, batches

CodesOf = Callable[[slice], tuple[Tensor, Tensor]]
"""Codes of a batch, changed in some way, and the norms of their states."""


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
    """One test set seen through the concepts; every score is a function of it.

    Attributes:
        bottleneck: concepts and tail.
        codes: activations of the m kept concepts.
        norms: norm of each hidden state.
        rebuilt: class logits through the concepts.
        original: the classifier's own logits.
        labels: ground truth.
        width: d of the hidden states.
        sentences: the texts and their embeddings, where a score may ask for them.
        documents: text that each row is a window of; None where every row is a text of its own.
        on_step: told how far a score has come.
    """

    bottleneck: Bottleneck
    codes: Float[Tensor, "n m"]
    norms: Float[Tensor, "n 1"]
    rebuilt: Float[Tensor, "n c"]
    original: Float[Tensor, "n c"]
    labels: Int[Tensor, " n"]
    width: int
    sentences: Sentences | None = None
    documents: Int[Tensor, " n"] | None = None
    on_step: OnStep | None = None

    @property
    def concepts(self) -> Concepts:
        """The concepts looked through."""
        return self.bottleneck.concepts

    @property
    def n_classes(self) -> int:
        """Number of classes c."""
        return self.original.shape[1]

    def without_one(
        self, rows: Int[Tensor, " q"], columns: Int[Tensor, " q"]
    ) -> Iterator[tuple[slice, Float[Tensor, "b c"]]]:
        """Logits of sentence ``rows[i]`` with its concept ``columns[i]`` set to zero, in batches of i."""
        return self._stream(self.bottleneck.logits, len(rows), self._one_removed(rows, columns))

    def without_many(self, columns: list[int]) -> Float[Tensor, "n c"]:
        """Logits of every sentence with all these concepts set to zero."""
        return self._joined(self.bottleneck.logits, self._many_removed(columns))

    def with_only(
        self, rows: Int[Tensor, " q"], kept: Bool[Tensor, "q m"]
    ) -> Iterator[tuple[slice, Float[Tensor, "b c"]]]:
        """Logits of sentence ``rows[i]`` with all concepts but ``kept[i]`` set to zero, in batches of i."""

        def left(part: slice) -> tuple[Tensor, Tensor]:
            return self.codes[rows[part]] * kept[part], self.norms[rows[part]]

        return self._stream(self.bottleneck.logits, len(rows), left)

    def states(self) -> Float[Tensor, "n d"]:
        """The hidden state of every sentence, rebuilt from its concepts."""
        return self.states_without_many([])

    def states_without_one(
        self, rows: Int[Tensor, " q"], columns: Int[Tensor, " q"]
    ) -> Iterator[tuple[slice, Float[Tensor, "b d"]]]:
        """The states behind the logits of ``without_one``."""
        return self._stream(self.bottleneck.states, len(rows), self._one_removed(rows, columns))

    def states_without_many(self, columns: list[int]) -> Float[Tensor, "n d"]:
        """The states behind the logits of ``without_many``."""
        return self._joined(self.bottleneck.states, self._many_removed(columns))

    def _one_removed(self, rows: Tensor, columns: Tensor) -> CodesOf:
        def ablated(part: slice) -> tuple[Tensor, Tensor]:
            codes = self.codes[rows[part]]
            codes[torch.arange(len(codes), device=codes.device), columns[part]] = 0
            return codes, self.norms[rows[part]]

        return ablated

    def _many_removed(self, columns: list[int]) -> CodesOf:
        def ablated(part: slice) -> tuple[Tensor, Tensor]:
            codes = self.codes[part].clone()
            codes[:, columns] = 0
            return codes, self.norms[part]

        return ablated

    def _joined(self, through: Callable[[Tensor, Tensor], Tensor], codes_of: CodesOf) -> Tensor:
        return torch.cat([made for _, made in self._stream(through, len(self.codes), codes_of)])

    def _stream(
        self, through: Callable[[Tensor, Tensor], Tensor], n: int, codes_of: CodesOf
    ) -> Iterator[tuple[slice, Tensor]]:
        for part in batches(n, self.width):
            with torch.no_grad():
                yield part, through(*codes_of(part))


def evaluate(
    concepts: Concepts,
    tail: Tail,
    test: Activations,
    *,
    sentences: Sentences | None = None,
    on_step: OnStep | None = None,
) -> Evaluation:
    """Encode a test set and run the rest of the classifier on what the concepts rebuild.

    Args:
        concepts: fitted on activations of the same source.
        tail: of the classifier that made the activations.
        test: activations of the test split.
        sentences: of the same rows.
        on_step: told how far scores have come.
    Raises:
        MismatchError: concepts and activations have different sources, or there are more sentences than
            activations, or fewer.
        DataError: hidden states or rebuilt logits are not finite.
    """
    concepts.source.require(test.source, this="the concepts", that="the activations")
    check_finite(test.hidden, test.ids)
    if sentences is not None and len(sentences) != len(test):
        raise MismatchError(
            f"there are {len(sentences)} sentences and activations of {len(test)}; embed the same texts."
        )
    device = test.hidden.device
    concepts = concepts.to(device)
    bottleneck = Bottleneck(concepts, tail)
    codes, norms, rebuilt = [], [], []
    for part in batches(len(test), test.hidden.shape[1]):
        hidden = test.hidden[part].float()
        with torch.no_grad():
            codes.append(concepts.encode(hidden))
            norms.append(hidden.norm(dim=1, keepdim=True))
            rebuilt.append(bottleneck.logits(codes[-1], norms[-1]))
    view = Evaluation(
        bottleneck=bottleneck,
        codes=torch.cat(codes),
        norms=torch.cat(norms),
        rebuilt=torch.cat(rebuilt),
        original=test.logits.float(),
        labels=test.labels,
        width=test.hidden.shape[1],
        sentences=sentences,
        documents=test.documents,
        on_step=on_step,
    )
    if not torch.isfinite(view.rebuilt).all():
        raise DataError("the classifier's tail returns NaN or infinity on rebuilt states; run it in float32.")
    return view
