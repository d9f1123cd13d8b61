"""A report made by hand: five methods of twenty concepts, with texts that would break a careless page."""

import math
from dataclasses import replace

from classifsae.meaning.descriptions import Word
from classifsae.reporting.page.content import (
    About,
    ConceptBehind,
    ConceptCard,
    ConceptMap,
    Example,
    Histogram,
    MethodReport,
    Mistake,
    RunReport,
)
from classifsae.reporting.page.stored_scores import ConceptScores
from classifsae.reporting.page.voices import Voice, Voices

SCRIPT = "<script>document.title = 'broken in'</script> & \"quotes\" </script>"
LABELS = ("World", "Sports & <b>games</b>", "$5 to $10", "Sci/Tech")
METHODS = ("classifsae", "sae-k20", "ica", "conceptshap", "hiconcept")
TOPICS = ("goal", "bank", "orbit", "vote", "chip", "storm", "harvest", "treaty", "vaccine", "league")
FILLER = "the minister said on Tuesday that the talks would go on until an agreement had been found "


def card(method: str, j: int, **changes: object) -> ConceptCard:
    topic = TOPICS[j % 10]
    name = f"{topic}, {TOPICS[(j + 3) % 10]} {j}"
    share = 0.4 + 0.03 * j % 0.6
    c = j % 4
    fields: dict[str, object] = {
        "latent": 3 * j + 1,
        "name": name,
        "class_index": c,
        "class_shares": tuple(share if k == c else (1 - share) / 3 for k in range(4)),
        "words": tuple(Word(f"{topic} word {i}", 1 / (i + 1)) for i in range(20)),
        "examples": tuple(example(method, topic, i, c) for i in range(10)),
        "activation_rate": 1.5 + (7 * j) % 23,
        "mean_activation": 0.1 + 0.05 * j,
        "histogram": Histogram(tuple(i / 4 for i in range(25)), tuple(40 - i for i in range(24))),
        "scores": ConceptScores(
            threshold=2.6,
            n_activating=40 + j,
            concept_sim=0.2 + 0.01 * j,
            support=30 * (j + 1),
            flip_rate=((11 * j) % 20) / 40,
            tvd=((13 * j) % 20) / 40,
            accuracy_change=-0.01 * j,
            gap=0.5,
            removed=0.2,
            added=0.31,
            value=0.05 - 0.004 * j,
        ),
        "coverage": tuple(0.05 * (j % 5 + 1) if k == c else 0.01 for k in range(4)),
        "is_label": j == 3,
        "typical": tuple(example(method, topic, i, c) for i in (0, 1, 3)),
        "edge": example(method, topic, 10, c),
    }
    return ConceptCard(**(fields | changes))  # type: ignore[arg-type]


def example(method: str, topic: str, i: int, c: int) -> Example:
    text = SCRIPT if i == 3 else f"{method}: {topic} number {i}, {FILLER * 2}"
    return Example(text, 5.0 / (i + 1), c, c if i % 4 else (c + 1) % 4)


def method(label: str, n: int = 20) -> MethodReport:
    # Latent 1 of every method has no score at all.
    empty: dict[str, object] = {"scores": ConceptScores(), "histogram": None}
    cards = tuple(card(label, j, **(empty if j == 0 else {})) for j in range(n))
    turn = [2 * math.pi * j / n for j in range(n)]
    return MethodReport(
        label=label,
        method=label.partition("-")[0],
        about="One line of what it is.",
        seed=1,
        n_concepts=n,
        recovery=0.98,
        concepts=cards,
        map=ConceptMap(
            concepts=tuple((8 * math.cos(t), 6 * math.sin(t)) for t in turn),
            prototypes=((5.0, 5.0), (-5.0, 5.0), None, (5.0, -5.0)),
            sentences=tuple((i % 17 - 8.0, i % 11 - 5.0, i % 4) for i in range(100)),
            explained=(0.31, 0.14),
        )
        if label in METHODS[:2]
        else None,
        covered=(0.9, 0.8, 0.7, 1.0),
        voices=voices(cards) if label in METHODS[:2] else None,
        curves={"loss": tuple(1 / (i + 1) for i in range(200)), "dead": (0.0,) * 200},
    )


def voices(cards: tuple[ConceptCard, ...]) -> Voices:
    each = [Voice(one.latent, one.name, one.is_label, 1.5 - 0.1 * j, 40 + j) for j, one in enumerate(cards)]
    against = [replace(voice, logits=-voice.logits) for voice in each]
    return Voices(
        n_sentences=500,
        answers=(0.0, 0.75, 0.25, 0.0),
        probabilities=(0.1, 0.5, 0.3, 0.1),
        speak_for=tuple(tuple(each[j : j + 4]) for j in range(4)),
        speak_against=(*(tuple(against[j : j + 2]) for j in range(3)), ()),
        error=0.02,
    )


def sample_report() -> RunReport:
    labels = [*METHODS, "identity", "random"]
    records = tuple(
        {"dataset": "news", "backbone": "minilm", "method": label, "seed": seed, "n_concepts": 20,
         "role": {"identity": "ceiling", "random": "random"}.get(label, "method"),
         "dataset_cosine_mean": 0.08,
         "n_alive": 20, "accuracy": 0.9, "recovery_accuracy": 0.9 + 0.01 * i,
         "activation_rate": 10.0 + i + seed, "conditional_flip_rate": 0.1, "conditional_tvd": None,
         "global_flip_rate_100": 0.2,
         **{f"sentence_sim_{k}": 0.1 * k + 0.01 * i + 0.005 * seed for k in (1, 2, 3, 4)}}
        for i, label in enumerate(labels) for seed in (1, 2)
    )  # fmt: skip
    methods = tuple(method(label) for label in METHODS)
    yardsticks = tuple(
        MethodReport(label, label, "", 1, 384, left_out="it is a yardstick") for label in labels[5:]
    )
    return RunReport(
        about=About(
            dataset="news",
            backbone="minilm",
            n_train=5600,
            settings={"dataset": {"name": "news"}, "methods": {label: {} for label in labels}},
            versions={"classifsae": "0.1.0", "torch": "2.13.0"},
            notes=("3 of 9 test texts were longer than the model reads: cut.",),
        ),
        label_names=LABELS,
        accuracy=0.9,
        n_test=2000,
        records=records,
        methods=methods + yardsticks,
        n_mistakes=200,
        mistakes=tuple(mistake(i, methods) for i in range(30)),
        confusion=((470, 10, 10, 10), (10, 480, 5, 5), (40, 10, 440, 10), (20, 30, 40, 410)),
    )


def mistake(i: int, methods: tuple[MethodReport, ...]) -> Mistake:
    behind = {
        m.label: tuple(ConceptBehind(c.latent, c.name, -0.4 + 0.1 * k) for k, c in enumerate(m.concepts[:4]))
        for m in methods
    }
    text = SCRIPT if i == 0 else f"wrong sentence {i}: {FILLER}"
    return Mistake(text, i % 4, (i + 1) % 4, 0.99 - 0.01 * i, behind)
