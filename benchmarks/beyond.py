"""False alarms and power of what only a loop with people can show: an exploited proxy, drifting tastes, taste groups.

    make beyond                                     # 200 studies a row, half an hour; writes docs/beyond-power.md
    python -m benchmarks.beyond --studies 50 --out t.md

Simulated studies of known truth, in memory (`simulated_proxies.py`, `simulated_raters.py`); seeds are fixed, and shares
have exact 95% limits.
"""

import argparse
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import beta
from threadpoolctl import threadpool_limits

from benchmarks.machine import commit, machine
from benchmarks.simulated_proxies import DriftStudy, ProxyStudy, simulate, simulate_drift
from benchmarks.simulated_raters import GroupOutcome, GroupStudy, judge_groups

UNDECIDED = "can't tell"
DOCUMENT = Path(__file__).parents[1] / "docs" / "beyond-power.md"
PROXIES = {
    "honest": ProxyStudy(),
    "honest, tastes that differ by 0.8": ProxyStudy(spread=0.8),
    "honest, strong taste": ProxyStudy(strength=2.0),
    "honest, 8 raters of 8 picks and 8 audits": ProxyStudy(raters=8, picks=8, audits=8),
    "honest, 14 factors": ProxyStudy(factors=14),
    "honest, 100 raters, tastes that differ by 0.8": ProxyStudy(raters=100, spread=0.8),
    "blind, loses 0.25 a unit": ProxyStudy(blind=0.25),
    "blind, loses 0.5 a unit": ProxyStudy(blind=0.5),
    "blind, loses 1 a unit": ProxyStudy(blind=1.0),
    "blind, loses 1 a unit, tastes that differ by 0.8": ProxyStudy(blind=1.0, spread=0.8),
    "blind, loses 1 a unit, 8 raters of 8 and 8": ProxyStudy(blind=1.0, raters=8, picks=8, audits=8),
}
DRIFTS = {
    "steady": DriftStudy(),
    "steady, tastes that differ by 0.8": DriftStudy(spread=0.8),
    "steady, strong taste": DriftStudy(strength=2.0),
    "β = 0.2": DriftStudy(beta=0.2),
    "β = 0.4": DriftStudy(beta=0.4),
    "β = 0.4, strong taste": DriftStudy(beta=0.4, strength=2.0),
    "β = 0.4, strong taste, 5 generations": DriftStudy(beta=0.4, strength=2.0, generations=5),
}


GROUPS = {
    "one taste": GroupStudy(),
    "one, raters differ by 0.3": GroupStudy(spread=0.3),
    "one, raters differ by 0.8": GroupStudy(spread=0.8),
    "one, strength differs (0.5 in log)": GroupStudy(scale=0.5),
    "one, strong taste": GroupStudy(strength=2.0),
    "one, 14 factors, raters differ by 0.3": GroupStudy(factors=14, spread=0.3),
    "one, 12 raters of 20 picks": GroupStudy(raters=12, picks=20, spread=0.3),
    "two, half and half": GroupStudy(shares=(0.5, 0.5), alike=0.0),
    "two, raters differ by 0.3": GroupStudy(shares=(0.5, 0.5), alike=0.0, spread=0.3),
    "two, four in five and one in five": GroupStudy(shares=(0.8, 0.2), alike=0.0, spread=0.3),
    "two, opposite tastes, 7 in 10": GroupStudy(shares=(0.7, 0.3), alike=-1.0, spread=0.3),
    "two, tastes half alike (cosine 0.5)": GroupStudy(shares=(0.5, 0.5), alike=0.5, spread=0.3),
    "two, 14 factors": GroupStudy(shares=(0.5, 0.5), alike=0.0, factors=14, spread=0.3),
    "two, 12 raters of 20 picks": GroupStudy(shares=(0.5, 0.5), alike=0.0, raters=12, picks=20, spread=0.3),
    "two, 100 raters of 40 picks": GroupStudy(shares=(0.8, 0.2), alike=0.0, raters=100, spread=0.3),
    "three": GroupStudy(shares=(0.4, 0.3, 0.3), alike=0.0),
}


def proxy_verdict(task: tuple[str, int]) -> tuple[str, str]:
    """The verdict of one study: its row and the word."""
    return task[0], simulate(PROXIES[task[0]], task[1]).verdict


def drift_verdicts(task: tuple[str, bool, int]) -> tuple[str, bool, str]:
    """The verdict of one study, on raters where each comes once, else on picks."""
    name, once, seed = task
    raters, picks = simulate_drift(replace(DRIFTS[name], once=once), seed)
    return name, once, (raters if once else picks).verdict


def groups_of(task: tuple[str, int]) -> tuple[str, GroupOutcome]:
    """The groups that one study shows: its row and the outcome."""
    return task[0], judge_groups(GROUPS[task[0]], task[1])


