"""Every claim of the literature that curate can test, and what runs say so far: docs/claims.md.

    make claims                                       # runs what is missing, then writes docs/claims.md
    python -m benchmarks.claims --write               # runs nothing; writes from what is there
    python -m benchmarks.claims --only ferbach-pure   # one run; may be given again

Verdicts, margins and intervals are read from the runs' report.json files and from what commands print as JSON; of a run
that isn't there the table says so. Studies are kept in studies/claims, so that an interrupted run goes on.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta, norm

from benchmarks.machine import commit, machine

DOCUMENT = Path(__file__).parents[1] / "docs" / "claims.md"
WORST = ("fails", "found", "can't tell", "not refuted", "holds", "not applicable")
SIMULATED = 200  # studies in memory behind a rate of false alarms
TOLERANCE = 0.1  # of what was predicted: a claim of equality holds where its whole interval is within it, as in reports


@dataclass(frozen=True)
class Run:
    """The evidence that a claim is judged by.

    Attributes:
        commands: of `curate`, without that word, in the folder of all runs; the last one's output is kept as JSON where
            it prints some.
        result: the file with the outcome, in that folder.
        target: of make, that makes it, where `make claims` doesn't.
    """

    commands: tuple[tuple[str, ...], ...]
    result: str
    target: str = ""

    @property
    def words(self) -> str:
        """The commands, as the table shows them; reports are left out."""
        if self.target:
            return f"`{self.target}`"
        return "<br>".join(
            f"`{'python -m benchmarks.claims --' if command[0] == 'measure' else 'curate '}{' '.join(words)}`"
            for command in self.commands
            if command[0] != "report"
            for words in [[f"'{word}'" if set(word) & set('[]"') else word for word in command]]
        )


def study(name: str, preset: str, generations: int, *settings: str) -> Run:
    """A study and its report."""
    options = [word for setting in settings for word in ("--set", setting)]
    simulate = ("simulate", name, "--preset", preset, "--generations", str(generations), *options)
    return Run((simulate, ("report", name, "--force")), f"{name}/report.json")


def printed(name: str, *command: str) -> Run:
    """A command that prints its outcome as JSON."""
    return Run(((*command, "--json"),), f"{name}.json")


def pair(name: str, gamma: str) -> Run:
    """Two studies in one market, of which the first curates by `gamma` times its taste."""
    sides = ((f"{name}-a", "0", "[0.3,0]", gamma), (f"{name}-b", "1", "[1.1,0]", "1"))
    studies = (
        ("new", side, "--preset", "moons", "--seed", seed,
         *(word for setting in (*MARKET, f"reward.center={center}", f"reward.gamma={strength}")
           for word in ("--set", setting)))
        for side, seed, center, strength in sides
    )  # fmt: skip
    market = ("market", *(side[0] for side in sides), "--exchange", "0.3", "--generations", "7", "--json")
    return Run((*studies, market), f"{name}.json")


FLOW = ("data.n=3000", "curation.picks=3000", "evaluation.samples=10000", "reward.gamma=2")
PRECISE = ("evaluation.samples=40000", "curation.picks=10000")  # where a difference of 10% of a gain is to be seen
LINEAR = ("network.kind=gaussian", "reward.kind=linear", "evaluation.samples=10000")
MARKET = ("network.kind=gaussian", "reward.kind=linear", 'curation.k="inf"')
ADVERSARY = ("reward.center=[1,0]", "reward.gamma=1", "adversary.kind=linear", "adversary.gamma=1")
FOLLOWING = (
    "network.kind=resample", "data.std=0.002", "data.radius=1", "reward.kind=linear", "reward.center=[1,0.25]",
    "reward.gamma=1.5", "curation.drift=0.3", "mix.lam=inf",
)  # fmt: skip
KERNEL = ("network.kind=kde", "network.bandwidth=0.1", "curation.k=1", "data.n=1000", "curation.picks=0")
TYPES = '[{name="left", kind="linear", center=[-1,0], gamma=1}, {name="up", kind="linear", center=[0,1], gamma=2}]'
RUNS: dict[str, Run] = {
    "ferbach-pure": study("ferbach-pure", "moons", 3, *FLOW, *PRECISE),
    "ferbach-mixed": study("ferbach-mixed", "moons", 3, *FLOW, "mix.lam=1"),
    "ferbach-stable": study("ferbach-stable", "moons", 3, *FLOW, "mix.lam=0.3", "curation.k=4", "curation.picks=900"),
    "ferbach-infinite": study("ferbach-infinite", "moons", 3, *FLOW, 'curation.k="inf"'),
    "ferbach-copies": study("ferbach-copies", "moons", 4, *FLOW, "network.kind=resample"),
    "types": study("types", "moons", 3, *FLOW, *PRECISE, f"population={TYPES}"),
    "reward-weighted": study("reward-weighted", "moons", 2, *FLOW, "curation.k=4", "learner.kind=reward_weighted"),
    "best-of-k": study("best-of-k", "moons", 2, *FLOW, "curation.k=4", "learner.kind=best_of_k"),
    "dpo": study("dpo", "moons", 1, *FLOW, "curation.k=4", "learner.kind=dpo"),
    "luce-dpo": study("luce-dpo", "moons", 1, *FLOW, "curation.k=4", "learner.kind=luce_dpo"),
    "categorical": printed("categorical", "theory", "categorical", "--collapse", "1000", "--repetitions", "2000"),
    "theorem-3": printed(
        "theorem-3", "theory", "categorical", "--vocabulary", "600", "--rows", "100", "--policy", "mix",
        "--generations", "20", "--repetitions", "200",
    ),
    "linear": printed("linear", "theory", "linear", "--repetitions", "1000"),
    "gaussian": printed("gaussian", "theory", "gaussian", "--repetitions", "2000"),
    "kde": printed("kde", "theory", "kde", "--repetitions", "1000"),
    "mixing": printed("mixing", "theory", "mixing", "gaussian", "--repetitions", "1000"),
    "curation": printed("curation", "theory", "curation", "--repetitions", "2000"),
    "retraining": Run(
        ((
            "sweep", "retraining", "--preset", "moons", "--grid", "mix.policy=replace,accumulate", "--seeds", "3",
            "--generations", "6", "--jobs", "1", *(word for setting in KERNEL for word in ("--set", setting)),
        ),),
        "retraining/report.json",
    ),
    "adversaries": Run(
        ((
            "sweep", "adversaries", "--preset", "moons", "--grid", "curation.adversarial=0,0.3,0.6,0.9", "--grid",
            "adversary.center=[[-1,0],[-0.5,0.87],[0.5,0.87]]", "--generations", "2", "--jobs", "1", "--json",
            *(word for setting in (*LINEAR, *ADVERSARY) for word in ("--set", setting)),
        ),),
        "adversaries.json",
    ),
    "coevolve": printed("coevolve", "theory", "coevolve", "--repetitions", "50"),
    "following": study("following", "gaussians", 5, *FOLLOWING),
    "market": pair("market", gamma="1"),
    "market-stronger": pair("market-stronger", gamma="2"),
    "proxy": Run((("measure", "proxy"),), "proxy.json"),
    "drift": Run((("measure", "drift"),), "drift.json"),
    "watched": Run((("measure", "watched"),), "watched.json"),
    "papers-seddik": Run((), "../papers/gpt-seddik/report.json", "make papers"),
    "papers-gerstgrasser": Run((), "../papers/gpt-gerstgrasser/report.json", "make papers"),
    "papers-vae": Run((), "../papers/vae/report.json", "make papers"),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A verdict with the margin and interval that it rests on, in words."""

    verdict: str
    margin: str


