"""Time of `shapley` and of `control` beside causality: 20 concepts, 2,000 sentences, MiniLM's tail.

Random states of width 384; the tail is Linear(384, 384), tanh, Linear(384, 4), or with --classifier that
of a fine-tuned MiniLM of a run. Dense codes are the worst case: no set is a repetition.

    python benchmarks/shapley.py [--classifier runs/ag_news/minilm/classifier]
"""

import argparse
import os
import time

import torch
from torch import nn

from classifsae import Activations, Classifier, ConceptMethod, ConceptSHAP, Random
from classifsae.activations import Source
from classifsae.bottleneck import evaluate
from classifsae.concepts.ica import ICA
from classifsae.concepts.sae import SAE
from classifsae.metrics.causality import Causality
from classifsae.metrics.control import Control
from classifsae.metrics.shapley import Shapley
from classifsae.tensors import Tail

WIDTH, N_CLASSES, N_SENTENCES = 384, 4, 2000


def states(tail: Tail) -> Activations:
    """Correlated random states, one cloud per class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N_SENTENCES) % N_CLASSES
    mixing = torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    hidden = torch.randn(N_SENTENCES, WIDTH, generator=generator) @ mixing
    hidden = hidden + torch.randn(N_CLASSES, WIDTH, generator=generator)[labels]
    with torch.no_grad():
        logits = tail(hidden)
    ids = tuple(map(str, range(N_SENTENCES)))
    return Activations(hidden, logits, labels, ids, Source(model="m", layer=6, prompt="", dataset="d"))


def main() -> None:
    """Print one line per method."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--classifier", help="folder of a trained MiniLM, width 384")
    torch.manual_seed(0)
    tail: Tail = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, N_CLASSES))
    if folder := options.parse_args().classifier:
        tail = Classifier.load(folder, device="cpu").tail
    test = states(tail)
    methods: dict[str, ConceptMethod] = {
        "ica (dense)": ICA(),
        "conceptshap": ConceptSHAP(threshold=0.0, n_epochs=5),
        "sae (top 10 of 768)": SAE(n_latents=768, n_vectors=100_000, n_probe=500),
        "random (top 10 of 20)": Random(),
    }
    print(f"{torch.get_num_threads()} thread(s), load {os.getloadavg()[0]:.1f}")
    print("method                  active   shapley  standard error   control  causality   (seconds)")
    for name, method in methods.items():
        view = evaluate(method.fit(test, tail), tail, test)
        active = float((view.codes != 0).double().sum(dim=1).mean())
        seconds, error = [], 0.0
        for metric in (Shapley(), Control(), Causality()):
            begin = time.perf_counter()
            result = metric.measure(view)
            seconds.append(time.perf_counter() - begin)
            error = getattr(result, "shapley_standard_error", error)
        print(
            f"{name:<22} {active:7.1f} {seconds[0]:9.1f} {error:15.4f} {seconds[1]:9.1f} {seconds[2]:10.1f}"
        )


if __name__ == "__main__":
    main()
