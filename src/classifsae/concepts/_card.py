"""What goes with concepts that are shared: what they are called, of what they are, how well they score."""

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from classifsae.bounds import name_of_concept
from classifsae.errors import ConfigError, MismatchError
from classifsae.notebook import brief

if TYPE_CHECKING:
    from classifsae.concepts.base import Concepts

_USE = """\
```python
import classifsae as cs

concepts = cs.load_concepts("{where}")
model = cs.Classifier.load("the classifier they were learned from", layer={layer})
cs.explain(model, concepts, "a text")
```"""


def checked_names(given: Iterable[str]) -> tuple[str, ...]:
    """Names of concepts, each on one line.

    Raises:
        ConfigError: they are no list of texts, one is empty or too long, or two are the same.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"names of concepts are a list of texts; got {brief(given)}.")
    names = []
    for one in given:
        try:
            names.append(name_of_concept(one))
        except ValueError as error:
            raise ConfigError(f"the name {brief(one)!r} {error}.") from error
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise ConfigError(f"two concepts would be called {twice[0]!r}; give each a name of its own.")
    return tuple(names)


class ConceptRow(NamedTuple):
    """One concept in a list.

    Attributes:
        concept: its latent's number.
        name: as it is called.
        label: the class it belongs to.
        share: of its activation that falls on sentences of this class, in [0, 1].
        activation: mean |activation| on all sentences.
    """

    concept: int
    name: str
    label: str
    share: float
    activation: float


class Card(BaseModel, frozen=True, extra="ignore"):
    """What is said of concepts beside their numbers.

    Attributes:
        names: one per concept; none where they have no names.
        label_names: of the classes, in the order of the logits; none where they are not known.
        backbone: name of the classifier.
        dataset: name of the data set.
        scores: by name, None where undefined.
    """

    names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    backbone: str = ""
    dataset: str = ""
    scores: dict[str, float | None] = {}

    def require_fit(self, *, n_concepts: int, n_classes: int) -> None:
        """Refuse a card of other concepts.

        Raises:
            MismatchError: another number of names than concepts, or of label names than classes.
        """
        pairs = {"names": (self.names, n_concepts), "label_names": (self.label_names, n_classes)}
        for what, (given, wanted) in pairs.items():
            if given and len(given) != wanted:
                raise MismatchError(f"{len(given)} {what} are given for {wanted}; give one for each.")

    def markdown(self, concepts: "Concepts", *, where: str, version: str) -> str:
        """The model card: what this is, how to use it, every concept, every score."""
        source, of = concepts.source, self.backbone or "a classifier"
        on = f" on {self.dataset}" if self.dataset else ""
        parts = [
            "---\nlibrary_name: classifsae\npipeline_tag: text-classification\n"
            "tags: [interpretability, concepts]\n---",
            f"# {len(concepts)} concepts of {of}{on}",
            f"Learned by `{concepts.method}` of ClassifSAE {version} from the hidden states at layer "
            f"{source.layer} ({concepts.width} wide). They fit the classifier with the fingerprint "
            f"`{source.model}` and no other; ClassifSAE checks it.",
            _USE.format(where=where, layer=source.layer),
            "## Concepts",
            "Mean activation: of |activation| over the training sentences, in the method's own unit; it "
            "compares concepts of this table alone.",
            _table(
                ["concept", "name", "class", "share of its activation there", "mean activation"],
                [
                    [
                        str(row.concept),
                        row.name,
                        row.label,
                        f"{100 * row.share:.0f} %",
                        f"{row.activation:.3g}",
                    ]
                    for row in concepts.listed()
                ],
            ),
        ]
        if self.scores:
            # By name: what scores mean is known in rooms above this one.
            tables = import_module("classifsae.reporting.tables.card").score_tables(self.scores)
            parts += ["## Scores", "On the test split.", *tables]
        return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell would end it."""
    lines = [heads, ["---"] * len(heads), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
