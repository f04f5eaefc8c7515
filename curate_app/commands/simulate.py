"""`curate new`, `simulate`, `market`, `replay` and `audit`: studies made, simulated, trained anew, and compared."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from curate_app.commands.options import (
    PRESETS,
    Checkpoint,
    Device,
    Json,
    Seed,
    Settings,
    StudyPath,
    check_checkpoint,
    fitting_preset,
    print_plan,
    read_data,
    with_checkpoint,
)
from curate_app.commands.status import print_status
from curate_app.console import ESTIMATED_S, duration, err, phase_bars, sentence, turn_progress
from curate_app.console import out as console
from curate_app.launch import open_on_ranks, use_device
from curate_app.processes import use_threads
from loop.config import FLAGS
from loop.study import Study, configure, open_or_create

SMALL = ("mlp", "gaussian", "kde", "resample")
LONG = ("cifar10", "fashion", "folder")  # data whose preparation takes over a minute on most devices


def new(
    study: StudyPath,
    preset: Annotated[str, typer.Option(help=f"{PRESETS}.")],
    setting: Settings = None,
    seed: Seed = None,
    checkpoint: Checkpoint = "",
) -> None:
    """Make a study; study.toml is written out in full.

    Example: `curate new my-study --preset digits --set curation.k=6`
    """
    preset = fitting_preset(preset, setting)
    config = configure(preset, with_checkpoint(setting, checkpoint), seed=seed)
    check_checkpoint(config, study)
    created = Study.create(study, config)
    verb = "simulate" if config.curation.k in ("inf", 1) else "serve"
    console.print(f"Made {study}. Look at {study / 'study.toml'}, then: curate {verb} {study}")
    try:
        if config.data.is_text:
            read_data(created)
        if config.data.dataset in LONG or config.network.kind == "gpt":
            use_threads(beside_app=False)
            use_device(config, None, quiet=True)
            print_plan(config, created)
    except (ValueError, OSError) as error:
        err.print(f"Not ready to run yet: {sentence(error)}", markup=False)
    created.store.close()


def simulate(
    study: StudyPath,
    preset: Annotated[str | None, typer.Option(help=f"For a new study: {PRESETS}.")] = None,
    generations: Annotated[int | None, typer.Option(min=0, help="The last generation to make.")] = None,
    seed: Seed = None,
    setting: Settings = None,
    checkpoint: Checkpoint = "",
    device: Device = None,
    json_: Json = False,
) -> None:
    """Run the loop with simulated users; an interrupted run goes on with the same command.

    Example: `curate simulate s --preset digits --generations 5 --seed 0 --set reward.kind=class_prob
    --set reward.target=7`
    """
    settings = with_checkpoint(setting, checkpoint)
    is_new = not study.exists()
    preset = preset and fitting_preset(preset, setting, device)

    def open_study() -> Study:
        if preset is not None:
            check_checkpoint(configure(preset, settings, seed=seed), study, device)
        return open_or_create(study, preset, settings, seed=seed, generations=generations)

    opened = open_on_ranks(study, open_study, device)
    use_threads(beside_app=False, small=opened.config.network.kind == "mlp")
    use_device(opened.config, device, quiet=json_)
    from loop.compute import from_main, is_main  # after use_threads: torch reads the number of threads when imported
    from loop.simulate import simulate as run

    last = generations if generations is not None else opened.config.generations
    latest = from_main(lambda: opened.store.latest_cut())
    done = latest[0] if latest else 0
    try:
        if opened.config.data.dataset == "fashion":  # a download that fails is said before any estimate
            from_main(lambda: read_data(opened, quiet=json_))
        planned = from_main(lambda: print_plan(opened.config, opened, max(0, last - done), quiet=json_))
        with turn_progress(last, done, quiet=json_ or not is_main()) as report:
            run(opened, last, report, planned=planned)
    except (ValueError, OSError, RuntimeError):
        if is_new and is_main():  # so that the same command works once its settings are corrected
            opened.discard_unbegun()
        raise
    if is_main():
        print_status(opened, as_json=json_)


def market(
    first: Annotated[Path, typer.Argument(help="A study's folder; nothing was trained in it yet.")],
    second: Annotated[Path, typer.Argument(help="Another one's, of the same kind of data.")],
    exchange: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the other's curated samples among those that train each.")
    ] = 0.3,
    generations: Annotated[
        int | None, typer.Option(min=1, help="The last generation; left out: the first study's.")
    ] = None,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Simulate two studies that train on each other's curated samples, too; an interrupted run goes on.

    Beside both rewards stand the exact ones, and the mean of exact markets with as many picks, where the generators are
    Gaussians (network.kind), rewards linear and curation.k "inf"; z is the distance from the latter in standard errors.

    Example: `curate market a b --exchange 0.3 --generations 5`
    """
    studies = Study.open(first), Study.open(second)
    last = generations if generations is not None else studies[0].config.generations
    use_threads(beside_app=False, small=all(study.config.network.kind in SMALL for study in studies))
    use_device(studies[0].config, device, quiet=json_)
    from curate_app.report.files import distinct
    from loop.market import result, run

    done = min((latest[0] if (latest := study.store.latest_cut()) else 0) for study in studies)
    with turn_progress(last, done, quiet=json_, studies=2) as report:
        run(*studies, exchange, last, report)
    outcome, names = result(*studies, exchange), distinct([study.path for study in studies])
    if json_:
        console.print_json(json.dumps({"studies": names, "exchange": exchange, **asdict(outcome)}, allow_nan=False))
        return
    console.print(f"Mean reward of each by its own user, ± 95%; exchange {exchange:g}", highlight=False)
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("t", justify="right")
    for name in names:
        for head in (name, *(("exact", "finite", "z") if not outcome.no_oracle else ())):
            table.add_column(escape(head), justify="right", overflow="fold")
    for row in outcome.rounds:
        cells = [str(row.t)]
        for i in range(2):
            cells.append(f"{row.rewards[i]:.4g} ± {1.96 * row.errors[i]:.2g}")
            if row.expected and row.z:
                exact = f"{row.exact[i]:.4g}" if row.exact else "endless"
                cells += [exact, f"{row.expected[i]:.4g}", f"{row.z[i]:+.2f}"]
        table.add_row(*cells)
    console.print(table, highlight=False)
    if outcome.no_oracle:
        sentences = [f"No exact rewards beside these: {outcome.no_oracle}."]
    else:
        sentences = [
            "Exact: with endless picks; finite: mean of exact markets with as many picks; z: measured less that, in "
            "standard errors."
        ]
    if outcome.few_from is not None:
        sentences.append(
            f"From t = {outcome.few_from} on the exact law's picks rest on samples that are hardly among those drawn "
            "(curation.inf_pool for each pick), so with finitely many picks rewards stay behind the exact ones."
        )
    for name, change in zip(names, outcome.backfires or (), strict=False):
        word = "lowers" if change < 0 else "raises"
        sentences.append(
            f"Exactly: if the user of {name} curated by a tenth more strongly, that {word} its reward by "
            f"{abs(change):.3g} at t = {outcome.backfires_at}{' (it backfires)' if change < 0 else ''}."
        )
    for line in sentences:
        console.print(line, highlight=False, markup=False)


