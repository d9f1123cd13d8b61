"""What the classifier computed for a list of texts: the one record that concepts and scores are made from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel

from classifsae.errors import DataError, MismatchError, StorageError
from classifsae.notebook import Sheet, Shown
from classifsae.storage import (
    Json,
    Manifest,
    finish,
    manifest_of,
    read_json,
    tensors_of,
    write_json,
    write_tensors,
)
from classifsae.tensors import Float, Int, Tensor

TENSORS = "activations.safetensors"
IDS = "ids.json"
GUIDANCE = "guidance.safetensors"


class Source(BaseModel, frozen=True):
    """Where hidden states come from. Concepts fit only states of the source that they were learned from.

    Attributes:
        model: fingerprint of the classifier's weights.
        layer: hook layer l; the state is the residual stream entering block l.
        prompt: fingerprint of what is put around a text, "" for an encoder.
        dataset: fingerprint of the data set, all its parts together.
    """

    model: str = ""
    layer: int = 0
    prompt: str = ""
    dataset: str = ""

    def require(self, other: "Source", *, this: str, that: str) -> None:
        """Refuse to mix two sources.

        Raises:
            MismatchError: they differ; says in what.
        """
        names = {"model": "another model", "layer": "another layer", "prompt": "another prompt"}
        for name, what in {**names, "dataset": "another data set"}.items():
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise MismatchError(
                    f"{that} come from {what} than {this} ({name} {_short(theirs)}, not {_short(mine)}); "
                    f"capture the activations again with the same model, layer and data set."
                )


NOWHERE = Source()
"""Of states that no classifier of this package computed."""


@dataclass(frozen=True)
class Activations(Shown):
    """Hidden states of n sentences and what the classifier made of them, one row each, in data-set order.

    Attributes:
        hidden: sentence vectors at the hook layer, in the classifier's precision.
        logits: the classifier's own class logits.
        labels: ground truth, class indices.
        ids: the data set's row ids; ``ID#1``, ``ID#2``, ... for the windows of a text that was split.
        source: where the states come from; states of one's own need none.
        documents: number of the text that each row is of, counted from 0 in data-set order; None where
            every row is a text of its own.
        spans: first character of each row in its text, and the one after its last; None likewise.
    """

    hidden: Float[Tensor, "n d"]
    logits: Float[Tensor, "n c"]
    labels: Int[Tensor, " n"]
    ids: tuple[str, ...]
    source: Source = NOWHERE
    documents: Int[Tensor, " n"] | None = None
    spans: Int[Tensor, "n 2"] | None = None

    def sheet(self) -> Sheet:
        """What is shown: sizes, and how often the classifier agrees with the labels."""
        n, width = self.hidden.shape
        accuracy = (self.predictions == self.labels).double().mean().item() if n else float("nan")
        return Sheet(
            f"Activations: {n:,} states of width {width} at layer {self.source.layer}",
            (
                f"{self.n_classes} classes, accuracy {accuracy:.3f}",
                f"model {self.source.model[:12]}, data set {self.source.dataset[:12]}",
            ),
        )

    def texts_of(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The text behind each row: the part of it that a window shows, else all of it.

        Args:
            texts: those that were captured, in their order.
        """
        if self.documents is None or self.spans is None:
            return tuple(texts)
        places = zip(self.documents.tolist(), self.spans.tolist(), strict=True)
        return tuple(texts[document][start:end] for document, (start, end) in places)

    @property
    def predictions(self) -> Int[Tensor, " n"]:
        """The label that the classifier predicts: the first of its largest logits."""
        return self.logits.argmax(dim=1)

    @property
    def n_classes(self) -> int:
        """Number of classes c."""
        return self.logits.shape[1]

    def __len__(self) -> int:
        return self.hidden.shape[0]

    def take(self, rows: Int[Tensor, " q"]) -> Self:
        """The given rows, in the given order."""
        return replace(
            self,
            hidden=self.hidden[rows],
            logits=self.logits[rows],
            labels=self.labels[rows],
            ids=tuple(self.ids[row] for row in rows.tolist()),
            documents=None if self.documents is None else self.documents[rows],
            spans=None if self.spans is None else self.spans[rows],
        )

    def to(self, device: torch.device | str) -> Self:
        """The same record with its tensors on another device, logits in float32, states as they are."""
        return type(self)(
            hidden=self.hidden.to(device),
            logits=self.logits.to(device, torch.float32),
            labels=self.labels.to(device),
            ids=self.ids,
            source=self.source,
            documents=None if self.documents is None else self.documents.to(device),
            spans=self.spans,
        )

    def float(self) -> Self:
        """The same record with hidden states and logits in float32, all of them at once."""
        return replace(self, hidden=self.hidden.float(), logits=self.logits.float())

    def save(self, folder: str | Path, *, inputs: str = "") -> Manifest:
        """Write the record as an artefact.

        Raises:
            StorageError: the folder cannot be written.
        """
        rows = {"documents": self.documents, "spans": self.spans}
        tensors = {"hidden": self.hidden, "logits": self.logits, "labels": self.labels}
        folder = Path(folder)
        write_tensors(folder / TENSORS, tensors | {k: v for k, v in rows.items() if v is not None})
        return finish_activations(folder, ids=self.ids, source=self.source, inputs=inputs, facts={})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open an artefact; the tensors are memory-mapped.

        Raises:
            StorageError: the folder is unfinished or damaged.
        """
        folder = Path(folder)
        manifest = manifest_of(folder)
        if manifest is None:
            raise StorageError(f"{folder} holds no finished activations; run the capture stage again.")
        tensors = tensors_of(folder, TENSORS)
        ids = read_json(folder / IDS)
        if not isinstance(ids, list):
            raise StorageError(
                f"{folder / IDS} is not a list; get it again, or, if a run made it, delete {folder}."
            )
        source = Source.model_validate(manifest.record.get("source"))
        return cls(**tensors, ids=tuple(map(str, ids)), source=source)


@dataclass(frozen=True)
class Guidance(Shown):
    """What the texts behind activations say, one row each, for methods that learn from texts too.

    Attributes:
        read: what the classifier reads in a text: states of an encoder's tokens, weighted by how much the
            decision depends on each; of unit norm.
        embeddings: of the whole texts, of unit norm.
    """

    read: Float[Tensor, "n e"]
    embeddings: Float[Tensor, "n e"]

    def __len__(self) -> int:
        return len(self.read)

    def take(self, rows: Int[Tensor, " q"]) -> Self:
        """The given rows, in the given order."""
        return replace(self, read=self.read[rows], embeddings=self.embeddings[rows])

    def save(self, folder: str | Path, *, inputs: str = "") -> Manifest:
        """Write both as an artefact.

        Raises:
            StorageError: the folder cannot be written.
        """
        # A copy, as both may be one tensor, which safetensors does not write twice.
        folder = Path(folder)
        write_tensors(folder / GUIDANCE, {"read": self.read, "embeddings": self.embeddings.clone()})
        return finish(folder, inputs=inputs, record={"n_texts": len(self)})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open an artefact; the tensors are memory-mapped.

        Raises:
            StorageError: the folder is unfinished or damaged.
        """
        folder = Path(folder)
        if manifest_of(folder) is None:
            raise StorageError(f"{folder} holds no finished guidance; run the guide stage again.")
        return cls(**tensors_of(folder, GUIDANCE))


