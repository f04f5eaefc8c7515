"""The edge of the command line: its progress, and errors as one sentence with an exit code."""

import math
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from data.errors import StorageFault, storage_fault

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import TaskID

    from loop.setup import Plan


class Starting:
    """A line at a terminal that says what a command is doing, before its first bar or printed line takes its place.

    It stands on stderr and leaves nothing behind. Torch alone takes seconds to load.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.line: Live | None = None
        self.words, self.wanted, self.began, self.clock = "", False, 0.0, clock

    @contextmanager
    def of(self, words: str, *, wanted: bool) -> Iterator[None]:
        """Shows the line until the block ends, or something is printed; later ones come by `show`.

        Args:
            words: for what is being done.
            wanted: False for a command that is to be quiet. Without a terminal there is no line either.
        """
        self.wanted, self.began = wanted and err.is_terminal, self.clock()
        try:
            self.show(words)
            yield
        finally:
            self.wanted = False
            self.end()

    def show(self, words: str) -> None:
        """Says what is being done now."""
        self.words = words
        if self.wanted and self.line is None:
            from rich.live import Live

            options = {"redirect_stdout": False, "redirect_stderr": False, "refresh_per_second": 5}
            self.line = Live(
                console=Console(stderr=True, highlight=False), transient=True, get_renderable=self.render, **options
            )
            self.line.start()

    def render(self) -> str:
        """The line; nothing of a command in its first half second, in which many end."""
        seconds = self.clock() - self.began
        return f"[dim]{escape(self.words)} … {seconds:.0f} s[/dim]" if seconds > QUICK_S else ""

    def seconds(self, began: float) -> float:
        """Seconds since the command began, or else since `began`."""
        return self.clock() - (self.began if self.wanted else began)

    def end(self) -> None:
        """Takes the line away."""
        line, self.line = self.line, None
        if line is not None:
            line.stop()


class Terminal(Console):
    """A console whose first printed line takes the place of the one that says that a command is starting."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as rich's does."""
        starting.end()
        super().print(*objects, **options)


starting = Starting()
out = Terminal()
err = Terminal(stderr=True, soft_wrap=True, highlight=False)

ADVICE: dict[StorageFault | None, str] = {
    "locked": "another program has it locked; wait for that program or end it, then try again",
    "full": "make room on the disk and try again; nothing is lost",
    "readonly": "check the owner and the permissions of its folder, and that its file system isn't mounted read-only",
    "unreadable": "check that its folder can be read and written, or copy the study to a folder that can",
    "corrupt": "copy the folder to a safe place, then restore a backup",
}
PLAIN_EVERY_S = 30.0
QUICK_S = 0.5  # a command that takes no longer has no line
EARLY_S, SHORT_S = 3.0, 5.0  # on a terminal a first line comes so soon, of work that takes so much longer
ESTIMATED_S = 2.0  # work that takes so long has an estimate
MINUTE_S = 60.0
PHASES = {  # of a round: the name shown, where it begins, and its length, as shares of the round's time
    "curating": ("picking", 0.0, 0.15),
    "training": ("training", 0.15, 0.8),
    "publishing": ("measuring", 0.95, 0.05),
}


def run(command: Callable[[], object], debug: bool) -> int:
    """Runs the command line and gives the exit code: 2 for bad input, 1 for failure, 130 for Ctrl-C."""
    try:
        command()
    except KeyboardInterrupt:
        err.print("Stopped. Nothing is lost; the same command resumes from here.")
        return 130
    except (ValueError, OSError, RuntimeError, sqlite3.Error) as error:
        if debug:
            raise
        err.print(f"Error: {sentence(error)}", markup=False)
        return 2 if isinstance(error, ValueError | OSError) else 1
    return 0


