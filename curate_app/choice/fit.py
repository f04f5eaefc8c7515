"""`curate fit`: what raters preferred, and tests of the model behind that. Imports are inside the verb."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

if TYPE_CHECKING:
    from loop.choice.log import Who
    from loop.study import Study

SUFFIXES = (".json", ".png", ".svg", ".pdf")


def fit(
    study: Annotated[Path, typer.Argument(help="The study's folder.")],
    features: Annotated[
        str,
        typer.Option(
            help="What utilities depend on, separated by commas: class, probs, generation, position, reward, "
            "operative_reward, x, y, or columns of --table. Left out: class and generation for people, "
            "operative_reward for simulated users."
        ),
    ] = "",
    table: Annotated[
        Path | None, typer.Option(help="A CSV file with sample_id or image_sha256, and columns of numbers.")
    ] = None,
    by_generation: Annotated[bool, typer.Option("--by-generation", help="Fit each generation's slates, too.")] = False,
    ridge: Annotated[
        float, typer.Option(min=0, help="Pull of the utilities toward 0, on standardised columns; 0: none.")
    ] = 0.0,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="human, sim or proxy; may be given again. Left out: human, or sim where no people picked."),
    ] = None,
    purpose: Annotated[
        list[str] | None, typer.Option(help="curation or audit; may be given again. Left out: both.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out answers with this flag and raters flagged with it; may be given again. Left out: what "
            "study.toml keeps out of training; none: nothing."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file: .json for everything, or .png, .svg or .pdf for a figure.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")] = False,
) -> None:
    """Fit Luce utilities to a study's picks, with intervals, and test the model behind them.

    Example: `curate fit my-study`

    Example: `curate fit my-study --features class,position --by-generation --json`
    """
    import json

    from curate_app.choice.figure import save
    from curate_app.choice.tables import print_report
    from curate_app.console import out as console
    from curate_app.destination import check_destination
    from loop.choice.records import Asked
    from loop.choice.report import choice_report
    from loop.study import Study

    opened = Study.open(study)
    if out is not None:
        if out.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{out} must end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
        check_destination(out, force)
    names = tuple(dict.fromkeys(name.strip() for name in features.split(",") if name.strip()))
    asked = Asked(_who(opened, kind, purpose, without), names, ridge, by_generation, table)
    found = choice_report(opened.store, opened.config, asked)
    text = json.dumps({"study": opened.path.name, **found.as_json()}, indent=1, allow_nan=False)
    if out is not None and out.suffix.lower() == ".json":
        out.write_text(text, encoding="utf-8")
    elif out is not None:
        save(out, found, opened.path.name)
    if json_:
        typer.echo(text)
        return
    print_report(found, opened.path.name)
    if out is not None:
        console.print(f"Wrote {out}.", markup=False, highlight=False, soft_wrap=True)


def _who(study: "Study", kind: list[str] | None, purpose: list[str] | None, without: list[str] | None) -> "Who":
    from data.records import PURPOSES, RaterKind
    from loop.choice.log import Who
    from loop.crowd.config import FLAGS

    people = any(row["kind"] == "human" for row in study.store.pick_counts())
    kinds = _chosen("--kind", kind or ["human" if people else "sim"], get_args(RaterKind))
    purposes = _chosen("--purpose", purpose or ["curation", "audit"], PURPOSES)
    if without is None:
        rule = study.config.quality.rule
        return Who(cast(tuple, kinds), cast(tuple, purposes), rule.picks, rule.raters)
    flags = () if without == ["none"] else _chosen("--without", without, (*FLAGS, "lapse", "none"))
    return Who(cast(tuple, kinds), cast(tuple, purposes), flags, flags)


def _chosen(option: str, given: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The given words.

    Raises:
        ValueError: one that there isn't.
    """
    wrong = [word for word in given if word not in known]
    if wrong:
        raise ValueError(f"{option} can't be '{wrong[0]}'; choose from {', '.join(known)}.")
    return tuple(dict.fromkeys(given))
