"""The tables and the figure of `curate fit`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

from curate_app.console import out
from loop.analysis.assumptions import AssumptionTest
from loop.analysis.logit import Fit
from loop.analysis.report import ChoiceReport, Items, Part

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = {"found": "bold", "not found": "dim", "can't tell": "yellow"}
INK, FAINT = "#1f4e79", "#777777"


def print_report(found: ChoiceReport, study: str) -> None:
    """Prints all of it: who counted, utilities, the reward's scale, parts, items and tests."""
    _say(f"[bold]{escape(study)}[/bold]  {escape(_counted(found))}")
    if found.fit.names:
        out.print(_coefficients(found.fit, found.design.references))
    _say(escape(_about(found.fit, "human" in found.counting.kinds)))
    for name, why in found.design.left_out.items():
        _say(escape(f"Left out: '{name}' {why}."))
    _say(escape(_scale(found.scale, found.gamma)))
    if found.parts:
        out.print(_parts(found.parts))
        for part in found.parts:
            if part.problem:
                _say(escape(f"{part.name}: {part.problem}"))
    for items in found.items:
        _print_items(items)
    out.print(_tests(found.tests))
    _say("[dim]Each test raises a false alarm in 5% of studies; docs/choice-model.md says what each can find.[/dim]")


def _say(text: str) -> None:
    out.print(text, highlight=False)


def _counted(found: ChoiceReport) -> str:
    kinds, purposes = " and ".join(found.counting.kinds), " and ".join(found.counting.purposes)
    raters = f"{found.fit.raters:,} {kinds} rater{'s' if found.fit.raters != 1 else ''}"
    left = ", ".join(f"{n:,} {words}" for words, n in found.left_out.items())
    return f"{found.fit.n:,} picks of {raters} in {purposes} slates." + (f" Not counted: {left}." if left else "")


def _about(fit: Fit, people: bool) -> str:
    if fit.jackknife is not None:
        errors = f"Intervals take each of {fit.raters:,} raters as one cluster."
    elif people:
        errors = "One rater alone: intervals say nothing of others."
    else:
        errors = "Intervals take picks as independent, as those of simulated users are."
    ridge = ""
    if fit.ridge:
        ridge = (
            f" A ridge of {fit.ridge:g} pulls utilities toward 0: a normal prior of standard deviation "
            f"{fit.ridge**-0.5:.2g} on standardised columns; utilities and intervals are its posterior's."
        )
    return f"The columns explain {fit.fit_share:.1%} of the log-likelihood that chance leaves. {errors}{ridge}"


def _scale(part: Part, gamma: float) -> str:
    if part.fit is None:
        return f"The reward's scale: {part.problem}"
    value, (low, high) = float(part.fit.coefficients[0]), part.fit.intervals()[0]
    return (
        f"Picks follow the recorded reward with factor {value:.3f} (95% {low:.3f} to {high:.3f}); 1 is as declared, "
        f"where γ = {gamma:g}, so that γ is estimated as {value * gamma:.3g} ({low * gamma:.3g} to {high * gamma:.3g})."
    )


def _coefficients(fit: Fit, references: dict[str, str]) -> Table:
    beside = f" (beside {', '.join(references.values())})" if references else ""
    table = Table(title=f"Utilities{beside}", title_justify="left")
    table.add_column("")
    for column in ("utility", "95%", "odds ×"):
        table.add_column(column, justify="right")
    for name, value, (low, high) in zip(fit.names, fit.coefficients, fit.intervals(), strict=True):
        table.add_row(escape(name), f"{value:+.3f}", f"{low:+.3f} to {high:+.3f}", _odds(float(value)))
    return table


def _odds(utility: float) -> str:
    return f"{math.exp(utility):.3g}" if utility < 20 else "very large"


def _parts(parts: Sequence[Part]) -> Table:
    table = Table(title="Fitted apart", title_justify="left")
    for column in ("", "picks", "", "utility", "95%"):
        table.add_column(column, justify="left" if not column else "right")
    for part in parts:
        if part.fit is None:
            table.add_row(escape(part.name), f"{part.n:,}", "(see below)", "", "", end_section=True)
            continue
        for j, (name, (low, high)) in enumerate(zip(part.fit.names, part.fit.intervals(), strict=True)):
            heading = ("", "") if j else (escape(part.name), f"{part.n:,}")
            last = j == len(part.fit.names) - 1
            value = f"{part.fit.coefficients[j]:+.3f}"
            table.add_row(*heading, escape(name), value, f"{low:+.3f} to {high:+.3f}", end_section=last)
    return table


def _print_items(items: Items) -> None:
    if items.problem:
        _say(escape(f"By {items.name}: {items.problem}"))
        return
    table = Table(title=f"By {items.name}, as items of their own", title_justify="left")
    table.add_column("")
    for column in ("shown", "picked", "picked from one of each", "utility", "95%"):
        table.add_column(column, justify="right")
    for worth in items.worths:
        table.add_row(
            escape(worth.name),
            f"{worth.shown:,}",
            f"{worth.picked:,}",
            f"{worth.worth:.1%}",
            f"{worth.utility:+.2f}",
            f"{worth.low:+.2f} to {worth.high:+.2f}",
        )
    out.print(table)


def _tests(tests: Sequence[AssumptionTest]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for width in (12, 22, None):
        table.add_column(max_width=width)
    for test in tests:
        table.add_row(f"[{LOOKS[test.verdict]}]{test.verdict}[/]", escape(test.name), escape(test.sentence))
    return table


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
    axes.set_xlabel("utility (log odds), with 95% intervals", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _positions(axes: "Axes", shares: np.ndarray) -> None:
    places = np.arange(1, len(shares) + 1)
    axes.bar(places, shares, color="#c9d6e2", width=0.7)
    axes.axhline(1 / len(shares), color=FAINT, linewidth=0.8)
    axes.set_xticks(places)
    axes.set_xlabel("position", fontsize=8)
    axes.set_title("picked where all samples are alike", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
