"""The pictures of a run for print, as PNG and PDF: readable in grey and by colour-blind readers.

Equal reports give equal bytes: no dates, no random placement.
"""

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from classifsae.explaining.explainer import Explanation
from classifsae.meaning.descriptions import Description
from classifsae.reporting.layout.clouds import cloud
from classifsae.reporting.layout.fonts import DEFAULT, Fonts, fonts_for
from classifsae.reporting.layout.geometry import areas
from classifsae.reporting.layout.labels import Label, place
from classifsae.reporting.layout.palette import QUIET, colour, hatch, marker, series
from classifsae.reporting.layout.short import short_names, shortened
from classifsae.reporting.page.content import ConceptCard, ConceptMap, MethodReport, RunReport
from classifsae.tensors import OnStep

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

_STYLE: "dict[RcKeyType, object]" = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called "$5 & $10"
}
_INK, _RULE = "#222222", "#c9cdd3"
_DPI = 200
_NAME = 34
"""Characters of a concept's name that a picture has room for."""
_CLASS = 24
"""Characters of the name of a class or method that a picture has room for."""
_MOST_BARS = 20
"""Concepts in the picture of one explanation."""
_MOST_PROCESSES = 8
_PICTURES_PER_PROCESS = 10
"""Pictures, of one to three seconds each, from which it pays to start another process."""
_CELL = 1.75
"""Width of a small chart in inches: four of them are as wide as the text of a printed page."""


