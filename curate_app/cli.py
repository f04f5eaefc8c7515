"""The `curate` command: its verbs by name, each imported only when it is called, so that --help answers at once."""

import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from curate_app.console import is_debug, run, starting
from curate_app.launch import on_ranks

INTERRUPTED = 130
UNTIL_STOPPED = ("demo", "serve", "worker", "invite", "browse")  # they print at once, and other processes with them
VERBS = {  # name: where its function or group is, in curate_app.commands; and the first paragraph of its docstring
    "demo": ("serve:demo", "The flowers study in your browser: pick, and watch the generator follow."),
    "new": ("simulate:new", "Make a study; study.toml is written out in full."),
    "serve": ("serve:serve", "Serve a study's pages, with its worker beside them."),
    "worker": ("serve:worker", "Run a study's worker alone: it fills the slate pool and retrains."),
    "invite": (
        "serve:invite",
        'Make one-time links for a study whose `panel.kind` is "link": a CSV file, one link for each person.',
    ),
    "simulate": (
        "simulate:simulate",
        "Run the loop with simulated users; an interrupted run goes on with the same command.",
    ),
    "replay": (
        "simulate:replay",
        "Train other generators on a study's picks, from its generation 0: what if the mix or the rule were different?",
    ),
    "audit": (
        "simulate:audit",
        "Let people compare what came out of several studies, blind: makes a study of pairs, to be served.",
    ),
    "market": (
        "simulate:market",
        "Simulate two studies that train on each other's curated samples, too; an interrupted run goes on.",
    ),
    "sweep": (
        "sweep:sweep",
        "Simulate a study for each combination and seed, side by side; an interrupted sweep goes on with the same "
        "command.",
    ),
    "crowd": (
        "crowd:crowd",
        "Send simulated raters with stated tastes through a served study, and report load, flags and what `fit` "
        "recovers.",
    ),
    "status": ("status:status", "Print the state of a study: generations, picks, the worker."),
    "check": (
        "status:check",
        "Check a study: is it whole (database, images, checkpoints, counts), and do its picks follow the declared "
        "rule?",
    ),
    "report": (
        "report:report",
        "Report on a study, or compare several: report.html, one file that works offline and prints, and report.json.",
    ),
    "fit": ("fit:fit", "Fit Luce utilities to a study's picks, with intervals, and test the model behind them."),
    "plan": (
        "fit:plan",
        "Print how many raters and audit picks show a win rate of the latest generation against generation 0.",
    ),
    "export": ("export:export", "Write the choice log for other tools."),
    "import": (
        "export:import_",
        "Make a study of a long table, or of pairs from elsewhere, to analyse or train on, checked row by row first.",
    ),
    "browse": (
        "browse:browse",
        "Look at a study's tables in Datasette: read-only, with pictures, descriptions and ready-made queries.",
    ),
    "pretrain": (
        "pretrain:pretrain",
        "Train the generator that studies begin with, once for many; an interrupted run goes on with the same command.",
    ),
    "reward": ("pretrain:reward", "The classifier behind the rewards of images."),
    "theory": ("theory:theory", "Toy models of retraining on one's own samples, beside exact curves."),
    "doctor": (
        "status:doctor",
        "Print what a report of a problem needs: device, versions, optional parts, where studies and downloads lie.",
    ),
}


class Verb(TyperCommand):
    """A verb as --help lists it; its module is imported when its arguments are parsed."""

    def load(self) -> TyperCommand | TyperGroup:
        """The command itself."""
        module, _, attribute = VERBS[str(self.name)][0].partition(":")
        command = getattr(import_module(f"curate_app.commands.{module}"), attribute)
        if not isinstance(command, typer.Typer):
            alone = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown", add_completion=False)
            alone.command(self.name)(command)
            command = alone
        loaded: Any = typer.main.get_command(command)
        loaded.name = self.name
        return loaded

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parses the verb's arguments; the context's command is the loaded one, and a line says that it starts."""
        quiet = {"--json", "--help"} & {*args} or self.name in UNTIL_STOPPED or os.environ.get("RANK", "0") != "0"
        if parent is not None:
            parent.with_resource(starting.of(f"curate {self.name}", wanted=not quiet))
        return self.load().make_context(info_name, args, parent=parent, **extra)


class Verbs(TyperGroup):
    """All verbs."""

    def __init__(self, **attributes: Any):
        verbs = {name: Verb(name, help=summary) for name, (_, summary) in VERBS.items()}
        super().__init__(**{**attributes, "commands": verbs})


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)


def print_version(requested: bool) -> None:
    """Prints the installed version and ends, where --version was given."""
    if requested:
        typer.echo(f"curate {version('curate')}")
        raise typer.Exit


@app.callback()
def curate(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Ask people which of K generated images they like best, retrain the generator on their picks, see what changes."""


def main() -> None:
    """Runs the command line; an error is one sentence on stderr."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # it may stand after the verb, too
    verb = next((argument for argument in arguments if not argument.startswith("-")), "")
    sys.exit(run(lambda: on_ranks(lambda: invoke(arguments), verb), is_debug()))


def invoke(arguments: list[str]) -> None:
    """Calls a verb, and returns where it ends well.

    Raises:
        KeyboardInterrupt: Ctrl-C ended it.
        SystemExit: it ended with another exit code than 0.
    """
    try:
        typer.main.get_command(app)(arguments)
    except SystemExit as ending:
        if ending.code == INTERRUPTED:  # Typer turns Ctrl-C into this code
            raise KeyboardInterrupt from None
        if ending.code:
            raise
