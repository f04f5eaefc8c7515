"""The figures of docs/reproduction.md: densities, rewards beside what theory predicts, and the shares of the modes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy.ndimage import gaussian_filter

from benchmarks.paper_2d.arms import EXPERIMENTS, Arm
from curate_app.plots.figures import COLOURS, DASHED, FAINT, INK, MARKS, STYLE, draw_grid, draw_marks
from loop.evidence.schema import Estimate, GenerationEvidence
from loop.sweep.results import OverSeeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = {True: (COLOURS[1], MARKS[0]), False: (COLOURS[0], MARKS[1])}  # pure, mixed
DENSE = LinearSegmentedColormap.from_list("dense", ["#ffffff", "#cfd8f7", "#7d92e8", "#3349c4", "#141d63", "#05071f"])
CELLS, BLUR, DPI = 110, 1.2, 150
MARGIN = 0.25  # around the real data, as a share of their extent


def draw_all(folder: Path, arms: Sequence[Arm]) -> list[Path]:
    """Draws every figure into a folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context(STYLE):
        for name in EXPERIMENTS:
            paths.append(_save(densities([arm for arm in arms if arm.name == name]), folder / f"densities-{name}.png"))
        paths.append(_save(rewards(arms), folder / "rewards.png"))
        paths.append(_save(modes(arms), folder / "modes.png"))
    return paths


def densities(arms: Sequence[Arm]) -> Figure:
    """One row an arm, one column a generation, the real data first; the ring is where the reward is highest."""
    columns = arms[0].last + 2
    low, high = _frame(arms[0])
    height = 1.38 * (high - low)[1] / (high - low)[0]
    figure = Figure(figsize=(1.38 * columns + 0.5, len(arms) * (height + 0.42) + 0.35), layout="constrained")
    grid = figure.subplots(len(arms), columns, squeeze=False)
    clouds = [[arm.real, *arm.points] for arm in arms]
    maps = [[_density(points, low, high) for points in row] for row in clouds]
    top = max(float(density.max()) for row in maps for density in row)
    for arm, row, axes in zip(arms, maps, grid, strict=True):
        for index, (density, cell) in enumerate(zip(row, axes, strict=True)):
            _panel(cell, density, arm, low, high, top)
            share = arm.real_in_ball[0] if index == 0 else arm.in_ball[0][index - 1]
            cell.set_title("real data" if index == 0 else f"t = {index - 1}", fontsize=8.5)
            cell.set_xlabel(f"{share:.0%} in the ring", fontsize=7.5, color=INK, labelpad=2)
        axes[0].set_ylabel(arm.title, fontsize=9, fontweight="bold")
    figure.suptitle(
        f"{EXPERIMENTS[arms[0].name]}, seed 0: density of {len(arms[0].points[0]):,} samples, one scale for all "
        "panels; ring: the reward is highest inside",
        x=0.01, ha="left", fontsize=9, color=FAINT,
    )  # fmt: skip
    return figure


def rewards(arms: Sequence[Arm]) -> Figure:
    """E[r], E[w] and the share in the ring by generation: marks over seeds, lines from generation 0 by theory."""
    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    grid = figure.subplots(len(EXPERIMENTS), 3, squeeze=False)
    for name, axes in zip(EXPERIMENTS, grid, strict=True):
        for arm in (arm for arm in arms if arm.name == name):
            _curve(axes[0], arm, arm.mean_reward(), lambda figures: figures.mean_reward)
            _curve(axes[1], arm, arm.mean_w(), lambda figures: figures.mean_w)
            _curve(axes[2], arm, arm.ball(), None)
        for cell, title in zip(axes, ("Mean reward E[r]", "E[w], w = exp r", "Share inside the ring"), strict=True):
            cell.set_title(title)
            cell.set_xlabel("generation t")
            draw_grid(cell)
        axes[0].set_ylabel(EXPERIMENTS[name], fontweight="bold")
        axes[0].legend(frameon=False, loc="lower right")
    seeds = len(arms[0].studies)
    figure.suptitle(
        f"Marks: measured, mean of {seeds} seeds with 95% intervals (dots: each seed); "
        "dashed: predicted from generation 0 by the exact operator",
        x=0.01, ha="left", fontsize=9, color=FAINT,
    )  # fmt: skip
    return figure


