"""The plain TopK sparse autoencoder; its concepts are chosen afterwards, by a sparse linear probe.

Source: Le Bail et al. 2025 (arXiv:2506.23951), after Gao et al. 2024 (arXiv:2406.04093).
"""

import warnings
from typing import Annotated, final

import torch
from pydantic import Field

from classifsae.activations import Activations
from classifsae.concepts._autoencoder import SparseCoder, SparseMethod, SparseObjective
from classifsae.concepts._optimise import Run, optimise
from classifsae.concepts.base import Coder
from classifsae.errors import DataError
from classifsae.storage import reading_at_random
from classifsae.tensors import Float, Int, Tail, Tensor

N_FOLDS = 3


@final
class SAEObjective(SparseObjective):
    """Reconstruction with ghost gradients.

    Args:
        coder: trained in place.
        hidden: states to reconstruct.
    """

    def __init__(self, coder: SparseCoder, *, hidden: Float[Tensor, "n d"]) -> None:
        super().__init__(coder)
        self._hidden = hidden
        self.weights = {"reconstruction": 1.0, "ghost": 1.0}

    def losses(self, rows: Int[Tensor, " b"], step: int) -> dict[str, Float[Tensor, ""]]:
        """The two terms on a batch."""
        done = self.forward(self._hidden[rows].float())
        return {"reconstruction": done.reconstruction, "ghost": done.ghost}


@final
class SAE(SparseMethod):
    """Learn a sparse autoencoder without supervision, then keep the latents that tell the classes apart.

    Attributes:
        n_probe: training sentences on which the probe is fitted, at most; the first ones of a
            seeded shuffle. (The published code uses the test split, 7,600 sentences on AG News.)
    """

    n_probe: Annotated[int, Field(gt=N_FOLDS)] = 10_000

    def learn(self, train: Activations, tail: Tail, run: Run) -> SparseCoder:
        """Train the autoencoder."""
        coder = self.start(train)
        order, schedule = self.plan(train)
        objective = SAEObjective(coder, hidden=train.hidden)
        with reading_at_random(train.hidden):
            optimise(objective.to(train.hidden.device), order, schedule, run)
        return coder

    def choose(self, coder: Coder, chosen_on: Activations, classes: Int[Tensor, " n"]) -> Tensor:
        """The n latents with the largest coefficient norm over classes in a sparse probe, none of norm zero.

        Raises:
            DataError: the probe cannot be fitted, or gives no latent any weight.
        """
        rows = probe_rows(chosen_on, classes, n_probe=self.n_probe, seed=self.seed, method="sae")
        codes = coder.encode(chosen_on.hidden[rows].float())
        return strongest_in_probe(
            codes,
            classes[rows],
            n_concepts=self.n_concepts,
            seed=self.seed,
            none="sae: the probe gives no latent any weight; train longer (n_vectors).",
        )


def probe_rows(
    chosen_on: Activations, classes: Int[Tensor, " n"], *, n_probe: int, seed: int, method: str
) -> Int[Tensor, " q"]:
    """The sentences of the probe that chooses latents: all, or the first of a seeded shuffle.

    Raises:
        DataError: a probe cannot be fitted on them.
    """
    rows = torch.arange(len(chosen_on))
    if len(rows) > n_probe:
        shuffle = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(chosen_on), generator=shuffle)[:n_probe]
    rows = rows.to(chosen_on.hidden.device)
    most = int(torch.bincount(classes[rows]).max())
    if most < N_FOLDS or most == len(rows):
        raise DataError(
            f"{method}: {most} of the {len(rows)} sentences of the probe that chooses the concepts are of "
            f"one class; it needs two classes, one of them with {N_FOLDS} sentences; raise n_probe or add "
            f"sentences."
        )
    return rows


def strongest_in_probe(
    codes: Float[Tensor, "n p"], classes: Int[Tensor, " n"], *, n_concepts: int, seed: int, none: str
) -> Int[Tensor, " m"]:
    """The latents with the largest coefficient norm over classes in a sparse probe, none of norm zero.

    Args:
        codes: of the sentences of the probe.
        classes: of the same.
        n_concepts: latents at most.
        seed: of the probe.
        none: what to say where it gives no latent any weight.
    Raises:
        DataError: with that.
    """
    strength = probe_strength(codes, classes, seed=seed)
    strongest = strength.argsort(descending=True, stable=True)[:n_concepts]
    chosen = strongest[strength[strongest] > 0].to(codes.device)
    if not len(chosen):
        raise DataError(none)
    return chosen


def probe_strength(
    codes: Float[Tensor, "n p"], classes: Int[Tensor, " n"], *, seed: int
) -> Float[Tensor, " p"]:
    """How much each latent matters to an L1 multinomial logistic regression from codes to classes.

    saga on standardised codes, balanced class weights, C of {0.01, 0.1, 1} by 3-fold
    cross-validated accuracy, at most 1,000 iterations, tolerance 1e-3.

    Returns:
        Norm over classes of each latent's coefficients, >= 0, on the CPU.
    Source: Le Bail et al. 2025, selection of the plain SAE's features.
    """
    from joblib import parallel_config
    from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = LogisticRegression(
        l1_ratio=1.0, solver="saga", class_weight="balanced", max_iter=1000, tol=1e-3, random_state=seed
    )
    search = GridSearchCV(
        make_pipeline(StandardScaler(), probe), {"logisticregression__C": [0.01, 0.1, 1.0]}, cv=N_FOLDS
    )
    strength = torch.zeros(codes.shape[1])
    live = (codes > 0).any(dim=0).cpu()  # the others are constant: their coefficients are 0
    if not live.any():
        return strength
    with warnings.catch_warnings(), parallel_config(backend="threading", n_jobs=-1):
        # The iteration limit is part of the published procedure, so reaching it is no news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # A class with fewer sentences than folds is missing from some folds; the others still count.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        # So does a fold that is left with one class: its score is missing.
        warnings.simplefilter("ignore", FitFailedWarning)
        warnings.filterwarnings("ignore", message="One or more of the test scores", category=UserWarning)
        search.fit(codes.cpu()[:, live].numpy(), classes.cpu().numpy())
    strength[live] = torch.from_numpy(search.best_estimator_[-1].coef_).norm(dim=0).float()
    return strength
