"""The pictures of a run for print, as PNG and PDF: readable in grey and by colour-blind readers.

Equal reports give equal bytes: no dates, no random placement.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from classifsae.report._palette import colour, hatch, marker
from classifsae.report.record import ConceptCard, ConceptMap, MethodReport, RunReport

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType
    from numpy.typing import NDArray

_STYLE: "dict[RcKeyType, object]" = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called "$5 & $10"
    "pdf.fonttype": 42,
}
_INK, _QUIET = "#222222", "#8a8f98"
_DPI = 160
_NAME = 34
"""Characters of a concept's name that a picture has room for."""


def figures(report: RunReport) -> Iterator[tuple[str, bytes]]:
    """Every picture of a run, as file name and bytes, one after the other.

    ``<method>-<picture>.png`` and ``.pdf``, and ``sentence-sim`` for all methods together; a picture
    for which the report has no numbers is left out.
    """
    if report.sentence_sims:
        yield from _files("sentence-sim", lambda: sentence_sim(report))
    for method in report.methods:
        for name, draw in _drawings(method, report):
            yield from _files(f"{method.label}-{name}", draw)


def _drawings(method: MethodReport, report: RunReport) -> Iterator[tuple[str, Callable[[], "Figure"]]]:
    """The pictures that there are of one method."""
    if method.curves:
        yield "training", lambda: training(method)
    if not method.concepts:
        return
    yield "classes", lambda: class_shares(method, report.label_names)
    yield "activations", lambda: activations(method)
    found = method.map
    if found is not None:
        yield "map", lambda: concept_map(found, method, report.label_names)
    if any(card.tvd is not None for card in method.concepts):
        yield "effects", lambda: effects(method, report.label_names)
    if any(card.words for card in method.concepts) and can_draw_words():
        yield "words", lambda: word_clouds(method)


def can_draw_words() -> bool:
    """Whether the package that lays word clouds out is installed."""
    from importlib.util import find_spec

    return find_spec("wordcloud") is not None


