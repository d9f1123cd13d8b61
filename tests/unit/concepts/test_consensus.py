"""Floors and the consensus: what they find in states whose parts are known."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize, one_hot

from classifsae.activations import Activations, Guidance, Source
from classifsae.concepts import Run
from classifsae.concepts._evidence import sparse
from classifsae.concepts.base import ConceptMethod
from classifsae.concepts.classes import Classes
from classifsae.concepts.consensus import Consensus, agreement
from classifsae.concepts.kmeans import KMeans
from classifsae.concepts.whitened_kmeans import WhitenedKMeans
from classifsae.errors import ClassifSAEWarning, ConfigError, MismatchError
from classifsae.tensors import Tensor

N, WIDTH, N_CLASSES, PER_CLASS = 400, 24, 2, 3
QUICK = {"n_concepts": 6, "n_clusterings": 6, "n_steps": 60}


def worlds(seed: int = 0) -> tuple[Activations, Tensor, Guidance]:
    """Two classes far apart, three topics in each that move the states little, texts that tell them."""
    draws = torch.Generator().manual_seed(seed)
    cells = torch.arange(N) % (N_CLASSES * PER_CLASS)
    classes = cells % N_CLASSES
    hidden = 0.3 * torch.randn(N, WIDTH, generator=draws)
    hidden[:, :2] += 8 * one_hot(classes, N_CLASSES)
    hidden[:, 2:8] += 1.5 * one_hot(cells, 6)
    logits = hidden[:, :2] + 0.3 * hidden[:, 2:4]
    meaning = normalize(one_hot(cells, 6) + 0.1 * torch.randn(N, 6, generator=draws), dim=1)
    source = Source(model="m", layer=1, prompt="", dataset="d")
    made = Activations(hidden, logits, classes, tuple(map(str, range(N))), source)
    return made, cells, Guidance(meaning, meaning)


def tail(hidden: Tensor, /) -> Tensor:
    return hidden[:, :2] + 0.3 * hidden[:, 2:4]


def purity(codes: Tensor, cells: Tensor) -> float:
    """Share of the sentences whose strongest concept belongs to their part."""
    table = torch.zeros(codes.shape[1], 6)
    table.index_put_((codes.argmax(dim=1), cells), torch.ones(len(cells)), accumulate=True)
    return float(table.amax(dim=1).sum() / len(cells))


def test_the_classes_are_the_predictions():
    train, _, _ = worlds()
    codes = Classes().fit(train, tail).encode(train.hidden)
    assert codes.equal(one_hot(train.predictions, N_CLASSES).float())


@pytest.mark.parametrize("recipe", [KMeans(n_concepts=6), WhitenedKMeans(n_concepts=6, n_axes=8)])
def test_clusters_are_a_partition_with_their_mean_as_state(recipe: KMeans):
    train, _, _ = worlds()
    concepts = recipe.fit(train, tail)
    codes = concepts.encode(train.hidden)
    assert codes.sum(dim=1).equal(torch.ones(N))
    own = train.hidden[codes[:, 0] == 1]
    assert torch.allclose(concepts.decode(torch.eye(6)[:1])[0], own.mean(dim=0), atol=1e-4)


def test_whitened_clusters_keep_to_the_class_and_find_its_parts():
    train, cells, _ = worlds()
    codes = WhitenedKMeans(n_concepts=6, n_axes=8).fit(train, tail).encode(train.hidden)
    assert purity(codes, cells) > 0.95
    assert all(len(train.predictions[codes[:, j] == 1].unique()) == 1 for j in range(6))


@pytest.mark.parametrize("method", [WhitenedKMeans, Consensus])
def test_fewer_concepts_than_classes_are_refused(method: type[ConceptMethod]):
    train, _, _ = worlds()
    said = "n_concepts is 1, but there are 2 classes to tell apart; raise n_concepts to 2 at least"
    with pytest.raises(ConfigError, match=said):
        method(n_concepts=1).fit(train, tail)
    with pytest.raises(ConfigError, match=said):
        method(n_concepts=1).check(n_sentences=None, width=None, n_classes=2)


def test_whitened_clusters_over_all_sentences_may_be_fewer_than_classes():
    train, _, _ = worlds()
    assert len(WhitenedKMeans(n_concepts=1, per_class=False).fit(train, tail)) == 1


def test_more_axes_than_the_states_span_are_refused():
    train, _, _ = worlds()
    with pytest.raises(ConfigError, match=r"n_axes is 25, but the states span at most 24 axes.*give 1 to 24"):
        WhitenedKMeans(n_axes=25).fit(train, tail)
    with pytest.raises(ConfigError, match="give 1 to 9"):
        WhitenedKMeans(n_concepts=2, n_axes=10).check(n_sentences=9, width=None)
    fitted = [WhitenedKMeans(n_concepts=6, n_axes=n).fit(train, tail) for n in (24, None)]
    assert fitted[0].encode(train.hidden).equal(fitted[1].encode(train.hidden))


def test_consensus_finds_the_parts_from_states_and_texts():
    train, cells, guidance = worlds()
    concepts = Consensus(**QUICK).fit(train, tail, guidance=guidance)
    codes = concepts.encode(train.hidden)
    assert (codes >= 0).all()
    assert purity(codes, cells) > 0.95
    unseen, others, _ = worlds(seed=1)
    assert purity(concepts.encode(unseen.hidden), others) > 0.9
    rebuilt = tail(concepts.decode(codes))
    assert (rebuilt.argmax(dim=1) == train.predictions).float().mean() > 0.97


def test_consensus_without_texts_says_so():
    train, cells, _ = worlds()
    with pytest.warns(ClassifSAEWarning, match="without guidance by the texts"):
        concepts = Consensus(**QUICK).fit(train, tail)
    assert purity(concepts.encode(train.hidden), cells) > 0.6


def test_the_same_seed_gives_the_same_bits_and_progress_counts_up():
    train, _, guidance = worlds()
    steps: list[tuple[int, int]] = []
    run = Run(on_step=lambda done, total, _: steps.append((done, total)))
    first, second = (
        Consensus(**QUICK).fit(train, tail, run=one, guidance=guidance).state_dict() for one in (run, None)
    )
    assert all(first[name].equal(second[name]) for name in first)
    assert steps == [(i, 96) for i in range(1, 97)]  # 6 clusterings, 60 steps, 30 steps
    assert {name: len(curve) for name, curve in run.curves.items()} == {"encoder": 60, "decoder": 30}


def test_guidance_of_other_texts_is_refused():
    train, _, guidance = worlds()
    with pytest.raises(MismatchError, match="guidance for 10 texts and 400 activations"):
        Consensus(**QUICK).fit(train, tail, guidance=Guidance(guidance.read[:10], guidance.embeddings[:10]))


def test_guidance_is_read_back(tmp_path):
    _, _, guidance = worlds()
    guidance.save(tmp_path)
    again = Guidance.load(tmp_path)
    assert again.read.equal(guidance.read)
    assert again.embeddings.equal(guidance.embeddings)


@pytest.mark.parametrize("seed", range(5))
def test_clusterings_that_split_the_same_parts_agree_on_the_parts(seed: int):
    """Every part is a piece of the graph for itself, so that the leading vectors all have the same value."""
    draws = np.random.default_rng(seed)
    parts = np.arange(300) % 6
    finer = [2 * parts + draws.integers(2, size=300) for _ in range(8)]
    assert set(np.bincount(6 * agreement(finer, 6, seed=seed) + parts)) == {0, 50}


def test_clusterings_that_agree_are_their_agreement():
    groups = np.arange(60) % 3
    found = agreement([groups, (groups + 1) % 3, groups * 2], 3, seed=0)
    assert len(set(zip(groups.tolist(), found.tolist(), strict=True))) == 3


def test_small_codes_are_dropped_by_hand():
    scores = torch.tensor([[1.0, 0.09, 0.11, -1.0], [-1.0, -2.0, -3.0, -4.0]])
    assert sparse(scores, 0.1).tolist() == [[1.0, 0.0, pytest.approx(0.11), 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_the_tail_is_given_states_that_take_gradients():
    train, _, guidance = worlds()
    linear = nn.Linear(WIDTH, 2)
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[0, 0] = linear.weight[1, 1] = 1.0
    assert len(Consensus(**QUICK).fit(train, linear.requires_grad_(False), guidance=guidance)) == 6
