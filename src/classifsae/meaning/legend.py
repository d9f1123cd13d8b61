"""Concepts under their names, and the little that a reader of these names knows of the classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from classifsae.activations import Activations
from classifsae.concepts.base import Concepts, codes_of
from classifsae.errors import MismatchError
from classifsae.meaning.sentences import Sentences
from classifsae.tensors import Float, Int, SentenceEncoder, Tensor

Read = Callable[[Sequence[tuple[str, int]], str, Sequence[str]], int | None]
"""Examples (text, class of the decision), one text, and names of the concepts that are active on it, the
strongest first, to the class that a reader foretells; None for no answer. Raises a ``ClassifSAEError`` where
further questions would have no answer either."""


@dataclass(frozen=True)
class Legend:
    """The names of m concepts, and sentences of the training split with the classifier's decisions.

    Attributes:
        names: of the concepts, in their order, embedded.
        classes: names of the c classes, embedded.
        examples: v sentences of the training split.
        decisions: class that the classifier answers for each of these.
        codes: activations of the concepts there.
        read: a language model as the reader; None: who reads by embeddings alone.
    """

    names: Sentences
    classes: Sentences
    examples: Sentences
    decisions: Int[Tensor, " v"]
    codes: Float[Tensor, "v m"]
    read: Read | None = None

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        concepts: Concepts,
        train: Activations,
        label_names: Sequence[str],
        *,
        rows: Int[Tensor, " v"],
        sentences: Sentences,
        encoder: SentenceEncoder,
        read: Read | None = None,
    ) -> Self:
        """The legend of these concepts.

        Args:
            names: one per concept, in their order.
            concepts: fitted on activations of the same source.
            train: activations of the training split.
            label_names: of the classes.
            rows: of the training split, such as those that ``hold_out`` gives.
            sentences: of these rows.
            encoder: which made their embeddings.
            read: a language model as the reader.
        Raises:
            MismatchError: not one name per concept, or not the sentences of these rows by this encoder.
        """
        if len(names) != len(concepts):
            raise MismatchError(f"there are {len(names)} names and {len(concepts)} concepts; give one each.")
        if len(sentences) != len(rows) or sentences.encoder != encoder.fingerprint:
            raise MismatchError("the sentences must be those of the rows, embedded by the encoder given.")
        some, made_by = train.take(rows.to(train.hidden.device)), encoder.fingerprint
        return cls(
            names=Sentences(tuple(names), encoder(names).cpu(), made_by),
            classes=Sentences(tuple(label_names), encoder(label_names).cpu(), made_by),
            examples=sentences,
            decisions=some.predictions.cpu(),
            codes=codes_of(concepts, some).cpu(),
            read=read,
        )
