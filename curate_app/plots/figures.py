"""Figures in files, by matplotlib, in one style: those of `curate theory`, `curate sweep` and `curate fit`.

Pages have inline SVG instead (svg.py). matplotlib is imported when a figure is drawn, for it takes a second.
"""

import itertools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from loop.analysis.report import ChoiceReport
from loop.sweep.grid import label, short_names
from loop.sweep.results import OverSeeds, PhaseDiagram, Response
from loop.theory.toy_models import Curve, GaussianModel, KernelModel, LinearModel, Point
from loop.theory.toy_tokens import CategoricalModel, ContextModel, CuratedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours (darkened for lines on white), which the colour-blind tell apart; marks do so in grey
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B0559A", "#56B4E9", "#A07800", "#333333")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT, GRID, PALE = "#333333", "#8a8a8a", "#e8e8e8", "#c9d6e2"
DASHED = (0, (4, 2))
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8.5, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": FAINT,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.titlelocation": "left",
    "svg.hashsalt": "curate", "pdf.fonttype": 42,
}  # fmt: skip
UNDATED = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
INTERVAL = 1.96


def write_figure(figure: "Figure", path: Path) -> Path:
    """Writes a figure, whole or not at all; the same figure gives the same bytes.

    Args:
        figure: drawn.
        path: its suffix, .png, .svg or .pdf, says the format.
    """
    kind = path.suffix.lower()[1:]
    draft = path.with_name(f".{path.stem}.{os.getpid()}.{kind}")
    try:
        figure.savefig(draft, metadata=UNDATED[kind])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def draw_marks(
    axes: "Axes", x: Sequence[float], y: Sequence[float], errors: Any, colour: str, mark: str, **options: Any
) -> None:
    """Draws measured values: open marks with whiskers.

    Args:
        axes: where.
        x: places.
        y: values.
        errors: lengths of the whiskers, as matplotlib's `errorbar` takes them; None for none.
        colour: of marks and whiskers.
        mark: the shape.
        options: more for `errorbar`.
    """
    looks = {"markersize": 4.5, "markerfacecolor": "white", "markeredgewidth": 1.0, "elinewidth": 1.0, "capsize": 2.0}
    axes.errorbar(x, y, errors, color=colour, fmt=mark, **{**looks, "linestyle": "none", **options})


def draw_grid(axes: "Axes") -> None:
    """Draws pale horizontal lines behind the data."""
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


# -- curate theory: simulated points over exact lines, one colour and mark per policy, and z below

Value = Callable[[Point], float | None]
ToyModel = LinearModel | GaussianModel | KernelModel | CategoricalModel | ContextModel | CuratedModel
LOOKS = {
    "replace": (COLOURS[1], MARKS[0]),
    "accumulate": (COLOURS[0], MARKS[1]),
    "accumulate_subsample": (COLOURS[2], MARKS[2]),
    "mix": (COLOURS[3], MARKS[3]),
    "replace_grown": (COLOURS[4], MARKS[4]),
    "recent": (COLOURS[5], MARKS[5]),
    "uniform": (COLOURS[6], MARKS[6]),
}
MOST_MARKS = 25  # a longer curve has a mark at some of its points only
SIMULATED, EXACT = attrgetter("simulated"), attrgetter("exact")


@dataclass(frozen=True, slots=True)
class TheoryPanel:
    """One pair of axes over the generations.

    Attributes:
        title: the quantity.
        y_label: the vertical axis.
        points: the simulated value.
        line: the exact one.
        bound: a bound from theory.
        bound_name: its name in the title, where it is drawn.
        errors: the points carry error bars; standard errors are of the first quantity alone.
        without: a policy left out.
        of_n: the horizontal axis counts fits from n = 1; otherwise generations from t = 0.
    """

    title: str
    y_label: str
    points: Value
    line: Value
    bound: Value = lambda point: None
    bound_name: str = ""
    errors: bool = False
    without: str = ""
    of_n: bool = True


def extra(key: str) -> Value:
    """The value of a point that its model calls `key`."""
    return lambda point: point.extra.get(key)


