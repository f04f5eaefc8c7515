"""The bar over a whole sweep: how much is done, the time left, which studies run now, and what each came to."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from curate_app.console import PHASES, err
from loop.sweep.grid import Cell
from loop.sweep.run import Ended, Report, Standing, Step

if TYPE_CHECKING:
    from rich.progress import Progress

WINDOW_S = 120.0  # over which the speed is taken
COPYING = 0.2  # of a turn: what a generation 0 that is copied costs


class Work:
    """How much of a sweep is done, in turns."""

    def __init__(self, cells: Sequence[Cell], found: dict[str, Standing], last: int):
        self.start, self.pretraining = {}, {}
        known = {cell.config.pretraining for cell in cells if found[cell.name].t is not None}
        for cell in cells:
            t = found[cell.name].t
            self.start[cell.name] = t or 0
            self.pretraining[cell.name] = 0.0 if t is not None else _pretraining(cell, known)
            known.add(cell.config.pretraining)
        self.last = last
        self.done = dict.fromkeys(self.start, 0.0)

    @property
    def total(self) -> float:
        """All that is to be done."""
        return sum(self._of(name) for name in self.start)

    @property
    def completed(self) -> float:
        """What has been done by now."""
        return sum(self.done.values())

    def report(self, cell: Cell, what: Step | Ended) -> None:
        """Takes note of what a study is at; one that failed has nothing left to do."""
        name = cell.name
        if isinstance(what, Ended) or what.phase == "judging":
            self.done[name] = self._of(name)
        elif what.phase in PHASES:
            _, start, length = PHASES[what.phase]
            turns = what.t - 1 - self.start[name] + start + length * what.share
            self.done[name] = self.pretraining[name] + max(0.0, turns)
        elif what.phase == "pretraining":
            self.done[name] = self.pretraining[name] * what.share

    def _of(self, name: str) -> float:
        return self.pretraining[name] + max(0, self.last - self.start[name])


@contextmanager
def sweep_progress(cells: Sequence[Cell], found: dict[str, Standing], last: int, quiet: bool) -> Iterator[Report]:
    """Shows one bar over the sweep, and a line for each study that ends; gives the function to report to.

    Args:
        cells: all studies.
        found: how far they are.
        last: generation of each.
        quiet: shows nothing.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[ended]} of {task.fields[studies]} studies"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    work, running = Work(cells, found, last), dict[str, str]()
    ended = sum(state.reaches(last) for state in found.values())
    with Progress(*columns, console=err, disable=quiet, speed_estimate_period=WINDOW_S) as bar:
        task = bar.add_task("", total=work.total or 1.0, ended=ended, studies=len(cells))

        def report(cell: Cell, what: Step | Ended) -> None:
            nonlocal ended
            work.report(cell, what)
            if isinstance(what, Ended):
                running.pop(cell.name, None)
                ended += what.error is None
                _tell(bar, cell, what)
            else:
                running[cell.name] = f"{cell.name}: {_at(what)}"
            bar.update(task, completed=work.completed, ended=ended, description="  ".join(running.values()))

        yield report


def _tell(bar: "Progress", cell: Cell, what: Ended) -> None:
    said = f"failed after {what.seconds:.0f} s" if what.error else f"done in {what.seconds:.0f} s"
    bar.console.print(f"{cell.name}: {said}", markup=False, highlight=False)


def _at(step: Step) -> str:
    name = PHASES[step.phase][0] if step.phase in PHASES else step.phase
    return f"{name} t = {step.t}"


def _pretraining(cell: Cell, known: set[str]) -> float:
    """What the first generation costs, in turns."""
    if cell.config.pretraining in known:
        return COPYING
    train = cell.config.train
    return max(COPYING, PHASES["training"][2] * train.pretrain_steps / train.finetune_steps)
