"""Charts of the page, laid out to the pixel; the templates only write them down."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifsae.reporting.layout.geometry import Axis, areas, padded, pie
from classifsae.reporting.layout.labels import Label, place
from classifsae.reporting.layout.palette import series
from classifsae.reporting.page.content import ConceptCard, MethodReport, RunReport

_WIDTH, _HEIGHT = 640, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 44
_WITHIN = (_LEFT, _BOTTOM - _HEIGHT, _WIDTH, 0)
"""Where a label of the map may stand, y pointing up."""


@dataclass(frozen=True)
class Pie:
    """A concept on the map; its number stands at ``label``."""

    card: ConceptCard
    x: float
    y: float
    radius: float
    slices: tuple[str, ...]
    anchor: str
    label: tuple[float, float]


@dataclass(frozen=True)
class Dot:
    """A class prototype or a sentence on the map; the name of a class stands at ``label``."""

    x: float
    y: float
    class_index: int
    label: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Chart:
    """What every chart has: a size in pixels and two axes."""

    width: int
    height: int
    x: Axis
    y: Axis


@dataclass(frozen=True)
class MapChart(Chart):
    """The map of one method."""

    pies: tuple[Pie, ...]
    prototypes: tuple[Dot, ...]
    sentences: tuple[Dot, ...]
    explained: tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """One bin of a histogram; ``strong`` above the break."""

    x: float
    y: float
    width: float
    height: float
    strong: bool


@dataclass(frozen=True)
class HistogramChart(Chart):
    """The activations of one concept."""

    bars: tuple[Bar, ...]
    threshold: float | None


@dataclass(frozen=True)
class Line:
    """A curve: its points for a polyline, each with half an interval; a yardstick's has no colour."""

    label: str
    points: tuple[tuple[float, float], ...]
    spans: tuple[tuple[float, float, float], ...] = ()
    colour: int | None = 0

    @property
    def path(self) -> str:
        """Its points as SVG wants them."""
        return " ".join(f"{x},{y}" for x, y in self.points)


@dataclass(frozen=True)
class LineChart(Chart):
    """Several curves over the same axes, and what they are compared with."""

    lines: tuple[Line, ...]
    baseline: float | None = None


def map_chart(method: MethodReport, label_names: Sequence[str]) -> MapChart | None:
    """The map with both axes at one scale; the largest pies first, so that none hides a smaller one."""
    found = method.map
    if found is None:
        return None
    dots = [(x, y) for x, y, _ in found.sentences]
    everything = [*dots, *(p for p in (*found.concepts, *found.prototypes) if p is not None)]
    x, y = _square([x for x, _ in everything], [y for _, y in everything])
    radii = areas([card.mean_activation for card in method.concepts], smallest=5, largest=13)
    concepts = zip(method.concepts, found.concepts, radii, strict=True)
    circles = [(card, x(at[0]), y(at[1]), round(r, 1)) for card, at, r in concepts if at is not None]
    circles.sort(key=lambda circle: -circle[3])
    diamonds = [(c, x(p[0]), y(p[1])) for c, p in enumerate(found.prototypes) if p is not None]
    # The most important names first. Labels point up where pixels point down; 4: down to the base line.
    names = [Label(label_names[c], px, -py, 9, 12) for c, px, py in diamonds]
    names += [Label(str(card.latent), px, -py, r, 11) for card, px, py, r in circles]
    placed = iter([(round(px, 1), round(4 - py, 1)) for px, py in place(names, _WITHIN)])
    return MapChart(
        width=_WIDTH,
        height=_HEIGHT,
        x=x,
        y=y,
        prototypes=tuple(Dot(px, py, c, next(placed)) for c, px, py in diamonds),
        pies=tuple(
            Pie(card, px, py, r, tuple(pie(card.class_shares, px, py, r)), _anchor(px), next(placed))
            for card, px, py, r in circles
        ),
        sentences=tuple(Dot(x(at[0]), y(at[1]), at[2]) for at in found.sentences),
        explained=found.explained,
    )


def _anchor(x: float) -> str:
    """Where a name begins that stands above a circle, so that it does not leave the chart."""
    return "start" if x < _WIDTH / 3 else "end" if x > 2 * _WIDTH / 3 else "middle"


def _square(xs: Sequence[float], ys: Sequence[float]) -> tuple[Axis, Axis]:
    """Two axes on which one unit is equally long, as large as the chart allows."""
    (x0, x1), (y0, y1) = padded(min(xs), max(xs)), padded(min(ys), max(ys))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    unit = min(width / (x1 - x0), height / (y1 - y0))
    x_room, y_room = (width / unit - (x1 - x0)) / 2, (height / unit - (y1 - y0)) / 2
    x = Axis(x0 - x_room, x1 + x_room, _LEFT, _WIDTH - _RIGHT)
    return x, Axis(y0 - y_room, y1 + y_room, _HEIGHT - _BOTTOM, _TOP)


def histogram_chart(card: ConceptCard) -> HistogramChart | None:
    """Bars of the activations, those above the natural break marked."""
    found, threshold = card.histogram, card.scores.threshold
    if found is None:
        return None
    width, height = 420, 170
    x = Axis(found.edges[0], found.edges[-1], 46, width - 10)
    y = Axis(0, max(found.counts), height - 38, 10)
    bars = tuple(
        Bar(
            x=x(left),
            y=y(n),
            width=round(x(right) - x(left), 1),
            height=round(y(0) - y(n), 1),
            strong=threshold is not None and (left + right) / 2 > threshold,
        )
        for left, right, n in zip(found.edges, found.edges[1:], found.counts, strict=False)
    )
    at = x(threshold) if threshold is not None and x.low <= threshold <= x.high else None
    return HistogramChart(width, height, x, y, bars, at)


def similarity_chart(report: RunReport) -> LineChart | None:
    """SentenceSim(k) of every method over k, and the mean cosine of any two sentences."""
    sims, baseline = report.sentence_sims, report.baseline
    values = [(m, h or 0.0) for by_k in sims.values() for m, h in by_k.values()]
    if not values:
        return None
    shared = sorted({k for by_k in sims.values() for k in by_k})
    ends = [end for m, h in values for end in (m - h, m + h)] + ([] if baseline is None else [baseline])
    low, high = padded(min(ends), max(ends))
    x = Axis(shared[0] - 0.2, shared[-1] + 0.2, _LEFT, 440)
    y = Axis(max(-1.0, low), min(1.0, high), 300 - _BOTTOM, _TOP)
    lines = []
    colours = series(sims, report.yardsticks)
    for i, ((label, by_k), own) in enumerate(zip(sims.items(), colours, strict=True)):
        aside = 0.03 * (i - (len(sims) - 1) / 2)  # so that no interval lies on another
        points = tuple((x(k + aside), y(mean)) for k, (mean, _) in by_k.items())
        spans = tuple((x(k + aside), y(m - h), y(m + h)) for k, (m, h) in by_k.items() if h is not None)
        lines.append(Line(label, points, spans, own))
    return LineChart(460, 300, x, y, tuple(lines), None if baseline is None else y(baseline))


def curve_charts(method: MethodReport) -> list[LineChart]:
    """One small chart per training curve, over the share of the training that is done."""
    return [_curve(title, values) for title, values in method.curves.items() if len(values) > 1]


def _curve(title: str, values: Sequence[float]) -> LineChart:
    x, y = Axis(0, 100, 56, 284), Axis(*padded(min(values), max(values)), 120, 8)
    last = len(values) - 1
    points = tuple((x(100 * i / last), y(v)) for i, v in enumerate(values))
    return LineChart(300, 155, x, y, (Line(title, points),))