Judge = Callable[[dict[str, Any]], Outcome]


@dataclass(frozen=True)
class Row:
    """A claim of the literature.

    Attributes:
        claim: in words.
        formula: likewise.
        source: paper and arXiv number.
        run: its name in `RUNS`.
        judge: gives the outcome from the run's JSON.
        needs: the settings that it speaks of, or the means to test it.
        beside: another run, whose JSON the judge has as `beside`.
    """

    claim: str
    formula: str
    source: str
    run: str
    judge: Judge
    needs: str
    beside: str = ""


def interval(value: float, low: float, high: float) -> str:
    """A value with its interval."""
    return f"{value:+.3g} ({low:+.3g} to {high:+.3g})".replace("-", "−")


def of_report(name: str) -> Judge:
    """The verdicts of a report on one of its claims, the worst of its generations first."""

    def judge(evidence: dict[str, Any]) -> Outcome:
        rows = [row for row in evidence["claims"] if row["claim"] == name]
        count = Counter(row["verdict"] for row in rows)
        if not count:
            return Outcome("missing", f"the report has no claim '{name}'")
        worst = min(count, key=WORST.index)
        margins = [row for row in rows if row["verdict"] == worst and row["margin"]]
        if not margins:
            return Outcome(worst, rows[0]["reason"])
        row = min(margins, key=lambda row: row["margin"]["low"])
        margin = interval(*(row["margin"][key] for key in ("value", "low", "high")))
        all_of = f" ({', '.join(f'{n} {word}' for word, n in count.items())})" if sum(count.values()) > 1 else ""
        return Outcome(worst + all_of, f"{margin} at t = {row['t']}")

    return judge


def equality(value: float, low: float, high: float, aim: float) -> str:
    """The verdict on a claim of equality, by an interval and the tolerance around what was predicted."""
    if max(abs(low - aim), abs(high - aim)) <= TOLERANCE * abs(aim):
        return "holds"
    return "fails" if not low <= aim <= high and abs(value - aim) > TOLERANCE * abs(aim) else "can't tell"