def figures(report: RunReport, *, on_step: OnStep | None = None) -> Iterator[tuple[str, bytes]]:
    """Every picture of a run, as file name and bytes, one after the other; drawn in several processes.

    ``<method>-<picture>.png`` and ``.pdf``, and ``sentence-sim`` for all methods together; a picture
    for which the report has no numbers is left out.

    Args:
        report: what is shown.
        on_step: told how many of the pictures are drawn.
    """
    from joblib import Parallel, cpu_count, delayed

    drawings = list(_drawings(report))
    fonts = fonts_of(report.label_names, [card for method in report.methods for card in method.concepts])
    n_processes = max(1, min(cpu_count(), _MOST_PROCESSES, len(drawings) // _PICTURES_PER_PROCESS))
    tasks = (delayed(_files)(name, draw, fonts) for name, draw in drawings)
    for done, files in enumerate(Parallel(n_processes, return_as="generator")(tasks), start=1):
        yield from files
        if on_step:
            on_step(done, len(drawings), {})


def fonts_of(label_names: Sequence[str], concepts: Sequence[ConceptCard | Description]) -> Fonts:
    """The fonts of this machine for pictures of these concepts; its ``note`` says which are missing."""
    words = (word.text for concept in concepts for word in concept.words)
    return fonts_for([*label_names, *(concept.name for concept in concepts), *words])


def _drawings(report: RunReport) -> Iterator[tuple[str, Callable[[], "Figure"]]]:
    """The pictures that there are."""
    if report.sentence_sims:
        yield "sentence-sim", lambda: draw_sentence_sim(report)
    for method in report.methods:
        for name, draw in _drawings_of(method, report):
            yield f"{method.label}-{name}", draw


def _drawings_of(method: MethodReport, report: RunReport) -> Iterator[tuple[str, Callable[[], "Figure"]]]:
    """The pictures that there are of one method."""
    if method.curves:
        yield "training", lambda: draw_training(method)
    if not method.concepts:
        return
    classes = short_names(report.label_names, _CLASS)
    yield "classes", lambda: draw_class_shares(method, classes)
    yield "activations", lambda: draw_activations(method)
    found = method.map
    if found is not None:
        yield "map", lambda: draw_map(found, method, classes)
    if any(card.scores.tvd is not None for card in method.concepts):
        yield "effects", lambda: draw_effects(method, classes)
    if any(card.words for card in method.concepts):
        yield "words", lambda: draw_words(method, classes)


def draw_sentence_sim(report: RunReport) -> "Figure":
    """SentenceSim(k) of every method over k, with the confidence interval over seeds; yardsticks in grey."""
    figure, axes = _one(6.4, 3.6)
    sims = report.sentence_sims
    names, colours = short_names(list(sims), _CLASS), series(sims, report.yardsticks)
    for i, (by_k, own) in enumerate(zip(sims.values(), colours, strict=True)):
        halves = [half or 0.0 for _, half in by_k.values()]
        # A little aside, so that the intervals of two methods do not lie on each other.
        shared = [k + 0.04 * (i - (len(sims) - 1) / 2) for k in by_k]
        axes.errorbar(shared, [mean for mean, _ in by_k.values()], yerr=halves, label=names[i],
                      color=QUIET if own is None else colour(own), linestyle="--" if own is None else "-",
                      marker=marker(i), markersize=5, markeredgecolor=_INK, markeredgewidth=0.5,
                      capsize=2, linewidth=1.3)  # fmt: skip
    if report.baseline is not None:
        axes.axhline(report.baseline, color=_INK, linestyle=":", linewidth=1, label="any two sentences")
    axes.set_xticks(sorted({k for by_k in sims.values() for k in by_k}))
    axes.set_xlabel("k, number of concepts shared")
    axes.set_ylabel("SentenceSim(k), mean cosine")
    several = any(half is not None for by_k in sims.values() for _, half in by_k.values())
    title = "mean over seeds,\nwith 95 % interval" if several else None
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=title, title_fontsize=8)
    return figure


def draw_map(found: ConceptMap, method: MethodReport, label_names: Sequence[str]) -> "Figure":
    """Concepts as pies of class shares, sized by mean activation, and classes, where their sentences lie."""
    figure, axes = _one(6.4, 5.6)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"first principal axis ({100 * found.explained[0]:.0f} % of the variance)")
    axes.set_ylabel(f"second principal axis ({100 * found.explained[1]:.0f} %)")
    _legend(figure, [*_classes(label_names), *_kinds()])
    everything = [p for p in (*found.concepts, *found.prototypes) if p is not None]
    everything += [(x, y) for x, y, _ in found.sentences]
    axes.plot(*zip(*everything, strict=True), linestyle="none")  # takes its room, and draws nothing
    axes.margins(0.08)
    for c in range(len(label_names)):
        dots = [(x, y) for x, y, k in found.sentences if k == c]
        axes.scatter(
            [x for x, _ in dots], [y for _, y in dots], s=5, color=colour(c), alpha=0.5, linewidths=0
        )
    figure.draw_without_rendering()  # from here on the axes stay where they are
    figure.set_layout_engine("none")
    radii = areas([card.mean_activation for card in method.concepts], smallest=5, largest=12)
    point = _point(figure, axes)
    placed = zip(radii, method.concepts, found.concepts, strict=True)
    pies = sorted(((r, card, at) for r, card, at in placed if at is not None), key=lambda pie: -pie[0])
    for i, (radius, card, (x, y)) in enumerate(pies):  # the largest first, so that none hides a smaller one
        _pie(axes, card.class_shares, x, y, radius * point, zorder=3 + i / len(pies))
    diamonds = [(c, at) for c, at in enumerate(found.prototypes) if at is not None]
    for c, at in diamonds:
        axes.scatter([at[0]], [at[1]], s=50, marker="D", color=colour(c), edgecolors=_INK, zorder=5)
    names = [Label(label_names[c], x / point, y / point, 5, 9) for c, (x, y) in diamonds]
    numbers = [Label(str(card.latent), x / point, y / point, r, 7) for r, card, (x, y) in reversed(pies)]
    inks = [_darker(colour(c)) for c, _ in diamonds] + [_INK] * len(numbers)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    places = place(names + numbers, (left / point, bottom / point, right / point, top / point))
    for label, (x, y), ink in zip(names + numbers, places, inks, strict=True):
        _written(axes, label, x * point, y * point, ink)
    return figure


