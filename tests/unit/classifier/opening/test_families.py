"""What the sentence vector is in each family, and that the head given it alone says what the model says."""

import pytest
import torch
from tiny_models import N_LAYERS, NAMES, SENTENCES, build, classifier_of, ids_of, texts
from transformers import LlamaConfig, LlamaForTokenClassification

from classifsae.classifier.capture import capture
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.tuning.finetune import finetune
from classifsae.errors import ConfigError

FIRST = ["bert", "roberta", "xlm-roberta", "distilbert", "deberta", "deberta-v2", "electra", "mpnet"]
FIRST += ["modernbert", "roformer"]
LAST = ["gpt2", "gpt_neox", "gptj", "llama", "mistral", "qwen2", "qwen3", "gemma2", "opt", "openai-gpt"]
POOLED = ["modernbert mean", "eurobert mean", "albert", "longformer", "xlm", "xlnet", "squeezebert"]
POOLING = {"modernbert mean": {"classifier_pooling": "mean"}, "eurobert mean": {"classifier_pooling": "mean"}}


@pytest.fixture(scope="module")
def opened():
    """A sequence classifier of a family, opened at its last layer; built once."""
    built: dict[str, Classifier] = {}

    def make(family: str) -> Classifier:
        if family not in built:
            loaded = build(family.split(maxsplit=1)[0], "encoder", **POOLING.get(family, {}))
            built[family] = classifier_of(loaded, family, layer=-1, max_length=48)
        return built[family]

    return make


@pytest.mark.parametrize(
    ("family", "reads"),
    [*[(f, 0) for f in FIRST], *[(f, -1) for f in LAST], *[(f, None) for f in POOLED]],
)
def test_the_sentence_vector_and_the_head_are_the_whole_model(opened, family, reads):
    model = opened(family)
    assert model.opened.structure.reads == reads
    states = model.states(model.batch(SENTENCES[:8]))
    assert states.hidden.shape == (8, model.width)
    assert states.logits.std(dim=0).min() > 1e-3
    torch.testing.assert_close(model.tail(states.hidden), states.logits, atol=1e-5, rtol=1e-5)
    for row, text in enumerate(SENTENCES[:3]):  # what Hugging Face says of one text, unpadded
        own = model.model(**model.reader.tokenizer(text, return_tensors="pt")).logits[0]
        torch.testing.assert_close(states.logits[row], own, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(states.hidden[row], model.hidden([text])[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", POOLED)
def test_gradients_flow_from_a_pooled_head_to_its_vector(opened, family):
    model = opened(family)
    hidden = model.hidden(SENTENCES[:3]).clone().requires_grad_()
    model.tail(hidden).square().sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum(dim=1).min() > 0


def test_a_mean_pooled_vector_is_the_mean_of_the_normed_states_over_the_tokens(opened):
    model = opened("modernbert mean")
    for text, hidden in zip(SENTENCES[:4], model.hidden(SENTENCES[:4]), strict=True):
        ids = ids_of(model, text)
        normed = model.model.model(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(hidden, normed.mean(dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["albert", "xlnet"])
def test_a_first_or_last_state_is_what_such_heads_are_given(opened, family):
    model = opened(family)
    for text, hidden in zip(SENTENCES[:4], model.hidden(SENTENCES[:4]), strict=True):
        ids = ids_of(model, text)
        states = model.model.base_model(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(hidden, states[0 if family == "albert" else -1], atol=1e-5, rtol=1e-4)


def test_pooled_classifiers_are_captured(opened):
    model, data = opened("modernbert mean"), texts()
    found = capture(model, data, max_tokens=200)
    one_by_one = torch.cat([model.hidden([text]) for text in data.texts])
    torch.testing.assert_close(found.hidden, one_by_one, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.tail(found.hidden), found.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", POOLED)
def test_a_pooled_classifier_is_opened_at_its_last_layer_only(family):
    loaded = build(family.split(maxsplit=1)[0], "encoder", **POOLING.get(family, {}))
    message = f"layer is 2, but {family} is opened at its last layer only.*; give {N_LAYERS} or -1"
    with pytest.raises(ConfigError, match=message):
        classifier_of(loaded, family, layer=2, max_length=48)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("convbert", "convbert: padding changes its logits, as ConvBertForSequenceClassification mixes it"),
        ("fnet", "fnet: padding changes its logits"),
        ("eurobert", "its head reads no one position of EuroBertFor.*never given one vector per text"),
        ("funnel", r"funnel: FunnelFor.* cannot be opened on a row of 4 tokens \(RuntimeError: output with"),
        ("reformer", r"reformer: ReformerFor.* cannot be opened on a row of 4 tokens \(AttributeError: "),
        ("xmod", r"xmod: XmodFor.* cannot be opened on a row of 4 tokens \(ValueError: Input language"),
        (
            "perceiver",
            r"perceiver: PerceiverFor.* cannot be opened on .* has no attribute 'num_hidden_layers'",
        ),
    ],
)
def test_what_has_no_sentence_vector_is_refused(family, message):
    with pytest.raises(ConfigError, match=message):
        classifier_of(build(family, "encoder"), family, max_length=48)


def test_a_model_that_shares_its_blocks_is_tuned_and_survives_the_disk(tmp_path):
    loaded = build("albert", "encoder")
    loaded.model.save_pretrained(tmp_path / "hub")
    loaded.tokenizer.save_pretrained(tmp_path / "hub")
    tuned = finetune(tmp_path / "hub", texts(), n_steps=2, folder=tmp_path / "tuned")
    again = Classifier.load(tmp_path / "tuned", label_names=NAMES)
    torch.testing.assert_close(again.hidden(SENTENCES[:4]), tuned.hidden(SENTENCES[:4]), atol=0, rtol=0)


def test_a_head_that_labels_tokens_is_not_taken_for_one_that_labels_texts(tmp_path):
    loaded = build("llama", "encoder")
    model = LlamaForTokenClassification(LlamaConfig.from_dict(loaded.model.config.to_dict()))
    model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(
        ConfigError, match="is a LlamaForTokenClassification, which does not label whole texts"
    ):
        Classifier.load(tmp_path, kind="encoder")


@pytest.mark.parametrize("fields", [{"problem_type": "regression"}, {"num_labels": 1}])
def test_a_regression_is_refused(fields, tmp_path):
    loaded = build("bert", "encoder")
    for name, value in fields.items():
        setattr(loaded.model.config, name, value)
    loaded.model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="does regression; needs a model that gives one label out of"):
        Classifier.load(tmp_path)
