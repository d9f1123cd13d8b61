"""Hidden states and the tail, against the models' own outputs, for every family."""

import pytest
import torch
from tiny_models import DECODERS, ENCODERS, N_LAYERS, NAMES, SENTENCES, ids_of

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.opening.blocks import overridden
from classifsae.data.prompt import fill
from classifsae.errors import ConfigError
from classifsae.explaining.explainer import without_word, word_spans

FAMILIES = [*ENCODERS, *DECODERS]


def full_outputs(model: Classifier, text: str):
    """What the model itself says of one text, alone and unpadded: hidden states at all layers, and logits."""
    ids = ids_of(model, text)
    with torch.no_grad():
        output = model.model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    return output.hidden_states, output.logits


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_logits_equal_the_models_own_whatever_the_padding(tiny, family):
    for layer in range(1, N_LAYERS):
        model = tiny(family, layer=layer)
        states = model.states(model.batch(SENTENCES[:6]))
        for row, text in enumerate(SENTENCES[:6]):
            own_states, own_logits = full_outputs(model, text)
            position = 0 if family in ENCODERS else -1
            torch.testing.assert_close(
                states.hidden[row], own_states[layer][0, position], atol=1e-5, rtol=1e-4
            )
            own = own_logits[0] if family in ENCODERS else own_logits[0, -1, list(model.opened.answers)]
            torch.testing.assert_close(states.logits[row], own, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_tail_after_the_last_block_is_the_whole_model(tiny, family):
    model = tiny(family, layer=N_LAYERS)
    states = model.states(model.batch(SENTENCES[:8]))
    assert states.logits.std(dim=0).min() > 1e-3  # the texts differ, so equality says something
    torch.testing.assert_close(model.tail(states.hidden), states.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_is_embedded_in_the_tail(tiny, family, monkeypatch: pytest.MonkeyPatch):
    model, looked_up = tiny(family, layer=N_LAYERS), []
    hidden, embed = model.hidden(SENTENCES[:3]), torch.nn.Embedding.forward
    whole = model.tail(hidden)
    monkeypatch.setattr(
        torch.nn.Embedding, "forward", lambda table, ids: looked_up.append(ids.shape) or embed(table, ids)
    )
    assert model.tail(hidden).equal(whole)
    assert looked_up == []


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_flow_through_the_tail_to_the_hidden_states_only(tiny, family):
    model = tiny(family, layer=1)
    hidden = model.hidden(SENTENCES[:3]).clone().requires_grad_()
    model.tail(hidden).square().sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum(dim=1).min() > 0
    assert all(weight.grad is None and not weight.requires_grad for weight in model.model.parameters())


@pytest.mark.parametrize("family", ["bert", "gpt2", "mistral"])
def test_other_texts_in_the_batch_do_not_matter(tiny, family):
    model = tiny(family, layer=2)
    together, alone = model.hidden(SENTENCES[:9]), model.hidden(SENTENCES[:1])
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)


def test_tail_rows_are_independent_and_may_be_none(tiny):
    model = tiny("gpt_neox", layer=1)
    hidden = model.hidden(SENTENCES[:4])
    torch.testing.assert_close(model.tail(hidden)[2:], model.tail(hidden[2:]), atol=1e-6, rtol=1e-5)
    assert model.tail(hidden[:0]).shape == (0, len(NAMES))


def test_tail_answers_in_float32_for_hidden_states_of_half_precision(tiny):
    model = tiny("bert", layer=2)
    hidden = model.hidden(SENTENCES[:2])
    assert model.tail(hidden.bfloat16()).dtype == torch.float32


def test_forwards_are_put_back_after_an_exception(tiny):
    model = tiny("bert", layer=2)
    before = [vars(module).get("forward") for module in model.model.modules()]
    with pytest.raises(RuntimeError):
        model.tail(torch.zeros(2, 7))  # a width that the blocks cannot take
    assert [vars(module).get("forward") for module in model.model.modules()] == before
    model.tail(model.hidden(SENTENCES[:2]))


def test_an_override_that_was_there_before_is_put_back():
    module = torch.nn.Linear(2, 2)
    mine = module.forward = lambda x: x + 1
    with overridden("forward", {module: lambda x: x}):
        assert module(torch.zeros(1, 2)).sum() == 0
    assert module.forward is mine


def test_layers_count_from_either_end(tiny):
    assert tiny("bert").layer == N_LAYERS
    assert tiny("gpt2").layer == N_LAYERS - 1
    assert tiny("bert", layer=-1).layer == N_LAYERS
    assert tiny("bert", layer=-N_LAYERS).layer == 1


@pytest.mark.parametrize("layer", [0, N_LAYERS + 1, -N_LAYERS - 1])
def test_a_layer_out_of_range_is_refused(tiny, layer):
    message = rf"layer is {layer}, but bert has 3 blocks; give 1 to 3, or -3 to -1, counted from the end"
    with pytest.raises(ConfigError, match=message):
        tiny("bert", layer=layer)


def test_verify_catches_a_head_that_reads_more_than_the_sentence_vector(tiny):
    model = tiny("bert")
    model.verify(SENTENCES)
    honest = model.model.bert.pooler.forward
    with (
        overridden(
            "forward", {model.model.bert.pooler: lambda states: honest(states.mean(dim=1, keepdim=True))}
        ),
        pytest.raises(
            ConfigError, match=r"bert: given the sentence vector alone, its head is .* off the whole"
        ),
    ):
        model.verify(SENTENCES)


def test_answer_tokens_are_the_digits_after_the_prompt(tiny):
    model = tiny("gpt_neox")
    tokens = list(model.opened.answers)
    assert model.reader.tokenizer.convert_ids_to_tokens(tokens) == ["0", "1", "2"]


def test_a_decoder_keeps_the_options_and_an_encoder_the_beginning_of_a_long_text(tiny):
    long = "first " + "words " * 200 + "last"
    decoder, encoder = tiny("gpt2"), tiny("bert")
    kept = decoder.reader.tokenizer.decode(ids_of(decoder, long)[0])
    assert kept.endswith("last\n\nOPTIONS:\n0(World)\n1(Sports)\n2(Business)\n")
    assert "first" not in kept
    assert "first" in encoder.reader.tokenizer.decode(ids_of(encoder, long)[0])
    assert decoder.reader.encode([long, "short"]).n_long == 1


def test_what_a_template_puts_before_a_long_text_stays(tiny):
    long = "first " + "words " * 200 + "last"
    model = tiny("gpt2", template="One of {options} for: {text}\nAnswer ")
    reader = model.reader
    (row,) = reader.encode([long]).rows
    begin, end = reader.span(long)
    assert reader.tokenizer.decode(row.ids) == fill(reader.template, long[begin:], reader.label_names)
    assert reader.room - 2 <= len(row.ids) <= reader.room
    assert (0 < begin < end, end) == (True, len(long))
    assert reader.encode([long, "short"]).n_long == 1
    assert reader.encode([long, "short"]).rows == [row, *reader.encode(["short"]).rows]


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt_neox"])
def test_what_a_long_text_reads_without_a_word_is_within_reach(tiny, family):
    reader = tiny(family).reader
    long = "a" * 300 + " " + " ".join(SENTENCES * 60)
    words = word_spans(long, reader.span(long))
    first, last = reader.reach(long, (words[0][0], words[-1][1]))
    assert last - first < len(long) / 3
    for start, end in words:
        near = without_word(long[first:last], start - first, end - first)
        assert reader.encode([near]).rows == reader.encode([without_word(long, start, end)]).rows
    assert reader.reach("short", (0, 5)) == (0, 5)


def test_a_limit_without_room_for_a_text_is_refused(tiny):
    with pytest.raises(
        ConfigError, match=r"max_length is 20, but what is put around a text takes \d+ tokens"
    ):
        tiny("gpt2", max_length=20)
    with pytest.raises(ConfigError, match="max_length is 1000, but bert reads 96 tokens at most"):
        tiny("bert", max_length=1000)
