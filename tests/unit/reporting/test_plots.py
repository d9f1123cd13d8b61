"""Pictures of objects in memory: which there are, what they show, and that pyplot has them."""

from collections.abc import Iterator

import matplotlib as mpl
import pytest
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from torch import nn

import classifsae as cs
from classifsae.activations import Activations
from classifsae.concepts.kmeans import KMeans
from classifsae.concepts.sae import SAE
from classifsae.errors import ConfigError, UnknownNameError
from unit.explaining.test_explainer import NEURONS, Toy


@pytest.fixture(autouse=True)
def _no_screen() -> Iterator[None]:
    mpl.use("agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def concepts(train: Activations, tail: nn.Linear) -> cs.Concepts:
    fitted = SAE(n_concepts=5, n_latents=24, top_k=4, n_vectors=2000, batch_size=32).fit(train, tail)
    return fitted.with_card(names=["oil", "$5 & $10", "war", "chip", "art"], label_names=["x", "y", "z"])


@pytest.fixture(scope="module")
def scores(concepts: cs.Concepts, tail: nn.Linear, test: Activations) -> cs.Scores:
    sentences = cs.Sentences(test.ids, nn.functional.normalize(torch.rand(64, 4), dim=1), "any")
    return cs.score(concepts, tail, test, sentences=sentences)


def texts(axes: Axes) -> list[str]:
    return [label.get_text() for label in (*axes.get_yticklabels(), *axes.get_xticklabels())]


def test_classes_are_drawn_without_anything_else(concepts: cs.Concepts):
    axes = concepts.plot()
    assert {f"oil ({concepts.kept.tolist()[0]})", "x", "y", "z"} <= set(texts(axes))
    (image,) = axes.images
    assert image.get_array().tolist() == [
        pytest.approx([100 * share for share in row]) for row in concepts.class_shares.tolist()
    ]
    assert pyplot.gcf() is axes.figure


def test_pictures_of_a_test_split_and_of_scores_need_them(
    concepts: cs.Concepts, scores: cs.Scores, test: Activations
):
    assert len(concepts.plot("training")) == len(concepts.curves)
    histograms = concepts.plot("activations", test=test)
    counts = sum(bar.get_height() for bar in histograms[0].patches)
    assert counts == (concepts.encode(test.hidden)[:, 0] > 0).sum()
    assert len(histograms) == 5
    assert "first principal axis" in concepts.plot("map", test=test).get_xlabel()
    effects = concepts.plot("effects", scores=scores)
    assert set(texts(effects)) >= {
        f"{n} ({j})" for n, j in zip(concepts.names, concepts.kept.tolist(), strict=True)
    }
    with pytest.raises(ConfigError, match=r"the picture 'map' of concepts needs test=, activations"):
        concepts.plot("map")
    with pytest.raises(UnknownNameError, match=r"unknown picture 'mapp'. Known: classes, training"):
        concepts.plot("mapp")
    with pytest.raises(ConfigError, match=r"plot draws on a figure of its own"):
        concepts.plot(ax=None)
    with pytest.raises(ConfigError, match=r"test= takes Activations; got int"):
        concepts.plot("map", test=5)
    with pytest.raises(ConfigError, match=r"plot takes concepts, scores or an explanation; got int"):
        cs.plot(5)


def test_scores_draw_what_was_measured(
    concepts: cs.Concepts, scores: cs.Scores, tail: nn.Linear, test: Activations
):
    bars = scores.plot().patches
    moved = sorted(100 * effect.tvd for effect in scores.causality.concepts)
    assert sorted(bar.get_width() for bar in bars) == pytest.approx(moved)
    assert any("oil" in text for text in texts(scores.plot("effects", concepts=concepts)))
    assert scores.plot("sentence-sim").get_ylabel() == "SentenceSim(k), mean cosine"
    with pytest.raises(ConfigError, match="these scores have no picture; measure causality"):
        cs.score(concepts, tail, test, metrics=["completeness"]).plot()


def test_an_explanation_draws_what_each_concept_adds():
    found = cs.explain(Toy(), NEURONS, "goal bank")
    axes = found.plot()
    assert isinstance(axes, Axes)
    assert {text for text in texts(axes) if "concept" in text} == {fired.name for fired in found.concepts}
    drawn = [bar.get_width() for bar in axes.patches]
    wanted = [f.contributions[label] for label in ("sports", "money") for f in reversed(found.concepts)]
    assert drawn == pytest.approx(wanted)
    assert not len(cs.explain(Toy(), NEURONS, "nothing of it").plot().patches)


def test_every_picture_can_be_rendered_and_leaves_no_settings_behind(
    concepts: cs.Concepts, scores: cs.Scores, test: Activations
):
    before = dict(mpl.rcParams)
    for name in ("classes", "training", "activations", "map", "effects"):
        drawn = concepts.plot(name, test=test, scores=scores)
        (drawn if isinstance(drawn, Axes) else drawn[0]).figure.canvas.draw()
    assert dict(mpl.rcParams) == before


def test_concepts_without_names_are_drawn_by_numbers(train: Activations, tail: nn.Linear):
    axes = KMeans(n_concepts=4).fit(train, tail).plot()
    assert "class 0" in texts(axes)
