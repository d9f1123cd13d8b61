"""What a model would be asked about a text, before anything is trained: the prompt, its cut, the answers."""

import torch

from classifsae.classifier.classifier import signature_of, with_answers, with_saved
from classifsae.classifier.config import BackboneConfig
from classifsae.classifier.loading.frozen import base_config
from classifsae.classifier.loading.models import Loaded, token_limit, without_weights
from classifsae.classifier.reading.answers import answer_words
from classifsae.classifier.reading.reader import Reader, template_of
from classifsae.classifier.tuning.finetune import start
from classifsae.data.prompt import TEXT, fill
from classifsae.data.texts import Texts

RULE = "-" * 40
N_SHOWN = 40


def preview(config: BackboneConfig, texts: Texts) -> str:
    """The first text as the model reads it, for people to check.

    No weights are loaded. For a model from scratch, the tokenizer is trained, as there is none before.

    Args:
        config: the backbone.
        texts: of which the first is shown.
    Returns:
        Lines: what is kept of the filled prompt, its tokens, where it is cut, the answers and their tokens.
    Raises:
        ConfigError: no such model, a template without a place for the text, answers that cannot work.
    """
    config, facts = with_saved(config)
    n_slots = 0 if facts is None else facts.n_vectors
    if config.tuning == "soft_prompt":
        n_slots = config.soft_prompt.n_vectors
    config = base_config(config, None if facts is None else facts.base)
    made = config.architecture is not None
    loaded = start(config, texts, torch.device("cpu")) if made else without_weights(config, texts.label_names)
    reader, answers = with_answers(
        _reader(config, loaded, texts, n_slots), loaded, asked=config.max_length, name=config.name
    )
    kept, lost, tokens = _cut(reader, texts.texts[0])
    label = texts.label_names[texts.labels[0]]
    words = reader.words or [str(index) for index in range(len(answers.tokens))]
    said = [
        f"  {name}: {word!r} = {reader.tokenizer.convert_ids_to_tokens(list(ids))}"
        for name, word, ids in zip(reader.label_names, words, answers.tokens, strict=False)
    ]
    head = "answers, and their tokens:" if said else f"the head tells apart: {', '.join(reader.label_names)}"
    return "\n".join(
        [
            f"{config.name} reads text {texts.ids[0]} ({label}) as:",
            RULE,
            kept,
            RULE,
            tokens,
            lost,
            head,
            *said,
        ]
    )


def _reader(config: BackboneConfig, loaded: Loaded, texts: Texts, n_slots: int) -> Reader:
    return Reader(
        tokenizer=loaded.tokenizer,
        signature=signature_of(loaded),
        label_names=texts.label_names,
        template=template_of(loaded.kind, config.template),
        words=answer_words(config.answers, texts.label_names),
        max_length=token_limit(loaded, config.max_length, name=config.name),
        reads=None,
        n_slots=n_slots,
    )


def _cut(reader: Reader, text: str) -> tuple[str, str, str]:
    """What is kept of the prompt, a line on what is lost, and a line on the tokens."""
    prompt = (
        text if reader.template is None else fill(reader.template, text, reader.label_names, reader.words)
    )
    n_kept = len(reader.encode([text]).ids[0])  # sets the side on which the tokenizer cuts
    n_all = len(reader.tokenizer(prompt, verbose=False)["input_ids"])
    tokens = f"tokens: {n_kept} of {n_all}, {reader.room} at most"
    if n_kept == n_all:
        return prompt, "cut: nothing", tokens
    if reader.signature.kind == "decoder":
        begin, _ = reader.span(text)
        kept = fill(reader.template or TEXT, text[begin:], reader.label_names, reader.words)
        return kept, f"cut: the first {begin} characters, up to {text[:begin][-N_SHOWN:]!r}", tokens
    row = reader.tokenizer(
        prompt, truncation=True, max_length=reader.room, return_offsets_mapping=True, verbose=False
    )
    end = max(last for _, last in row["offset_mapping"])
    return (
        prompt[:end],
        f"cut: the last {len(prompt) - end} characters, from {prompt[end:][:N_SHOWN]!r}",
        tokens,
    )
