"""What `curate theory` does with a model: simulate it, print the table or JSON, save the figure."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from curate_app.console import err, out
from curate_app.destination import check_destination
from curate_app.theory.panels import Model
from curate_app.theory.table import quantity, summary, table
from loop.policies import POLICY_KINDS, DataPolicy, PolicyKind
from loop.theory.operator import K
from loop.theory.toy.curated import CuratedModel, curated_curves
from loop.theory.toy.curve import Curve, check_range, curves, largest_z

FORMATS = (".png", ".svg", ".pdf")


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
        """Where the figure goes; None for no figure."""
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
        from curate_app.theory.figures import save

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
