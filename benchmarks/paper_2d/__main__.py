"""Runs the paper's two-dimensional experiments again and writes docs/reproduction.md: `make paper-2d`.

The studies are two sweeps, so that a run that was interrupted goes on; the document and its figures are made from the
studies' evidence alone.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.machine import commit, machine
from benchmarks.paper_2d.arms import EXPERIMENTS, Arm, arms_of, sweep_of
from benchmarks.paper_2d.figures import draw_all
from benchmarks.paper_2d.words import answer, failures, findings, pm, verdict_rows
from curate_app.commands.sweep import run_sweep
from curate_app.console import is_debug, out, run
from curate_app.processes import worker_threads
from loop.sweep.grid import requested_sweep
from loop.sweep.run import standing

HERE = Path(__file__).parent
SECONDS = "seconds.json"  # what the studies took, over all runs that it took to make them


def main() -> None:
    """Runs what is missing, then writes the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("studies/paper-2d"), help="where the studies are kept")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where reproduction.md is written")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, help="studies at a time; as many as there are cores")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="other settings, to try it out")
    options = parser.parse_args()
    jobs = options.jobs or worker_threads(beside_app=False)
    for name in EXPERIMENTS:
        _run(options.folder / name, name, options, jobs)
    arms = [
        arm
        for name in EXPERIMENTS
        for arm in arms_of(options.folder / name, sweep_of(name, options.seeds, options.settings))
    ]
    for path in [*draw_all(options.docs / "images" / "reproduction", arms), _write(options, arms, jobs)]:
        out.print(f"Wrote {path}.", highlight=False)


def _run(folder: Path, name: str, options: argparse.Namespace, jobs: int) -> None:
    planned = sweep_of(name, options.seeds, options.settings)
    sweep = requested_sweep(folder, name, planned.grid, options.seeds, options.settings, None)
    missing = [cell for cell in sweep.cells() if not standing(folder, cell).reaches(sweep.last)]
    began = time.monotonic()
    try:
        if not run_sweep(folder, sweep, jobs, as_json=False):
            raise RuntimeError(f"Not all studies of {folder} could be made; run this again")
    finally:
        if missing:
            _add_seconds(folder, time.monotonic() - began, anew=len(missing) == len(sweep.cells()))


def _add_seconds(folder: Path, seconds: float, anew: bool) -> None:
    file = folder / SECONDS
    before = 0.0 if anew or not file.exists() else float(json.loads(file.read_text()))
    file.write_text(json.dumps(before + seconds))


def _write(options: argparse.Namespace, arms: Sequence[Arm], jobs: int) -> Path:
    """Fills the template with the arms' figures."""
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters["commas"] = lambda n: f"{n:,}"
    path = options.docs / "reproduction.md"
    path.write_text(environment.get_template("reproduction.md.jinja").render(_content(options, arms, jobs)))
    return path


def _content(options: argparse.Namespace, arms: Sequence[Arm], jobs: int) -> dict[str, Any]:
    by_name = {name: [arm for arm in arms if arm.name == name] for name in EXPERIMENTS}
    seconds = [float(json.loads((options.folder / name / SECONDS).read_text())) for name in EXPERIMENTS]
    return {
        "arms": arms,
        "by_name": by_name,
        "m": by_name["moons"][0].config,
        "g": by_name["gaussians"][0].config,
        "experiments": EXPERIMENTS,
        "answer": answer(arms),
        "findings": findings(arms),
        "verdicts": verdict_rows(arms),
        "failures": failures(arms),
        "predicted_w": lambda arm: arm.over(
            lambda generation: generation.predicted_from_start and generation.predicted_from_start.mean_w
        )[-1],
        "pm": pm,
        "seeds": options.seeds,
        "studies": sum(len(arm.studies) for arm in arms),
        "evaluated": f"{arms[0].studies[0].generations[0].n_evaluated:,}",
        "minutes": sum(seconds) / 60,
        "jobs": jobs,
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "software": f"curate {version('curate')}{commit()}, torch {version('torch')}",
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as each study's process has
    raise SystemExit(run(main, is_debug()))