def sentence(error: Exception) -> str:
    """An error's message on one line, with a full stop; of the study's database, with advice."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, sqlite3.DatabaseError):
        advice = ADVICE.get(storage_fault(error), "run `curate check`")
        text = f"the study's database failed: {text}; {advice}"
    return text if text.endswith((".", "?", "!")) else text + "."


class PlainLines:
    """Progress as plain lines on stderr, one every half minute: for a log, where a bar would show nothing.

    Args:
        wanted: False where there is a bar, or nothing is to be shown; then nothing is printed.
        early: prints a line of work that begins as soon as its pace is known: for a terminal without a bar.
        clock: seconds.
    """

    def __init__(self, wanted: bool, *, early: bool = False, clock: Callable[[], float] = time.monotonic):
        self.wanted, self.early, self.clock = wanted, early, clock
        self.announced: set[str] = set()  # the work that had its early line
        self.began: dict[str, tuple[float, float, float]] = {}  # when, the first share, the last
        self.printed = clock()

    def show(self, name: str, words: str, share: float) -> None:
        """Prints how far it is and the time left, if half a minute has passed.

        Args:
            name: of the work that `share` is of; its pace is that since the first call.
            words: for what is being done.
            share: done of it, from 0 to 1.
        """
        now = self.clock()
        began, first, last = self.began.get(name, (now, share, share))
        if share < last:  # the same kind of work again
            began, first = now, share
            self.announced.discard(name)
        self.began[name] = began, first, share
        left_s = (now - began) * (1 - share) / (share - first) if share > first else math.nan
        is_early = self.early and name not in self.announced and now - began >= EARLY_S and left_s >= SHORT_S
        if not self.wanted or not (is_early or now - self.printed >= PLAIN_EVERY_S):
            return
        self.printed = now
        self.announced.add(name)
        left = f", about {duration(left_s)} left" if share > first else ""
        err.print(f"{words}: {share:.0%}{left}", markup=False)


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def plan_line(plan: "Plan", steps: int) -> str:
    """One line on work that takes over a minute: what is to be done, on what, how long, what to set for less.

    Args:
        plan: of the study.
        steps: of the training of generation 0; 1 of a model that counts.
    """
    if plan.seconds < MINUTE_S:
        return ""
    unit = f"images of {plan.shape[-1]} x {plan.shape[-2]} pixels" if len(plan.shape) == 3 else "points"
    unit = f"texts of {plan.shape[0]} tokens" if plan.are_texts else unit
    parts = []
    if plan.parts:
        parts.append(f"{' and '.join(plan.training)} on {plan.n:,} {unit}, about {duration(plan.preparing_s)}")
    if plan.rounds:
        parts.append(f"{plan.rounds} generation{'s' * (plan.rounds > 1)} by picks, about {duration(plan.round_s)} each")
    longest = max([*plan.parts.items(), ("rounds", plan.rounds * plan.round_s)], key=lambda part: part[1])[0]
    less = {
        "pretraining": f"train.pretrain_steps={max(1, steps // 2)}",
        "evaluating": "evaluation.samples lower",
        "rounds": "train.finetune_steps (with train.restart, train.pretrain_steps) or curation.picks lower, "
        "or generations",
    }.get(longest, f"{longest}.epochs lower")
    if steps == 1:
        less = "curation.picks or evaluation.samples lower, or generations"
    return f"To be done on {plan.device}: {'; then '.join(parts)}. For less, set {less}."


@contextmanager
def turn_progress(
    generations: int, done: int, quiet: bool, studies: int = 1
) -> Iterator[Callable[[str, int, int], None]]:
    """A bar over all rounds to come, with the current phase and the time left; yields the function to report to.

    Args:
        generations: the last t.
        done: generations after the first that exist already.
        quiet: shows nothing.
        studies: that are trained in each round, one after another.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    starting.end()
    with Progress(*columns, console=err, disable=quiet) as bars:
        rounds = max(generations - done, 1) * studies
        turns = bars.add_task("starting", total=rounds)
        lines = PlainLines(not quiet and not bars.console.is_terminal)
        preparing: dict[str, int] = {}
        published = 0

        def report(phase: str, step: int, total: int) -> None:
            nonlocal published
            share = step / total if total else 0.0
            if phase not in PHASES:
                task = preparing.setdefault(phase, -1)
                if task < 0:
                    task = preparing[phase] = int(bars.add_task(phase, total=1.0))
                bars.update(task, completed=share)  # type: ignore[arg-type]
                lines.show(phase, phase, share)
                return
            for task in preparing.values():
                bars.update(task, visible=False)  # type: ignore[arg-type]
            name, start, length = PHASES[phase]
            completed = published + start + length * share
            words = f"generation {min(done + published // studies + 1, generations)} of {generations}: {name}"
            bars.update(turns, completed=completed, description=words)
            lines.show("generations", words, min(1.0, completed / rounds))
            published += int(phase == "publishing" and share == 1)

        yield report
        bars.update(turns, description=f"generation {generations} of {generations}: done")


@contextmanager
def phase_bars(*, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar with the time left for each phase that is reported; yields the function to report to.

    Args:
        quiet: shows nothing.
    """
    from rich.progress import Progress

    bars = Progress(console=err, disable=quiet)
    lines = PlainLines(not quiet and not bars.console.is_terminal)
    tasks: dict[str, TaskID] = {}

    def report(phase: str, done: int, total: int) -> None:
        if not tasks:
            starting.end()
            bars.start()
        if phase not in tasks:
            tasks[phase] = bars.add_task(phase)
        bars.update(tasks[phase], completed=done, total=total)
        lines.show(phase, phase, done / total if total else 0.0)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


@contextmanager
def bar_if_slow(title: str, quiet: bool = False) -> Iterator[Callable[[float], None]]:
    """Shows a bar with the time left once two seconds look likely; yields the function to report the share done to.

    They count from the start of the command, whose line says what is being done until then. Where there is no
    terminal, plain lines take its place.
    """
    from rich.progress import BarColumn, Progress, TextColumn

    began = time.monotonic()
    starting.show(title)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("about {task.fields[left]} left"))
    bars = Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal)
    task = bars.add_task(title, total=1.0, left="")
    lines, started = PlainLines(not quiet and not err.is_terminal), False

    def report(share: float) -> None:
        nonlocal started
        so_far = time.monotonic() - began
        left = so_far * (1 - share) / share if share else math.inf
        if not started and so_far > 0.3 and left >= 0.5 and ESTIMATED_S < starting.seconds(began) + left < math.inf:
            starting.end()
            bars.start()
            started = True
        bars.update(task, completed=share, left=duration(left) if share else "…")
        lines.show(title, title, share)

    try:
        yield report
    finally:
        if started:
            bars.stop()


def is_debug() -> bool:
    """True if --debug is anywhere on the command line."""
    return "--debug" in sys.argv[1:]
