"""What every concept method promises, whoever wrote it: one suite over the registry."""

import dataclasses
import re
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts import METHODS, ConceptMethod, Concepts
from classifsae.concepts.base import role_of
from classifsae.errors import ClassifSAEError, ConfigError, DataError, UnknownNameError
from classifsae.metrics import score
from plain_sae import sparsify, weights

QUICK = {"n_vectors": 2000, "batch_size": 32, "n_probe": 60, "n_latents": 24, "top_k": 4, "n_epochs": 3}
NAMES = METHODS.names()
LEARNED_IN_STEPS = ("classifsae", "conceptshap", "consensus", "hiconcept", "sae")
COUNTING = [name for name in NAMES if METHODS.load(name).model_fields["n_concepts"].default is not None]


def recipe(name: str, **options: object) -> ConceptMethod:
    method = METHODS.load(name)
    quick = {key: value for key, value in QUICK.items() if key in method.model_fields}
    if name in COUNTING:
        quick["n_concepts"] = 6
    if name == "pretrained":
        quick["sae"] = _pretrained()
    return method(**quick | options)


@cache
def _pretrained() -> str:
    """The folder of a small autoencoder, the same for all."""
    return str(sparsify(Path(mkdtemp()), weights(16, 24), k=4))


@pytest.fixture(scope="module", params=NAMES)
def fitted(request: pytest.FixtureRequest, train: Activations, tail: nn.Linear) -> tuple[str, Concepts]:
    return request.param, recipe(request.param).fit(train, tail)


def test_codes_and_reconstructions_have_their_shapes(fitted: tuple[str, Concepts], test: Activations):
    _, concepts = fitted
    codes = concepts.encode(test.hidden)
    assert codes.shape == (len(test), len(concepts))
    assert concepts.decode(codes).shape == test.hidden.shape
    assert torch.isfinite(codes).all()
    assert concepts.class_shares.shape == (len(concepts), test.n_classes)


def test_what_was_spent_is_kept_with_the_concepts(fitted: tuple[str, Concepts], tmp_path: Path):
    name, concepts = fitted
    assert concepts.spent is not None
    assert (concepts.spent.n_vectors > 0) == (name in LEARNED_IN_STEPS)
    assert ("learned from" in repr(concepts)) == (name in LEARNED_IN_STEPS)
    concepts.save(tmp_path)
    assert Concepts.load(tmp_path).spent == concepts.spent


def test_states_that_are_an_array_are_refused_with_what_makes_a_tensor_of_them(
    train: Activations, tail: nn.Linear
):
    array = dataclasses.replace(train, hidden=train.hidden.numpy())
    with pytest.raises(ConfigError, match=r"torch\.from_numpy\(states\) is one.*; got ndarray"):
        recipe("kmeans").fit(array, tail)


def test_no_more_concepts_than_asked_for_and_each_in_one_segment(fitted: tuple[str, Concepts]):
    name, concepts = fitted
    assert len(concepts) <= (6 if name in COUNTING else 16)
    assert sorted(j for segment in concepts.segments for j in segment) == list(range(len(concepts)))


def test_segments_begin_with_the_most_active(fitted: tuple[str, Concepts]):
    _, concepts = fitted
    for segment in concepts.segments:
        active = concepts.activation[segment]
        assert torch.equal(active, active.sort(descending=True).values)


def test_shares_of_classes_sum_to_one(fitted: tuple[str, Concepts]):
    _, concepts = fitted
    assert torch.allclose(concepts.class_shares.sum(dim=1), torch.ones(len(concepts)))


def test_the_same_seed_gives_the_same_codes(
    fitted: tuple[str, Concepts], train: Activations, test: Activations, tail: nn.Linear
):
    name, concepts = fitted
    again = recipe(name).fit(train, tail)
    assert torch.equal(again.encode(test.hidden), concepts.encode(test.hidden))


@pytest.mark.parametrize("name", NAMES)
def test_states_of_half_precision_are_upcast(
    name: str, train: Activations, test: Activations, tail: nn.Linear
):
    half = dataclasses.replace(train, hidden=train.hidden.half())
    full = dataclasses.replace(train, hidden=half.hidden.float())
    concepts, upcast = recipe(name).fit(half, tail), recipe(name).fit(full, tail)
    assert torch.equal(concepts.encode(test.hidden), upcast.encode(test.hidden))
    assert torch.equal(concepts.encode(test.hidden.half()), upcast.encode(test.hidden.half().float()))


def test_order_and_company_of_rows_do_not_matter(fitted: tuple[str, Concepts], test: Activations):
    _, concepts = fitted
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    codes = concepts.encode(test.hidden)
    assert torch.allclose(concepts.encode(test.hidden[order]), codes[order], atol=1e-6)
    assert torch.allclose(concepts.encode(test.hidden[:1]), codes[:1], atol=1e-6)


def test_concepts_survive_the_disk_bit_for_bit(
    fitted: tuple[str, Concepts], test: Activations, tmp_path: Path
):
    _, concepts = fitted
    concepts.save(tmp_path / "concepts")
    again = Concepts.load(tmp_path / "concepts")
    codes = concepts.encode(test.hidden)
    assert torch.equal(again.encode(test.hidden), codes)
    assert torch.equal(again.decode(codes), concepts.decode(codes))
    assert again.segments == concepts.segments
    assert again.source == concepts.source
    assert again.curves == concepts.curves


