"""What would have to appear in a text whose label no removal of concepts changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from classifsae.bottleneck import Evaluation
from classifsae.explaining.typical import Typical
from classifsae.tensors import Float, Tensor


@dataclass(frozen=True)
class Added:
    """A concept whose typical activation, added to one sentence, changes its label.

    Attributes:
        position: of the concept.
        probabilities: of the classes with it.
    """

    position: int
    probabilities: Float[Tensor, " c"]


def addable(evaluation: Evaluation, typical: Sequence[Typical]) -> list[int]:
    """Positions of the concepts whose activation on the one sentence is below what is typical of them."""
    pairs = zip(evaluation.codes[0].tolist(), typical, strict=True)
    return [j for j, (z, t) in enumerate(pairs) if t.activation is not None and z < t.activation]


def least_addition(evaluation: Evaluation, typical: Sequence[Typical]) -> Added | None:
    """The concept that changes the label that the concepts give, when its typical activation is set.

    Of several that do, one that tells sentences of a class apart goes before one that says the class itself,
    and of those the one that moves the rebuilt state least: ||h(with it) - h|| is smallest.

    Args:
        evaluation: of one sentence.
        typical: of each concept, by position.
    Returns:
        None where no concept alone changes the label.
    """
    columns = addable(evaluation, typical)
    if not columns:
        return None
    states, logits = _with_each(evaluation, columns, [typical[j].activation or 0.0 for j in columns])
    moved = (states - evaluation.states()).norm(dim=1).tolist()
    changes = (logits.argmax(dim=1) != evaluation.rebuilt[0].argmax()).tolist()
    found = [i for i, change in enumerate(changes) if change]
    if not found:
        return None
    best = min(found, key=lambda i: (typical[columns[i]].says_class, moved[i]))
    return Added(columns[best], logits[best].double().softmax(dim=0))


def _with_each(
    evaluation: Evaluation, columns: list[int], values: list[float]
) -> tuple[Float[Tensor, "q d"], Float[Tensor, "q c"]]:
    """State and logits of the sentence with each of these concepts set to its value."""
    codes, bottleneck = evaluation.codes, evaluation.bottleneck
    asked = torch.tensor(columns, device=codes.device)
    same = torch.zeros_like(asked)
    made = evaluation.with_one(same, asked, codes.new_tensor(values), through=bottleneck.states)
    states = torch.cat([part for _, part in made])
    with torch.no_grad():
        return states, bottleneck.tail(states).float()
