"""Sentences with their embeddings: what interpretability is measured with."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from classifsae.errors import DataError, StorageError
from classifsae.notebook import Shown
from classifsae.storage import Manifest, finish, manifest_of, tensors_of, write_tensors
from classifsae.tensors import Float, Int, Tensor

TENSORS = "sentences.safetensors"

_UNIT = 1e-3


@dataclass(frozen=True)
class Sentences(Shown):
    """n texts with their embeddings, one row each, in data-set order.

    Attributes:
        texts: the original texts.
        embeddings: of unit norm, so that a product is a cosine.
        encoder: fingerprint of what made them.
        concepts: names of the true concepts of each text, where the data set knows them.
    """

    texts: tuple[str, ...]
    embeddings: Float[Tensor, "n e"]
    encoder: str
    concepts: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.embeddings):
            raise DataError(
                f"there are {len(self.texts)} texts and {len(self.embeddings)} embeddings; give one of each."
            )
        off = (self.embeddings.double().norm(dim=1) - 1).abs()
        if not (off <= _UNIT).all():
            raise DataError("embeddings must be finite and of unit norm; divide each by its norm.")

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Int[Tensor, " q"]) -> Self:
        """The given rows, in the given order."""
        chosen, concepts = rows.tolist(), self.concepts
        return replace(
            self,
            texts=tuple(self.texts[row] for row in chosen),
            embeddings=self.embeddings[rows],
            concepts=None if concepts is None else tuple(concepts[row] for row in chosen),
        )

    def save(self, folder: str | Path, *, inputs: str = "") -> Manifest:
        """Write the embeddings as an artefact; the texts stay where they are.

        Raises:
            StorageError: the folder cannot be written.
        """
        folder = Path(folder)
        write_tensors(folder / TENSORS, {"embeddings": self.embeddings})
        return finish(folder, inputs=inputs, record={"encoder": self.encoder, "n_sentences": len(self)})

    @classmethod
    def load(
        cls,
        folder: str | Path,
        texts: tuple[str, ...],
        *,
        concepts: tuple[tuple[str, ...], ...] | None = None,
    ) -> Self:
        """Open an artefact; these are the texts that it was made from, and their true concepts.

        Raises:
            StorageError: the folder is unfinished or damaged.
            DataError: it was made from more texts, or fewer.
        """
        folder = Path(folder)
        manifest = manifest_of(folder)
        if manifest is None:
            raise StorageError(f"{folder} holds no finished embeddings; run the embed stage again.")
        embeddings = tensors_of(folder, TENSORS)["embeddings"]
        encoder = str(manifest.record["encoder"])
        return cls(texts=texts, embeddings=embeddings, encoder=encoder, concepts=concepts)
