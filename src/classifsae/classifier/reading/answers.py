"""The words by which a language model names the classes, each one token right after the prompt."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from classifsae.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def answer_words(
    given: Mapping[str, str] | Sequence[str] | None, label_names: Sequence[str]
) -> tuple[str, ...] | None:
    """One word per class, in the order of the classes; None: the classes' indices.

    Args:
        given: words in that order, or label to word.
    Raises:
        ConfigError: another number of words than classes, or the same word twice.
        UnknownNameError: a word for a label that there is not.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        for label in given:
            if label not in label_names:
                raise UnknownNameError("label in answers", label, label_names)
        given = [given[name] for name in label_names if name in given]
    words = tuple(given)
    if len(words) != len(label_names):
        raise ConfigError(
            f"answers has {len(words)} words for {len(label_names)} classes ({', '.join(label_names)}); "
            f"give one for each."
        )
    if len(set(words)) < len(words) or not all(words):
        raise ConfigError(f"answers must differ from each other and not be empty, got {list(words)}.")
    return words


def answer_tokens(
    tokenizer: "PreTrainedTokenizerFast", prompt: str, words: Sequence[str], *, name: str
) -> tuple[int, ...]:
    """The token that each word is right after the prompt.

    Args:
        prompt: what stands around an empty text.
        name: what to call the model in messages.
    Raises:
        ConfigError: a word is several tokens, is merged with the end of the prompt, or is the same token as
            another.
    """
    asked = tokenizer(prompt, verbose=False)["input_ids"]
    tokens: dict[int, str] = {}
    for word in words:
        answered = tokenizer(prompt + word, verbose=False)["input_ids"]
        if answered[:-1] != asked:
            found = tokenizer.convert_ids_to_tokens(tokenizer(word, add_special_tokens=False)["input_ids"])
            raise ConfigError(
                f"the answer {word!r} is not one token right after the prompt in the tokenizer of {name} "
                f"(alone it is {found}); choose words of one token as answers (a space before a word "
                f"belongs to the word, not to the end of the template)."
            )
        if (other := tokens.setdefault(answered[-1], word)) != word:
            raise ConfigError(
                f"the answers {other!r} and {word!r} are the same token in the tokenizer of {name}; "
                f"choose other words."
            )
    return tuple(tokens)
