"""One new text: what the classifier says, which concepts fired, and what the answer would be without them."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import torch

from classifsae.activations import check_finite
from classifsae.activity import FIRES
from classifsae.bottleneck import Bottleneck, Evaluation
from classifsae.concepts.base import Concepts
from classifsae.errors import ConfigError, DataError, MismatchError, require_kind
from classifsae.explaining.absence import addable, least_addition
from classifsae.explaining.contributions import contributions_of
from classifsae.explaining.typical import Typical
from classifsae.meaning.descriptions import Description
from classifsae.metrics.shapley import MOST_CONCEPTS
from classifsae.notebook import Plotted, Sheet, Shown, brief, data_frame, framed, shown
from classifsae.storage import Json, write_text
from classifsae.tensors import Float, Tensor

if TYPE_CHECKING:
    import pandas

    from classifsae.classifier.classifier import Classifier

MOST_SETS = 1 << 12
"""Sets of concepts that are tried at most before the search for the smallest that flips turns greedy."""

CARRIES = 0.01
"""A word carries a concept if at least this share of the activation goes with it."""

MOST_CARRIERS = 5

_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


@dataclass(frozen=True)
class Prediction:
    """A label, and the probability of every class.

    Attributes:
        label: the first of the most probable.
        probabilities: by label, in the order of the classes; they sum to 1.
    """

    label: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class WordInText:
    """A word where it stands.

    Attributes:
        text: the word, with what adjoins it up to the next space.
        start, end: its characters in the text, first and one past the last.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class WordEffect(WordInText):
    """A word of the text, and the classifier's answer to the text without it.

    Attributes:
        label: the classifier's label without the word.
        change: probability of the classifier's label without the word, less that with it; in [-1, 1].
    """

    label: str
    change: float


@dataclass(frozen=True)
class Carrier(WordInText):
    """A word that carries a concept.

    Attributes:
        lost: share of the concept's activation that is lost without the word, 1 - z_j(without) / z_j; 1 is
            all of it, more than 1 where its sign turns round.
    """

    lost: float


@dataclass(frozen=True)
class Fired(Shown):
    """A concept that fired, |z_j| > 1e-8.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary.
        name: from its description, "concept <latent>" without one.
        activation: z_j, in the method's own unit.
        share: in percent of all that fired, by the length of what the concept alone adds to the rebuilt
            state: ||decode(z_j) - decode(0)||, which is |z_j| ||direction_j|| where decode is linear.
        without: the prediction from the concepts without this one.
        change: probability of the rebuilt label without the concept, less that with it; in [-1, 1].
        carriers: words that carry it, the strongest first, at most five; none where words were not asked for.
        contributions: what it adds to the logit of each class, by label: positive speaks for the class,
            negative against it. Logits are taken less their mean over the classes. Over all concepts that
            fired they sum to the logits from all less those from none; empty where more than 50 fired.
        contribution_error: standard error of the contributions, the largest over classes; 0 where they are
            exact, as they are where at most 12 concepts fired.
        says_class: whether it says a predicted class itself and tells no sentences of it apart; None where
            nothing is known of other sentences.
    """

    position: int
    latent: int
    name: str
    activation: float
    share: float
    without: Prediction
    change: float
    carriers: tuple[Carrier, ...]
    contributions: Mapping[str, float]
    contribution_error: float
    says_class: bool | None

    def sheet(self) -> Sheet:
        """What is shown: how active it is, what it adds, the answer without it, and its words."""
        without = self.without
        facts = [
            f"activation {shown(self.activation)}, {self.share:.0f} % of what all concepts that fire add",
            f"without it: {without.label} {without.probabilities[without.label]:.2f} ({self.change:+.2f})",
        ]
        if self.contributions:
            added = ", ".join(f"{label} {value:+.2f}" for label, value in self.contributions.items())
            facts.append(f"adds to the logits: {added}")
        if self.carriers:
            facts.append("words: " + ", ".join(f"{c.text} {100 * c.lost:.0f} %" for c in self.carriers))
        return Sheet(f"Concept {self.latent}: {self.name}", tuple(facts))


