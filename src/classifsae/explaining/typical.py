"""What is typical of a concept, as seen in other sentences than the one that is explained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from torch.nn.functional import one_hot

from classifsae.activations import Activations
from classifsae.activity import activating_sets, class_indicators
from classifsae.concepts.base import Concepts, codes_of
from classifsae.errors import MismatchError, StorageError
from classifsae.storage import Manifest, finish, manifest_of, write_text

TYPICAL = "typical.json"


@dataclass(frozen=True)
class Typical:
    """What is typical of one concept.

    Attributes:
        activation: median over its activating set, in the method's own unit; None where that is empty.
        sentence: the one with that activation; "" where there is none.
        says_class: whether it says a predicted class itself, and so tells no sentences of it apart.
    """

    activation: float | None
    sentence: str
    says_class: bool


_LIST = TypeAdapter(tuple[Typical, ...])


def typical_of(concepts: Concepts, activations: Activations, texts: Sequence[str]) -> tuple[Typical, ...]:
    """What is typical of each concept, by position.

    Args:
        concepts: fitted on activations of the same source.
        activations: of the sentences to look at; a run takes those of the test split.
        texts: of the same rows.
    Raises:
        MismatchError: other texts or activations than the concepts'.
    """
    concepts.source.require(activations.source, this="the concepts", that="the activations")
    if len(texts) != len(activations):
        raise MismatchError(
            f"there are {len(texts)} texts and activations of {len(activations)}; give the texts captured."
        )
    codes = codes_of(concepts, activations).cpu()
    sets = activating_sets(codes).sets
    classes = one_hot(activations.predictions.cpu(), activations.n_classes).T.bool()
    says_class = class_indicators(sets, classes, concepts.segment_of.cpu()).tolist()
    middle = codes.T.where(sets, torch.nan).nanmedian(dim=1)  # NaN where a set is empty
    found = zip(middle.values.tolist(), middle.indices.tolist(), says_class, strict=True)
    return tuple(
        Typical(None, "", says) if math.isnan(activation) else Typical(activation, texts[row], says)
        for activation, row, says in found
    )


def save_typical(found: Sequence[Typical], folder: Path, *, inputs: str = "") -> Manifest:
    """Write it as an artefact.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_text(folder / TYPICAL, _LIST.dump_json(tuple(found), indent=1).decode("utf-8") + "\n")
    return finish(folder, inputs=inputs, record={"n_concepts": len(found)})


def load_typical(folder: Path) -> tuple[Typical, ...]:
    """Read it back, as ``save_typical`` wrote it; nothing where there is none.

    Raises:
        StorageError: the file is damaged.
    """
    if manifest_of(folder) is None:
        return ()
    try:
        return _LIST.validate_json((folder / TYPICAL).read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(f"{folder} is damaged; delete it and run the experiment again.") from error
