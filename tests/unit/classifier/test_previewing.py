"""The dry run: one filled prompt, where it is cut, and the answers, without weights or training."""

import pytest
from tiny_models import NAMES, SENTENCES
from transformers import PreTrainedModel

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.config import resolve_backbone
from classifsae.classifier.preview import preview
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError

LONG = Texts(("first " + "oil prices " * 60 + "last", *SENTENCES[:2]), (1, 0, 2), ("r7", "r8", "r9"), NAMES)
SHORT = Texts(SENTENCES[:3], (1, 0, 2), ("r7", "r8", "r9"), NAMES)


@pytest.fixture(autouse=True)
def without_weights(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a dry run loads no weights")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", refuse)


def test_a_decoders_prompt_is_shown_with_its_cut_and_answers(decoder_folder):
    shown = preview(
        resolve_backbone(decoder_folder, template="{text} is:", answers=[" won", " fell", "0"]), LONG
    )
    lines = shown.splitlines()
    assert lines[0] == f"{decoder_folder.name} reads text r7 (Sports) as:"
    assert lines[2].endswith("oil prices last is:")
    assert not lines[2].startswith("first")
    assert lines[4].startswith("tokens: ")
    assert lines[5].startswith("cut: the first ")
    assert lines[6] == "answers, and their tokens:"
    assert [line.split(" = ")[0] for line in lines[7:]] == [
        "  World: ' won'",
        "  Sports: ' fell'",
        "  Business: '0'",
    ]
    assert lines[9] == "  Business: '0' = ['0']"


def test_what_is_shown_is_what_the_model_reads(decoder_folder):
    shown = preview(resolve_backbone(decoder_folder), SHORT)
    kept = shown.split("-" * 40)[1].removeprefix("\n").removesuffix("\n")
    assert kept == f"{SENTENCES[0]}\n\nOPTIONS:\n0(World)\n1(Sports)\n2(Business)\n"
    assert "cut: nothing" in shown


def test_an_encoder_keeps_the_beginning_and_has_no_answers(encoder_folder):
    shown = preview(resolve_backbone(encoder_folder, max_length=12), LONG)
    lines = shown.splitlines()
    assert lines[2].startswith("first oil")
    assert lines[4].endswith(", 12 at most")
    assert lines[5].startswith("cut: the last ")
    assert lines[6] == "the head tells apart: World, Sports, Business"


def test_a_model_from_scratch_shows_the_tokens_of_the_tokenizer_that_it_would_train():
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    architecture = {"model_type": "gpt_neox", "max_position_embeddings": 64, **shape}
    shown = preview(resolve_backbone({"architecture": architecture, "tokenizer": {"vocab_size": 400}}), SHORT)
    assert shown.splitlines()[-1] == "  Business: '2' = ['2']"


def test_a_dry_run_refuses_what_a_run_would(decoder_folder):
    with pytest.raises(ConfigError, match=r"must contain \{text\} exactly once"):
        preview(resolve_backbone(decoder_folder, template="what?"), SHORT)
    with pytest.raises(ConfigError, match="answers has 1 words for 3 classes"):
        preview(resolve_backbone(decoder_folder, answers=["yes"]), SHORT)


def test_a_saved_classifier_is_shown_with_its_own_template(tiny, tmp_path):
    model: Classifier = tiny("gpt_neox", layer=1, template="{text} so:", answers=("p", "q", "r"))
    model.save(tmp_path)
    shown = preview(resolve_backbone(tmp_path, tuning="none"), SHORT)
    assert f"{SENTENCES[0]} so:" in shown
    assert "  Sports: 'q' = ['q']" in shown
