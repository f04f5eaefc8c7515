"""The `curate` command. Imports are inside the verbs, so that --help answers at once."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from curate_app.commands.browse import browse
from curate_app.commands.doctor import doctor
from curate_app.commands.export import export, import_
from curate_app.commands.fit import fit, plan
from curate_app.commands.invite import invite
from curate_app.commands.options import Checkpoint, check_checkpoint, with_checkpoint
from curate_app.commands.pretrain import pretrain
from curate_app.commands.replay import replay
from curate_app.commands.report import report
from curate_app.commands.reward import app as reward_app
from curate_app.commands.sweep import sweep
from curate_app.commands.theory import app as theory_app
from curate_app.launch import Device, open_on_ranks, use_device

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown", add_completion=False
)
app.add_typer(reward_app, name="reward")
app.add_typer(theory_app, name="theory")
app.command()(sweep)
app.command()(doctor)

StudyPath = Annotated[Path, typer.Argument(help="The study's folder.")]
Setting = Annotated[list[str] | None, typer.Option("--set", help="A setting as a.b=value; may be given again.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")]
Port = Annotated[int, typer.Option(min=1, max=65535)]
INTERRUPTED = 130
PRESET_HELP = "digits, moons, gaussians, cifar10, cifar10-small or folder."


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"curate {version('curate')}")
        raise typer.Exit


@app.callback()
def curate(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Ask people which of K generated images they like best, retrain the generator on their picks, see what changes."""