def finish_activations(
    folder: Path, *, ids: tuple[str, ...], source: Source, inputs: str, facts: dict[str, Json]
) -> Manifest:
    """Write the ids and the manifest beside tensors that are already in place."""
    write_json(folder / IDS, list(ids))
    record = {"source": source.model_dump(), "n_sentences": len(ids), **facts}
    return finish(folder, inputs=inputs, record=record)


def window_ids(ids: Sequence[str], documents: Sequence[int]) -> tuple[str, ...]:
    """The id of each row: that of its text, with ``#1``, ``#2``, ... where the text has several rows.

    Args:
        ids: of the texts.
        documents: number of the text that each row is of, ascending.
    Raises:
        DataError: two rows get one id.
    """
    counts = Counter(documents)
    rows = [
        f"{ids[document]}#{window + 1}" if counts[document] > 1 else ids[document]
        for document in sorted(counts)
        for window in range(counts[document])
    ]
    twice = next((row for row, times in Counter(rows).items() if times > 1), None)
    if twice is not None:
        raise DataError(f"the row id {twice!r} is also that of a window of a long text; use ids without '#'.")
    return tuple(rows)


def check_finite(hidden: Float[Tensor, "n d"], ids: tuple[str, ...]) -> None:
    """Refuse hidden states that are not numbers.

    Raises:
        DataError: a state holds NaN or infinity; names the first such sentence.
    """
    lowest, highest = hidden.aminmax(dim=1)  # each NaN where a number is, and nothing as large as the states
    bad = (~(lowest.isfinite() & highest.isfinite())).nonzero().flatten()
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(ids)} hidden states hold NaN or infinity, first row {ids[int(bad[0])]!r}; "
            f"check the classifier, or capture in float32 rather than half precision."
        )


def _short(value: object) -> str:
    text = str(value)
    return text[:12] or "none"
