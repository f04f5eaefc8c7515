"""False alarms and power of all that goes beyond the theorem: proxies, tastes, taste groups, more than the mean.

    make beyond                                     # 200 studies a row, two hours; writes docs/beyond-power.md
    python -m benchmarks.beyond --studies 50 --only mean
    python -m benchmarks.beyond --studies 50 --out t.md

Simulated studies of known truth, in memory (`simulated_proxies.py`, `simulated_raters.py`, `simulated_studies.py`);
seeds are fixed, and shares have exact 95% limits.
"""

import argparse
import math
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import beta
from threadpoolctl import threadpool_limits

from benchmarks.machine import commit, machine
from benchmarks.simulated_proxies import DriftStudy, ProxyStudy, simulate, simulate_drift
from benchmarks.simulated_raters import GroupOutcome, GroupStudy, judge_groups
from benchmarks.simulated_studies import Population, Setting
from benchmarks.simulated_studies import simulate as simulate_loop
from loop.evidence.distribution import (
    CLASS_DIVERSITY,
    CLASSES,
    SPREAD,
    VARIANCE,
    DistributionEvidence,
    distribution_evidence,
)
from loop.evidence.intervals import Estimate, TestVerdict
from loop.evidence.study import analyse, course_of
from loop.sweep.results import SeededMean, split_variance

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

TWO = Setting(generations=2, spread=3.0)
LAWS = {
    "honest": TWO,
    "honest, 250 picks": replace(TWO, picks=250),
    "honest, K = 4, λ = 1": replace(TWO, k=4, lam=1.0),
    "honest, K = ∞, λ = 1": replace(TWO, k="inf", lam=1.0),
    "honest, shared noise": replace(TWO, coupled=True),
    "honest, 5,000 samples and picks": replace(TWO, samples=5_000, picks=5_000),
    "goes 75% of the way": replace(TWO, carried=0.75),
    "goes half of the way": replace(TWO, carried=0.5),
    "goes half of the way, shared noise": replace(TWO, carried=0.5, coupled=True),
    "goes 75% of the way, 5,000 samples and picks": replace(TWO, carried=0.75, samples=5_000, picks=5_000),
    "doesn't move": replace(TWO, carried=0.0),
    "drifts sideways by 0.25": replace(TWO, sideways=0.25),
    "drifts sideways by 0.5": replace(TWO, sideways=0.5),
}
FIGURES = (VARIANCE, CLASSES, CLASS_DIVERSITY, SPREAD)
SIX = Setting(generations=6, k=4, spread=3.0, samples=2_000, picks=2_000)
DECAYS = {
    "constant, 1": SIX,
    "constant, 0.6": replace(SIX, carried=0.6),
    "constant, 0.3": replace(SIX, carried=0.3),
    "constant, 0.6, shared noise": replace(SIX, carried=0.6, coupled=True),
    "constant, 0.6, λ = 1": replace(SIX, carried=0.6, lam=1.0),
    "constant, 1, K = ∞, λ = 2": replace(SIX, k="inf", lam=2.0),
    "falls by 10% a generation": replace(SIX, decay=0.1),
    "falls by 20% a generation": replace(SIX, decay=0.2),
    "falls by 40% a generation": replace(SIX, decay=0.4),
    "falls by 20% a generation, shared noise": replace(SIX, decay=0.2, coupled=True),
    "falls by 40% a generation, λ = 1": replace(SIX, decay=0.4, lam=1.0),
}


@dataclass(frozen=True)
class Crossed:
    """Studies over `seeds` seeds and `trainings` training seeds, with the standard deviations that these make."""

    seeds: int
    trainings: int
    picks: float = 1.0
    training: float = 1.0
    evaluation: float = 0.5
    shared: float = 0.8

    def split(self, rng: np.random.Generator) -> tuple[float, Estimate | None, Estimate | None]:
        """The split of one set of studies; `shared` is the correlation of evaluations within a seed."""
        studies, groups = [], 50
        for seed in range(self.seeds):
            of_seed, common = self.picks * rng.standard_normal(), rng.standard_normal(groups)
            for _ in range(self.trainings):
                own = math.sqrt(self.shared) * common + math.sqrt(1 - self.shared) * rng.standard_normal(groups)
                errors = self.evaluation * math.sqrt(groups) * own
                value = of_seed + self.training * rng.standard_normal() + errors.mean()
                without = (errors.sum() - errors) / (groups - 1)
                studies.append(SeededMean(seed, value, self.evaluation, without))
        return split_variance(studies)