def theory_panels(model: ToyModel) -> tuple[str, TheoryPanel, TheoryPanel]:
    """The figure's title and its two upper panels."""
    if isinstance(model, LinearModel):
        y_label, bound = "excess error / v", extra("bound")
        return (
            "Linear regression trained on its own labels",
            TheoryPanel("Excess test error", y_label, SIMULATED, EXACT, errors=True),
            TheoryPanel("Close up", y_label, SIMULATED, EXACT, bound, "bound, π²/6", errors=True, without="replace"),
        )
    if isinstance(model, GaussianModel):
        drift = extra("drift_squared"), extra("drift_squared_exact")
        return (
            "A Gaussian fitted to samples of itself",
            TheoryPanel("Fitted variance", "variance / σ²", SIMULATED, EXACT, errors=True),
            TheoryPanel("Drift of the fitted mean", "squared distance / σ²", *drift),
        )
    if isinstance(model, KernelModel):
        drift = extra("drift_squared"), lambda point: None
        return (
            "A kernel density fitted to samples of itself",
            TheoryPanel("Variance", "variance / σ²", SIMULATED, EXACT, errors=True),
            TheoryPanel("Drift of the mean", "squared distance / σ²", *drift),
        )
    if isinstance(model, ContextModel):
        distance = extra("l2_squared"), extra("l2_squared_exact")
        return (
            "Next-token laws of a text, each context's learned from its own draws",
            TheoryPanel("Two tokens after a context are the same", "S, probability", SIMULATED, EXACT, errors=True),
            TheoryPanel("Distance from the first fit", "squared L2", *distance),
        )
    if isinstance(model, CategoricalModel):
        endless = {} if model.k == 1 else {"bound": extra("endless_rows"), "bound_name": "with endless rows"}
        return (
            "Next-token frequencies learned from their own " + ("draws" if model.k == 1 else "picks"),
            TheoryPanel("Diversity: two tokens differ", "probability", SIMULATED, EXACT, errors=True, **endless),
            TheoryPanel("Tokens that still have mass", "tokens left", extra("tokens_left"), lambda point: None),
        )
    weight = {"bound": extra("floor"), "bound_name": "floors, C1 and C4", "errors": True, "of_n": False}
    divergence = extra("kl_simulated"), extra("kl_exact"), extra("kl_ceiling")
    return (
        "The curated loop on a finite support",
        TheoryPanel("Expected weight", "E[w] / w*", SIMULATED, EXACT, **weight),
        TheoryPanel("Divergence from the real data", "KL($p_t$ ‖ $p_{ref}$)", *divergence, "C5 of mix", of_n=False),
    )


