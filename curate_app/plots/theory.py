"""The figures of `curate theory`: simulated points over exact lines, one colour and mark per policy, and z below."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loop.config import DataPolicy
from loop.theory.toy_models import Curve, GaussianModel, LinearModel, Point
from loop.theory.toy_tokens import CategoricalModel, CuratedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Value = Callable[[Point], float | None]
Model = LinearModel | GaussianModel | CategoricalModel | CuratedModel
LOOKS = {  # Okabe and Ito's colours, which the colour-blind tell apart; the marks tell them apart in grey
    "replace": ("#D55E00", "o"),
    "accumulate": ("#0072B2", "s"),
    "accumulate_subsample": ("#009E73", "^"),
    "mix": ("#B0559A", "D"),
}
INK, FAINT = "#333333", "#8a8a8a"
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8.5, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": FAINT,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.titlelocation": "left",
    "svg.hashsalt": "curate", "pdf.fonttype": 42,
}  # fmt: skip
UNDATED = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
INTERVAL = 1.96
MOST_MARKS = 25  # a longer curve has a mark at some of its points only


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes over the generations.

    Attributes:
        title: what it shows.
        y_label: the vertical axis.
        points: the simulated value.
        line: the exact one.
        bound: a promise of theory, and
        bound_name: how it is called in the title, where it is drawn.
        errors: whether the points carry error bars; standard errors are of the first quantity alone.
        without: a policy left out.
        of_n: whether the horizontal axis counts fits from n = 1; otherwise generations from t = 0.
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


def title(model: Model) -> str:
    """The figure's title."""
    if isinstance(model, LinearModel):
        return "Linear regression trained on its own labels"
    if isinstance(model, GaussianModel):
        return "A Gaussian fitted to samples of itself"
    if isinstance(model, CategoricalModel):
        return "Next-token frequencies learned from their own " + ("draws" if model.k == 1 else "picks")
    return "The curated loop on a finite support"


def panels(model: Model) -> tuple[Panel, Panel]:
    """The two upper panels."""
    if isinstance(model, LinearModel):
        label, bound = "excess error / v", _extra("bound")
        return (
            Panel("Excess test error", label, _simulated, _exact, errors=True),
            Panel("Close up", label, _simulated, _exact, bound, "bound, π²/6", errors=True, without="replace"),
        )
    if isinstance(model, GaussianModel):
        drift = _extra("drift_squared"), _extra("drift_squared_exact")
        return (
            Panel("Fitted variance", "variance / σ²", _simulated, _exact, errors=True),
            Panel("Drift of the fitted mean", "squared distance / σ²", *drift),
        )
    if isinstance(model, CategoricalModel):
        endless = {} if model.k == 1 else {"bound": _extra("endless_rows"), "bound_name": "with endless rows"}
        return (
            Panel("Diversity: two tokens differ", "probability", _simulated, _exact, errors=True, **endless),
            Panel("Tokens that still have mass", "tokens left", _extra("tokens_left"), lambda point: None),
        )
    divergence = _extra("kl_simulated"), _extra("kl_exact"), _extra("kl_ceiling")
    return (
        Panel(
            "Expected weight",
            "E[w] / w*",
            _simulated,
            _exact,
            _extra("floor"),
            "floors, C1 and C4",
            errors=True,
            of_n=False,
        ),
        Panel("Divergence from the real data", "KL($p_t$ ‖ $p_{ref}$)", *divergence, "C5 of mix", of_n=False),
    )


def _simulated(point: Point) -> float | None:
    return point.simulated


def _exact(point: Point) -> float | None:
    return point.exact


def _extra(key: str) -> Value:
    return lambda point: point.extra.get(key)