def transmission(evidence: dict[str, Any]) -> Outcome:
    """The share of the predicted gain that retraining made, over all generations."""
    whole = evidence["generations"][-1]["transmission_so_far"]
    if not whole or not whole["ratio"]:
        return Outcome("can't tell", "too little was to be gained")
    value, low, high = (whole["ratio"][key] for key in ("value", "low", "high"))
    return Outcome(equality(value, low, high, 1.0), interval(value, low, high).replace("+", ""))


def decay(evidence: dict[str, Any]) -> Outcome:
    """The test of a slope of transmission against simulated studies of constant transmission."""
    test = evidence["distribution"]["decay"]
    if test["p"] is None:
        return Outcome("can't tell", test["reason"])
    low, high = test["expected"]
    word = "fails" if test["verdict"] == "found" else "not refuted"
    shown = f"slope {test['slope']:+.3f} a generation, {low:+.3f} to {high:+.3f} in 90% of constant ones"
    return Outcome(word, f"{shown}; p = {test['p']:.2g}".replace("-", "−"))


def whole_law(evidence: dict[str, Any]) -> Outcome:
    """The tests of each generation's whole law against what its picks promise."""
    tests = [test for test in evidence["distribution"]["laws"] if test["p"] is not None]
    if not tests:
        return Outcome("can't tell", "no generation could be tested")
    worst = min(tests, key=lambda test: test["p"])
    word = "fails" if any(test["verdict"] == "found" for test in tests) else "not refuted"
    share = f", distance {worst['distance'] / worst['promised']:.0%} of the promised one" if worst["promised"] else ""
    return Outcome(word, f"least p {worst['p']:.2g} of {len(tests)}{share}")


def of_exact_points(*policies: str) -> Judge:
    """Simulated means beside exact ones, at 5% for all points together (Bonferroni)."""

    def judge(values: dict[str, Any]) -> Outcome:
        points = [p for p in values.get("points") or values["cells"] if p.get("exact") is not None and p["se"] > 0]
        points = [p for p in points if p.get("policy") in (policies or (p.get("policy"),))]
        aims = [p.get("expected", p["exact"]) for p in points]
        zs = [p["z"] if "z" in p else (p["simulated"] - p["exact"]) / p["se"] for p in points]
        return of_differences([z * p["se"] for z, p in zip(zs, points, strict=True)], [p["se"] for p in points], aims)

    return judge


def of_differences(differences: Sequence[float], errors: Sequence[float], aims: Sequence[float]) -> Outcome:
    """The verdict on many differences that should be 0, by the largest in standard errors and the widest interval."""
    if not differences:
        return Outcome("missing", "no point has an exact value")
    limit = float(norm.isf(0.025 / len(differences)))
    largest = max(abs(d) / se for d, se in zip(differences, errors, strict=True))
    reach = max(abs(d) + limit * se for d, se in zip(differences, errors, strict=True)) / max(map(abs, aims))
    word = "fails" if largest > limit else "holds" if reach <= TOLERANCE else "not refuted"
    return Outcome(word, f"largest |z| {largest:.2f} of {len(errors)} (95%: {limit:.2f}); off by at most {reach:.1%}")


def floors(values: dict[str, Any]) -> Outcome:
    """The loop on a finite support over the floors of C1 and C4, and its exact divergence under C5's ceiling."""
    keys = ("floor", "c4_floor")
    over = [(p["simulated"] - p[key], p["se"]) for p in values["points"] for key in keys if p.get(key) is not None]
    under = [p["kl_ceiling"] - p["kl_exact"] for p in values["points"] if p.get("kl_ceiling") is not None]
    z = float(norm.isf(0.025 / len(over)))
    value, se = min(((d, se) for d, se in over if se > 0), key=lambda pair: pair[0] - z * pair[1])
    low, high = value - z * se, value + z * se
    word = "fails" if high < 0 or min(under) < 0 else "holds" if low >= 0 else "can't tell"
    return Outcome(word, f"{interval(value, low, high)} over the nearest floor; KL {min(under):.3f} under its ceiling")


def accumulation(values: dict[str, Any]) -> Outcome:
    """Accumulated data keep the error of regression under pi^2 / 6."""
    last = [point for point in values["points"] if point["policy"] == "accumulate"][-1]
    bound, reach = math.pi**2 / 6, 1.96 * last["se"]
    margin = bound - last["simulated"]
    word = "holds" if margin > reach else "fails" if margin < -reach else "can't tell"
    return Outcome(word, f"{interval(margin, margin - reach, margin + reach)} at fit {last['n']}")


def collapse_time(values: dict[str, Any]) -> Outcome:
    """Theorem 1 of Seddik et al."""
    times = values["collapse"]
    mean, (low, high) = times["mean"], times["bounds"]
    return Outcome(
        times["verdict"], f"{mean['value']:.1f} ({mean['low']:.1f} to {mean['high']:.1f}) in {low:.0f} to {high:.0f}"
    )


