"""The figure of `curate fit`: utilities with their intervals, and the share of each position."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loop.choice.logit import Fit
from loop.choice.records import ChoiceReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#1f4e79", "#777777"


def save(path: Path, found: ChoiceReport, study: str) -> None:
    """Draws the figure into a .png, .svg or .pdf file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bias = found.tests[0]
    panels = 2 if bias.p is not None else 1
    height = max(2.6, 0.32 * len(found.fit.names) + 1.4)
    figure = Figure(figsize=(4.6 * panels, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(1, panels, squeeze=False)[0]
    _utilities(all_axes[0], found.fit)
    if bias.p is not None:
        _positions(all_axes[1], np.array(bias.figures["shares"]))
    figure.suptitle(f"{study}: {found.fit.n:,} picks of {found.fit.raters:,} rater(s)", x=0.01, ha="left", fontsize=10)
    figure.savefig(path)


def _utilities(axes: "Axes", fit: Fit) -> None:
    places = np.arange(len(fit.names))[::-1]
    low, high = fit.intervals().T
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.hlines(places, low, high, color=INK, linewidth=1.4)
    axes.plot(fit.coefficients, places, "o", color=INK, markersize=4)
    axes.set_yticks(places, fit.names, fontsize=8)
    axes.set_ylim(-0.7, len(fit.names) - 0.3)
    axes.set_xlabel("utility (log odds), with 95 % intervals", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _positions(axes: "Axes", shares: np.ndarray) -> None:
    places = np.arange(1, len(shares) + 1)
    axes.bar(places, shares, color="#c9d6e2", width=0.7)
    axes.axhline(1 / len(shares), color=FAINT, linewidth=0.8)
    axes.set_xticks(places)
    axes.set_xlabel("position", fontsize=8)
    axes.set_title("picked where all samples are alike", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
