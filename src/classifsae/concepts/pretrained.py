"""A sparse autoencoder that somebody trained on the model before, in the format of SAELens or sparsify."""

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import nn

from classifsae.activations import Activations
from classifsae.bounds import Count
from classifsae.concepts._autoencoder import input_scale
from classifsae.concepts._optimise import Run
from classifsae.concepts._sae_files import CONFIG, SAE_LENS, SPARSIFY, PlainSAE, hook_in, read_sae, sizes_in
from classifsae.concepts.base import Coder, ConceptMethod
from classifsae.concepts.sae import N_FOLDS, probe_rows, strongest_in_probe
from classifsae.errors import ConfigError, warn
from classifsae.hub.sharing import fetch
from classifsae.storage import Json, fingerprint, hash_file
from classifsae.tensors import Float, Int, Tail, Tensor

MOST_PROBED = 512
"""Latents among which the probe chooses, at most: those that differ most between predicted classes."""

_ENTRIES = 1 << 24
"""Codes of all latents that are held at once."""


@final
class PretrainedCoder(Coder):
    """codes = relu(pre) where kept, pre = (s h - b_in) W_enc + b_enc;  decode(z) = z W_dec + b_dec.

    Args:
        W_enc, b_enc, W_dec, b_dec: the weights.
        b_in: subtracted from the state.
        threshold: that a code has to pass.
        k: largest codes that stay; None: all.
        is_scaled: whether states are brought to norm sqrt(d) first (s), and rebuilt at that scale.
    """

    def __init__(
        self,
        *,
        W_enc: Float[Tensor, "d p"],  # noqa: N803
        b_enc: Float[Tensor, " p"],
        W_dec: Float[Tensor, "p d"],  # noqa: N803
        b_dec: Float[Tensor, " d"],
        b_in: Float[Tensor, " d"],
        threshold: Float[Tensor, " p"],
        k: int | None,
        is_scaled: bool,
    ) -> None:
        super().__init__()
        self.W_enc, self.b_enc = nn.Buffer(W_enc), nn.Buffer(b_enc)
        self.W_dec, self.b_dec = nn.Buffer(W_dec), nn.Buffer(b_dec)
        self.b_in, self.threshold = nn.Buffer(b_in), nn.Buffer(threshold)
        self._k, self._is_scaled = k, is_scaled

    @classmethod
    def of(cls, sae: PlainSAE) -> "PretrainedCoder":
        """The coder of a plain sparse autoencoder."""
        b_dec = sae.b_dec
        return cls(
            W_enc=sae.W_enc,
            b_enc=sae.b_enc,
            W_dec=sae.W_dec,
            b_dec=b_dec,
            b_in=b_dec.clone() if sae.subtracts_b_dec else torch.zeros_like(b_dec),
            threshold=torch.zeros_like(sae.b_enc) if sae.threshold is None else sae.threshold,
            k=sae.k,
            is_scaled=sae.scale != "none",
        )

    @property
    def n_latents(self) -> int:
        """Number of latents p."""
        return self.W_dec.shape[0]

    @property
    def settings(self) -> dict[str, Json]:
        """How many codes stay, and whether states are scaled."""
        return {"k": self._k, "is_scaled": self._is_scaled}

    @property
    def plain(self) -> PlainSAE:
        """Itself: standard where no threshold is above 0, topk where k is given, else jumprelu."""
        is_standard = self._k is None and not (self.threshold > 0).any()
        return PlainSAE(
            architecture="topk" if self._k is not None else "standard" if is_standard else "jumprelu",
            W_enc=self.W_enc,
            b_enc=self.b_enc,
            W_dec=self.W_dec,
            b_dec=self.b_dec,
            k=self._k,
            threshold=None if self._k is not None or is_standard else self.threshold,
            subtracts_b_dec=bool(self.b_in.any()),
            scale="constant_norm_rescale" if self._is_scaled else "none",
        )

    def encode(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """Activation of every latent, all >= 0."""
        pre = self._inputs(hidden) @ self.W_enc + self.b_enc
        if self._k is None:
            return pre.relu() * (pre > self.threshold)
        values, columns = pre.topk(self._k, dim=1)
        return torch.zeros_like(pre).scatter(1, columns, values.relu())

    def encode_kept(self, hidden: Float[Tensor, "b d"], kept: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """The same of the kept latents: of the others no more is held at once than fits."""
        if self._k is None:
            pre = self._inputs(hidden) @ self.W_enc[:, kept] + self.b_enc[kept]
            return pre.relu() * (pre > self.threshold[kept])
        rows = max(1, _ENTRIES // self.n_latents)
        return torch.cat([self.encode(part)[:, kept] for part in hidden.split(rows)])

    def _inputs(self, hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return (hidden * input_scale(hidden) if self._is_scaled else hidden) - self.b_in

    def decode(self, codes: Float[Tensor, "b p"]) -> Float[Tensor, "b d"]:
        """Weighted sum of decoder rows, at the scale that states have on the way in."""
        return codes @ self.W_dec + self.b_dec

    def decode_kept(self, codes: Float[Tensor, "b m"], kept: Int[Tensor, " m"]) -> Float[Tensor, "b d"]:
        """The same from the kept latents alone."""
        return codes @ self.W_dec[kept] + self.b_dec


@final
class Pretrained(ConceptMethod):
    """Take an autoencoder of SAELens or sparsify as it is, and keep the latents that tell the classes apart.

    Neither library is needed. The latents whose codes differ most between predicted classes (one-way F) go
    to the sparse probe by which ``sae`` chooses.

    Attributes:
        sae: a folder, or owner/name or owner/name/folder on the Hub.
        revision: branch, tag or commit there.
        n_probe: training sentences on which the probe is fitted, at most.
    """

    takes_half: ClassVar[bool] = True
    remedy: ClassVar[str] = "lower n_concepts, or give an SAE of this model and layer"

    sae: str
    revision: str | None = None
    n_concepts: Count = 20
    n_probe: Annotated[int, Field(gt=N_FOLDS)] = 10_000

    @cached_property
    def folder(self) -> Path:
        """The folder of the SAE, fetched from the Hub where it is there.

        Raises:
            ConfigError: no such folder, and no id on the Hub.
            HubError: there is no such repository, or it cannot be reached.
        """
        folder = Path(self.sae).expanduser()
        if folder.is_dir():
            return folder
        owner, _, rest = self.sae.partition("/")
        name, _, inside = rest.partition("/")
        if not (owner and name) or self.sae.startswith((".", "/", "~")):
            raise ConfigError(
                f"pretrained: there is no folder {self.sae}; give one, or owner/name/folder on the Hub."
            )
        wanted = [f"{inside}/{file}".lstrip("/") for file in (CONFIG, SAE_LENS, SPARSIFY)]
        return fetch(f"{owner}/{name}", revision=self.revision, files=wanted) / inside

    @property
    def files(self) -> str:
        """Fingerprint of the SAE's files; of its name where it is on the Hub."""
        folder = Path(self.sae).expanduser()
        found = [folder / file for file in (CONFIG, SAE_LENS, SPARSIFY) if (folder / file).is_file()]
        return fingerprint(*(hash_file(file) for file in found)) if found else ""

    def check(self, *, n_sentences: int | None, width: int | None, n_classes: int | None = None) -> None:
        """Refuse also an SAE of another width, or with fewer latents than concepts."""
        super().check(n_sentences=n_sentences, width=width, n_classes=n_classes)
        d, p = sizes_in(self.folder)
        if width is not None and d is not None and d != width:
            raise ConfigError(
                f"pretrained: the SAE in {self.folder} reads states of width {d}, and this classifier's have "
                f"{width}; give an SAE of the same model and layer."
            )
        if p is not None and self.n_concepts > p:
            raise ConfigError(
                f"pretrained: n_concepts is {self.n_concepts}, but there are only {p} latents; lower it."
            )

    def learn(self, train: Activations, tail: Tail, run: Run) -> PretrainedCoder:
        """Read the autoencoder.

        Raises:
            ConfigError: it is of another width, or of a kind that is not read.
        Warns:
            ClassifSAEWarning: it says that it is of another layer.
        """
        self.check(n_sentences=len(train), width=train.hidden.shape[1])
        sae = read_sae(self.folder)
        if sae.W_enc.shape[0] != train.hidden.shape[1]:
            raise ConfigError(f"pretrained: the SAE in {self.folder} is of width {sae.W_enc.shape[0]}.")
        layer = _layer_of(hook_in(self.folder))
        if layer is not None and layer != train.source.layer:
            said = f"the SAE is of {hook_in(self.folder)}, which is layer {layer}"
            warn(f"pretrained: {said}; the states are of layer {train.source.layer}.")
        return PretrainedCoder.of(sae).to(train.hidden.device)

    def choose(self, coder: Coder, chosen_on: Activations, classes: Int[Tensor, " n"]) -> Tensor:
        """Of the latents that differ most between the classes, those of the largest weight in a sparse probe.

        Raises:
            DataError: the probe cannot be fitted, or gives no latent any weight.
        """
        rows = probe_rows(chosen_on, classes, n_probe=self.n_probe, seed=self.seed, method="pretrained")
        hidden = chosen_on.hidden[rows].float()
        apart = between_classes(coder, hidden, classes[rows])
        candidates = apart.argsort(descending=True, stable=True)[:MOST_PROBED]
        candidates = candidates[apart[candidates] > 0]
        codes = coder.encode_kept(hidden, candidates)
        chosen = strongest_in_probe(
            codes,
            classes[rows],
            n_concepts=self.n_concepts,
            seed=self.seed,
            none="pretrained: no latent tells the classes apart; give an SAE of this model and layer.",
        )
        return candidates[chosen]


def between_classes(
    coder: Coder, hidden: Float[Tensor, "n d"], classes: Int[Tensor, " n"]
) -> Float[Tensor, " p"]:
    """How much the codes of each latent differ between classes, less a factor that all share: F of one way.

    F = sum over c of n_c (mean_c - mean)^2 / sum of (code - mean of its class)^2; 0 for a silent latent
    """
    n_classes, p = int(classes.max()) + 1, coder.n_latents
    sums = torch.zeros(n_classes, p, dtype=torch.float64, device=hidden.device)
    squares = sums.new_zeros(p)
    rows = max(1, _ENTRIES // p)
    with torch.no_grad():
        for part, own in zip(hidden.split(rows), classes.split(rows), strict=True):
            codes = coder.encode(part).double()
            sums.index_add_(0, own, codes)
            squares += codes.square().sum(dim=0)
    counts = torch.bincount(classes, minlength=n_classes).clamp_min(1)[:, None]
    explained = (sums.square() / counts).sum(dim=0)
    between = explained - sums.sum(dim=0).square() / len(hidden)
    within = (squares - explained).clamp_min(1e-9 * squares)
    return torch.where(squares > 0, between.clamp_min(0) / within.clamp_min(1e-300), 0.0).float()


def _layer_of(hook: str) -> int | None:
    """Our layer of a place in TransformerLens's names: the state that enters this block; None for others."""
    found = re.fullmatch(r"blocks\.(\d+)\.hook_resid_(pre|post)", hook)
    return None if found is None else int(found[1]) + (found[2] == "post")
