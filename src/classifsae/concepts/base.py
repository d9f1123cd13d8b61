"""One contract for all: a frozen recipe learns a coder, chooses its concepts on training data, and is done.

recipe.fit(train, tail) -> Concepts, with encode: (b, d) -> (b, m) and decode: (b, m) -> (b, d).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from operator import index
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import (
    TYPE_CHECKING,
    Annotated,
    ClassVar,
    Literal,
    Protocol,
    Self,
    SupportsIndex,
    final,
    runtime_checkable,
)

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import nn

from classifsae.activations import Activations, Guidance, Source, check_finite
from classifsae.activity import ALIVE
from classifsae.bounds import Count, Seed
from classifsae.concepts._card import Card, ConceptRow, checked_names
from classifsae.concepts._optimise import Run, Spent
from classifsae.concepts._sae_files import PlainSAE, write_sae_lens
from classifsae.concepts._shown import Concept, ScoreCheck
from classifsae.errors import (
    ConfigError,
    DataError,
    MismatchError,
    StorageError,
    UnknownNameError,
    one_line,
    require_kind,
    warn,
)
from classifsae.hub.sharing import publish
from classifsae.notebook import Plotted, Share, Sheet, brief, data_frame
from classifsae.progress import bar
from classifsae.registry import ClassRegistry, import_object
from classifsae.storage import (
    Json,
    Manifest,
    finish,
    manifest_of,
    tensors_of,
    write_json,
    write_tensors,
    write_text,
)
from classifsae.tensors import Float, Int, Tail, Tensor, batches, put

if TYPE_CHECKING:
    import pandas

TENSORS = "concepts.safetensors"
CURVES = "curves.json"
CARD = "card.json"
README = "README.md"
FORMAT = 1
"""Of concepts on the disk; raised when older versions can no longer read them."""
_CURVES = TypeAdapter(dict[str, list[float]])
_TINY = 1e-9

PREFERRED = ("consensus", "classifsae")
"""The methods whose concepts explain, and are shown first, where a run has several."""

Role = Literal["method", "ceiling", "random", "label"]
"""What a method is in a table of scores: one that competes, or a yardstick for those that do."""


class Coder(nn.Module, ABC):
    """A dictionary of p latents: codes from hidden states, and hidden states from codes.

    ``decode`` may return states at any scale: only their direction is used, because the bottleneck
    gives each one the norm of the state it stands for.

    A subclass takes its tensors, and its ``settings``, as keyword arguments of the same names.
    """

    @property
    @abstractmethod
    def n_latents(self) -> int:
        """Number of latents p."""

    @property
    def settings(self) -> dict[str, Json]:
        """Constructor arguments that are not tensors."""
        return {}

    @property
    def plain(self) -> PlainSAE | None:
        """The same as a sparse autoencoder that other libraries know, None where it is not one."""
        return None

    @abstractmethod
    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """Activation of every latent on every state; no row depends on another."""

    def encode_kept(self, hidden: Float[Tensor, "b d"], kept: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """Activation of the kept latents."""
        return self.encode(hidden)[:, kept]

    @abstractmethod
    def decode(self, codes: Float[Tensor, "b p"]) -> Float[Tensor, "b d"]:
        """States rebuilt from activations of all latents."""

    def decode_kept(self, codes: Float[Tensor, "b m"], kept: Int[Tensor, " m"]) -> Float[Tensor, "b d"]:
        """States rebuilt from the kept latents, all others being zero."""
        wide = codes.new_zeros(codes.shape[0], self.n_latents)
        return self.decode(wide.index_copy(1, kept, codes))


@runtime_checkable
class Recorded(Protocol):
    """Scores, which stand in a room above this one."""

    def record(self) -> Mapping[str, float | None]:
        """Every number by name."""


@final
class Concepts(Plotted, nn.Module):
    """The m concepts that were kept, and the class that each belongs to.

    Args:
        coder: the dictionary they are taken from.
        kept: their latents, in order.
        class_activation: mean |activation| of each concept on the sentences of each class.
        activation: mean |activation| of each concept on all sentences.
        source: where the hidden states came from; scores refuse states from elsewhere.
        method: name of the method that learned them.
        curves: numbers of the steps in which they were learned, by name.
        spent: what the fit cost, and whether it stopped early; None: not known.
        card: what is said of them where they are shared, such as names; None: nothing.
    """

    def __init__(
        self,
        *,
        coder: Coder,
        kept: Int[Tensor, " m"],
        class_activation: Float[Tensor, "m c"],
        activation: Float[Tensor, " m"],
        source: Source,
        method: str,
        curves: dict[str, list[float]] | None = None,
        spent: Spent | None = None,
        card: Card | None = None,
    ) -> None:
        super().__init__()
        self.coder, self.source, self.method, self.curves = coder, source, method, curves or {}
        self.spent, self.card = spent, card
        self.kept = nn.Buffer(kept)
        self.class_activation: Float[Tensor, "m c"] = nn.Buffer(class_activation)
        self.activation = nn.Buffer(activation)
        self.requires_grad_(False)
        self.eval()

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def names(self) -> tuple[str, ...]:
        """A name per concept: those of the card, else its latent's number."""
        known = self.card.names if self.card else ()
        return known or tuple(f"concept {latent}" for latent in self.kept.tolist())

    @property
    def label_names(self) -> tuple[str, ...]:
        """A name per class: those of the card, else its number."""
        known = self.card.label_names if self.card else ()
        return known or tuple(f"class {c}" for c in range(self.class_shares.shape[1]))

    def listed(self) -> list[ConceptRow]:
        """A row per concept: its name, its class and how active it is."""
        shares, classes = self.class_shares, self.segment_of.tolist()
        labels = self.label_names
        columns = (
            self.kept.tolist(),
            self.names,
            classes,
            shares.amax(dim=1).tolist(),
            self.activation.tolist(),
        )
        return [ConceptRow(j, name, labels[c], *rest) for j, name, c, *rest in zip(*columns, strict=True)]

    def sheet(self) -> Sheet:
        """What is shown: every concept with its class."""
        title = f"Concepts: {len(self)} by {self.method}, of states of width {self.width}"
        of = f"model {self.source.model[:12]}, layer {self.source.layer}" if self.source.model else ""
        learned = f"learned from {self.spent.said}" if self.spent and self.spent.n_steps else ""
        facts = (
            *filter(None, (of, learned)),
            "share: of its activation, on sentences of its class; activation: its mean size in training",
        )
        rows = [row._replace(share=Share(row.share)) for row in self.listed()]
        return Sheet(title, facts, ConceptRow._fields, rows, "to_pandas()")

    def __getitem__(self, latent: int | str) -> Concept:
        """One concept, by its number or its name, as an object that shows itself.

        Words, sentences and scores are known to a report: ``cs.report(...).concept(17)``.

        Raises:
            ConfigError: there is none of this number or name.
        """
        if isinstance(latent, str):
            if latent not in self.names:
                raise UnknownNameError("concept", latent, self.names)
            latent = self.kept.tolist()[self.names.index(latent)]
        (one,) = latents_in(latent, what="[...]")
        if one not in self.kept.tolist():
            known = ", ".join(map(str, self.kept.tolist()))
            raise ConfigError(f"there is no concept {one}; choose from {known}.")
        row = self.listed()[self.kept.tolist().index(one)]
        shares = self.class_shares[self.kept.tolist().index(one)].tolist()
        by_class = dict(zip(self.label_names, shares, strict=True))
        return Concept(one, row.name, self.method, row.label, by_class, row.activation)

    def __iter__(self) -> Iterator[Concept]:
        """All of them, in their order."""
        return (self[latent] for latent in self.kept.tolist())

    def to_pandas(self, activations: Activations | None = None) -> "pandas.DataFrame":
        """A row per concept; of activations, a row per id and a column per concept.

        Args:
            activations: of the same classifier: its sentences are the rows, by their ids.
        Raises:
            ConfigError: pandas is not installed.
        """
        if activations is None:
            return data_frame([row._asdict() for row in self.listed()], index="concept")
        require_kind(activations, Activations, wanted="to_pandas takes activations, as capture returns them")
        codes = codes_of(self, activations).cpu().numpy()
        return data_frame(codes, index=activations.ids, columns=self.names)

    @property
    def width(self) -> int:
        """d, of the states they are of."""
        return len(self.origin())

    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b m"]:
        """Activations of the kept concepts."""
        return self.coder.encode_kept(hidden.to(self.activation.dtype), self.kept)

    def decode(self, codes: Float[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        """States rebuilt from the kept concepts alone, up to a factor per row."""
        return self.coder.decode_kept(codes, self.kept)

    def origin(self) -> Float[Tensor, " d"]:
        """The state rebuilt from no concept at all."""
        return self.decode(self.activation.new_zeros(1, len(self)))[0]

    def directions(self, latents: Sequence[int]) -> Float[Tensor, "q d"]:
        """What one unit of each of these concepts adds to the state of no concepts.

        Raises:
            ConfigError: a latent that is not among the concepts.
        """
        kept = self.kept.tolist()
        if unknown := sorted({*latents} - {*kept}):
            given, known = (", ".join(map(str, some)) for some in (unknown, kept))
            raise ConfigError(f"there is no concept {given}; choose from {known}.")
        codes = torch.eye(len(self), device=self.kept.device)[[kept.index(latent) for latent in latents]]
        return self.decode(codes) - self.origin()

    @property
    def class_shares(self) -> Float[Tensor, "m c"]:
        """Share of each class in a concept's mean activation; rows sum to 1, uniform for a silent concept."""
        total = self.class_activation.sum(dim=1, keepdim=True)
        uniform = torch.full_like(self.class_activation, 1 / self.class_activation.shape[1])
        return torch.where(total > 0, self.class_activation / total.clamp_min(1e-45), uniform)

    @property
    def segment_of(self) -> Int[Tensor, " m"]:
        """The class that each concept belongs to: the one with the largest share, the first on a tie."""
        return self.class_shares.argmax(dim=1)

    @property
    def segments(self) -> list[list[int]]:
        """Positions of the concepts of each class, the most active first."""
        order = self.activation.argsort(descending=True, stable=True).tolist()
        segment_of = self.segment_of.tolist()
        n_classes = self.class_activation.shape[1]
        return [[j for j in order if segment_of[j] == c] for c in range(n_classes)]

    def save(self, folder: str | Path, *, inputs: str = "", facts: dict[str, Json] | None = None) -> Manifest:
        """Write the concepts as an artefact; with their card, if they have one, as JSON and to be read.

        Raises:
            StorageError: the folder cannot be written.
        """
        return self._save(Path(folder), where=Path(folder).name, inputs=inputs, facts=facts)

    def _save(
        self, folder: Path, *, where: str, inputs: str = "", facts: dict[str, Json] | None = None
    ) -> Manifest:
        if self.card is not None:
            made: dict[str, Json] = {"format": FORMAT, "version": version("classifsae")}
            write_json(folder / CARD, made | self.card.model_dump(mode="json"))
            write_text(folder / README, self.card.markdown(self, where=where, version=version("classifsae")))
        write_tensors(folder / TENSORS, self.state_dict())
        write_text(folder / CURVES, _CURVES.dump_json(self.curves).decode())
        kind = type(self.coder)
        record = ConceptsRecord(
            method=self.method,
            coder=f"{kind.__module__}:{kind.__qualname__}",
            settings=self.coder.settings,
            source=self.source,
            spent=self.spent,
        )
        facts = record.model_dump() | (facts or {})
        return finish(folder, inputs=inputs, record=facts, besides=(README,))  # which people edit on the Hub

    def with_card(
        self,
        *,
        names: Sequence[str] = (),
        label_names: Sequence[str] = (),
        backbone: str = "",
        dataset: str = "",
        scores: Recorded | Mapping[str, float | None] | None = None,
    ) -> Self:
        """The same concepts with what goes with them where they are shared.

        Args:
            names: one per concept.
            label_names: of the classes.
            backbone, dataset: what to call the classifier and the data set.
            scores: of the concepts, or numbers by name.
        Raises:
            MismatchError: not one name for each concept, or each class.
            ConfigError: a name that is empty, too long or given twice, or scores that are no numbers.
        """
        known = scores.record() if isinstance(scores, Recorded) else scores
        try:
            card = Card.model_validate(
                {
                    "names": checked_names(names),
                    "label_names": label_names,
                    "backbone": backbone,
                    "dataset": dataset,
                    "scores": known or {},
                }
            )
        except ValidationError as error:
            raise ConfigError(f"with_card: {one_line(error)}") from error
        m, c = self.class_activation.shape
        card.require_fit(n_concepts=m, n_classes=c)
        same = copy(self)
        same.card = card
        return same

    def verify(
        self, tail: Tail, test: Activations, *, sentences: object = None, tolerance: float = 1e-4
    ) -> ScoreCheck:
        """Measure the scores that go with these concepts again, and say which differ.

        Metrics run with their own defaults. What needs more than concepts, classifier and test split, such as
        stability over seeds, is listed as not measured.

        Args:
            tail: of the classifier, ``model.tail``.
            test: activations of the test split that was scored.
            sentences: that split's texts, embedded, for the scores that ask what concepts mean.
            tolerance: difference that is none, absolute or relative, as between devices.
        Raises:
            ConfigError: no scores go with them.
            MismatchError: activations of another classifier, layer, prompt or data set.
        """
        # By name: scores are a room above this one.
        check = import_module("classifsae.metrics").verify_scores
        found: ScoreCheck = check(self, tail, test, sentences=sentences, tolerance=tolerance)
        return found

    def renamed(self, names: Mapping[int, str]) -> "Concepts":
        """The same concepts, some under other names.

        Args:
            names: by latent.
        Raises:
            ConfigError: a latent that is not among the concepts, or a name that two would have.
        """
        require_kind(names, Mapping, wanted="renamed takes names by concept, such as {17: 'oil prices'}")
        called = dict(zip(self.kept.tolist(), self.names, strict=True))
        if unknown := sorted({*latents_in(names, what="renamed")} - called.keys()):
            known = ", ".join(map(str, called))
            raise ConfigError(f"there is no concept {unknown[0]} to rename; choose from {known}.")
        card = self.card or Card()
        same = copy(self)
        same.card = card.model_copy(update={"names": checked_names((called | {**names}).values())})
        return same

    def dropped(self, *latents: int | Iterable[int]) -> "Concepts":
        """All but these concepts; what they carried is in no state that is rebuilt any more.

        Args:
            latents: one or more, or a list of them.
        Raises:
            ConfigError: a latent that is not among the concepts, or none would be left.
        """
        from classifsae.concepts._edits import Edits, edited

        drop = latents_in(latents, what="dropped")
        if not drop:
            raise ConfigError("dropped names no concept; give the number of one at least.")
        return edited(self, Edits(drop=drop), None)

    def merged(self, latents: Iterable[int], train: Activations, *, name: str = "") -> "Concepts":
        """These concepts as one, the last: its activation is the sum of theirs.

        What it adds to the state, per unit, is the mean of what they add, weighted by their mean activations:
        the same on average over the training split, not for each sentence.

        Args:
            latents: two or more.
            train: activations that the concepts were fitted on.
            name: of the one; "" joins theirs.
        Raises:
            ConfigError: a latent that is not among the concepts, or a name that is no name.
            MismatchError: activations of another source.
        """
        from classifsae.concepts._edits import Edits, Merge, edited

        called = checked_names([name])[0] if name != "" else name
        return edited(self, Edits(merge=(Merge(latents_in(latents, what="merged"), called),)), train)

    def split(self, latent: int, train: Activations, *, names: Sequence[str] = ()) -> "Concepts":
        """This concept as two, the last: its sentences fall into two clusters of states (2-means).

        A state has the activation on the one whose cluster's mean is nearer, so that nothing that is rebuilt
        changes.

        Args:
            latent: the concept.
            train: activations that the concepts were fitted on.
            names: of the two, that of the larger cluster first.
        Raises:
            ConfigError: a latent that is not among the concepts, or too few sentences activate it.
            MismatchError: activations of another source.
        """
        from classifsae.concepts._edits import Edits, Split, edited

        one = latents_in(latent, what="split")
        if len(one) != 1:
            raise ConfigError(f"split takes one concept; got {len(one)}.")
        return edited(self, Edits(split=(Split(one[0], checked_names(names)),)), train)

    def to_sae_lens(self, folder: str | Path) -> None:
        """Write the whole dictionary as ``cfg.json`` and ``sae_weights.safetensors``, which SAELens loads.

        ``SAE.load_from_disk(folder).encode(states)[:, kept]`` are these concepts' codes; the numbers
        ``kept`` and the names stand in its ``cfg.metadata``.

        Raises:
            ConfigError: the concepts are not of a sparse autoencoder of a kind that SAELens has.
            StorageError: the folder cannot be written.
        """
        plain, layer = self.coder.plain, self.source.layer
        if plain is None:
            raise ConfigError(
                f"concepts of {self.method} are no sparse autoencoder that SAELens has; those of sae, "
                f"classifsae and pretrained are, and save() writes any."
            )
        metadata: dict[str, Json] = {
            "hook_name": f"blocks.{layer - 1}.hook_resid_post" if layer else "blocks.0.hook_resid_pre",
            "model_fingerprint": self.source.model,
            "concepts": self.kept.tolist(),
            "concept_names": list(self.names),
            "written_by": f"classifsae {version('classifsae')}",
        }
        write_sae_lens(plain, Path(folder), metadata=metadata)

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Put the concepts on the Hub, as one commit: safetensors, manifest, and a model card.

        Args:
            repository: owner/name; made if there is none.
            private: of one that is made.
        Returns:
            Address of the commit.
        Raises:
            HubError: the Hub cannot be reached, or does not let this token write there.
        """
        bundle = self if self.card else self.with_card()
        with TemporaryDirectory() as folder:
            bundle._save(Path(folder), where=repository)
            said = f"{len(self)} concepts by {self.method}"
            return publish(Path(folder), repository, private=private, message=said)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read concepts back, bit for bit.

        Raises:
            StorageError: the folder is unfinished or does not hold concepts.
        """
        folder = Path(folder)
        try:
            return cls._read(folder)._sound()
        except (ValidationError, TypeError, AttributeError, RuntimeError, IndexError) as error:
            why = one_line(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
            raise StorageError(
                f"the concepts in {folder} cannot be read ({why}); make them again, or give others."
            ) from error

    def _sound(self) -> Self:
        """The same, once tensors of a stranger were seen to fit each other and to be numbers.

        Raises:
            RuntimeError: they do not, or are not.
        """
        m = len(self.kept)
        if self.class_activation.shape[:1] != (m,) or self.activation.shape != (m,):
            raise RuntimeError(f"there are {m} concepts, and activations of another number")
        state = torch.linspace(-1, 1, self.width, dtype=self.activation.dtype)[None]
        codes = self.encode(state)
        if codes.shape != (1, m) or self.decode(codes).shape != state.shape:
            raise RuntimeError("the shapes of the tensors do not fit each other")
        if not all(torch.isfinite(held).all() for held in (*self.buffers(), *self.parameters(), codes)):
            raise RuntimeError("the tensors hold NaN or infinity")
        return self

    @classmethod
    def _read(cls, folder: Path) -> Self:
        manifest = manifest_of(folder)
        if manifest is None:
            raise StorageError(f"{folder} holds no finished concepts; run the fit stage again.")
        record, tensors = ConceptsRecord.model_validate(manifest.record), tensors_of(folder, TENSORS)
        kind = import_object(record.coder)
        if not (isinstance(kind, type) and issubclass(kind, Coder)):
            raise StorageError(f"{folder} names {record.coder!r}, which is not a Coder.")
        own = {name.removeprefix("coder."): t for name, t in tensors.items() if name.startswith("coder.")}
        rest = {name: t for name, t in tensors.items() if not name.startswith("coder.")}
        return cls(
            coder=kind(**own, **record.settings),
            **rest,
            source=record.source,
            method=record.method,
            curves=_CURVES.validate_json((folder / CURVES).read_bytes()),
            spent=record.spent,
            card=_card_in(folder),
        )


def _card_in(folder: Path) -> Card | None:
    """The card of saved concepts, if they have one.

    Raises:
        StorageError: it is damaged.
    """
    file = folder / CARD
    if not file.is_file():
        return None
    try:
        return Card.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise StorageError(f"{file} is damaged ({one_line(error)}); save the concepts again.") from error


def latents_in(given: object, *, what: str) -> tuple[int, ...]:
    """Numbers of concepts: one, or several in a list.

    Args:
        given: a whole number, or any number of them.
        what: takes them, for errors.
    Raises:
        ConfigError: it is something else.
    """
    given = given.tolist() if isinstance(given, Tensor) else given
    if isinstance(given, Iterable) and not isinstance(given, str):
        return tuple(latent for one in given for latent in latents_in(one, what=what))
    if isinstance(given, bool) or not isinstance(given, SupportsIndex):
        said = repr(given) if isinstance(given, str | float) else brief(given)
        raise ConfigError(f"{what} takes numbers of concepts, such as 17; got {said}.")
    return (index(given),)


class ConceptsRecord(BaseModel, extra="ignore"):
    """What the manifest of saved concepts says of them."""

    method: str
    coder: str
    settings: dict[str, Json]
    source: Source
    spent: Spent | None = None


def codes_of(concepts: Concepts, activations: Activations) -> Float[Tensor, "n m"]:
    """Activations of the kept concepts on every sentence."""
    concepts, codes = concepts.to(activations.hidden.device), None
    for part in batches(*activations.hidden.shape):
        with torch.no_grad():
            codes = put(codes, part, concepts.encode(activations.hidden[part].float()), len(activations))
    assert codes is not None
    return codes


class ConceptMethod(BaseModel, ABC):
    """A recipe for concepts: frozen, keyword-only, unknown options refused.

    A method is one file that defines ``learn`` and, if its concepts are not simply all latents in
    order, ``choose``. Checks, removal of dead concepts and segmentation are the same for all.

    Attributes:
        n_concepts: m, concepts to keep at most; None where the method has no such choice.
        seed: of everything random.
        role: of the method in a table of scores.
        guided: whether it learns from the training texts too, where they are given.
        takes_half: whether ``learn`` reads states of half precision as they are kept, some at a time; all
            others are made float32 for it, all at once.
        remedy: which options keep more of its concepts alive, as the end of a sentence.
        published: options of the published protocol where a default differs from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: ClassVar[Role] = "method"
    guided: ClassVar[bool] = False
    takes_half: ClassVar[bool] = False
    remedy: ClassVar[str] = "lower n_concepts"
    published: ClassVar[Mapping[str, Json]] = {}

    n_concepts: Count | None = 20
    seed: Seed = 42

    def __init__(self, **options: object) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            complaints = one_line(error, known=type(self).model_fields)
            raise ConfigError(f"{self.method_name()}: {complaints}") from error

    @classmethod
    def method_name(cls) -> str:
        """Name of the method: that of its file."""
        return cls.__module__.rpartition(".")[2]

    @property
    def files(self) -> str:
        """Fingerprint of files that its options name; "" for none."""
        return ""

    @abstractmethod
    def learn(self, train: Activations, tail: Tail, run: Run) -> Coder:
        """Fit the dictionary on hidden states, logits and predictions of the training split."""

    def choose(self, coder: Coder, chosen_on: Activations, classes: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
        """Latents that are the concepts, in order; by default all of them."""
        return torch.arange(coder.n_latents, device=chosen_on.hidden.device)

    @final
    def fit(
        self,
        train: Activations,
        tail: Tail,
        *,
        run: Run | None = None,
        guidance: Guidance | None = None,
        published_choice: Activations | None = None,
    ) -> Concepts:
        """Learn the concepts of a classifier.

        Args:
            train: activations of the training split.
            tail: the rest of the classifier from the hook layer on.
            run: progress and checkpoint.
            guidance: what the training texts say, for a method that is guided; the others leave it.
            published_choice: reproduces the published protocol, for comparison only: choose and
                segment the concepts on these activations (there, the test split) by their ground
                truth, rather than on the training split by the classifier's predictions.
        Returns:
            At most ``n_concepts`` concepts, fewer if some are dead.
        Raises:
            ConfigError: more concepts than sentences or latents.
            MismatchError: guidance for more texts than there are activations, or fewer.
            DataError: states that are NaN or infinite, one predicted class only, or every concept dead.
        """
        run = replace(run or Run(), guidance=guidance)
        if guidance is not None and len(guidance) != len(train):
            raise MismatchError(
                f"there is guidance for {len(guidance)} texts and {len(train)} activations; "
                f"guide by the texts that were captured."
            )
        n_sentences, width = train.hidden.shape
        n_classes = len(train.predictions.unique())
        self.check(n_sentences=n_sentences, width=width, n_classes=n_classes)
        self._check_activations(train)
        with nullcontext(run.on_step) if run.on_step else bar(self.method_name()) as on_step:
            given = train.to(train.hidden.device)
            if not (self.takes_half and given.hidden.dtype in (torch.float16, torch.bfloat16)):
                given = given.float()
            coder = self.learn(given, tail, replace(run, on_step=on_step))
        if published_choice is None:
            return self.keep(coder, train, train.predictions, run=run)
        return self.keep_as_published(coder, published_choice, run=run)

    def check(self, *, n_sentences: int | None, width: int | None, n_classes: int | None = None) -> None:
        """Refuse options that cannot work on so many sentences of this width, before anything is computed.

        Args:
            n_sentences: of the training split, where known.
            width: d, where known.
            n_classes: c, where known; those that are predicted, once that is.
        Raises:
            ConfigError: says which option to change.
        """
        if self.n_concepts is not None and n_sentences is not None and self.n_concepts > n_sentences:
            raise ConfigError(
                f"{self.method_name()}: n_concepts is {self.n_concepts}, but there are only {n_sentences} "
                f"training sentences; lower n_concepts or add sentences."
            )

    @final
    def require_one_per_class(self, n_classes: int | None, *, otherwise: str = "") -> None:
        """Refuse fewer concepts than classes, for a method whose concepts could then not tell the classes.

        Args:
            n_classes: c, where known.
            otherwise: what else there is to do, as the end of a sentence.
        """
        if self.n_concepts is not None and n_classes is not None and self.n_concepts < n_classes:
            raise ConfigError(
                f"{self.method_name()}: n_concepts is {self.n_concepts}, but there are {n_classes} classes "
                f"to tell apart; raise n_concepts to {n_classes} at least{otherwise}."
            )

    def _check_activations(self, train: Activations) -> None:
        require_kind(
            train,
            Activations,
            wanted=f"{self.method_name()} is fitted on activations, as capture returns them",
        )
        require_kind(
            train.hidden,
            torch.Tensor,
            wanted="states are a torch tensor; torch.from_numpy(states) is one, in the same memory",
        )
        check_finite(train.hidden, train.ids)
        if len(torch.bincount(train.predictions).nonzero()) < 2:
            raise DataError(
                f"{self.method_name()}: the classifier predicts one class only for all {len(train)} training "
                f"sentences, so there is no decision to explain; check its training and the data."
            )

    @final
    def keep(
        self, coder: Coder, on: Activations, classes: Int[Tensor, " n"], *, run: Run | None = None
    ) -> Concepts:
        """Choose the concepts of a coder, drop the dead ones and assign each to a class.

        Raises:
            DataError: every concept is dead.
        Warns:
            ClassifSAEWarning: some are.
        """
        with torch.no_grad():
            chosen = self.choose(coder, on, classes)
            by_class = mean_by_class(coder, chosen, on, classes, of=torch.abs)
        counts = torch.bincount(classes, minlength=on.n_classes).to(by_class)
        overall = (by_class * counts).sum(dim=1) / counts.sum()
        alive = overall > ALIVE
        if note := self.dead_note(int((~alive).sum()), len(chosen)):
            note = f"{self.method_name()}: {note}"
            if not alive.any():
                raise DataError(note)
            warn(note)
        return Concepts(
            coder=coder,
            kept=chosen[alive],
            class_activation=by_class[alive],
            activation=overall[alive],
            source=on.source,
            method=self.method_name(),
            curves=run.curves if run else {},
            spent=run.spent if run else None,
        )

    @final
    def dead_note(self, n_dead: int, n_concepts: int) -> str:
        """What to say of concepts that are dead, and what to do; "" if none is."""
        how_many = "all" if n_dead == n_concepts else f"{n_dead} of"
        dead = f"{how_many} {n_concepts} concepts are dead (mean |activation| at most {ALIVE:g})"
        return f"{dead}; {self.remedy}." if n_dead else ""

    @final
    def keep_as_published(self, coder: Coder, on: Activations, *, run: Run | None = None) -> Concepts:
        """The published protocol, for comparison only: by ground truth, and shares of *signed* means.

        A concept's share of a class is the mean of its codes there over the sum of these means. Where
        codes are signed (ICA) that sum may be negative, which turns the order of the classes round.

        Args:
            coder: fitted.
            on: the activations to choose on; in the published code, the test split.
            run: whose curves go with the concepts.
        Returns:
            Concepts whose ``class_activation`` holds the signed means, negated where their sum is negative.
        Raises:
            DataError: every concept is dead.
        """
        concepts = self.keep(coder, on, on.labels, run=run)
        with torch.no_grad():
            means = mean_by_class(coder, concepts.kept, on, on.labels, of=torch.positive)
        concepts.class_activation = torch.where(means.sum(dim=1, keepdim=True) < 0, -means, means)
        return concepts


def mean_by_class(
    coder: Coder,
    chosen: Int[Tensor, " m"],
    on: Activations,
    classes: Int[Tensor, " n"],
    *,
    of: Callable[[Tensor], Tensor],
) -> Float[Tensor, "m c"]:
    """Mean over the sentences of each class of a function of the chosen codes, 0 for an absent class."""
    total = torch.zeros(on.n_classes, len(chosen), dtype=torch.float64, device=on.hidden.device)
    for part in batches(len(on), max(on.hidden.shape[1], coder.n_latents), on=on.hidden.device):
        codes = coder.encode_kept(on.hidden[part].float(), chosen)
        total.index_add_(0, classes[part], of(codes).double())
    counts = torch.bincount(classes, minlength=on.n_classes).clamp_min(1)
    return (total / counts[:, None]).T.float().contiguous()


def rescale(rebuilt: Float[Tensor, "b d"], norms: Float[Tensor, "b 1"]) -> Float[Tensor, "b d"]:
    """Give every rebuilt state the norm of the state it stands for.

    rebuilt * norm / (||rebuilt|| + 1e-9)
    """
    return rebuilt * norms / (rebuilt.norm(dim=1, keepdim=True) + _TINY)


METHODS: ClassRegistry[ConceptMethod] = ClassRegistry("method", "classifsae.concepts", ConceptMethod)


def preference(method: str) -> int:
    """Place of a method among those whose concepts are shown first, by its name; the same for all others."""
    return PREFERRED.index(method) if method in PREFERRED else len(PREFERRED)


def role_of(method: str) -> Role:
    """The role of a method by its name; that of a competitor for a name that is not registered."""
    return METHODS.load(method).role if method in METHODS.names() else "method"


Rate = Annotated[float, Field(ge=0, lt=1)]
"""A share in [0, 1)."""
