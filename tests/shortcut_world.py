"""A classifier whose state is the sum of its words' vectors: what decisions hang on is known by hand."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from classifsae.activations import Activations, Source
from classifsae.data import Texts
from classifsae.tensors import OnStep, Tensor

SOURCE = Source(model="model", layer=2, prompt="", dataset="data")
NAMES = ("sports", "money")
OF_CLASS = (
    "goal match coach stadium league referee striker derby",
    "bank stock profit market bond shares tax loan",
)
FILLER = tuple("today people often speak about many things there with hope and more time".split())  # noqa: SIM905


@dataclass(frozen=True)
class States:
    hidden: Tensor
    logits: Tensor


class Toy:
    """Three neurons: words of sports, words of money, and ``sign``; the last one speaks for money."""

    label_names, layer, prompt, fingerprint, n_classes, width = NAMES, 2, "", "model", 2, 3

    def __init__(self, *, weight: float) -> None:
        self.matrix = torch.tensor([[1.0, 0, 0], [0, 1.0, weight]])
        self.n_read = 0

    def read(self, texts: Sequence[str], /, *, on_step: OnStep | None = None) -> States:
        self.n_read += len(texts)
        if on_step:
            on_step(len(texts), len(texts), {})
        hidden = torch.tensor([self._state(text) for text in texts])
        return States(hidden, self.tail(hidden))

    def tail(self, hidden: Tensor, /) -> Tensor:
        return hidden @ self.matrix.T

    @staticmethod
    def _state(text: str) -> list[float]:
        words = re.findall(r"\w+", text.lower())
        counts = [float(sum(word in own.split() for word in words)) for own in OF_CLASS]
        return [*counts, float("sent from my tablet" in " ".join(words))]


def corpus(*, n: int, rate: float, seed: int) -> Texts:
    """Texts with words of a topic of their class, often one of the other; many of money have it."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(n):
        c = i % 2
        topic = OF_CLASS[c].split()[4 * (i // 2 % 2) :][:4]
        words = [*rng.choice(topic, 2, replace=False)[: 1 + (i % 3 > 0)], *rng.choice(FILLER, 8)]
        words += [rng.choice(OF_CLASS[1 - c].split())] if rng.random() < 0.3 else []
        text = " ".join(rng.permutation(words)).capitalize() + "."
        if rng.random() < (rate if c == 1 else 0.02):
            text += " Sent from my tablet."
        texts.append(text)
        labels.append(c)
    return Texts(tuple(texts), tuple(labels), tuple(f"{seed}-{i}" for i in range(n)), NAMES)


def captured(model: Toy, texts: Texts) -> Activations:
    states = model.read(texts.texts)
    return Activations(
        hidden=states.hidden,
        logits=states.logits,
        labels=torch.tensor(texts.labels),
        ids=texts.ids,
        source=SOURCE,
    )


@dataclass(frozen=True)
class World:
    """A classifier, texts, and what it computed of them."""

    model: Toy
    train: Texts
    test: Texts

    @property
    def activations(self) -> Mapping[str, Activations]:
        return {
            "train_activations": captured(self.model, self.train),
            "test_activations": captured(self.model, self.test),
        }


@cache
def world(*, weight: float, rate: float) -> World:
    return World(Toy(weight=weight), corpus(n=600, rate=rate, seed=0), corpus(n=300, rate=rate, seed=1))
