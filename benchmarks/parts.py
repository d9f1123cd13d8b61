"""Capture, similarity, causality and scores against plain twins of the published procedure, on one thread.

The twins read batches of four texts in file order, look at every pair of sentences, and run all sentences
through the tail once for every concept. Processor time of alternating rounds, and the median of their ratios.

    python benchmarks/parts.py [NAME ...]

NAME is capture_in_fours, capture_in_half, capture_against_forward, causality, similarity or scores_of_seven.
"""

import statistics
import sys
from collections.abc import Callable, Iterable
from tempfile import TemporaryDirectory

import torch
from side_by_side import in_turn, write
from torch import nn
from torch.nn.functional import normalize

import classifsae as cs
from classifsae.activations import Activations, Source
from classifsae.bottleneck import Evaluation, evaluate
from classifsae.concepts.base import METHODS
from classifsae.concepts.random import Random
from classifsae.metrics._similarity import sentence_similarity, similarity_within, strongest
from classifsae.metrics.base import METRICS
from classifsae.metrics.causality import changes, conditional_effects, firings
from classifsae.tensors import Tail, Tensor

Work = Callable[[], object]
FOUR, WIDTH, N_CLASSES, BLOCK = 4, 384, 4, 4
SEVEN: dict[str, dict[str, object]] = {
    "classifsae": {"n_vectors": 20_000},
    "sae": {"n_vectors": 20_000, "n_probe": 200},
    "conceptshap": {"n_epochs": 1, "threshold": 0.0},
    "hiconcept": {"n_epochs": 1},
    "ica": {"max_iterations": 20},
    "identity": {},
    "random": {},
}


def minilm(layer: int | None = None) -> tuple[cs.Classifier, cs.Texts]:
    """MiniLM with a head that saw one batch, and embedded texts."""
    data = cs.load_dataset("planted", options={"n_train": 60, "n_test": 200})
    options = {"model": "minilm", "n_steps": 1, "max_length": 128} | ({"layer": layer} if layer else {})
    return cs.finetune(options, data.train, device="cpu"), data.test


