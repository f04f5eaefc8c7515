"""Figures of the documents of `make papers`: what was measured by generation, one colour and mark for each arm."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from benchmarks.papers.sections import Arm
from benchmarks.papers.words import Figure, by_seed, mean, title
from curate_app.plots.figures import COLOURS, MARKS, STYLE, draw_grid, draw_marks, write_figure

Panel = tuple[str, Figure, int]  # heading, figure, first generation


def draw(path: Path, arms: Sequence[Arm], panels: Sequence[Panel]) -> Path:
    """Draws one panel beside the other, means over seeds with Student's 95% intervals, and writes the figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure = Drawing(figsize=(3.6 * len(panels), 3.2), dpi=150, layout="constrained")
        for axes, (heading, value, first) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            for i, arm in enumerate(arms):
                last = max(len(study.generations) for study in arm.studies)
                rows = {t: mean(list(by_seed(arm, value, t).values())) for t in range(first, last)}
                known = [(t + 0.08 * i, row) for t, row in rows.items() if row]
                errors = [[row.value - row.low for _, row in known], [row.high - row.value for _, row in known]]
                places, values = [t for t, _ in known], [row.value for _, row in known]
                axes.plot(places, values, color=COLOURS[i], linewidth=0.8, alpha=0.6)
                draw_marks(axes, places, values, errors, COLOURS[i], MARKS[i], label=title(arm))
            axes.set_title(heading)
            axes.set_xlabel("generation t")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
            draw_grid(axes)
        figure.axes[0].legend(frameon=False)
        return write_figure(figure, path)
