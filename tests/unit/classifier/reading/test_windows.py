"""Long texts in windows: what each row is, whose it is, and that nothing of a text is left out."""

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import LIMIT, SENTENCES, texts

from classifsae.activations import Activations, window_ids
from classifsae.classifier.capture import capture
from classifsae.classifier.reading.windows import places, windowed
from classifsae.data.prompt import fill
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError, DataError
from classifsae.storage import manifest_of

LONG = " ".join(SENTENCES)
TEXTS = ("oil prices fell", LONG, "markets rested", " ".join(SENTENCES[:20]))


def some_long() -> Texts:
    return dataclasses.replace(texts(4), texts=TEXTS)


@given(st.integers(1, 400), st.integers(2, 40), st.data())
def test_places_are_full_share_enough_and_reach_the_end(n_tokens: int, room: int, data: st.DataObject):
    overlap = data.draw(st.integers(0, room - 1))
    starts = places(n_tokens, room, overlap)
    assert starts[0] == 0
    if n_tokens > room:
        assert starts[-1] + room == n_tokens
        steps = [after - before for before, after in itertools.pairwise(starts)]
        assert all(0 < step <= room - overlap for step in steps)
        assert room + (len(steps) - 1) * (room - overlap) < n_tokens  # one fewer would not do


@pytest.mark.parametrize("family", ["bert", "gpt_neox", "gpt2"])
def test_a_row_is_what_the_model_makes_of_its_part_of_the_text(tiny, family):
    model = tiny(family)
    found = capture(model, some_long(), long_texts="windows", overlap=8)
    parts = found.texts_of(TEXTS)
    assert len(parts) == len(found) > len(TEXTS)
    alone = torch.cat([model.hidden([part]) for part in parts])
    torch.testing.assert_close(found.hidden, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt_neox", "gpt2"])
def test_windows_fit_cover_the_text_and_overlap(tiny, family):
    reader = tiny(family).reader
    found = windowed(reader, TEXTS, overlap=8)
    assert max(len(row.ids) for row in found.rows) <= LIMIT
    for owner, text in enumerate(TEXTS):
        spans = [s for s, o in zip(found.spans, found.owners, strict=True) if o == owner]
        assert (spans[0][0], spans[-1][1]) == (0, len(text))
        pairs = list(itertools.pairwise(spans))
        assert all(after[0] < before[1] for before, after in pairs)
        for before, after in pairs:
            shared = text[after[0] : before[1]]
            assert len(reader.tokenizer(shared, add_special_tokens=False)["input_ids"]) >= 8


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{text}\n\nOPTIONS:\n{options}\n", None),
        ("{options}\n{text} is", (" a long answer", " an even longer answer", " good")),
    ],
)
def test_every_window_of_a_decoder_has_the_whole_template_around_it(tiny, template, words):
    reader = dataclasses.replace(tiny("gpt_neox").reader, template=template, words=words)
    found = windowed(reader, TEXTS, overlap=8)
    assert len(found.rows) > len(TEXTS)
    for row, owner, (start, end) in zip(found.rows, found.owners, found.spans, strict=True):
        prompt = fill(reader.template, TEXTS[owner][start:end], reader.label_names, words)
        assert list(row.ids) == reader.tokenizer(prompt)["input_ids"]


def test_a_text_that_fits_is_read_as_when_long_ones_are_cut(tiny):
    for family in ("bert", "gpt_neox"):
        reader = tiny(family).reader
        assert windowed(reader, SENTENCES, overlap=8).rows == reader.encode(SENTENCES).rows


def test_rows_know_their_text_label_and_id(tiny):
    data = some_long()
    found = capture(tiny("bert"), data, long_texts="windows", overlap=8, shard_size=2)
    documents = found.documents.tolist()
    assert documents == sorted(documents)
    assert found.labels.tolist() == [data.labels[document] for document in documents]
    assert found.ids[:3] == ("row-0", "row-1#1", "row-1#2")
    assert found.ids.count("row-2") == 1
    assert len(set(found.ids)) == len(found)
    moved = found.to("cpu")
    assert torch.equal(moved.documents, found.documents)
    assert moved.texts_of(TEXTS) == found.texts_of(TEXTS)


def test_a_cut_text_is_a_row_of_its_own(tiny):
    found = capture(tiny("bert"), some_long())
    assert found.documents is found.spans is None
    assert found.texts_of(TEXTS) == TEXTS


def test_a_killed_capture_of_windows_resumes_to_the_same_bits(tiny, tmp_path, caplog):
    def kill(done, total, values):
        assert total == 4
        if done > 2:
            raise KeyboardInterrupt

    options = {"long_texts": "windows", "overlap": 8, "shard_size": 2}
    whole = capture(tiny("gpt2"), some_long(), folder=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        capture(tiny("gpt2"), some_long(), folder=tmp_path / "killed", on_step=kill, **options)
    resumed = capture(tiny("gpt2"), some_long(), folder=tmp_path / "killed", **options)
    assert manifest_of(tmp_path / "killed") == manifest_of(tmp_path / "whole")
    for name in ("hidden", "logits", "labels", "documents", "spans"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name))
    assert manifest_of(tmp_path / "whole").record["n_split"] == 2
    assert "n_cut" not in manifest_of(tmp_path / "whole").record
    assert caplog.messages[0] == "2 of 4 texts were split into windows at 96 tokens"
    whole.save(tmp_path / "copy")
    assert torch.equal(Activations.load(tmp_path / "copy").spans, whole.spans)


def test_an_overlap_that_fills_a_window_is_refused(tiny):
    with pytest.raises(ConfigError, match="overlap is 94, but a window holds 94 tokens of text beside"):
        capture(tiny("bert"), some_long(), long_texts="windows", overlap=94)


def test_ids_of_windows_that_are_taken_are_refused():
    assert window_ids(["a", "b"], [0, 1, 1]) == ("a", "b#1", "b#2")
    with pytest.raises(DataError, match="'a#2' is also that of a window"):
        window_ids(["a", "a#2"], [0, 0, 1])
