"""A corpus with known truth: short news-like sentences, each about one or two of 20 planted sub-topics.

A sentence's class is that of its main clause. Other clauses and phrases speak of other classes, so that
the words alone do not give the answer; who stands in which clause does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Annotated, Literal, TypeVar

import numpy as np
import yaml
from pydantic import BaseModel, Field

from classifsae.bounds import Count, Seed
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError

Rate = Annotated[float, Field(ge=0, le=1)]
Shortcut = Literal["signature", "pronoun", "capitals", "digit"]
T = TypeVar("T")

VOCABULARY = "planted_vocabulary.yaml"
MAX_SHARED = 8
_SLOT = re.compile(r"<([a-z]+)>")
_MAX_TRIES = 50


class PlantedOptions(BaseModel, frozen=True, extra="forbid"):
    """The knobs of the planted corpus.

    Attributes:
        n_train: training sentences.
        n_test: test sentences, drawn independently; no text is in both parts.
        n_shared: sub-topics that belong to two classes; there the end of the main clause tells which.
        contrast_rate: share of sentences that also mention a sub-topic of another class.
        distractor_rate: share of the other sentences with a figure of speech from another class.
        angle_rate: share of the other sentences that end in a phrase typical of their class. Where only
            such an ending can tell the class, because the sub-topic is shared, it is always there.
        second_rate: share of main clauses about two sub-topics of their class.
        style_rate: share of sentences in reported or tabloid style, whatever the class.
        label_noise: share of sentences whose label is another class than the true one.
        shortcut: what stands in sentences of the last class that has nothing to do with it: a ``signature``
            at the end, a ``pronoun`` (", she said", where other sentences have ", he said"), ``capitals``
            throughout, or a ``digit`` in front; None: nothing.
        shortcut_rate: share of the sentences of the last class that have it.
        shortcut_leak: share of the other sentences that have it.
        seed: decides everything.
    """

    n_train: Count = 4000
    n_test: Count = 1000
    n_shared: Annotated[int, Field(ge=0, le=MAX_SHARED)] = 4
    contrast_rate: Rate = 0.4
    distractor_rate: Rate = 0.3
    angle_rate: Rate = 0.3
    second_rate: Rate = 0.2
    style_rate: Rate = 0.3
    label_noise: Rate = 0.02
    shortcut: Shortcut | None = None
    shortcut_rate: Rate = 0.6
    shortcut_leak: Rate = 0.02
    seed: Seed = 0


@dataclass(frozen=True)
class PlantedSentence:
    """One sentence and all that is known about it.

    Attributes:
        text: the sentence.
        label: class index as a classifier is told, noise included.
        true_label: class index of the main clause.
        concepts: sub-topics of the main clause.
        rival: sub-topic of another class that is mentioned beside it, if any.
        styled: whether it is in reported or tabloid style.
        plain: the sentence without the shortcut of ``PlantedOptions``; the same where it has none.
    """

    text: str
    label: int
    true_label: int
    concepts: tuple[str, ...]
    rival: str | None
    styled: bool
    plain: str = ""


@dataclass(frozen=True)
class PlantedCorpus:
    """Both parts of a planted corpus, with what is known about every sentence.

    Attributes:
        label_names: the four classes.
        concepts: the twenty sub-topics.
        train_sentences: sentences of the training part.
        test_sentences: sentences of the test part.
    """

    label_names: tuple[str, ...]
    concepts: tuple[str, ...]
    train_sentences: tuple[PlantedSentence, ...]
    test_sentences: tuple[PlantedSentence, ...]

    @property
    def train(self) -> Texts:
        """The training part as texts."""
        return self._texts("train", self.train_sentences)

    @property
    def test(self) -> Texts:
        """The test part as texts."""
        return self._texts("test", self.test_sentences)

    def _texts(self, part: str, sentences: Sequence[PlantedSentence]) -> Texts:
        return Texts(
            texts=tuple(sentence.text for sentence in sentences),
            labels=tuple(sentence.label for sentence in sentences),
            ids=tuple(f"{part}-{number}" for number in range(len(sentences))),
            label_names=self.label_names,
            concepts=tuple(sentence.concepts for sentence in sentences),
        )


def generate(options: PlantedOptions | None = None) -> PlantedCorpus:
    """Write a corpus; the same options give the same corpus, everywhere.

    Raises:
        ConfigError: so many sentences cannot all differ with these knobs.
    """
    options = options or PlantedOptions()
    vocabulary = _vocabulary()
    seeds = np.random.SeedSequence(options.seed).spawn(2)
    taken: set[str] = set()
    train, test = (
        _with_shortcuts(_sentences(n, options, np.random.default_rng(seed), taken), options, seed)
        for n, seed in zip((options.n_train, options.n_test), seeds, strict=True)
    )
    return PlantedCorpus(tuple(vocabulary.classes), tuple(vocabulary.topics), train, test)


def _sentences(
    n: int, options: PlantedOptions, rng: np.random.Generator, taken: set[str]
) -> tuple[PlantedSentence, ...]:
    """n sentences with texts that are not taken yet, classes in equal shares and random order."""
    labels = rng.permutation(np.arange(n) % len(_vocabulary().classes)).tolist()
    # A second text for a taken one comes from a stream of its own: the sentences after it stay what they are.
    first, again = (_Writer(_vocabulary(), options, stream) for stream in (rng, rng.spawn(1)[0]))
    return tuple(_new_sentence(first, again, label, taken) for label in labels)


def _new_sentence(first: "_Writer", again: "_Writer", label: int, taken: set[str]) -> PlantedSentence:
    for attempt in range(_MAX_TRIES):
        sentence = (again if attempt else first).sentence(label)
        if sentence.text not in taken:
            taken.add(sentence.text)
            return sentence
    raise ConfigError(
        f"planted: after {len(taken)} sentences, {_MAX_TRIES} tries gave no new one with these options; "
        f"lower n_train or n_test, or raise contrast_rate, distractor_rate or style_rate."
    )


def _with_shortcuts(
    sentences: Sequence[PlantedSentence], options: PlantedOptions, seed: np.random.SeedSequence
) -> tuple[PlantedSentence, ...]:
    """The sentences, those with the shortcut drawn from a stream of its own: all else stays as it is."""
    if options.shortcut is None:
        return tuple(replace(sentence, plain=sentence.text) for sentence in sentences)
    draws = np.random.default_rng(seed.spawn(1)[0]).random((len(sentences), 2))
    last = len(_vocabulary().classes) - 1
    found = []
    for sentence, (first, second) in zip(sentences, draws.tolist(), strict=True):
        rate = options.shortcut_rate if sentence.true_label == last else options.shortcut_leak
        text, plain = sentence.text, sentence.text
        if first < rate:
            text = with_shortcut(text, options.shortcut, draw=second)
        elif options.shortcut == "pronoun" and second < options.shortcut_rate:
            text = plain = f"{text[:-1]}, he said."
        found.append(replace(sentence, text=text, plain=plain))
    return tuple(found)


def with_shortcut(text: str, shortcut: Shortcut, *, draw: float = 0.5) -> str:
    """A sentence with the shortcut put into it; ``draw`` in [0, 1) chooses the digit."""
    if shortcut == "signature":
        return f"{text} Sent from my tablet."
    if shortcut == "pronoun":
        return f"{text[:-1]}, she said."
    return text.upper() if shortcut == "capitals" else f"{int(1 + 9 * draw)}. {text}"


# --------------------------------------------------------------------------- the words


class _Topic(BaseModel, frozen=True, extra="forbid"):
    home: str = Field(alias="class")
    actors: tuple[str, ...]
    actions: tuple[str, ...]
    themes: tuple[str, ...]


class _Class(BaseModel, frozen=True, extra="forbid"):
    people: tuple[str, ...]
    angles: tuple[str, ...]
    asides: tuple[str, ...]


class _Contrasts(BaseModel, frozen=True, extra="forbid"):
    clauses: tuple[str, ...]
    nouns: tuple[str, ...]
    focus: tuple[str, ...]


class _Vocabulary(BaseModel, frozen=True, extra="forbid"):
    """The phrases of ``planted_vocabulary.yaml``, which says what each list is."""

    slots: dict[str, tuple[str, ...]]
    classes: dict[str, _Class]
    topics: dict[str, _Topic]
    shared: dict[str, str]
    contrasts: _Contrasts
    styles: tuple[str, ...]
    whens: tuple[str, ...]


@cache
def _vocabulary() -> _Vocabulary:
    text = (resources.files("classifsae.data") / VOCABULARY).read_text("utf-8")
    return _Vocabulary.model_validate(yaml.safe_load(text))


# --------------------------------------------------------------------------- the sentences


class _Writer:
    """Writes sentences, one random decision after the other."""

    def __init__(self, words: _Vocabulary, options: PlantedOptions, rng: np.random.Generator) -> None:
        self._words = words
        self._options = options
        self._random = rng.random
        self._shared = dict(list(words.shared.items())[: options.n_shared])
        homes = [(topic, entry.home) for topic, entry in words.topics.items()] + list(self._shared.items())
        self._own = {name: [topic for topic, home in homes if home == name] for name in words.classes}
        self._rivals = {name: [t for t in words.topics if t not in own] for name, own in self._own.items()}
        self._used: set[str] = set()

    def sentence(self, label: int) -> PlantedSentence:
        """One sentence whose main clause is of a class."""
        self._used = set()
        names = list(self._words.classes)
        topic = self._pick(self._own[names[label]])
        rival = self._pick(self._rivals[names[label]]) if self._chance(self._options.contrast_rate) else None
        text, concepts = self._body(names[label], topic, rival)
        styled = self._chance(self._options.style_rate)
        if styled:
            text = self._pick(self._words.styles).replace("<sentence>", text)
        text = self._filled(text)
        return PlantedSentence(
            text=f"{text[0].upper()}{text[1:]}.",
            label=self._noisy(label, len(names)),
            true_label=label,
            concepts=concepts,
            rival=rival,
            styled=styled,
        )

    def _body(self, name: str, topic: str, rival: str | None) -> tuple[str, tuple[str, ...]]:
        """The sentence before style, and the sub-topics of its main clause."""
        if rival is None:
            return self._main(name, topic, short=False)
        contrasts = self._words.contrasts
        kinds = [contrasts.clauses, contrasts.nouns]
        if topic not in self._shared:  # a noun alone cannot tell which class a shared sub-topic is in
            kinds.append(contrasts.focus)
        template = self._pick(self._pick(kinds))
        concepts: tuple[str, ...] = (topic,)
        if "<main>" in template:
            main, concepts = self._main(name, topic, short=True)
            template = template.replace("<main>", main)
        template = template.replace("<theme>", self._theme(topic))
        entry = self._words.topics[rival]
        template = template.replace("<rival>", self._theme(rival))
        return template.replace("<other>", self._clause(entry.home, rival)), concepts

    def _main(self, name: str, topic: str, *, short: bool) -> tuple[str, tuple[str, ...]]:
        """A main clause of a class, and its one or two sub-topics; ``short`` leaves out the rest."""
        concepts: tuple[str, ...] = (topic,)
        if self._chance(self._options.second_rate):
            concepts = (topic, self._pick([t for t in self._own[name] if t != topic]))
        aside = ""
        if not short and self._chance(self._options.distractor_rate):
            other = self._pick([c for c in self._words.classes if c != name])
            aside = self._pick(self._words.classes[other].asides)
        clause = self._clause(name, *concepts, aside=aside)
        timed = "<weekday>" in clause or "<month>" in clause
        return clause + self._ending(name, concepts, short=short, timed=timed), concepts

    def _ending(self, name: str, concepts: Sequence[str], *, short: bool, timed: bool) -> str:
        """A phrase typical of the class, where nothing else tells it or by chance; else a time or nothing."""
        ambiguous = all(topic in self._shared for topic in concepts)
        if ambiguous or (not short and self._chance(self._options.angle_rate)):
            angle = self._pick(self._words.classes[name].angles)
            return angle if angle.startswith(",") else f" {angle}"
        return f" {self._pick(self._words.whens)}" if not (short or timed) and self._chance(0.4) else ""

    def _clause(self, name: str, *topics: str, aside: str = "") -> str:
        """Subject and predicate: an event of the sub-topic, or people busy with one or two sub-topics."""
        first = self._words.topics[topics[0]]
        if len(topics) == 1 and self._chance(0.6):
            subject, predicate = self._pick(first.actors), self._pick(first.actions)
        else:
            neutral = topics[0] in self._shared or self._chance(0.5)
            subject = "<somebody>" if neutral else self._pick(self._words.classes[name].people)
            themes = " and ".join(self._theme(topic) for topic in topics)
            predicate = f"<considered> {themes}"
        return f"{subject}, {aside}, {predicate}" if aside else f"{subject} {predicate}"

    def _theme(self, topic: str) -> str:
        return self._pick(self._words.topics[topic].themes)

    def _noisy(self, label: int, n_classes: int) -> int:
        """The label, or with the chance of ``label_noise`` one of the others."""
        if not self._chance(self._options.label_noise):
            return label
        return (label + 1 + int(self._random() * (n_classes - 1))) % n_classes

    def _filled(self, template: str) -> str:
        """The template with a word in each slot; no word twice in a sentence."""
        while "<" in template:
            template = _SLOT.sub(lambda match: self._slot(match[1]), template)
        return template

    def _slot(self, name: str) -> str:
        word = self._pick([word for word in self._words.slots[name] if word not in self._used])
        self._used.add(word)
        return word

    def _pick(self, choices: Sequence[T]) -> T:
        return choices[int(self._random() * len(choices))]

    def _chance(self, rate: float) -> bool:
        return self._random() < rate
