"""`curate theory`: toy models of retraining, simulated beside exact curves."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from curate_app.commands.options import Json, check_destination
from curate_app.console import bar_if_slow
from curate_app.console import out as console
from curate_app.plots.figures import ToyModel, theory_figure
from loop.policy import POLICY_KINDS, DataPolicy, PolicyKind
from loop.theory.collapse import CollapseTimes, DeviationVerdict, MeasuredMean, deviation_verdict, simulate_collapse
from loop.theory.toy_loops import CoevolvingModel, locks_in
from loop.theory.toy_loops import coevolve as simulate_coevolution
from loop.theory.toy_models import (
    ACCUMULATE_BOUND,
    Curve,
    GaussianModel,
    KernelModel,
    LinearModel,
    Point,
    check_range,
    curves,
    largest_z,
    mixing_grid,
)
from loop.theory.toy_tokens import CategoricalModel, ContextModel, CuratedModel, K, curated_curves

theory = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    help="Toy models of retraining on one's own samples, beside exact curves.",
)

Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        help="replace, accumulate, accumulate_subsample, mix, replace_grown, recent or uniform; may be given again. "
        "Left out: the first four, as far as they apply.",
    ),
]
Recent = Annotated[int, typer.Option("--recent", min=1, help="Of recent, how many generations train.")]
Lam = Annotated[float, typer.Option(help="Of mix, a generation's set : real data; 0.01 to 100, or inf.")]
Fits = Annotated[int, typer.Option(help="How many fits; the first, n = 1, is on real data alone.")]
Repetitions = Annotated[int, typer.Option(help="Independent repetitions of the whole loop, 10 or more.")]
Seed = Annotated[int, typer.Option(help="Everything random comes from it.")]
Out = Annotated[
    Path | None,
    typer.Option(help="The figure, .png, .svg or .pdf. Left out: theory-MODEL.png here, or none with --json."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the figure if it is there.")]
Slate = Annotated[
    str, typer.Option("--k", help="Each row is picked from K draws, 1 to 1,000 or inf; 1 is plain drawing.")
]
Gamma = Annotated[float, typer.Option(help="Reward from the least to the most liked, 0 to 100.")]
HEADERS = {  # values of a point beside its mean, and their columns in the table; JSON has all of them
    "expected": "expected", "median": "median", "drift_squared": "drift²", "tokens_left": "tokens",
    "endless_rows": "endless", "floor": "floor", "kl_exact": "KL", "l2_squared": "L2²", "l1": "L1",
}  # fmt: skip
FORMATS = (".png", ".svg", ".pdf")


@theory.command()
def linear(
    dimension: Annotated[int, typer.Option(help="Coefficients, 1 to 200.")] = 10,
    rows: Annotated[int, typer.Option(help="Real rows, from dimension + 4 to 10,000.")] = 60,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Every set has new rows; else it relabels the real ones.")
    ] = False,
    policy: Policies = None,
    lam: Lam = 1.0,
    recent: Recent = 2,
    generations: Fits = 10,
    repetitions: Repetitions = 5_000,
    seed: Seed = 0,
    out: Out = None,
    force: Force = False,
    json_: Json = False,
) -> None:
    """Linear regression trained on its own labels (Gerstgrasser et al. 2024): excess test error by data policy.

    Example: `curate theory linear --dimension 10 --rows 60 --policy replace --policy accumulate`
    """
    request = Request("linear", policy, lam, recent, generations, repetitions, seed, out, force, json_)
    run_model(request, LinearModel(dimension, rows, fresh))


@theory.command()
def gaussian(
    rows: Annotated[int, typer.Option(help="Real points, 2 to 100,000.")] = 20,
    policy: Policies = None,
    lam: Lam = 1.0,
    recent: Recent = 2,
    generations: Fits = 10,
    repetitions: Repetitions = 10_000,
    seed: Seed = 0,
    out: Out = None,
    force: Force = False,
    json_: Json = False,
) -> None:
    """A Gaussian fitted to samples of itself: its variance shrinks, its mean wanders.

    Example: `curate theory gaussian --rows 50 --generations 30 --out gaussian.svg`
    """
    request = Request("gaussian", policy, lam, recent, generations, repetitions, seed, out, force, json_)
    run_model(request, GaussianModel(rows))


@theory.command()
def kde(
    rows: Annotated[int, typer.Option(help="Real points, 2 to 100,000.")] = 20,
    bandwidth: Annotated[
        float, typer.Option(help="Of the kernel, over the truth's standard deviation, 0 to 10.")
    ] = 0.3,
    policy: Policies = None,
    lam: Lam = 1.0,
    recent: Recent = 2,
    generations: Fits = 10,
    repetitions: Repetitions = 10_000,
    seed: Seed = 0,
    out: Out = None,
    force: Force = False,
    json_: Json = False,
) -> None:
    """A kernel density fitted to samples of itself: each fit adds the kernel's width.

    Example: `curate theory kde --bandwidth 0.5 --policy replace --policy accumulate`
    """
    request = Request("kde", policy, lam, recent, generations, repetitions, seed, out, force, json_)
    run_model(request, KernelModel(rows, bandwidth))


@theory.command()
def ngram(
    text: Annotated[
        str, typer.Option(help="A file in UTF-8, or python-topics, tiny-shakespeare or tinystories.")
    ] = "python-topics",
    characters: Annotated[
        int, typer.Option(min=0, help="Only so many from the text's beginning; 0 for all.")
    ] = 200_000,
    order: Annotated[int, typer.Option(min=1, max=6, help="Characters counted together; contexts have one less.")] = 3,
    contexts: Annotated[int, typer.Option(min=1, max=10_000, help="Drawn from the held-out part of the text.")] = 300,
    rows: Annotated[int, typer.Option(help="Draws after each context, 2 to 100,000.")] = 100,
    policy: Policies = None,
    lam: Lam = 1.0,
    recent: Recent = 2,
    generations: Fits = 10,
    repetitions: Repetitions = 60,
    seed: Seed = 0,
    out: Out = None,
    force: Force = False,
    json_: Json = False,
) -> None:
    """A text's next-character laws, each learned from its own draws (Seddik et al. 2024): a language model's control.

    Example: `curate theory ngram --order 4 --policy replace --policy mix --lam 0.25`
    """
    request = Request("ngram", policy, lam, recent, generations, repetitions, seed, out, force, json_)
    run_model(request, ContextModel.of_text(text, characters, order, contexts, rows, seed))


@theory.command()
def categorical(
    vocabulary: Annotated[int, typer.Option(help="Tokens, 2 to 10,000; the i-th has mass proportional to 1/i.")] = 10,
    rows: Annotated[int, typer.Option(help="Real rows, 2 to 100,000.")] = 20,
    k: Slate = "1",
    gamma: Gamma = 1.0,
    collapse: Annotated[
        int,
        typer.Option(min=0, help="As well: so many repetitions of replace until one token is left; 0 for none."),
    ] = 0,
    policy: Policies = None,
    lam: Lam = 1.0,
    recent: Recent = 2,
    generations: Fits = 10,
    repetitions: Repetitions = 10_000,
    seed: Seed = 0,
    out: Out = None,
    force: Force = False,
    json_: Json = False,
) -> None:
    """Next-token frequencies learned from their own draws (Seddik et al. 2024): how diversity is lost.

    With --k above 1 the rows are curated by Luce's rule, and the rarest token is liked best. With mix, Theorem 3 is
    judged; with --collapse Theorem 1's bounds on the time until one token is left.

    Example: `curate theory categorical --vocabulary 50 --rows 100 --generations 40`
    """
    request = Request("categorical", policy, lam, recent, generations, repetitions, seed, out, force, json_, collapse)
    run_model(request, CategoricalModel(vocabulary, rows, slate_size(k), gamma))


@theory.command()
def curation(
    size: Annotated[int, typer.Option(help="Points of the support, 2 to 1,000.")] = 10,
    rows: Annotated[
        int, typer.Option(help="Real rows, and picks a generation (times lam with mix), 2 to 100,000.")
    ] = 1_000,
    k: Slate = "2",
    gamma: Gamma = 2.0,
    policy: Policies = None,
    lam: Lam = 0.5,
    recent: Recent = 2,
    generations: Annotated[int, typer.Option(help="The last generation; t = 0 is learned from real data alone.")] = 10,
    repetitions: Repetitions = 400,
    seed: Seed = 0,
    out: Out = None,
    force: Force = False,
    json_: Json = False,
) -> None:
    """The curated loop (Ferbach et al. 2024) on a finite support: picks, the exact population loop, and its bounds.

    Example: `curate theory curation --k 4 --gamma 3 --lam 0.25 --policy mix`
    """
    request = Request("curation", policy, lam, recent, generations, repetitions, seed, out, force, json_)
    run_model(request, CuratedModel(size, gamma, slate_size(k), rows))


@theory.command()
def mixing(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="linear, gaussian, kde or categorical.")],
    rows: Annotated[str, typer.Option(help="Numbers of real rows.")] = "20,60,200,600",
    synthetic: Annotated[str, typer.Option(help="Shares of synthetic rows, 0 to 0.99.")] = "0,0.1,0.5,0.9",
    generations: Fits = 10,
    repetitions: Repetitions = 1_000,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """The error after retraining on a mix, by the number and the share of real rows (Kazdan et al. 2024).

    Example: `curate theory mixing gaussian --rows 10,100,1000 --synthetic 0.1,0.5,0.9`
    """
    if model not in MIXED:
        raise ValueError(f"There is no model '{model}' to mix for; choose one of {', '.join(MIXED)}.")
    words, make = MIXED[model]
    counts, shares = [int(x) for x in numbers("rows", rows)], numbers("synthetic", synthetic)
    with bar_if_slow(f"simulating {model}", quiet=json_) as report:
        grid = mixing_grid({n: make(n) for n in counts}, shares, generations, repetitions, seed, report)
    if json_:
        cells = [{"share": share} | asdict(cell) for (_, share), cell in grid.items()]
        sizes = {"generations": generations, "repetitions": repetitions, "seed": seed}
        console.print_json(json.dumps({"model": model, "error": words} | sizes | {"cells": cells}, allow_nan=False))
        return
    table = Table(title=f"{model}: {words}", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("real rows", *(f"{share:.0%} synthetic" for share in shares)):
        table.add_column(head, justify="right")
    for n in counts:
        cells = [grid[n, share] for share in shares]
        table.add_row(f"{n:,}", *(f"{decimal(cell.simulated)}±{1.96 * cell.se:.4f}" for cell in cells))
        if any(cell.exact is not None for cell in cells):
            table.add_row("exact", *(decimal(cell.exact) for cell in cells), style="dim")
    console.print(table)
    for line in (
        f"After {generations} fits, each on the real rows and as many draws of the fit before as make the share; 0%: "
        "the first fit.",
        f"{repetitions:,} repetitions, seed {seed}; 95% intervals.",
    ):
        console.print(line, highlight=False)


def numbers(name: str, text: str) -> list[float]:
    """Different numbers from the command line, separated by commas."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--{name} takes numbers with commas between them, not '{text}'") from error
    if len(set(values)) != len(values):
        raise ValueError(f"--{name} has a number twice: '{text}'")
    return values


