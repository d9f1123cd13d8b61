"""One concept of a report, and the page's panel of one."""

from classifsae.concepts import Concept
from classifsae.errors import ConfigError
from classifsae.reporting.page.content import ConceptCard, MethodReport, RunReport
from classifsae.reporting.page.page import panel


def panel_of(concept: Concept) -> str:
    """One concept of which no test split is known, as HTML."""
    card = ConceptCard(
        latent=concept.latent,
        name=concept.name,
        class_index=list(concept.shares).index(concept.label),
        class_shares=tuple(concept.shares.values()),
        mean_activation=concept.activation,
    )
    method = MethodReport(concept.method, concept.method, n_concepts=1, concepts=(card,))
    return panel(card, method, RunReport(label_names=tuple(concept.shares), methods=(method,)))


def concept_in(report: RunReport, latent: int | str, method: str | None) -> Concept:
    """One concept of a report, by its number or name.

    Raises:
        ConfigError: there is no such method or concept.
    """
    listed = {one.label: one for one in report.listed}
    own = listed.get(method) if method is not None else next(iter(listed.values()), None)
    if own is None:
        raise ConfigError(
            f"no concepts of {method or 'any method'} are listed; choose from {', '.join(listed)}."
        )
    card = next((card for card in own.concepts if latent in (card.latent, card.name)), None)
    if card is None:
        known = ", ".join(map(str, sorted(own.names)))
        raise ConfigError(f"there is no concept {latent!r} of {own.label}; choose from {known}.")
    measured = card.scores.model_dump(exclude_none=True)
    return Concept(
        latent=card.latent,
        name=card.name,
        method=own.label,
        label=report.label_names[card.class_index],
        shares=dict(zip(report.label_names, card.class_shares, strict=True)),
        activation=card.mean_activation,
        words=tuple(word.text for word in card.words),
        sentences=tuple(example.text for example in card.examples),
        scores={"activation_rate": card.activation_rate, **measured},
        panel=panel(card, own, report),
    )
