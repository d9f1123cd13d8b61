"""Objects show themselves in one screen, as text and as HTML that trusts no text, and as data frames."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import classifsae as cs
from classifsae.activations import Activations, Source
from classifsae.concepts.kmeans import KMeans
from classifsae.errors import ConfigError
from classifsae.notebook import MOST_FACTS, MOST_ROWS, Sheet, Shown, brief, shown

SOURCE = Source(model="m", layer=1, prompt="", dataset="d")


@pytest.fixture(scope="module")
def data() -> cs.Dataset:
    return cs.load_dataset("planted", options={"n_train": 300, "n_test": 40})


@pytest.fixture(scope="module")
def concepts(train: Activations, tail: nn.Linear) -> cs.Concepts:
    return (
        KMeans(n_concepts=3).fit(train, tail).with_card(names=["<b>", "b", "c"], label_names=["x", "y", "z"])
    )


@pytest.fixture(scope="module")
def scores(concepts: cs.Concepts, tail: nn.Linear, test: Activations) -> cs.Scores:
    return cs.score(concepts, tail, test)


def test_public_objects_fit_on_one_screen(data, concepts, scores, train, tail):
    embeddings = nn.functional.normalize(torch.rand(300, 4), dim=1)
    objects = [
        data, data.train, train, concepts, scores, scores.completeness, scores.causality,
        cs.Guidance(read=embeddings, embeddings=embeddings),
        cs.Sentences(data.train.texts, embeddings, "any"),
        cs.membership_gap(train, train), cs.mistakes_by_concept(concepts, tail, train),
    ]  # fmt: skip
    for thing in objects:
        lines = repr(thing).splitlines()
        assert 1 < len(lines) <= 25, lines
        assert max(map(len, lines)) <= 250, lines
        assert thing._repr_html_().startswith('<div class="classifsae"'), thing


def test_html_trusts_no_text(concepts: cs.Concepts):
    assert "<td>&lt;b&gt;</td>" in concepts._repr_html_()
    assert "<b>" not in concepts._repr_html_()


def test_a_style_reaches_nothing_else_in_a_notebook(concepts: cs.Concepts):
    html = concepts._repr_html_()
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert style.startswith(".classifsae {")
    assert ":root" not in style
    assert "\nbody" not in style
    assert html.count("data:image/png;base64,") == 1
    assert 'class="bar" style="--w: ' in html


def test_many_concepts_have_no_picture(train: Activations, tail: nn.Linear):
    many = KMeans(n_concepts=60).fit(train, tail)
    assert "<img" not in many._repr_html_()
    assert "and 40 more: to_pandas()" in many._repr_html_()


def test_one_concept_shows_itself(concepts: cs.Concepts, train: Activations):
    latent = concepts.kept.tolist()[1]
    one = concepts[latent]
    assert (one.latent, one.name, one.label) == (latent, "b", "xyz"[concepts.segment_of[1]])
    assert repr(concepts["b"]) == repr(one)
    assert [each.name for each in concepts] == list(concepts.names)
    assert "share of each class in its activation: " in repr(one)
    html = concepts["<b>"]._repr_html_()
    assert html.count("&lt;b&gt;") == 1
    assert 'class="shares"' in html
    assert "test sentences" not in html
    for given, said in (
        (99, "there is no concept 99; choose from"),
        ("d", "unknown concept 'd'. Known: <b>, b, c"),
        (1.5, "takes numbers of concepts, such as 17; got 1.5"),
    ):
        with pytest.raises(ConfigError, match=said):
            concepts[given]


def test_a_report_shows_its_table_and_one_concept_with_its_sentences(data: cs.Dataset):
    hidden = torch.eye(4)[list(data.train.labels)] + torch.rand(300, 4)
    train = Activations(hidden, hidden, torch.tensor(data.train.labels), data.train.ids, SOURCE)
    fitted = KMeans(n_concepts=4).fit(train, nn.Identity()).with_card(names=["one", "two", "<3>", "four"])
    found = cs.report(fitted, train, cs.score(fitted, nn.Identity(), train), texts=data.train)
    html = found._repr_html_()
    assert "recovery accuracy" in html
    assert '<svg class="map"' in html
    assert "&lt;3&gt;" in html
    assert "<3>" not in html
    one = found.concept("two")
    assert (one.name, one.latent, one.method) == ("two", 1, "kmeans")
    assert set(one.sentences) <= set(data.train.texts)
    assert one.words[0] in repr(one)
    assert '<ol class="examples">' in one._repr_html_()
    with pytest.raises(ConfigError, match="there is no concept 9 of kmeans; choose from 0, 1, 2, 3"):
        found.concept(9)
    with pytest.raises(ConfigError, match="no concepts of sae are listed; choose from kmeans"):
        found.concept(0, method="sae")


def test_a_sheet_shows_its_beginning_and_says_how_much_is_left():
    rows = [(i, f"a\nb {i}", i / 3, None) for i in range(25)]
    sheet = Sheet("Things", tuple(map(str, range(14))), ("n", "name", "third", "none"), rows, "ask()")
    lines = sheet.text().splitlines()
    assert lines[0] == "Things"
    assert lines[MOST_FACTS + 1] == "  and 2 more"
    assert lines[MOST_FACTS + 2].split() == ["n", "name", "third", "none"]
    assert lines[MOST_FACTS + 4] == "  1   a b 1   0.3333"
    assert lines[-1] == "  and 5 more: ask()"
    assert sheet.html().count("<tr>") == MOST_ROWS + 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""), (True, "True"), (12345, "12,345"), (0.123456, "0.1235"), ("a" * 80, "a" * 59 + "…"),
        (torch.zeros(3, 4), "Tensor of shape (3, 4)"), (np.zeros(2), "ndarray of shape (2,)"),
        (("a", 2), "a, 2"), ((), "none"), ({"a": 1}, "a"), (list(range(2000)), "2,000"), ([(1, 2)], "1"),
    ],
)  # fmt: skip
def test_a_value_in_a_few_words(value: object, said: str):
    assert brief(value) == said
    if value is None or isinstance(value, str | float):
        assert shown(value) == said


def test_what_has_a_repr_of_its_own_keeps_it():
    class Loud(Shown):
        def __repr__(self) -> str:
            return "LOUD"

    assert repr(Loud()) == "LOUD"


# ------------------------------------------------------------------ data frames


def test_scores_have_their_units(scores: cs.Scores):
    frame = scores.to_pandas()
    assert frame.loc["recovery_accuracy", "value"] == scores.completeness.recovery_accuracy
    assert frame.loc["recovery_accuracy", "unit"] == "fraction"
    assert frame["value"].to_dict() == pytest.approx(scores.record(), nan_ok=True)


def test_activations_of_concepts_are_ids_by_names(concepts: cs.Concepts, test: Activations):
    frame = concepts.to_pandas(test)
    assert (tuple(frame.index), tuple(frame.columns)) == (test.ids, ("<b>", "b", "c"))
    assert np.array_equal(frame.to_numpy(), concepts.encode(test.hidden).numpy())
    assert concepts.to_pandas()["label"].tolist() == ["xyz"[c] for c in concepts.segment_of]


def test_texts_have_their_part_and_label(data: cs.Dataset):
    frame = data.to_pandas()
    assert frame["part"].value_counts().to_dict() == {"train": 300, "test": 40}
    row = frame.loc[data.test.ids[3]]
    assert (row.text, row.label) == (data.test.texts[3], data.label_names[data.test.labels[3]])


def test_a_frame_of_nothing_has_no_rows():
    assert len(cs.Scores({}).to_pandas()) == 0


def test_without_pandas_the_install_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r'pip install "classifsae\[pandas\]"'):
        cs.Scores({}).to_pandas()