def modes(arms: Sequence[Arm]) -> Figure:
    """Shares of the modes by generation, in per cent, mean over seeds."""
    names = list(EXPERIMENTS)
    heights = [len(next(arm for arm in arms if arm.name == name).real_shares()) + 1.6 for name in names]
    figure = Figure(figsize=(10.5, 0.3 * sum(heights) + 0.6), layout="constrained")
    grid = figure.subplots(len(names), 2, squeeze=False, height_ratios=heights)
    for name, axes in zip(names, grid, strict=True):
        for cell, arm in zip(axes, (arm for arm in arms if arm.name == name), strict=True):
            _table(cell, arm)
    figure.suptitle("Shares of the modes in per cent, mean over seeds", x=0.01, ha="left", fontsize=9, color=FAINT)
    return figure


def _panel(axes: "Axes", density: np.ndarray, arm: Arm, low: np.ndarray, high: np.ndarray, top: float) -> None:
    axes.imshow(
        density, origin="lower", extent=(low[0], high[0], low[1], high[1]), cmap=DENSE, norm=PowerNorm(0.5, 0, top),
        interpolation="bilinear",
    )  # fmt: skip
    ring = Circle(arm.config.reward.center, arm.config.reward.r_min, fill=False, color="#D55E00", lw=0.9)
    axes.add_patch(ring)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#cccccc", linewidth=0.6)


def _curve(axes: "Axes", arm: Arm, measured: Sequence[OverSeeds], value: Callable[..., Estimate] | None) -> None:
    colour, mark = LOOKS[arm.is_pure]
    x = np.arange(len(measured)) + (-0.06 if arm.is_pure else 0.06)
    if value is not None:
        predicted = arm.over(lambda generation: _from_start(generation, value))
        axes.plot(range(len(predicted)), [estimate.value for estimate in predicted], color=colour, lw=1.1, ls=DASHED)
    for at, estimate in zip(x, measured, strict=True):
        axes.plot([at] * len(estimate.each), estimate.each, ".", color=colour, markersize=2.6, alpha=0.5)
    middle = [estimate.value for estimate in measured]
    errors = [
        [estimate.value - estimate.low for estimate in measured],
        [estimate.high - estimate.value for estimate in measured],
    ]
    draw_marks(axes, x.tolist(), middle, errors, colour, mark, label=arm.title)


def _from_start(generation: GenerationEvidence, value: Callable[..., Estimate]) -> Estimate | None:
    return value(generation.predicted_from_start) if generation.predicted_from_start else None


def _table(axes: "Axes", arm: Arm) -> None:
    shares = np.vstack([arm.real_shares(), arm.shares()]).T
    axes.imshow(shares, cmap=DENSE, norm=PowerNorm(0.6, 0, 1), aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        text = f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if share > 0.3 else INK)
    axes.set_xticks(range(shares.shape[1]), ["real", *(str(t) for t in range(shares.shape[1] - 1))])
    axes.set_yticks(range(len(shares)), arm.studies[0].class_names)
    axes.set_title(f"{EXPERIMENTS[arm.name]}, {arm.title}")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _frame(arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """The part of the plane that is shown: the real data with a margin."""
    low, high = arm.real.min(0), arm.real.max(0)
    wide = MARGIN * (high - low).min()
    return low - wide, high + wide


def _density(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(rows, columns) samples per unit area over the number of samples, the lowest row first."""
    side = float((high - low).max()) / CELLS
    bins = np.ceil((high - low) / side).astype(int)
    counts = np.histogram2d(points[:, 0], points[:, 1], bins, [(low[0], high[0]), (low[1], high[1])])[0]
    area = float(np.prod((high - low) / bins))
    return gaussian_filter(counts / (len(points) * area), BLUR).T


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path
