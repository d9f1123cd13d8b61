"""Answers in words: of one token as ever, of several by their total log-probability, against a slow twin."""

from pathlib import Path

import pytest
import torch
from tiny_models import DECODER, DECODERS, N_LAYERS, NAMES, SENTENCES, texts, topical
from torch.nn.functional import cross_entropy

from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.reading.answers import Answers, answer_words
from classifsae.classifier.tuning.finetune import finetune
from classifsae.errors import ConfigError, UnknownNameError

WORDS = ("oil prices", "team match", "oil team")  # several tokens each; the first and the last begin alike


def total_by_hand(model: Classifier, text: str, word: str) -> torch.Tensor:
    """Log-probability of a word after one unpadded prompt, token by token."""
    prompt = model.reader.encode([text]).ids[0]
    answer = model.answers.tokens[model.reader.words.index(word)]
    score = torch.zeros(())
    for j, token in enumerate(answer):
        ids = torch.tensor([[*prompt, *answer[:j]]])
        score = score + model.model(input_ids=ids).logits[0, -1].log_softmax(dim=0)[token]
    return score


@pytest.mark.parametrize("family", DECODERS)
def test_answers_of_several_tokens_score_their_total_log_probability(tiny, family):
    model = tiny(family, answers=WORDS, layer=2)
    assert min(len(answer) for answer in model.answers.tokens) > 1
    found = model.logits(SENTENCES[:4])
    for row, text in enumerate(SENTENCES[:4]):
        by_hand = torch.stack([total_by_hand(model, text, word) for word in WORDS])
        torch.testing.assert_close(found[row], by_hand, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2"])
def test_hidden_states_are_those_of_the_prompts_last_token_whatever_the_answers(tiny, family):
    words, digits = (
        tiny(family, answers=WORDS, layer=2, template="{text}:"),
        tiny(family, layer=2, template="{text}:"),
    )
    torch.testing.assert_close(
        words.hidden(SENTENCES[:4]), digits.hidden(SENTENCES[:4]), atol=1e-5, rtol=1e-4
    )


def test_words_of_one_token_take_the_path_of_the_digits(tiny):
    words, digits = (
        tiny("gpt2", template="{text}:", answers=("0", "1", "2")),
        tiny("gpt2", template="{text}:"),
    )
    assert torch.equal(words.logits(SENTENCES[:4]), digits.logits(SENTENCES[:4]))
    assert words.answers.tokens == digits.answers.tokens


def test_for_answers_of_one_token_both_scores_give_the_same_probabilities(tiny):
    model = tiny("gpt_neox", layer=2)
    batch = model.batch(SENTENCES[:6])
    total = model.answers.total(lambda tokens: model._after(model._run, batch.inputs, tokens))
    torch.testing.assert_close(
        total.softmax(dim=1), model.states(batch).logits.softmax(dim=1), atol=1e-5, rtol=1e-4
    )
    hidden = model.hidden(SENTENCES[:6])
    total = model.answers.total(lambda tokens: model._after_state(hidden, 2, tokens))
    torch.testing.assert_close(total.softmax(dim=1), model.tail(hidden).softmax(dim=1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layer", range(1, N_LAYERS))
@pytest.mark.parametrize("family", ["gpt_neox", "gpt2", "gptj", "llama"])
def test_the_tail_reads_the_state_and_then_the_answers_tokens_as_after_an_empty_text(tiny, family, layer):
    model = tiny(family, answers=WORDS, layer=layer)
    hidden = model.hidden(SENTENCES[:3])
    found = model.tail(hidden)
    empty = model.reader.ids_before_answer()
    for c, answer in enumerate(model.answers.tokens):
        after = output_of_block(model, layer, [*empty, *answer])[len(empty) : -1]
        for row in range(3):
            states = torch.cat([hidden[row : row + 1], after])
            logits = logits_from(model, layer, states)
            by_hand = sum(logits[j].log_softmax(dim=0)[token] for j, token in enumerate(answer))
            torch.testing.assert_close(found[row, c], by_hand, atol=1e-4, rtol=1e-4)


def output_of_block(model: Classifier, layer: int, ids: list[int]) -> torch.Tensor:
    """States (t, d) that enter the block after this one, of one row of tokens."""
    return model.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]


def logits_from(model: Classifier, layer: int, states: torch.Tensor) -> torch.Tensor:
    """Logits (t, V) of the model, with these states (t, d) in place of what block ``layer`` takes in."""

    def swap(_, arguments, options):
        return (states[None], *arguments[1:]), options

    handle = model._anatomy.blocks[layer].register_forward_pre_hook(swap, with_kwargs=True)
    try:
        return model.model(input_ids=torch.arange(1, 1 + len(states))[None]).logits[0]
    finally:
        handle.remove()


def test_gradients_tell_answers_apart_that_begin_alike(tiny):
    model = tiny("gpt_neox", answers=WORDS, layer=2)
    with torch.inference_mode():
        model.tail(
            model.hidden(SENTENCES[:1])
        )  # what is kept for later calls must not be an inference tensor
    hidden = model.hidden(SENTENCES[:3]).clone().requires_grad_()
    scores = model.tail(hidden)
    (scores[:, 0] - scores[:, 2]).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum(dim=1).min() > 1e-6


def test_rows_of_a_tail_are_cut_to_a_bounded_number_of_logits(tiny, monkeypatch):
    model = tiny("gpt_neox", answers=WORDS, layer=2)
    hidden = model.hidden(SENTENCES[:7])
    whole = model.tail(hidden)
    monkeypatch.setattr("classifsae.classifier.classifier.NUMBERS_PER_TAIL", 2500)
    assert model._rows_per_tail(model.answers) < 7
    torch.testing.assert_close(model.tail(hidden), whole, atol=1e-5, rtol=1e-5)


def test_answers_share_the_passes_of_their_common_beginnings():
    answers = Answers(((5, 7), (5, 9), (3,), (5, 8, 1), (4, 4)))
    assert answers.continuations == {(4,): [2, 4], (5, 8): [0, 1, 3]}
    assert answers.n_extra == 2
    assert Answers(((1,), (2,))).continuations == {(): [0, 1]}


def test_words_are_tuned_captured_and_survive_the_disk(tmp_path):
    data = topical()
    options = {**DECODER, "answers": {"Sports": "a goal", "World": "the news", "Business": "a price"}}
    options["architecture"] = {**DECODER["architecture"], "initializer_range": 0.1}
    losses: list[float] = []
    model = finetune(
        options, data, folder=tmp_path, n_steps=40, learning_rate=1e-2, layer=1,
        on_step=lambda d, t, v: losses.append(v["loss"]),
    )  # fmt: skip
    assert model.reader.words == ("the news", "a goal", "a price")
    assert losses[-1] < losses[0] / 2
    found = capture(model, data)
    assert (found.predictions == found.labels).float().mean() > 0.9
    loaded = Classifier.load(tmp_path)
    assert (loaded.reader.words, loaded.prompt, loaded.layer) == (model.reader.words, model.prompt, 1)
    torch.testing.assert_close(loaded.logits(data.texts[:6]), found.logits[:6], atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuned decoder of four blocks whose answers are several tokens each."""
    folder = tmp_path_factory.mktemp("taught")
    options = {**DECODER, "answers": ["news item", "goal scored", "price rise"], "layer": 2, "seed": 1}
    options["architecture"] = {**DECODER["architecture"], "num_hidden_layers": 4, "initializer_range": 0.1}
    finetune(options, topical(), folder=folder, n_steps=80, learning_rate=5e-3)
    return folder


@pytest.mark.parametrize(("layer", "agree", "apart"), [(-2, 0.7, 0.3), (2, 0.9, 0.1)])
def test_below_the_last_block_the_tail_mostly_decides_as_the_model_does(taught, layer, agree, apart):
    """One model; others agree less or more, as docs/decisions/0012 says: the rest of the prompt is gone."""
    model, data = Classifier.load(taught, layer=layer), topical()
    found = capture(model, data)
    rebuilt = model.tail(found.hidden)
    assert (rebuilt.argmax(dim=1) == found.predictions).float().mean() >= agree
    assert (rebuilt.softmax(dim=1) - found.logits.softmax(dim=1)).abs().sum(dim=1).mean() / 2 <= apart


def test_after_the_last_block_the_tail_is_the_model_for_the_answers_first_tokens(taught):
    with pytest.raises(ConfigError, match=r"layer is 4, the last of .*, after which no further token of an"):
        Classifier.load(taught, layer=-1)
    model, data = Classifier.load(taught, layer=2), topical()
    states = model._states_at(model.batch(data.texts), model.n_layers, model.answers.first)
    rebuilt = model._tail_from(states.hidden, model.n_layers, model.answers.first)
    torch.testing.assert_close(rebuilt, states.logits, atol=1e-5, rtol=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_total_log_probabilities(decoder_folder):
    data = texts(6)
    start = Classifier.load(decoder_folder, label_names=NAMES, answers=WORDS)
    seen: list[float] = []
    finetune(
        decoder_folder, data, answers=list(WORDS), n_steps=1, batch_size=6,
        on_step=lambda d, t, v: seen.append(v["loss"]),
    )  # fmt: skip
    by_hand = cross_entropy(start.logits(data.texts), torch.tensor(data.labels)).item()
    assert seen[0] == pytest.approx(by_hand, rel=0.1)  # training drops out


def test_the_options_list_the_words(tiny):
    model = tiny("gpt2", answers=("up", "down", "Business"))
    kept = model.reader.tokenizer.decode(model.reader.encode(["a text"]).ids[0])
    assert kept == "a text\n\nOPTIONS:\nup(World)\ndown(Sports)\nBusiness\n"
    assert model.prompt != tiny("gpt2").prompt


def test_an_answer_leaves_room_for_itself(tiny):
    model = tiny("gpt2", answers=WORDS, layer=1)
    longest = max(map(len, model.answers.tokens))
    assert model.reader.max_length == 96 - (longest - 1)
    model.logits(["word " * 300])
    with pytest.raises(
        ConfigError, match=r"gpt2 reads \d+ tokens at most beside the \d+ of an answer; lower it"
    ):
        tiny("gpt2", answers=WORDS, layer=1, max_length=96)


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
            ("up", "up and away", "down"),
            "answer 'up' is the beginning of 'up and away', which can never be more",
        ),
    ],
)
def test_answers_that_cannot_work_are_refused(tiny, answers, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        tiny("gpt2", answers=answers, layer=1)


def test_answers_that_merge_with_the_prompt_are_refused(tiny):
    tokenizer = tiny("gpt2").reader.tokenizer
    merged = next(w for w in ("prices", "team", "match") if len(tokenizer(f": {w}")["input_ids"]) < 3)
    with pytest.raises(ConfigError, match="move the space at the end of the template to the beginning of"):
        tiny("gpt2", answers=(merged, "1", "2"), template="{text}: ")
    tiny("gpt2", answers=(f" {merged}", " 1", " 2"), template="{text}:", layer=1)


def test_words_of_several_tokens_are_not_opened_after_the_last_block(tiny):
    with pytest.raises(ConfigError, match="layer is 3, the last of gpt2, after which no further token of an"):
        tiny("gpt2", answers=WORDS, layer=-1)


def test_a_classification_head_answers_nothing(tiny):
    with pytest.raises(
        ConfigError, match="bert has a classification head and answers nothing; leave answers"
    ):
        tiny("bert", answers=WORDS)


def test_words_are_given_in_order_or_by_label():
    assert answer_words({"b": "x", "a": "y"}, ("a", "b")) == ("y", "x")
    assert answer_words(["y", "x"], ("a", "b")) == ("y", "x")
    assert answer_words(None, ("a", "b")) is None
