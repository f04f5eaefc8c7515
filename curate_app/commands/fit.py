"""`curate fit` and `curate plan`: what raters preferred, and how many raters are needed."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.markup import escape
from rich.table import Table

from curate_app.commands.options import Json, StudyPath, check_destination
from curate_app.console import bar_if_slow
from curate_app.console import out as console
from curate_app.plots.figures import utilities_figure
from data.records import PURPOSES, RaterKind
from data.store import queries
from loop.analysis.groups import TasteGroups, groups_words
from loop.analysis.log import AnswerFilter
from loop.analysis.logit import Fit
from loop.analysis.plan import Plan, Setting, raters_needed, smallest_effect, watched_power, watched_raters
from loop.analysis.plan import power as power_of
from loop.analysis.report import PARTS, ChoiceReport, FitOptions, Items, Part, choice_report
from loop.config import FLAGS
from loop.evidence.intervals import LEVEL, WIN_RATES, error_level
from loop.registration import FILE as REGISTRATION
from loop.registration import exclusion_words, register, stopping_words
from loop.study import Study

SUFFIXES = (".json", ".png", ".svg", ".pdf")
PICKS = (10.0, 20.0, 40.0, 80.0, 160.0)
STYLES = {"found": "bold", "not found": "dim", "can't tell": "yellow"}


def fit(
    study: StudyPath,
    features: Annotated[
        str,
        typer.Option(
            help="What utilities depend on, separated by commas: class, probs, generation, position, reward, "
            "operative_reward, x, y, factors, or columns of --table; of texts words, word_length, log_probability, "
            "share:e (any letter or word). Left out: class (of designs factors, of texts word_length and "
            "log_probability) and generation for people, operative_reward for simulated users."
        ),
    ] = "",
    table: Annotated[
        Path | None, typer.Option(help="A CSV file with sample_id or image_sha256, and columns of numbers.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Beside all picks together, fit these apart: generation, condition or rater_type; may be given again. "
            "Left out: each condition and each type of rater, where there are several."
        ),
    ] = None,
    by_generation: Annotated[bool, typer.Option("--by-generation", help="The same as --by generation.")] = False,
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
    save: Annotated[
        Path | None,
        typer.Option(
            help="A .safetensors file: the utilities as a scorer of images (--features probs) or points (factors) "
            "outside curate; docs/howto-analyst.md has its loader."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json_: Json = False,
) -> None:
    """Fit Luce utilities to a study's picks, with intervals, and test the model behind them.

    Example: `curate fit my-study`

    Example: `curate fit my-study --features class,position --by generation --by condition --json`

    Example: `curate fit my-study --features probs --save scorer.safetensors`
    """
    opened = Study.open(study)
    if save is not None:
        if save.suffix != ".safetensors":
            raise ValueError(f"--save needs a name that ends with .safetensors, not {save.name}.")
        check_destination(save, force)
    if out is not None:
        if out.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{out} must end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
        check_destination(out, force)
    names = tuple(dict.fromkeys(name.strip() for name in features.split(",") if name.strip()))
    parts = check_words("--by", [*["generation"] * by_generation, *(by or [])], PARTS)
    request = FitOptions(choose_answers(opened, kind, purpose, without), names, ridge, parts, table)
    with bar_if_slow(f"fitting {study}", quiet=json_) as on_share:
        analysis = choice_report(opened.store, opened.config, request, on_share)
    text = json.dumps({"study": opened.path.name, **analysis.as_json()}, indent=1, allow_nan=False)
    if out is not None and out.suffix.lower() == ".json":
        out.write_text(text, encoding="utf-8")
    elif out is not None:
        utilities_figure(out, analysis, opened.path.name)
    if save is not None:
        from loop.analysis.scorer import save_scorer  # loads torch

        save_scorer(save, opened, analysis.fit)
    if json_:
        typer.echo(text)
        return
    print_report(analysis, opened.path.name)
    for written in filter(None, (out, save)):
        console.print(f"Wrote {written}.", markup=False, highlight=False, soft_wrap=True)


def choose_answers(
    study: Study, kind: list[str] | None, purpose: list[str] | None, without: list[str] | None
) -> AnswerFilter:
    """The answers that --kind, --purpose and --without select, with the defaults that their help states."""
    people = any(row["kind"] == "human" for row in queries.tally(study.store))
    kinds = check_words("--kind", kind or ["human" if people else "sim"], get_args(RaterKind))
    purposes = check_words("--purpose", purpose or ["curation", "audit"], PURPOSES)
    if without is None:
        rule = study.config.quality.rule
        return AnswerFilter(cast(tuple, kinds), cast(tuple, purposes), rule.picks, rule.raters)
    flags = () if without == ["none"] else check_words("--without", without, (*FLAGS, "lapse", "none"))
    return AnswerFilter(cast(tuple, kinds), cast(tuple, purposes), flags, flags)


def check_words(option: str, words: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The words given to an option, without repetitions.

    Raises:
        ValueError: a word that isn't known.
    """
    if unknown := [word for word in words if word not in known]:
        raise ValueError(f"{option} can't be '{unknown[0]}'; choose from {', '.join(known)}.")
    return tuple(dict.fromkeys(words))


