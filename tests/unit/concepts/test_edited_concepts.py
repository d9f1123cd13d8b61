"""Concepts that are merged, split, dropped and renamed: what becomes of codes, states, names and scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from classifsae.activations import Activations
from classifsae.concepts import Concepts, load_concepts
from classifsae.concepts.base import METHODS, mean_by_class
from classifsae.concepts.kmeans import KMeans
from classifsae.concepts.sae import SAE
from classifsae.errors import ConfigError, MismatchError
from classifsae.metrics import score


@pytest.fixture(scope="module")
def whole(train: Activations, tail: nn.Linear) -> Concepts:
    fitted = SAE(n_concepts=5, n_latents=24, top_k=4, n_vectors=2000, batch_size=32).fit(train, tail)
    return fitted.with_card(names=["oil", "cup", "war", "chip", "art"], scores={"recovery_accuracy": 0.9})


def test_a_merged_concept_is_as_active_as_its_members_together_and_writes_their_mean(
    whole: Concepts, train: Activations, test: Activations
):
    first, second, *rest = whole.kept.tolist()
    made = whole.merged([first, second], train, name="fuel")
    assert made.kept.tolist() == [*rest, whole.coder.n_latents]
    assert made.names == ("war", "chip", "art", "fuel")
    before, codes = whole.encode(test.hidden), made.encode(test.hidden)
    assert torch.equal(codes[:, :-1], before[:, 2:])
    assert torch.allclose(codes[:, -1], before[:, :2].sum(dim=1))
    a, b = whole.activation[:2].tolist()
    one, two = whole.directions([first, second])
    assert torch.allclose(made.directions([24])[0], (a * one + b * two) / (a + b), atol=1e-5)
    whole_mean = whole.decode(whole.encode(train.hidden)).mean(dim=0)
    assert torch.allclose(made.decode(made.encode(train.hidden)).mean(dim=0), whole_mean, atol=1e-4)


def test_what_is_known_of_classes_is_measured_again(whole: Concepts, train: Activations):
    made = whole.merged(whole.kept.tolist()[:2], train)
    again = mean_by_class(made.coder, made.kept, train, train.predictions, of=torch.abs)
    assert torch.allclose(made.class_activation, again, atol=1e-6)
    assert made.activation[-1] == pytest.approx(float(made.encode(train.hidden)[:, -1].mean()), rel=1e-5)


def test_a_split_concept_rebuilds_what_it_did_and_its_parts_do_not_overlap(
    whole: Concepts, train: Activations, test: Activations
):
    latent = whole.kept.tolist()[0]
    made = whole.split(latent, train, names=["crude", "gas"])
    assert made.names == ("cup", "war", "chip", "art", "crude", "gas")
    codes = made.encode(test.hidden)
    assert torch.equal(codes[:, -2] + codes[:, -1], whole.encode(test.hidden)[:, 0])
    assert not ((codes[:, -2] > 0) & (codes[:, -1] > 0)).any()
    assert (codes[:, -2] > 0).any()
    before = whole.decode(whole.encode(test.hidden))
    assert torch.allclose(made.decode(codes), before, atol=1e-5)


def test_two_topics_under_one_concept_come_apart(train: Activations, tail: nn.Linear):
    """A concept that is the sum of two classes falls into just these."""
    of_class = METHODS.load("classes")().fit(train, tail)
    both = of_class.merged(of_class.kept.tolist()[:2], train)
    again = both.split(both.kept.tolist()[-1], train)
    codes, predicted = again.encode(train.hidden), train.predictions
    parts = [set(predicted[codes[:, column] > 0].tolist()) for column in (-2, -1)]
    assert sorted(map(sorted, parts)) == [[0], [1]]


def test_dropped_concepts_are_gone_and_the_others_as_before(whole: Concepts, test: Activations):
    first, second, third, *_ = whole.kept.tolist()
    made = whole.dropped(first, third)
    assert made.kept.tolist() == [second, *whole.kept.tolist()[3:]]
    assert made.names == ("cup", "chip", "art")
    assert torch.equal(made.encode(test.hidden), whole.encode(test.hidden)[:, [1, 3, 4]])
    codes = whole.encode(test.hidden)
    codes[:, [0, 2]] = 0
    assert torch.allclose(made.decode(made.encode(test.hidden)), whole.decode(codes), atol=1e-5)


def test_names_change_and_scores_stay(whole: Concepts):
    latent = whole.kept.tolist()[2]
    made = whole.renamed({latent: "peace"})
    assert made.names == ("oil", "cup", "peace", "chip", "art")
    assert whole.names[2] == "war"
    assert made.card.scores == whole.card.scores
    assert whole.dropped(latent).card.scores == {}


def test_edits_follow_edits_and_survive_the_disk(
    whole: Concepts, train: Activations, test: Activations, tail: nn.Linear, tmp_path: Path
):
    kept = whole.kept.tolist()
    made = whole.merged(kept[:2], train, name="fuel").split(24, train).dropped(kept[2])
    assert made.names == ("chip", "art", "fuel (1)", "fuel (2)")
    assert made.kept.tolist() == [*kept[3:], 25, 26]
    made.save(tmp_path / "edited")
    back = load_concepts(tmp_path / "edited")
    codes = made.encode(test.hidden)
    assert torch.equal(back.encode(test.hidden), codes)
    assert torch.equal(back.decode(codes), made.decode(codes))
    assert torch.allclose(made.coder.encode(test.hidden)[:, made.kept], codes, atol=1e-6)
    scores = score(back, tail, test)
    assert scores.completeness.recovery_accuracy == score(made, tail, test).completeness.recovery_accuracy


@pytest.mark.parametrize("name", ["ica", "conceptshap", "kmeans", "identity"])
def test_any_method_can_be_edited(name: str, train: Activations, test: Activations, tail: nn.Linear):
    options = {"n_epochs": 3} if name == "conceptshap" else {}
    options |= {} if name == "identity" else {"n_concepts": 6}
    fitted = METHODS.load(name)(**options).fit(train, tail)
    made = fitted.merged(fitted.kept.tolist()[:2], train)
    codes = made.encode(test.hidden)
    assert torch.allclose(codes[:, -1], fitted.encode(test.hidden)[:, :2].sum(dim=1), atol=1e-5)
    assert made.decode(codes).shape == test.hidden.shape


def test_concepts_are_named_by_number_alone_or_in_a_list(whole: Concepts, train: Activations):
    first, second, *_ = kept = whole.kept.tolist()
    assert whole.dropped([first, second]).names == whole.dropped(first, second).names
    assert whole.dropped(whole.kept[:2]).names == whole.dropped(np.array(kept[:2])).names
    assert whole.split([first], train).names == whole.split(first, train).names
    assert whole.renamed({np.int64(first): " two\n words "}).names[0] == "two words"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda c, a, t: c.renamed({a: " "}), "the name .* has 0 characters, it may have 1 to 80; write one"),
        (lambda c, a, t: c.renamed({a: "x" * 81}), "has 81 characters, it may have 1 to 80; shorten it"),
        (lambda c, a, t: c.renamed({a: 5}), "the name '5' is no text"),
        (lambda c, a, t: c.renamed(["a"] * 5), "renamed takes names by concept, .*; got list"),
        (lambda c, a, t: c.renamed({str(a): "x"}), "renamed takes numbers of concepts, such as 17; got '"),
        (lambda c, a, t: c.merged([a, a + 1], t, name=" "), "has 0 characters"),
        (lambda c, a, t: c.merged(c.kept[:2], t, name=5), "the name '5' is no text"),
        (lambda c, a, t: c.merged(c.kept[:2], t, name="war"), "two concepts would be called 'war'"),
        (lambda c, a, t: c.merged(c.kept[:2], None), "merging and splitting take the activations .*NoneType"),
        (lambda c, a, t: c.merged(None, t), "merged takes numbers of concepts, such as 17; got ."),
        (lambda c, a, t: c.merged(a, t), "merge names 1 concept; give two or more"),
        (lambda c, a, t: c.merged([a, "1"], t), "takes numbers of concepts, such as 17; got '1'"),
        (lambda c, a, t: c.merged([0.0, 1.0], t), "takes numbers of concepts, such as 17; got 0.0"),
        (lambda c, a, t: c.split(c.kept[:2], t), "split takes one concept; got 2"),
        (lambda c, a, t: c.split(a, t, names=["one", "one"]), "two concepts would be called 'one'"),
        (lambda c, a, t: c.split(a, t, names="ab"), "names of concepts are a list of texts; got ab"),
        (lambda c, a, t: c.dropped(), "dropped names no concept; give the number of one at least"),
    ],
)  # fmt: skip
def test_what_is_no_edit_is_said_in_a_line(whole: Concepts, train: Activations, edit, said: str):
    with pytest.raises(ConfigError, match=said) as raised:
        edit(whole, whole.kept.tolist()[0], train)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_edited_is_said(whole: Concepts, train: Activations, tail: nn.Linear):
    first, second, *_ = whole.kept.tolist()
    with pytest.raises(ConfigError, match="no concept 99 to merge, split or drop; choose from"):
        whole.dropped(99)
    with pytest.raises(ConfigError, match="merge names 1 concept; give two or more"):
        whole.merged([first], train)
    with pytest.raises(ConfigError, match=f"concept {first} is merged, split or dropped twice"):
        whole.merged([first, first], train)
    with pytest.raises(ConfigError, match="drop names every concept"):
        whole.dropped(*whole.kept.tolist())
    with pytest.raises(ConfigError, match="has 1 name; give two or none"):
        whole.split(first, train, names=["one"])
    with pytest.raises(ConfigError, match="no concept 99 to rename"):
        whole.renamed({99: "nothing"})
    with pytest.raises(ConfigError, match="two concepts would be called 'cup'"):
        whole.renamed({first: "cup"})
    other = KMeans(n_concepts=4).fit(train, tail)
    other.source = train.source.model_copy(update={"layer": 7})
    with pytest.raises(MismatchError, match="another layer"):
        other.merged(other.kept.tolist()[:2], train)
    few = train.take(torch.arange(3))
    with pytest.raises(ConfigError, match="too few or too alike to be split"):
        whole.split(second, few.take(torch.tensor([0, 0, 0])))