def _point(figure: "Figure", axes: "Axes") -> float:
    """One point of the printed page in units of the axes, which are alike along both."""
    (left, _), (right, _) = axes.transData.inverted().transform([(0, 0), (figure.dpi / 72, 0)])
    return float(right - left)


def _pie(axes: "Axes", shares: Sequence[float], x: float, y: float, radius: float, *, zorder: float) -> None:
    """The largest share as a whole circle, all others above 1 % as slices over it: one alone has no seam."""
    from matplotlib.patches import Circle, Patch, Wedge

    main = max(range(len(shares)), key=lambda c: shares[c])
    parts: list[tuple[Patch, int]] = [(Circle((x, y), radius), main)]
    begin = 90.0
    for c, share in enumerate(shares):
        end = begin - 360 * share
        if c != main and share > 0.01:
            parts.append((Wedge((x, y), radius, end, begin), c))
        begin = end
    for part, c in parts:
        part.set(facecolor=colour(c), hatch=hatch(c), edgecolor=_INK, linewidth=0.3, zorder=zorder)
        axes.add_patch(part)
    axes.add_patch(Circle((x, y), radius, facecolor="none", edgecolor=_INK, linewidth=0.8, zorder=zorder))


def _written(axes: "Axes", label: Label, x: float, y: float, ink: str) -> None:
    """A label with a white rim, so that it is read over anything."""
    from matplotlib.patheffects import withStroke

    axes.text(x, y, label.text, fontsize=label.size, color=ink, ha="center", va="center", zorder=6,
              path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip


def _classes(label_names: Sequence[str]) -> "list[Artist]":
    """What stands for the classes in a legend."""
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=colour(c), hatch=hatch(c), edgecolor=_INK, linewidth=0.5, label=name)
        for c, name in enumerate(label_names)
    ]


def _kinds() -> "list[Artist]":
    """What the marks of the map stand for."""
    return [
        _mark("o", 9, "concept, area by mean activation"),
        _mark("D", 6, "class, mean of its sentences"),
        _mark(".", 4, "test sentence"),
    ]


def _mark(shape: str, size: float, says: str) -> "Artist":
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", marker=shape, markersize=size, markerfacecolor="white",
                  markeredgecolor=_INK, label=says)  # fmt: skip


def _legend(figure: "Figure", handles: "Sequence[Artist]") -> None:
    """A legend above everything, in rows of as many as the figure is wide."""
    longest = max(cell_len(str(handle.get_label())) for handle in handles)
    room = int(72 * figure.get_figwidth() / (8 * (0.55 * longest + 4.5)))
    n_columns = max(1, min(4, len(handles), room))
    figure.legend(handles=handles, loc="outside upper center", ncols=n_columns, fontsize=8)


def draw_class_shares(method: MethodReport, label_names: Sequence[str]) -> "Figure":
    """Heat map: share of each class in the mean activation of each concept."""
    cards, n_classes = method.concepts, len(label_names)
    aslant = max(map(cell_len, label_names)) > 9
    figure, axes = _one(3.4 + 0.72 * n_classes, (1.9 if aslant else 1.1) + 0.24 * len(cards))
    shares = [[100 * share for share in card.class_shares] for card in cards]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for i, row in enumerate(shares):
        for c, share in enumerate(row):
            axes.text(c, i, f"{share:.0f}", ha="center", va="center", fontsize=7,
                      color="white" if share > 60 else _INK)  # fmt: skip
    axes.set_yticks(range(len(cards)), [_name(card) for card in cards])
    axes.set_xticks(range(n_classes), list(label_names))
    axes.xaxis.tick_top()
    if aslant:
        for tick in axes.get_xticklabels():
            tick.set(rotation=30, ha="left", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="share of activation (%)", aspect=30)
    return figure


