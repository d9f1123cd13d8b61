"""The TopK sparse autoencoder that ``sae`` and ``classifsae`` share: its coder and its training step.

Source: Le Bail et al. 2025 (arXiv:2506.23951), after Gao et al. 2024 (arXiv:2406.04093).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from pydantic import model_validator
from torch import nn

from classifsae.activations import Activations
from classifsae.bounds import Count, PositiveFloat, PositiveInt
from classifsae.concepts._losses import ghost, reconstruction, unit_rows, without_row_component_
from classifsae.concepts._optimise import (
    EarlyStop,
    Objective,
    Schedule,
    ShuffledEpochs,
    generator,
    n_held_out,
)
from classifsae.concepts._sae_files import PlainSAE
from classifsae.concepts._sparse import SparseCodes, encode_sparse
from classifsae.concepts.base import Coder, ConceptMethod
from classifsae.errors import ConfigError
from classifsae.storage import Json
from classifsae.tensors import Bool, Float, Int, Tensor

DEAD_AFTER = 100
"""A latent that has not fired in this many steps is dead, and ghost gradients work on it."""

_PUBLISHED_RATE, _RATE = 5e-5, 1e-3
_EPOCHS, _FEWEST_STEPS, _MOST_STEPS = 100, 800, 20_000
"""What the data may cost at most: the last is what the published 10,000,000 vectors make."""


def _rate_of(n_steps: int) -> float:
    """The rate of a plan that follows from the data.

        eta = max(5e-5, 1e-3 min(1, 800 / steps))

    A long plan at the rate of a short one goes astray (docs/decisions/0027-budget.md); the longest has the
    published rate.
    """
    return max(_PUBLISHED_RATE, _RATE * min(1.0, _FEWEST_STEPS / n_steps))


class SparseCoder(Coder):
    """x = h sqrt(d) / ||h||,  z = TopK(relu(x W_enc + b_enc)),  decode(z) = z W_dec + b_dec.

    States are brought to norm sqrt(d) on the way in; ``decode`` returns them at that scale.

    Args:
        W_enc, b_enc, W_dec, b_dec: the weights; the rows of W_dec are unit decoder directions.
        top_k: activations that survive per sentence.
    """

    def __init__(
        self,
        *,
        W_enc: Float[Tensor, "d p"],  # noqa: N803
        b_enc: Float[Tensor, " p"],
        W_dec: Float[Tensor, "p d"],  # noqa: N803
        b_dec: Float[Tensor, " d"],
        top_k: int,
    ) -> None:
        super().__init__()
        self.W_enc, self.b_enc = nn.Parameter(W_enc), nn.Parameter(b_enc)
        self.W_dec, self.b_dec = nn.Parameter(W_dec), nn.Parameter(b_dec)
        self.top_k = top_k

    @classmethod
    def initial(cls, *, width: int, n_latents: int, top_k: int, seed: int) -> "SparseCoder":
        """Decoder Kaiming uniform, encoder its transpose, decoder rows then scaled to length 1."""
        # The encoder starts as the transpose of the decoder before its rows are scaled, as published.
        W_dec = torch.empty(n_latents, width)
        nn.init.kaiming_uniform_(W_dec, generator=generator(seed))
        return cls(
            W_enc=W_dec.T.clone(),
            b_enc=torch.zeros(n_latents),
            W_dec=unit_rows(W_dec),
            b_dec=torch.zeros(width),
            top_k=top_k,
        )

    @property
    def n_latents(self) -> int:
        """Number of latents p."""
        return self.W_dec.shape[0]

    @property
    def settings(self) -> dict[str, Json]:
        """How many activations survive."""
        return {"top_k": self.top_k}

    @property
    def plain(self) -> PlainSAE:
        """Itself, as other libraries keep it."""
        return PlainSAE(
            architecture="topk",
            W_enc=self.W_enc,
            b_enc=self.b_enc,
            W_dec=self.W_dec,
            b_dec=self.b_dec,
            k=self.top_k,
            scale="constant_norm_rescale",
        )

    def pre_codes(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """Values of all latents before relu and TopK."""
        return (hidden * input_scale(hidden)) @ self.W_enc + self.b_enc

    def top(self, pre_codes: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """The k largest positive values of each row, zeros elsewhere."""
        values, columns = pre_codes.topk(self.top_k, dim=1)
        return torch.zeros_like(pre_codes).scatter(1, columns, values.relu())

    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """At most k activations per state, all >= 0."""
        return self.top(self.pre_codes(hidden))

    def decode(self, codes: Float[Tensor, "b p"]) -> Float[Tensor, "b d"]:
        """Weighted sum of decoder directions, at norm scale sqrt(d)."""
        return codes @ self.W_dec + self.b_dec

    def decode_kept(self, codes: Float[Tensor, "b m"], kept: Int[Tensor, " m"]) -> Float[Tensor, "b d"]:
        """The same from the kept latents alone."""
        return codes @ self.W_dec[kept] + self.b_dec


def input_scale(hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b 1"]:
    """Factor that gives each row the norm sqrt(d); 1 for a row of zeros, which stays zero."""
    norm = hidden.norm(dim=1, keepdim=True)
    return torch.where(norm > 0, hidden.shape[1] ** 0.5 / norm, 1.0)


@dataclass(frozen=True)
class Pass:
    """One batch through the autoencoder: its codes and its unweighted loss terms."""

    codes: SparseCodes
    reconstruction: Float[Tensor, ""]
    ghost: Float[Tensor, ""]


class SparseObjective(Objective):
    """The autoencoder while it learns: unit decoder rows, and a count of how long each latent is silent.

    Args:
        coder: trained in place.
    """

    def __init__(self, coder: SparseCoder) -> None:
        super().__init__()
        self.coder = coder
        self.silent_steps: Int[Tensor, " p"] = nn.Buffer(torch.zeros(coder.n_latents, dtype=torch.int64))

    @property
    def dead(self) -> Bool[Tensor, " p"]:
        """Latents silent for more than ``DEAD_AFTER`` steps, the coming one not counted."""
        return self.silent_steps > DEAD_AFTER

    def forward(self, hidden: Float[Tensor, "b d"], *, n_detached: int = 0) -> Pass:
        """Encode, decode and compare; the decoder's gradient stops at the first ``n_detached`` codes."""
        # Dead by the steps before this one, as published: counted before this batch is.
        dead, scale, coder = self.dead.nonzero().squeeze(1), input_scale(hidden), self.coder
        codes, dead_codes = encode_sparse(
            hidden * scale, coder.W_enc, coder.b_enc, top_k=coder.top_k, also=dead
        )
        self.silent_steps = torch.where(codes.fired, 0, self.silent_steps + 1)
        # Back at the scale of the states before the product rather than after it, where it is wider.
        seen = codes.detached(n_detached).scaled(1 / scale)
        rebuilt, directions = seen.times(coder.W_dec, also=dead)
        rebuilt = torch.addr(rebuilt, 1 / scale[:, 0], coder.b_dec)
        return Pass(
            codes=codes,
            reconstruction=reconstruction(rebuilt, hidden),
            ghost=ghost(rebuilt, hidden, dead_codes, directions),
        )

    @torch.no_grad()
    def before_step(self) -> None:
        """Scale the decoder rows to length 1."""
        self.coder.W_dec.div_(self.coder.W_dec.norm(dim=1, keepdim=True))

    @torch.no_grad()
    def held_out_loss(self, rows: Int[Tensor, " v"], step: int) -> float:
        """The loss but for the dead latents' term; no latent counts as having fired."""
        silent_steps = self.silent_steps
        terms = self.losses(rows, step)
        self.silent_steps = silent_steps
        return float(sum(self.weights[name] * term for name, term in terms.items() if name != "ghost"))

    @torch.no_grad()
    def after_backward(self) -> None:
        """Remove from the decoder's gradient what would only stretch its rows."""
        gradient = self.coder.W_dec.grad
        assert gradient is not None
        without_row_component_(gradient, self.coder.W_dec)

    def numbers(self) -> dict[str, float]:
        """Latents that are dead at present."""
        return {"dead": float(self.dead.sum())}


