"""`curate sweep`: one study for every combination of settings and every seed. Imports are inside the verb."""

from pathlib import Path
from typing import Annotated

import typer

Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid", help="A setting and the values it takes, as a.b=v1,v2; again for another. Lists: 'a.b=[[1,2],[3,4]]'."
    ),
]


def sweep(
    folder: Annotated[Path, typer.Argument(metavar="STUDY_DIR", help="The folder of the sweep's studies.")],
    preset: Annotated[
        str | None, typer.Option(help="For a new sweep: digits, moons, gaussians, cifar10, cifar10-small or folder.")
    ] = None,
    grid: Grid = None,
    seeds: Annotated[
        int | None, typer.Option(help="Studies of each combination, with seeds 0, 1, ...; 1 if left out.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of every study as a.b=value; may be given again.")
    ] = None,
    generations: Annotated[int | None, typer.Option(min=1, help="The last generation of each study.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Studies at a time; left out: as many as the cores hold.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")] = False,
) -> None:
    """Simulate a study for each combination and seed, side by side; an interrupted sweep goes on with the same command.

    More values or seeds extend a sweep. Each study is a folder of its own, for `curate status` and the other verbs.

    Example: `curate sweep s --preset moons --grid curation.k=2,4,8 --grid mix.lam=inf,1 --seeds 3`
    """
    from curate_app.commands.sweep_run import run_sweep
    from loop.sweep.grid import parse_grid, requested_sweep

    asked = requested_sweep(folder, preset, parse_grid(grid or ()), seeds, setting or (), generations)
    if not run_sweep(folder, asked, jobs, as_json=json_):
        raise typer.Exit(1)