def theory_figure(path: Path, model: ToyModel, curves: Sequence[Curve], caption: str) -> None:
    """Draws the curves of a toy model and writes the figure.

    Args:
        path: its suffix, .png, .svg or .pdf, says the format.
        model: says what the panels show.
        curves: one per policy.
        caption: the settings, in words.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    title, *panels = theory_panels(model)
    of_n = panels[0].of_n
    has_z = any(point.z is not None for curve in curves for point in curve.points)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 5.4), dpi=200, layout="constrained")
        rows: list[Any] = [["a", "b"], ["z", "z"]] if has_z else [["a", "b"]]
        axes = figure.subplot_mosaic(rows, height_ratios=[3, 1][: len(rows)])
        for name, panel in zip("ab", panels, strict=True):
            draw_theory_panel(axes[name], panel, curves)
        if has_z:
            draw_residuals(axes["z"], curves, "exact" if of_n else "its expectation given the generations before")
        for name in axes:
            axes[name].xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
            if name == "z" or not has_z:
                axes[name].set_xlabel(
                    "fit n (n = 1 is on real data alone)" if of_n else "generation t (t = 0 is of real data alone)"
                )
        figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=12, fontweight="bold")
        draw_policies(figure, curves)
        note = f"{caption}; marks: simulated, with 95% intervals; lines: exact"
        figure.text(0.01, 0.955, note, fontsize=8, color=FAINT, ha="left", va="top")
        write_figure(figure, path)


def draw_theory_panel(axes: "Axes", panel: TheoryPanel, curves: Sequence[Curve]) -> None:
    """Draws exact lines, simulated marks and the bound of each policy."""
    bounded = False
    shown = [curve for curve in curves if curve.policy.kind != panel.without] or list(curves)
    for curve in shown:
        colour, mark = LOOKS[curve.policy.kind]
        axes.plot(*values_of(curve, panel.line), color=colour, linewidth=1.2)
        n, value = values_of(curve, panel.points)
        errors = [INTERVAL * point.se for point in curve.points] if panel.errors else None
        every = -(-len(n) // MOST_MARKS)
        draw_marks(axes, n, value, errors, colour, mark, markevery=every, errorevery=every)
        n, bound = values_of(curve, panel.bound)
        axes.plot(n, bound, color=colour, linewidth=1.0, linestyle=DASHED)
        bounded = bounded or bool(bound)
    left_out = f", without {panel.without}" if len(shown) < len(curves) else ""
    axes.set_title(panel.title + left_out + (f"; dashed: {panel.bound_name}" if bounded else ""))
    axes.set_ylabel(panel.y_label)
    draw_grid(axes)


def draw_residuals(axes: "Axes", curves: Sequence[Curve], reference: str) -> None:
    """Draws z of every point, with the band that nearly all should stay in."""
    axes.axhspan(-3, 3, color="#f1f1f1", linewidth=0)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    reach = 3.6
    for index, curve in enumerate(curves):
        colour, mark = LOOKS[curve.policy.kind]
        n, z = values_of(curve, attrgetter("z"))
        aside = 0.09 * (index - (len(curves) - 1) / 2)
        axes.plot([place + aside for place in n], z, mark, color=colour, markersize=3.2)
        reach = max([reach, *(1.1 * abs(value) for value in z)])
    axes.set_ylim(-reach, reach)
    axes.set_yticks([-3, 0, 3])
    axes.set_ylabel("z")
    axes.set_title(f"Simulated minus {reference}, in standard errors; the band is ±3")


def draw_policies(figure: "Figure", curves: Sequence[Curve]) -> None:
    """Draws the legend below the panels."""
    from matplotlib.lines import Line2D

    handles, labels = [], []
    for curve in curves:
        colour, mark = LOOKS[curve.policy.kind]
        looks = {"markersize": 4.5, "markerfacecolor": "white", "linewidth": 1.2}
        handles.append(Line2D([], [], color=colour, marker=mark, **looks))
        kind = curve.policy.kind
        named = {"mix": f"mix, λ = {curve.policy.lam:g}", "recent": f"recent {curve.policy.recent}"}
        labels.append(named.get(kind, kind.replace("_", "-")))
    figure.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=len(labels) if len(labels) <= 6 else 4,
        frameon=False,
        handletextpad=0.5,
    )


def values_of(curve: Curve, value: Value) -> tuple[list[int], list[float]]:
    """The generations at which there is a value, and the values."""
    pairs = [(point.n, value(point)) for point in curve.points]
    return [n for n, y in pairs if y is not None], [y for _, y in pairs if y is not None]


# -- curate sweep: dose and response, one row for each swept setting, measured marks beside predicted lines

SYMBOLS = {"k": "K", "lam": "λ", "gamma": "γ", "lapse": "ε"}
MOST_ROWS, MOST_LINES = 3, 14
FAR = 8  # values that differ by this factor are drawn on a logarithmic axis


@dataclass(frozen=True, slots=True)
class SweepPanel:
    """One quantity: its measured value, and the predicted one.

    Attributes:
        title: the quantity.
        measured: over the seeds of one combination.
        predicted: by theory.
        is_ratio: of measured to predicted, so that 1 is drawn as a reference and the marks are joined.
    """

    title: str
    measured: Callable[[Response], OverSeeds | None]
    predicted: Callable[[Response], float | None]
    is_ratio: bool = False


SWEEP_PANELS = (
    SweepPanel("Mean reward E[r]", attrgetter("mean_reward"), attrgetter("mean_reward_predicted")),
    SweepPanel("Gain of E[w] since t = 0", attrgetter("gain"), attrgetter("gain_predicted")),
    SweepPanel("Transmission: measured / predicted gain", attrgetter("transmission"), lambda _: 1.0, is_ratio=True),
)


def sweep_figures(folder: Path, responses: Sequence[Response]) -> list[Path]:
    """Draws the responses and writes dose-response.svg and .png into a folder; returns their paths."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    keys = swept_settings(responses)
    seeds = sorted({response.seeds for response in responses})
    over = f"over {seeds[-1]} seeds" if seeds[0] > 1 else "of one seed's samples"
    dots = " (dots: each seed)" if seeds[-1] > 1 else ""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.9 + 2.7 * len(keys)), dpi=160, layout="constrained")
        grid = figure.subplots(len(keys), len(SWEEP_PANELS), squeeze=False)
        for key, row in zip(keys, grid, strict=True):
            lines = response_lines(key, responses)
            for axes, panel in zip(row, SWEEP_PANELS, strict=True):
                draw_sweep_panel(axes, panel, key, lines)
            row[0].set_ylabel(f"by {symbol(key)}", fontweight="bold")
            if len(lines) > 1:
                place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5), "borderaxespad": 0}
                row[-1].legend(*row[0].get_legend_handles_labels(), frameon=False, handletextpad=0.4, **place)
        figure.suptitle(
            f"Generation {responses[0].t}: marks are measured, with 95% intervals {over}{dots}; "
            "dashed lines are predicted from generation 0",
            x=0.01, ha="left", fontsize=9, color=FAINT,
        )  # fmt: skip
        return [write_figure(figure, folder / f"dose-response.{kind}") for kind in ("svg", "png")]


