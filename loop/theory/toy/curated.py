"""The curated loop on a finite support: finite picks, simulated, beside the exact population loop and its promises.

Generation t = 0 is learned from N real rows drawn from p_ref; a set of picks follows from each generation, and the
policy composes the training set whose frequencies are generation t + 1. What is measured is E_t[w] / w*, w = exp(r),
the quantity of the theorem (Ferbach et al. 2024, arXiv 2407.09499), and KL(p_t || p_ref).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loop.policies import DataPolicy
from loop.theory import bounds
from loop.theory.operator import ChoiceRule, K
from loop.theory.population import Curators, kl, mean, policy_loop, variance
from loop.theory.toy import tokens
from loop.theory.toy.categorical import check_slate
from loop.theory.toy.curve import (
    Curve,
    Point,
    Report,
    blocks,
    check,
    check_policies,
    check_range,
    generator,
    mean_and_se,
    part_of,
    z_score,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CuratedModel:
    """The loop's sizes, and how rows are picked.

    Attributes:
        size: points of the support, each of the same mass in p_ref.
        gamma: the last point's reward; the first has 0, the others stand evenly between.
        k: samples in a slate.
        rows: N real rows; a set has as many picks, or lam times that under 'mix'.

    Raises:
        ValueError: sizes out of range.
    """

    size: int = 10
    gamma: float = 2.0
    k: K = 2
    rows: int = 1_000

    def __post_init__(self) -> None:
        check_range("size", self.size, 2, 1_000)
        check_range("gamma", self.gamma, 0, 100)
        check_slate(self.k)
        check_range("rows", self.rows, 2, 100_000)

    @property
    def support(self) -> tokens.Support:
        """p_ref, the rewards (the largest is 0, so w* = 1) and the rule."""
        rewards = np.linspace(-self.gamma, 0, self.size)
        return tokens.Support(np.full(self.size, 1 / self.size), rewards, ChoiceRule(self.k))

    def population(self, policy: DataPolicy, generations: int) -> np.ndarray:
        """(generations + 1, size) laws at t = 0, 1, ... with endless rows and picks: exact, by the operator H^K."""
        s = self.support
        sizes = self.rows, policy.asked(self.rows)
        return policy_loop(s.rewards, s.truth, s.truth, policy, Curators.alike(s.rule), generations, *sizes)

    def promises(self, policy: DataPolicy, laws: np.ndarray) -> list[dict[str, float]]:
        """What theory says of the population loop, for each of (generations + 1, size) laws; nothing of the first.

        `floor` under E_t[w]: C1 for every set, weighed as the policy weighs it; that is C1 itself for the pure loop and
        the sharp one-step C4 for the mixed one (the general case was derived). `c4_floor`: C4 as printed; `kl_ceiling`:
        C5 where lam < 1 / (K - 1), both of the mixed loop alone.
        """
        w = np.exp(self.support.rewards)
        e, var = mean(w, laws), variance(w, laws)
        floors = [bounds.c1_floor(float(a), float(v), 1.0, self.k) for a, v in zip(e, var, strict=True)]
        out: list[dict[str, float]] = [{}]
        for t in range(1, len(laws)):
            real_share, shares = policy.shares(self.rows, [policy.asked(self.rows)] * t)
            found = {"floor": float(real_share * e[0] + np.dot(shares, floors[:t]))}
            if policy.is_mixed:
                found["c4_floor"] = bounds.c4_floor_paper(float(e[0]), float(var[0]), 1.0, self.k, policy.lam)
                if bounds.c5_applies(self.k, policy.lam):
                    found["kl_ceiling"] = bounds.c5_ceiling(self.k, policy.lam)
            out.append(found)
        return out


def curated_curves(
    model: CuratedModel,
    policies: Sequence[DataPolicy],
    generations: int,
    repetitions: int,
    seed: int,
    report: Report = lambda share: None,
) -> list[Curve]:
    """One curve of E_t[w] / w* per policy, t = 0 .. generations.

    `exact` is the population loop, from which finite samples stray by about 1/N. So z is of simulated minus
    `extra["expected"]`: the mean, over the repetitions, of what generation t must come to in expectation given the
    generations before it, by the operator at each repetition's own law. That is exact for any N. z is in standard
    errors of that difference (`se` is simulated's own); it is uncorrelated from one generation to the next.
    """
    check(generations, repetitions, seed)
    check_policies(policies)
    out = []
    for index, policy in enumerate(policies):
        part = part_of(report, index, len(policies))
        found = _simulated(model, policy, generations, repetitions, generator(seed, policy), part)
        laws = model.population(policy, generations)
        exact, promises = mean(np.exp(model.support.rewards), laws), model.promises(policy, laws)
        points = []
        for t, (value, expected, divergence) in enumerate(found):
            simulated, se = mean_and_se(value)
            extra = {"expected": float(expected.mean())}
            extra |= {"kl_exact": kl(laws[t], laws[0]), "kl_simulated": float(divergence.mean())} | promises[t]
            off, off_se = mean_and_se(value - expected)
            points.append(Point(t, float(exact[t]), simulated, se, z_score(off, off_se, simulated), extra))
        out.append(Curve(policy, tuple(points)))
    return out


def _simulated(
    model: CuratedModel,
    policy: DataPolicy,
    generations: int,
    repetitions: int,
    rng: np.random.Generator,
    report: Report,
) -> np.ndarray:
    """(generations + 1, 3, repetitions): E[w], its expectation given the generations before, and KL(p_t || p_ref)."""
    support = model.support
    w, curators = np.exp(support.rewards), Curators.alike(support.rule)
    slates = policy.asked(model.rows) * (model.k if isinstance(model.k, int) else 1)
    sizes = blocks(repetitions, 4 * slates + 2 * model.size * generations)
    parts = []
    for index, size in enumerate(sizes):
        steps, latest = [], np.full(size, w @ support.truth)  # what the latest set's E[w] must be in expectation
        for step in tokens.simulate(support, policy, model.rows, generations + 1, size, rng):
            parts_w = [*(part @ w for part in step.sets[:-1]), latest]
            expected = sum((share * part for share, part in zip(step.shares, parts_w, strict=True)), np.zeros(size))
            steps.append(np.stack([step.law @ w, expected, _divergence(step.law, support.truth)]))
            latest = curators.pick(support.rewards, step.law.T).T @ w
            report((index + len(steps) / (generations + 1)) / len(sizes))
        parts.append(np.stack(steps))
    return np.concatenate(parts, axis=2)


def _divergence(laws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(repetitions,) KL of (repetitions, m) laws from one that has mass everywhere."""
    logs = np.log(laws, out=np.zeros_like(laws), where=laws > 0)
    return (laws * (logs - np.log(truth))).sum(axis=1)