SPLITS = {
    "3 seeds of 2": Crossed(3, 2),
    "5 seeds of 3": Crossed(5, 3),
    "10 seeds of 3": Crossed(10, 3),
    "10 seeds of 3, evaluations not shared": Crossed(10, 3, shared=0.0),
    "10 seeds of 3, picks alone": Crossed(10, 3, training=0.0),
    "10 seeds of 3, training alone": Crossed(10, 3, picks=0.0),
    "10 seeds of 3, evaluation as large": Crossed(10, 3, evaluation=1.0),
}


def law_verdict(task: tuple[str, int]) -> tuple[str, TestVerdict, dict[str, bool]]:
    """Of one study whether any generation's law differs, and for each known transmission whether it holds 1."""
    evidence = beyond_mean(LAWS[task[0]], task[1])
    words = {test.verdict for test in evidence.laws}
    word: TestVerdict = "found" if "found" in words else "not found" if "not found" in words else "can't tell"
    covered = {row.of: row.ratio.low <= 1 <= row.ratio.high for row in evidence.changes if row.t is None and row.ratio}
    return task[0], word, covered


def decay_verdict(task: tuple[str, int]) -> tuple[str, TestVerdict]:
    """The verdict on decay of one study."""
    return task[0], beyond_mean(DECAYS[task[0]], task[1]).decay.verdict


def beyond_mean(setting: Setting, seed: int) -> DistributionEvidence:
    """The verdicts on more than the mean of one simulated study."""
    history, _ = simulate_loop(Population.of(setting), np.random.default_rng(seed))
    evidence = distribution_evidence(course_of(analyse(history)))
    assert evidence
    return evidence


