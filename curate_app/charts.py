"""Curves over generations as inline SVG: crisp in light and dark (colours: admin.css), readable aloud, no scripts.

Each chart is drawn twice, wide and narrow, and the stylesheet shows the one that fits, so that text keeps its size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from curate_app.assets import render

HEIGHT = 270
TOP, BOTTOM, LEFT = 14, 46, 54
LABEL_GAP = 13.0
WIDTHS = (("wide", 580), ("narrow", 350))


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a generation, with its standard error where it has one."""

    t: int
    value: float
    se: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; the loud one is emphasised, the others stay in the background."""

    name: str
    points: Sequence[Point]
    loud: bool = False


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes:
        y_label: what the vertical axis shows, with its unit.
        spoken: the chart in one or two sentences, for those who don't see it.
        reference: a horizontal dotted line, such as the real data's value.
        form: how a value of the vertical axis is written.
        floor: the axis never goes lower.
    """

    y_label: str
    spoken: str
    lines: Sequence[Line]
    reference: float | None = None
    reference_name: str = ""
    form: Callable[[float], str] = field(default="{:g}".format)
    floor: float = -math.inf


def draw(chart: Chart) -> Markup:
    """The chart as HTML; empty when there is nothing to draw."""
    if not any(line.points for line in chart.lines):
        return Markup("")
    pictures = [_Picture(chart, name, width).values() for name, width in WIDTHS]
    return Markup(render("chart.html", chart=chart, pictures=pictures))  # the template escapes


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers that span low..high, about so many."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


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


class _Picture:
    """One size of a chart: from values to pixels."""

    def __init__(self, chart: Chart, name: str, width: int):
        self.chart, self.name, self.width = chart, name, width
        longest = max([len(line.name) for line in chart.lines] + [len(chart.reference_name) * 0.9])
        self.right = width - 14 - min(96, 7.2 * longest)
        points = [point for line in chart.lines for point in line.points]
        reach = [point.value + sign * 2 * point.se for point in points for sign in (-1, 1)]
        reach += [] if chart.reference is None else [chart.reference]
        self.marks = [mark for mark in ticks(max(chart.floor, min(reach)), max(reach)) if mark >= chart.floor]
        self.first, self.last = min(point.t for point in points), max(point.t for point in points)

    def values(self) -> dict:
        """Everything the template needs."""
        loud_last = sorted(self.chart.lines, key=lambda line: line.loud)
        return {
            "name": self.name,
            "width": self.width,
            "height": HEIGHT,
            "left": LEFT,
            "right": round(self.right, 1),
            "bottom": HEIGHT - BOTTOM,
            "middle": round((LEFT + self.right) / 2, 1),
            "y_marks": [(self._y(mark), self.chart.form(mark)) for mark in self.marks],
            "x_marks": [(self._x(t), t) for t in self._generations()],
            "bands": [band for line in loud_last if (band := self._band(line))],
            "lines": [self._line(line) for line in loud_last],
            "labels": self._labels(),
            "reference": None if self.chart.reference is None else self._y(self.chart.reference),
        }

    def _x(self, t: float) -> float:
        span = self.last - self.first
        share = (t - self.first) / span if span else 0.5
        return round(LEFT + 8 + share * (self.right - LEFT - 16), 1)

    def _y(self, value: float) -> float:
        low, high = self.marks[0], self.marks[-1]
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    def _generations(self) -> list[int]:
        step = max(1, math.ceil((self.last - self.first) / (12 if self.name == "wide" else 6)))
        return list(range(self.first, self.last + 1, step))

    def _line(self, line: Line) -> dict:
        dots = [(self._x(point.t), self._y(point.value)) for point in line.points]
        return {"path": "M" + " L".join(f"{x},{y}" for x, y in dots), "dots": dots, "loud": line.loud}

    def _band(self, line: Line) -> str:
        if not any(point.se for point in line.points) or len(line.points) < 2:
            return ""
        upper = [(self._x(p.t), self._y(p.value + 2 * p.se)) for p in line.points]
        lower = [(self._x(p.t), self._y(p.value - 2 * p.se)) for p in reversed(line.points)]
        return " ".join(f"{x},{y}" for x, y in upper + lower)

    def _labels(self) -> list[dict]:
        """Names at the lines' ends; a quiet one only where it has room, for a moved label would name another line."""
        lines = self.chart.lines
        ends = [(self._y(line.points[-1].value), line.name, "loud") for line in lines if line.loud]
        if self.chart.reference is not None:
            ends.append((self._y(self.chart.reference), self.chart.reference_name, "reference"))
        heights = apart([height for height, _, _ in ends], LABEL_GAP, TOP, HEIGHT - BOTTOM)
        placed = [(y, name, kind) for y, (_, name, kind) in zip(heights, ends, strict=True)]
        for line in sorted(lines, key=_moved, reverse=True):
            y = self._y(line.points[-1].value)
            if not line.loud and all(abs(y - other) >= LABEL_GAP for other, _, _ in placed):
                placed.append((y, line.name, "quiet"))
        return [{"y": round(y + 4, 1), "name": name, "kind": kind} for y, name, kind in placed]


def _moved(line: Line) -> float:
    return abs(line.points[-1].value - line.points[0].value)