def theorem_3(values: dict[str, Any]) -> Outcome:
    """Theorem 3 of Seddik et al., which may be vacuous."""
    row = values["theorem_3"][-1]
    measured, bound = row["measured"], row["bound"]
    shown = "no bound" if bound is None else f"bound {bound}" if isinstance(bound, str) else f"bound {bound:.2g}"
    return Outcome(
        row["verdict"], f"L1 {measured['value']:.3f} ({measured['low']:.3f} to {measured['high']:.3f}), {shown}"
    )


def derived_3(values: dict[str, Any]) -> Outcome:
    """The bound that was derived for this project beside Theorem 3."""
    row = values["theorem_3"][-1]
    measured = row["measured"]
    reach = [row["derived"] - measured[key] for key in ("value", "high", "low")]
    return Outcome(row["derived_verdict"], interval(*reach))


def retraining(name: str) -> Judge:
    """Verdicts over seeds on retraining without choice."""

    def judge(comparison: dict[str, Any]) -> Outcome:
        rows = [row for row in comparison["retraining"] if row["claim"] == name]
        if not rows:
            return Outcome("missing", "the comparison has no such claim")
        row = min(rows, key=lambda row: WORST.index(row["verdict"]))
        if not row["margin"]:
            return Outcome(row["verdict"], row["reason"])
        margin = interval(*(row["margin"][key] for key in ("value", "low", "high")))
        return Outcome(row["verdict"], f"{margin}, {row['error']} a generation, {row['seeds']} seeds")

    return judge


def frontier(t: int) -> Judge:
    """Measured signs of the change of E[r] beside the predicted ones, at 5% for all cells together (Bonferroni)."""

    def judge(values: dict[str, Any]) -> Outcome:
        rows = [row for cell in values["phases"]["cells"] for row in cell["generations"] if row["t"] == t]
        z = float(norm.isf(0.025 / max(1, len(rows))))
        decided = [row for row in rows if abs(row["change"]["value"]) > z * row["change"]["se"]]
        agree = sum(row["change"]["value"] * row["predicted"] > 0 for row in decided)
        word = "fails" if agree < len(decided) else "holds" if decided else "can't tell"
        return Outcome(
            word, f"{agree} of {len(decided)} signs as predicted, {len(rows) - len(decided)} of {len(rows)} undecided"
        )

    return judge


def lock_in(values: dict[str, Any]) -> Outcome:
    """The toy's lock-in, exactly, at every generation."""
    rates = [point["rate"] for point in values["points"] if point["rate"] is not None]
    word = "holds" if values["locks_in"] else "fails"
    return Outcome(word, f"bound {values['rate_bound']:.3f}, rates {min(rates):.3f} to {max(rates):.3f} (exact)")


def lock_in_measured(evidence: dict[str, Any]) -> Outcome:
    """The lock-in of a study's simulated user."""
    user = evidence["coevolution"]
    if not user or not user["rate"]:
        return Outcome("can't tell", user["sentence"] if user else "the report has no such user")
    rate = user["rate"]
    shown = f"{rate['value']:.3f} ({rate['low']:.3f} to {rate['high']:.3f})"
    return Outcome(user["verdict"], f"rate {shown}, predicted {user['predicted']:.3f}, bound {user['bound']:.3f}")


def market_oracle(values: dict[str, Any]) -> Outcome:
    """Both rewards of a market within the oracle's."""
    keys = ("rewards", "expected", "spread")
    cells = [cell for row in values["rounds"][1:] for cell in zip(*(row[key] for key in keys), strict=True)]
    differences = [measured - expected for measured, expected, _ in cells]
    return of_differences(differences, [error for *_, error in cells], [expected for _, expected, _ in cells])


def market_backfire(values: dict[str, Any]) -> Outcome:
    """The first one's reward by its milder taste, where it curates twice as strongly less where it doesn't."""
    mild, strong = (run["rounds"][-1] for run in (values["beside"], values))
    value, predicted = (strong[key][0] / 2 - mild[key][0] for key in ("rewards", "exact"))
    errors = [row["spread"][0] for row in (mild, strong)]
    reach = 1.96 * math.hypot(errors[0], errors[1] / 2)
    word = "holds" if max(value + reach, predicted) < 0 else "fails" if value - reach > 0 else "can't tell"
    return Outcome(word, f"{interval(value, value - reach, value + reach)}, exact {predicted:.3g}".replace("-", "−"))


def alarms(key: str, least: float, most: float) -> Judge:
    """A share of simulated studies that has to lie in a range, by its whole exact interval."""

    def judge(values: dict[str, Any]) -> Outcome:
        hits, n = values[key]["hits"], values[key]["n"]
        low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
        high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
        word = "holds" if least <= low and high <= most else "fails" if low > most or high < least else "can't tell"
        return Outcome(word, f"{hits / n:.1%} ({low:.1%} to {high:.1%}) of {n} studies")

    return judge