def save(path: Path, model: Model, curves: Sequence[Curve], caption: str) -> None:
    """Draws the curves of a model and writes the figure, whole or not at all.

    Args:
        path: its suffix, .png, .svg or .pdf, says the format.
        model: says what the panels show.
        curves: one per policy.
        caption: the settings, in words.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    kind = path.suffix.lower()[1:]
    draft = path.with_name(f".{path.stem}.{os.getpid()}.{kind}")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 5.4), dpi=200, layout="constrained")
        _draw(figure, model, curves, caption)
        try:
            figure.savefig(draft, metadata=UNDATED[kind])
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _draw(figure: "Figure", model: Model, curves: Sequence[Curve], caption: str) -> None:
    has_z = any(point.z is not None for curve in curves for point in curve.points)
    axes = figure.subplot_mosaic([["a", "b"], ["z", "z"]] if has_z else [["a", "b"]], height_ratios=[3, 1][: 1 + has_z])
    shown = panels(model)
    for name, panel in zip("ab", shown, strict=True):
        _panel(axes[name], panel, curves)
    if has_z:
        _residuals(axes["z"], curves, "exact" if shown[0].of_n else "its expectation given the generations before")
    for name in axes:
        _generations(axes[name], shown[0].of_n, name == "z" or not has_z)
    figure.suptitle(f"{title(model)}\n", x=0.01, ha="left", fontsize=12, fontweight="bold")
    handles, labels = _legend(curves)
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), frameon=False, handletextpad=0.5)
    figure.text(
        0.01,
        0.955,
        f"{caption}; marks: simulated, with 95% intervals; lines: exact",
        fontsize=8,
        color=FAINT,
        ha="left",
        va="top",
    )


def _panel(axes: "Axes", panel: Panel, curves: Sequence[Curve]) -> None:
    bounded = False
    kept = [curve for curve in curves if curve.policy.kind != panel.without] or list(curves)
    for curve in kept:
        colour, mark = LOOKS[curve.policy.kind]
        axes.plot(*_values(curve, panel.line), color=colour, linewidth=1.2)
        n, value = _values(curve, panel.points)
        errors = [INTERVAL * point.se for point in curve.points] if panel.errors else None
        axes.errorbar(
            n, value, errors, color=colour, fmt=mark, markersize=4.2, markerfacecolor="white", markeredgewidth=1.0,
            elinewidth=1.0, capsize=1.8, markevery=-(-len(n) // MOST_MARKS), errorevery=-(-len(n) // MOST_MARKS),
            linestyle="none",
        )  # fmt: skip
        n, bound = _values(curve, panel.bound)
        axes.plot(n, bound, color=colour, linewidth=1.0, linestyle=(0, (4, 2)))
        bounded = bounded or bool(bound)
    left_out = f", without {panel.without}" if len(kept) < len(curves) else ""
    axes.set_title(panel.title + left_out + (f"; dashed: {panel.bound_name}" if bounded else ""))
    axes.set_ylabel(panel.y_label)
    axes.grid(axis="y", color="#e8e8e8", linewidth=0.6)
    axes.set_axisbelow(True)


def _residuals(axes: "Axes", curves: Sequence[Curve], against: str) -> None:
    """Draws z of every point, with the band that nearly all should stay in."""
    axes.axhspan(-3, 3, color="#f1f1f1", linewidth=0)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    reach = 3.6
    for index, curve in enumerate(curves):
        colour, mark = LOOKS[curve.policy.kind]
        n, z = _values(curve, lambda point: point.z)
        aside = 0.09 * (index - (len(curves) - 1) / 2)
        axes.plot([each + aside for each in n], z, mark, color=colour, markersize=3.2)
        reach = max([reach, *(1.1 * abs(value) for value in z)])
    axes.set_ylim(-reach, reach)
    axes.set_yticks([-3, 0, 3])
    axes.set_ylabel("z")
    axes.set_title(f"Simulated minus {against}, in standard errors; the band is ±3")


def _generations(axes: "Axes", of_n: bool, named: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    if named:
        axes.set_xlabel("fit n (n = 1 is on real data alone)" if of_n else "generation t (t = 0 is of real data alone)")


def _legend(curves: Sequence[Curve]) -> tuple[list, list[str]]:
    from matplotlib.lines import Line2D

    drawn = [(curve, *LOOKS[curve.policy.kind]) for curve in curves]
    handles = [
        Line2D([], [], color=colour, marker=mark, markersize=4.5, markerfacecolor="white", linewidth=1.2)
        for _, colour, mark in drawn
    ]
    return handles, [_name(curve.policy) for curve in curves]


def _name(policy: DataPolicy) -> str:
    return f"mix, λ = {policy.lam:g}" if policy.kind == "mix" else policy.kind.replace("_", "-")


def _values(curve: Curve, value: Value) -> tuple[list[int], list[float]]:
    """The generations at which there is a value, and the values."""
    found = [(point.n, value(point)) for point in curve.points]
    return [n for n, each in found if each is not None], [each for _, each in found if each is not None]
