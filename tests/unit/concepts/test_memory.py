"""No fit and no score makes anything as large as all states: the largest tensor is counted."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import classifsae.bottleneck
import classifsae.concepts._rows
import classifsae.tensors
from classifsae.activations import Activations, Guidance, Source, check_finite
from classifsae.bottleneck import evaluate
from classifsae.concepts import ConceptMethod, Run
from classifsae.concepts._autoencoder import SparseCoder
from classifsae.concepts.base import METHODS
from classifsae.concepts.random import Random
from classifsae.metrics.base import METRICS
from classifsae.tensors import Tail, Tensor

N, WIDTH, N_CLASSES = 6000, 64, 3
ALL_STATES = N * WIDTH * 4
QUICK: dict[str, dict[str, object]] = {
    "sae": {"n_vectors": 1, "n_probe": 300, "top_k": 4},
    "classifsae": {"n_vectors": 1, "top_k": 4},
    "conceptshap": {"n_epochs": 1, "batch_size": 100, "threshold": 0.0},
    "hiconcept": {"n_epochs": 1, "batch_size": 100},
    "consensus": {"n_clusterings": 3, "n_steps": 10},
    "identity": {},
    "classes": {},
}


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that is made while this holds."""

    def __init__(self) -> None:
        super().__init__()
        self.tensor = 0

    def __torch_dispatch__(
        self, func: Callable[..., object], types: object, args: tuple[object, ...] = (), kwargs: object = None
    ) -> object:
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        made = func(*args, **(kwargs or {}))  # type: ignore[arg-type]
        for one in tree_leaves(made):
            if isinstance(one, Tensor) and one.untyped_storage().data_ptr() not in given:
                self.tensor = max(self.tensor, one.untyped_storage().nbytes())
        return made


@pytest.fixture(autouse=True)
def blocks_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifsae.tensors, "_ENTRIES_PER_BATCH", 1 << 14)
    monkeypatch.setattr(classifsae.bottleneck, "_ENTRIES_KEPT", 1 << 15)
    monkeypatch.setattr(classifsae.concepts._rows, "_MOST_ENTRIES", 1 << 15)
    monkeypatch.setattr(classifsae.concepts._rows, "_FEWEST_ROWS", 300)


@pytest.fixture(scope="module")
def tail() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, N_CLASSES).requires_grad_(False)


@pytest.fixture(scope="module")
def states(tail: nn.Linear) -> Activations:
    hidden = torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(0))
    logits, ids = tail(hidden), tuple(map(str, range(N)))
    source = Source(model="m", layer=1, prompt="", dataset="d")
    return Activations(hidden, logits, logits.argmax(dim=1), ids, source)


def recipe(name: str) -> ConceptMethod:
    kind = METHODS.load(name)
    few: dict[str, object] = {} if name in ("identity", "classes") else {"n_concepts": 5}
    return kind(**few | QUICK.get(name, {}))


@pytest.mark.parametrize("name", [name for name in METHODS.names() if name != "pretrained"])
def test_no_fit_holds_as_much_as_all_states(name: str, states: Activations, tail: nn.Linear):
    guidance = Guidance(states.hidden[:, :24].clone(), states.hidden[:, 24:48].clone())
    with Largest() as largest:
        recipe(name).fit(states, tail, guidance=guidance)
    assert largest.tensor < ALL_STATES / 2


@pytest.mark.parametrize(
    "name", [n for n in METRICS.names() if not METRICS.load(n).needs_sentences and n != "shapley"]
)
def test_no_score_holds_as_much_as_all_states(name: str, states: Activations, tail: nn.Linear):
    concepts = recipe("random").fit(states, tail)
    with Largest() as largest:
        METRICS.load(name)().measure(evaluate(concepts, tail, states))
    assert largest.tensor < ALL_STATES / 2


@pytest.mark.parametrize("name", [name for name in METHODS.names() if name != "pretrained"])
def test_states_of_half_precision_are_made_wider_where_they_are_read(
    name: str, states: Activations, tail: nn.Linear
):
    half = replace(states, hidden=states.hidden.bfloat16())
    guidance = Guidance(states.hidden[:, :24].clone(), states.hidden[:, 24:48].clone())
    with Largest() as largest:
        found = recipe(name).fit(half, tail, guidance=guidance).state_dict()
    assert largest.tensor < ALL_STATES / 2
    all_at_once = recipe(name).fit(half.float(), tail, guidance=guidance).state_dict()
    torch.testing.assert_close(found, all_at_once)  # a mean that is added up in blocks is rounded otherwise


def test_a_method_that_takes_no_half_precision_is_given_none(states: Activations, tail: nn.Linear):
    class Other(Random):
        takes_half = False

        def learn(self, train: Activations, tail: Tail, run: Run) -> SparseCoder:
            assert train.hidden.dtype == torch.float32
            return super().learn(train, tail, run)

    Other(n_concepts=5).fit(replace(states, hidden=states.hidden.half()), tail)


def test_looking_for_infinity_makes_no_copy(states: Activations):
    with Largest() as largest:
        check_finite(states.hidden, states.ids)
    assert largest.tensor < ALL_STATES / 8