def print_report(analysis: ChoiceReport, study: str) -> None:
    """Prints all of it: the answers that count, utilities, the reward's scale, parts, items and tests."""
    say(f"[bold]{escape(study)}[/bold]  {escape(counted(analysis))}")
    if analysis.fit.names:
        console.print(utilities_table(analysis.fit, analysis.design.references))
    say(escape(about_fit(analysis.fit, "human" in analysis.counting.kinds)))
    for name, why in analysis.design.left_out.items():
        say(escape(f"Left out: '{name}' {why}."))
    say(escape(about_scale(analysis.scale, analysis.gamma)))
    if analysis.parts:
        console.print(parts_table(analysis.parts))
        for part in analysis.parts:
            if part.problem:
                say(escape(f"{part.name}: {part.problem}"))
    for items in analysis.items:
        if items.problem:
            say(escape(f"By {items.name}: {items.problem}"))
        else:
            console.print(items_table(items))
    print_groups(analysis.groups)
    tests = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for width in (12, 22, None):
        tests.add_column(max_width=width)
    for test in analysis.tests:
        tests.add_row(f"[{STYLES[test.verdict]}]{test.verdict}[/]", escape(test.name), escape(test.sentence))
    console.print(tests)
    say("[dim]Each test raises a false alarm in 5% of studies; docs/choice-model.md says what each can find.[/dim]")


def print_groups(groups: TasteGroups) -> None:
    """Prints the taste groups, how far raters spread within them, and who gains and who loses."""
    if groups.number is None:
        say(escape(f"Who is optimised? No taste groups: {groups.reason}."))
        return
    say(f"[bold]Who is optimised?[/] {escape(groups_words(groups))}")
    table = Table(title="Taste groups", title_justify="left")
    table.add_column("")
    for column in ("raters", "share (95%)", "gain of mean utility (95%)", "of them losing"):
        table.add_column(column, justify="right")
    for j, group in enumerate(groups.groups):
        share = f"{group.share.value:.0%} ({group.share.low:.0%} to {group.share.high:.0%})"
        cells = ["", ""]
        if len(group.generations) > 1:
            gain, losing = group.generations[-1].gain, group.generations[-1].losing
            cells = [f"{gain.value:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})", f"{losing:.0%}"]
        table.add_row(f"{j + 1}: {escape(group.words)}", f"{group.raters:,}", share, *cells)
    if len(groups.groups) > 1:
        console.print(table)
    for sentence in groups.sentences:
        say(escape(sentence))


def say(text: str) -> None:
    """Prints a line as it is, without colours for numbers."""
    console.print(text, highlight=False)


def counted(analysis: ChoiceReport) -> str:
    """The numbers of picks and raters that count, and of answers left out, in words."""
    kinds, purposes = " and ".join(analysis.counting.kinds), " and ".join(analysis.counting.purposes)
    raters = f"{analysis.fit.raters:,} {kinds} rater{'s' if analysis.fit.raters != 1 else ''}"
    left = ", ".join(f"{n:,} {words}" for words, n in analysis.left_out.items())
    picks = f"{analysis.fit.n:,} picks"
    if analysis.fit.threshold is not None:
        ties = analysis.fit.threshold.ties
        picks = f"{analysis.fit.n - ties:,} picks and {ties:,} ties"
    if analysis.fit.worst:
        picks += f" ({analysis.fit.worst:,} with the worst)"
    return f"{picks} of {raters} in {purposes} slates." + (f" Not counted: {left}." if left else "")


