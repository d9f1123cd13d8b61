"""The columns of the table in plain words, for a reader who does not work on language models."""

from collections.abc import Mapping
from dataclasses import dataclass

from classifsae.meaning.descriptions import Origin
from classifsae.reporting.page.content import Meaning
from classifsae.reporting.tables.table import Column

EXPLAINED = {
    "n_alive": "How many concepts there are, once those that never respond are dropped.",
    "recovery_accuracy": "The classifier is shown nothing but the concepts: on what share of the sentences "
    "does it decide as before? If always, the concepts are the whole story.",
    "activation_rate": "On what share of the sentences is a concept active, on average? One that responds "
    "to few sentences is easier to understand.",
    "conditional_flip_rate": "One concept is taken away where it is active: on what share of these sentences "
    "does the decision change? Mean over concepts.",
    "conditional_tvd": "One concept is taken away where it is active: how much of the probability moves "
    "to other classes (total variation distance)? Mean over concepts.",
    "global_flip_rate_100": "All concepts of one class are taken away, on all sentences: on what share does "
    "the decision change? Mean over classes.",
    "control_flip_rate": "Random sentences, as many as a concept is active on, are changed in random "
    "directions, as much as by taking it away: on what share does the decision change? To compare with the "
    "conditional flip rate: a concept that matters for what it is, and not only for its size, does more.",
    "control_tvd": "The same random changes: how much of the probability moves to other classes? To compare "
    "with the conditional TVD.",
    "control_global_flip_rate": "All sentences are changed in random directions, as much as by taking away "
    "all concepts of one class: on what share does the decision change? To compare with global flip rate.",
    "completeness_score": "Recovery accuracy above chance: 1 if all decisions are recovered, 0 if no more "
    "than by always giving the commonest answer.",
    "shapley_max": "The share of the completeness score that the single most valuable concept earns.",
    "concept_sim": "How alike in meaning are the sentences on which a concept is strongly active? Mean "
    "cosine of their embeddings, 1 if they all say the same.",
}

_CURVES = {
    "loss": "loss, weighted sum",
    "imitation": "imitation (nats)",
    "activation_rate": "activation-rate penalty",
    "dead": "dead latents (count)",
}
"""What the training curves show, where their name does not say it."""

_BETTER = {"↑": "higher is better", "↓": "lower is better", "": "neither way is better"}


@dataclass(frozen=True)
class Explained:
    """A column of the table: its title, what it says, its unit and range, and which way is better."""

    title: str
    says: str
    unit: str
    better: str


def explained(columns: tuple[Column, ...], meanings: Mapping[str, Meaning]) -> list[Explained]:
    """Every column in plain words; what the metric itself says where there are none."""
    return [_explained(column, meanings) for column in columns]


def _explained(column: Column, meanings: Mapping[str, Meaning]) -> Explained:
    known = meanings.get(column.name)
    says = EXPLAINED.get(column.name) or (f"{known.says[:1].upper()}{known.says[1:]}." if known else "")
    return Explained(column.title, says, column.unit, _BETTER[column.arrow])


_MADE_BY = {
    "words": "its strongest words in the training sentences; the words below are those of test sentences",
    "endpoint": "from a language model that was shown training sentences",
    "local": "from a language model that was shown training sentences",
    "user": "given by hand",
}
"""Where the name of a concept comes from."""


def name_origin(origin: Origin | None) -> str:
    """Where a name comes from and how well it fits, in a sentence or two."""
    if origin is None:
        return "its strongest words in the test sentences."
    made = f"{_MADE_BY[origin.made_by]}."
    if origin.made_by == "user":
        return f"{made} Its fit is not measured."
    if origin.auroc is None:
        return (
            f"{made} Its fit cannot be measured: no test sentence activates the concept strongly, or all do."
        )
    chance = "better" if origin.better_than_chance else "no better"
    return (
        f"{made} It picks the concept's test sentences out of all with AUROC {origin.auroc:.2f} "
        f"(chance: 0.50), {chance} than chance."
    )


def curve_title(name: str) -> str:
    """A training curve in words."""
    return _CURVES.get(name, name.replace("_", " "))
