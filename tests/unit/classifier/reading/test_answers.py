"""Answers in words: each one token right after the prompt, whose logit is that of the class."""

import pytest
import torch
from tiny_models import DECODER, DECODERS, SENTENCES, build, classifier_of, ids_of, topical

from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.reading.reader import answer_words
from classifsae.classifier.tuning.finetune import finetune
from classifsae.errors import ConfigError, UnknownNameError

LETTERS = ("p", "q", "r")


@pytest.mark.parametrize("family", DECODERS)
def test_the_logit_of_a_class_is_that_of_its_words_token(tiny, family):
    model = tiny(family, answers=LETTERS, layer=2)
    tokens = model.reader.tokenizer.convert_tokens_to_ids(list(LETTERS))
    found = model.logits(SENTENCES[:4])
    for row, text in enumerate(SENTENCES[:4]):
        own = model.model(input_ids=ids_of(model, text)).logits[0, -1, tokens]
        torch.testing.assert_close(found[row], own, atol=1e-4, rtol=1e-4)


def test_words_that_are_the_indices_are_the_indices(tiny):
    words = tiny("gpt2", template="{text}:", answers=("0", "1", "2"))
    digits = tiny("gpt2", template="{text}:")
    assert torch.equal(words.logits(SENTENCES[:4]), digits.logits(SENTENCES[:4]))
    assert words.opened.answers == digits.opened.answers


def test_words_are_tuned_captured_and_survive_the_disk(tmp_path):
    data = topical()
    options = {**DECODER, "answers": {"Sports": "q", "World": "p", "Business": "r"}}
    options["architecture"] = {**DECODER["architecture"], "initializer_range": 0.1}
    model = finetune(options, data, folder=tmp_path, n_steps=60, learning_rate=1e-2, layer=1)
    assert model.reader.words == ("p", "q", "r")
    found = capture(model, data)
    assert (found.predictions == found.labels).float().mean() > 0.9
    loaded = Classifier.load(tmp_path)
    assert (loaded.reader.words, loaded.prompt, loaded.layer) == (model.reader.words, model.prompt, 1)
    torch.testing.assert_close(loaded.logits(data.texts[:6]), found.logits[:6], atol=1e-4, rtol=1e-4)


def test_the_options_list_the_words(tiny):
    model = tiny("gpt2", answers=("p", "q", "r"))
    (row,) = model.reader.encode(["a text"]).rows
    kept = model.reader.tokenizer.decode(row.ids)
    assert kept == "a text\n\nOPTIONS:\np(World)\nq(Sports)\nr(Business)\n"
    assert model.prompt != tiny("gpt2").prompt


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (("up", "down"), r"answers has 2 words for 3 classes \(World, Sports, Business\); give one for each"),
        ({"World": "up", "Sports": "down"}, "answers has 2 words for 3 classes"),
        ({"World": "up", "Sport": "down"}, r"unknown label in answers 'Sport'. Did you mean 'Sports'\?"),
        (
            ("up", "up", "down"),
            r"answers must differ from each other and not be empty, got \['up', 'up', 'down'\]",
        ),
        (("", "up", "down"), "answers must differ from each other and not be empty"),
        (
            ("p", "oil prices", "q"),
            r"the answer 'oil prices' is not one token right after the prompt in the tokenizer of gpt2 "
            r"\(alone it is \[.*\]\); choose words of one token",
        ),
    ],
)
def test_answers_that_cannot_work_are_refused(tiny, answers, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        tiny("gpt2", answers=answers, layer=1)


def test_answers_that_merge_with_the_prompt_are_refused(tiny):
    tokenizer = tiny("gpt2").reader.tokenizer
    merged = next(w for w in ("prices", "team", "match") if len(tokenizer(f": {w}")["input_ids"]) < 3)
    with pytest.raises(ConfigError, match="belongs to the word, not to the end of the template"):
        tiny("gpt2", answers=(merged, "1", "2"), template="{text}: ")
    tiny("gpt2", answers=(f" {merged}", "1", "2"), template="{text}:", layer=1)


def test_more_classes_than_digits_are_refused_without_words():
    names = tuple(f"class {i}" for i in range(11))
    with pytest.raises(ConfigError, match=r"the answer '10' is not one token right after the prompt"):
        classifier_of(build("gpt2", "decoder"), "gpt2", names, template="{text}:")


def test_a_classification_head_answers_nothing(tiny):
    with pytest.raises(
        ConfigError, match="bert has a classification head and answers nothing; leave answers"
    ):
        tiny("bert", answers=LETTERS)


def test_words_are_given_in_order_or_by_label():
    assert answer_words({"b": "x", "a": "y"}, ("a", "b")) == ("y", "x")
    assert answer_words(["y", "x"], ("a", "b")) == ("y", "x")
    assert answer_words(None, ("a", "b")) is None
