"""`curate status`, `curate check` and `curate doctor`: the state of a study, and of the machine it runs on."""

import json
import platform
import sqlite3
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.table import Table

from curate_app.commands.options import Json, StudyPath
from curate_app.console import bar_if_slow, duration, out
from curate_app.report.tables import KINDS
from data.downloads import default_cache
from data.records import Generation
from data.store import queries
from loop.raters.journey import picks_progress, worker_status
from loop.registration import standing_words
from loop.selfcheck import VERDICTS, Check, self_checks
from loop.study import Study, faults

PACKAGES = ("curate", "torch", "torchvision", "torchcfm", "accelerate", "gradio", "sqlite-utils", "numpy")
OTHER_ANSWERS = {
    "none": "none of these", "skip": "skipped", "timeout": "timed out", "tie": "both as good (one of the two trains)",
    "practice": "practice", "undone": "taken back",
}  # fmt: skip
OPTIONAL = {
    "datasette": "`curate browse`; pip install 'curate[browse]'",
    "torch-fidelity": "features by Inception; pip install 'curate[fidelity]'",
    "timm": "features by DINOv2; pip install 'curate[fidelity]'",
}


def status(study: StudyPath, json_: Json = False) -> None:
    """Print the state of a study: generations, picks, the worker.

    Example: `curate status my-study --json`
    """
    print_status(Study.open(study), as_json=json_)


def print_status(study: Study, *, as_json: bool) -> None:
    """Prints the study's generations, picks and worker."""
    state = status_of(study)
    if as_json:
        out.print_json(json.dumps(state))
        return
    generations = study.store.generations()
    measured = [generation.measurements for generation in generations]
    extractor = next((distances.features for row in measured if (distances := row.distances)), "")
    has_judge = any(row.judge for row in measured)
    title = f"{study.path}  ({study.config.preset or 'own settings'}, seed {study.config.seed})"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)  # 80 columns do
    columns = ["t", "real", "curated", "mean reward,\n95%"]
    if any(row.language for row in measured):
        n = next(row.language.distinct_n[-1:] for row in measured if row.language) or (1,)
        columns += ["perplexity", "L1 from\nt = 0", f"distinct\n{n[0]}-grams", "rare\ntokens"]
    else:
        columns += ["largest\nclass", "NN"]
    columns += [f"FD\n({extractor})"] if extractor else []
    columns += ["judge's\nreward"] if has_judge else []
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for generation in generations:
        table.add_row(*table_row(generation, bool(extractor), has_judge))
    out.print(table)
    for t, source in enumerate(study.sources):
        out.print(f"t = {t}: {source.words}", markup=False, highlight=False)
    picks = ", ".join(f"{n:,} {KINDS[kind]}" for kind, n in state["picks"].items()) or "none"
    other = ", ".join(f"{n:,} {OTHER_ANSWERS[outcome]}" for outcome, n in state["other_answers"].items())
    done, left_s = state["worker"]["done"], state["worker"]["left_s"]
    worker, command = state["worker"]["phase"], state["worker"]["command"].capitalize()
    if done is not None:
        worker += f" ({done:.0%}{'' if left_s is None else f', about {duration(left_s)} left'})"
    out.print(f"Picks: {picks}.  {f'Not counted as picks: {other}.  ' if other else ''}{command}: {worker}.")
    if state["registration"]:
        out.print(state["registration"], markup=False, highlight=False)


def table_row(generation: Generation, distance: bool, judge: bool) -> list[str]:
    """The cells of one generation.

    Args:
        generation: measured.
        distance: appends the Fréchet distance.
        judge: appends the mean reward by the judge.
    """
    measurements = generation.measurements
    reward, shares = measurements.mean_reward, measurements.class_shares or (0.0,)
    largest, ratio = max(range(len(shares)), key=shares.__getitem__), measurements.nn_ratio
    cells = [
        str(generation.t),
        f"{generation.n_real:,}",
        f"{generation.n_curated:,}",
        f"{reward.value:.3f} ± {1.96 * reward.se:.3f}" if reward else "",
    ]
    if by := measurements.language:
        perplexity = "∞" if by.no_mass else "" if by.perplexity is None else f"{by.perplexity:.3g}"
        moved = "" if by.l1_first is None else f"{by.l1_first.value:.3f}"
        last = f"{by.distinct[-1]:.1%}" if by.distinct else ""
        cells += [perplexity, moved, last, f"{by.rare_share.value:.1%}"]
    else:
        cells.append(f"{(measurements.class_names or ('',))[largest]} {shares[largest]:.1%}")
        cells.append("" if ratio is None else f"{ratio:.2f}")
    if distance:
        fd = measurements.distances.fd if measurements.distances else None
        cells.append("" if fd is None else f"{fd:.4g}")
    if judge:
        cells.append(f"{measurements.judge.mean_reward.value:.3f}" if measurements.judge else "")
    return cells


