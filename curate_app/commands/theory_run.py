"""The run of `curate theory`: simulates a model, prints the table or JSON, saves the figure."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from curate_app.commands.options import check_destination
from curate_app.console import err, out
from curate_app.plots.theory import Model
from loop.config import POLICY_KINDS, DataPolicy, PolicyKind
from loop.theory.toy_models import ACCUMULATE_BOUND, Curve, LinearModel, Point, check_range, curves, largest_z
from loop.theory.toy_tokens import CuratedModel, K, curated_curves

HEADERS = {  # of what a point tells beside its mean: how the table names it; the rest is for JSON
    "expected": "expected", "median": "median", "drift_squared": "drift²", "tokens_left": "tokens",
    "endless_rows": "endless", "floor": "floor", "kl_exact": "KL",
}  # fmt: skip
FORMATS = (".png", ".svg", ".pdf")


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
    """The simulated quantity, in words."""
    return "E[w] / w*" if isinstance(model, CuratedModel) else model.quantities[0]


def _columns(model: Model) -> dict[str, Callable[[Point], str]]:
    """The table's columns of a point, by heading."""
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


@dataclass(frozen=True, slots=True)
class Request:
    """The options that all models share; names as on the command line."""

    model: str
    policy: Sequence[str] | None
    lam: float
    generations: int
    repetitions: int
    seed: int
    out: Path | None
    force: bool
    json: bool

    @property
    def figure(self) -> Path | None:
        """The file of the figure; None for no figure."""
        return self.out or (None if self.json else Path(f"theory-{self.model}.png"))


def show(request: Request, model: Model) -> None:
    """Simulates, prints, and saves the figure.

    Raises:
        ValueError: options out of range, or a figure that can't be written there; before anything is simulated.
    """
    policies = data_policies(request)
    figure = request.figure
    if figure is not None:
        if figure.suffix.lower() not in FORMATS:
            known = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            raise ValueError(f"A figure's name must end with {known}; {figure} doesn't.")
        check_destination(figure, request.force)
    with bar_if_slow(f"simulating {request.model}", quiet=request.json) as report:
        sizes = (policies, request.generations, request.repetitions, request.seed, report)
        found = curated_curves(model, *sizes) if isinstance(model, CuratedModel) else curves(model, *sizes)
    if figure is not None:
        from curate_app.plots.theory import save

        save(figure, model, found, described(request, model))
    if request.json:
        out.print_json(json.dumps(as_json(request, model, found), allow_nan=False))
        return
    out.print(table(request.model, model, found))
    out.print(described(request, model) + ".", highlight=False, markup=False)
    for line in summary(model, found):
        out.print(line, highlight=False, markup=False)
    out.print(f"Wrote {figure}.", highlight=False)


def data_policies(request: Request) -> list[DataPolicy]:
    """The policies asked for, or all that apply to the model."""
    if not math.isinf(request.lam):
        check_range("lam", request.lam, 0.01, 100)
    kinds: Sequence[str] = ("replace", "accumulate", "accumulate_subsample", "mix")
    if request.model == "curation":  # a pool's subsample has the same population as the pool
        kinds = ("replace", "accumulate", "mix")
    chosen = [kind.replace("-", "_") for kind in request.policy or kinds]
    unknown = [kind for kind in chosen if kind not in POLICY_KINDS]
    if unknown:
        raise ValueError(f"There is no data policy '{unknown[0]}'; choose one of {', '.join(POLICY_KINDS)}.")
    return [DataPolicy(cast(PolicyKind, kind), request.lam) if kind == "mix" else DataPolicy(cast(PolicyKind, kind))
            for kind in chosen]  # fmt: skip


def slate_size(text: str) -> K:
    """K from the command line: a whole number, or "inf"."""
    if text == "inf":
        return "inf"
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"K must be a whole number or inf, not '{text}'") from error


def as_json(request: Request, model: Model, found: Sequence[Curve]) -> dict[str, Any]:
    """Everything in plain values; an infinite lam is "inf"."""
    points = [
        {"policy": curve.policy.kind, "lam": _finite(curve.policy.lam) if curve.policy.kind == "mix" else None}
        | {key: value for key, value in asdict(point).items() if key != "extra"}
        | point.extra
        for curve in found
        for point in curve.points
    ]
    if isinstance(model, CuratedModel):
        points = [{"t" if key == "n" else key: value for key, value in point.items()} for point in points]
    return {
        "model": request.model,
        "settings": asdict(model),
        "quantity": quantity(model),
        "generations": request.generations,
        "repetitions": request.repetitions,
        "seed": request.seed,
        "largest_z": largest_z(found),
        "points": points,
        "figure": None if request.figure is None else str(request.figure),
    }


def described(request: Request, model: Model) -> str:
    """The sizes in words."""
    sizes = {name: f"{value:,}" if type(value) is int else value for name, value in asdict(model).items()}
    if sizes.get("k") == "1":
        sizes.pop("gamma")  # nothing is picked
    words = ", ".join(
        name if value is True else f"{name} {value}" for name, value in sizes.items() if value is not False
    )
    return f"{words}; {request.repetitions:,} repetitions, seed {request.seed}"


@contextmanager
def bar_if_slow(title: str, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Shows a bar with the time left once two seconds look likely; gives the function to report the share done to."""
    from rich.progress import BarColumn, Progress, TextColumn

    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("about {task.fields[left]:.0f} s left"))
    bars = Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal)
    task = bars.add_task(title, total=1.0, left=0.0)
    started = False

    def report(share: float) -> None:
        nonlocal started
        so_far = time.monotonic() - began
        left = so_far * (1 - share) / share if share else math.inf
        if not started and so_far > 0.3 and so_far + left > 2:
            bars.start()
            started = True
        bars.update(task, completed=share, left=min(left, 1e6))

    try:
        yield report
    finally:
        if started:
            bars.stop()


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else "inf"