FERBACH = "Ferbach et al. 2024, [2407.09499](https://arxiv.org/abs/2407.09499)"
SEDDIK = "Seddik et al. 2024, [2404.05090](https://arxiv.org/abs/2404.05090)"
GERSTGRASSER = "Gerstgrasser et al. 2024, [2404.01413](https://arxiv.org/abs/2404.01413)"
KAZDAN = "Kazdan et al. 2024, [2410.16713](https://arxiv.org/abs/2410.16713)"
WEI = "Wei and Zhang 2025, [2505.09768](https://arxiv.org/abs/2505.09768)"
ZHAO = "Zhao, Fu and Pham 2025, [2511.09002](https://arxiv.org/abs/2511.09002)"
FAN = "Fan et al. 2025, [2502.06061](https://arxiv.org/abs/2502.06061)"
SESSA = "Sessa et al. 2024 (BOND), [2407.14622](https://arxiv.org/abs/2407.14622)"
WALLACE = "Wallace et al. 2023 (Diffusion-DPO), [2311.12908](https://arxiv.org/abs/2311.12908)"
COEVOLVE = "[2610.09415](https://arxiv.org/abs/2610.09415)"
MARKETS = "Zhang, Wei and Zhang 2026, [2605.29267](https://arxiv.org/abs/2605.29267)"
PROXIES = (
    "Yi et al. 2025, [2510.16657](https://arxiv.org/abs/2510.16657); [2605.04266](https://arxiv.org/abs/2605.04266)"
)
ROWS = (
    Row("C1, improvement", "E_{t+1}[w] ≥ E_t[w] + (K−1)/K Var_t[w]/w*", FERBACH, "ferbach-pure", of_report("C1"),
        "pure loop, one known reward"),
    Row("C2, limit", "KL(p* ‖ p_t) → 0, so the mass at the highest reward never falls", FERBACH, "ferbach-pure",
        of_report("C2"), "pure loop; p_0 has mass there"),
    Row("C3, every generation", "E[f(r)] never falls, f increasing (here r)", f"derived from {FERBACH}",
        "ferbach-pure", of_report("C3"), "pure loop, one known reward"),
    Row("exact update", "p_{t+1} = p_t H^K, in E[w], one step", FERBACH, "ferbach-pure", of_report("one step"),
        "a learner without error"),
    Row("exact update", "p_t from p_0, in E[w], many steps", FERBACH, "ferbach-pure", of_report("many steps"),
        "a learner without error"),
    Row("exact update, whole law", "p_{t+1} = p_t H^K, kernel two-sample test", FERBACH, "ferbach-pure", whole_law,
        "a learner without error"),
    Row("retraining carries curation over", "measured over predicted gain is 1", f"implied by {FERBACH}",
        "ferbach-pure", transmission, "a learner without error"),
    Row("the same without a learner's error", "measured over predicted gain is 1", "control: a generator that copies",
        "ferbach-copies", transmission, "pure loop"),
    Row("transmission doesn't decay", "its slope over t is 0", "derived for this project", "ferbach-pure", decay,
        "3 generations or more; pure loop"),
    Row("... nor where it is copied", "its slope over t is 0", "control: a generator that copies", "ferbach-copies",
        decay, "3 generations or more; pure loop"),
    Row("... nor with real data",
        "its slope over t is 0 (a learner's constant bias looks like decay where gains get small)",
        "derived for this project", "ferbach-mixed", decay, "3 generations or more; λ = 1"),
    Row("C4, real data",
        "E_t[w] ≥ E_ref[w] + a V + aᵗ (E_0 − E_ref + V_0 − V), a = λ/(1+λ), V_t = (K−1) Var_t[w]/(K w*), V = V_ref "
        "(Ferbach et al.: E_ref + λ/(1+λ)³ V, p_0 = p_ref)",
        f"sharper than {FERBACH}", "ferbach-mixed", of_report("C4"), "real data in the mix, one known reward"),
    Row("C4, one step", "E_{t+1} ≥ E_ref/(1+λ) + λ/(1+λ) (E_t + (K−1)/K Var_t/w*)", f"derived from {FERBACH}",
        "ferbach-mixed", of_report("C4 one step"), "real data in the mix, one known reward"),
    Row("C5, stability",
        "KL(p_t ‖ p_ref) ≤ −log(1 − λ(K−1)); judged: a M log M + (1−a) m log m, m = 1/(1+λ), M = 1/(1 − λ(K−1))",
        f"sharper than {FERBACH}", "ferbach-stable", of_report("C5"),
        "λ < 1/(K−1); densities (points), else a lower bound"),
    Row("C5 reversed", "KL(p_ref ‖ p_t) ≤ log(1+λ)", f"derived from {FERBACH}", "ferbach-stable",
        of_report("C5 reversed"), "real data in the mix; densities"),
    Row("C6, link to RLHF", "p_t ∝ p_0 exp(t r), in E[w]", FERBACH, "ferbach-infinite", of_report("C6"),
        "K = ∞, pure loop"),
    Row("the loop on a finite support", "p_{t+1} of the exact operator, in E[w]", FERBACH, "curation",
        of_exact_points(), "`curate theory`"),
    Row("floors and ceilings there", "C1, C4 (simulated E[w]) and C5 (exact KL)", FERBACH, "curation", floors,
        "`curate theory`"),
    Row("types of raters", "p_{t+1} = p_t Σ_j a_j H^K_{r_j}, in E[w]", ZHAO, "types", of_report("one step"),
        "`[[population]]`; a learner without error"),
    Row("adversaries, first generation", "E[r] falls from a share φ on, which the exact operator gives",
        f"condition: {WEI}; exact share derived", "adversaries", frontier(1), "two known rewards"),
    Row("adversaries, later", "the same at generation 2", f"condition: {WEI}; exact share derived", "adversaries",
        frontier(2), "two known rewards"),
    Row("reward-weighted learning", "p e^{τr}/Z, in E[w]", FAN, "reward-weighted", of_report("one step"),
        "`learner.kind`; a learner without error"),
    Row("best of K", "K p F^{K−1}, in E[w]", SESSA, "best-of-k", of_report("one step"),
        "`learner.kind`; a learner without error"),
    Row("DPO's optimum", "p_t e^{r/β}, in E[w]", WALLACE, "dpo", of_report("one step"),
        "`learner.kind`; training to the optimum"),
    Row("DPO over whole slates", "p_t e^{r/β}, in E[w]", "derived for this project", "luce-dpo",
        of_report("one step"), "`learner.kind`; training to the optimum"),
    Row("total collapse", "S_m = 1 − (1 − 1/n)^m (1 − S_0)", SEDDIK, "categorical", of_exact_points("replace"),
        "synthetic data alone"),
    Row("partly synthetic", "E Σ p_i² with mix and accumulate, bounded for every n", f"derived from {SEDDIK}",
        "categorical", of_exact_points("mix", "accumulate"), "real data in the mix, or all data kept"),
    Row("Theorem 1, time to collapse",
        "1 + (1−S_0)(n−1)/(1−1/s~) ≤ E[T] ≤ 1 + (1−S_0) n(n−1), s~ the support's size", SEDDIK, "categorical",
        collapse_time, "synthetic data alone"),
    Row("Theorem 3, deviation", "E‖p^(m) − p^(1)‖₁ ≲ N⁻¹ √(πn/2) G_n(s)", SEDDIK, "theorem-3", theorem_3,
        "C_0 n/e + 2 ≤ s, C_0 = e³/2π"),
    Row("deviation, beside Theorem 3", "≤ √(s~ E‖p^(m) − p^(1)‖₂²)", "derived for this project", "theorem-3",
        derived_3, "real data in the mix"),
    Row("regression, replace", "error v n, v = σ² d/(T−d−1)", GERSTGRASSER, "linear", of_exact_points("replace"),
        "T ≥ d + 2, one design matrix"),
    Row("regression, accumulate", "error ≤ v π²/6", GERSTGRASSER, "linear", accumulation,
        "T ≥ d + 2, one design matrix"),
    Row("regression, accumulate", "v Σ 1/i²", GERSTGRASSER, "linear", of_exact_points("accumulate"),
        "T ≥ d + 2, one design matrix"),
    Row("Gaussian fits", "variance (1 − 1/N)^t σ² and Π (1 − 1/(N k²)) σ²", f"derived from {KAZDAN}", "gaussian",
        of_exact_points(), "biased variance"),
    Row("kernel densities", "variance by policy", f"derived from {KAZDAN}", "kde", of_exact_points(),
        "`curate theory`"),
    Row("mixes of real and synthetic rows", "error by number and share", f"derived from {KAZDAN}", "mixing",
        of_exact_points(), "Gaussian fits"),
    Row("replaced data diverge", "the error's slope is above 0", GERSTGRASSER, "retraining",
        retraining("replace diverges"), "no choice; here kernel densities of moons"),
    Row("kept data slow it", "a lower slope than replace's", GERSTGRASSER, "retraining",
        retraining("kept data slow it"), "no choice; here kernel densities of moons"),
    Row("kept data bound it", "slope over the second half under a tenth of replace's", GERSTGRASSER, "retraining",
        retraining("kept data bound it"), "no choice; here kernel densities of moons, 6 generations"),
    Row("transformer, all synthetic", "its error rises (the paper: L1 of next-token laws)", SEDDIK, "papers-seddik",
        retraining("replace diverges"), "no choice; texts"),
    Row("transformer, part real", "its error stays bounded (the paper: L1), worst of the shares", SEDDIK,
        "papers-seddik", retraining("kept data bound it"), "no choice; texts"),
    Row("transformer, replace", "cross-entropy rises", GERSTGRASSER, "papers-gerstgrasser",
        retraining("replace diverges"), "no choice; texts"),
    Row("transformer, accumulate", "it rises more slowly", GERSTGRASSER, "papers-gerstgrasser",
        retraining("kept data slow it"), "no choice; texts"),
    Row("VAE, replace", "Fréchet distance rises", GERSTGRASSER, "papers-vae", retraining("replace diverges"),
        "no choice; images"),
    Row("VAE, accumulate", "it rises more slowly", GERSTGRASSER, "papers-vae", retraining("kept data slow it"),
        "no choice; images"),
    Row("lock-in of a taste that follows", "odds of the others fall by λ_K(γ/2) or more, exact toy", COEVOLVE,
        "coevolve", lock_in, "a taste of length 1, pure loop"),
    Row("lock-in in a study", "the same, measured", COEVOLVE, "following", lock_in_measured,
        "`curation.drift`; items that are finitely many"),
    Row("two loops in one market", "moments of a mixture of tilted Gaussians: rewards by round",
        f"derived for {MARKETS}", "market", market_oracle, "Gaussian fits, linear rewards, K = ∞"),
    Row("curation that backfires", "twice the curation lowers one's reward, by the same taste", MARKETS,
        "market-stronger", market_backfire, "exchange (here 0.3), several rounds", "market"),
    Row("a loop converges to the fitted user", "where that is blind to what people dislike, it is named", PROXIES,
        "proxy", alarms("blind", 0.8, 1.0), "simulated people; named in 80% or more"),
    Row("... and an honest proxy isn't named", "false alarms at a level of 5%", PROXIES, "proxy",
        alarms("honest", 0.0, 0.1), "simulated people; under 10%"),
    Row("tastes drift toward what is shown", "found where they do, β = 0.4", COEVOLVE, "drift",
        alarms("drifting", 0.5, 1.0), "simulated people; found in half or more"),
    Row("... and steady ones don't", "false alarms at a level of 5%", COEVOLVE, "drift", alarms("steady", 0.0, 0.1),
        "simulated people; under 10%"),
    Row("win rates at every look", "confidence sequences cover at all looks together, 95% or more",
        "Howard et al. 2021; Waudby-Smith and Ramdas 2024", "watched", alarms("always valid", 0.95, 1.0),
        "simulated raters"),
    Row("... where fixed-n intervals don't", "they cover at fewer than 95% of such studies", "the same", "watched",
        alarms("fixed n", 0.0, 0.95), "simulated raters"),
)  # fmt: skip
UNTESTED = (
    ("T2.2, contraction by λ/(1+λ) in parameters", FERBACH,
     "It speaks of the learner's parameters near an optimum; curate measures laws, and a network's parameters have "
     "no law's distance."),
    ("CIFAR-10: classes, FID, 20 generations", FERBACH,
     "Tested by a study, but it needs a GPU for hours: [cifar10.md](cifar10.md)."),
    ("KL(best of K ‖ p) ≤ log K − (K−1)/K", SESSA,
     "No density of one generation against another is measured; the law itself is tested above."),
    ("TinyStories and CelebA at the papers' sizes", GERSTGRASSER,
     "`make papers-full`, on a GPU; at small sizes `make papers`: "
     "[reproduction-gerstgrasser.md](reproduction-gerstgrasser.md)."),
    ("GeoDiff, molecule conformations", GERSTGRASSER, "No such generator is planned."),
    ("accumulate-subsample's limit", KAZDAN,
     "No closed form is known; `curate theory linear --policy accumulate_subsample` simulates it."),
    ("people's tastes follow what they are shown", COEVOLVE,
     "Needs a crowd over several generations; the test and its power are in [beyond-power.md](beyond-power.md)."),
    ("a fitted user and the people behind it drift apart", PROXIES,
     "Needs people; every report of a study with a proxy judges it. Above: simulated people."),
    ("attacks that choose their picks under a budget", WEI,
     "Adversaries here pick by a reward of their own and don't plan."),
    ("markets of more than two, finite K, other generators", MARKETS,
     "They run (`curate market`), but without an oracle there is no verdict."),
)  # fmt: skip


