"""`curate export` and `curate import`: the choice log in the form that the reader's tool wants, and back."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from curate_app.commands.options import PRESETS, Settings, StudyPath, fitting_preset
from curate_app.console import bar_if_slow
from curate_app.console import out as console
from data.choice_log import Source, find_format
from data.choice_log.export import check_out
from data.choice_log.export import export as write
from data.choice_log.source import parse_filters
from data.secret_file import kept_secret
from loop.importing import import_log
from loop.study import Study, configure

SALT = "export_salt"  # in the study's secrets.toml


def export(
    study: StudyPath,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="long-csv, long-parquet, wide-csv, choix, trl, pickapic, hpd, preflib or hf; docs/choice-log.md.",
        ),
    ] = "long-csv",
    out: Annotated[
        Path | None,
        typer.Option(
            help="A file (a name with a suffix), or a folder, which gets a data card, metadata and the images."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Only answers that meet a condition, such as kind=human or generation>=2; may be given again."
        ),
    ] = None,
    images: Annotated[bool, typer.Option(help="Write the images, where --out is a folder.")] = True,
    include_panel_ids: Annotated[
        bool,
        typer.Option(
            "--include-panel-ids", help="Add the ids by which the panel knows raters (long formats). This is logged."
        ),
    ] = False,
    features: Annotated[
        bool, typer.Option("--features", help="Add the class probabilities of samples (long formats and hf).")
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
) -> None:
    """Write the choice log for other tools.

    Example: `curate export my-study --format long-parquet --where kind=human --out picks`
    """
    chosen, conditions = find_format(format_), parse_filters(where or ())
    path = out or Path(Path(chosen.file).name if not chosen.folder_only else "picks")
    if include_panel_ids and not chosen.name.startswith("long-"):
        raise ValueError("--include-panel-ids goes with --format long-csv or long-parquet, and with no other.")
    if features and not chosen.name.startswith(("long-", "hf")):
        raise ValueError("--features goes with --format long-csv, long-parquet or hf, and with no other.")
    store = Study.open(study).store
    check_out(chosen, path, replace=force)
    if include_panel_ids:
        store.log("researcher", "panel_ids_exported", out=str(path), format=chosen.name)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as on Ctrl-C, nothing is left behind
    total = max(1, store.value("SELECT count(*) FROM v_choice_long"))
    with bar_if_slow(f"writing {path}") as on_share:
        source = Source(
            store, study.resolve().name, kept_secret(study, SALT), conditions, include_panel_ids, features,
            lambda rows: on_share(min(1.0, rows / total)),
        )  # fmt: skip
        written = write(source, chosen, path, images=images, replace=force)
    console.print(f"Wrote {written.rows:,} rows to {path}.", highlight=False)
    for reason, n in sorted(written.left_out.items()):
        console.print(f"Left out {n:,} answers: {reason}.", highlight=False)


def import_(
    path: Annotated[
        Path,
        typer.Argument(
            help="choices.csv, choices.parquet, or an export's folder with its images; or a CSV or Parquet file of "
            "pairs or of good and bad images from elsewhere (docs/choice-log.md)."
        ),
    ],
    study: Annotated[Path, typer.Argument(help="The folder of the new study.")],
    preset: Annotated[str, typer.Option(help=f"The kind of samples: {PRESETS}.")] = "digits",
    setting: Settings = None,
) -> None:
    """Make a study of a long table, or of pairs from elsewhere, to analyse or train on, checked row by row first.

    `curate replay` trains on it.

    Example: `curate import picks/choices.csv my-copy --preset digits`

    Example: `curate import good-and-bad.csv my-log --preset folder --set data.path=pictures`
    """
    config = configure(fitting_preset(preset, setting), setting or ())
    with bar_if_slow(f"reading {path}") as on_share:
        answers, missing = import_log(path, study, config, on_share)
    console.print(f"Imported {answers:,} answers into {study}.", highlight=False)
    console.print(f"To train on its picks: curate replay {study} --out NEW", markup=False, highlight=False)
    if missing:
        console.print(f"{missing:,} images are known by their hash alone: images/ beside the file doesn't have them.")
