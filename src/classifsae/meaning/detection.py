"""Does a reader who is told a concept's name alone pick the sentences that activate it?

Source: after the detection score of delphi (Paulo et al. 2024, arXiv:2410.13928).
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch

from classifsae.activations import Activations
from classifsae.activity import activating_sets
from classifsae.concepts.base import Concepts, codes_of
from classifsae.meaning.llm import Ask, ask_all
from classifsae.meaning.names import ConceptName, Detection, shown_lines
from classifsae.tensors import Bool, Int, OnStep, Tensor

N_EACH = 10
"""Sentences that activate a concept, and others, that a reader is shown at most."""

_CHARACTERS = 300


def detect(
    names: Sequence[ConceptName],
    concepts: Concepts,
    test: Activations,
    texts: Sequence[str],
    ask: Ask,
    *,
    n_parallel: int = 1,
    on_step: OnStep | None = None,
) -> tuple[ConceptName, ...]:
    """Names with what a language model picks by them; without, where it gave no name, or no answer.

    For each, it is shown as many test sentences that activate the concept as others, of the concept's class
    where there are such, in a random order.

    Args:
        names: one per concept, in their order.
        concepts: fitted on activations of the same source.
        test: activations of the test split.
        texts: of the same rows.
        ask: the language model.
        n_parallel: questions that it is asked at once.
        on_step: told how many it has answered.
    """
    sets = activating_sets(codes_of(concepts, test).cpu()).sets
    of_class = test.predictions.cpu() == concepts.segment_of.cpu()[:, None]
    draws = torch.Generator().manual_seed(0)
    shown = [drawn(own, members, draws) for own, members in zip(sets, of_class, strict=True)]
    questions = [
        question(name.name, [texts[row] for row in rows.tolist()])
        if name.made_by != "words" and len(rows)
        else None
        for name, rows in zip(names, shown, strict=True)
    ]
    answers = ask_all(ask, questions, n_parallel=n_parallel, on_step=on_step)
    found = []
    for name, answer, rows, own in zip(names, answers, shown, sets, strict=True):
        said = picked(answer, len(rows)) if isinstance(answer, str) else None
        right = None if said is None else (said == own[rows]).double().mean().item()
        found.append(name if right is None else replace(name, detection=Detection(right, len(rows))))
    return tuple(found)


def drawn(own: Bool[Tensor, " n"], of_class: Bool[Tensor, " n"], draws: torch.Generator) -> Int[Tensor, " q"]:
    """As many sentences that activate a concept as others, shuffled; none where there are none of either."""
    sides = [own, ~own]
    within = [side & of_class for side in sides]
    pools = [
        (inner if inner.any() else side).nonzero()[:, 0] for inner, side in zip(within, sides, strict=True)
    ]
    n = min(N_EACH, *map(len, pools))
    rows = torch.cat([pool[torch.randperm(len(pool), generator=draws)[:n]] for pool in pools])
    return rows[torch.randperm(len(rows), generator=draws)]


def question(name: str, texts: Sequence[str]) -> str:
    """What a language model is asked for one name."""
    lines = "\n".join(f"{i}. {' '.join(text.split())[:_CHARACTERS]}" for i, text in enumerate(texts, start=1))
    return (
        f"Which of these texts fit the description {name!r}?\n{lines}\n"
        f"Reply with their numbers, separated by commas, or with none, and nothing else."
    )


def picked(answer: str, n: int) -> Bool[Tensor, " n"] | None:
    """The numbers in the first line of an answer as a choice of n; None where it names no choice."""
    line = next(iter(shown_lines(answer)), "")
    numbers = [int(number) for number in re.findall(r"\d{1,4}", line)]
    if any(not 1 <= number <= n for number in numbers) or not (numbers or "none" in line.casefold()):
        return None
    choice = torch.zeros(n, dtype=torch.bool)
    choice[[number - 1 for number in numbers]] = True
    return choice
