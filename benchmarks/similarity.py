"""All similarity scores of 50,000 embedded sentences: 20 concepts in under 10 s and 1 GB on two cores.

With a number of concepts as argument, that many neurons as they are, such as 384 or 4096.
"""

import resource
import sys
import time

import torch
from torch import nn
from torch.nn.functional import normalize

from classifsae.activations import Activations, Source
from classifsae.bottleneck import evaluate
from classifsae.concepts import ConceptMethod
from classifsae.concepts.identity import Identity
from classifsae.concepts.random import Random
from classifsae.meaning.sentences import Sentences
from classifsae.metrics.interpretability import Interpretability

N, N_EMBEDDED, N_CLASSES, N_CONCEPTS = 50_000, 384, 4, 20
MAX_SECONDS, MAX_BYTES = 10, 10**9


def main() -> None:
    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(0)
    n_neurons = int(sys.argv[1]) if len(sys.argv) > 1 else None
    recipe: ConceptMethod = Identity() if n_neurons else Random(n_concepts=N_CONCEPTS)
    test = states(n_neurons or N_EMBEDDED, generator)
    tail = nn.Linear(test.hidden.shape[1], N_CLASSES).requires_grad_(False)
    embeddings = normalize(torch.randn(N, N_EMBEDDED, generator=generator), dim=1)
    sentences = Sentences(texts=("",) * N, embeddings=embeddings, encoder="none")
    view = evaluate(recipe.fit(test, tail), tail, test, sentences=sentences)
    before = peak()
    begin, worked = time.perf_counter(), time.process_time()
    result = Interpretability().measure(view)
    seconds, worked = time.perf_counter() - begin, time.process_time() - worked
    print(f"{N:,} sentences, {len(result.concepts)} concepts: {seconds:.1f} s ", end="")
    print(f"({worked:.1f} s of all cores together), ", end="")
    print(f"peak {peak() / 1e9:.2f} GB, {before / 1e9:.2f} GB of it before the scores began")
    if n_neurons is None and (seconds > MAX_SECONDS or peak() > MAX_BYTES):
        print(f"wanted: at most {MAX_SECONDS} s and {MAX_BYTES / 1e9:g} GB")


def states(width: int, generator: torch.Generator) -> Activations:
    hidden = torch.randn(N, width, generator=generator)
    source = Source(model="m", layer=1, prompt="", dataset="d")
    ids = tuple(map(str, range(N)))
    labels = torch.arange(N) % N_CLASSES
    logits = torch.eye(N_CLASSES)[labels]
    return Activations(hidden=hidden, logits=logits, labels=labels, ids=ids, source=source)


def peak() -> int:
    """Most memory that this process has held, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
