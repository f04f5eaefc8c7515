"""The run of `curate sweep`: its plan, one bar over all studies, the figure and the report."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from curate_app.console import PHASES, err, out
from curate_app.processes import worker_threads
from loop.config import plain
from loop.evidence.schema import Estimate
from loop.study import ERRORS, Study
from loop.sweep.grid import Cell, Sweep, describe, label, only_sweep, read, remove, short_names, write
from loop.sweep.results import Response, responses
from loop.sweep.run import Ended, OnEvent, Standing, Step, discard_unbegun, run, standing, threads_and_jobs

if TYPE_CHECKING:
    from rich.progress import Progress

WINDOW_S = 120.0  # over which the speed is taken
COPYING = 0.2  # of a turn: what a generation 0 that is copied costs
REPORT = "report.html"


class Work:
    """The share of a sweep that is done, in turns."""

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
        """The work done by now."""
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
def sweep_progress(cells: Sequence[Cell], found: dict[str, Standing], last: int, quiet: bool) -> Iterator[OnEvent]:
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
    """The cost of the first generation, in turns."""
    if cell.config.pretraining in known:
        return COPYING
    train = cell.config.train
    return max(COPYING, PHASES["training"][2] * train.pretrain_steps / train.finetune_steps)


def run_sweep(folder: Path, sweep: Sweep, jobs: int | None, *, as_json: bool) -> bool:
    """Runs what isn't there yet of a sweep and reports on all of it; says whether every study is at its end.

    Raises:
        ValueError: the sweep is wrong, the folder holds other studies, or another process runs it; nothing is made.
    """
    began = time.monotonic()
    cells = sweep.cells()
    found = {cell.name: standing(folder, cell) for cell in cells}
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = worker_threads(beside_app=False)
    threads, jobs = threads_and_jobs(cells, jobs, cores, int(given) if given.isdecimal() and int(given) else None)
    if not as_json:
        out.print(_plan(folder, sweep, found, min(jobs, len(cells))), highlight=False, markup=False)
    is_new = read(folder) is None and not any(state.exists for state in found.values())
    folder.mkdir(parents=True, exist_ok=True)
    with only_sweep(folder):
        write(folder, sweep)
        failed = _run(folder, cells, found, sweep.last, jobs, threads, quiet=as_json)
        # the same name, with settings put right, is to be free
        is_gone = is_new and len(failed) == len(cells) and discard_unbegun(folder, cells)
        with err.status("comparing the studies") as _:
            answers = [] if is_gone else responses(folder, cells, sweep.last)
            files = _write_report(folder, sweep, cells, answers) if answers else []
        if is_gone:
            remove(folder)
    if as_json:
        seconds = round(time.monotonic() - began, 2)
        out.print_json(json.dumps(_as_json(folder, sweep, cells, failed, answers, files, seconds), allow_nan=False))
    else:
        _print(folder, cells, failed, answers, files)
    return not failed


def _plan(folder: Path, sweep: Sweep, found: Mapping[str, Standing], jobs: int) -> str:
    done = sum(state.reaches(sweep.last) for state in found.values())
    begun = sum(state.t is not None for state in found.values()) - done
    known = f"; {done} done, {begun} begun" if done or begun else ""
    many = "study" if len(found) == 1 else "studies"
    return (
        f"{len(found)} {many} in {folder}: {describe(sweep)}, {sweep.preset} to generation {sweep.last}, "
        f"{jobs} at a time{known}."
    )


def _run(
    folder: Path,
    cells: Sequence[Cell],
    found: dict[str, Standing],
    last: int,
    jobs: int,
    threads: int,
    *,
    quiet: bool,
) -> dict[str, str]:

    if all(state.reaches(last) for state in found.values()):
        return {}
    with sweep_progress(cells, found, last, quiet) as report:
        return run(folder, cells, last, jobs, threads, report)


def _write_report(folder: Path, sweep: Sweep, cells: Sequence[Cell], answers: Sequence[Response]) -> list[Path]:
    """The figure, and the page that compares the studies that are done."""
    from curate_app.plots.sweep import markup, save
    from curate_app.report.files import write_comparison

    figures = save(folder, answers)
    done = [folder / cell.name for cell in cells if standing(folder, cell).reaches(sweep.last)]
    studies = [Study.open(path) for path in done]
    caption = (
        "Marks: measured, with 95% intervals over seeds; dashed: predicted from generation 0 by the exact operator."
    )
    if len(studies) < 2:
        return figures
    try:
        write_comparison(
            studies,
            folder / REPORT,
            title=f"Sweep: {describe(sweep)}",
            figures=[("Dose and response", caption, markup(figures[0]))],
        )
    finally:
        for study in studies:
            study.store.close()
    return [*figures, folder / REPORT, (folder / REPORT).with_suffix(".json")]


def _print(
    folder: Path, cells: Sequence[Cell], failed: Mapping[str, str], answers: Sequence[Response], files: Sequence[Path]
) -> None:
    if answers:
        out.print(_table(answers))
    for file in files:
        if file.suffix in (".html", ".svg"):
            out.print(f"Wrote {file}.", highlight=False, markup=False)
    if failed:
        again = "the same command tries them again" if folder.exists() else "nothing of them was kept"
        err.print(f"{len(failed)} of {len(cells)} studies failed; {again}:", markup=False)
    for name, error in failed.items():
        log = folder / name / ERRORS
        err.print(f"  {name}: {error.rstrip('.')}.{f' More in {log}' if log.exists() else ''}", markup=False)


def _table(answers: Sequence[Response]) -> Table:
    names = short_names(list(answers[0].values))
    table = Table(title=f"Generation {answers[0].t}; 95% intervals over seeds; predicted from generation 0")
    for name in (*names.values(), "seeds", "mean reward", "predicted", r"gain of E\[w]", "predicted", "transmission"):
        table.add_column(name, justify="right")
    for one in answers:
        table.add_row(
            *(label(value) for value in one.values.values()),
            str(one.seeds),
            _pm(one.mean_reward),
            _number(one.mean_reward_predicted),
            _pm(one.gain),
            _number(one.gain_predicted),
            _pm(one.transmission) if one.transmission else "",
        )
    return table


def _pm(found: Estimate) -> str:
    return f"{found.value:.4g} ± {(found.high - found.low) / 2:.2g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _as_json(
    folder: Path,
    sweep: Sweep,
    cells: Sequence[Cell],
    failed: Mapping[str, str],
    answers: Sequence[Response],
    files: Sequence[Path],
    seconds: float,
) -> dict[str, Any]:
    studies = [
        {
            "study": cell.name,
            "path": str(folder / cell.name),
            "values": plain(dict(cell.values)),
            "seed": cell.config.seed,
            "generation": standing(folder, cell).t,
            "error": failed.get(cell.name),
        }
        for cell in cells
    ]
    return {
        "sweep": str(folder),
        "preset": sweep.preset,
        "generations": sweep.last,
        "studies": studies,
        "responses": [plain(_estimates(one)) for one in answers],
        "files": [str(file) for file in files],
        "seconds": seconds,
    }


def _estimates(one: Response) -> dict[str, Any]:
    return {
        key: getattr(one, key).model_dump() if isinstance(getattr(one, key), Estimate) else value
        for key, value in asdict(one).items()
    }