def svg_markup(file: Path) -> Markup:
    """A saved SVG as an element of a page."""
    text = file.read_text(encoding="utf-8")
    return Markup(text[text.index("<svg") :])


def swept_settings(responses: Sequence[Response]) -> list[str]:
    """The settings that have a row: numbers with two values or more first, else words, else whatever there is."""
    values = {key: {label(item.values[key]): item.values[key] for item in responses} for key in responses[0].values}
    varied = [key for key, taken in values.items() if len(taken) > 1]
    numeric = [key for key in varied if all(as_number(value) is not None for value in values[key].values())]
    return (numeric or varied or list(values))[:MOST_ROWS]


def response_lines(key: str, responses: Sequence[Response]) -> dict[str, list[Response]]:
    """The responses along one setting, a line for each combination of the other settings, by its name."""
    names = short_names(list(responses[0].values))
    lines: dict[str, list[Response]] = {}
    for response in responses:
        others = [
            f"{SYMBOLS.get(names[other], names[other])} = {shown(label(value))}"
            for other, value in response.values.items()
            if other != key
        ]
        lines.setdefault(", ".join(others), []).append(response)
    return dict(list(lines.items())[:MOST_LINES])


def draw_sweep_panel(axes: "Axes", panel: SweepPanel, key: str, lines: dict[str, list[Response]]) -> None:
    """Draws all lines of one quantity along one setting, a little apart, so that no mark hides another."""
    places, is_log = places_on_axis([response.values[key] for line in lines.values() for response in line])
    ticks = sorted(places.values())
    step = 0.012 * ((ticks[-1] - ticks[0]) or 1)
    for index, (name, line) in enumerate(lines.items()):
        aside = step * (index - (len(lines) - 1) / 2)
        points = sorted((places[label(response.values[key])] + aside, response) for response in line)
        draw_response(axes, panel, name, index, points)
    if panel.is_ratio:
        axes.axhline(1, color=FAINT, linewidth=0.8, linestyle=DASHED)
    measured = [panel.measured(response) for line in lines.values() for response in line]
    lows, highs = ([getattr(value, end) for value in measured if value] for end in ("low", "high"))
    if lows and min(lows) > 0 and max(highs) > 50 * min(lows):
        axes.set_yscale("log")
    axes.set_title(panel.title)
    axes.set_xticks(ticks, [shown(name) for name in sorted(places, key=places.__getitem__)])
    axes.minorticks_off()
    axes.set_xlabel(f"{symbol(key)} ({key}{', log scale' if is_log else ''})")
    draw_grid(axes)


