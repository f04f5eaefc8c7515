"""`curate import`: a long table from an export, or from elsewhere, as a new study."""

from pathlib import Path
from typing import Annotated

import typer


def import_(
    path: Annotated[Path, typer.Argument(help="choices.csv, choices.parquet, or an export's folder with its images.")],
    study: Annotated[Path, typer.Argument(help="Where the new study is to be.")],
    preset: Annotated[
        str, typer.Option(help="What the samples are: digits, moons, gaussians, cifar10 or folder.")
    ] = "digits",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting as a.b=value; may be given again.")
    ] = None,
) -> None:
    """Make a study of a long table, to be analysed or replayed. It is checked row by row first.

    Example: `curate import picks/choices.csv my-copy --preset digits`
    """
    from curate_app.console import out
    from loop.importing import import_log
    from loop.study import configure

    answers, missing = import_log(path, study, configure(preset, setting or ()))
    out.print(f"Imported {answers:,} answers into {study}.", highlight=False)
    if missing:
        out.print(f"{missing:,} images are known by their hash alone: there was no images/ beside the file with them.")