def measure(name: str) -> dict[str, dict[str, int]]:
    """Counts over simulated studies in memory."""
    if name == "watched":
        from benchmarks.win_rates import TASTES, calibrate

        known = calibrate(TASTES[3], 30, "20", SIMULATED, np.random.default_rng(0))
        shares = {"always valid": known.watched, "fixed n": known.fixed_looks}
        return {key: {"hits": round(share * SIMULATED), "n": SIMULATED} for key, share in shares.items()}
    from benchmarks.simulated_proxies import DriftStudy, ProxyStudy, simulate, simulate_drift

    n = SIMULATED // 2
    if name == "proxy":
        settings = {"honest": ProxyStudy(), "blind": ProxyStudy(blind=1.0)}
        return {
            key: {"hits": sum(simulate(setting, i).verdict == "found" for i in range(n)), "n": n}
            for key, setting in settings.items()
        }
    drifts = {"steady": (DriftStudy(), 3 * n), "drifting": (DriftStudy(beta=0.4), n)}
    return {
        key: {"hits": sum(simulate_drift(setting, i)[1].verdict == "found" for i in range(n)), "n": n}
        for key, (setting, n) in drifts.items()
    }


def make(name: str, folder: Path) -> str:
    """Makes a run that is missing; says what came of it."""
    run, began, output = RUNS[name], time.monotonic(), ""
    if (folder / run.result).exists():
        return f"{name}: there"
    for command in run.commands:
        if command[0] == "new" and (folder / command[1]).exists():
            continue
        start = ["benchmarks.claims", "--measure", command[1]] if command[0] == "measure" else ["curate_app", *command]
        paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-m", *start], cwd=folder, capture_output=True, text=True, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        )  # fmt: skip
        output = done.stdout
        if done.returncode:
            return f"{name}: failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    if "/" not in run.result:
        draft = folder / f".{run.result}"
        draft.write_text(output, encoding="utf-8")
        draft.replace(folder / run.result)
    return f"{name}: done in {time.monotonic() - began:.0f} s"


