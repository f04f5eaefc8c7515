"""The output of `curate status` and `curate check`."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from curate_app.console import out
from curate_app.report.tables import KINDS
from data.measurements import Measurements
from data.records import Generation
from data.store import queries
from loop.raters.journey import picks_progress, worker_status
from loop.selfcheck import VERDICTS, Check
from loop.study import Study

OTHER_ANSWERS = {"none": "none of these", "skip": "skipped", "timeout": "timed out", "practice": "practice"}


def print_status(study: Study, *, as_json: bool) -> None:
    """Prints the study's generations, picks and worker."""
    found = status_of(study)
    if as_json:
        out.print_json(json.dumps(found))
        return
    generations = study.store.generations()
    title = f"{study.path}  ({study.config.preset or 'own settings'}, seed {study.config.seed})"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)  # 80 columns do
    extractor = next((by.features for one in generations if (by := one.measurements.distances)), "")
    for column in ("t", "real", "curated", "mean reward,\n95%", "largest\nclass", "NN"):
        table.add_column(column, justify="right", no_wrap=True)
    if extractor:
        table.add_column(f"FD\n({extractor})", justify="right", no_wrap=True)
    judged = any(one.measurements.judge for one in generations)
    if judged:
        table.add_column("judge's\nreward", justify="right", no_wrap=True)
    for generation in generations:
        extra = [_distance(generation.measurements)] if extractor else []
        table.add_row(*_cells(generation), *extra, *([_judged(generation.measurements)] if judged else []))
    out.print(table)
    picks = ", ".join(f"{n:,} {KINDS[kind]}" for kind, n in found["picks"].items()) or "none"
    other = ", ".join(f"{n:,} {OTHER_ANSWERS[outcome]}" for outcome, n in found["other_answers"].items())
    out.print(
        f"Picks: {picks}.  {f'Not counted as picks: {other}.  ' if other else ''}Worker: {found['worker']['phase']}."
    )


def status_of(study: Study) -> dict[str, Any]:
    """The study in plain values: path, preset, generations (t, counts, metrics), picks by kind, progress, worker.

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
    progress = picks_progress(study.store, study.config)
    return {
        "study": str(study.path),
        "preset": study.config.preset,
        "seed": study.config.seed,
        "generations": [_generation(generation) for generation in study.store.generations()],
        "picks": dict(picks),
        "other_answers": dict(other),
        "progress": {"done": progress.done, "total": progress.total},
        "worker": worker_status(study.store),
    }


def print_check(path: Path, faults: Sequence[str], checks: Sequence[Check], *, as_json: bool) -> None:
    """Prints what `curate check` found: faults, the self-check's verdicts, and what didn't pass in full."""
    if as_json:
        found = {"study": str(path), "faults": list(faults), "checks": [check.as_json() for check in checks]}
        out.print_json(json.dumps(found))
        return
    odd = [check for check in checks if check.verdict in ("fail", "suspicious")]
    wrong = [*faults, *(f"{check.name}: {check.sentence}" for check in odd if check.verdict == "fail")]
    out.print(f"{len(wrong)} fault(s) in {path}:" if wrong else f"{path} is sound.")
    for fault in wrong:
        out.print(f"  - {fault}", markup=False)
    tally = Counter(check.verdict for check in checks)
    out.print(f"Self-check: {', '.join(f'{tally[verdict]} {verdict}' for verdict in VERDICTS if tally[verdict])}.")
    for check in checks:
        if check.verdict == "suspicious" or (check.verdict == "pass" and check.t is None):
            out.print(f"  [{check.verdict}] {check.name}: {check.sentence}", markup=False)


def _generation(generation: Generation) -> dict[str, Any]:
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


def _cells(generation: Generation) -> list[str]:
    measurements = generation.measurements
    reward, shares = measurements.mean_reward, measurements.class_shares or (0.0,)
    top, ratio = max(range(len(shares)), key=shares.__getitem__), measurements.nn_ratio
    return [
        str(generation.t),
        f"{generation.n_real:,}",
        f"{generation.n_curated:,}",
        f"{reward.value:.3f} ± {1.96 * reward.se:.3f}" if reward else "",
        f"{(measurements.class_names or ('',))[top]} {shares[top]:.1%}",
        "" if ratio is None else f"{ratio:.2f}",
    ]


def _judged(measurements: Measurements) -> str:
    return f"{measurements.judge.mean_reward.value:.3f}" if measurements.judge else ""


def _distance(measurements: Measurements) -> str:
    fd = measurements.distances.fd if measurements.distances else None
    return "" if fd is None else f"{fd:.4g}"
