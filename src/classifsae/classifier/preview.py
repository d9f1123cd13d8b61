"""What a model would be asked about a text, before anything is trained: the prompt, its cut, the answers."""

import torch

from classifsae.classifier.config import BackboneConfig
from classifsae.classifier.loading.frozen import base_config, start
from classifsae.classifier.loading.loaded import with_saved
from classifsae.classifier.loading.models import without_weights
from classifsae.classifier.reading.reader import Reader, reader_of
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
    reader = _reader(config, texts)
    label = texts.label_names[texts.labels[0]]
    return "\n".join(
        [
            f"{config.name} reads text {texts.ids[0]} ({label}) as:",
            *_kept(reader, texts.texts[0]),
            *_answers(reader, name=config.name),
        ]
    )


def _reader(config: BackboneConfig, texts: Texts) -> Reader:
    config, facts = with_saved(config)
    saved = 0 if facts is None else facts.n_vectors
    n_slots = config.soft_prompt.n_vectors if config.tuning == "soft_prompt" else saved
    config = base_config(config, None if facts is None else facts.base)
    made = config.architecture is not None
    loaded = start(config, texts, torch.device("cpu")) if made else without_weights(config, texts.label_names)
    return reader_of(loaded, config, texts.label_names, n_slots=n_slots)


def _kept(reader: Reader, text: str) -> list[str]:
    """What is kept of the prompt, how many tokens it has, and what is cut off."""
    begin, end = reader.span(text)
    after = reader.around[1] if end == len(text) else ""
    kept = reader.around[0] + text[begin:end] + after
    (n_all,), n_kept = reader.lengths([text]), len(reader.encode([text]).rows[0].ids)
    tokens = f"tokens: {n_kept} of {n_all}, {reader.room} at most"
    lost = "cut: nothing"
    if begin > 0:
        lost = f"cut: the first {begin} characters, up to {text[:begin][-N_SHOWN:]!r}"
    elif end < len(text):
        lost = f"cut: the last {len(text) - end} characters, from {text[end:][:N_SHOWN]!r}"
    return [RULE, kept, RULE, tokens, lost]


def _answers(reader: Reader, *, name: str) -> list[str]:
    """The answers with their tokens; for a classification head, the names of its classes."""
    if reader.kind == "encoder":
        return [f"the head tells apart: {', '.join(reader.label_names)}"]
    tokens = reader.tokenizer.convert_ids_to_tokens(list(reader.answer_tokens(name=name)))
    answers = zip(reader.label_names, reader.answers, tokens, strict=True)
    return [
        "answers, and their tokens:",
        *(f"  {label}: {word!r} = {[token]}" for label, word, token in answers),
    ]