def judged(row: Row, folder: Path) -> Outcome:
    """The outcome of a claim by its run; 'missing' where that isn't there."""
    file = folder / RUNS[row.run].result
    if not file.exists():
        return Outcome("missing", f"not run yet: `{RUNS[row.run].target or 'make claims'}`")
    values = json.loads(file.read_text(encoding="utf-8"))
    if row.beside:
        beside = folder / RUNS[row.beside].result
        if not beside.exists():
            return Outcome("missing", "not run yet: `make claims`")
        values["beside"] = json.loads(beside.read_text(encoding="utf-8"))
    return row.judge(values)


def document(folder: Path, minutes: float | None) -> str:
    """The text of docs/claims.md."""
    outcomes = [judged(row, folder) for row in ROWS]
    tally = Counter(outcome.verdict.partition(" (")[0] for outcome in outcomes)
    took = f", {minutes:.0f} minutes" if minutes else ""
    words = ", ".join(f"{n} {word}" for word, n in tally.most_common())
    rows = [
        (row.claim, row.formula, row.source, row.needs, row.run, f"**{outcome.verdict}**", outcome.margin)
        for row, outcome in zip(ROWS, outcomes, strict=True)
    ]
    lines = [
        "# Claims of the literature", "",
        "<!-- Written by `make claims` (benchmarks/claims.py) from the runs' JSON; don't edit it. -->", "",
        f"Every claim that curate can test, with its formula and source, and what the default runs say: {words}. "
        "These runs are small, of a seed each unless the table says otherwise: a verdict is theirs, not the last word. "
        "Studies of yours have the same verdicts in their reports.", "",
        f"    make claims        # {machine()}{commit()}{took}", "",
        "*Margin*: how far on the right side of the claim the measurement lies, with the interval of the verdict, "
        "which in a report shares 5% of error with all its verdicts; of claims of equality the difference. Of several "
        "generations the worst verdict is shown, and how many there are of each. *Holds* rests on the whole interval: "
        f"on the right side, or of equality within {TOLERANCE:.0%} of what was predicted (of a table of values: of the "
        "largest). *Not refuted*: no difference was found, by an interval that is wider, or by a test, which has none. "
        "*Can't tell*: the interval has both sides in it.", "",
        *table("claim", "formula", "source", "needs", "run", "verdict", "margin, interval", rows=rows),
        "## Not tested here, and why", "",
        *table("claim", "source", "why", rows=UNTESTED),
        "## Runs", "",
        "In `studies/claims`; a study also by `curate report`. The papers' runs are in `studies/papers`.", "",
        *table("run", "command", rows=[(name, run.words) for name, run in RUNS.items()]),
    ]  # fmt: skip
    return "\n".join(lines)


def table(*heads: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table, with an empty one after it."""
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {line} |" for line in lines), ""]


def main(arguments: Iterable[str] | None = None) -> None:
    """Runs what is missing, and writes the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        action="append",
        choices=[name for name, run in RUNS.items() if run.commands],
        help="a run; may be given again",
    )
    parser.add_argument("--write", action="store_true", help="run nothing; write the document from what is there")
    parser.add_argument("--measure", choices=["proxy", "drift", "watched"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path("studies/claims"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.measure:
        sys.stdout.write(json.dumps(measure(options.measure)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    wanted = [] if options.write else options.only or [name for name, run in RUNS.items() if run.commands]
    missing = [name for name in wanted if not (options.folder / RUNS[name].result).exists()]
    began = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        for line in pool.map(lambda name: make(name, options.folder), missing):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    whole = len(missing) == sum(bool(run.commands) for run in RUNS.values())
    options.out.write_text(
        document(options.folder, (time.monotonic() - began) / 60 if whole else None), encoding="utf-8"
    )
    sys.stdout.write(f"Wrote {options.out}.\n")


if __name__ == "__main__":
    main()
