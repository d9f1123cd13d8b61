"""The pictures of the report from objects in memory, as axes that pyplot shows and the caller may change."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

from classifsae.activations import Activations
from classifsae.activity import ACTIVE, activating_sets
from classifsae.concepts.base import Concepts, codes_of
from classifsae.errors import ConfigError, UnknownNameError, require_kind
from classifsae.explaining.explainer import Explanation
from classifsae.meaning.descriptions import MAX_DESCRIBED
from classifsae.metrics import Scores
from classifsae.metrics.base import number
from classifsae.metrics.causality import CausalityResult
from classifsae.reporting.figures.figures import (
    draw_activations,
    draw_class_shares,
    draw_effects,
    draw_explanation,
    draw_map,
    draw_sentence_sim,
    draw_training,
    styled,
)
from classifsae.reporting.page.build import concept_map, histogram
from classifsae.reporting.page.content import ConceptCard, MethodReport, RunReport
from classifsae.reporting.page.stored_scores import ConceptScores
from classifsae.reporting.tables.table import Record
from classifsae.tensors import Float, Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Pictures = Mapping[str, "Callable[[], Figure]"]

_NEEDS = {
    "activations": "test=, activations of the test split",
    "map": "test=, activations of two sentences or more",
    "effects": "scores= with causality",
    "sentence-sim": "scores= with interpretability",
    "training": "a method that is trained step by step",
}
"""What pictures of concepts need that are not there without it."""


def plot(
    of: Concepts | Scores | Explanation,
    picture: str | None = None,
    *,
    test: Activations | None = None,
    scores: Scores | None = None,
    concepts: Concepts | None = None,
) -> "Axes | list[Axes]":
    """Draw a picture of the report, on a figure of its own.

    Args:
        of: concepts: "classes" (share of each class in each), "training" (curves), and, where ``test`` is
            given, "activations" and "map", where ``scores`` are, "effects"; scores: "effects" and
            "sentence-sim"; an explanation: "contributions".
        picture: which; by default the first that there is.
        test: activations of the test split.
        scores: of the concepts.
        concepts: of the scores, for their names and classes.
    Returns:
        The axes, a list where there are several, on a figure of pyplot.
    Raises:
        UnknownNameError: there is no such picture, with what has been given.
        ConfigError: there is nothing to draw.
    """
    require_kind(of, (Concepts, Scores, Explanation), wanted="plot takes concepts, scores or an explanation")
    for given, kind, name in (
        (test, Activations, "test"),
        (scores, Scores, "scores"),
        (concepts, Concepts, "concepts"),
    ):
        if given is not None:
            require_kind(given, kind, wanted=f"{name}= takes {kind.__name__}")
    pictures = _pictures(of, test, scores, concepts)
    if not pictures:
        raise ConfigError("these scores have no picture; measure causality or interpretability.")
    name = picture or next(iter(pictures))
    if name not in pictures:
        needs = _NEEDS.get(name, "") if isinstance(of, Concepts) else ""
        if needs:
            raise ConfigError(f"the picture {name!r} of concepts needs {needs}.")
        raise UnknownNameError("picture", name, pictures)
    from matplotlib import pyplot

    figure = pyplot.figure(pictures[name]())  # so that a notebook shows it, and close() ends it
    axes = [one for one in figure.axes if one.get_label() != "<colorbar>"]
    return axes[0] if len(axes) == 1 else axes


def inline(of: Concepts | Scores | Explanation) -> str:
    """The first picture of an object as an HTML image; "" where there is none, or of too many concepts."""
    if _n_shown(of) > MAX_DESCRIBED:
        return ""
    pictures = _pictures(of, None, None, None)
    if not pictures:
        return ""
    stream, name = BytesIO(), next(iter(pictures))
    pictures[name]().savefig(stream, format="png")
    data = b64encode(stream.getvalue()).decode()
    return f'<img alt="{name}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def _n_shown(of: Concepts | Scores | Explanation) -> int:
    """Concepts that its first picture has."""
    if isinstance(of, Scores):
        found = of.results.get("causality")
        return len(found.concepts) if isinstance(found, CausalityResult) else 0
    return len(of.concepts if isinstance(of, Explanation) else of)


def _pictures(
    of: Concepts | Scores | Explanation,
    test: Activations | None,
    scores: Scores | None,
    concepts: Concepts | None,
) -> _Pictures:
    """What can be drawn, by name."""
    if isinstance(of, Explanation):
        texts = [*of.classifier.probabilities, *(fired.name for fired in of.concepts)]
        return {"contributions": partial(styled, texts, partial(draw_explanation, of))}
    if isinstance(of, Scores):
        return _of_scores(of, concepts)
    return _of_concepts(of, test) | (_of_scores(scores, of) if scores else {})


def _of_concepts(concepts: Concepts, test: Activations | None) -> dict[str, "Callable[[], Figure]"]:
    """What concepts show, alone and on a test split."""
    labels, curves = concepts.label_names, {name: tuple(curve) for name, curve in concepts.curves.items()}
    codes = None if test is None else codes_of(concepts, test).cpu()
    columns = [None] * len(concepts) if codes is None else list(codes.T)
    thresholds = [None] * len(concepts) if codes is None else activating_sets(codes).thresholds.tolist()
    cards = [_card(concepts, j, *of) for j, of in enumerate(zip(columns, thresholds, strict=True))]
    method, texts = _method(cards, curves), [*labels, *concepts.names]
    found: dict[str, Callable[[], Figure]] = {}
    found["classes"] = partial(styled, texts, partial(draw_class_shares, method, labels))
    if curves:
        found["training"] = partial(styled, texts, partial(draw_training, method))
    if test is not None and codes is not None:
        found["activations"] = partial(styled, texts, partial(draw_activations, method))
        places = concept_map(test, activating_sets(codes).sets)
        if places is not None:
            found["map"] = partial(styled, texts, partial(draw_map, places, method, labels))
    return found


def _of_scores(scores: Scores, concepts: Concepts | None) -> dict[str, "Callable[[], Figure]"]:
    """What scores show; their concepts are called by numbers where these are not given."""
    found: dict[str, Callable[[], Figure]] = {}
    if "causality" in scores.results:
        effects = scores.causality.concepts
        n_classes = 1 + max(effect.class_index for effect in effects)
        labels = concepts.label_names if concepts else tuple(f"class {c}" for c in range(n_classes))
        cards = [
            ConceptCard(
                latent=effect.latent,
                name=concepts.names[effect.position] if concepts else f"concept {effect.latent}",
                class_index=effect.class_index,
                scores=ConceptScores(tvd=number(effect.tvd), flip_rate=number(effect.flip_rate)),
            )
            for effect in effects
        ]
        texts = [*labels, *(card.name for card in cards)]
        found["effects"] = partial(styled, texts, partial(draw_effects, _method(cards, {}), labels))
    record: Record = {"method": concepts.method if concepts else "concepts", "role": "method"}
    run = RunReport(records=(record | dict(scores.record()),))
    if run.sentence_sims:
        found["sentence-sim"] = partial(styled, [], partial(draw_sentence_sim, run))
    return found


def _card(
    concepts: Concepts, j: int, codes: Float[Tensor, " n"] | None, threshold: float | None
) -> ConceptCard:
    """What a picture needs of one concept; without a test split, its mean activation in training."""
    active = None if codes is None else codes[codes.abs() > ACTIVE]
    return ConceptCard(
        latent=int(concepts.kept[j]),
        name=concepts.names[j],
        class_index=int(concepts.segment_of[j]),
        class_shares=tuple(concepts.class_shares[j].tolist()),
        mean_activation=float(concepts.activation[j] if codes is None else codes.abs().mean()),
        histogram=histogram(active) if active is not None and len(active) else None,
        scores=ConceptScores(threshold=None if threshold is None else number(threshold)),
    )


def _method(cards: Sequence[ConceptCard], curves: Mapping[str, tuple[float, ...]]) -> MethodReport:
    return MethodReport(n_concepts=len(cards), concepts=tuple(cards), curves=curves)
