"""A tokenizer for a model from scratch: byte-level BPE in which every digit is a token of its own."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from classifsae.classifier.config import Kind

PAD, END, START = "<pad>", "<end>", "<start>"


def train_tokenizer(texts: Iterable[str], *, kind: Kind, vocab_size: int) -> PreTrainedTokenizerFast:
    """Learn merges from texts; deterministic.

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