def split_rows(n: int) -> list[str]:
    """Rows of the table of variance splits: true standard deviations, mean estimates, and coverage."""
    rows = []
    for name, crossed in SPLITS.items():
        rng, picks, training = np.random.default_rng(1), [], []
        for _ in range(n):
            _, of_training, of_picks = crossed.split(rng)
            assert of_training and of_picks
            training.append(of_training)
            picks.append(of_picks)
        cells = []
        for truth, estimates in ((crossed.picks**2, picks), (crossed.training**2, training)):
            covered = sum(estimate.low <= truth <= estimate.high for estimate in estimates)
            median = np.median([estimate.value for estimate in estimates])
            cells += [f"{truth:g}", f"{median:.2f}", share(covered, n)]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def distribution_lines(n: int, pool: ProcessPoolExecutor) -> list[str]:
    """The document's part on more than the mean."""
    tasks = [(name, i) for name in LAWS for i in range(n)]
    verdicts, covered, known = Counter(), Counter(), Counter()
    for name, word, by_figure in pool.map(law_verdict, tasks, chunksize=10):
        verdicts[name, word] += 1
        for figure, holds in by_figure.items():
            known[name, figure] += 1
            covered[name, figure] += holds
    few = math.ceil(n / 3)
    decays = Counter(pool.map(decay_verdict, [(name, i) for name in DECAYS for i in range(few)], chunksize=5))
    honest = [name for name in LAWS if name.startswith("honest")]

    def coverage(name: str, figure: str) -> str:
        m = known[name, figure]
        return f"{share(covered[name, figure], m)} of {m}" if m else "never known"

    return [
        "## Has a generation another law than its picks promise?", "",
        "Two rounds of a pure loop with K = 2, on 160 atoms in the plane of which the reward sees the first coordinate "
        "(uniform on [-3, 0]); 1,000 samples of each generation and 1,000 picks, unless the row says otherwise. "
        "*Sideways*: each generation tilts its law along the second coordinate, which changes E[w] by little. *Shared "
        "noise*: evaluation samples of all generations come from the same noise, as flows' do.", "",
        "| study | found, % |", "|---|---|",
        *(f"| {name} | {share(verdicts[name, 'found'], n)} |" for name in LAWS), "",
        "## Do intervals of transmission hold 1 in honest studies?", "",
        "Over both generations of the honest studies above; of those whose predicted change is at least three standard "
        "errors.", "",
        f"| study | {' | '.join(f'{figure}, %' for figure in FIGURES)} |", f"|---|{'---|' * len(FIGURES)}",
        *(f"| {name} | {' | '.join(coverage(name, figure) for figure in FIGURES)} |" for name in honest), "",
        "## Does transmission decay?", "",
        f"Six rounds of a pure loop with K = 4, 2,000 samples and 2,000 picks; {few} studies a row. *Constant*: each "
        "generation goes this share of the way from the law before to its training set; *falls*: the share falls.", "",
        "| study | found, % | can't tell, % |", "|---|---|---|",
        *(f"| {name} | {share(decays[name, 'found'], few)} | {share(decays[name, UNDECIDED], few)} |"
          for name in DECAYS), "",
        "## Why do studies of the same settings differ?", "",
        f"Sets of studies of normal effects, {n} a row; standard deviations of 1 by picks, 1 by training and 0.5 by "
        "evaluation, which studies of one seed share with a correlation of 0.8, unless the row says otherwise. True "
        "variances, medians of the estimates, and how often the 95% interval holds the truth.", "",
        "| studies | picks | estimate | covered, % | training | estimate | covered, % |", f"|{'---|' * 7}",
        *split_rows(n), "",
    ]  # fmt: skip


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
LONG = ("one, 14 factors, raters differ by 0.3", "two, 14 factors", "two, 100 raters of 40 picks", "three")


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
    cells = [
        str(n),
        share(numbers.count(1), n),
        share(numbers.count(2), n),
        share(sum(number > 2 for number in numbers), n),
    ]
    right = [
        f"{100 * np.mean([row.right for row in outcomes]):.0f}",
        f"{np.mean([row.agreement for row in outcomes]):.2f}",
    ]
    cells += right if planted > 1 else ["", ""]
    for held in ("coefficients", "gains"):
        rows = [row for outcome in outcomes for row in getattr(outcome, held)]
        cells.append(f"{100 * np.mean(rows):.1f} of {len(rows):,}" if rows else "")
    high = [value for outcome in outcomes for value in outcome.flattered]
    cells.append(f"{np.mean(high):+.2f}" if high else "")
    clear, rightly = sum(row.clear for row in outcomes), sum(row.rightly for row in outcomes)
    return f"| {' | '.join([name, *cells, f'{rightly:,} of {clear:,}'])} |"


def share(hits: int, n: int) -> str:
    """A share in per cent with its exact 95% limits (Clopper and Pearson 1934)."""
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return f"{100 * hits / n:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def proxy_lines(n: int, pool: ProcessPoolExecutor) -> list[str]:
    """The document's part on the exploited proxy."""
    proxies = Counter(pool.map(proxy_verdict, [(name, i) for name in PROXIES for i in range(n)], chunksize=10))
    return [
        "## Is the proxy being exploited?", "",
        "20 raters, each with 15 picks (of 4) a generation and 15 audit pairs from generation 1 on, 3 generations, 6 "
        "factors, a common taste of length 1 from which raters differ by 0.3 along each factor, unless the row says "
        "otherwise. The proxy is fitted to all picks so far, and each round moves the generator along it. *Honest*: "
        "the proxy sees all that people see. *Blind*: with every unit that the generator moves it gains something that "
        "the proxy doesn't see and people like less.", "",
        "| study | named, % | can't tell, % |", "|---|---|---|",
        *(f"| {name} | {share(proxies[name, 'found'], n)} | {share(proxies[name, UNDECIDED], n)} |"
          for name in PROXIES), "",
    ]  # fmt: skip