def about_fit(fit: Fit, people: bool) -> str:
    """The share of log-likelihood that the fit explains, and the basis of its intervals, in words."""
    if fit.jackknife is not None:
        errors = f"Intervals take each of {fit.raters:,} raters as one cluster."
    elif people:
        errors = "There is one rater, so the intervals say nothing about others."
    else:
        errors = "Intervals take picks as independent, as those of simulated users are."
    ridge = ""
    if fit.ridge:
        ridge = (
            f" A ridge of {fit.ridge:g} pulls utilities toward 0: a normal prior of standard deviation "
            f"{fit.ridge**-0.5:.2g} on standardised columns; utilities and intervals are its posterior's."
        )
    ties = ""
    if fit.threshold is not None:
        log_thetas = (fit.threshold.log_theta, fit.threshold.low, fit.threshold.high)
        share, least, most = (math.tanh(log / 2) for log in log_thetas)  # (theta - 1) / (theta + 1)
        ties = (
            f" Ties by Rao and Kupper: log theta {fit.threshold.log_theta:.3f} (95% {fit.threshold.low:.3f} to "
            f"{fit.threshold.high:.3f}), so {share:.1%} ties of equal samples "
            f"({least:.1%} to {most:.1%})."
        )
    return f"The columns explain {fit.fit_share:.1%} of the log-likelihood that chance leaves. {errors}{ridge}{ties}"


def about_scale(part: Part, gamma: float) -> str:
    """The factor by which picks follow the recorded reward, in words.

    Args:
        part: the fit of the recorded reward alone.
        gamma: the declared scale.
    """
    if part.fit is None:
        return f"The reward's scale: {part.problem}"
    value, (low, high) = float(part.fit.coefficients[0]), part.fit.intervals()[0]
    return (
        f"Picks follow the recorded reward with factor {value:.3f} (95% {low:.3f} to {high:.3f}); 1 is as declared, "
        f"where γ = {gamma:g}, so that γ is estimated as {value * gamma:.3g} ({low * gamma:.3g} to {high * gamma:.3g})."
    )


def utilities_table(fit: Fit, references: dict[str, str]) -> Table:
    """Each column's utility, its interval, and its odds ratio where that can be read."""
    beside = f" (beside {', '.join(references.values())})" if references else ""
    table = Table(title=f"Utilities{beside}", title_justify="left")
    table.add_column("")
    for column in ("utility", "95%", "odds ×"):
        table.add_column(column, justify="right")
    for name, value, (low, high) in zip(fit.names, fit.coefficients, fit.intervals(), strict=True):
        odds = f"{math.exp(value):.3g}" if value < 20 else "very large"
        table.add_row(escape(name), f"{value:+.3f}", f"{low:+.3f} to {high:+.3f}", odds)
    return table


def parts_table(parts: Sequence[Part]) -> Table:
    """The utilities of each part that was fitted apart, such as a generation."""
    table = Table(title="Fitted apart", title_justify="left")
    for column in ("", "picks", "", "utility", "95%"):
        table.add_column(column, justify="left" if not column else "right")
    for part in parts:
        if part.fit is None:
            table.add_row(escape(part.name), f"{part.n:,}", "(see below)", "", "", end_section=True)
            continue
        for j, (name, (low, high)) in enumerate(zip(part.fit.names, part.fit.intervals(), strict=True)):
            heading = ("", "") if j else (escape(part.name), f"{part.n:,}")
            last = j == len(part.fit.names) - 1
            value = f"{part.fit.coefficients[j]:+.3f}"
            table.add_row(*heading, escape(name), value, f"{low:+.3f} to {high:+.3f}", end_section=last)
    return table