def sentence_sim(report: RunReport) -> "Figure":
    """SentenceSim(k) of every method over k, with the confidence interval over seeds."""
    figure, axes = _one(5.2, 3.4)
    for i, (label, by_k) in enumerate(report.sentence_sims.items()):
        means = [mean for mean, _ in by_k.values()]
        halves = [half or 0.0 for _, half in by_k.values()]
        # A little aside, so that the intervals of two methods do not lie on each other.
        shared = [k + 0.03 * (i - (len(report.sentence_sims) - 1) / 2) for k in by_k]
        axes.errorbar(shared, means, yerr=halves, label=label, color=colour(i), marker=marker(i),
                      markeredgecolor=_INK, markeredgewidth=0.5, capsize=2, linewidth=1.3)  # fmt: skip
    axes.set_xticks(sorted({k for by_k in report.sentence_sims.values() for k in by_k}))
    axes.set_xlabel("shared concepts k")
    axes.set_ylabel("SentenceSim(k) (mean cosine)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def concept_map(found: ConceptMap, method: MethodReport, label_names: Sequence[str]) -> "Figure":
    """Decoder directions as pies of class shares, sized by mean activation, and class prototypes."""
    figure, axes = _one(6.4, 5.0)
    for c in range(len(label_names)):
        dots = [(x, y) for x, y, k in found.sentences if k == c]
        axes.scatter(
            [x for x, _ in dots], [y for _, y in dots], s=4, color=colour(c), alpha=0.4, linewidths=0
        )
    axes.set_aspect("equal")
    everything = [*found.concepts, *(p for p in found.prototypes if p is not None)]
    everything += [(x, y) for x, y, _ in found.sentences]
    unit = max(max(v) - min(v) for v in ([x for x, _ in everything], [y for _, y in everything])) / 100
    largest = max((card.mean_activation for card in method.concepts), default=0.0) or 1.0
    for card, (x, y) in zip(method.concepts, found.concepts, strict=True):
        radius = unit * (1.6 + 2.2 * (card.mean_activation / largest) ** 0.5)
        _pie(axes, card.class_shares, x, y, radius)
        _written(axes, str(card.latent), x, y + radius, size=7)
    for c, at in enumerate(found.prototypes):
        if at is not None:
            axes.scatter([at[0]], [at[1]], s=60, marker="D", color=colour(c), edgecolors=_INK, zorder=5)
            _written(axes, label_names[c], at[0], at[1] + 2 * unit, size=9, weight="bold")
    _class_legend(axes, label_names)
    axes.autoscale_view()
    axes.set_xlabel(f"first principal axis ({100 * found.explained[0]:.0f} % of the variance)")
    axes.set_ylabel(f"second principal axis ({100 * found.explained[1]:.0f} %)")
    return figure


def _pie(axes: "Axes", shares: Sequence[float], x: float, y: float, radius: float) -> None:
    from matplotlib.patches import Circle, Wedge

    begin = 90.0
    for c, share in enumerate(shares):
        end = begin - 360 * share
        if share > 1e-3:
            axes.add_patch(Wedge((x, y), radius, end, begin, facecolor=colour(c), hatch=hatch(c),
                                 edgecolor=_INK, linewidth=0.3, zorder=3))  # fmt: skip
        begin = end
    axes.add_patch(Circle((x, y), radius, facecolor="none", edgecolor=_INK, linewidth=0.8, zorder=4))


def _written(axes: "Axes", text: str, x: float, y: float, *, size: int, weight: str = "normal") -> None:
    """A word with a white rim, so that it is read over anything."""
    from matplotlib.patheffects import withStroke

    axes.text(x, y, text, fontsize=size, fontweight=weight, ha="center", va="bottom", color=_INK, zorder=6,
              path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip


def _class_legend(axes: "Axes", label_names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=colour(c), hatch=hatch(c), edgecolor=_INK, linewidth=0.5, label=name)
        for c, name in enumerate(label_names)
    ]
    axes.legend(handles=patches, loc="center left", bbox_to_anchor=(1.0, 0.5))


def class_shares(method: MethodReport, label_names: Sequence[str]) -> "Figure":
    """Heat map: share of each class in the mean activation of each concept."""
    cards, n_classes = method.concepts, len(label_names)
    figure, axes = _one(3.4 + 0.62 * n_classes, 1.1 + 0.26 * len(cards))
    image = axes.imshow([card.class_shares for card in cards], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, card in enumerate(cards):
        for c, share in enumerate(card.class_shares):
            axes.text(c, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=7,
                      color="white" if share > 0.6 else _INK)  # fmt: skip
    axes.set_yticks(range(len(cards)), [_name(card) for card in cards])
    axes.set_xticks(range(n_classes), list(label_names), rotation=30, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="share of mean activation", shrink=0.8)
    return figure


def effects(method: MethodReport, label_names: Sequence[str]) -> "Figure":
    """What taking each concept away does where it fires: decisions that change, probability that moves."""
    cards = sorted(method.concepts, key=lambda card: card.tvd or 0)
    figure, axes = _one(6.4, 1.2 + 0.27 * len(cards))
    for i, card in enumerate(cards):
        axes.barh(i, 100 * (card.tvd or 0), color=colour(card.class_index), hatch=hatch(card.class_index),
                  edgecolor=_INK, linewidth=0.5, height=0.7)  # fmt: skip
    flips = [100 * (card.flip_rate or 0) for card in cards]
    (points,) = axes.plot(flips, range(len(cards)), "o", color="white", markeredgecolor=_INK, markersize=5)
    points.set_label("decisions that change")
    axes.set_yticks(range(len(cards)), [_name(card) for card in cards])
    axes.set_ylim(-0.6, len(cards) - 0.4)
    axes.set_xlabel(
        "probability that moves (bars), decisions that change (circles), %\nwhere the concept fires"
    )
    _class_legend(axes, label_names)
    return figure


def activations(method: MethodReport) -> "Figure":
    """Small histograms of each concept's activations, with the natural break."""
    figure, grid = _grid(len(method.concepts), width=1.9, height=1.35)
    for axes, card in zip(grid, method.concepts, strict=True):
        _histogram(axes, card)
    figure.supxlabel("activation where active (dashed: natural break)", fontsize=9)
    figure.supylabel("test sentences", fontsize=9)
    return figure


def _histogram(axes: "Axes", card: ConceptCard) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(_name(card, 24), fontsize=7)
    axes.tick_params(labelsize=6)
    if card.histogram is None:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.stairs(card.histogram.counts, card.histogram.edges, fill=True, color=colour(0), alpha=0.85)
    if card.threshold is not None:
        axes.axvline(card.threshold, color=_INK, linestyle="--", linewidth=0.8)


def training(method: MethodReport) -> "Figure":
    """Every training curve of a method, over the share of the training that is done."""
    figure, grid = _grid(len(method.curves), width=2.3, height=1.7)
    for axes, (name, values) in zip(grid, method.curves.items(), strict=True):
        axes.plot([100 * i / max(1, len(values) - 1) for i in range(len(values))], values, color=colour(0))
        axes.set_title(name.replace("_", " "))
        axes.tick_params(labelsize=7)
    figure.supxlabel("training done (%)", fontsize=9)
    return figure


def word_clouds(method: MethodReport) -> "Figure":
    """The words of every concept, the larger the more they are its own."""
    figure, grid = _grid(len(method.concepts), width=2.3, height=1.6)
    for axes, card in zip(grid, method.concepts, strict=True):
        axes.set_title(_name(card, 28), fontsize=8)
        axes.axis("off")
        if card.words:
            axes.imshow(_cloud(card), interpolation="bilinear", aspect="equal")
    return figure


def _cloud(card: ConceptCard) -> "NDArray[np.uint8]":
    """One word cloud as an image; the same for the same words."""
    from matplotlib import get_data_path
    from wordcloud import WordCloud

    cloud = WordCloud(
        width=480,
        height=300,
        background_color="white",
        font_path=f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf",
        prefer_horizontal=1.0,
        relative_scaling=0.5,
        random_state=0,
        color_func=lambda *_, **__: _darker(colour(card.class_index)),
    )
    return cloud.generate_from_frequencies({word.text: word.weight for word in card.words}).to_array()


def _darker(code: str) -> str:
    """A colour dark enough to be read as text on white."""
    channels = (int(int(code[i : i + 2], 16) * 0.62) for i in (1, 3, 5))
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _name(card: ConceptCard, room: int = _NAME) -> str:
    name = card.name if len(card.name) <= room else card.name[: room - 1] + "…"
    return name if name.endswith(f"({card.latent})") else f"{name} ({card.latent})"


# ------------------------------------------------------------------- canvas and files


def _one(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure with one pair of axes, in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _grid(n: int, *, width: float, height: float) -> "tuple[Figure, list[Axes]]":
    """A figure with so many small axes, at most four beside each other."""
    from matplotlib.figure import Figure

    n_columns = min(4, n)
    n_rows = -(-n // n_columns)
    figure = Figure(figsize=(width * n_columns, height * n_rows + 0.4), layout="constrained")
    return figure, [figure.add_subplot(n_rows, n_columns, i + 1) for i in range(n)]


def _files(name: str, draw: Callable[[], "Figure"]) -> Iterator[tuple[str, bytes]]:
    """One picture as PNG and PDF."""
    from matplotlib import rc_context

    with rc_context(_STYLE), warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes; the page has the text itself.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        figure = draw()
        yield f"{name}.png", _saved(figure, "png", {"Software": None})
        figure.set_layout_engine("none")  # laid out once is enough
        yield f"{name}.pdf", _saved(figure, "pdf", {"CreationDate": None, "Producer": None, "Creator": None})


def _saved(figure: "Figure", kind: str, metadata: dict[str, None]) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=_DPI, metadata=metadata)
    return stream.getvalue()
