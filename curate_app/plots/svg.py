"""Curves over generations as inline SVG: crisp in light and dark (colours: charts.css), readable aloud, no scripts.

Each chart is drawn twice, wide and narrow, and the stylesheet shows the one that fits, so that text keeps its size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from curate_app.assets import render

HEIGHT = 270
TOP, BOTTOM, LEFT = 14, 46, 54
LABEL_GAP = 13.0
WIDTHS = (("wide", 580), ("narrow", 350))
LEAST_ROOM = 1e-12  # about values that are all the same but for rounding
HUES = 8
TWO_SE = 1.96

Look = Literal["line", "dashed", "rings", "bound", "marks"]


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a generation, with its standard error or its interval where it has one."""

    t: float
    value: float
    se: float = 0.0
    interval: tuple[float, float] | None = None

    @property
    def reach(self) -> tuple[float, float]:
        """The 95% interval; the value itself where it is exact."""
        return self.interval or (self.value - TWO_SE * self.se, self.value + TWO_SE * self.se)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; a loud one is emphasised and named at its end, the others stay in the background.

    Attributes:
        look: 'line': measured, with a band where there are intervals. 'dashed' and 'rings': predicted. 'bound': thin.
            'marks': values that stand each for themselves, with whiskers.
        hue: one of the colours 0 .. 7 that tell lines apart; None for the page's own.
        legend: what such a line is called under the chart; lines of one legend are named there once.
        named: whether its name stands at its end; as a rule that of loud lines and bounds does.
        aside: pixels to the right, so that marks at the same generation don't hide each other.
    """

    name: str
    points: Sequence[Point]
    loud: bool = False
    look: Look = "line"
    hue: int | None = None
    legend: str = ""
    named: bool | None = None
    aside: float = 0.0

    @property
    def has_label(self) -> bool:
        """True if its name always stands at its end."""
        return (self.loud or self.look == "bound") if self.named is None else self.named

    @property
    def may_have_label(self) -> bool:
        """True if its name stands at its end at least where there is room."""
        return self.has_label or (self.named is None and self.look == "line")

    @property
    def change(self) -> float:
        """The distance between its first value and its last."""
        return abs(self.points[-1].value - self.points[0].value)

    @property
    def has_band(self) -> bool:
        """True if its intervals are drawn as a band."""
        uncertain = any(point.reach[0] < point.reach[1] for point in self.points)
        return self.look == "line" and len(self.points) > 1 and uncertain

    @property
    def css(self) -> str:
        """Classes for the stylesheet."""
        hue = "" if self.hue is None else f" hue-{self.hue % HUES}"
        return f"{self.look} {'loud' if self.loud else 'quiet'}{hue}"


@dataclass(frozen=True)
class Chart:
    """The content of a chart.

    Attributes:
        y_label: what the vertical axis shows, with its unit.
        spoken: the chart in one or two sentences, for those who don't see it.
        reference: a horizontal dotted line, such as the real data's value.
        form: how a value of the vertical axis is written; as a rule with the decimals that its steps need.
        floor: the axis never goes lower.
        x_label: what the horizontal axis shows.
        x_form: how its values are written, where they aren't generations.
    """

    y_label: str
    spoken: str
    lines: Sequence[Line]
    reference: float | None = None
    reference_name: str = ""
    form: Callable[[float], str] | None = None
    floor: float = -math.inf
    x_label: str = "generation t"
    x_form: Callable[[float], str] | None = None


def draw(chart: Chart) -> Markup:
    """The chart as HTML; empty when there is nothing to draw."""
    if not any(line.points for line in chart.lines):
        return Markup("")
    pictures = [Picture(chart, name, width).values() for name, width in WIDTHS]
    return Markup(render("chart.html", chart=chart, pictures=pictures, legend=legend(chart)))  # the template escapes


def legend(chart: Chart) -> list[dict]:
    """Each way of drawing that has a name, once; without a colour where lines of several colours are drawn so."""
    by_name: dict[str, list[Line]] = {}
    for line in chart.lines:
        if line.legend and line.points:
            by_name.setdefault(line.legend, []).append(line)
    entries = []
    for name, lines in by_name.items():
        several = len({line.hue for line in lines}) > 1
        css = f"{lines[0].look} loud several" if several else lines[0].css
        band = any(line.has_band for line in lines)
        entries.append({"name": name, "css": css, "look": lines[0].look, "band": band})
    if chart.reference is not None and entries:
        entries.append({"name": chart.reference_name, "css": "reference", "look": "reference", "band": False})
    return entries


def number(value: float, digits: int = 4) -> str:
    """A number in few digits, with a proper minus sign, and without exponents where it can be read so."""
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value))) if math.isfinite(value) else 0
    text = f"{value:,.{max(0, digits - 1 - size)}f}" if -4 <= size <= 6 else f"{value:.{digits}g}"
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers that span low..high, about so many."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        size = max(abs(low), abs(high)) * 0.1
        room = size if size > LEAST_ROOM else 0.5
        low, high = low - room, high + room
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def tick_labels(marks: Sequence[float]) -> list[str]:
    """Texts of ticks, all with as many decimals as their steps need."""
    decimals = [len(f"{mark:.12g}".partition(".")[2]) if "e" not in f"{mark:.12g}" else 99 for mark in marks]
    if max(decimals) > 8 or max(map(abs, marks)) >= 1e7:
        return [number(mark, 3) for mark in marks]
    return [f"{mark:,.{max(decimals)}f}".replace("-", "−") for mark in marks]


def apart(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The heights, moved as little as needed to keep `gap` between them and stay within low..high."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    gap = min(gap, (high - low) / max(1, len(heights) - 1))
    placed = [heights[index] for index in order]
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + gap)
    ceiling = high
    for index in reversed(range(len(placed))):
        placed[index] = max(low + index * gap, min(placed[index], ceiling))
        ceiling = placed[index] - gap
    return [placed[order.index(index)] for index in range(len(heights))]


class Picture:
    """One size of a chart: from values to pixels."""

    def __init__(self, chart: Chart, name: str, width: int):
        self.chart, self.name, self.width = chart, name, width
        self.lines = [line for line in chart.lines if line.points]
        longest = max(
            len(chart.reference_name) * 0.9, *(len(line.name) for line in self.lines if line.may_have_label), 0
        )
        self.right = width - 14 - min(120, 7.8 * longest)
        points = [point for line in self.lines for point in line.points]
        reach = [end for point in points for end in point.reach]
        reach += [] if chart.reference is None else [chart.reference]
        self.marks = [mark for mark in ticks(max(chart.floor, min(reach)), max(reach)) if mark >= chart.floor]
        self.texts = [chart.form(mark) for mark in self.marks] if chart.form else tick_labels(self.marks)
        self.left = round(max(LEFT, 30 + 6.8 * max(map(len, self.texts))), 1)
        self.first, self.last = (math.floor(min(p.t for p in points)), math.ceil(max(p.t for p in points)))

    def values(self) -> dict:
        """Everything the template needs."""
        step = max(1, math.ceil((self.last - self.first) / (12 if self.name == "wide" else 6)))
        loud_last = sorted(self.lines, key=lambda line: (line.loud, line.look == "rings"))
        return {
            "name": self.name,
            "width": self.width,
            "height": HEIGHT,
            "left": self.left,
            "right": round(self.right, 1),
            "bottom": HEIGHT - BOTTOM,
            "middle": round((self.left + self.right) / 2, 1),
            "y_marks": [(self.y(mark), text) for mark, text in zip(self.marks, self.texts, strict=True)],
            "x_marks": [(self.x(t), text) for t, text in self.x_marks(step)],
            "bands": [band for line in loud_last if (band := self.band(line))],
            "lines": [self.line(line) for line in loud_last],
            "labels": self.labels(),
            "reference": None if self.chart.reference is None else self.y(self.chart.reference),
        }

    def x_marks(self, step: int) -> list[tuple[float, object]]:
        """The marked values of the horizontal axis, every `step`-th generation as a rule, and their texts."""
        if form := self.chart.x_form:
            return [(mark, form(mark)) for mark in ticks(self.first, self.last) if self.first <= mark <= self.last]
        return [(t, t) for t in range(self.first, self.last + 1, step)]

    def x(self, t: float) -> float:
        """The pixel of a generation."""
        span = self.last - self.first
        share = (t - self.first) / span if span else 0.5
        return round(self.left + 8 + share * (self.right - self.left - 16), 1)

    def y(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.marks[0], self.marks[-1]
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    def line(self, line: Line) -> dict:
        """A line's path, rings, dots and whiskers, in pixels."""
        dots = [(round(self.x(point.t) + line.aside, 1), self.y(point.value)) for point in line.points]
        has_dots = line.look == "marks" or (line.look == "line" and (line.loud or len(line.points) == 1))
        whiskers = []
        if line.look == "marks":
            reaches = [(x, *map(self.y, p.reach)) for (x, _), p in zip(dots, line.points, strict=True)]
            whiskers = [(x, low, high) for x, low, high in reaches if low != high]
        return {
            "css": line.css,
            "path": "" if line.look == "rings" else "M" + " L".join(f"{x},{y}" for x, y in dots),
            "rings": dots if line.look == "rings" else [],
            "dots": dots if has_dots else [],
            "whiskers": whiskers,
        }

    def band(self, line: Line) -> dict | None:
        """The band of a line's intervals as a polygon, in pixels; None without intervals."""
        if not line.has_band:
            return None
        upper = [(self.x(p.t), self.y(p.reach[1])) for p in line.points]
        lower = [(self.x(p.t), self.y(p.reach[0])) for p in reversed(line.points)]
        return {"css": line.css, "points": " ".join(f"{x},{y}" for x, y in upper + lower)}

    def labels(self) -> list[dict]:
        """Names at the lines' ends; a quiet one only where it has room, for a moved label would name another line."""
        ends = [
            (self.y(line.points[-1].value), line.name, f"label {line.css}") for line in self.lines if line.has_label
        ]
        if self.chart.reference is not None:
            ends.append((self.y(self.chart.reference), self.chart.reference_name, "label reference"))
        heights = apart([height for height, _, _ in ends], LABEL_GAP, TOP, HEIGHT - BOTTOM)
        placed = [(y, name, css) for y, (_, name, css) in zip(heights, ends, strict=True)]
        quiet = [line for line in self.lines if line.may_have_label and not line.has_label]
        for line in sorted(quiet, key=lambda line: line.change, reverse=True):
            y = self.y(line.points[-1].value)
            if all(abs(y - other) >= LABEL_GAP for other, _, _ in placed):
                placed.append((y, line.name, f"label {line.css}"))
        return [{"y": round(y + 4, 1), "name": name, "css": css} for y, name, css in placed]