def draw_response(
    axes: "Axes", panel: SweepPanel, name: str, index: int, points: Sequence[tuple[float, Response]]
) -> None:
    """Draws one line: the prediction dashed, each seed as a dot, and the mean over seeds with its interval."""
    colour, mark = COLOURS[index % len(COLOURS)], MARKS[index % len(MARKS)]
    predicted = [(x, value) for x, response in points if (value := panel.predicted(response)) is not None]
    if predicted and not panel.is_ratio:
        axes.plot(*zip(*predicted, strict=True), color=colour, linewidth=1.1, linestyle=DASHED)
    measured = [(x, value) for x, response in points if (value := panel.measured(response)) is not None]
    if not measured:
        return
    for x, estimate in measured:
        if len(estimate.each) > 1:
            axes.plot([x] * len(estimate.each), estimate.each, ".", color=colour, markersize=3, alpha=0.55)
    values = [estimate.value for _, estimate in measured]
    errors = [
        [estimate.value - estimate.low for _, estimate in measured],
        [estimate.high - estimate.value for _, estimate in measured],
    ]
    joined = {"linestyle": "-" if panel.is_ratio else "none", "linewidth": 0.7}
    draw_marks(axes, [x for x, _ in measured], values, errors, colour, mark, label=name, **joined)


def places_on_axis(values: Sequence[Any]) -> tuple[dict[str, float], bool]:
    """The place of each value, by its label, and whether the axis is logarithmic; infinity is beyond the largest."""
    numbers = {label(value): as_number(value) for value in values}
    if any(number is None for number in numbers.values()):
        return {name: float(index) for index, name in enumerate(numbers)}, False
    known = {name: number for name, number in numbers.items() if number is not None}
    finite = sorted({number for number in known.values() if math.isfinite(number)}) or [1.0]
    is_log = finite[0] > 0 and finite[-1] >= FAR * finite[0]
    scale = math.log if is_log else float
    first, last = scale(finite[0]), scale(finite[-1])
    gap = (last - first) / max(1, len(finite) - 1) or 1.0
    beyond = last + 1.3 * gap
    return {name: scale(number) if math.isfinite(number) else beyond for name, number in known.items()}, is_log


def as_number(value: Any) -> float | None:
    """A setting's value as a number, "inf" included; None for other words, truth values and lists."""
    if isinstance(value, bool) or not (isinstance(value, int | float) or value == "inf"):
        return None
    return float(value)


def symbol(key: str) -> str:
    """The paper's letter for a setting, else the last part of its name."""
    name = key.rpartition(".")[2]
    return SYMBOLS.get(name, name)


def shown(text: str) -> str:
    """A value's label as a figure shows it."""
    return "∞" if text == "inf" else text


# -- curate sweep over adversaries: a phase diagram, measured cells and the predicted frontier over them


