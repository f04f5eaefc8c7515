"""`curate replay`: other generators on the picks of a study that there is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate_app.launch import Device, open_on_ranks, use_device

if TYPE_CHECKING:
    from loop.config import StudyConfig


def replay(
    study: Annotated[Path, typer.Argument(help="The study whose picks train.")],
    out: Annotated[Path, typer.Option(help="Where the new study is to be.")],
    policy: Annotated[str | None, typer.Option(help="mix, replace, accumulate or accumulate_subsample.")] = None,
    lam: Annotated[float | None, typer.Option(help="mix: curated : real; inf trains on picks only.")] = None,
    exclude_picks: Annotated[
        str | None, typer.Option(help="Picks with one of these flags don't train: a,b; '' for none.")
    ] = None,
    exclude_raters: Annotated[
        str | None, typer.Option(help="Nor do picks of raters with one of these flags: a,b; '' for none.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of training as a.b=value; may be given again.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Other randomness in training.")] = None,
    device: Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")] = False,
) -> None:
    """Train other generators on a study's log, from its generation 0: what if the mix or the rule had been another?

    Run it again after an interruption and it goes on.

    Example: `curate replay my-study --out more-real --lam 0.25`
    """
    from curate_app.commands.status import print_status
    from curate_app.console import turn_progress
    from curate_app.processes import use_threads
    from loop.study import Study

    def make() -> Study:
        source = Study.open(study)
        config = _config(source.config, policy, lam, exclude_picks, exclude_raters, setting or [], seed)
        use_threads(beside_app=False, small=config.network.kind == "mlp")
        from loop.replay import begin

        return begin(source, out, config)

    made = open_on_ranks(study, make, device)
    use_device(made.config, device)
    from loop.compute import from_main, is_main
    from loop.replay import run, turns
    from loop.round import latest_t

    last, done = from_main(lambda: (len(turns(made)), latest_t(made)))
    with turn_progress(last, done, quiet=json_ or not is_main()) as report:
        run(made, out, report)
    if is_main():
        print_status(Study.open(out), as_json=json_)


def _config(
    source: "StudyConfig",
    policy: str | None,
    lam: float | None,
    exclude_picks: str | None,
    exclude_raters: str | None,
    settings: list[str],
    seed: int | None,
) -> "StudyConfig":
    from loop.replay import replayed_config

    given = {
        "mix.policy": policy,
        "mix.lam": lam,
        "quality.exclude_picks": _flags(exclude_picks),
        "quality.exclude_raters": _flags(exclude_raters),
        "train.finetune_seed": seed,
    }
    config = replayed_config(source, settings, given)
    if lam is not None and config.mix.policy != "mix":
        raise ValueError(f"--lam goes with the policy mix, and here it is {config.mix.policy}; leave one of them out.")
    return config


def _flags(text: str | None) -> list[str] | None:
    from loop.config import FLAGS

    if text is None:
        return None
    flags = [flag.strip() for flag in text.split(",") if flag.strip()]
    wrong = [flag for flag in flags if flag not in FLAGS]
    if wrong:
        raise ValueError(f"There is no flag '{wrong[0]}'; choose from {', '.join(FLAGS)}.")
    return flags