@dataclass(frozen=True)
class Flip:
    """A set of concepts whose removal changes the label that the concepts give.

    Attributes:
        removed: their positions; empty if no such set was found.
        without: the prediction without them; None if no such set was found.
        proven: nothing smaller changes the label, or, if none was found, nothing at all does.
        searched: every set of at most this many concepts was tried.
    """

    removed: tuple[int, ...]
    without: Prediction | None
    proven: bool
    searched: int


@dataclass(frozen=True)
class Appearing:
    """A concept that would change the label if it appeared.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary.
        name: as it is called.
        activation: what it is set to, the median over its activating set.
        sentence: one that has it at this activation.
        with_it: the prediction from the concepts with it.
        says_class: whether it says a predicted class itself.
    """

    position: int
    latent: int
    name: str
    activation: float
    sentence: str
    with_it: Prediction
    says_class: bool


@dataclass(frozen=True)
class Appearance:
    """What would have to appear to change a label that no removal changes.

    Attributes:
        concept: the one that changes it and moves the rebuilt state least, class indicators last; None where
            no concept alone changes it.
        n_tried: concepts that are less active in the text than is typical of them.
    """

    concept: Appearing | None
    n_tried: int


class Shortcut(Protocol):
    """A pattern on which decisions are known to hang, as ``audit`` finds them."""

    @property
    def pattern(self) -> str:
        """As it is written."""

    @property
    def class_name(self) -> str:
        """The class that hangs on it, or "any class"."""

    def without(self, text: str) -> str | None:
        """The text without it; None where it has none."""


@dataclass(frozen=True)
class ShortcutInText:
    """A shortcut that the text has.

    Attributes:
        pattern: as it is written.
        class_name: the class whose decisions hang on it, or "any class".
        without: the classifier's own prediction for the text without it.
    """

    pattern: str
    class_name: str
    without: Prediction