def drift_lines(n: int, pool: ProcessPoolExecutor) -> list[str]:
    """The document's part on drifting tastes."""
    tasks = [(name, once, i) for name in DRIFTS for once in (True, False) for i in range(n)]
    drifts = Counter(pool.map(drift_verdicts, tasks, chunksize=10))
    return [
        "## Do tastes drift toward what is shown?", "",
        "The same crowd, whose tastes are drawn each round toward the mean of what the generator shows, by β "
        "(arXiv 2610.09415). *Raters*: each comes in one generation, and later ones are held against earlier ones. "
        "*Picks*: all come in every generation, and their later picks are held against their earlier ones.", "",
        "| study | raters: found, % | picks: found, % |", "|---|---|---|",
        *(f"| {name} | {share(drifts[name, True, 'found'], n)} | {share(drifts[name, False, 'found'], n)} |"
          for name in DRIFTS), "",
    ]  # fmt: skip


def group_lines(n: int, pool: ProcessPoolExecutor) -> list[str]:
    """The document's part on taste groups."""
    grouped: dict[str, list[GroupOutcome]] = {name: [] for name in GROUPS}
    tasks = [(name, i) for name in GROUPS for i in range(math.ceil(n / 3) if name in LONG else n)]
    for name, outcome in pool.map(groups_of, tasks, chunksize=5):
        grouped[name].append(outcome)
    return [
        "## Who is optimised? Taste groups", "",
        "30 raters with 40 picks (of 4), a quarter in each of 4 generations, 6 factors, tastes of length 1, those of "
        "groups at right angles, unless the row says otherwise. *Differ by 0.3*: each rater's taste strays from the "
        "group's by a normal error of that standard deviation along each factor. The common fit moves the generator. "
        "*Placed*: raters who are where most of their group are (where groups are lost in one, the larger's share). "
        "*Rand*: the adjusted Rand index. *Held*: 95% intervals of coefficients, and of gains since generation 0, "
        "that held the truth, in studies whose number was right. *Too high by*: the mean error of these gains in "
        "standard errors. *Signs*: of the gains at the last generation "
        "whose interval excludes 0, those with the true sign. Of kinds that take long there are a third as many "
        "studies.", "",
        "| study | studies | one, % | two, % | more, % | placed, % | Rand | coefficients held, % | gains held, % "
        "| too high by | signs |",
        f"|{'---|' * 11}",
        *(group_row(name, outcomes) for name, outcomes in grouped.items()), "",
    ]  # fmt: skip


PARTS = {"proxies": proxy_lines, "drift": drift_lines, "groups": group_lines, "mean": distribution_lines}


def main() -> None:
    """Runs the parts, and writes the document; parts that don't run stay as they are in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="a row")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be given again")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    text = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
    parts = {name: part for name, _, part in (some.partition("\n") for some in text.split("\n<!-- ")[1:])}
    with ProcessPoolExecutor(options.processes, initializer=threadpool_limits, initargs=(1,)) as pool:
        for name in options.only or PARTS:
            started = time.monotonic()
            lines = PARTS[name](options.studies, pool)
            minutes = (time.monotonic() - started) / 60
            of = f"{options.studies} studies a row, in {minutes:.1f} minutes, {machine()}{commit()}."
            parts[f"{name} -->"] = "\n".join(["", *lines[:2], of, "", *lines[2:]])
    head = [
        "# False alarms and power of the tests beyond the theorem", "",
        "Simulated studies of known truth. Written by `make beyond`; don't edit it. Shares are in per cent with exact "
        "95% limits. What the tests are: [beyond.md](beyond.md).", "",
    ]  # fmt: skip
    body = [f"<!-- {name} -->\n{parts[f'{name} -->']}" for name in PARTS if f"{name} -->" in parts]
    options.out.write_text("\n".join([*head, *body]), encoding="utf-8")


if __name__ == "__main__":
    main()
