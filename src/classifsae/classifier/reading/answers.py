"""The words by which a language model names the classes, and the scores of words that are several tokens.

Where every answer is one token, the class logits are those tokens' logits. Otherwise a class scores the total
log-probability of its answer, given the prompt,

    s_c = sum over j of log p(a_cj | prompt, a_c1 ... a_c,j-1)

whose softmax over the classes is, for answers of one token, the same as that of their logits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from classifsae.errors import ConfigError, UnknownNameError
from classifsae.tensors import Float, Tensor

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Answers:
    """The tokens of each class's answer; no classes for a model with a classification head.

    Attributes:
        tokens: one or more for each class, in the order of the classes.
    """

    tokens: tuple[Tokens, ...] = ()

    @property
    def first(self) -> "Answers":
        """The answers' first tokens alone."""
        return Answers(tuple(answer[:1] for answer in self.tokens))

    @property
    def n_extra(self) -> int:
        """Tokens of the longest answer after its first."""
        return max((len(answer) - 1 for answer in self.tokens), default=0)

    @cached_property
    def continuations(self) -> dict[Tokens, list[int]]:
        """What is to be read after the prompt, and the classes whose answers can be scored from it.

        A continuation is an answer without its last token; one that begins another is read with that one.
        """
        begun = {answer[:-1] for answer in self.tokens}
        longest = sorted(a for a in begun if not any(b != a and b[: len(a)] == a for b in begun))
        read: dict[Tokens, list[int]] = {continuation: [] for continuation in longest}
        for index, answer in enumerate(self.tokens):
            home = next(a for a in longest if a[: len(answer) - 1] == answer[:-1])
            read[home].append(index)
        return read

    def total(self, after: Callable[[Tokens], Float[Tensor, "b k v"]]) -> Float[Tensor, "b c"]:
        """Total log-probability of each answer.

        Args:
            after: a continuation of k - 1 tokens to the logits of the next token, at the last token of the
                prompt and at each of the continuation's.
        """
        scores: dict[int, Tensor] = {}
        for continuation, classes in self.continuations.items():
            says = after(continuation).float().log_softmax(dim=-1)
            for index in classes:
                answer = self.tokens[index]
                scores[index] = says[:, list(range(len(answer))), list(answer)].sum(dim=1)
        return torch.stack([scores[index] for index in range(len(self.tokens))], dim=1)


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
    words = _by_label(given, label_names) if isinstance(given, Mapping) else tuple(given)
    if len(words) != len(label_names):
        raise ConfigError(
            f"answers has {len(words)} words for {len(label_names)} classes ({', '.join(label_names)}); "
            f"give one for each."
        )
    if len(set(words)) < len(words) or not all(words):
        raise ConfigError(f"answers must differ from each other and not be empty, got {list(words)}.")
    return words


def _by_label(given: Mapping[str, str], label_names: Sequence[str]) -> tuple[str, ...]:
    for label in given:
        if label not in label_names:
            raise UnknownNameError("label in answers", label, label_names)
    return tuple(given[name] for name in label_names if name in given)


def check_distinct(tokens: Sequence[Tokens], words: Sequence[str]) -> None:
    """Refuse an answer that begins another: the longer one could never be the more probable.

    Raises:
        ConfigError: names the two.
    """
    for one, short in zip(tokens, words, strict=True):
        for other, long in zip(tokens, words, strict=True):
            if one is not other and other[: len(one)] == one:
                raise ConfigError(
                    f"answer {short!r} is the beginning of {long!r}, which can never be more probable; "
                    f"choose other words."
                )