def linear_error(rows: int) -> tuple[LinearModel, float, float]:
    """A regression of ten coefficients; its error is the excess test error, for noise of variance 1."""
    model = LinearModel(10, rows)
    return model, 0.0, model.v


def categorical_error(rows: int) -> tuple[CategoricalModel, float, float]:
    """Ten tokens; the error is the share of the diversity that is lost."""
    model = CategoricalModel(10, rows)
    diversity = 1 - float((model.support.truth**2).sum())
    return model, diversity, -1 / diversity


MIXED: dict[str, tuple[str, Callable[[int], tuple[Any, float, float]]]] = {
    "linear": ("excess test error, d = 10", linear_error),
    "gaussian": ("share of the variance that is lost", lambda rows: (GaussianModel(rows), 1.0, -1.0)),
    "kde": ("variance gained, over the truth's; bandwidth 0.3", lambda rows: (KernelModel(rows), 1.0, 1.0)),
    "categorical": ("share of the diversity that is lost", categorical_error),
}


@theory.command()
def coevolve(
    items: Annotated[int, typer.Option(help="Items that may be shown, 2 to 200; the first is liked best.")] = 8,
    dimension: Annotated[int, typer.Option(help="Of the items' directions, 2 to 100.")] = 4,
    k: Slate = "2",
    tau: Annotated[float, typer.Option(help="Scale of the reward, 0 to 10.")] = 2.0,
    beta: Annotated[float, typer.Option(help="Share of the taste that follows what is shown, 0 to 1.")] = 0.2,
    rows: Annotated[int, typer.Option(help="Picks a generation, 10 to 100,000.")] = 1_000,
    generations: Annotated[int, typer.Option(help="The last generation, 1 to 500.")] = 20,
    repetitions: Annotated[int, typer.Option(help="Independent repetitions of the whole loop, 10 or more.")] = 50,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """A user whose taste follows what is shown (arXiv 2610.09415): how fast the loop locks in on the winner.

    Example: `curate theory coevolve --k 4 --beta 0.5 --generations 30`
    """
    model = CoevolvingModel(items, dimension, slate_size(k), tau, beta, rows)
    with bar_if_slow("simulating coevolve", quiet=json_) as report:
        points = simulate_coevolution(model, generations, repetitions, seed, report)
    half, limit = points[0].margin / 2, model.limit(model.start(seed)[0])
    bound = model.bound(half)
    if json_:
        values = {"model": "coevolve", "settings": asdict(model), "repetitions": repetitions, "seed": seed}
        values |= {"rate_bound": bound, "half_margin": half, "limit_rate": limit, "locks_in": locks_in(model, points)}
        console.print_json(json.dumps({**values, "points": [asdict(point) for point in points]}, allow_nan=False))
        return
    table = Table(title="coevolve: share of the winner", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("t", "endless picks", "simulated", "SE", "z", "margin", "rate", "simulated rate (95%)"):
        table.add_column(head, justify="right")
    for point in points:
        rate = "" if point.rate is None else f"{point.rate:.4f}"
        own = "" if point.simulated_rate is None else "{:.4f} ({:.4f} to {:.4f})".format(*point.simulated_rate)
        z = "" if point.z is None else f"{point.z:+.2f}"
        table.add_row(
            str(point.t), f"{point.winner:.4f}", f"{point.simulated:.4f}", f"{point.se:.4f}", z, f"{point.margin:.3f}",
            rate, own,
        )  # fmt: skip
    console.print(table)
    say = "held" if locks_in(model, points) else "did NOT hold"
    console.print(
        f"Rate: the others' odds against the winner over those of the generation before. Bound at half the first lead "
        f"({half:.3f}): {bound:.4f}; it {say} at every generation with endless picks. Rate at last: {limit:.4f}.",
        highlight=False,
    )


@dataclass(frozen=True, slots=True)
class Request:
    """The options that all models share; names as on the command line."""

    model: str
    policy: Sequence[str] | None
    lam: float
    recent: int
    generations: int
    repetitions: int
    seed: int
    out: Path | None
    force: bool
    json: bool
    collapse: int = 0  # repetitions until one token is left

    @property
    def figure(self) -> Path | None:
        """The file of the figure; None for no figure."""
        return self.out or (None if self.json else Path(f"theory-{self.model}.png"))


def run_model(request: Request, model: ToyModel) -> None:
    """Simulates a model, saves the figure, and prints the table or JSON.

    Raises:
        ValueError: options out of range, or a figure that can't be written there; before anything is simulated.
    """
    policies = data_policies(request)
    figure = request.figure
    if request.collapse and isinstance(model, CategoricalModel):
        if model.k != 1:
            raise ValueError("--collapse is for --k 1: Theorem 1 is about rows that nobody picks.")
        check_range("collapse", request.collapse, 10, 100_000)
    if figure is not None:
        if figure.suffix.lower() not in FORMATS:
            known = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            raise ValueError(f"A figure's name must end with {known}; {figure} doesn't.")
        check_destination(figure, request.force)
    with bar_if_slow(f"simulating {request.model}", quiet=request.json) as report:
        sizes = (policies, request.generations, request.repetitions, request.seed, report)
        simulated = curated_curves(model, *sizes) if isinstance(model, CuratedModel) else curves(model, *sizes)
        times = collapse_times(request, model)
    if figure is not None:
        theory_figure(figure, model, simulated, described(request, model))
    if request.json:
        console.print_json(json.dumps(as_json(request, model, simulated, times), allow_nan=False))
        return
    console.print(curves_table(request.model, model, simulated))
    judged = [f"{curve.policy}: {verdict}" for curve, verdict in deviations(request, model, simulated)]
    for line in [
        described(request, model) + ".", *summary(model, simulated), *judged, *([f"Replace: {times}"] if times else []),
    ]:  # fmt: skip
        console.print(line, highlight=False, markup=False)
    console.print(f"Wrote {figure}.", highlight=False)


def data_policies(request: Request) -> list[DataPolicy]:
    """The policies that were requested, or all that apply to the model."""
    if not math.isinf(request.lam):
        check_range("lam", request.lam, 0.01, 100)
    kinds: Sequence[str] = ("replace", "accumulate", "accumulate_subsample", "mix")
    if request.model == "curation":  # a pool's subsample has the same population as the pool
        kinds = ("replace", "accumulate", "mix")
    chosen = [kind.replace("-", "_") for kind in request.policy or kinds]
    unknown = [kind for kind in chosen if kind not in POLICY_KINDS]
    if unknown:
        raise ValueError(f"There is no data policy '{unknown[0]}'; choose one of {', '.join(POLICY_KINDS)}.")
    settings = {"mix": {"lam": request.lam}, "recent": {"recent": request.recent}}
    return [DataPolicy(cast(PolicyKind, kind), **settings.get(kind, {})) for kind in chosen]


def slate_size(text: str) -> K:
    """K from the command line: a whole number, or "inf"."""
    if text == "inf":
        return "inf"
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"K must be a whole number or inf, not '{text}'") from error


def settings_of(model: ToyModel) -> dict[str, Any]:
    """A model's sizes by name; of contexts their number, rather than their laws."""
    if isinstance(model, ContextModel):
        return {"text": model.text, "contexts": len(model.laws), "tokens": model.laws.shape[1], "rows": model.rows}
    return asdict(model)


def quantity(model: ToyModel) -> str:
    """The simulated quantity, in words."""
    return "E[w] / w*" if isinstance(model, CuratedModel) else model.quantities[0]


def described(request: Request, model: ToyModel) -> str:
    """The sizes in words."""
    sizes = {name: f"{value:,}" if type(value) is int else value for name, value in settings_of(model).items()}
    if sizes.get("k") == "1":
        sizes.pop("gamma")  # nothing is picked
    words = ", ".join(
        name if value is True else f"{name} {value}" for name, value in sizes.items() if value is not False
    )
    return f"{words}; {request.repetitions:,} repetitions, seed {request.seed}"


def curves_table(name: str, model: ToyModel, simulated: Sequence[Curve]) -> Table:
    """A row per policy and generation: exact, simulated, its standard error, z, and the model's other values."""
    table = Table(title=escape(f"{name}: {quantity(model)}"), box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("policy")
    points = [point for curve in simulated for point in curve.points]
    columns = {head: cell for head, cell in table_columns(model).items() if any(cell(point) for point in points)}
    for head in columns:
        table.add_column(head, justify="right")
    for curve in simulated:
        for index, point in enumerate(curve.points):
            last = index + 1 == len(curve.points)
            cells = [cell(point) for cell in columns.values()]
            table.add_row("" if index else str(curve.policy), *cells, end_section=last)
    return table


def table_columns(model: ToyModel) -> dict[str, Callable[[Point], str]]:
    """The table's columns: by heading, the cell of a point."""
    curated = isinstance(model, CuratedModel)
    columns: dict[str, Callable[[Point], str]] = {
        "t" if curated else "n": lambda point: str(point.n),
        "limit" if curated else "exact": lambda point: decimal(point.exact),
        "simulated": lambda point: decimal(point.simulated),
        "SE": lambda point: decimal(point.se),
        "z": z_cell,
    }
    left_out: tuple[str, ...] = ()  # for want of room
    if isinstance(model, ContextModel):
        left_out = ("median",)
    elif isinstance(model, CategoricalModel):
        left_out = ("l2_squared", "l1")
    shown = {key: head for key, head in HEADERS.items() if key not in left_out}
    return columns | {head: lambda point, key=key: decimal(point.extra.get(key)) for key, head in shown.items()}


def decimal(value: float | None) -> str:
    """A number with four decimals; empty where there is none."""
    return "" if value is None else f"{value:.4f}"


def z_cell(point: Point) -> str:
    """Z of a point, in red beyond 3; empty where there is none."""
    if point.z is None:
        return ""
    return f"{point.z:+.2f}" if abs(point.z) <= 3 else f"[bold red]{point.z:+.2f}[/bold red]"


def summary(model: ToyModel, simulated: Sequence[Curve]) -> list[str]:
    """Sentences below the table."""
    points = [point for curve in simulated for point in curve.points if point.z is not None]
    largest = largest_z(simulated)
    lines = [f"Largest |z| of {len(points)} points: {largest:.2f}."] if largest is not None else []
    if open_ := [str(curve.policy) for curve in simulated if all(point.exact is None for point in curve.points)]:
        lines.append(f"No closed form is known, so these are simulated only: {', '.join(open_)}.")
    if isinstance(model, LinearModel):
        lines.append(f"v = d / (T - d - 1) = {model.v:.4g}, for noise of variance 1.")
        lines.append(f"By theory replace is n, and accumulate stays under pi^2 / 6 = {ACCUMULATE_BOUND:.4f}.")
    return lines + (promises(simulated) if isinstance(model, CuratedModel) else [])


def deviations(request: Request, model: ToyModel, simulated: Sequence[Curve]) -> list[tuple[Curve, DeviationVerdict]]:
    """Theorem 3 of Seddik et al. at the last fit of each curve that it speaks of: of mixes, without curation."""
    if isinstance(model, ContextModel):
        rows, vocabulary = model.rows, model.laws.shape[1]
    elif isinstance(model, CategoricalModel) and model.k == 1:
        rows, vocabulary = model.rows, model.vocabulary
    else:
        return []
    verdicts = []
    for curve in simulated:
        last = curve.points[-1]
        if curve.policy.is_mixed and last.n > 1:
            measured = MeasuredMean.of(last.extra["l1"], last.extra["l1_se"], request.repetitions)
            sizes = rows, curve.policy.asked(rows), vocabulary
            verdicts.append((curve, deviation_verdict(measured, last.extra["l1_bound"], *sizes)))
    return verdicts


def collapse_times(request: Request, model: ToyModel) -> CollapseTimes | None:
    """The times of total collapse, where they were asked for."""
    if not request.collapse or not isinstance(model, CategoricalModel):
        return None
    rng = np.random.default_rng([request.seed, len(POLICY_KINDS)])
    return simulate_collapse(model.support.truth, model.rows, request.collapse, rng)


def promises(simulated: Sequence[Curve]) -> list[str]:
    """Sentences on the curated loop: its distance from the exact one, and the bounds C4 and C5."""
    gap = max(abs(point.simulated / cast(float, point.exact) - 1) for curve in simulated for point in curve.points)
    lines = [
        "z: simulated minus expected, which is exact given the generations before; in SE of that difference.",
        f"limit: the exact loop with endless picks; simulated differs from it by at most {gap:.2%}. "
        "floor and KL are the exact loop's.",
    ]
    for curve in simulated:
        bounds = curve.points[-1].extra
        if "c4_floor" in bounds:
            lines.append(
                f"C4 as printed, {curve.policy}: E[w] / w* is at least {bounds['c4_floor']:.4f} from t = 1 on."
            )
        if "kl_ceiling" in bounds:
            lines.append(f"C5, {curve.policy}: KL is at most {bounds['kl_ceiling']:.4f}.")
    return lines


def as_json(
    request: Request, model: ToyModel, simulated: Sequence[Curve], times: CollapseTimes | None
) -> dict[str, Any]:
    """Everything in plain values; an infinite lam is "inf", and that of other policies than mix is None."""
    points = []
    for curve in simulated:
        lam = None if curve.policy.kind != "mix" else curve.policy.lam if math.isfinite(curve.policy.lam) else "inf"
        for point in curve.points:
            values = {key: value for key, value in asdict(point).items() if key != "extra"}
            recent = {"recent": curve.policy.recent} if curve.policy.kind == "recent" else {}
            points.append({"policy": curve.policy.kind, "lam": lam} | recent | values | point.extra)
    if isinstance(model, CuratedModel):
        points = [{"t" if key == "n" else key: value for key, value in point.items()} for point in points]
    return {
        "model": request.model,
        "settings": settings_of(model),
        "quantity": quantity(model),
        "generations": request.generations,
        "repetitions": request.repetitions,
        "seed": request.seed,
        "largest_z": largest_z(simulated),
        "theorem_3": [
            {"policy": str(curve.policy)}
            | asdict(verdict)
            | {"bound": "inf" if verdict.bound == math.inf else verdict.bound}
            for curve, verdict in deviations(request, model, simulated)
        ],
        "collapse": None if times is None else asdict(times),
        "points": points,
        "figure": None if request.figure is None else str(request.figure),
    }
