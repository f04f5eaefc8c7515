"""`curate plan`: how many raters and picks an audit win rate needs, and what given numbers can show."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loop.choice.plan import Plan, Setting

PICKS = (10.0, 20.0, 40.0, 80.0, 160.0)


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
    k: Annotated[int, typer.Option(help="Samples in an audit slate.")] = 4,
    generations: Annotated[
        int, typer.Option(help="The latest generation's number; audit slates go round all the earlier ones.")
    ] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")] = False,
) -> None:
    """How many raters and audit picks show a win rate of the latest generation against an earlier one.

    Example: `curate plan --effect 0.6 --power 0.8 --picks-per-rater 40`

    Example: `curate plan --effect 0.6 --raters 30 --picks-per-rater 40 --icc 0.05`
    """
    import json
    from dataclasses import asdict

    from loop.choice.plan import Setting, raters_needed, smallest_effect
    from loop.choice.plan import power as power_of

    setting = Setting(icc, k, generations)
    each = PICKS if picks_per_rater is None else (picks_per_rater,)
    smallest: list[float | None] = []
    if raters is None:
        plans = [raters_needed(power, picks, effect, setting) for picks in each]
    else:
        plans = [power_of(raters, picks, effect, setting) for picks in each]
        smallest = [smallest_effect(power, raters, picks, setting) for picks in each]
    if json_:
        found = {"setting": asdict(setting), "power": power, "plans": [asdict(one) for one in plans]}
        typer.echo(json.dumps({**found, "smallest_effects": smallest}, indent=1, allow_nan=False))
        return
    _print(plans, smallest, setting, power)


def _print(plans: "list[Plan]", smallest: list[float | None], setting: "Setting", power: float) -> None:
    from rich.table import Table

    from curate_app.console import out

    table = Table(title=f"Audit picks for a win rate of {plans[0].effect:g}", title_justify="left")
    columns = ["raters", "picks each", "audit picks in all", "power", "design effect"]
    for column in (*columns, *([f"shown with power {power:g}"] if smallest else [])):
        table.add_column(column, justify="right")
    for j, one in enumerate(plans):
        least = [f"{smallest[j]:.3f}" if smallest[j] else "nothing"] if smallest else []
        cells = (f"{one.raters:,}", f"{one.picks:g}", f"{one.raters * one.picks:,.0f}", f"{one.power:.0%}")
        table.add_row(*cells, f"{one.design_effect:.2f}", *least)
    out.print(table)
    worth = plans[0].comparisons / plans[0].picks
    out.print(
        f"Slates of {setting.k}, generation {setting.generations} against an earlier one: an audit pick is worth "
        f"{worth:.2f} of a comparison. One rater's are alike with icc {setting.icc:g}; a small pilot and `curate fit` "
        "tell it. Curation picks don't count.",
        highlight=False,
    )
