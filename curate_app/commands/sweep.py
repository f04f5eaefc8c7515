"""`curate sweep`: one study for every combination of settings and every seed, and what came of them."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from curate_app.commands.options import PRESETS, Json
from curate_app.console import PHASES, PlainLines, bar_if_slow, duration, err, starting
from curate_app.console import out as console
from curate_app.plots.figures import phase_figures, svg_markup, sweep_figures
from curate_app.processes import worker_threads
from curate_app.report.files import write_comparison
from curate_app.report.pages import CONTRAST_HEADS
from loop.config import plain
from loop.evidence.retraining import retraining_claims, sentences
from loop.evidence.schema import Estimate
from loop.study import ERRORS, OnShare, Study
from loop.sweep.grid import (
    Cell,
    Sweep,
    describe,
    label,
    only_sweep,
    parse_grid,
    read,
    remove,
    requested_sweep,
    short_names,
    write,
)
from loop.sweep.results import Contrast, PhaseDiagram, Response, contrasts, phase_diagram, responses
from loop.sweep.run import Ended, OnEvent, Pace, Standing, Step, discard_unbegun, run, standing, threads_and_jobs

WINDOW_S = 120.0  # over which the speed is taken
COPYING = 0.2  # of a round: the cost of a generation 0 that is copied
REPORT = "report.html"


def sweep(
    folder: Annotated[Path, typer.Argument(metavar="STUDY_DIR", help="The folder of the sweep's studies.")],
    preset: Annotated[str | None, typer.Option(help=f"For a new sweep: {PRESETS}.")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting and the values it takes, as a.b=v1,v2; again for another. Lists: 'a.b=[[1,2],[3,4]]'."
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Studies of each combination, with seeds 0, 1, ...; 1 if left out.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of every study as a.b=value; may be given again.")
    ] = None,
    generations: Annotated[int | None, typer.Option(min=1, help="The last generation of each study.")] = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Beside each combination, on the same seeds: K = 1, which has no choice, and a generator that copies.",
        ),
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Studies at a time; left out: as many as the cores hold.")
    ] = None,
    json_: Json = False,
) -> None:
    """Simulate a study for each combination and seed, side by side; an interrupted sweep goes on with the same command.

    More values, seeds or controls extend a sweep. Each study is a folder of its own, for `curate status` and other
    verbs.

    Example: `curate sweep s --preset moons --grid curation.k=2,4,8 --grid mix.lam=inf,1 --seeds 3`

    Example: `curate sweep s --preset moons --grid curation.k=2,4 --seeds 3 --controls`

    Varied over `curation.adversarial` and a setting of the adversary's reward, it also draws the diagram of where
    improvement turns around: docs/beyond.md.
    """
    requested = requested_sweep(folder, preset, parse_grid(grid or ()), seeds, setting or (), generations, controls)
    if not run_sweep(folder, requested, jobs, as_json=json_):
        raise typer.Exit(1)


def run_sweep(folder: Path, sweep: Sweep, jobs: int | None, *, as_json: bool) -> bool:
    """Runs the studies of a sweep that are missing and reports on all; True if every study reached its end.

    Args:
        folder: of the sweep.
        sweep: its studies.
        jobs: studies at a time; None for as many as the cores hold.
        as_json: prints JSON.

    Raises:
        ValueError: the sweep is wrong, the folder holds other studies, or another process runs it; nothing is made.
    """
    began = time.monotonic()
    cells = sweep.cells()
    states = {cell.name: standing(folder, cell) for cell in cells}
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = worker_threads(beside_app=False)
    threads, jobs = threads_and_jobs(cells, jobs, cores, int(given) if given.isdecimal() and int(given) else None)
    if not as_json:
        console.print(plan_of(folder, sweep, states, min(jobs, len(cells))), highlight=False, markup=False)
    is_new = read(folder) is None and not any(state.exists for state in states.values())
    folder.mkdir(parents=True, exist_ok=True)
    with only_sweep(folder):
        write(folder, sweep)
        failed: dict[str, str] = {}
        if not all(state.reaches(sweep.last) for state in states.values()):
            with sweep_progress(cells, states, sweep.last, jobs, as_json) as report:
                failed = run(folder, cells, sweep.last, jobs, threads, report, plan=not as_json and err.is_terminal)
        # where no study could begin, the folder goes, so that the same command works once its settings are corrected
        is_gone = is_new and len(failed) == len(cells) and discard_unbegun(folder, cells)
        with bar_if_slow("comparing the studies", quiet=as_json) as on_share:
            answers = [] if is_gone else responses(folder, cells, sweep.last)
            beside = contrasts(folder, cells, sweep.last) if answers and sweep.controls else []
            diagram = phase_diagram(folder, cells, sweep.last) if answers else None
            drawn = write_results(folder, sweep, cells, answers, beside, diagram, on_share) if answers else ([], [])
            files, outcomes = drawn
        if is_gone:
            remove(folder)
    if as_json:
        seconds = round(time.monotonic() - began, 2)
        values = sweep_values(folder, sweep, cells, failed, answers)
        if sweep.controls:
            values["contrasts"] = [contrast_values(contrast) for contrast in beside]
        if diagram:
            values["phases"] = phase_values(diagram)
        values |= {"outcomes": outcomes, "files": [str(file) for file in files], "seconds": seconds}
        console.print_json(json.dumps(values, allow_nan=False))
    else:
        print_results(folder, cells, failed, answers, beside, outcomes, files)
    return not failed


def plan_of(folder: Path, sweep: Sweep, states: Mapping[str, Standing], jobs: int) -> str:
    """The studies to run, and how many of them are done or begun, in words."""
    done = sum(state.reaches(sweep.last) for state in states.values())
    begun = sum(state.t is not None for state in states.values()) - done
    progress = f"; {done} done, {begun} begun" if done or begun else ""
    many = "study" if len(states) == 1 else "studies"
    return (
        f"{len(states)} {many} in {folder}: {describe(sweep)}, {sweep.preset} to generation {sweep.last}, "
        f"{jobs} at a time{progress}."
    )


class Work:
    """The work of a sweep and how much of it is done, in rounds."""

    def __init__(self, cells: Sequence[Cell], states: dict[str, Standing], last: int):
        self.start, self.pretraining = {}, {}
        known = {cell.config.pretraining for cell in cells if states[cell.name].t is not None}
        for cell in cells:
            t = states[cell.name].t
            self.start[cell.name] = t or 0
            self.pretraining[cell.name] = 0.0 if t is not None else pretraining_cost(cell, known)
            known.add(cell.config.pretraining)
        self.last = last
        self.done = dict.fromkeys(self.start, 0.0)
        self.pretrained: set[str] = set()  # that were seen to train their generation 0

    @property
    def total(self) -> float:
        """All that is to be done."""
        return sum(self.total_of(name) for name in self.start)

    @property
    def completed(self) -> float:
        """The work done by now."""
        return sum(self.done.values())

    def seconds(self, pace: Pace, jobs: int) -> float:
        """About how long all of it takes at one study's pace, with so many at a time."""
        for name, rounds in self.pretraining.items():
            if rounds > COPYING:
                self.pretraining[name] = max(COPYING, pace.preparing_s / pace.round_s)
        totals = [total for name in self.start if (total := self.total_of(name))]
        return (pace.loading_s * len(totals) + pace.round_s * sum(totals)) / max(1, min(jobs, len(totals)))

    def report(self, cell: Cell, event: Step | Ended) -> None:
        """Records how far a study is; a study that failed has nothing left to do."""
        name = cell.name
        if isinstance(event, Ended) or event.phase == "judging":
            self.done[name] = self.total_of(name)
        elif event.phase in PHASES:
            if name not in self.pretrained:  # it was there already: a starter, a file
                self.pretraining[name] = min(self.pretraining[name], COPYING)
            _, start, length = PHASES[event.phase]
            turns = event.t - 1 - self.start[name] + start + length * event.share
            self.done[name] = self.pretraining[name] + max(0.0, turns)
        elif event.phase == "pretraining":
            self.pretrained.add(name)
            self.done[name] = self.pretraining[name] * event.share

    def total_of(self, name: str) -> float:
        """All that is to be done for one study."""
        return self.pretraining[name] + max(0, self.last - self.start[name])


