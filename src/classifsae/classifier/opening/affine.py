"""An affine change of the sentence vector, and a model that goes on with the changed vector."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import nn

from classifsae.classifier.opening.blocks import Structure, changed_at, with_state
from classifsae.errors import StorageError
from classifsae.storage import read_tensors, write_tensors
from classifsae.tensors import Float, Int, Tensor

FILE = "change.safetensors"


@dataclass(frozen=True, eq=False)
class AffineMap:
    """A change of sentence vectors: h becomes A h + b.

    Attributes:
        matrix: A.
        offset: b.
    """

    matrix: Float[Tensor, "d d"]
    offset: Float[Tensor, " d"]

    @classmethod
    def around(cls, mean: Float[Tensor, " d"], change: Float[Tensor, "d d"]) -> Self:
        """h + C (h - mean), for a mean and a change C."""
        identity = torch.eye(len(mean), dtype=change.dtype, device=change.device)
        return cls(identity + change, -change @ mean)

    def __call__(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The changed vectors, in the precision of the change."""
        return hidden.to(self.matrix) @ self.matrix.T + self.offset

    def after(self, first: "AffineMap") -> "AffineMap":
        """The change that is the other one first, then this one."""
        return AffineMap(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)

    def save(self, folder: Path) -> None:
        """Write it beside a model.

        Raises:
            StorageError: the folder cannot be written.
        """
        write_tensors(folder / FILE, {"matrix": self.matrix, "offset": self.offset})

    @classmethod
    def load(cls, folder: Path, *, width: int) -> Self:
        """Read it back.

        Raises:
            StorageError: the file is missing, damaged or of another model.
        """
        found = read_tensors(folder / FILE)
        shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
        if shapes != {"matrix": (width, width), "offset": (width,)}:
            raise StorageError(f"{folder / FILE} is no change of vectors of width {width}; write it again.")
        return cls(found["matrix"], found["offset"])


@dataclass(frozen=True, eq=False)
class ChangeAt:
    """A change of the sentence vector, made where the model runs.

    Attributes:
        layer: hook layer of the vector.
        map: of the vector.
    """

    layer: int
    map: AffineMap

    def made(self, structure: Structure, positions: Int[Tensor, " b"]) -> AbstractContextManager[object]:
        """While this holds, what follows the layer is given the changed vector.

        Args:
            structure: of the model.
            positions: of the token of each row whose state is the sentence vector.
        """
        if structure.neck is not None:
            return changed_at(structure.neck, self.on)

        def after(_: nn.Module, __: object, output: object) -> object:
            return with_state(output, lambda state: self.on_tokens(state, positions))

        return structure.blocks[self.layer - 1].register_forward_hook(after)

    def on(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The changed vectors, in their own precision."""
        matrix, offset = self.map.matrix.to(hidden.device), self.map.offset.to(hidden.device)
        return AffineMap(matrix, offset)(hidden).to(hidden.dtype)

    def on_tokens(
        self, state: Float[Tensor, "b t d"], positions: Int[Tensor, " b"]
    ) -> Float[Tensor, "b t d"]:
        """States of tokens, those of the sentence vectors changed."""
        rows = torch.arange(len(state), device=state.device)
        places = rows, positions.to(state.device)
        return state.index_put(places, self.on(state[places]))
