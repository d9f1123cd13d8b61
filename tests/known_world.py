"""Evaluations made by hand: sentences whose codes, logits and meaning are known."""

import torch
from torch import nn

from classifsae.activations import Activations, Source
from classifsae.bottleneck import Evaluation, evaluate
from classifsae.concepts import Coder, Concepts
from classifsae.meaning.sentences import Sentences
from classifsae.tensors import Tensor

SOURCE = Source(model="m", layer=1, prompt="", dataset="d")
N, N_CLASSES, N_TOPICS = 600, 3, 2


def direction(hidden: Tensor, /) -> Tensor:
    """A tail that sees the direction of a state alone."""
    return 8 * nn.functional.normalize(hidden[:, 1:], dim=1)


class Given(Coder):
    """Codes by a table, whatever their states are: the first column of a state is its row."""

    def __init__(self, codes: Tensor, decoder: Tensor) -> None:
        super().__init__()
        self.codes, self.directions = codes, decoder

    @property
    def n_latents(self) -> int:
        return self.codes.shape[1]

    def encode(self, hidden: Tensor) -> Tensor:
        return self.codes[hidden[:, 0].long()]

    def decode(self, codes: Tensor) -> Tensor:
        return codes @ self.directions


class World:
    """Three classes with two topics each; topic and class both move the logits, and say which words come."""

    def __init__(self, seed: int = 0) -> None:
        draws = torch.Generator().manual_seed(seed)
        self.classes = torch.arange(N) % N_CLASSES
        self.topics = (torch.rand(N, generator=draws) < 0.5).long()
        self.cells = self.classes * N_TOPICS + self.topics
        shift = torch.tensor([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
        self.logits = (
            5 * torch.eye(N_CLASSES)[self.classes] + (2 * self.topics[:, None] - 1) * shift[self.classes]
        )
        self.words = [
            f"class{c} topic{c}{t} word{int(torch.randint(9, (1,), generator=draws))}"
            for c, t in zip(self.classes.tolist(), self.topics.tolist(), strict=True)
        ]
        meaning = torch.eye(N_CLASSES * N_TOPICS)[self.cells] + 0.3 * torch.randn(
            N, N_CLASSES * N_TOPICS, generator=draws
        )
        self.sentences = Sentences(
            tuple(self.words),
            nn.functional.normalize(meaning, dim=1),
            "e",
            tuple((f"{c}{t}",) for c, t in zip(self.classes.tolist(), self.topics.tolist(), strict=True)),
        )

    def evaluate(self, codes: Tensor, decoder: Tensor | None = None) -> Evaluation:
        """What concepts with these codes rebuild: their least-squares share of the logits, unless given."""
        if decoder is None:
            decoder = torch.linalg.pinv(codes) @ self.logits  # of least norm, where columns depend on others
        rows = torch.arange(N, dtype=torch.float32)[:, None]
        hidden = torch.cat([rows, self.logits], dim=1)
        concepts = Concepts(
            coder=Given(codes, torch.cat([decoder.new_zeros(codes.shape[1], 1), decoder], dim=1)),
            kept=torch.arange(codes.shape[1]),
            class_activation=torch.ones(codes.shape[1], N_CLASSES),
            activation=torch.ones(codes.shape[1]),
            source=SOURCE,
            method="given",
        )
        ids = tuple(map(str, range(N)))
        made = Activations(hidden, self.logits, self.classes, ids, SOURCE)
        return evaluate(concepts, direction, made, sentences=self.sentences)

    @property
    def of_class(self) -> Tensor:
        """Codes that say the class."""
        return torch.eye(N_CLASSES)[self.classes]

    @property
    def of_cell(self) -> Tensor:
        """Codes that say class and topic."""
        return torch.eye(N_CLASSES * N_TOPICS)[self.cells]

    def shuffled(self, codes: Tensor, seed: int = 1) -> Tensor:
        """The same codes, each row's given to another sentence of its class."""
        draws, found = torch.Generator().manual_seed(seed), codes.clone()
        for c in range(N_CLASSES):
            rows = (self.classes == c).nonzero().flatten()
            found[rows] = codes[rows[torch.randperm(len(rows), generator=draws)]]
        return found