@app.command()
def demo(
    study: Annotated[Path, typer.Argument(help="Where the demo's study is kept.")] = Path("studies/demo"),
    host: Host = "127.0.0.1",
    port: Port = 7860,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """The digits study in your browser: pick, and watch the generator follow.

    Example: `curate demo --port 8000`
    """
    from curate_app.processes import check_port
    from loop.study import Study, configure

    check_port(host, port)
    if not study.exists():
        Study.create(study, configure("digits", ["app.reveal=true"])).store.close()
    _serve(study, host, port, worker=True, browser=browser)


@app.command()
def new(
    study: StudyPath,
    preset: Annotated[str, typer.Option(help=PRESET_HELP)],
    setting: Setting = None,
    seed: Annotated[int | None, typer.Option(help="Everything random comes from it.")] = None,
    checkpoint: Checkpoint = "",
) -> None:
    """Make a study; study.toml is written out in full.

    Example: `curate new my-study --preset digits --set curation.k=6`
    """
    from curate_app.console import out
    from loop.study import Study, configure

    config = configure(preset, with_checkpoint(setting, checkpoint), seed=seed)
    check_checkpoint(config, study)
    Study.create(study, config).store.close()
    out.print(f"Made {study}. Look at {study / 'study.toml'}, then: curate serve {study}")


@app.command()
def serve(
    study: StudyPath,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    worker: Annotated[bool, typer.Option(help="Start the worker too.")] = True,
) -> None:
    """Serve a study's pages, with its worker beside them.

    Example: `curate serve my-study --host 0.0.0.0`
    """
    from curate_app.processes import check_port

    check_port(host, port)
    _serve(study, host, port, worker=worker, browser=False)


@app.command()
def worker(
    study: StudyPath,
    once: Annotated[bool, typer.Option(help="Do what there is to do, then end.")] = False,
    device: Device = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Run a study's worker alone: it fills the slate pool and retrains.

    Example, in the GPU's terminal: `curate worker my-study`
    """
    from curate_app.processes import use_threads
    from loop.study import Study

    opened = open_on_ranks(study, lambda: Study.open(study), device)
    use_threads(beside_app=with_parent)
    found = use_device(opened.config, device, tell=False)
    from curate_app.worker_process import run_worker

    run_worker(opened, found, once=once, with_parent=with_parent)


@app.command()
def simulate(
    study: StudyPath,
    preset: Annotated[str | None, typer.Option(help=f"For a new study: {PRESET_HELP}")] = None,
    generations: Annotated[int | None, typer.Option(min=0, help="The last generation to make.")] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random comes from it.")] = None,
    setting: Setting = None,
    checkpoint: Checkpoint = "",
    device: Device = None,
    json_: Json = False,
) -> None:
    """Run the loop with simulated users; an interrupted run goes on with the same command.

    Example: `curate simulate s --preset digits --generations 5 --seed 0 --set reward.kind=class_prob
    --set reward.target=7`
    """
    from curate_app.commands.status import print_status
    from curate_app.console import turn_progress
    from curate_app.processes import use_threads
    from loop.study import Study, configure, open_or_create

    settings = with_checkpoint(setting, checkpoint)
    is_new = not study.exists()

    def make() -> Study:
        if preset is not None:
            check_checkpoint(configure(preset, settings, seed=seed), study, device)
        return open_or_create(study, preset, settings, seed=seed, generations=generations)

    opened = open_on_ranks(study, make, device)
    use_threads(beside_app=False, small=opened.config.network.kind == "mlp")
    use_device(opened.config, device, tell=not json_)
    from loop.compute import from_main, is_main
    from loop.simulate import simulate as run

    last = generations if generations is not None else opened.config.generations
    latest = from_main(lambda: opened.store.latest_cut())
    try:
        with turn_progress(last, latest[0] if latest else 0, quiet=json_ or not is_main()) as report:
            run(opened, last, report)
    except (ValueError, OSError, RuntimeError):
        if is_new and is_main():  # so that the same name, with settings put right, is free
            opened.discard_unbegun()
        raise
    if is_main():
        print_status(opened, as_json=json_)


@app.command()
def status(study: StudyPath, json_: Json = False) -> None:
    """Print the state of a study: generations, picks, the worker.

    Example: `curate status my-study --json`
    """
    from curate_app.commands.status import print_status
    from loop.study import Study

    print_status(Study.open(study), as_json=json_)


app.command()(report)
app.command()(pretrain)
app.command()(fit)
app.command()(plan)
app.command()(invite)
app.command()(export)
app.command("import")(import_)
app.command()(browse)
app.command()(replay)


@app.command()
def check(study: StudyPath, json_: Json = False) -> None:
    """Check a study: is it whole (database, images, checkpoints, counts), and do its picks follow the declared rule?

    Some samples of the last evaluation are drawn again from the checkpoint; other ones each time.

    Example: `curate check my-study`
    """
    import numpy as np

    from curate_app.commands.status import print_check
    from loop.evaluation import redrawn_evaluation
    from loop.selfcheck import self_checks
    from loop.study import Study, faults

    opened = Study.open(study)
    found, checks = faults(opened), self_checks(opened.store, opened.config)
    checks += redrawn_evaluation(opened, np.random.default_rng())
    print_check(study, found, checks, as_json=json_)
    if found or any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)


def main() -> None:
    """Runs the command line; an error is one sentence on stderr."""
    from curate_app.console import is_debug, run
    from curate_app.launch import on_ranks

    command: Any = typer.main.get_command(app)
    verb = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    sys.exit(run(lambda: on_ranks(lambda: _exit_quietly(command), verb), is_debug()))


def _exit_quietly(command: Any) -> None:
    # "--debug" is allowed after the verb as well as before it
    args = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        command(args)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:  # what Typer makes of Ctrl-C
            raise KeyboardInterrupt from None
        if leaving.code:
            raise


def _serve(path: Path, host: str, port: int, *, worker: bool, browser: bool) -> None:
    from contextlib import nullcontext

    from curate_app.console import out
    from curate_app.processes import admin_password, is_loopback, worker_beside
    from curate_app.web.failures import Health
    from data.secret_file import is_hash
    from loop.study import Study

    study = Study.open(path)
    if hardened := study.close_to_others():
        out.print(hardened, highlight=False, markup=False)
    settings = study.config.app
    password = admin_password(path, settings.password, host, proxied=bool(settings.trusted_proxies))
    health = Health(path)
    with worker_beside(study, health) if worker else nullcontext():  # it starts while gradio is imported
        from curate_app.web.app import build_app
        from curate_app.web.app import serve as serve_app

        url = f"http://{'localhost' if is_loopback(host) else host}:{port}"
        out.print(f"Raters:      [bold]{url}/[/bold]\nResearcher:  [bold]{url}/admin[/bold]")
        if password and (settings.password or is_hash(password)):
            out.print(f"Password:    the one you chose   (to change it, set app.password in {path / 'study.toml'})")
        elif password:
            out.print(f"Password:    {password}   (The password is in {path / 'secrets.toml'}, too.)")
        out.print("Ctrl-C stops; nothing is lost.")
        if browser:
            _open_soon(url)
        app = build_app(study, admin_open=password is None, password=password, health=health)
        serve_app(app, host, port, trusted_proxies=settings.trusted_proxies)


def _open_soon(url: str) -> None:
    import threading
    import webbrowser

    threading.Timer(1.0, webbrowser.open, [url]).start()
