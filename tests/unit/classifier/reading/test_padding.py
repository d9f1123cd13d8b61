"""What a model is given of a text is what its tokenizer gives, whatever the padding."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from tiny_models import DECODERS, SENTENCES, build, classifier_of, texts
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.loading.loaded import Loaded
from classifsae.errors import ConfigError

LONG = " ".join(SENTENCES)


def with_ending(loaded: Loaded, form: str, **options: object) -> PreTrainedTokenizerFast:
    """The tokenizer of a model with special tokens around a text, such as ``$A:0 <end>:0``."""
    backend = deepcopy(loaded.tokenizer.backend_tokenizer)
    specials = [(token, backend.token_to_id(token)) for token in ("<start>", "<end>")]
    backend.post_processor = TemplateProcessing(single=form, special_tokens=specials)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", **options)


def called(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, text: str) -> torch.Tensor:
    """Logits of the model's owner."""
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).logits[0]


@pytest.mark.parametrize("family", ["xlnet", "bert", "deberta"])
def test_types_of_tokens_reach_the_model(family: str):
    loaded = build(family, "encoder", type_vocab_size=3)
    tokenizer = with_ending(
        loaded, "$A:0 <end>:0 <start>:2", model_input_names=["input_ids", "token_type_ids", "attention_mask"]
    )
    owner, few = deepcopy(loaded.model).eval(), SENTENCES[:6]
    model = classifier_of(Loaded(loaded.model, tokenizer, "encoder"), family, max_length=48)
    own = torch.stack([called(owner, tokenizer, text) for text in few])
    torch.testing.assert_close(model.logits(few), own, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.read(few).logits, own, atol=1e-5, rtol=1e-4)
    untyped = [owner(input_ids=torch.tensor([model.reader.encode([text]).rows[0].ids])) for text in few]
    assert (torch.cat([output.logits for output in untyped]) - own).abs().max() > 1e-2
    capture(model, texts(8))


@pytest.mark.parametrize("pad", [None, -1])
@pytest.mark.parametrize("family", [*DECODERS, "openai-gpt", "opt", "bert"])
def test_the_head_of_a_model_without_a_pad_token_reads_a_final_end_token(
    family: str, pad: int | None, tmp_path: Path
):
    loaded = build(family, "encoder")
    loaded.model.config.pad_token_id = pad
    tokenizer = with_ending(loaded, "$A <end>")
    owner = deepcopy(loaded.model).eval()
    model = classifier_of(Loaded(loaded.model, tokenizer, "encoder"), family, max_length=48)
    own = torch.stack([called(owner, tokenizer, text) for text in SENTENCES[:6]])
    torch.testing.assert_close(model.logits(SENTENCES[:6]), own, atol=1e-5, rtol=1e-4)
    found = capture(model, texts(12))
    torch.testing.assert_close(found.logits[:6], own, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.tail(found.hidden), found.logits, atol=1e-5, rtol=1e-4)
    model.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["pad_token_id"] is None
    again = Classifier.load(tmp_path, max_length=48)
    torch.testing.assert_close(again.logits(SENTENCES[:6]), own, atol=1e-5, rtol=1e-4)