def draw_effects(method: MethodReport, label_names: Sequence[str]) -> "Figure":
    """What taking each concept away does where it fires: decisions that change, probability that moves."""
    cards = sorted(method.concepts, key=lambda card: card.scores.tvd or 0)
    figure, axes = _one(6.4, 1.2 + 0.24 * len(cards))
    for i, card in enumerate(cards):
        c, moved = card.class_index, 100 * (card.scores.tvd or 0)
        axes.barh(i, moved, color=colour(c), hatch=hatch(c), edgecolor=_INK, linewidth=0.5, height=0.7)
    flips = [100 * (card.scores.flip_rate or 0) for card in cards]
    axes.plot(flips, range(len(cards)), "o", color="white", markeredgecolor=_INK, markersize=5,
              clip_on=False, zorder=5)  # fmt: skip
    axes.set_yticks(range(len(cards)), [_name(card) for card in cards])
    axes.set_ylim(-0.6, len(cards) - 0.4)
    axes.set_xlim(left=0)
    figure.supxlabel(
        "without the concept, on the sentences where it fires (%):\n"
        "probability that moves (bars), decisions that change (circles)",
        fontsize=9,
    )
    _legend(figure, _classes(label_names))
    return figure


def draw_explanation(explanation: Explanation) -> "Figure":
    """What each concept that fired adds to the logit of the label, and what to that of the runner-up.

    Where too many fired for contributions, what the label's probability loses without each.
    """
    label, cards = explanation.rebuilt.label, list(reversed(explanation.concepts[:_MOST_BARS]))
    known = all(fired.contributions for fired in cards)
    ranked = sorted(explanation.rebuilt.probabilities.items(), key=lambda pair: -pair[1])
    rival = next((name for name, _ in ranked if name != label), label)
    figure, axes = _one(6.4, 1.2 + 0.3 * max(1, len(cards)))
    rows = range(len(cards))
    if known and cards:
        for c, (name, shift) in enumerate(((label, 0.2), (rival, -0.2))):
            values = [fired.contributions[name] for fired in cards]
            axes.barh([row + shift for row in rows], values, height=0.38, color=colour(c), hatch=hatch(c),
                      edgecolor=_INK, linewidth=0.5)  # fmt: skip
        _legend(figure, _classes([shortened(label, _CLASS), shortened(rival, _CLASS)]))
        axes.set_xlabel("adds to the logit of each class, less the mean over classes")
    else:
        axes.barh(rows, [-100 * fired.change for fired in cards], height=0.7, color=colour(0))
        axes.set_xlabel(f"probability of {shortened(label, _CLASS)} that goes with the concept (%)")
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set_yticks(rows, [shortened(fired.name, _NAME) for fired in cards])
    return figure


def draw_activations(method: MethodReport) -> "Figure":
    """Small histograms of each concept's activations, those above the natural break darker."""
    figure, grid = _grid(len(method.concepts), width=_CELL, height=1.4)
    for axes, card in zip(grid, method.concepts, strict=True):
        _histogram(axes, card)
    figure.supxlabel("activation where active; dark: strongly, above the natural break (dashed)", fontsize=9)
    figure.supylabel("test sentences", fontsize=9)
    return figure


def _histogram(axes: "Axes", card: ConceptCard) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(_title(card), fontsize=7)
    axes.tick_params(labelsize=6.5)
    if card.histogram is None:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    edges, counts = card.histogram.edges, card.histogram.counts
    bars = axes.bar(edges[:-1], counts, edges[1] - edges[0], align="edge", color=_RULE)
    if (threshold := card.scores.threshold) is not None:
        for bar in bars:
            if bar.get_x() + bar.get_width() / 2 > threshold:
                bar.set_color(colour(0))
        axes.axvline(threshold, color=_INK, linestyle="--", linewidth=0.8)


