"""What the figures of `curate theory` show of each model."""

from collections.abc import Callable
from dataclasses import dataclass

from loop.theory.toy.categorical import CategoricalModel
from loop.theory.toy.curated import CuratedModel
from loop.theory.toy.curve import Point
from loop.theory.toy.gaussian import GaussianModel
from loop.theory.toy.linear import LinearModel

Value = Callable[[Point], float | None]
Model = LinearModel | GaussianModel | CategoricalModel | CuratedModel


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
