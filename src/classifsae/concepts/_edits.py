"""Concepts that a person merges, splits or drops, as a step between fitted concepts and what reads them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.activity import activating_sets
from classifsae.bounds import LONGEST_OF_CONCEPT
from classifsae.concepts._card import Card, checked_names
from classifsae.concepts.base import Coder, Concepts, codes_of, mean_by_class
from classifsae.errors import ConfigError, StorageError, require_kind
from classifsae.notebook import counted, short
from classifsae.registry import import_object
from classifsae.tensors import Float, Int, Tensor

if TYPE_CHECKING:
    from classifsae.storage import Json

_SEED = 0


@dataclass(frozen=True)
class Merge:
    """Several concepts that become one.

    Attributes:
        latents: two or more.
        name: of the one.
    """

    latents: tuple[int, ...]
    name: str = ""


@dataclass(frozen=True)
class Split:
    """A concept that becomes two: its sentences fall into two clusters of states, the larger first.

    Attributes:
        latent: the one.
        names: of the two; none: they are numbered.
    """

    latent: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edits:
    """What becomes of concepts; those that are not named stay as they are.

    Attributes:
        merge, split: see there; the new concepts are numbered on from the last latent, in this order.
        drop: concepts that are left out, and with them what they carry.
    """

    merge: tuple[Merge, ...] = ()
    split: tuple[Split, ...] = ()
    drop: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.merge or self.split or self.drop)

    @property
    def latents(self) -> list[int]:
        """All that are there no more."""
        merged = [latent for merge in self.merge for latent in merge.latents]
        return [*merged, *(split.latent for split in self.split), *self.drop]

    def require_fit(self, kept: Sequence[int]) -> None:
        """Refuse edits that these concepts do not allow.

        Raises:
            ConfigError: says which latent is wrong.
        """
        if unknown := sorted({*self.latents} - {*kept}):
            raise ConfigError(
                f"there is no concept {unknown[0]} to merge, split or drop; choose from "
                f"{', '.join(map(str, kept))}."
            )
        twice = [latent for latent, times in Counter(self.latents).items() if times > 1]
        if twice:
            raise ConfigError(f"concept {twice[0]} is merged, split or dropped twice; keep one of the two.")
        if small := [merge for merge in self.merge if len(merge.latents) < 2]:
            raise ConfigError(f"merge names {counted(len(small[0].latents), 'concept')}; give two or more.")
        if odd := [split for split in self.split if len(split.names) not in (0, 2)]:
            n_names = counted(len(odd[0].names), "name")
            raise ConfigError(f"the split of concept {odd[0].latent} has {n_names}; give two or none.")
        if not self.merge and not self.split and len(self.drop) >= len(kept):
            raise ConfigError("drop names every concept there is; leave one at least.")


@final
class EditedCoder(Coder):
    """A dictionary of p latents, and q more that are made of them.

        new_i = [h . gate_i + offset_i > 0] sum over j of collect_ji z_j

    ``decode`` gives each latent j back its part of the new ones, sum over i of new_i spread_ij, so that what
    a merged concept adds to the state is what its members add on average.

    Args:
        kind, options: class of the dictionary, and its settings.
        collect, spread, gates, offsets: see above.
        tensors: of the dictionary, as ``base.NAME``.
    """

    def __init__(
        self,
        *,
        kind: str,
        options: "dict[str, Json]",
        collect: Float[Tensor, "p q"],
        spread: Float[Tensor, "q p"],
        gates: Float[Tensor, "q d"],
        offsets: Float[Tensor, " q"],
        **tensors: Tensor,
    ) -> None:
        super().__init__()
        found = import_object(kind)
        if not (isinstance(found, type) and issubclass(found, Coder)):
            raise StorageError(f"{kind!r} is not a Coder; save the concepts again.")
        own = {name.removeprefix("base."): tensor for name, tensor in tensors.items()}
        self.base: Coder = found(**own, **options)
        self._kind, self._options = kind, options
        self.collect, self.spread = nn.Buffer(collect), nn.Buffer(spread)
        self.gates, self.offsets = nn.Buffer(gates), nn.Buffer(offsets)

    @property
    def n_latents(self) -> int:
        """Number of latents p + q."""
        return self.base.n_latents + len(self.spread)

    @property
    def settings(self) -> "dict[str, Json]":
        """What the dictionary is, and its settings."""
        return {"kind": self._kind, "options": self._options}

    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """Activation of every latent, the new ones last."""
        return self.encode_kept(hidden, torch.arange(self.n_latents, device=self.spread.device))

    def encode_kept(self, hidden: Float[Tensor, "b d"], kept: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """The same of the kept latents, by those of the dictionary that they need."""
        is_new, own = self._told_apart(kept)
        needed = torch.cat([kept[~is_new], self.collect[:, own].any(dim=1).nonzero()[:, 0]]).unique()
        codes = self.base.encode_kept(hidden, needed)
        found = codes.new_zeros(len(codes), len(kept))
        found[:, ~is_new] = codes[:, torch.searchsorted(needed, kept[~is_new])]
        is_open = hidden @ self.gates[own].T + self.offsets[own] > 0
        found[:, is_new] = codes @ self.collect[needed][:, own] * is_open
        return found

    def decode(self, codes: Float[Tensor, "b p"]) -> Float[Tensor, "b d"]:
        """States rebuilt by the dictionary."""
        return self.decode_kept(codes, torch.arange(self.n_latents, device=self.spread.device))

    def decode_kept(self, codes: Float[Tensor, "b m"], kept: Int[Tensor, " m"]) -> Float[Tensor, "b d"]:
        """The same from the kept latents alone."""
        is_new, own = self._told_apart(kept)
        needed = torch.cat([kept[~is_new], self.spread[own].any(dim=0).nonzero()[:, 0]]).unique()
        parts = codes[:, is_new] @ self.spread[own][:, needed]
        places = torch.searchsorted(needed, kept[~is_new])
        return self.base.decode_kept(parts.index_add(1, places, codes[:, ~is_new]), needed)

    def _told_apart(self, kept: Int[Tensor, " m"]) -> tuple[Tensor, Int[Tensor, " r"]]:
        """Which of these latents are new, and the numbers of those among the new ones."""
        is_new = kept >= self.base.n_latents
        return is_new, kept[is_new] - self.base.n_latents


def edited(concepts: Concepts, edits: Edits, train: Activations | None) -> Concepts:
    """Concepts after edits, under their names, without the scores that they had.

    Args:
        concepts: fitted.
        edits: of them.
        train: activations of the training split, for what is new; None where concepts are only dropped.
    Raises:
        ConfigError: a concept that there is not, or that is edited twice; a split without two clusters.
        MismatchError: activations of another source than the concepts'.
    """
    kept, names = concepts.kept.tolist(), dict(zip(concepts.kept.tolist(), concepts.names, strict=True))
    edits.require_fit(kept)
    stay = [latent for latent in kept if latent not in edits.latents]
    rows = [kept.index(latent) for latent in stay]
    called = checked_names([*(names[latent] for latent in stay), *_new_names(edits, names)])
    coder, latents = concepts.coder, concepts.kept[rows]
    by_class, activation = concepts.class_activation[rows], concepts.activation[rows]
    if edits.merge or edits.split:
        wanted = "merging and splitting take the activations that the concepts were fitted on"
        require_kind(train, Activations, wanted=wanted)
        assert train is not None
        concepts.source.require(train.source, this="the concepts", that="the activations")
        coder = _coder(concepts, edits, train)
        new = torch.arange(concepts.coder.n_latents, coder.n_latents, device=latents.device)
        with torch.no_grad():
            of_new = mean_by_class(coder, new, train, train.predictions, of=torch.abs)
        counts = torch.bincount(train.predictions, minlength=train.n_classes).to(of_new)
        latents, by_class = torch.cat([latents, new]), torch.cat([by_class, of_new])
        activation = torch.cat([activation, (of_new * counts).sum(dim=1) / counts.sum()])
    made = Concepts(
        coder=coder,
        kept=latents,
        class_activation=by_class,
        activation=activation,
        source=concepts.source,
        method=concepts.method,
        curves=concepts.curves,
        spent=concepts.spent,
    )
    # A card of their own: scores were those of others.
    before = concepts.card or Card()
    return made.with_card(
        names=called,
        label_names=before.label_names,
        backbone=before.backbone,
        dataset=before.dataset,
    )


def _new_names(edits: Edits, names: dict[int, str]) -> list[str]:
    """What new concepts are called, in their order; names that are made of others are cut where too long."""
    joined = [" + ".join(names[latent] for latent in merge.latents) for merge in edits.merge]
    merged = [
        merge.name or short(name, most=LONGEST_OF_CONCEPT)
        for merge, name in zip(edits.merge, joined, strict=True)
    ]
    room = LONGEST_OF_CONCEPT - len(" (1)")
    numbered = [
        split.names or tuple(f"{short(names[split.latent], most=room)} ({part})" for part in (1, 2))
        for split in edits.split
    ]
    return [*merged, *(name for pair in numbered for name in pair)]


def _coder(concepts: Concepts, edits: Edits, train: Activations) -> EditedCoder:
    """The dictionary with its new latents."""
    p, d, device = concepts.coder.n_latents, concepts.width, concepts.kept.device
    n_new = len(edits.merge) + 2 * len(edits.split)
    collect, spread = torch.zeros(p, n_new, device=device), torch.zeros(n_new, p, device=device)
    gates, offsets = torch.zeros(n_new, d, device=device), torch.ones(n_new, device=device)
    activation = dict(zip(concepts.kept.tolist(), concepts.activation.tolist(), strict=True))
    places = iter(range(n_new))
    for merge in edits.merge:
        place, total = next(places), sum(activation[latent] for latent in merge.latents)
        for latent in merge.latents:
            collect[latent, place], spread[place, latent] = 1, activation[latent] / total
    for split in edits.split:
        gate, offset = _boundary(concepts, split.latent, train)
        for side in (1.0, -1.0):
            place = next(places)
            collect[split.latent, place] = spread[place, split.latent] = 1
            gates[place], offsets[place] = side * gate, side * offset
    kind = type(concepts.coder)
    coder = EditedCoder(
        kind=f"{kind.__module__}:{kind.__qualname__}",
        options=concepts.coder.settings,
        collect=collect,
        spread=spread,
        gates=gates,
        offsets=offsets,
        **{f"base.{name}": tensor for name, tensor in concepts.coder.state_dict().items()},
    )
    return coder.requires_grad_(False).to(device)


def _boundary(
    concepts: Concepts, latent: int, train: Activations
) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
    """Between two clusters of the states on which a concept is strongly active, positive for the larger.

    Raises:
        ConfigError: it is strongly active on fewer than two sentences, or all their states are equal.
    """
    from classifsae.concepts.kmeans import lloyd

    codes = codes_of(concepts, train)[:, [concepts.kept.tolist().index(latent)]]
    hidden = train.hidden[activating_sets(codes).sets[0]].float()
    if len(hidden.unique(dim=0)) < 2:
        on = counted(len(hidden), "training sentence")
        raise ConfigError(
            f"concept {latent} is strongly active on {on}, too few or too alike to be split; leave it whole."
        )
    found = lloyd(hidden.cpu().numpy(), 2, seed=_SEED, n_starts=4)
    sizes = torch.from_numpy(found.labels_).bincount()
    one, two = torch.from_numpy(found.cluster_centers_)[sizes.argsort(descending=True, stable=True)].to(
        hidden
    )
    return one - two, (two.square().sum() - one.square().sum()) / 2
