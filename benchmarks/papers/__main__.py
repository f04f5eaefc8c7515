"""Runs the three papers' experiments again and writes what came of them: `make papers`, `make papers-full`.

Each section can be run alone (`--only`), goes on where it was stopped, and isn't run twice. The documents are written
from what is there: docs/reproduction-seddik.md and docs/reproduction-gerstgrasser.md; docs/reproduction.md is
`make paper-2d`'s.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.machine import commit, machine
from benchmarks.papers import words
from benchmarks.papers.exact import measure, study_band
from benchmarks.papers.figures import Panel, draw
from benchmarks.papers.sections import EXPERIMENTS, SECTIONS, Arm, Scale
from curate_app.console import is_debug, out, run
from curate_app.processes import worker_threads
from loop.sweep.run import standing

HERE = Path(__file__).parent
DOCUMENTS = ("reproduction-seddik.md", "reproduction-gerstgrasser.md")
BAND = "band.json"
PANELS: dict[str, list[Panel]] = {
    "gpt-seddik": [
        ("L1 of next-token laws from t = 1", words.l1, 2),
        ("cross-entropy of held-out text", words.entropy, 0),
        ("share of the rarest tenth of tokens", words.rare, 0),
    ],
    "gpt-gerstgrasser": [
        ("cross-entropy of held-out text", words.entropy, 0),
        ("share of the rarest tenth of tokens", words.rare, 0),
    ],
    "vae": [
        ("Fréchet distance", words.fd, 0),
        ("recall", words.recall, 0),
        ("effective classes", words.effective_classes, 0),
    ],
}


def main() -> None:
    """Runs what is missing of the sections, then writes the documents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SECTIONS), help="a section; may be given again")
    parser.add_argument("--write", action="store_true", help="run nothing; write the documents from what is there")
    parser.add_argument("--full", action="store_true", help="the papers' sizes, for a night or a GPU")
    parser.add_argument("--folder", type=Path, help="where the studies are; studies/papers, or studies/papers-full")
    parser.add_argument(
        "--docs", type=Path, help="where the documents are written; docs, or with --full the studies' folder"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--generations", type=int, help="fewer than the papers' of each study, to try it out")
    parser.add_argument("--repetitions", type=int, default=2_000, help="of the toy models")
    parser.add_argument("--jobs", type=int, help="studies at a time; as many as there are cores")
    options = parser.parse_args()
    options.scale = "full" if options.full else "small"
    options.folder = options.folder or Path("studies/papers-full" if options.full else "studies/papers")
    options.docs = options.docs or (options.folder if options.full else Path("docs"))
    jobs = options.jobs or worker_threads(beside_app=False)
    options.folder.mkdir(parents=True, exist_ok=True)
    for section in () if options.write else options.only or SECTIONS:
        run_section(section, options, jobs)
    content = contents(options, jobs)
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters["commas"] = lambda n: f"{n:,}"
    options.docs.mkdir(parents=True, exist_ok=True)
    for name, panels in PANELS.items():
        if content["arms"][name]:
            path = options.docs / "images" / "reproduction" / f"{name}.png"
            out.print(f"Wrote {draw(path, content['arms'][name], panels)}.", highlight=False)
    for name in DOCUMENTS:
        path = options.docs / name
        path.write_text(environment.get_template(f"{name}.jinja").render(content))
        out.print(f"Wrote {path}.", highlight=False)


def run_section(section: str, options: argparse.Namespace, jobs: int) -> None:
    """Makes what is missing of one section."""
    out.print(f"{section}:", highlight=False)
    if section == "exact":
        file = options.folder / "exact.json"
        if not file.exists():
            began = time.monotonic()
            figures = measure(options.repetitions, on_section=lambda name: out.print(f"  {name}", highlight=False))
            write_json(file, {**figures, "seconds": time.monotonic() - began})
    elif section == "2d":
        folder = "studies/paper-2d" if options.folder == Path("studies/papers") else str(options.folder / "2d")
        command = [sys.executable, "-m", "benchmarks.paper_2d", "--folder", folder, "--docs", str(options.docs)]
        subprocess.run([*command, "--seeds", str(options.seeds), "--jobs", str(jobs)], check=True)
    for name in SECTIONS[section]:
        experiment = EXPERIMENTS[name]
        sweep = experiment.sweep(options.scale, options.seeds, options.generations)
        experiment.run(options.folder / name, sweep, jobs)
        if name == "ngram":
            points = study_band(options.folder / name, sweep)
            rows = [
                {**{key: getattr(point, key) for key in point.__slots__}, "inside": point.is_inside} for point in points
            ]
            write_json(options.folder / name / BAND, rows)


def write_json(path: Path, values: Any) -> None:
    """Writes values, whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(values, indent=1, default=float))
    draft.replace(path)


def contents(options: argparse.Namespace, jobs: int) -> dict[str, Any]:
    """The values that fill the documents' fields, from the results that are there."""
    scale: Scale = options.scale
    arms: dict[str, Sequence[Arm]] = {}
    done = {}
    for name, experiment in EXPERIMENTS.items():
        folder = options.folder / name
        sweep = experiment.sweep(scale, options.seeds, options.generations)
        arms[name] = experiment.arms(folder, sweep) if folder.exists() else []
        cells = sweep.cells()
        states = [standing(folder, cell) for cell in cells]
        reached, least = sum(state.reaches(sweep.last) for state in states), min(state.t or 0 for state in states)
        rest = f"; all have got to generation {least}" if reached < len(cells) and least else ""
        done[name] = f"{reached} of {len(cells)} studies have got to generation {sweep.last}{rest}"
    exact, band = options.folder / "exact.json", options.folder / "ngram" / BAND
    return {
        "words": words,
        "arms": arms,
        "done": done,
        "exact": json.loads(exact.read_text()) if exact.exists() else None,
        "band": json.loads(band.read_text()) if band.exists() else None,
        "scale": scale,
        "seeds": options.seeds,
        "jobs": jobs,
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "software": f"curate {version('curate')}{commit()}, torch {version('torch')}",
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as each study's process has
    raise SystemExit(run(main, is_debug()))
