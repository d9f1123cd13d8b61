"""The columns of the table of methods, each explained to a reader who does not work on language models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from classifsae.storage import Json


@dataclass(frozen=True)
class Column:
    """A score as a column.

    Attributes:
        name: key in the records.
        title: head of the column.
        unit: below the title.
        arrow: which way is better, "" if neither is.
        says: what it says, in a sentence or two.
        digits: after the point.
        always: a column even where no record has it.
        unlike: another score; left out where no record differs from it.
        needs: another score; left out where no record has it.
        independent: whether the numbers of several seeds are, so that their mean has a confidence interval.
    """

    name: str
    title: str
    unit: str
    arrow: Literal["↑", "↓", ""]
    says: str
    digits: int = 3
    always: bool = False
    unlike: str = ""
    needs: str = ""
    independent: bool = True

    @property
    def head(self) -> str:
        """Title, arrow and unit in one line."""
        return f"{self.title} {self.arrow} ({self.unit})".replace("  ", " ")

    @property
    def better(self) -> str:
        """Which way is better: "higher", "lower" or "neither"."""
        return {"↑": "higher", "↓": "lower", "": "neither"}[self.arrow]

    def is_in(self, record: Mapping[str, Json]) -> bool:
        """Whether a record has this score."""
        value = record.get(self.name)
        if self.needs and record.get(self.needs) is None:
            return False
        return value is not None and value != record.get(self.unlike)


COLUMNS = (
    Column(
        "n_alive", "concepts", "alive", "", "Concepts of the method, the dead ones left out.", 1,
    ),
    Column(
        "recovery_accuracy", "recovery accuracy", "0-1", "↑",
        "With nothing but the concepts left: share of the sentences on which the classifier decides as "
        "before. At 1 the concepts are the whole story.",
        always=True,
    ),
    Column(
        "truth_f1", "truth F1", "0-1", "↑",
        "How well the true concepts of the data set were found, where it knows them: F1 of each and the "
        "concept matched with it. Mean over the true ones.",
    ),
    Column(
        "n_found", "true found", "count", "↑",
        "True concepts that were found with an F1 of 0.6 or more.", 1, needs="truth_f1",
    ),
    Column(
        "concept_sim_share", "ConceptSim share", "share", "↑",
        "How alike in meaning the sentences of a concept are within one class: 0 as any two of the class, 1 "
        "as in as many clusters of embeddings. A dash where the concepts cover under 95 % of the sentences.",
    ),
    Column(
        "concept_sim_share_tfidf", "share by words", "share", "↑",
        "The same, judged by the words of the sentences (TF-IDF), which no method is guided by.",
    ),
    Column(
        "nameability", "nameability", "AUC", "↑",
        "How well words tell the sentences of a concept within one class, on sentences that the words were "
        "not chosen on: 0.5 by chance, 1 always.",
    ),
    Column(
        "n_distinct", "distinct", "count", "↑",
        "Concepts that fire on at least 0.5 % of the test sentences, duplicates counted once.", 1,
    ),
    Column(
        "stability", "stability", "0-1", "↑",
        "Whether other seeds find the same concepts: overlap (Jaccard) of the sentences on which two are "
        "strongly active, each matched with one of another seed. Mean over pairs of seeds. A method "
        "without chance has 1, whatever it finds.", independent=False,
    ),
    Column(
        "stability_within", "stability within class", "0-1", "↑",
        "The same beyond what the predicted class makes alike: 0 for concepts that are the class.",
        independent=False,
    ),
    Column(
        "r2_beyond_label", "R2 beyond label", "≤1", "↑",
        "How much of the variation of the logits among sentences of one predicted class the concepts keep: "
        "0 where they say the class and no more, 1 for all of it.",
    ),
    Column(
        "net_margin_removed", "margin removed, net", "sd", "↑",
        "One concept is removed where it fires: how far the margin of the decision over the runner-up goes "
        "to that of the other sentences of the predicted class, less what random changes as large do.",
    ),
    Column(
        "net_margin_added", "margin added, net", "sd", "↑",
        "One concept is added to the sentences of a predicted class where it does not fire: how far their "
        "margin goes to that of those where it does, less what random changes as large do.",
    ),
    Column(
        "net_tvd_weighted", "TVD net of control", "-1-1", "↑",
        "Probability that moves where a concept is removed, less what random changes as large move, concepts "
        "weighted by how often they fire.",
    ),
    Column(
        "simulatability", "simulatability", "-1-1", "↑",
        "How many more decisions a reader foretells who is told the names of a sentence's concepts beside "
        "the sentence; every class counts alike. The class under its own name has all there is to have.",
    ),
    Column(
        "faithfulness", "faithfulness", "-1-1", "↑",
        "Whether removing a concept inside foretells what taking its phrases out of the text does: rank "
        "correlation of the two effects over concepts.",
    ),
    Column(
        "activation_rate", "activation rate", "%", "↓",
        "Share of the sentences on which a concept is active, mean over concepts. A concept that is active "
        "on few sentences is easier to understand.", 1,
        always=True,
    ),
    Column(
        "conditional_flip_rate", "conditional flip rate", "0-1", "↑",
        "One concept is removed where it fires: share of these sentences whose decision changes. Mean over "
        "concepts.",
        always=True,
    ),
    Column(
        "conditional_tvd", "conditional TVD", "0-1", "↑",
        "One concept is removed where it fires: how much of the probability moves to other classes (total "
        "variation distance). Mean over concepts.",
        always=True,
    ),
    Column(
        "concept_sim", "ConceptSim", "cos", "↑",
        "How alike in meaning the sentences are on which a concept is strongly active: mean cosine of their "
        "embeddings, 1 if they all say the same.",
    ),
    Column(
        "global_flip_rate_100", "global flip rate", "0-1", "↑",
        "All concepts of one class are removed, on all sentences: share whose decision changes. Mean over "
        "classes.",
        always=True,
    ),
    Column(
        "c_v", "C_V", "cos", "↑",
        "Topic coherence: how alike the contexts are in which the ten words of a concept stand.",
    ),
    Column(
        "control_flip_rate", "control flip", "0-1", "",
        "Control of the conditional flip rate: as many random sentences as a concept fires on are changed in "
        "random directions, by as much as its removal. A concept that matters for what it is, and not only "
        "for its size, does more.",
    ),
    Column(
        "control_tvd", "control TVD", "0-1", "",
        "Control of the conditional TVD: the same random changes.",
    ),
    Column(
        "control_global_flip_rate", "control global flip", "0-1", "",
        "Control of the global flip rate: all sentences are changed in random directions, by as much as the "
        "removal of all concepts of one class.",
    ),
    Column(
        "document_recovery_accuracy", "recovery per text", "0-1", "↑",
        "Recovery accuracy of whole texts, where long ones are split into windows.",
        unlike="recovery_accuracy",
    ),
    Column(
        "completeness_score", "completeness score", "≤1", "↑",
        "Recovery accuracy above chance: 1 if all decisions are recovered, 0 if no more than by always "
        "giving the commonest label.",
    ),
    Column(
        "shapley_max", "largest Shapley", "≤1", "",
        "Shapley value of the concept that is worth most: its share in the completeness score.",
    ),
)  # fmt: skip


def columns_of(records: Sequence[Mapping[str, Json]]) -> tuple[Column, ...]:
    """The columns of a table of these records: those of which a record has a number, and some always."""
    return tuple(c for c in COLUMNS if c.always or any(c.is_in(r) for r in records))