@dataclass(frozen=True)
class Explanation(Plotted):
    """What decides one text.

    Attributes:
        text: the original text.
        read: the characters of it that the classifier reads, first and one past the last.
        classifier: the classifier's own prediction.
        rebuilt: the prediction from the concepts alone; removals are compared with it.
        without_any: the prediction from no concept at all.
        concepts: those that fired, the largest share first.
        flip: the smallest set of them whose removal changes the rebuilt label.
        appearance: what would have to appear to change it, where no removal does; None where one does, or
            where nothing is known of other sentences.
        words: every word that is read, in order; None where words were not asked for or there is only one.
        shortcuts: those of the known ones that the text has.
    """

    text: str
    read: tuple[int, int]
    classifier: Prediction
    rebuilt: Prediction
    without_any: Prediction
    concepts: tuple[Fired, ...]
    flip: Flip
    appearance: Appearance | None
    words: tuple[WordEffect, ...] | None
    shortcuts: tuple[ShortcutInText, ...] = ()

    def __repr__(self) -> str:
        from classifsae.explaining.terminal import plain

        return plain(self)

    def sheet(self) -> Sheet:
        """What is shown in a notebook: the answer, and every concept that fired."""
        from classifsae.explaining.terminal import sheet

        return sheet(self)

    def _repr_html_(self) -> str:
        from classifsae.explaining.html import fragment

        return framed(fragment(self) + self.image())

    def save(self, file: str | Path) -> Path:
        """Write it as a page of its own, such as ``why.html``, that opens offline; returns its path.

        Raises:
            StorageError: the file cannot be written.
            ConfigError: its name says that it is of another kind.
        """
        from classifsae.explaining.html import document

        require_kind(file, (str, Path), wanted="an explanation is saved to a file, such as why.html")
        file = Path(file)
        if file.suffix.lower() not in ("", ".html", ".htm"):
            raise ConfigError(f"an explanation is saved as HTML, not {file.suffix}; give {file.stem}.html.")
        write_text(file, document(self))
        return file

    def to_pandas(self) -> "pandas.DataFrame":
        """A row per concept that fired, by its number: activation, share, effect, what it adds to classes.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = [
            {
                "concept": fired.latent,
                "name": fired.name,
                "activation": fired.activation,
                "share": fired.share,
                "without": fired.without.label,
                "change": fired.change,
                **{f"adds to {label}": value for label, value in fired.contributions.items()},
            }
            for fired in self.concepts
        ]
        first = ("concept", "name", "activation", "share", "without", "change")
        columns = (*first, *(f"adds to {label}" for label in self.classifier.probabilities))
        return data_frame(rows, index="concept", columns=columns)

    @property
    def by_absence(self) -> bool:
        """Whether no removal changes the label, which then is the answer from no concept at all."""
        return self.flip.without is None

    @property
    def is_cut(self) -> bool:
        """Whether the text is longer than the classifier reads."""
        return self.read != (0, len(self.text))

    def as_json(self) -> dict[str, Json]:
        """All of it as JSON values."""
        return asdict(self) | {"is_cut": self.is_cut, "by_absence": self.by_absence}


@overload
def explain(
    model: "Classifier",
    concepts: Concepts,
    texts: str,
    *,
    descriptions: Sequence[Description] = (),
    typical: Sequence[Typical] = (),
    shortcuts: Sequence[Shortcut] = (),
    words: bool = True,
) -> Explanation: ...
@overload
def explain(
    model: "Classifier",
    concepts: Concepts,
    texts: list[str] | tuple[str, ...],
    *,
    descriptions: Sequence[Description] = (),
    typical: Sequence[Typical] = (),
    shortcuts: Sequence[Shortcut] = (),
    words: bool = True,
) -> list[Explanation]: ...
def explain(
    model: "Classifier",
    concepts: Concepts,
    texts: str | list[str] | tuple[str, ...],
    *,
    descriptions: Sequence[Description] = (),
    typical: Sequence[Typical] = (),
    shortcuts: Sequence[Shortcut] = (),
    words: bool = True,
) -> Explanation | list[Explanation]:
    """Say what decides a text: label, concepts that fired, the answer without each, and their words.

    Args:
        model: the classifier.
        concepts: fitted on its activations.
        texts: one text, or several.
        descriptions: of the concepts, for their names.
        typical: of each concept, by ``typical_of``: says what would have to appear, and which concepts are
            class indicators.
        shortcuts: patterns on which decisions hang, such as those of ``audit(...)``: those that the text has
            are named, with the answer without each.
        words: leave out each word in turn; one more text for the classifier per word.
    Returns:
        One explanation for one text, a list for several.
    Raises:
        MismatchError: the concepts are of another model, layer or prompt, or ``typical`` of others.
        DataError: a text is empty.
        ConfigError: these are no concepts, or no texts.
    """
    wanted = "explain takes a classifier, its concepts and a text, in this order"
    require_kind(concepts, Concepts, wanted=wanted)
    given = [texts] if isinstance(texts, str) else texts
    if not isinstance(given, Iterable) or not all(isinstance(text, str) for text in given):
        raise ConfigError(f"explain takes a text, or a list of texts; got {brief(texts)}.")
    if typical and len(typical) != len(concepts):
        raise MismatchError(
            f"typical speaks of {len(typical)} concepts, and there are {len(concepts)}; "
            f"give what typical_of returns for these concepts."
        )
    source = concepts.source
    for what, mine, theirs in (
        ("model", source.model, model.fingerprint),
        ("layer", source.layer, model.layer),
        ("prompt", source.prompt, model.prompt),
    ):
        if mine != theirs:
            raise MismatchError(
                f"the concepts were learned from another {what} than this classifier's; "
                f"give the classifier whose activations they were fitted on."
            )
    explainer = Explainer(
        model,
        concepts,
        names_of(concepts, descriptions),
        words=words,
        typical=tuple(typical),
        shortcuts=tuple(shortcuts),
    )
    found = [explainer.explain(text) for text in given]
    return found[0] if isinstance(texts, str) else found


def names_of(concepts: Concepts, descriptions: Sequence[Description]) -> tuple[str, ...]:
    """A name per concept, in their order: from its description, else its own."""
    known = {d.latent: d.name for d in descriptions}
    return tuple(known.get(*pair) for pair in zip(concepts.kept.tolist(), concepts.names, strict=True))


@dataclass(frozen=True)
class Explainer:
    """A classifier, concepts that are known to be its own, and what to call them.

    Attributes:
        model: the classifier.
        concepts: fitted on its activations.
        names: one per concept.
        words: leave out each word in turn.
        typical: of each concept, where other sentences are known.
        shortcuts: patterns on which decisions are known to hang.
    """

    model: "Classifier"
    concepts: Concepts
    names: tuple[str, ...]
    words: bool = True
    typical: tuple[Typical, ...] = ()
    shortcuts: tuple[Shortcut, ...] = ()

    def explain(self, text: str) -> Explanation:
        """Explain one text.

        Raises:
            DataError: it is empty or no valid Unicode, or the model gives NaN or infinity for it.
        """
        check_text(text)
        span = self.model.span(text)
        words = word_spans(text, span) if self.words else []
        words = words if len(words) > 1 else []
        has = [(one, left) for one in self.shortcuts if (left := one.without(text)) is not None]
        less = self._less(text, words)
        states = self.model.read([text, *less, *(left for _, left in has)])
        check_finite(states.hidden, (text[:40],) * len(states.hidden))
        hidden = states.hidden[: 1 + len(words)].to(self.concepts.activation)
        codes = self.concepts.encode(hidden)
        sentence = _Sentence(self._evaluation(hidden[:1], codes[:1]), self.model.label_names)
        answers = states.logits.to(hidden).double().softmax(dim=1)
        flip = smallest_flip(sentence)
        return Explanation(
            text=text,
            read=span,
            classifier=sentence.prediction(answers[0]),
            rebuilt=sentence.prediction(sentence.rebuilt),
            without_any=sentence.prediction(sentence.without_any),
            concepts=self._fired(sentence, carriers_of(text, words, codes)),
            flip=flip,
            appearance=self._appearance(sentence) if self.typical and flip.without is None else None,
            words=self._words(text, words, answers) if words else None,
            shortcuts=tuple(
                ShortcutInText(one.pattern, one.class_name, sentence.prediction(after))
                for (one, _), after in zip(has, answers[1 + len(words) :], strict=True)
            ),
        )

    def _less(self, text: str, words: list[tuple[int, int]]) -> list[str]:
        """The text without each word; what is not read either way is left out of a long one."""
        if not words:
            return []
        first, last = self.model.reach(text, (words[0][0], words[-1][1]))
        return [without_word(text[first:last], start - first, end - first) for start, end in words]

    def _evaluation(self, hidden: Float[Tensor, "1 d"], codes: Float[Tensor, "1 m"]) -> Evaluation:
        bottleneck, norms = Bottleneck(self.concepts, self.model.tail), hidden.norm(dim=1, keepdim=True)
        with torch.no_grad():
            rebuilt = bottleneck.logits(codes, norms)
        # What removals are compared with is the label of the concepts, not that of the classifier.
        return Evaluation(bottleneck, codes, norms, rebuilt, rebuilt, rebuilt.argmax(dim=1), hidden)

    def _fired(self, sentence: "_Sentence", carriers: list[tuple[Carrier, ...]]) -> tuple[Fired, ...]:
        fired = sentence.fired
        if not fired:
            return ()
        after, label = sentence.without([(j,) for j in fired]), sentence.label
        codes = sentence.evaluation.codes[0]
        shares = shares_of(self.concepts, codes, fired)
        values, errors = self._contributions(sentence)
        found = [
            Fired(
                position=j,
                latent=int(self.concepts.kept[j]),
                name=self.names[j],
                activation=codes[j].item(),
                share=share,
                without=sentence.prediction(row),
                change=(row[label] - sentence.rebuilt[label]).item(),
                carriers=carriers[j],
                contributions=by_class,
                contribution_error=error,
                says_class=self.typical[j].says_class if self.typical else None,
            )
            for j, row, share, by_class, error in zip(fired, after, shares, values, errors, strict=True)
        ]
        return tuple(sorted(found, key=lambda concept: -concept.share))

    def _contributions(self, sentence: "_Sentence") -> tuple[list[dict[str, float]], list[float]]:
        """By label, what each concept that fired adds, and the largest standard error of these numbers."""
        fired = sentence.fired
        if len(fired) > MOST_CONCEPTS:
            return [{} for _ in fired], [0.0] * len(fired)
        found = contributions_of(sentence.evaluation)
        values = [
            dict(zip(sentence.label_names, row, strict=True)) for row in found.values[0, fired].tolist()
        ]
        return values, found.errors[0, fired].amax(dim=1).tolist()

    def _appearance(self, sentence: "_Sentence") -> Appearance:
        """The concept that would change the label if it appeared, where there is one."""
        n_tried = len(addable(sentence.evaluation, self.typical))
        added = least_addition(sentence.evaluation, self.typical)
        if added is None:
            return Appearance(None, n_tried)
        j, typical = added.position, self.typical[added.position]
        assert typical.activation is not None
        concept = Appearing(
            position=j,
            latent=int(self.concepts.kept[j]),
            name=self.names[j],
            activation=typical.activation,
            sentence=typical.sentence,
            with_it=sentence.prediction(added.probabilities),
            says_class=typical.says_class,
        )
        return Appearance(concept, n_tried)

    def _words(
        self, text: str, words: list[tuple[int, int]], answers: Float[Tensor, "b c"]
    ) -> tuple[WordEffect, ...]:
        answers = answers[: 1 + len(words)]
        labels, label = answers.argmax(dim=1).tolist(), int(answers[0].argmax())
        changes = (answers[1:, label] - answers[0, label]).tolist()
        names = self.model.label_names
        return tuple(
            WordEffect(text[start:end], start, end, names[after], change)
            for (start, end), after, change in zip(words, labels[1:], changes, strict=True)
        )


@dataclass(frozen=True)
class _Sentence:
    """One sentence rebuilt from its concepts, and what is left when some are removed."""

    evaluation: Evaluation
    label_names: tuple[str, ...]

    @property
    def fired(self) -> list[int]:
        """Positions of the concepts that fired."""
        return (self.evaluation.codes[0].abs() > FIRES).nonzero().flatten().tolist()

    @property
    def rebuilt(self) -> Float[Tensor, " c"]:
        """Probabilities from all concepts."""
        return self.evaluation.rebuilt[0].double().softmax(dim=0)

    @property
    def without_any(self) -> Float[Tensor, " c"]:
        """Probabilities from no concept at all."""
        return self.without([tuple(range(self.evaluation.codes.shape[1]))])[0]

    @property
    def label(self) -> int:
        """The label that all concepts give."""
        return int(self.evaluation.rebuilt[0].argmax())

    def without(self, sets: Sequence[tuple[int, ...]]) -> Float[Tensor, "q c"]:
        """Probabilities without each of these sets of concepts."""
        codes = self.evaluation.codes
        kept = torch.ones(len(sets), codes.shape[1], dtype=torch.bool, device=codes.device)
        rows = [row for row, removed in enumerate(sets) for _ in removed]
        kept[rows, [j for removed in sets for j in removed]] = False
        same = torch.zeros(len(sets), dtype=torch.int64, device=codes.device)
        logits = torch.cat([after for _, after in self.evaluation.with_only(same, kept)])
        return logits.double().softmax(dim=1)

    def prediction(self, probabilities: Float[Tensor, " c"]) -> Prediction:
        """Probabilities with the names of the classes."""
        by_label = dict(zip(self.label_names, probabilities.tolist(), strict=True))
        return Prediction(self.label_names[int(probabilities.argmax())], by_label)


def check_text(text: str) -> None:
    """Refuse a text that cannot be explained.

    Raises:
        DataError: it is empty, or holds half a character.
    """
    if not text.strip():
        raise DataError("cannot explain an empty text; give one with at least one word.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text {text[:40]!a} is not valid Unicode ({error.reason}); give it as UTF-8."
        ) from error


def word_spans(text: str, span: tuple[int, int]) -> list[tuple[int, int]]:
    """The words that begin or end within a span: runs without a space, single characters in Han and Kana."""
    found = (match.span() for match in _WORD.finditer(text))
    return [(start, end) for start, end in found if start < span[1] and end > span[0]]


def without_word(text: str, start: int, end: int) -> str:
    """The text without one word and without the space that would be doubled."""
    before, after = text[:start], text[end:]
    if not after:
        return before.rstrip()
    if not before or before[-1].isspace():
        return before + after[after[0].isspace() :]
    return before + after


def carriers_of(
    text: str, words: Sequence[tuple[int, int]], codes: Float[Tensor, "b m"]
) -> list[tuple[Carrier, ...]]:
    """For each concept the words that carry it, from its activation with all words and without each."""
    whole = torch.where(codes[:1] == 0, torch.inf, codes[:1])  # of what is zero nothing can be lost
    lost = (1 - codes[1:] / whole).T * (codes[0].abs() > FIRES)[:, None]
    return [tuple(_strongest(text, words, losses)) for losses in lost.tolist()]


def _strongest(text: str, words: Sequence[tuple[int, int]], losses: list[float]) -> Iterator[Carrier]:
    ranked = sorted(zip(losses, words, strict=True), key=lambda pair: -pair[0])
    for loss, (start, end) in ranked[:MOST_CARRIERS]:
        if loss >= CARRIES:
            yield Carrier(text[start:end], start, end, loss)


def shares_of(concepts: Concepts, codes: Float[Tensor, " m"], fired: Sequence[int]) -> list[float]:
    """Percent of each concept that fired, by the length of what it alone adds to the rebuilt state."""
    alone = torch.diag(codes)[list(fired)]
    with torch.no_grad():
        lengths = (concepts.decode(alone) - concepts.decode(torch.zeros_like(codes)[None])).norm(dim=1)
    total = lengths.sum()
    return (100 * lengths / total).tolist() if total > 0 else [0.0] * len(fired)


def smallest_flip(sentence: _Sentence) -> Flip:
    """The smallest set of concepts whose removal changes the label, of equal ones that which changes it most.

    All sets are tried by size, as long as they are at most 4,096 together; from there on the concept
    that costs the label most is added one after the other, and the answer is not proven smallest.
    """
    fired, left, searched = sentence.fired, MOST_SETS, 0
    best: tuple[int, ...] = ()
    for size in range(1, len(fired) + 1):
        left -= math.comb(len(fired), size)
        if left < 0:  # too many sets of this size to try them all
            break
        best, after = _most_effective(sentence, list(combinations(fired, size)))
        if after.argmax() != sentence.label:
            return Flip(best, sentence.prediction(after), proven=True, searched=size)
        searched = size
    # One concept more at a time, from the best set of the largest size that was searched in full.
    for _ in range(searched, len(fired)):
        best, after = _most_effective(sentence, [(*best, j) for j in fired if j not in best])
        if after.argmax() != sentence.label:
            return Flip(tuple(sorted(best)), sentence.prediction(after), proven=False, searched=searched)
    return Flip((), None, proven=searched == len(fired), searched=searched)


def _most_effective(
    sentence: _Sentence, sets: list[tuple[int, ...]]
) -> tuple[tuple[int, ...], Float[Tensor, " c"]]:
    """Of these sets the one that leaves the label least probable, those that change it before all others."""
    after = sentence.without(sets)
    # One more for a set that leaves the label as it is puts all of those behind all that change it.
    kept = after[:, sentence.label] + (after.argmax(dim=1) == sentence.label)
    place = int(kept.argmin())
    return sets[place], after[place]
