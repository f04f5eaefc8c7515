"""The calibration of each verdict and interval of a report: simulated studies of known truth, in one table.

    make calibration                                        # all rows; writes docs/calibration.md
    python benchmarks/calibration.py --studies 200          # quicker and coarser
    python benchmarks/calibration.py --only loops --out t.md

Studies are population updates plus sampling noise, in memory (`simulated_studies.py`), and take the path of every
report from measurements to verdicts. Full studies in SQLite, with a generator that copies its training set, check that
both agree. Seeds are fixed; shares have their exact 95% Monte-Carlo limits (Clopper and Pearson 1934).
"""

import argparse
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import simulated_intervals
from machine import commit, machine
from scipy.stats import beta, ks_2samp
from simulated_intervals import Draws
from simulated_raters import Crowd
from simulated_raters import judge as judge_crowd
from simulated_studies import Population, Setting, simulate
from threadpoolctl import threadpool_limits

from loop.evidence.schema import Estimate, Evidence
from loop.evidence.study import History, assess, build
from loop.simulate import simulate as run_loop
from loop.study import Study, configure

DOCUMENT = Path(__file__).parents[1] / "docs" / "calibration.md"
PARTS = ("loops", "people", "intervals", "full")
CHUNK = 50  # studies of one task
FULL_STUDIES, IN_MEMORY = 20, 10
INF = float("inf")
EQUALITIES = ("one step", "many steps", "transmission", "C6")
LOOPS = ((2, INF), (4, INF), ("inf", INF), (2, 0.4), (4, 1.0), ("inf", 1.0))
WITH_WIDTHS = 100  # studies of a row whose intervals are made through the whole report
RATERS = (3, 5, 9, 10, 20, 50, 200)
TRUTHS = {"honest": 1.0, "frozen": 0.0, "a quarter of the gain": 0.25, "110% of the gain": 1.1}
BIG = {"samples": 10_000, "picks": 10_000, "real": 4_800}


@dataclass
class Tally:
    """Counts over simulated studies; tallies of chunks add up.

    Attributes:
        studies: how many.
        fails: those with any verdict "fails".
        verdicts: by claim, how often each word was given.
        untrue: verdicts "holds" on claims of equality with a predicted gain over three standard errors.
        covered: by interval, whether it held the truth.
        widths: by interval, its width.
        seconds: that they took.
    """

    studies: int = 0
    fails: int = 0
    verdicts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    untrue: int = 0
    covered: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    widths: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0

    def interval(self, name: str, estimate: Estimate | None, truth: float) -> None:
        """Counts one interval."""
        if estimate is not None:
            self.covered[name].append(bool(estimate.low <= truth <= estimate.high))
            self.widths[name].append(estimate.high - estimate.low)

    def add(self, other: "Tally") -> None:
        """Adds another's counts."""
        self.studies += other.studies
        self.fails += other.fails
        self.untrue += other.untrue
        self.seconds += other.seconds
        for name, words in other.verdicts.items():
            self.verdicts[name].update(words)
        for name, values in other.covered.items():
            self.covered[name] += values
            self.widths[name] += other.widths[name]


@dataclass(frozen=True)
class Share:
    """A share of n trials with its exact 95% limits."""

    hits: int
    n: int

    @property
    def low(self) -> float:
        """Lower limit."""
        return float(beta.ppf(0.025, self.hits, self.n - self.hits + 1)) if self.hits else 0.0

    @property
    def high(self) -> float:
        """Upper limit."""
        return float(beta.ppf(0.975, self.hits + 1, self.n - self.hits)) if self.hits < self.n else 1.0

    def __str__(self) -> str:
        if not self.n:
            return ""
        return f"{100 * self.hits / self.n:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


