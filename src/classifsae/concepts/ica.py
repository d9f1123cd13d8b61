"""Independent components as concepts: signed codes, no knowledge of the classifier.

Source: Hyvarinen and Oja 2000 (doi:10.1016/S0893-6080(00)00026-5), as configured by Le Bail et al.
2025 (arXiv:2506.23951).
"""

import logging
import warnings
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray

from classifsae.activations import Activations
from classifsae.bounds import Count, PositiveFloat, PositiveInt
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts._optimise import Run
from classifsae.concepts._rows import Rows
from classifsae.concepts.base import ConceptMethod
from classifsae.errors import ConfigError
from classifsae.tensors import Tail

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

    takes_half: ClassVar[bool] = True

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
        """FastICA of scikit-learn (parallel, logcosh, unit variance), on states that are whitened in blocks.

        Raises:
            ConfigError: the states span fewer than m directions.
        """
        rows = Rows.of(train.hidden, torch.float64)
        mean = rows.mean()
        # Of the d x d covariance, not of the n x d states: the same directions, several times faster.
        variances, axes = torch.linalg.eigh(rows.less(mean).gram() / len(rows))
        spreads, axes = variances.clamp_min(0).sqrt().flip(0), axes.flip(1)
        n_wide = int((spreads > spreads[0] * _RESOLUTION).sum())
        self._require(n_wide, f"the {len(train)} hidden states vary in {n_wide}")
        # As scikit-learn turns them, so that it starts from the same place.
        axes = torch.where(axes[0] < 0, -axes, axes)[:, : self.n_concepts] / spreads[: self.n_concepts]
        white = rows.less(mean).times(axes).to(torch.float32).all().cpu()
        rotation = torch.from_numpy(self._rotation(white.numpy())).to(axes)
        turned = Rows(len(white), len(rotation), lambda some: white[some].to(axes) @ rotation.T, rows.widest)
        deviations = turned.all().std(dim=0, correction=0)
        encoder = axes @ rotation.T / deviations
        parts = {"mean": mean, "encoder": encoder, "decoder": torch.linalg.pinv(encoder)}
        return LinearCoder(**{name: part.float() for name, part in parts.items()})

    def _require(self, n_directions: int, why: str) -> None:
        if self.n_concepts > n_directions:
            raise ConfigError(
                f"ica: n_concepts is {self.n_concepts}, but {why} directions; "
                f"lower n_concepts to {max(1, n_directions)} or add sentences."
            )

    def _rotation(self, white: NDArray[np.float32]) -> NDArray[np.float32]:
        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning

        ica = FastICA(
            algorithm="parallel",
            whiten=False,
            max_iter=self.max_iterations,
            tol=self.tolerance,
            random_state=self.seed,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ica.fit(white)
        for warning in caught:
            said = "FastICA did not converge; raise max_iterations or tolerance, or lower n_concepts."
            is_known = issubclass(warning.category, ConvergenceWarning)
            _LOG.warning("ica: %s", said if is_known else warning.message)
        rotation: NDArray[np.float32] = ica.components_
        return rotation