def draw_training(method: MethodReport) -> "Figure":
    """Every training curve of a method, over the share of the training that is done."""
    figure, grid = _grid(len(method.curves), width=_CELL, height=1.4)
    for axes, (title, values) in zip(grid, method.curves.items(), strict=True):
        axes.plot([100 * i / max(1, len(values) - 1) for i in range(len(values))], values, color=colour(0))
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
    figure.supxlabel("training done (%)", fontsize=9)
    return figure


def draw_words(method: MethodReport, label_names: Sequence[str]) -> "Figure":
    """The words of every concept, the larger the more they are its own, and its class."""
    figure, grid = _grid(len(method.concepts), width=_CELL, height=1.55)
    for axes, card in zip(grid, method.concepts, strict=True):
        axes.set_title(f"{_title(card)}\n{label_names[card.class_index]}", fontsize=7)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color=_RULE)
    figure.draw_without_rendering()  # from here on the axes stay where they are
    figure.set_layout_engine("none")
    for axes, card in zip(grid, method.concepts, strict=True):
        _cloud(figure, axes, card)
    return figure


def _cloud(figure: "Figure", axes: "Axes", card: ConceptCard) -> None:
    """One word cloud, as text that stays text in a PDF."""
    width, height = (72 / figure.dpi * pixels for pixels in axes.get_window_extent().size)
    axes.set(xlim=(0, width), ylim=(0, height))
    for word in cloud(card.words, width - 4, height - 4, length=_length):
        axes.text(word.x + 2, word.y + 2, word.text, fontsize=word.size, va="baseline",
                  color=_darker(colour(card.class_index)))  # fmt: skip


def _length(text: str) -> float:
    """Of a text at a font of one point, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    width, _, _ = TextToPath().get_text_width_height_descent(text, FontProperties(size=100), ismath=False)
    return float(width) / 100


def _darker(code: str) -> str:
    """A colour dark enough to be read as text on white."""
    channels = (int(int(code[i : i + 2], 16) * 0.62) for i in (1, 3, 5))
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _name(card: ConceptCard, room: int = _NAME) -> str:
    name = shortened(card.name, room)
    return name if name.endswith(f"({card.latent})") else f"{name} ({card.latent})"


def _title(card: ConceptCard) -> str:
    """A name above a small chart, in two lines if it is long."""
    name = _name(card, 52)
    width = 31 * len(name) // cell_len(name)  # wide letters count two, and marks on letters none
    return "\n".join(textwrap.wrap(name, width, max_lines=2, placeholder="…"))


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


def _files(name: str, draw: Callable[[], "Figure"], fonts: Fonts) -> list[tuple[str, bytes]]:
    """One picture as PNG and PDF."""
    from matplotlib import rc_context

    # Most fonts for Chinese hold PostScript outlines, which many viewers do not find in a PDF as type 42.
    kind = 42 if fonts.families == (DEFAULT,) else 3
    with (
        rc_context(_STYLE | {"font.family": list(fonts.families), "pdf.fonttype": kind}),
        warnings.catch_warnings(),
    ):
        # What no font has is drawn as boxes, as ``Fonts.note`` says; the page has the text itself.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        figure = draw()
        png = _saved(figure, "png", {"Software": None})
        figure.set_layout_engine("none")  # laid out once is enough
        pdf = _saved(figure, "pdf", {"CreationDate": None, "Producer": None, "Creator": None})
    return [(f"{name}.png", png), (f"{name}.pdf", pdf)]


def styled(texts: Sequence[str], draw: Callable[[], "Figure"]) -> "Figure":
    """A picture in the style of the report, in fonts that have these texts."""
    from matplotlib import rc_context

    with rc_context(_STYLE | {"font.family": list(fonts_for(texts).families)}):
        return draw()


def _saved(figure: "Figure", kind: str, metadata: dict[str, None]) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=_DPI, metadata=metadata)
    return stream.getvalue()
