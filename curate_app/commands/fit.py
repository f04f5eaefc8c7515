"""`curate fit` and `curate plan`: what raters preferred, and how many are needed. Imports are inside the verbs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from data.store import queries

if TYPE_CHECKING:
    from loop.analysis.log import AnswerFilter
    from loop.analysis.plan import Plan, Setting
    from loop.study import Study

SUFFIXES = (".json", ".png", ".svg", ".pdf")
PICKS = (10.0, 20.0, 40.0, 80.0, 160.0)


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

    from curate_app.commands.fit_tables import print_report, save
    from curate_app.commands.options import check_destination
    from curate_app.console import out as console
    from loop.analysis.report import FitOptions, choice_report
    from loop.study import Study

    opened = Study.open(study)
    if out is not None:
        if out.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{out} must end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
        check_destination(out, force)
    names = tuple(dict.fromkeys(name.strip() for name in features.split(",") if name.strip()))
    asked = FitOptions(_who(opened, kind, purpose, without), names, ridge, by_generation, table)
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


def _who(
    study: "Study", kind: list[str] | None, purpose: list[str] | None, without: list[str] | None
) -> "AnswerFilter":
    from data.records import PURPOSES, RaterKind
    from loop.analysis.log import AnswerFilter
    from loop.config import FLAGS

    people = any(row["kind"] == "human" for row in queries.tally(study.store))
    kinds = _chosen("--kind", kind or ["human" if people else "sim"], get_args(RaterKind))
    purposes = _chosen("--purpose", purpose or ["curation", "audit"], PURPOSES)
    if without is None:
        rule = study.config.quality.rule
        return AnswerFilter(cast(tuple, kinds), cast(tuple, purposes), rule.picks, rule.raters)
    flags = () if without == ["none"] else _chosen("--without", without, (*FLAGS, "lapse", "none"))
    return AnswerFilter(cast(tuple, kinds), cast(tuple, purposes), flags, flags)


def _chosen(option: str, given: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The given words.

    Raises:
        ValueError: one that there isn't.
    """
    wrong = [word for word in given if word not in known]
    if wrong:
        raise ValueError(f"{option} can't be '{wrong[0]}'; choose from {', '.join(known)}.")
    return tuple(dict.fromkeys(given))


def plan(
    effect: Annotated[float, typer.Option(help="The win rate to be shown; 0.5 is no preference.")] = 0.6,
    power: Annotated[float, typer.Option(help="The chance that it is shown.")] = 0.8,
    picks_per_rater: Annotated[
        float | None, typer.Option(help="Audit picks of one rater. Left out: a table of several.")
    ] = None,
    raters: Annotated[
        int | None, typer.Option(help="The other way round: the power of so many raters, and what they can show.")
    ] = None,
    icc: Annotated[
        float, typer.Option(help="How alike one rater's picks are, 0 to 1 (see docs/choice-model.md).")
    ] = 0.1,
    k: Annotated[int, typer.Option(help="Samples in an audit slate; in larger ones than 2 no verdict is given.")] = 2,
    generations: Annotated[
        int, typer.Option(help="The latest generation t; audit slates show it beside 0 and t - 1 in turn.")
    ] = 1,
    level: Annotated[
        float | None,
        typer.Option(help="Error level of the test. Left out: that of the report's verdict on t against 0."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")] = False,
) -> None:
    """Print how many raters and audit picks show a win rate of the latest generation against generation 0.

    Two numbers: for a number of raters that is set in advance (`stop.raters`, with `stop.generations`), and for a study
    that is left open and looked at after each rater, whose intervals are always valid and wider.

    Example: `curate plan --effect 0.6 --power 0.8 --picks-per-rater 40`

    Example: `curate plan --effect 0.6 --raters 30 --picks-per-rater 40 --icc 0.05`
    """
    import json
    from dataclasses import asdict

    from loop.analysis.plan import Setting, raters_needed, smallest_effect, watched_power, watched_raters
    from loop.analysis.plan import power as power_of
    from loop.evidence.intervals import WIN_RATES, error_level

    levels = [error_level(max(1, generations), 0, WIN_RATES, last) for last in (generations, 0)]
    fixed, watched = (Setting(icc, k, generations, level or default) for default in levels)
    each = PICKS if picks_per_rater is None else (picks_per_rater,)
    smallest: list[float | None] = []
    if raters is None:
        plans = [raters_needed(power, picks, effect, fixed) for picks in each]
        open_ended: list[float | None] = [watched_raters(power, picks, effect, watched) for picks in each]
    else:
        plans = [power_of(raters, picks, effect, fixed) for picks in each]
        open_ended = [watched_power(raters, picks, effect, watched) for picks in each]
        smallest = [smallest_effect(power, raters, picks, fixed) for picks in each]
    if json_:
        found = {"setting": asdict(fixed), "power": power, "plans": [asdict(one) for one in plans]}
        always_valid = {"level": watched.level, "power" if raters else "raters": open_ended}
        found |= {"always_valid": always_valid, "smallest_effects": smallest}
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    _print(plans, open_ended, smallest, (fixed, watched), power)


def _print(
    plans: "list[Plan]",
    open_ended: list[float | None],
    smallest: list[float | None],
    settings: "tuple[Setting, Setting]",
    power: float,
) -> None:
    from rich.table import Table

    from curate_app.console import out

    setting, watched = settings
    table = Table(title=f"Audit picks for a win rate of {plans[0].effect:g}", title_justify="left")
    columns = ["raters", "picks each", "audit picks in all", "power", "design effect"]
    more = ["power, open", f"shown with power {power:g}"] if smallest else ["raters, open"]
    for column in (*columns, *more):
        table.add_column(column, justify="right")
    for j, one in enumerate(plans):
        watched_one = open_ended[j]
        if smallest:
            least = [f"{watched_one:.0%}", f"{smallest[j]:.3f}" if smallest[j] else "nothing"]
        else:
            least = ["over 5,000" if watched_one is None else f"{watched_one:,}"]
        cells = (f"{one.raters:,}", f"{one.picks:g}", f"{one.raters * one.picks:,.0f}", f"{one.power:.0%}")
        table.add_row(*cells, f"{one.design_effect:.2f}", *least)
    out.print(table)
    worth = plans[0].comparisons / plans[0].picks
    out.print(
        f"Slates of {setting.k}, generation {setting.generations} against generation 0: an audit pick is worth "
        f"{worth:.2f} of a comparison. One rater's are alike with icc {setting.icc:g}; a small pilot and `curate fit` "
        "tell it. Curation picks don't count. The first columns are for a number of raters set in advance "
        f"(stop.raters; error level {setting.level:.2g}), 'open' is for a study that is looked at after each rater and "
        f"stopped at will (error level {watched.level:.2g}; simulated).",
        highlight=False,
    )
    if setting.k > 2:
        out.print("The report gives no verdict in such slates: 0.5 isn't indifference there.", highlight=False)