def replay(
    study: Annotated[Path, typer.Argument(help="The study whose picks train.")],
    out: Annotated[Path, typer.Option(help="The folder of the new study.")],
    policy: Annotated[str | None, typer.Option(help="The data policy, as mix.policy in study.toml.")] = None,
    lam: Annotated[float | None, typer.Option(help="mix: curated : real; inf trains on picks only.")] = None,
    learner: Annotated[
        str | None,
        typer.Option(help="curate, reward_weighted, best_of_k, dpo or luce_dpo: how the slates become a generator."),
    ] = None,
    exclude_picks: Annotated[
        str | None, typer.Option(help="Picks with one of these flags don't train: a,b; '' for none.")
    ] = None,
    exclude_raters: Annotated[
        str | None, typer.Option(help="Nor do picks of raters with one of these flags: a,b; '' for none.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of training as a.b=value; may be given again.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="A seed of its own for the training.")] = None,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Train other generators on a study's picks, from its generation 0: what if the mix or the rule were different?

    Of an imported log the new study makes its generation 0 by its settings, trains generation 1 on all picks, and can
    be served then. An interrupted run goes on with the same command.

    Example: `curate replay my-study --out more-real --lam 0.25`

    Example: `curate replay my-study --out by-dpo --learner dpo`

    Example: `curate replay my-log --out from-my-log --learner dpo --set train.pretrain_steps=2000`
    """

    def open_replay() -> Study:
        source = Study.open(study)
        known = [row.measurements.seconds.train for row in source.store.generations()[1:] if row.measurements.seconds]
        if sum(known) >= ESTIMATED_S and not json_:  # before torch is loaded; the plan follows, measured here
            err.print(
                f"Training the same {len(known)} generations took {duration(sum(known))} in {study}.", markup=False
            )
        given = {
            "mix.policy": policy,
            "mix.lam": lam,
            "learner.kind": learner,
            "quality.exclude_picks": parse_flags(exclude_picks),
            "quality.exclude_raters": parse_flags(exclude_raters),
            "train.finetune_seed": seed,
        }
        use_threads(beside_app=False, small=source.config.network.kind == "mlp")
        from loop.replay import ImportedLog, begin, replayed_config

        config = replayed_config(source.config, setting or [], given, ImportedLog.of(source))
        if lam is not None and config.mix.policy != "mix":
            policy_there = config.mix.policy
            raise ValueError(f"--lam goes with the policy mix, and here it is {policy_there}; leave one of them out.")
        return begin(source, out, config)

    opened = open_on_ranks(study, open_replay, device)
    use_device(opened.config, device)
    from loop.compute import from_main, is_main
    from loop.replay import progress, run

    last, done = from_main(lambda: progress(opened))
    from_main(lambda: print_plan(opened.config, opened, last - done, picked=True, quiet=json_))
    with turn_progress(last, done, quiet=json_ or not is_main()) as report:
        run(opened, out, report)
    if is_main():
        print_status(Study.open(out), as_json=json_)


def audit(
    studies: Annotated[
        list[str], typer.Argument(help="Two or more studies' folders; STUDY@T for a generation of its own.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the new study, in which people compare them.")],
    generation: Annotated[
        int | None, typer.Option(min=0, help="Of each study; left out: the last one of each.")
    ] = None,
    setting: Settings = None,
    seed: Seed = None,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Let people compare what came out of several studies, blind: makes a study of pairs, to be served.

    Nothing is trained in it. `curate report` then says which was preferred, with intervals.

    Example: `curate audit my-study by-dpo more-real --out audit --set stop.raters=40`

    Example: `curate audit my-study my-study@0 --out since-the-start`
    """
    use_threads(beside_app=False, small=False)
    from loop.auditing import audit_config, make_audit, open_entries

    entries = open_entries(studies, generation)
    try:
        config = audit_config(entries, setting or [], seed)
        use_device(config, device, quiet=json_)
        with phase_bars(quiet=json_) as report:
            opened = make_audit(entries, out, config, report)
    finally:
        for entry in entries:
            entry.study.store.close()
    print_status(opened, as_json=json_)
    if not json_:
        console.print(f"Look at {out / 'study.toml'}, then: curate serve {out}", markup=False, highlight=False)


def parse_flags(text: str | None) -> list[str] | None:
    """Flags from "a,b"; None where the option was left out.

    Raises:
        ValueError: there is no such flag.
    """
    if text is None:
        return None
    flags = [flag.strip() for flag in text.split(",") if flag.strip()]
    if unknown := [flag for flag in flags if flag not in FLAGS]:
        raise ValueError(f"There is no flag '{unknown[0]}'; choose from {', '.join(FLAGS)}.")
    return flags