def group_row(name: str, outcomes: list[GroupOutcome]) -> str:
    """The row of a kind of study with groups."""
    n, planted = len(outcomes), len(GROUPS[name].shares)
    numbers = [outcome.number for outcome in outcomes]
    cells = [share(numbers.count(1), n), share(numbers.count(2), n), share(sum(number > 2 for number in numbers), n)]
    right = [
        f"{100 * np.mean([row.right for row in outcomes]):.0f}",
        f"{np.mean([row.agreement for row in outcomes]):.2f}",
    ]
    cells += right if planted > 1 else ["", ""]
    for held in ("coefficients", "gains"):
        rows = [row for outcome in outcomes for row in getattr(outcome, held)]
        cells.append(f"{100 * np.mean(rows):.1f} of {len(rows):,}" if rows else "")
    clear, rightly = sum(row.clear for row in outcomes), sum(row.rightly for row in outcomes)
    return f"| {' | '.join([name, *cells, f'{rightly:,} of {clear:,}'])} |"


def share(hits: int, n: int) -> str:
    """A share in per cent with its exact 95% limits (Clopper and Pearson 1934)."""
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return f"{100 * hits / n:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Runs the rows, and writes the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="a row")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    n, started = options.studies, time.monotonic()
    with ProcessPoolExecutor(options.processes, initializer=threadpool_limits, initargs=(1,)) as pool:
        proxies = Counter(pool.map(proxy_verdict, [(name, i) for name in PROXIES for i in range(n)], chunksize=10))
        tasks = [(name, once, i) for name in DRIFTS for once in (True, False) for i in range(n)]
        drifts = Counter(pool.map(drift_verdicts, tasks, chunksize=10))
        grouped: dict[str, list[GroupOutcome]] = {name: [] for name in GROUPS}
        for name, outcome in pool.map(groups_of, [(name, i) for name in GROUPS for i in range(n)], chunksize=5):
            grouped[name].append(outcome)
    minutes = (time.monotonic() - started) / 60
    lines = [
        "# False alarms and power of the tests on a loop with people", "",
        f"Simulated studies of known truth, {n} a row. Written by `make beyond` (in {minutes:.1f} minutes, {machine()}"
        f"{commit()}); don't edit it. Shares are in per cent with exact 95% limits. What the tests are: "
        "[beyond.md](beyond.md).", "",
        "## Is the proxy being exploited?", "",
        "20 raters, each with 15 picks (of 4) a generation and 15 audit pairs from generation 1 on, 3 generations, 6 "
        "factors, a common taste of length 1 from which raters differ by 0.3 along each factor, unless the row says "
        "otherwise. The proxy is fitted to all picks so far, and each round moves the generator along it. *Honest*: "
        "the proxy sees all that people see. *Blind*: with every unit that the generator moves it gains something that "
        "the proxy doesn't see and people like less.", "",
        "| study | named, % | can't tell, % |", "|---|---|---|",
        *(f"| {name} | {share(proxies[name, 'found'], n)} | {share(proxies[name, UNDECIDED], n)} |"
          for name in PROXIES), "",
        "## Do tastes drift toward what is shown?", "",
        "The same crowd, whose tastes are drawn each round toward the mean of what the generator shows, by β "
        "(arXiv 2610.09415). *Raters*: each comes in one generation, and later ones are held against earlier ones. "
        "*Picks*: all come in every generation, and their later picks are held against their earlier ones.", "",
        "| study | raters: found, % | picks: found, % |", "|---|---|---|",
        *(f"| {name} | {share(drifts[name, True, 'found'], n)} | {share(drifts[name, False, 'found'], n)} |"
          for name in DRIFTS), "",
        "## Who is optimised? Taste groups", "",
        "30 raters with 40 picks (of 4), a quarter in each of 4 generations, 6 factors, tastes of length 1, those of "
        "groups at right angles, unless the row says otherwise. *Differ by 0.3*: each rater's taste strays from the "
        "group's by a normal error of that standard deviation along each factor. The common fit moves the generator. "
        "*Placed*: raters who are where most of their group are (where groups are lost in one, the larger's share). "
        "*Rand*: the adjusted Rand index. *Held*: 95% intervals of coefficients, and of gains since generation 0, "
        "that held the truth, in studies whose number was right. *Signs*: of the gains at the last generation whose "
        "interval excludes 0, those with the true sign.", "",
        "| study | one, % | two, % | more, % | placed, % | Rand | coefficients held, % | gains held, % | signs |",
        "|---|---|---|---|---|---|---|---|---|",
        *(group_row(name, outcomes) for name, outcomes in grouped.items()), "",
    ]  # fmt: skip
    options.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
