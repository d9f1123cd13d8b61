"""How the cost of fits and scores grows: points over two decades of N, d, latents and concepts, with slopes.

One thread, processor time, the least of three calls; the slope is that of log time over log size, over all
points and over the last three, where what a call costs anyway weighs less.

    python benchmarks/slopes.py
"""

from collections.abc import Callable

import numpy as np
import torch
from side_by_side import seconds, write
from torch import nn

from classifsae.activations import Activations, Source
from classifsae.bottleneck import evaluate
from classifsae.concepts._autoencoder import SparseCoder
from classifsae.concepts._optimise import AlongMemory
from classifsae.concepts._optimise import _step as step_of
from classifsae.concepts.ica import ICA
from classifsae.concepts.random import Random
from classifsae.concepts.sae import SAEObjective
from classifsae.concepts.whitened_kmeans import WhitenedKMeans
from classifsae.metrics._similarity import pair_moments, sentence_similarity, strongest
from classifsae.metrics.causality import Causality

Work = Callable[[], object]
N_CLASSES, BATCH = 4, 500


def tail(width: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(width, N_CLASSES).requires_grad_(False)


def states(n: int, width: int = 256) -> Activations:
    hidden = torch.randn(n, width, generator=torch.Generator().manual_seed(0))
    logits = tail(width)(hidden)
    source = Source(model="m", layer=1, prompt="", dataset="d")
    return Activations(hidden, logits, logits.argmax(dim=1), tuple(map(str, range(n))), source)


def sae_step(width: int, n_latents: int) -> Work:
    coder = SparseCoder.initial(width=width, n_latents=n_latents, top_k=10, seed=0)
    objective = SAEObjective(coder, hidden=states(BATCH, width).hidden)
    adam = AlongMemory(objective.parameters(), lr=1e-4)
    rows = torch.arange(BATCH)
    return lambda: [step_of(objective, adam, rows, i, 1.0) for i in range(3)]


def causality(n: int, n_concepts: int) -> Work:
    test, last = states(n), tail(256)
    concepts = Random(n_concepts=n_concepts).fit(test, last)
    return lambda: Causality().measure(evaluate(concepts, last, test))


def similarity(n: int) -> Work:
    draws = torch.Generator().manual_seed(0)
    embeddings = nn.functional.normalize(torch.randn(n, 128, generator=draws), dim=1)
    codes = torch.rand(n, 20, generator=draws)

    def work() -> None:
        pair_moments(embeddings)
        sentence_similarity(strongest(codes), embeddings)

    return work


def fit(recipe: ICA | WhitenedKMeans, n: int, width: int = 256) -> Work:
    train = states(n, width)
    return lambda: recipe.fit(train, tail(width))


ICA_, WHITE = ICA(max_iterations=10), WhitenedKMeans(n_starts=1)
CURVES: dict[str, tuple[tuple[int, ...], Callable[[int], Work]]] = {
    "step of sae, by d (512 latents)": ((32, 100, 320, 1000, 3200), lambda d: sae_step(d, 512)),
    "step of sae, by latents (d = 256)": ((100, 320, 1000, 3200, 10000), lambda p: sae_step(256, p)),
    "ica, by N (d = 256)": ((1000, 3200, 10000, 32000, 100000), lambda n: fit(ICA_, n)),
    "ica, by d (N = 3,000)": ((32, 100, 320, 1000, 3200), lambda d: fit(ICA_, 3000, d)),
    "whitened_kmeans, by N (d = 256)": ((1000, 3200, 10000, 32000, 100000), lambda n: fit(WHITE, n)),
    "causality, by N (20 concepts)": ((500, 1600, 5000, 16000, 50000), lambda n: causality(n, 20)),
    "causality, by concepts (N = 2,000)": ((10, 32, 100, 320, 1000), lambda m: causality(2000, m)),
    "similarity, by N": ((500, 1600, 5000, 16000, 50000), similarity),
}


def slope(sizes: tuple[int, ...], times: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def main() -> None:
    torch.set_num_threads(1)
    results = {}
    for name, (sizes, make) in CURVES.items():
        times = []
        for size in sizes:
            work = make(size)
            times.append(min(seconds(work) for _ in range(3)))
        late = slope(sizes[-3:], times[-3:])
        results[name] = {"sizes": sizes, "seconds": times, "slope": slope(sizes, times), "late_slope": late}
        points = ", ".join(f"{size:,}: {1000 * time:.3g}" for size, time in zip(sizes, times, strict=True))
        print(f"| {name} | {points} | {slope(sizes, times):.2f} | {late:.2f} |", flush=True)
    print(f"milliseconds; written to {write('slopes', results)}")


if __name__ == "__main__":
    main()
