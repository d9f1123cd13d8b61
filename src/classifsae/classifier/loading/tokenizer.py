"""The tokenizer of a model: from its files, checked to be of use with the model, or trained for a new one."""

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from classifsae.classifier.config import BackboneConfig, Kind
from classifsae.errors import ConfigError
from classifsae.hub.files import locate, only_local
from classifsae.hub.quiet import as_config_error
from classifsae.storage import Json, fingerprint

PAD, END, START = "<pad>", "<end>", "<start>"


def load_tokenizer(config: BackboneConfig, hf_config: PreTrainedConfig) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a model, here or on the hub.

    Raises:
        ConfigError: its files are missing, damaged, or not for the installed libraries.
    """
    location = locate(config.model or "")
    cure = "give a tokenizer.json that the installed transformers and tokenizers can read, or update them"
    with as_config_error(f"cannot load the tokenizer of {config.name}", cure=cure):
        tokenizer = AutoTokenizer.from_pretrained(
            location,
            revision=config.revision,
            local_files_only=only_local(location),
            config=hf_config,
            trust_remote_code=False,
        )
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigError(
            f"{config.name} has no fast tokenizer (tokenizer.json); convert it, or choose another."
        )
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # made up, as the files were missing
        raise ConfigError(f"{config.name} comes without the vocabulary of its tokenizer; add tokenizer.json.")
    return tokenizer


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, name: str) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for, but for the one that pads.

    Raises:
        ConfigError: names the last such token.
    """
    table = model.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        return
    tokens = {index: token for token, index in tokenizer.get_vocab().items() if token != tokenizer.pad_token}
    last = max(tokens)
    if last >= table.num_embeddings:
        raise ConfigError(
            f"the tokenizer of {name} has tokens up to number {last} ({tokens[last]!r}), but the model has "
            f"embeddings for {table.num_embeddings} tokens only; give the tokenizer that it was trained with."
        )


def settings_of(config: BackboneConfig, tokenizer: PreTrainedTokenizerFast, adapter: Json = None) -> str:
    """Fingerprint of what decides a foreign model's answers beside its weights.

    Args:
        config: where its files are; of its configuration, what stands in the file.
        adapter: options of an adapter that is not merged.
    """
    location = locate(config.model or "")
    written, _ = PreTrainedConfig.get_config_dict(
        location, revision=config.revision, local_files_only=only_local(location)
    )
    return settings_in(written, tokenizer, adapter)


def settings_in(written: dict[str, Json], tokenizer: PreTrainedTokenizerFast, adapter: Json = None) -> str:
    """The same of a configuration as it would stand in its file."""
    pipeline: dict[str, Json] = json.loads(tokenizer.backend_tokenizer.to_str())
    return fingerprint(
        without(written, "transformers_version", "_name_or_path"),
        without(pipeline, "truncation", "padding"),  # how to cut and pad is set anew by each call
        [tokenizer.truncation_side, tokenizer.model_max_length, list(tokenizer.model_input_names)],
        adapter,
    )


def without(options: dict[str, Json], *names: str) -> dict[str, Json]:
    """Options but for some."""
    return {name: value for name, value in options.items() if name not in names}


def train_tokenizer(texts: Iterable[str], *, kind: Kind, vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which every digit is a token of its own; deterministic.

    Args:
        kind: an encoder's rows get a start token, whose state is the sentence vector, and an end token.
        vocab_size: number of tokens at most.
    """
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if kind == "encoder":
        specials = [(token, tokenizer.token_to_id(token)) for token in (START, END)]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}", special_tokens=specials
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, bos_token=START)