@contextmanager
def sweep_progress(
    cells: Sequence[Cell], states: dict[str, Standing], last: int, jobs: int, quiet: bool
) -> Iterator[OnEvent]:
    """Shows one bar over the sweep, and a line for each study that ends; yields the function to report to.

    Args:
        cells: all studies.
        states: how far they are.
        last: generation of each.
        jobs: studies at a time.
        quiet: shows nothing.
    """
    columns = (
        TextColumn("{task.fields[ended]} of {task.fields[studies]} studies"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    work, running = Work(cells, states, last), dict[str, str]()
    ended = sum(state.reaches(last) for state in states.values())
    starting.end()
    with Progress(*columns, console=err, disable=quiet, speed_estimate_period=WINDOW_S) as bar:
        task = bar.add_task("", total=work.total or 1.0, ended=ended, studies=len(cells))
        lines = PlainLines(not quiet and not err.is_terminal)

        def report(cell: Cell, event: Step | Pace | Ended) -> None:
            nonlocal ended
            if isinstance(event, Pace):
                if event.round_s and not quiet:
                    bar.console.print(f"About {duration(work.seconds(event, jobs))} for all of them.")
                return
            work.report(cell, event)
            if isinstance(event, Ended):
                running.pop(cell.name, None)
                ended += event.error is None
                outcome = f"failed after {event.seconds:.0f} s" if event.error else f"done in {event.seconds:.0f} s"
                bar.console.print(f"{cell.name}: {outcome}", markup=False, highlight=False)
            else:
                phase = PHASES[event.phase][0] if event.phase in PHASES else event.phase
                running[cell.name] = f"{cell.name}: {phase} t = {event.t}"
            bar.update(
                task,
                completed=work.completed,
                total=work.total or 1.0,
                ended=ended,
                description="  ".join(running.values()),
            )
            lines.show("sweep", f"{ended} of {len(cells)} studies", min(1.0, work.completed / (work.total or 1.0)))

        yield report


def pretraining_cost(cell: Cell, known: set[str]) -> float:
    """The cost of a study's generation 0, in rounds.

    Args:
        cell: the study.
        known: the pretrainings that some study has done by then, so that it is copied.
    """
    if cell.config.pretraining in known:
        return COPYING
    train = cell.config.train
    return max(COPYING, PHASES["training"][2] * train.pretrain_steps / train.finetune_steps)


def write_results(
    folder: Path,
    sweep: Sweep,
    cells: Sequence[Cell],
    answers: Sequence[Response],
    beside: Sequence[Contrast],
    diagram: PhaseDiagram | None,
    on_share: OnShare,
) -> tuple[list[Path], list[str]]:
    """Writes the figures, and the page that compares the studies that are done.

    Returns:
        The paths, and sentences on adversaries and on retraining without choice, where that is what they do.
    """
    doses = [answer for answer in answers if not answer.control]
    figures = sweep_figures(folder, doses) if doses else []
    done = [folder / cell.name for cell in cells if standing(folder, cell).reaches(sweep.last)]
    studies = [Study.open(path) for path in done]
    caption = (
        "Marks: measured, with 95% intervals over seeds; dashed: predicted from generation 0 by the exact operator."
    )
    drawn = [("Dose and response", caption, svg_markup(figures[0]))] if figures else []
    outcomes = []
    if diagram:
        outcomes = [diagram.words(t) for t in diagram.frontier]
        phases = phase_figures(folder, diagram)
        drawn.insert(0, ("Adversaries: where improvement turns around", " ".join(outcomes), svg_markup(phases[0])))
        figures += phases
    if len(studies) < 2:
        return figures, outcomes
    try:
        evidences = write_comparison(
            studies,
            folder / REPORT,
            title=f"Sweep: {describe(sweep)}",
            figures=drawn,
            controls=[(contrast_cells(contrast), contrast_values(contrast)) for contrast in beside],
            on_share=on_share,
        )
    finally:
        for study in studies:
            study.store.close()
    outcomes += sentences(retraining_claims(evidences))
    return [*figures, folder / REPORT, (folder / REPORT).with_suffix(".json")], outcomes


def phase_values(diagram: PhaseDiagram) -> dict[str, Any]:
    """A phase diagram in plain values; `direction` is 1 where E[r] has risen, -1 fallen, 0 where it can't be told."""
    cells = [
        {
            **{key: getattr(cell, key) for key in ("adversary", "share", "covariance", "seeds")},
            "generations": [
                {"t": t, "change": change.model_dump(), "predicted": cell.predicted[t], "direction": cell.direction(t)}
                for t, change in cell.changes.items()
            ],
        }
        for cell in diagram.cells
    ]
    frontier = [
        {"t": t, "covariance": covariance, "share": share}
        for t, points in diagram.frontier.items()
        for covariance, share in points
    ]
    return {"cells": cells, "frontier": frontier}


def contrast_values(contrast: Contrast) -> dict[str, Any]:
    """A combination beside one of its controls in plain values."""
    values = {key: getattr(contrast, key) for key in asdict(contrast)}
    return {key: value.model_dump() if isinstance(value, Estimate) else value for key, value in values.items()}


def contrast_cells(contrast: Contrast) -> list[str]:
    """The same as cells of a table: combination, control, seeds, both gains, and the difference."""
    own, its, beyond = contrast.gain, contrast.control_gain, contrast.beyond
    difference = f"{beyond.value:.4g} ({beyond.low:.3g} to {beyond.high:.3g})".replace("-", "−")
    gains = (plus_minus(some).replace("-", "−") for some in (own, its))
    return [contrast.name, contrast.control, str(contrast.seeds), *gains, difference]


def print_results(
    folder: Path,
    cells: Sequence[Cell],
    failed: Mapping[str, str],
    answers: Sequence[Response],
    beside: Sequence[Contrast],
    outcomes: Sequence[str],
    files: Sequence[Path],
) -> None:
    """Prints the responses, the controls, what came of retraining without choice, the files, and why studies failed."""
    if answers:
        console.print(responses_table(answers))
        if any(answer.language for answer in answers):
            console.print(language_table(answers))
    if beside:
        table = Table(title="Gain of E\\[w] beside the controls, on the same seeds; 95%")
        for head in CONTRAST_HEADS:
            table.add_column(escape(head), justify="right", overflow="fold")
        for contrast in beside:
            table.add_row(*map(escape, contrast_cells(contrast)))
        console.print(table)
    for outcome in outcomes:
        console.print(outcome, highlight=False, markup=False)
    for file in files:
        if file.suffix in (".html", ".svg"):
            console.print(f"Wrote {file}.", highlight=False, markup=False)
    if failed:
        again = "the same command tries them again" if folder.exists() else "nothing of them was kept"
        err.print(f"{len(failed)} of {len(cells)} studies failed; {again}:", markup=False)
    for name, error in failed.items():
        log = folder / name / ERRORS
        err.print(f"  {name}: {error.rstrip('.')}.{f' More in {log}' if log.exists() else ''}", markup=False)


def responses_table(answers: Sequence[Response]) -> Table:
    """A row per combination: measured over seeds, and predicted."""
    names = short_names(list(answers[0].values))
    table = Table(title=f"Generation {answers[0].t}; 95% intervals over seeds; predicted from generation 0")
    named = any(answer.control for answer in answers)
    heads = ("seeds", "mean reward", "predicted", r"gain of E\[w]", "predicted", "transmission")
    for name in (*names.values(), *["control"] * named, *heads):
        table.add_column(name, justify="right", overflow="fold")
    for answer in answers:
        table.add_row(
            *(label(value) for value in answer.values.values()),
            *[answer.control] * named,
            str(answer.seeds),
            plus_minus(answer.mean_reward),
            "" if answer.mean_reward_predicted is None else f"{answer.mean_reward_predicted:.4g}",
            plus_minus(answer.gain),
            "" if answer.gain_predicted is None else f"{answer.gain_predicted:.4g}",
            plus_minus(answer.transmission) if answer.transmission else "",
        )
    return table


def language_table(answers: Sequence[Response]) -> Table:
    """A row per combination with the figures of texts, over seeds."""
    names = short_names(list(answers[0].values))
    table = Table(title=f"Texts of generation {answers[0].t}; 95% intervals over seeds")
    figures = list(dict.fromkeys(name for answer in answers for name in answer.language))
    named = any(answer.control for answer in answers)
    for name in (*names.values(), *["control"] * named, *figures):
        table.add_column(name, justify="right")
    for answer in answers:
        measured = [answer.language.get(name) for name in figures]
        table.add_row(
            *(label(value) for value in answer.values.values()),
            *[answer.control] * named,
            *(plus_minus(x) if x else "" for x in measured),
        )
    return table


def plus_minus(estimate: Estimate) -> str:
    """A value and half the width of its interval."""
    return f"{estimate.value:.4g} ± {(estimate.high - estimate.low) / 2:.2g}"


def sweep_values(
    folder: Path, sweep: Sweep, cells: Sequence[Cell], failed: Mapping[str, str], answers: Sequence[Response]
) -> dict[str, Any]:
    """The sweep, its studies and the responses in plain values."""
    studies = [
        {
            "study": cell.name,
            "path": str(folder / cell.name),
            "values": plain(dict(cell.values)),
            **({"control": cell.control} if sweep.controls else {}),
            "seed": cell.config.seed,
            "generation": standing(folder, cell).t,
            "error": failed.get(cell.name),
        }
        for cell in cells
    ]
    rows = []
    for answer in answers:
        estimates = {key: getattr(answer, key) for key in asdict(answer)}
        estimates["language"] = {name: some.model_dump() for name, some in answer.language.items()}
        rows.append({key: x.model_dump() if isinstance(x, Estimate) else x for key, x in estimates.items()})
    return {
        "sweep": str(folder),
        "preset": sweep.preset,
        "generations": sweep.last,
        "studies": studies,
        "responses": [plain(row) for row in rows],
    }