def states(n: int, tail: Tail, width: int = WIDTH) -> Activations:
    """One cloud of states per class."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % N_CLASSES
    hidden = torch.randn(n, width, generator=draws) + torch.randn(N_CLASSES, width, generator=draws)[labels]
    with torch.no_grad():
        logits = tail(hidden)
    source = Source(model="m", layer=BLOCK, prompt="", dataset="d")
    return Activations(hidden, logits, labels, tuple(map(str, range(n))), source)


def in_fours(texts: Iterable[str]) -> list[list[str]]:
    given = list(texts)
    return [given[i : i + FOUR] for i in range(0, len(given), FOUR)]


def capture_in_fours(dtype: str = "float32") -> dict[str, Work]:
    """200 texts of mixed lengths: ours against batches of four in file order, in float32."""
    model, test = minilm()
    long = [text * (1 + 5 * (i % 4 == 0)) for i, text in enumerate(test.texts)]
    texts = cs.Texts(tuple(long), test.labels, test.ids, test.label_names)
    with TemporaryDirectory() as folder:
        model.save(folder)
        ours = cs.Classifier.load(folder, dtype=dtype)
    return {
        "ours": lambda: cs.capture(ours, texts),
        "twin": lambda: [model.hidden(four) for four in in_fours(long)],
    }


def capture_in_half() -> dict[str, Work]:
    """The same, ours in bfloat16."""
    return capture_in_fours("bfloat16")


def capture_against_forward() -> dict[str, Work]:
    """200 texts of one length: ours, tokens and all, against the bare model on full batches of tokens."""
    model, test = minilm()
    different = [f"{'the ' * 30}{i % 10} {i // 10 % 10} {i // 100}" for i in range(200)]
    texts = cs.Texts(tuple(different), test.labels, test.ids, test.label_names)
    rows = model.reader.encode(different).rows
    full = 2048 // len(rows[0].ids)
    batches = [model.opened.padding.batch(rows[i : i + full]) for i in range(0, len(rows), full)]

    @torch.inference_mode()
    def forward() -> None:
        for batch in batches:
            model.model(**batch)

    return {"ours": lambda: cs.capture(model, texts), "floor": forward}


def causality() -> dict[str, Work]:
    """80 sentences, 20 concepts, half of them firing, from block 4 of MiniLM on: one pass per concept.

    The floor is the tail alone on as many rows as there are firings.
    """
    model, _ = minilm(layer=BLOCK)
    test = states(80, model.tail)
    view = evaluate(Random().fit(test, model.tail), model.tail, test)
    some = test.hidden[firings(view)[0]]

    @torch.no_grad()
    def floor() -> None:
        for part in some.split(1024):
            model.tail(part)

    def ours() -> None:
        view._made.clear()
        conditional_effects(view)

    return {"ours": ours, "twin": lambda: one_pass_per_concept(view), "floor": floor}


@torch.no_grad()
def one_pass_per_concept(view: Evaluation) -> list[Tensor]:
    """For each concept, all sentences in fours, with it and without."""
    found = []
    for j in range(len(view.concepts)):
        totals = torch.zeros(3, dtype=torch.float64)
        for start in range(0, len(view.codes), FOUR):
            part = slice(start, start + FOUR)
            codes = view.codes[part].clone()
            before = view.bottleneck.logits(codes, view.norms[part])
            fires = codes[:, j] != 0
            codes[:, j] = 0
            after = view.bottleneck.logits(codes, view.norms[part])
            totals += changes(before, after, view.labels[part])[fires].sum(dim=0)
        found.append(totals)
    return found


def similarity() -> dict[str, Work]:
    """ConceptSim and SentenceSim(1) of 1,000 embedded sentences and 20 concepts against loops over pairs."""
    draws = torch.Generator().manual_seed(0)
    embeddings = normalize(torch.randn(1000, 384, generator=draws), dim=1)
    tail = nn.Linear(WIDTH, N_CLASSES).requires_grad_(False)
    test = states(1000, tail)
    view = evaluate(Random().fit(test, tail), tail, test)
    sets, concepts_of = view.activating.sets, strongest(view.codes)

    def ours() -> None:
        similarity_within(sets, embeddings)
        sentence_similarity(concepts_of, embeddings)

    return {"ours": ours, "twin": lambda: pair_by_pair(sets, concepts_of, embeddings)}


def pair_by_pair(sets: Tensor, concepts_of: Tensor, embeddings: Tensor) -> None:
    """Each sentence against all others, one sentence at a time."""
    for own in sets:
        members = embeddings[own]
        for i in range(len(members)):
            float((members[i] @ members[i + 1 :].T).sum())
    held = [set(row) - {-1} for row in concepts_of.tolist()]
    for i, own in enumerate(held):
        cosines = (embeddings @ embeddings[i]).tolist()
        shared = [len(own & other) for other in held]
        for k in range(1, 5):
            near = [c for j, c in enumerate(cosines) if shared[j] == k and j != i]
            sum(near)


def scores_of_seven() -> dict[str, Work]:
    """Completeness, causality, control, distinct, beyond_label and margins of seven methods on 2,000 texts.

    The tail is that of MiniLM's last layer. The twin does the conditional part of causality alone.
    """
    model, _ = minilm()
    train, test = states(1000, model.tail), states(2000, model.tail)
    fitted = [METHODS.load(name)(**options).fit(train, model.tail) for name, options in SEVEN.items()]
    names = ("completeness", "causality", "control", "distinct", "beyond_label", "margins")

    def ours() -> None:
        for concepts in fitted:
            view = evaluate(concepts, model.tail, test)
            for name in names:
                METRICS.load(name)().measure(view)

    def twin() -> None:
        for concepts in fitted:
            one_pass_per_concept(evaluate(concepts, model.tail, test))

    return {"ours": ours, "twin": twin} if "--twin" in sys.argv else {"ours": ours}


LINES: dict[str, tuple[Callable[[], dict[str, Work]], int]] = {
    "capture_in_fours": (capture_in_fours, 1),
    "capture_in_half": (capture_in_half, 1),
    "capture_against_forward": (capture_against_forward, 3),
    "causality": (causality, 2),
    "similarity": (similarity, 2),
    "scores_of_seven": (scores_of_seven, 1),
}


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    results: dict[str, dict[str, float]] = {}
    if unknown := set(names) - LINES.keys():
        sys.exit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(LINES)}")
    for name in names or LINES:
        make, n_rounds = LINES[name]
        taken = in_turn(n_rounds, **make())
        found = {f"{what}_seconds": statistics.median(times) for what, times in taken.items()}
        for what in taken.keys() - {"ours"}:
            pairs = zip(taken["ours"], taken[what], strict=True)
            found[f"{what}_over_ours"] = statistics.median(other / ours for ours, other in pairs)
        results[name] = found
        print(f"{name:<24}" + "  ".join(f"{key} {value:.3g}" for key, value in found.items()), flush=True)
    print(f"processor time; written to {write('parts', results)}")


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if not name.startswith("--")])
