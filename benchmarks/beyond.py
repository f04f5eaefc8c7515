"""False alarms and power of the tests that only a loop with people makes: an exploited proxy, and drifting tastes.

    make beyond                                     # 200 studies a row, ten minutes; writes docs/beyond-power.md
    python -m benchmarks.beyond --studies 50 --out t.md

Simulated studies of known truth, in memory (`simulated_proxies.py`); seeds are fixed, shares have exact 95% limits.
"""

import argparse
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from scipy.stats import beta
from threadpoolctl import threadpool_limits

from benchmarks.machine import commit, machine
from benchmarks.simulated_proxies import DriftStudy, ProxyStudy, simulate, simulate_drift

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


def proxy_verdict(task: tuple[str, int]) -> tuple[str, str]:
    """The verdict of one study: its row and the word."""
    return task[0], simulate(PROXIES[task[0]], task[1]).verdict


def drift_verdicts(task: tuple[str, bool, int]) -> tuple[str, bool, str]:
    """The verdict of one study, on raters where each comes once, else on picks."""
    name, once, seed = task
    raters, picks = simulate_drift(replace(DRIFTS[name], once=once), seed)
    return name, once, (raters if once else picks).verdict


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
    ]  # fmt: skip
    options.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
