"""One concept as an object that shows itself: in a notebook as the page's own panel."""

from dataclasses import dataclass

from classifsae.concepts.base import Concepts
from classifsae.errors import ConfigError
from classifsae.notebook import Sheet, Shown, framed, shown
from classifsae.reporting.figures.plots import card_of
from classifsae.reporting.page.content import About, ConceptCard, MethodReport, RunReport
from classifsae.reporting.page.page import panel

_LITTLE = 0.004


@dataclass(frozen=True)
class Concept(Shown):
    """One concept: its name, class and shares; of a report its words, sentences and scores too.

    Attributes:
        card: all that is known of it.
        method: whose concept it is.
        run: the report; of no test sentences where there is none.
    """

    card: ConceptCard
    method: MethodReport
    run: RunReport

    @property
    def latent(self) -> int:
        """Its number."""
        return self.card.latent

    @property
    def name(self) -> str:
        """What it is called."""
        return self.card.name

    @property
    def label(self) -> str:
        """The class that it belongs to."""
        return self.run.label_names[self.card.class_index]

    @property
    def words(self) -> tuple[str, ...]:
        """Words and phrases of its sentences, the strongest first; none without a report."""
        return tuple(word.text for word in self.card.words)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Test sentences on which it is most active; none without a report."""
        return tuple(example.text for example in self.card.examples)

    def sheet(self) -> Sheet:
        """What is shown: class, words, scores, and the sentences on which it is most active."""
        card, labels = self.card, self.run.label_names
        shares = (
            f"{label} {100 * share:.0f} %"
            for label, share in zip(labels, card.class_shares, strict=True)
            if share > _LITTLE
        )
        facts = [f"share of each class in its activation: {', '.join(shares)}"]
        facts += [f"mean activation {shown(card.mean_activation)}"]
        if self.run.n_test:
            known = {"active on": f"{card.activation_rate:.1f} % of the test sentences"}
            known |= {k: shown(v) for k, v in card.scores.model_dump(exclude_none=True).items()}
            facts += [", ".join(f"{name.replace('_', ' ')} {value}" for name, value in known.items())]
            facts += [f"words: {', '.join(self.words[:10])}"]
        rows = [(e.text, e.activation, labels[e.label], labels[e.prediction]) for e in card.examples]
        title = f"Concept {self.latent} of {self.method.label}: {self.name} ({self.label})"
        return Sheet(title, tuple(facts), ("sentence", "activation", "label", "predicted"), rows)

    def _repr_html_(self) -> str:
        return framed(panel(self.card, self.method, self.run))


def concept_of(concepts: Concepts, latent: int) -> Concept:
    """One of these concepts, without a test split."""
    card = card_of(concepts, concepts.kept.tolist().index(latent))
    method = MethodReport(concepts.method, concepts.method, "", 0, len(concepts), concepts=(card,))
    return Concept(card, method, RunReport(About(), concepts.label_names, 0.0, 0, (), (method,), 0, (), ()))


def concept_in(report: RunReport, latent: int | str, method: str | None) -> Concept:
    """One concept of a report.

    Raises:
        ConfigError: there is no such method or concept.
    """
    listed = {one.label: one for one in report.listed}
    if not listed or (method is not None and method not in listed):
        raise ConfigError(
            f"there are no concepts of {method} listed; choose from {', '.join(listed) or 'none'}."
        )
    own = listed[method] if method is not None else report.listed[0]
    card = next((card for card in own.concepts if latent in (card.latent, card.name)), None)
    if card is None:
        known = ", ".join(map(str, sorted(own.names)))
        raise ConfigError(f"there is no concept {latent!r} of {own.label}; choose from {known}.")
    return Concept(card, own, report)