def status_of(study: Study) -> dict[str, Any]:
    """The study in plain values: path, preset, generations (t, counts, metrics), picks, progress, worker.

    A pick names a sample of a slate that isn't practice; all other answers are counted apart, by outcome.
    """
    picks: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for row in queries.tally(study.store):
        outcome = "practice" if row["purpose"] == "practice" else row["outcome"]
        if outcome == "pick":
            picks[row["kind"]] += row["n"]
        else:
            other[outcome] += row["n"]
    other.update({"undone": n} if (n := sum(row["n"] for row in queries.undone_tally(study.store))) else {})
    progress = picks_progress(study.store, study.config)
    return {
        "study": str(study.path),
        "preset": study.config.preset,
        "seed": study.config.seed,
        "sources": [source.words for source in study.sources],
        "generations": [generation_values(generation) for generation in study.store.generations()],
        "picks": dict(picks),
        "other_answers": dict(other),
        "progress": {"done": progress.done, "total": progress.total},
        "registration": standing_words(study),
        "worker": worker_status(study.store),
    }


def generation_values(generation: Generation) -> dict[str, Any]:
    """A generation in plain values."""
    return {
        "t": generation.t,
        "parent_t": generation.parent_t,
        "checkpoint_sha256": generation.checkpoint_sha256,
        "n_real": generation.n_real,
        "n_curated": generation.n_curated,
        "policy": generation.policy,
        "published_at": generation.published_at,
        "metrics": generation.measurements.as_json(),
    }


def check(study: StudyPath, json_: Json = False) -> None:
    """Check a study: is it whole (database, images, checkpoints, counts), and do its picks follow the declared rule?

    Some samples of the last evaluation, and of slates, are drawn again from checkpoints; other ones each time.

    Example: `curate check my-study`
    """
    from loop.evaluation import redrawn  # torch, which the other verbs here needn't wait for

    opened = Study.open(study)
    with bar_if_slow("checking", quiet=json_) as report:
        violations = faults(opened, lambda share: report(0.2 * share))
        checks = self_checks(opened.store, opened.config, lambda share: report(0.2 + 0.5 * share))
        checks += redrawn(opened, np.random.default_rng())
    print_check(study, violations, checks, as_json=json_)
    if violations or any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)


def print_check(path: Path, violations: Sequence[str], checks: Sequence[Check], *, as_json: bool) -> None:
    """Prints the faults of a study, the tally of its self-checks, and in full each check that didn't pass."""
    if as_json:
        report = {"study": str(path), "faults": list(violations), "checks": [check.as_json() for check in checks]}
        out.print_json(json.dumps(report))
        return
    wrong = [*violations, *(f"{check.name}: {check.sentence}" for check in checks if check.verdict == "fail")]
    out.print(f"{len(wrong)} fault(s) in {path}:" if wrong else f"{path} is sound.")
    for fault in wrong:
        out.print(f"  - {fault}", markup=False)
    tally = Counter(check.verdict for check in checks)
    out.print(f"Self-check: {', '.join(f'{tally[verdict]} {verdict}' for verdict in VERDICTS if tally[verdict])}.")
    for check in checks:
        if check.verdict == "suspicious" or (check.verdict == "pass" and check.t is None):
            out.print(f"  [{check.verdict}] {check.name}: {check.sentence}", markup=False)


def doctor(
    folder: Annotated[Path, typer.Argument(help="Where to look for studies.")] = Path("studies"),
    json_: Json = False,
) -> None:
    """Print what a report of a problem needs: device, versions, optional parts, where studies and downloads lie.

    Example: `curate doctor`
    """
    from loop.compute import hardware  # torch

    studies = sorted(str(path.parent) for path in folder.glob("*/study.toml"))
    report: dict[str, Any] = {
        "device": hardware(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
        "versions": {name: installed_version(name) for name in PACKAGES},
        "optional": {name: installed_version(name) for name in OPTIONAL},
        "studies": studies,
        "downloads": str(default_cache()),
    }
    if json_:
        out.print_json(json.dumps(report))
        return
    lines = [
        f"Device:     {report['device']}",
        f"Python:     {report['python']}, SQLite {report['sqlite']}, {report['platform']}",
        *(f"{name + ':':<16}{number or 'not installed'}" for name, number in report["versions"].items()),
        *(
            f"{name + ':':<16}{number or f'not installed ({OPTIONAL[name]})'}"
            for name, number in report["optional"].items()
        ),
        f"Studies:    {len(studies)} in {folder.resolve()}" if studies else f"Studies:    none in {folder.resolve()}",
        *(f"            {path}" for path in studies),
        f"Downloads:  {report['downloads']}",
    ]
    out.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None where it isn't installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