def test_a_head_that_takes_the_end_token_for_padding_still_does():
    loaded = build("gpt2", "encoder")
    tokenizer = with_ending(loaded, "$A <end>")
    loaded.model.config.pad_token_id = tokenizer.eos_token_id
    owner = deepcopy(loaded.model).eval()
    model = classifier_of(Loaded(loaded.model, tokenizer, "encoder"), "gpt2")
    own = torch.stack([called(owner, tokenizer, text) for text in SENTENCES[:6]])
    torch.testing.assert_close(model.logits(SENTENCES[:6]), own, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(owner(torch.tensor([[5, 6]])).logits, owner(torch.tensor([[5, 1]])).logits)


def test_a_pad_token_beyond_the_embeddings_is_never_given_to_the_model():
    loaded = build("gpt2", "encoder")
    tokenizer = with_ending(loaded, "$A")
    tokenizer.add_special_tokens({"pad_token": "<beyond>"})
    loaded.model.config.pad_token_id = tokenizer.pad_token_id
    owner = deepcopy(loaded.model).eval()
    model = classifier_of(Loaded(loaded.model, tokenizer, "encoder"), "gpt2")
    own = torch.stack([called(owner, tokenizer, text) for text in SENTENCES[:6]])
    torch.testing.assert_close(model.logits(SENTENCES[:6]), own, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_sequence_classifier_cuts_long_texts_on_the_side_that_its_tokenizer_was_saved_with(
    side: str, tmp_path: Path
):
    loaded = build("bert", "encoder")
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    options = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**options, "truncation_side": side}))
    loaded.tokenizer.truncation_side = side
    model = Classifier.load(tmp_path, max_length=48)
    cut = loaded.tokenizer(LONG, truncation=True, max_length=48, return_tensors="pt")
    own = loaded.model.eval()(**cut).logits
    torch.testing.assert_close(model.logits([LONG, SENTENCES[0]])[:1], own, atol=1e-5, rtol=1e-4)
    start, end = model.span(LONG)
    assert (start > 0, end < len(LONG)) == (side == "left", side == "right")
    assert torch.equal(model.hidden([LONG[start:end]]), model.hidden([LONG]))


def test_a_batch_that_is_read_otherwise_than_one_text_is_refused(tiny, monkeypatch):
    model: Classifier = tiny("gpt_neox")
    honest = model.reader.tokenizer.__call__
    monkeypatch.setattr(
        type(model.reader), "call", lambda _, text: dict(honest("!" + text, return_tensors="pt"))
    )
    with pytest.raises(
        ConfigError, match=r"gpt_neox: called on one text as its tokenizer gives it, its logits are .* off"
    ):
        model.verify(SENTENCES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_weight_that_is_no_number_is_named(kind: str, value: float):
    loaded = build("gpt_neox", kind)
    head = loaded.model.score if kind == "encoder" else loaded.model.get_output_embeddings()
    with torch.no_grad():
        head.weight[0, 0] = value
    name = "score.weight" if kind == "encoder" else "lm_head.weight"
    message = rf"gpt_neox: the weight {name} \(and 0 more\) holds NaN or infinity, .*; choose another model"
    with pytest.raises(ConfigError, match=message):
        classifier_of(loaded, "gpt_neox")


def test_a_weight_that_is_no_number_is_named_though_no_trial_meets_it():
    loaded = build("bert", "encoder")
    table = loaded.model.get_input_embeddings().weight
    with torch.no_grad():
        table[-1] = float("nan")
    with pytest.raises(ConfigError, match=r"word_embeddings.weight \(and 0 more\) holds NaN or infinity"):
        classifier_of(loaded, "bert")


def test_logits_that_overflow_in_half_precision_are_said_to():
    loaded = build("bert", "encoder")
    with torch.no_grad():
        loaded.model.classifier.bias.fill_(6e4)
        loaded.model.bert.pooler.dense.bias.fill_(9)
        loaded.model.classifier.weight.fill_(6e4)
    with pytest.raises(
        ConfigError, match=r"logits are NaN or infinite in torch.float16; set dtype to float32"
    ):
        classifier_of(Loaded(loaded.model.half(), loaded.tokenizer, "encoder"), "bert")


def test_logits_that_overflow_in_full_precision_have_no_cure_by_another():
    loaded = build("bert", "encoder")
    with torch.no_grad():
        loaded.model.classifier.weight.fill_(3e38)
        loaded.model.bert.pooler.dense.bias.fill_(9)
    with pytest.raises(ConfigError, match=r"infinite in torch.float32; choose another model"):
        classifier_of(loaded, "bert")


def test_a_tokenizer_whose_limit_is_no_number_is_refused():
    loaded = build("bert", "encoder")
    loaded.tokenizer.model_max_length = "96"
    with pytest.raises(ConfigError, match=r"tokenizer of bert states a model_max_length of '96'; write a n"):
        classifier_of(loaded, "bert")