def phase_figures(folder: Path, diagram: PhaseDiagram) -> list[Path]:
    """Draws a phase diagram, a panel for each generation, and writes phase.svg and .png into a folder."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    times = list(diagram.frontier)
    columns, shares = (sorted({getattr(cell, key) for cell in diagram.cells}) for key in ("covariance", "share"))
    size = (max(4.2, 0.85 * len(columns) + 1.4), max(2.8, 0.48 * len(shares) + 1.8))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(size[0] * len(times), size[1]), dpi=160, layout="constrained")
        for axes, t in zip(figure.subplots(1, len(times), squeeze=False)[0], times, strict=True):
            draw_phase(axes, diagram, t, columns, shares)
        figure.suptitle(
            "Blue: E[r] of the true reward has risen, red: fallen, hatched: can't be told.  Line: predicted frontier "
            "(exact);\ndashed: where the covariance of true and operative reward is 0",
            x=0.01, ha="left", fontsize=8, color=FAINT,
        )  # fmt: skip
        return [write_figure(figure, folder / f"phase.{kind}") for kind in ("svg", "png")]


def draw_phase(axes: "Axes", diagram: PhaseDiagram, t: int, columns: Sequence[float], shares: Sequence[float]) -> None:
    """Draws the cells of one generation with their changes of E[r] and half the widths of the intervals."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    y_edges, places = borders(shares), np.arange(len(columns))  # columns are as wide, however close covariances are
    reach = max(abs(cell.changes[t].value) for cell in diagram.cells) or 1.0
    for cell in diagram.cells:
        change, i, j = cell.changes[t], columns.index(cell.covariance), shares.index(cell.share)
        strength = change.value / reach
        colour = colormaps["RdBu"](0.5 + 0.42 * math.copysign(math.sqrt(abs(strength)), strength))
        corner, size = (i - 0.5, y_edges[j]), (1.0, y_edges[j + 1] - y_edges[j])
        hatch = "" if cell.direction(t) else "////"
        axes.add_patch(Rectangle(corner, *size, facecolor=colour, edgecolor="white", linewidth=1, hatch=hatch))
        text = f"{change.value:+.2g}\n±{(change.high - change.low) / 2:.1g}".replace("-", "−")
        ink = "white" if abs(strength) > 0.45 else INK
        axes.text(
            corner[0] + size[0] / 2, corner[1] + size[1] / 2, text, ha="center", va="center", fontsize=6.5, color=ink
        )
    if points := diagram.frontier[t]:
        at = np.interp([covariance for covariance, _ in points], columns, places)
        axes.plot(at, [share for _, share in points], "-", color=INK, linewidth=1.8, marker=".", markersize=5)
    below = np.linspace(min(columns[0], 0.0), min(columns[-1], 0.0), 200)
    axes.plot(np.interp(below, columns, places), 1 / (1 - below), color=INK, linewidth=1.1, linestyle=DASHED)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(y_edges[0], y_edges[-1])
    axes.set_title(f"Change of E[r], t = 0 to {t}, ± half of the 95% interval")
    axes.set_xlabel("covariance of both rewards / variance of the true one")
    axes.set_ylabel("share of adversarial picks φ")
    axes.set_xticks(places, [f"{column:.2f}".replace("-", "−") for column in columns])
    axes.set_yticks(shares)


def borders(places: Sequence[float]) -> list[float]:
    """The borders of cells around sorted places, half-way between neighbours."""
    if len(places) == 1:
        return [places[0] - 0.5, places[0] + 0.5]
    inner = [(low + high) / 2 for low, high in itertools.pairwise(places)]
    return [places[0] - (inner[0] - places[0]), *inner, places[-1] + (places[-1] - inner[-1])]


# -- curate fit: utilities with intervals, and the shares of the positions


def utilities_figure(path: Path, analysis: ChoiceReport, study: str) -> None:
    """Draws the fitted utilities, and beside them the pick rate of each position, where that was tested.

    Args:
        path: its suffix, .png, .svg or .pdf, says the format.
        analysis: of the study's picks.
        study: its name.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    fit, position_bias = analysis.fit, analysis.tests[0]
    panels = 1 if position_bias.p is None else 2
    with mpl.rc_context(STYLE):
        height = max(2.6, 0.32 * len(fit.names) + 1.4)
        figure = Figure(figsize=(4.6 * panels, height), dpi=150, layout="constrained")
        row = figure.subplots(1, panels, squeeze=False)[0]
        places = np.arange(len(fit.names))[::-1]
        low, high = fit.intervals().T
        row[0].axvline(0, color=FAINT, linewidth=0.8)
        row[0].hlines(places, low, high, color=COLOURS[0], linewidth=1.4)
        row[0].plot(fit.coefficients, places, "o", color=COLOURS[0], markersize=4)
        row[0].set_yticks(places, fit.names)
        row[0].set_ylim(-0.7, len(fit.names) - 0.3)
        row[0].set_xlabel("utility (log odds), with 95% intervals")
        if position_bias.p is not None:
            shares = np.array(position_bias.figures["shares"])
            row[1].bar(np.arange(1, len(shares) + 1), shares, color=PALE, width=0.7)
            row[1].axhline(1 / len(shares), color=FAINT, linewidth=0.8)
            row[1].set_xticks(np.arange(1, len(shares) + 1))
            row[1].set_xlabel("position")
            row[1].set_title("Picked where all samples are alike")
        title = f"{study}: {fit.n:,} picks of {fit.raters:,} rater{'s' if fit.raters != 1 else ''}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        write_figure(figure, path)