class SparseMethod(ConceptMethod):
    """Options of both sparse autoencoders.

    Attributes:
        n_latents: p; 2 d if not given.
        top_k: k, activations per sentence.
        n_vectors: sentence vectors seen in all; rounded to whole epochs, at least one. None: as many as the
            data need, the loss on a tenth of the sentences, which are not learned from, being the judge.
        batch_size: vectors per step.
        learning_rate: Adam's at the first step; None: 5e-5, as published, for a given ``n_vectors``, 1e-3
            otherwise.
        final_learning_rate: Adam's at the last step, reached by a half cosine.
    """

    takes_half: ClassVar[bool] = True
    remedy: ClassVar[str] = "raise top_k or train longer (n_vectors)"
    published: ClassVar[Mapping[str, Json]] = {"n_vectors": 10_000_000}

    n_concepts: Count = 20
    n_latents: PositiveInt | None = None
    top_k: PositiveInt = 10
    n_vectors: PositiveInt | None = None
    batch_size: PositiveInt = 500
    learning_rate: PositiveFloat | None = None
    final_learning_rate: PositiveFloat = 5e-7

    @model_validator(mode="after")
    def _fits_its_latents(self) -> Self:
        if self.n_latents is not None:
            self._require_latents(self.n_latents)
        return self

    def check(self, *, n_sentences: int | None, width: int | None, n_classes: int | None = None) -> None:
        """Refuse also more concepts, or a larger k, than there are latents."""
        super().check(n_sentences=n_sentences, width=width, n_classes=n_classes)
        if width is not None:
            self._require_latents(self.n_latents or 2 * width)

    def _require_latents(self, n_latents: int) -> None:
        for name, value in (("n_concepts", self.n_concepts), ("top_k", self.top_k)):
            if value > n_latents:
                raise ConfigError(
                    f"{self.method_name()}: {name} is {value}, but there are only {n_latents} latents; "
                    f"lower {name} or raise n_latents."
                )

    def start(self, train: Activations) -> SparseCoder:
        """The autoencoder before training."""
        width = train.hidden.shape[1]
        n_latents = self.n_latents or 2 * width
        coder = SparseCoder.initial(width=width, n_latents=n_latents, top_k=self.top_k, seed=self.seed)
        return coder.to(train.hidden.device)

    def plan(self, train: Activations) -> tuple[ShuffledEpochs, Schedule]:
        """Order of the batches and schedule of the rate."""
        by_data = self.n_vectors is None
        order = ShuffledEpochs(
            len(train),
            batch_size=self.batch_size,
            seed=self.seed,
            device=train.hidden.device,
            n_held_out=n_held_out(len(train)) if by_data else 0,
        )
        if self.n_vectors is None:
            n_steps = min(max(_FEWEST_STEPS, _EPOCHS * order.per_epoch), _MOST_STEPS)
        else:
            n_steps = max(1, round(self.n_vectors / len(train))) * order.per_epoch
        schedule = Schedule(
            n_steps=n_steps,
            learning_rate=self.learning_rate or (_rate_of(n_steps) if by_data else _PUBLISHED_RATE),
            final_learning_rate=self.final_learning_rate,
            clip=1.0,
            early_stop=EarlyStop.in_second_half(order.held_out, n_steps),
        )
        return order, schedule
