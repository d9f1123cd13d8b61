"""What a page says of the labels, of the test texts, and of the classifier's mistakes by concept."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from classifsae.activations import Activations
from classifsae.auditing.held_out import HeldOut
from classifsae.auditing.labels import LabelCheck, suspect_rows
from classifsae.auditing.mistakes import ConceptMistakes, MistakesByConcept
from classifsae.tensors import Bool, Tensor


@dataclass(frozen=True)
class Checks:
    """What is found, as far as it was looked for.

    Attributes:
        labels: that are probably wrong.
        held_out: whether the test texts trained the classifier.
        mistakes: by method, the classifier's mistakes by its concepts.
    """

    labels: LabelCheck | None = None
    held_out: HeldOut | None = None
    mistakes: Mapping[str, MistakesByConcept] = field(default_factory=dict)

    @property
    def is_held_out(self) -> bool:
        """Whether the test texts are known not to have trained the classifier."""
        return self.held_out is not None and self.held_out.is_known

    def suspect_rows(self, test: Activations) -> Bool[Tensor, " n"]:
        """The test rows whose label is probably wrong, as far as it was looked for."""
        return suspect_rows(self.labels.test if self.labels else (), test)

    def carriers(self, label: str) -> list[ConceptMistakes]:
        """The concepts of one method that carry or repair any mistake, those that repair most first."""
        some = [one for one in self.mistakes[label].concepts if one.n_carried or one.n_repaired]
        return sorted(some, key=lambda one: (-one.n_repaired, -one.n_carried, one.n_made))
