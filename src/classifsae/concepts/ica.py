"""Independent components as concepts: signed codes, no knowledge of the classifier.

Source: Hyvarinen and Oja 2000 (doi:10.1016/S0893-6080(00)00026-5), as configured by Le Bail et al.
2025 (arXiv:2506.23951).
"""

import logging
import warnings
from typing import TYPE_CHECKING, final

import torch

from classifsae.activations import Activations
from classifsae.bounds import Count, PositiveFloat, PositiveInt
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts._optimise import Run
from classifsae.concepts.base import ConceptMethod
from classifsae.errors import ConfigError
from classifsae.tensors import Float, Tail, Tensor

if TYPE_CHECKING:
    from sklearn.decomposition import FastICA

_LOG = logging.getLogger(__name__)
_RESOLUTION = torch.finfo(torch.float32).eps ** 0.5
"""Spread, relative to the widest direction, below which a direction of float32 states is rounding noise."""


@final
class ICA(ConceptMethod):
    """Rotate the m widest directions of the states until their coordinates are as independent as can be.

        encode(h) = S (h - mean),  decode(z) = A z + mean,  each coordinate of unit variance

    Attributes:
        n_concepts: m, at most min(n, d).
        max_iterations: after which FastICA stops and says so in the log.
        tolerance: change of the rotation below which it has converged.
    """

    n_concepts: Count = 20
    max_iterations: PositiveInt = 1000
    tolerance: PositiveFloat = 1e-4

    def check(self, *, n_sentences: int | None, width: int | None, n_classes: int | None = None) -> None:
        """Refuse also more concepts than the states can span directions."""
        super().check(n_sentences=n_sentences, width=width, n_classes=n_classes)
        if n_sentences is not None and width is not None:
            most = min(n_sentences, width)
            self._require(most, f"{n_sentences} sentences of width {width} span at most {most}")

    def learn(self, train: Activations, tail: Tail, run: Run) -> LinearCoder:
        """FastICA of scikit-learn (parallel, logcosh, unit variance), kept as tensors.

        Raises:
            ConfigError: the states span fewer than m directions.
        """
        found = self._fast_ica(train.hidden)
        n_wide = _n_wide(torch.from_numpy(found.whitening_))
        self._require(n_wide, f"the {len(train)} hidden states vary in {n_wide}")
        parts = {"mean": found.mean_, "encoder": found.components_.T, "decoder": found.mixing_.T}
        return LinearCoder(**{name: torch.from_numpy(a.copy()).to(train.hidden) for name, a in parts.items()})

    def _require(self, n_directions: int, why: str) -> None:
        if self.n_concepts > n_directions:
            raise ConfigError(
                f"ica: n_concepts is {self.n_concepts}, but {why} directions; "
                f"lower n_concepts to {n_directions} or add sentences."
            )

    def _fast_ica(self, hidden: Float[Tensor, "n d"]) -> "FastICA":
        from sklearn.decomposition import FastICA

        # Of the d x d covariance, not of the n x d states: the same directions, several times faster.
        ica = FastICA(
            self.n_concepts,
            algorithm="parallel",
            whiten="unit-variance",
            whiten_solver="eigh",
            max_iter=self.max_iterations,
            tol=self.tolerance,
            random_state=self.seed,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ica.fit(hidden.cpu().numpy())
        for warning in caught:
            _LOG.warning("ica: %s", warning.message)
        return ica


def _n_wide(whitening: Float[Tensor, "m d"]) -> int:
    """Directions wider than rounding noise: rows, the widest first, have length 1 / spread, or 0."""
    lengths = whitening.norm(dim=1)
    return int(((lengths > 0) & (lengths < lengths[0] / _RESOLUTION)).sum())
