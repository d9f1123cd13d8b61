"""Conditional causality: all ablations in batches, against one concept and sentence at a time."""

import time
from collections.abc import Callable

import torch
from torch import nn

from classifsae.activations import Activations, Source
from classifsae.bottleneck import Evaluation, evaluate
from classifsae.concepts.random import Random
from classifsae.metrics.causality import conditional_effects

WIDTH, N_CLASSES, N_TEST, N_LOOPED = 384, 4, 2000, 50


def main() -> None:
    torch.manual_seed(0)
    tail = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, N_CLASSES)).requires_grad_(
        False
    )
    view = evaluate(Random().fit(states(tail), tail), tail, states(tail))
    batched = seconds(lambda: conditional_effects(view)) / N_TEST
    looped = seconds(lambda: loop(view)) / N_LOOPED
    print(f"one sentence, all its ablations: batched {1e6 * batched:.0f} us, looped {1e6 * looped:.0f} us")
    print(f"batched is {looped / batched:.0f} times as fast")


def states(tail: nn.Module) -> Activations:
    hidden = torch.randn(N_TEST, WIDTH)
    logits = tail(hidden)
    ids = tuple(map(str, range(N_TEST)))
    source = Source(model="m", layer=1, prompt="", dataset="d")
    return Activations(hidden=hidden, logits=logits, labels=logits.argmax(dim=1), ids=ids, source=source)


def loop(view: Evaluation) -> None:
    for i in range(N_LOOPED):
        for j in view.codes[i].nonzero().flatten().tolist():
            codes = view.codes[i : i + 1].clone()
            codes[0, j] = 0
            view.bottleneck.logits(codes, view.norms[i : i + 1])


def seconds(work: Callable[[], object]) -> float:
    work()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
