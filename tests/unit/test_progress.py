"""Bars stand where they are asked for, and nowhere else; one at a time."""

from collections.abc import Iterator

import pytest
from torch import nn

from classifsae import progress
from classifsae.activations import Activations
from classifsae.concepts._optimise import Run
from classifsae.concepts.kmeans import KMeans
from classifsae.concepts.sae import SAE
from classifsae.metrics import score
from classifsae.progress import bar, progress_bars, with_bar
from classifsae.tensors import OnStep

SMALL = {"n_concepts": 4, "n_latents": 24, "top_k": 4, "n_vectors": 2000, "batch_size": 60, "n_probe": 60}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(progress, "SECONDS_BEFORE", 0.0)
    yield
    progress_bars(None)


def test_outside_of_a_notebook_there_is_none(
    train: Activations, tail: nn.Module, capsys: pytest.CaptureFixture[str]
):
    score(KMeans(n_concepts=4).fit(train, tail), tail, train, metrics=["causality"])
    assert capsys.readouterr() == ("", "")


def test_asked_for_there_is_one_and_off_there_is_none(
    train: Activations, tail: nn.Module, capsys: pytest.CaptureFixture[str]
):
    progress_bars(True)
    concepts = SAE(**SMALL).fit(train, tail)
    assert "sae" in capsys.readouterr().err
    score(concepts, tail, train, metrics=["causality"])
    assert "scores" in capsys.readouterr().err
    progress_bars(False)
    SAE(**SMALL).fit(train, tail)
    assert capsys.readouterr() == ("", "")


def test_who_watches_already_sees_no_bar(
    train: Activations, tail: nn.Module, capsys: pytest.CaptureFixture[str]
):
    progress_bars(True)
    seen: list[int] = []
    SAE(**SMALL).fit(train, tail, run=Run(on_step=lambda done, total, values: seen.append(done)))
    assert seen
    assert capsys.readouterr() == ("", "")


def test_a_bar_within_a_bar_is_not_shown_and_the_next_is(capsys: pytest.CaptureFixture[str]):
    @with_bar("inner")
    def inner(*, on_step: OnStep | None = None) -> bool:
        return on_step is not None

    progress_bars(True)
    with bar("outer"):
        assert not inner()
    assert inner()
    said = capsys.readouterr().err
    assert "outer" in said
    assert "inner" in said


def test_a_bar_ends_with_what_fails():
    progress_bars(True)
    with pytest.raises(ValueError, match="lost"), bar("first"):
        raise ValueError("lost")
    with bar("second") as on_step:
        assert on_step is not None