def test_scores_lie_in_their_ranges_and_say_what_they_mean(
    fitted: tuple[str, Concepts], test: Activations, tail: nn.Linear
):
    _, concepts = fitted
    for number in score(concepts, tail, test).flat():
        assert number.quantity.low <= number.value <= number.quantity.high, number
        assert number.quantity.says


def test_fitting_leaves_the_tail_and_the_data_alone(fitted: tuple[str, Concepts], tail: nn.Linear):
    _, concepts = fitted
    assert all(p.grad is None and not p.requires_grad for p in tail.parameters())
    assert not any(p.requires_grad for p in concepts.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_no_concepts_at_all_are_refused(name: str):
    with pytest.raises(ConfigError, match=rf"{name}: n_concepts: .*got 0"):
        recipe(name, n_concepts=0)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused_with_the_closest_known(name: str):
    with pytest.raises(ConfigError, match=r"unknown option 'n_concept'. Did you mean 'n_concepts'\?"):
        METHODS.load(name)(n_concept=3)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_frozen(name: str):
    with pytest.raises(Exception, match="frozen"):
        recipe(name).seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", COUNTING)
def test_more_concepts_than_sentences_are_refused(name: str, train: Activations, tail: nn.Linear):
    few = dataclasses.replace(
        train, hidden=train.hidden[:5], logits=train.logits[:5], labels=train.labels[:5], ids=train.ids[:5]
    )
    with pytest.raises(ConfigError, match="n_concepts is 6, but there are only 5 training sentences"):
        recipe(name).fit(few, tail)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_states_that_are_no_numbers_are_refused(name: str, bad: float, train: Activations, tail: nn.Linear):
    hidden = train.hidden.clone()
    hidden[7, 3] = bad
    with pytest.raises(DataError, match="1 of 120 hidden states hold NaN or infinity, first row 'row-7'"):
        recipe(name).fit(dataclasses.replace(train, hidden=hidden), tail)


@pytest.mark.parametrize("name", NAMES)
def test_one_predicted_class_only_is_refused(name: str, train: Activations, tail: nn.Linear):
    logits = torch.tensor([[1.0, 0.0, 0.0]]).expand(len(train), 3)
    with pytest.raises(DataError, match="predicts one class only for all 120 training sentences"):
        recipe(name).fit(dataclasses.replace(train, logits=logits), tail)


@pytest.mark.parametrize("name", NAMES)
def test_hardly_any_sentences_are_fitted_or_refused_in_words(name: str, train: Activations, tail: nn.Linear):
    rows = [int((train.predictions == c).nonzero()[0]) for c in train.predictions.unique()]
    few = dataclasses.replace(
        train,
        hidden=train.hidden[rows],
        logits=train.logits[rows],
        labels=train.labels[rows],
        ids=tuple(train.ids[i] for i in rows),
    )
    own = recipe(name, **({"n_concepts": 2} if name in COUNTING else {}))
    if name in ("sae", "pretrained"):
        with pytest.raises(DataError, match=r"1 of the 3 sentences of the probe .* are of one class"):
            own.fit(few, tail)
    else:
        with suppress(ClassifSAEError):
            assert len(own.fit(few, tail))


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_work_is_refused_from_two_numbers_alone(name: str):
    recipe(name).check(n_sentences=120, width=16)
    if name in COUNTING:
        with pytest.raises(ConfigError, match=f"{name}: n_concepts is 6, but there are only 5 training"):
            recipe(name).check(n_sentences=5, width=16)


@pytest.mark.parametrize("name", NAMES)
def test_the_remedy_against_dead_concepts_names_options_of_the_method(name: str):
    method = METHODS.load(name)
    named = set(re.findall(r"[a-z]+_[a-z]+|threshold", method.remedy))
    assert named <= set(method.model_fields)
    assert named or name in ("ica", "identity"), "whose concepts cannot die"


def test_yardsticks_are_roles_of_their_classes():
    assert [role_of(name) for name in ("identity", "random", "classes", "sae", "other")] == [
        "ceiling", "random", "label", "method", "method",
    ]  # fmt: skip


def test_an_unknown_method_is_refused_with_the_closest_known():
    with pytest.raises(UnknownNameError, match=r"unknown method 'clasifsae'. Did you mean 'classifsae'\?"):
        METHODS.load("clasifsae")


def test_a_method_may_be_given_as_module_and_class():
    assert METHODS.load("classifsae.concepts.sae:SAE") is METHODS.load("sae")


@pytest.mark.parametrize("path", ["classifsae.concepts.sae:Nothing", "no.such.module:Thing", "json:loads"])
def test_a_class_that_is_not_there_or_no_method_is_refused(path: str):
    with pytest.raises(ConfigError, match=r"cannot import|is not a method"):
        METHODS.load(path)


def test_methods_and_metrics_import_no_transformers():
    code = (
        "import sys; from classifsae.concepts import METHODS; from classifsae.metrics import METRICS\n"
        "for registry in (METHODS, METRICS):\n"
        "    for name in registry.names(): registry.load(name)\n"
        "print([m for m in ('transformers', 'datasets', 'tokenizers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
