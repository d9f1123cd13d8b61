"""ICA against the published implementation: the fit itself, codes and every score."""

from pathlib import Path

import pytest

from classifsae.activations import Activations
from classifsae.concepts._linear import LinearCoder
from classifsae.concepts.ica import ICA
from classifsae.storage import read_tensors
from classifsae.tensors import Tail
from golden.evaluation import Published, largest


@pytest.fixture(scope="module")
def folder(golden: Path) -> Path:
    return golden / "ica"


def published_coder(folder: Path) -> LinearCoder:
    tensors = read_tensors(folder / "weights.safetensors")
    return LinearCoder(mean=tensors["mean"], encoder=tensors["unmixing"].T, decoder=tensors["mixing"].T)


def test_our_fit_finds_the_published_components(folder: Path, golden_train: Activations, golden_tail: Tail):
    """Theirs whitened through the SVD of the states, ours through their covariance, both in float32."""
    concepts = ICA(seed=42).fit(golden_train, golden_tail)
    ours, theirs = concepts.coder, published_coder(folder)
    assert isinstance(ours, LinearCoder)
    assert largest(ours.encoder - theirs.encoder) <= 1e-3
    assert largest(ours.decoder - theirs.decoder) <= 1e-3
    assert largest(ours.mean - theirs.mean) <= 1e-5


def test_choice_codes_logits_and_scores(folder: Path, golden_test: Activations, golden_tail: Tail):
    published = Published(ICA(), published_coder(folder), folder, golden_test, golden_tail)
    published.agrees(codes=2e-5, logits=2e-5)


def test_our_segments_of_signed_codes_differ_from_the_published(folder: Path, golden_test: Activations):
    """By mean |activation| no concept is turned to the class that it is most negative on."""
    coder = published_coder(folder)
    ours = ICA().keep(coder, golden_test, golden_test.labels)
    theirs = ICA().keep_as_published(coder, golden_test)
    assert (ours.class_activation >= 0).all()
    assert ours.segments != theirs.segments
    assert ours.kept.equal(theirs.kept)
