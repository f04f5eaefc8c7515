"""The table that `curate theory` prints, and the sentences below it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from curate_app.theory.panels import Model
from loop.theory.toy.curated import CuratedModel
from loop.theory.toy.curve import Curve, Point, largest_z
from loop.theory.toy.linear import ACCUMULATE_BOUND, LinearModel

HEADERS = {  # of what a point tells beside its mean: how the table names it; the rest is for JSON
    "expected": "expected", "median": "median", "drift_squared": "drift²", "tokens_left": "tokens",
    "endless_rows": "endless", "floor": "floor", "kl_exact": "KL",
}  # fmt: skip


def table(name: str, model: Model, found: Sequence[Curve]) -> Table:
    """Per policy and generation: exact, simulated, its standard error, z, and what else the model tells."""
    made = Table(title=escape(f"{name}: {quantity(model)}"), box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column("policy")
    points = [point for curve in found for point in curve.points]
    columns = {name: value for name, value in _columns(model).items() if any(value(point) for point in points)}
    for head in columns:
        made.add_column(head, justify="right")
    for curve in found:
        for index, point in enumerate(curve.points):
            last = index + 1 == len(curve.points)
            cells = [value(point) for value in columns.values()]
            made.add_row("" if index else str(curve.policy), *cells, end_section=last)
    return made


def summary(model: Model, found: Sequence[Curve]) -> list[str]:
    """Sentences below the table."""
    points = [point for curve in found for point in curve.points if point.z is not None]
    largest = largest_z(found)
    lines = [f"Largest |z| of {len(points)} points: {largest:.2f}."] if largest is not None else []
    open_ = [str(curve.policy) for curve in found if all(point.exact is None for point in curve.points)]
    if open_:
        lines.append(f"No closed form is known, so simulated alone: {', '.join(open_)}.")
    if isinstance(model, LinearModel):
        lines.append(f"v = d / (T - d - 1) = {model.v:.4g}, for noise of variance 1.")
        lines.append(f"By theory replace is n, and accumulate stays under pi^2 / 6 = {ACCUMULATE_BOUND:.4f}.")
    return lines + (_promised(found) if isinstance(model, CuratedModel) else [])


def _promised(found: Sequence[Curve]) -> list[str]:
    gap = max(abs(point.simulated / cast(float, point.exact) - 1) for curve in found for point in curve.points)
    lines = [
        "z: simulated minus expected, which is exact given the generations before; in SE of that difference.",
        f"limit: the exact loop with endless picks; simulated is at most {gap:.2%} off it, floor and KL are of it.",
    ]
    for curve in found:
        told = curve.points[-1].extra
        if "c4_floor" in told:
            lines.append(f"C4 as printed, {curve.policy}: E[w] / w* is at least {told['c4_floor']:.4f} from t = 1 on.")
        if "kl_ceiling" in told:
            lines.append(f"C5, {curve.policy}: KL is at most {told['kl_ceiling']:.4f}.")
    return lines


def quantity(model: Model) -> str:
    """What is simulated, in words."""
    return "E[w] / w*" if isinstance(model, CuratedModel) else model.quantities[0]


def _columns(model: Model) -> dict[str, Callable[[Point], str]]:
    """What the table shows of a point, by heading."""
    curated = isinstance(model, CuratedModel)
    return {
        "t" if curated else "n": lambda point: str(point.n),
        "limit" if curated else "exact": lambda point: _number(point.exact),
        "simulated": lambda point: _number(point.simulated),
        "SE": lambda point: _number(point.se),
        "z": _z,
    } | {head: partial(_told, key) for key, head in HEADERS.items()}


def _told(key: str, point: Point) -> str:
    return _number(point.extra.get(key))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _z(point: Point) -> str:
    if point.z is None:
        return ""
    return f"{point.z:+.2f}" if abs(point.z) <= 3 else f"[bold red]{point.z:+.2f}[/bold red]"