def items_table(items: Items) -> Table:
    """Coarse items, such as classes: how often each was shown and picked, and its worth."""
    table = Table(title=f"By {items.name}, as items of their own", title_justify="left")
    table.add_column("")
    for column in ("shown", "picked", "picked from one of each", "utility", "95%"):
        table.add_column(column, justify="right")
    for worth in items.worths:
        table.add_row(
            escape(worth.name),
            f"{worth.shown:,}",
            f"{worth.picked:,}",
            f"{worth.worth:.1%}",
            f"{worth.utility:+.2f}",
            f"{worth.low:+.2f} to {worth.high:+.2f}",
        )
    return table


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
        int | None,
        typer.Option(help="The latest generation t; audit slates show it beside 0 and t - 1 in turn. 1 if left out."),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(help="Error level of the test. Left out: that of the report's verdict on t against 0."),
    ] = None,
    register_: Annotated[
        Path | None,
        typer.Option(
            "--register",
            metavar="STUDY_DIR",
            help="Pre-register this study, before its first pick: hypotheses, stopping rule, exclusions, analysis.",
        ),
    ] = None,
    hypothesis: Annotated[
        list[str] | None,
        typer.Option(help="With --register: a hypothesis in words; may be given again. Left out: those of the report."),
    ] = None,
    picks: Annotated[
        int | None,
        typer.Option(min=1, help="With --register: the study ends after so many picks in all. Left out: not by picks."),
    ] = None,
    json_: Json = False,
) -> None:
    """Print how many raters and audit picks show a win rate of the latest generation against generation 0.

    Two numbers: for a number of raters that is set in advance (`stop.raters`, with `stop.generations`), and for a study
    that is left open and looked at after each rater, whose intervals are always valid and wider.

    With --register nothing of it can be changed later: reports print it, and every departure. The stopping rule and the
    exclusions are those of study.toml.

    Example: `curate plan --effect 0.6 --power 0.8 --picks-per-rater 40`

    Example: `curate plan --effect 0.6 --raters 30 --picks-per-rater 40 --icc 0.05`

    Example: `curate plan --register my-study --hypothesis "People prefer generation 3 to generation 0."`
    """
    if register_ is not None:
        asked = {"stop.raters": raters, "stop.generations": generations}
        setting = Setting(icc, k, generations or 1, level or LEVEL)
        register_study(
            Study.open(register_), asked, hypothesis or [], picks, (effect, power, picks_per_rater), setting, json_
        )
        return
    if hypothesis or picks:
        raise ValueError("--hypothesis and --picks belong to a pre-registration: add --register STUDY_DIR.")
    generations = 1 if generations is None else generations
    levels = [error_level(max(1, generations), 0, WIN_RATES, last) for last in (generations, 0)]
    fixed, watched = (Setting(icc, k, generations, level or default) for default in levels)
    counts = PICKS if picks_per_rater is None else (picks_per_rater,)
    smallest: list[float | None] = []
    if raters is None:
        plans = [raters_needed(power, picks, effect, fixed) for picks in counts]
        open_ended: list[float | None] = [watched_raters(power, picks, effect, watched) for picks in counts]
    else:
        plans = [power_of(raters, picks, effect, fixed) for picks in counts]
        open_ended = [watched_power(raters, picks, effect, watched) for picks in counts]
        smallest = [smallest_effect(power, raters, picks, fixed) for picks in counts]
    if json_:
        values = {"setting": asdict(fixed), "power": power, "plans": [asdict(plan) for plan in plans]}
        always_valid = {"level": watched.level, "power" if raters else "raters": open_ended}
        values |= {"always_valid": always_valid, "smallest_effects": smallest}
        typer.echo(json.dumps(values, indent=1, allow_nan=False))
        return
    print_plans(plans, open_ended, smallest, (fixed, watched), power)