def main() -> None:
    """Runs the rows, prints the document, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1_000, help="a row")
    parser.add_argument("--only", choices=PARTS, action="append", help="some of the tables")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="another file than docs/calibration.md")
    options = parser.parse_args()
    parts, started = options.only or PARTS, time.monotonic()
    text, criteria = [], []
    with ProcessPoolExecutor(options.processes, initializer=threadpool_limits, initargs=(1,)) as pool:
        if "loops" in parts:
            lines, checks = loops(pool, options.studies)
            text += lines
            criteria += checks
        if "people" in parts:
            lines, checks = people(pool, options.studies)
            text += lines
            criteria += checks
        if "intervals" in parts:
            lines, checks = intervals(pool, options.studies)
            text += lines
            criteria += checks
        if "full" in parts:
            lines, checks = full_studies(pool)
            text += lines
            criteria += checks
    minutes = (time.monotonic() - started) / 60
    document = "\n".join([*_head(options.studies, minutes), *_criteria(criteria), *text, ""])
    (options.out or DOCUMENT).write_text(document, encoding="utf-8")
    print(document)


def settings() -> Iterator[tuple[str, Setting]]:
    """The rows: what the generator does, and the loop."""
    for truth, carried in TRUTHS.items():
        for bounded in (True, False):
            for k, lam in LOOPS:
                if carried != 1.1 or (lam == INF and bounded):
                    spread = 2.0 if bounded else 0.5
                    yield truth, Setting(k=k, lam=lam, bounded=bounded, spread=spread, carried=carried, generations=3)
    yield "honest", Setting(k="inf", bounded=False, spread=1.0, generations=5)  # C6 with weights that degenerate
    yield "honest", Setting(k=2, lam=0.4, worse=0.5, generations=3)  # generation 0 half a unit of reward worse
    yield "honest", Setting(k=2, bounded=False, spread=0.15, generations=5)  # next to nothing to gain
    yield "frozen", Setting(k=2, bounded=False, spread=0.15, carried=0.0, generations=5)
    for truth, carried in TRUTHS.items():
        yield truth, Setting(k=4, carried=carried, generations=3, **BIG)  # large enough to tell


def loops(pool: ProcessPoolExecutor, studies: int) -> tuple[list[str], list[tuple[str, bool]]]:
    """The tables of verdicts and of intervals of loops with simulated users, and whether they are as they should be."""
    rows = list(settings())
    tasks = []
    for index, (_, setting) in enumerate(rows):
        n = studies if setting.samples < 10_000 else max(CHUNK, studies // 5)
        tasks += [(index, setting, start, min(CHUNK, n - start)) for start in range(0, n, CHUNK)]
    tallies = [Tally() for _ in rows]
    for done, (index, tally) in enumerate(pool.map(_loop_studies, tasks), start=1):
        tallies[index].add(tally)
        _progress("loops", done, len(tasks))
    heads = ("generator", "loop", "studies", "any “fails”, %", "C1, C4", "one step", "many steps", "transmission",
             "“holds” on an equality")  # fmt: skip
    verdicts = [_verdict_row(truth, setting, tally) for (truth, setting), tally in zip(rows, tallies, strict=True)]
    names = ("E[w]", "one-step prediction", "many-step prediction", "one-step margin", "many-step margin", "ratio",
             "ratio, all steps")  # fmt: skip
    intervals = [
        [truth, _loop_name(setting), *(_interval_cell(tally, name) for name in names)]
        for (truth, setting), tally in zip(rows, tallies, strict=True)
    ]
    text = [
        "## Loops with simulated users: verdicts", "",
        "*Any “fails”*: in the report; of honest loops, in any of the reports made after each generation. Of each "
        "claim: the verdicts *holds / fails / can't tell* in per cent. An honest generator learns its training set "
        "without error, so each *fails* of its is a false one; a frozen one never moves; the others go a quarter "
        "of the way, or a tenth too far. 1,000 samples and 1,000 picks a generation, 3 generations, rewards uniform "
        "on [-2, 0] (bounded) or normal with a standard deviation of 0.5 (unbounded), unless the loop says otherwise.",
        "",
        *_table(heads, verdicts), "",
        "## Loops with simulated users: 95% intervals", "",
        "Of the last generation: coverage in per cent with its limits, and the median width. Margins are those of "
        "honest ones (truth: 0) at 95%, not as corrected in reports; the ratio's truth is what the generator carries. "
        "Predictions over many steps count where their verdict isn't refused for too few effective samples.",
        "",
        *_table(("generator", "loop", *names), intervals), "",
    ]  # fmt: skip
    return text, list(_loop_criteria(rows, tallies))


def _loop_studies(task: tuple[int, Setting, int, int]) -> tuple[int, Tally]:
    index, setting, start, n = task
    population, tally, began = Population.of(setting), Tally(), time.monotonic()
    for number in range(start, start + n):
        history, truth = simulate(population, np.random.default_rng([index, number]))
        evidence = assess(history, mean_alone=True)
        _count(tally, evidence, truth, setting)
        tally.fails += any(map(_fails, [evidence, *(_earlier(history) if setting.carried == 1.0 else [])]))
    tally.seconds = time.monotonic() - began
    return index, tally


def _fails(evidence: Evidence) -> bool:
    return any(claim.verdict == "fails" for claim in evidence.claims)


def _earlier(history: History) -> Iterator[Evidence]:
    """The evidence of a study after each generation but the last, as reports would have shown it."""
    for n in range(2, len(history.generations)):
        some = replace(history, generations=history.generations[:n], evaluations=history.evaluations[:n])
        yield assess(some, mean_alone=True)


def _count(tally: Tally, evidence: Evidence, truth: Any, setting: Setting) -> None:
    tally.studies += 1
    for claim in evidence.claims:
        if claim.verdict != "not applicable":
            tally.verdicts[claim.claim][claim.verdict] += 1
        tally.untrue += claim.claim in EQUALITIES and claim.verdict == "holds"
        at_last = claim.t == setting.generations
        if at_last and setting.carried == 1.0 and claim.margin and claim.claim in ("one step", "many steps"):
            name = "one-step margin" if claim.claim == "one step" else "many-step margin"
            if "effective" not in claim.reason:
                tally.interval(name, Estimate.of(claim.margin.value, claim.margin.se), 0.0)
    last = evidence.generations[-1]  # one of each interval a study, so that all are independent
    tally.interval("E[w]", last.measured.mean_w, truth.mean_w[last.t])
    if last.predicted:
        tally.interval("one-step prediction", last.predicted.mean_w, truth.predicted[last.t])
    refused = any(
        claim.t == last.t and "effective" in claim.reason for claim in evidence.claims if claim.claim == "many steps"
    )
    if last.predicted_from_start and not refused:
        tally.interval("many-step prediction", last.predicted_from_start.mean_w, truth.from_start[last.t])
    if last.transmission and last.transmission_so_far:
        tally.interval("ratio", last.transmission.ratio, setting.carried)
        tally.interval("ratio, all steps", last.transmission_so_far.ratio, setting.carried)


def _verdict_row(truth: str, setting: Setting, tally: Tally) -> list[str]:
    def words(*claims: str) -> str:
        counts: Counter[str] = sum((tally.verdicts[name] for name in claims if name in tally.verdicts), Counter())
        total = sum(counts.values())
        if not total:
            return ""
        return " / ".join(f"{100 * counts[word] / total:.0f}" for word in ("holds", "fails", "can't tell"))

    return [
        truth, _loop_name(setting), f"{tally.studies:,}", str(Share(tally.fails, tally.studies)), words("C1", "C4"),
        words("one step"), words("many steps"), words("transmission"), f"{tally.untrue}",
    ]  # fmt: skip


def _loop_name(setting: Setting) -> str:
    plain = Setting()
    more = [f"{setting.samples:,} samples"] if setting.samples != plain.samples else []
    more += [f"generation 0 worse by {setting.worse:g}"] if setting.worse else []
    more += [f"sd {setting.spread:g}"] if not setting.bounded and setting.spread != 0.5 else []
    mix = "pure" if np.isinf(setting.lam) else f"λ = {setting.lam:g}"
    kind = "bounded" if setting.bounded else "unbounded"
    return ", ".join([f"K = {setting.k}".replace("inf", "∞"), mix, kind, *more])


def _loop_criteria(rows: Sequence[tuple[str, Setting]], tallies: Sequence[Tally]) -> Iterator[tuple[str, bool]]:
    def where(truth: str) -> list[tuple[Setting, Tally]]:
        return [(setting, tally) for (name, setting), tally in zip(rows, tallies, strict=True) if name == truth]

    worst = max((Share(tally.fails, tally.studies) for _, tally in where("honest")), key=lambda row: row.low)
    criterion = "honest loops get a false “fails” in at most 5% of studies, looked at after each generation"
    yield f"{criterion} (worst row: {worst}%)", worst.low <= 0.05
    held = sum(tally.untrue for _, tally in where("frozen"))
    yield f"a frozen generator “holds” on no claim of equality ({held} verdicts)", held == 0
    quarter = where("a quarter of the gain")
    shares = [Share(tally.verdicts["transmission"]["holds"], tally.studies) for _, tally in quarter]
    least = 1 - max(row.low for row in shares)
    yield (
        f"a quarter of the gain gets “fails” or “can't tell” on transmission in at least 90% (worst row: {least:.1%})",
        least >= 0.9,
    )
    least_covered = min(
        ((Share(sum(values), len(values)), name, _loop_name(setting))
         for (_, setting), tally in zip(rows, tallies, strict=True) for name, values in tally.covered.items()
         if len(values) >= tally.studies // 2),
        key=lambda row: row[0].high,
    )  # fmt: skip
    share, name, loop = least_covered
    yield f"every interval covers at least 93% (worst: {name}, {loop}: {share}%)", share.high >= 0.93


def _interval_cell(tally: Tally, name: str) -> str:
    covered = tally.covered.get(name)
    if not covered:
        return ""
    return f"{Share(sum(covered), len(covered))}; {np.median(tally.widths[name]):.3g}"


def crowds() -> Iterator[Crowd]:
    """The rows with raters."""
    for planned in (True, False):
        for preference in (0.5, 0.6):
            for raters in RATERS:
                yield Crowd(raters, preference, planned=planned)
        yield Crowd(20, 0.5, generations=10, planned=planned)
        yield Crowd(20, 0.5, intraclass=0.0, planned=planned)
        yield Crowd(20, 0.5, intraclass=0.5, planned=planned)
        yield Crowd(20, 0.9, planned=planned)


def people(pool: ProcessPoolExecutor, studies: int) -> tuple[list[str], list[tuple[str, bool]]]:
    """The table of win rates from raters, and whether they are as they should be."""
    rows = list(crowds())
    tasks = [(i, crowd, k, min(CHUNK, studies - k)) for i, crowd in enumerate(rows) for k in range(0, studies, CHUNK)]
    tallies = [Tally() for _ in rows]
    for done, (index, tally) in enumerate(pool.map(_crowd_studies, tasks), start=1):
        tallies[index].add(tally)
        _progress("people", done, len(tasks))
    table, criteria = [], {"fixed": [], "narrow": [], "valid": [], "false": []}
    for crowd, tally in zip(rows, tallies, strict=True):
        covered, verdicts = tally.covered["rate"], Share(tally.fails, tally.studies)
        share = Share(sum(covered), len(covered))
        table.append([
            "set in advance, one look" if crowd.planned else "open, a look after each", str(crowd.raters),
            f"{crowd.preference:g}", f"{crowd.intraclass:g}", str(crowd.generations), f"{tally.studies:,}", str(share),
            f"{np.median(tally.widths['rate']):.3f}", str(verdicts),
        ])  # fmt: skip
        if crowd.planned:
            criteria["fixed"].append(share.high >= 0.93)
            criteria["narrow"].append(crowd.raters < 10 or share.low <= 0.99)
        else:
            criteria["valid"].append(share.high >= 0.95)
        if crowd.preference == 0.5:
            criteria["false"].append(verdicts.low <= 0.05)
    heads = ("raters", "number", "preference", "intraclass", "generations", "studies", "covered, %", "median width",
             "any verdict, %")  # fmt: skip
    text = [
        "## Win rates from people", "",
        "The mean over raters of each one's share of pairs won. *Covered*: the 95% interval holds the truth; where "
        "the number is open, at all looks together, one after each rater. *Any verdict*: for some pair of generations, "
        "at some look, by the intervals that share the report's 5%; with a preference of 0.5 each is a false one, "
        "else it is the power. Each rater makes 2 to 24 comparisons a pair.", "",
        *_table(heads, table), "",
    ]  # fmt: skip
    return text, [
        ("intervals for a number set in advance cover at least 93%", all(criteria["fixed"])),
        ("and at most 99% from 10 raters on", all(criteria["narrow"])),
        ("always valid intervals cover at least 95% at all looks together", all(criteria["valid"])),
        ("people without a preference get a verdict in at most 5% of reports, at all looks", all(criteria["false"])),
    ]


def _crowd_studies(task: tuple[int, Crowd, int, int]) -> tuple[int, Tally]:
    index, crowd, start, n = task
    tally = Tally()
    for number in range(start, start + n):
        outcome = judge_crowd(crowd, np.random.default_rng([1, index, number]), through_report=number < WITH_WIDTHS)
        tally.studies += 1
        tally.fails += outcome.verdict
        tally.covered["rate"] += outcome.covered
        tally.widths["rate"] += outcome.widths
    return index, tally


def intervals(pool: ProcessPoolExecutor, studies: int) -> tuple[list[str], list[tuple[str, bool]]]:
    """The table of the other intervals, and whether they cover."""
    rows, tasks = list(simulated_intervals.rows()), []
    for index, draws in enumerate(rows):
        n = studies if draws.kind != "features" else max(CHUNK, studies // 4)
        tasks += [(index, draws, range(k, min(n, k + CHUNK))) for k in range(0, n, CHUNK)]
    outcomes: dict[tuple[int, str], list[tuple[bool, float]]] = defaultdict(list)
    for done, (index, measured) in enumerate(pool.map(_measure, tasks), start=1):
        for name, low, high, truth in measured:
            outcomes[index, name].append((low <= truth <= high, high - low))
        _progress("intervals", done, len(tasks))
    table, met = [], True
    for (index, name), some in sorted(outcomes.items()):
        covered, widths = zip(*some, strict=True)
        share = Share(sum(covered), len(covered))
        met &= share.high >= 0.93
        table.append([name, str(rows[index]), f"{len(some):,}", str(share), f"{np.median(widths):.3g}"])
    text = [
        "## Other intervals", "",
        "Total variation over cells against a known law; distances of images' features with the real ones fixed (the "
        "truth is their mean at this number of samples); the gain of utilities fitted to people's picks, raters with "
        "tastes of their own.", "",
        *_table(("interval", "of", "draws", "covered, %", "median width"), table), "",
    ]  # fmt: skip
    return text, [("the other intervals cover at least 93%", met)]


def _measure(task: tuple[int, Draws, range]) -> tuple[int, list[simulated_intervals.Interval]]:
    index, draws, numbers = task
    return index, simulated_intervals.measure(draws, numbers)


def full_studies(pool: ProcessPoolExecutor) -> tuple[list[str], list[tuple[str, bool]]]:
    """Whole studies in SQLite beside ones in memory with the same population: the same figures up to chance.

    Their generator copies its training set, so it is honest. Compared are the standardised differences (z) of measured
    and predicted gains, by Kolmogorov and Smirnov's test, and how often each word was given on "one step".
    """
    full: list[float] = []
    memory: list[float] = []
    words: dict[str, Counter[str]] = {"full": Counter(), "memory": Counter()}
    tasks = [(mix, seed) for mix in ("inf", "0.4") for seed in range(FULL_STUDIES // 2)]
    for done, (stored, many) in enumerate(pool.map(_full_study, tasks), start=1):
        full += _differences([stored])
        memory += _differences(many)
        words["full"].update(_words([stored]))
        words["memory"].update(_words(many))
        _progress("full studies", done, len(tasks))
    p = float(ks_2samp(full, memory).pvalue)
    rows = [
        [name, f"{len(values):,}", f"{np.mean(values):+.2f}", f"{np.std(values):.2f}",
         " / ".join(f"{100 * words[key][word] / words[key].total():.0f}" for word in ("holds", "fails", "can't tell"))]
        for name, key, values in (("in SQLite", "full", full), ("in memory", "memory", memory))
    ]  # fmt: skip
    text = [
        "## Full studies beside those in memory", "",
        f"{FULL_STUDIES} studies by `curate simulate`'s own code (moons, K = 2, a generator that copies its training "
        f"set, three generations, half of them pure, half with λ = 0.4) and {IN_MEMORY} in memory for each, with its "
        "rewards. z is the measured less the predicted gain over its standard error. Kolmogorov and Smirnov: "
        f"p = {p:.2f}.", "",
        *_table(("studies", "steps", "mean z", "sd of z", "one step: holds / fails / can't tell"), rows), "",
    ]  # fmt: skip
    return text, [(f"studies in SQLite and in memory agree (p = {p:.2f})", p > 0.01)]


def _full_study(task: tuple[str, int]) -> tuple[Evidence, list[Evidence]]:
    """A study in SQLite, and some in memory with the same rewards."""
    lam, seed = task
    given = ["network.kind=resample", "data.n=600", "curation.picks=400", "evaluation.samples=1000", "reward.gamma=2",
             "generations=3"]  # fmt: skip
    config = configure("moons", [*given, f"mix.lam={lam}"], seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        study = Study.create(Path(folder) / "study", config)
        run_loop(study, 3, lambda phase, done, total: None)
        evidence = build(study)
        real = study.store.evaluation(None)
        study.store.close()
    assert real is not None
    setting = Setting(k=2, lam=float(lam), generations=3, samples=1_000, picks=400, real=600)
    population = Population.of_study(config, real.rewards[0], setting)
    rng = np.random.default_rng([seed, lam == "inf"])
    return evidence, [assess(simulate(population, rng)[0], mean_alone=True) for _ in range(IN_MEMORY)]


def _differences(studies: Sequence[Evidence]) -> list[float]:
    return [
        generation.transmission.z for study in studies for generation in study.generations if generation.transmission
    ]


def _words(studies: Sequence[Evidence]) -> Iterator[str]:
    return (claim.verdict for study in studies for claim in study.claims if claim.claim == "one step")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _head(studies: int, minutes: float) -> list[str]:
    return [
        "# How well calibrated the verdicts are", "",
        "Every verdict and interval of a report, held against simulated studies whose truth is known. Written by "
        f"`make calibration` ({studies:,} studies a row, {minutes:.0f} minutes, {machine()}{commit()}); don't edit "
        "it. Shares are in per cent with exact 95% Monte-Carlo limits.", "",
    ]  # fmt: skip


def _criteria(criteria: Sequence[tuple[str, bool]]) -> list[str]:
    lines = [f"- {'Met' if met else '**Missed**'}: {criterion}." for criterion, met in criteria]
    return ["## What is asked of them", "", *lines, ""]


def _progress(name: str, done: int, total: int) -> None:
    if done % 10 == 0 or done == total:
        print(f"{name}: {done} of {total}", flush=True)


if __name__ == "__main__":
    main()
