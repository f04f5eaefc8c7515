"""The figure of a sweep: dose and response, one row for each swept setting, measured marks beside predicted lines."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from curate_app.plots.theory import FAINT, STYLE, UNDATED
from loop.sweep.grid import label, short_names
from loop.sweep.results import OverSeeds, Response

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B0559A", "#56B4E9", "#A07800", "#333333")  # after Okabe and Ito
MARKS = ("o", "s", "^", "D", "v", "P", "X")
SYMBOLS = {"k": "K", "lam": "λ", "gamma": "γ", "lapse": "ε"}
MOST_ROWS, MOST_LINES = 3, 14
FAR = 8  # values that differ by this factor stand on a logarithmic axis


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity: how it is measured, and what theory says of it."""

    title: str
    measured: Callable[[Response], OverSeeds | None]
    predicted: Callable[[Response], float | None]


PANELS = (
    Panel("Mean reward E[r]", lambda found: found.mean_reward, lambda found: found.mean_reward_predicted),
    Panel("Gain of E[w] since t = 0", lambda found: found.gain, lambda found: found.gain_predicted),
    Panel("Transmission: measured / predicted gain", lambda found: found.transmission, lambda found: 1.0),
)


def save(folder: Path, found: Sequence[Response]) -> list[Path]:
    """Draws the responses and writes dose-response.svg and .png into a folder; returns their paths."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    keys = rows(found)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.9 + 2.7 * len(keys)), dpi=160, layout="constrained")
        _draw(figure, keys, found)
        return [_write(figure, folder / f"dose-response.{kind}") for kind in ("svg", "png")]


def markup(svg: Path) -> Markup:
    """A saved figure, to stand in a page."""
    text = svg.read_text(encoding="utf-8")
    return Markup(text[text.index("<svg") :])


def rows(found: Sequence[Response]) -> list[str]:
    """The settings that have a row: numbers with two values or more first, else words, else whatever there is."""
    values = {key: {label(one.values[key]): one.values[key] for one in found} for key in found[0].values}
    varied = [key for key, taken in values.items() if len(taken) > 1]
    numeric = [key for key in varied if all(_number(value) is not None for value in values[key].values())]
    return (numeric or varied or list(values))[:MOST_ROWS]


def _draw(figure: "Figure", keys: Sequence[str], found: Sequence[Response]) -> None:
    grid = figure.subplots(len(keys), len(PANELS), squeeze=False)
    for key, axes in zip(keys, grid, strict=True):
        lines = _lines(key, found)
        for one, panel in zip(axes, PANELS, strict=True):
            _panel(one, panel, key, lines)
        axes[0].set_ylabel(f"by {_symbol(key)}", fontweight="bold")
        if len(lines) > 1:
            axes[-1].legend(
                *axes[0].get_legend_handles_labels(),
                loc="center left",
                bbox_to_anchor=(1.02, 0.5),
                frameon=False,
                handletextpad=0.4,
                borderaxespad=0,
            )
    seeds = sorted({one.seeds for one in found})
    over = f"over {seeds[-1]} seeds" if seeds[0] > 1 else "of one seed's samples"
    dots = " (dots: each seed)" if seeds[-1] > 1 else ""
    figure.suptitle(
        f"Generation {found[0].t}: marks are measured, with 95% intervals {over}{dots}; "
        "dashed lines are predicted from generation 0",
        x=0.01, ha="left", fontsize=9, color=FAINT,
    )  # fmt: skip


def _lines(key: str, found: Sequence[Response]) -> dict[str, list[Response]]:
    """The responses along one setting, by what the other settings are."""
    names = short_names(list(found[0].values))
    lines: dict[str, list[Response]] = {}
    for one in found:
        others = [f"{SYMBOLS.get(names[k], names[k])} = {_shown(value)}" for k, value in one.values.items() if k != key]
        lines.setdefault(", ".join(others), []).append(one)
    return dict(list(lines.items())[:MOST_LINES])


def _panel(axes: "Axes", panel: Panel, key: str, lines: dict[str, list[Response]]) -> None:
    places, is_log = _places([one.values[key] for line in lines.values() for one in line])
    ticks = sorted(places.values())
    step = 0.012 * ((ticks[-1] - ticks[0]) or 1)
    for index, (name, line) in enumerate(lines.items()):
        aside = step * (index - (len(lines) - 1) / 2)
        _line(axes, panel, key, name, index, sorted((places[label(one.values[key])] + aside, one) for one in line))
    if panel is PANELS[2]:
        axes.axhline(1, color=FAINT, linewidth=0.8, linestyle=(0, (4, 2)))
    values = [estimate.low for line in lines.values() for one in line if (estimate := panel.measured(one))]
    tops = [estimate.high for line in lines.values() for one in line if (estimate := panel.measured(one))]
    if values and min(values) > 0 and max(tops) > 50 * min(values):
        axes.set_yscale("log")
    axes.set_title(panel.title)
    axes.set_xticks(ticks, [_shown_label(name) for name in sorted(places, key=places.__getitem__)])
    axes.minorticks_off()
    axes.set_xlabel(f"{_symbol(key)} ({key}{', log scale' if is_log else ''})")
    axes.grid(axis="y", color="#e8e8e8", linewidth=0.6)
    axes.set_axisbelow(True)


def _line(
    axes: "Axes", panel: Panel, key: str, name: str, index: int, points: Sequence[tuple[float, Response]]
) -> None:
    colour, mark = COLOURS[index % len(COLOURS)], MARKS[index % len(MARKS)]
    theory = [(x, value) for x, one in points if (value := panel.predicted(one)) is not None]
    if panel is not PANELS[2] and theory:
        axes.plot(*zip(*theory, strict=True), color=colour, linewidth=1.1, linestyle=(0, (4, 2)))
    found = [(x, estimate) for x, one in points if (estimate := panel.measured(one)) is not None]
    if not found:
        return
    for x, estimate in found:
        if len(estimate.each) > 1:
            axes.plot([x] * len(estimate.each), estimate.each, ".", color=colour, markersize=3, alpha=0.55)
    values = [estimate.value for _, estimate in found]
    errors = [
        [estimate.value - estimate.low for _, estimate in found],
        [estimate.high - estimate.value for _, estimate in found],
    ]
    axes.errorbar(
        [x for x, _ in found], values, errors, color=colour, fmt=mark, markersize=4.8, markerfacecolor="white",
        markeredgewidth=1.1, elinewidth=1.1, capsize=2.2, linestyle="-" if panel is PANELS[2] else "none",
        linewidth=0.7, label=name,
    )  # fmt: skip


def _places(values: Sequence[Any]) -> tuple[dict[str, float], bool]:
    """The place of each value on the axis, and whether that is logarithmic; infinity stands beyond the largest."""
    names = {label(value): _number(value) for value in values}
    if any(number is None for number in names.values()):
        return {name: float(index) for index, name in enumerate(names)}, False
    numbers = {name: number for name, number in names.items() if number is not None}
    finite = sorted({number for number in numbers.values() if math.isfinite(number)}) or [1.0]
    is_log = finite[0] > 0 and finite[-1] >= FAR * finite[0]
    scale = math.log if is_log else float
    ends = scale(finite[0]), scale(finite[-1])
    gap = (ends[1] - ends[0]) / max(1, len(finite) - 1) or 1.0
    beyond = ends[1] + 1.3 * gap
    return {name: scale(number) if math.isfinite(number) else beyond for name, number in numbers.items()}, is_log


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float) or value == "inf":
        return float(value)
    return None


def _symbol(key: str) -> str:
    name = key.rpartition(".")[2]
    return SYMBOLS.get(name, name)


def _shown(value: Any) -> str:
    return _shown_label(label(value))


def _shown_label(name: str) -> str:
    return "∞" if name == "inf" else name


def _write(figure: "Figure", path: Path) -> Path:
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        figure.savefig(draft, metadata=UNDATED[path.suffix[1:]])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path