def register_study(
    study: Study,
    asked: dict[str, int | None],
    hypotheses: list[str],
    picks: int | None,
    plan: tuple[float, float, float | None],
    setting: Setting,
    as_json: bool,
) -> None:
    """Pre-registers a study, and prints what was registered.

    Args:
        study: of which nothing was picked yet.
        asked: numbers of the command line by the setting of study.toml that they must agree with; None where left out.
        hypotheses: in words; empty for those of the report.
        picks: in all, after which the study ends; None for no such rule.
        plan: the win rate to be shown, the power wanted, and audit picks of one rater where they are known.
        setting: of the power of that plan; its generations and K are the study's.
        as_json: prints JSON.

    Raises:
        ValueError: a number isn't the study's, or it can't be registered any more.
    """
    config, stop = study.config, dict(study.config.stop)
    for key, number in asked.items():
        own = stop[key.partition(".")[2]]
        if number is not None and number != own:
            raise ValueError(
                f"The stopping rule is that of study.toml, where {key} is {own}, not {number}: set it there first "
                f"({study.path / 'study.toml'}), then register."
            )
    (effect, wanted, each), power = plan, {}
    if config.stop.raters and each is not None:
        last = config.stop.generations or 1
        level = setting.level if setting.level != LEVEL else error_level(last, 0, WIN_RATES, config.stop.generations)
        own = Setting(setting.icc, config.pool.audit_k, last, level)
        power = {"wanted": wanted, "level": level, **asdict(power_of(config.stop.raters, each, effect, own))}
    registration = register(study, hypotheses, picks, power)
    if as_json:
        typer.echo(json.dumps({**registration.model_dump(mode="json"), "sha256": registration.sha256}, indent=1))
        return
    say(f"[bold]{escape(str(study.path))}[/bold] is registered; nothing of this can be changed any more.")
    for number, text in enumerate(registration.hypotheses, start=1):
        say(escape(f"H{number}: {text}"))
    say(escape(stopping_words(registration)))
    say(escape(exclusion_words(registration.exclusions)))
    say(escape(f"{registration.analysis} Its code has the hash {registration.analysis_sha256[:12]}."))
    if power:
        raters, chance = f"{power['raters']:,} raters of {each:g} audit picks", f"{power['power']:.0%}"
        say(f"Power for a win rate of {effect:g} with {raters}: {chance}.")
    say(f"SHA-256 of all of it, to be deposited with {escape(REGISTRATION)}: {registration.sha256}")


def print_plans(
    plans: list[Plan],
    open_ended: list[float | None],
    smallest: list[float | None],
    settings: tuple[Setting, Setting],
    power: float,
) -> None:
    """Prints a row for each plan, and how to read them.

    Args:
        plans: for a number of raters that is set in advance.
        open_ended: for a study that is looked at after each rater: the number of raters, or the power of a given one.
        smallest: the smallest effects that a given number of raters shows; empty where that number was asked for.
        settings: of the first and of the second kind.
        power: the chance that an effect is shown.
    """
    setting, watched = settings
    table = Table(title=f"Audit picks for a win rate of {plans[0].effect:g}", title_justify="left")
    columns = ["raters", "picks each", "audit picks in all", "power", "design effect"]
    more = ["power, open", f"shown with power {power:g}"] if smallest else ["raters, open"]
    for column in (*columns, *more):
        table.add_column(column, justify="right")
    for j, plan in enumerate(plans):
        watched_value = open_ended[j]
        if smallest:
            last = [f"{watched_value:.0%}", f"{smallest[j]:.3f}" if smallest[j] else "nothing"]
        else:
            last = ["over 5,000" if watched_value is None else f"{watched_value:,}"]
        cells = (f"{plan.raters:,}", f"{plan.picks:g}", f"{plan.raters * plan.picks:,.0f}", f"{plan.power:.0%}")
        table.add_row(*cells, f"{plan.design_effect:.2f}", *last)
    console.print(table)
    worth = plans[0].comparisons / plans[0].picks
    console.print(
        f"Slates of {setting.k}, generation {setting.generations} against generation 0: an audit pick is worth "
        f"{worth:.2f} of a comparison. Picks of the same rater are alike with icc {setting.icc:g}; estimate it from a "
        "small pilot with `curate fit`. Curation picks don't count. The first columns are for a number of raters set "
        f"in advance (stop.raters; error level {setting.level:.2g}), 'open' is for a study that is looked at after "
        f"each rater and may stop at any time (error level {watched.level:.2g}; simulated).",
        highlight=False,
    )
    if setting.k > 2:
        console.print("The report gives no verdict on such slates: 0.5 isn't indifference there.", highlight=False)
