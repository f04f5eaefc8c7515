"""`curate theory`: toy models of retraining, simulated beside exact curves. Imports are inside the verbs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Toy models of retraining on one's own samples, beside exact curves.")

Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        help="replace, accumulate, accumulate_subsample or mix; may be given again. Left out: all that apply.",
    ),
]
Lam = Annotated[float, typer.Option(help="Of mix, a generation's set : real data; 0.01 to 100, or inf.")]
Fits = Annotated[int, typer.Option(help="How many fits; the first, n = 1, is on real data alone.")]
Repetitions = Annotated[int, typer.Option(help="Independent repetitions of the whole loop, 10 or more.")]
Seed = Annotated[int, typer.Option(help="Everything random comes from it.")]
Out = Annotated[
    Path | None,
    typer.Option(help="The figure, .png, .svg or .pdf. Left out: theory-MODEL.png here, or none with --json."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the figure if it is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
Slate = Annotated[
    str, typer.Option("--k", help="Each row is picked from K draws, 1 to 1,000 or inf; 1 is plain drawing.")
]
Gamma = Annotated[float, typer.Option(help="Reward from the least to the most liked, 0 to 100.")]


@app.command()
def linear(
    dimension: Annotated[int, typer.Option(help="Coefficients, 1 to 200.")] = 10,
    rows: Annotated[int, typer.Option(help="Real rows, from dimension + 4 to 10,000.")] = 60,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Every set has new rows; else it relabels the real ones.")
    ] = False,
    policy: Policies = None,
    lam: Lam = 1.0,
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
    from curate_app.commands.theory_run import Request, show
    from loop.theory.toy_models import LinearModel

    asked = Request("linear", policy, lam, generations, repetitions, seed, out, force, json_)
    show(asked, LinearModel(dimension, rows, fresh))


@app.command()
def gaussian(
    rows: Annotated[int, typer.Option(help="Real points, 2 to 100,000.")] = 20,
    policy: Policies = None,
    lam: Lam = 1.0,
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
    from curate_app.commands.theory_run import Request, show
    from loop.theory.toy_models import GaussianModel

    asked = Request("gaussian", policy, lam, generations, repetitions, seed, out, force, json_)
    show(asked, GaussianModel(rows))


@app.command()
def categorical(
    vocabulary: Annotated[int, typer.Option(help="Tokens, 2 to 10,000; the i-th has mass proportional to 1/i.")] = 10,
    rows: Annotated[int, typer.Option(help="Real rows, 2 to 100,000.")] = 20,
    k: Slate = "1",
    gamma: Gamma = 1.0,
    policy: Policies = None,
    lam: Lam = 1.0,
    generations: Fits = 10,
    repetitions: Repetitions = 10_000,
    seed: Seed = 0,
    out: Out = None,
    force: Force = False,
    json_: Json = False,
) -> None:
    """Next-token frequencies learned from their own draws (Seddik et al. 2024): how diversity is lost.

    With --k above 1 the rows are curated by Luce's rule, and the rarest token is liked best.

    Example: `curate theory categorical --vocabulary 50 --rows 100 --generations 40`
    """
    from curate_app.commands.theory_run import Request, show, slate_size
    from loop.theory.toy_tokens import CategoricalModel

    asked = Request("categorical", policy, lam, generations, repetitions, seed, out, force, json_)
    show(asked, CategoricalModel(vocabulary, rows, slate_size(k), gamma))


@app.command()
def curation(
    size: Annotated[int, typer.Option(help="Points of the support, 2 to 1,000.")] = 10,
    rows: Annotated[
        int, typer.Option(help="Real rows, and picks a generation (times lam with mix), 2 to 100,000.")
    ] = 1_000,
    k: Slate = "2",
    gamma: Gamma = 2.0,
    policy: Policies = None,
    lam: Lam = 0.5,
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
    from curate_app.commands.theory_run import Request, show, slate_size
    from loop.theory.toy_tokens import CuratedModel

    asked = Request("curation", policy, lam, generations, repetitions, seed, out, force, json_)
    show(asked, CuratedModel(size, gamma, slate_size(k), rows))
