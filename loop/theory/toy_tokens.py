"""Toy models on a finite support: frequencies of tokens learned from their own draws, and the curated loop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from loop.policies import DataPolicy
from loop.theory import bounds
from loop.theory.population import Curators, kl, mean, policy_loop, variance
from loop.theory.toy_models import (
    Curve,
    Point,
    Report,
    blocks,
    check,
    check_policies,
    check_range,
    compositions,
    generator,
    mean_and_se,
    part_of,
    spread,
    z_score,
)
from model.luce import K, LuceRule


@dataclass(frozen=True, slots=True)
class Support:
    """The tokens, and how they are liked.

    Attributes:
        truth: (m,) masses of the law that the real data are drawn from.
        rewards: (m,) r of each token.
        rule: how a row is picked; K = 1 is plain drawing.
    """

    truth: np.ndarray
    rewards: np.ndarray
    rule: LuceRule


@dataclass(frozen=True, slots=True)
class Step:
    """One generation of many repetitions.

    Attributes:
        law: (repetitions, m) what was learned.
        sets: (repetitions, m) frequencies in the real data, and in every set that it could be learned from.
        shares: how much each of them was to count.
    """

    law: np.ndarray
    sets: list[np.ndarray]
    shares: tuple[float, ...]


def simulate(
    support: Support, policy: DataPolicy, rows: int, generations: int, repetitions: int, rng: np.random.Generator
) -> Iterator[Step]:
    """Yields the generations, the first learned from `rows` real rows that each repetition draws from the truth."""
    asked = policy.asked(rows)
    real = rng.multinomial(rows, support.truth, size=repetitions)
    counts, law = [real], real / rows
    yield Step(law, [law], (1.0,))
    for _ in range(generations - 1):
        counts.append(_picked(support, law, asked, rng))
        sizes = [asked] * (len(counts) - 1)
        law = _trained(counts, *compositions(policy, rows, sizes, repetitions, rng), rng)
        real_share, set_shares = policy.shares(rows, sizes)
        yield Step(law, [c / c[0].sum() for c in counts], (real_share, *set_shares))


def _trained(counts: list[np.ndarray], rows: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, m) frequencies in the training set: of each set so many rows, drawn without replacement."""
    law = np.zeros(counts[0].shape)
    for have, taken, share in zip(counts, rows.T, shares.T, strict=True):
        if taken.any():
            law += (share / np.maximum(taken, 1))[:, None] * _thinned(have, taken, rng)
    return law / law.sum(axis=1, keepdims=True)


def _thinned(counts: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, m) counts among `taken` rows drawn without replacement: hypergeometric, token by token."""
    size = counts[0].sum()
    if (taken == size).all():
        return counts
    out, left, wanted = np.empty_like(counts), np.full(len(counts), size), taken.copy()
    for token in range(counts.shape[1]):
        left = left - counts[:, token]
        out[:, token] = rng.hypergeometric(counts[:, token], left, wanted)
        wanted = wanted - out[:, token]
    return out


def _picked(support: Support, law: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, m) counts among n rows, each picked by Luce's rule from a slate of its own."""
    k, weight = support.rule.k, np.exp(support.rewards - support.rewards.max())
    if k == 1:
        return rng.multinomial(n, law)
    if k == "inf":
        return rng.multinomial(n, law * weight / (law @ weight)[:, None])
    slates = _draws(law, n * k, rng).reshape(len(law), n, k)
    reached = weight[slates].cumsum(axis=2)
    places = (rng.random((len(law), n, 1)) * reached[..., -1:] > reached).sum(axis=2)
    return _count(np.take_along_axis(slates, places[..., None], axis=2)[..., 0], law.shape[1])


def _draws(law: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, n) tokens drawn from (repetitions, m) laws: one search through all the laws end to end."""
    m = law.shape[1]
    row = np.arange(len(law))[:, None]
    ends = (law.cumsum(axis=1) + row).ravel()
    found = np.searchsorted(ends, rng.random((len(law), n)) + row, side="right") - m * row
    last = m - 1 - (law[:, ::-1] > 0).argmax(axis=1)[:, None]  # rounding must not reach a token that is gone
    return np.minimum(found, last)


def _count(tokens: np.ndarray, m: int) -> np.ndarray:
    """(repetitions, m) counts of (repetitions, n) tokens."""
    places = tokens + m * np.arange(len(tokens))[:, None]
    return np.bincount(places.ravel(), minlength=m * len(tokens)).reshape(len(tokens), m)


@dataclass(frozen=True, slots=True)
class CategoricalModel:
    """The model's sizes, and how rows are curated.

    Attributes:
        vocabulary: m tokens; token i has mass proportional to 1/i.
        rows: N real rows.
        k: each synthetic row is picked from K draws by Luce's rule; 1 is no curation.
        gamma: reward of the rarest token; the commonest has 0, the others stand evenly between.

    Raises:
        ValueError: sizes out of range.
    """

    vocabulary: int = 10
    rows: int = 20
    k: K = 1
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_range("vocabulary", self.vocabulary, 2, 10_000)
        check_range("rows", self.rows, 2, 100_000)
        check_slate(self.k)
        check_range("gamma", self.gamma, 0, 100)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Diversity, and how many tokens still have mass."""
        return ("diversity 1 − Σp²", "tokens_left")

    @property
    def support(self) -> Support:
        """The truth, the rewards and the rule."""
        masses = 1 / np.arange(1, self.vocabulary + 1)
        rewards = np.linspace(0, self.gamma, self.vocabulary)
        return Support(masses / masses.sum(), rewards, LuceRule(self.k))

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        slates = policy.asked(self.rows) * self.k if isinstance(self.k, int) and self.k > 1 else 0
        return 2 * self.vocabulary * (generations + 1) + 4 * slates

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray | None:
        """(generations,) expected diversity at n = 1, 2, ...: the truth's times `spread`; None with curation."""
        if self.k != 1:
            return None
        return (1 - (self.support.truth**2).sum()) * spread(policy, self.rows, generations)

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """With curation: the diversity there would be with endless rows, by the K-choice operator."""
        if self.k == 1:
            return {}
        s = self.support
        laws = policy_loop(s.rewards, s.truth, s.truth, policy, Curators.alike(s.rule), generations - 1)
        return {"endless_rows": 1 - (laws**2).sum(axis=1)}

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, fit by fit, (2, repetitions): diversity and tokens left."""
        for step in simulate(self.support, policy, self.rows, generations, repetitions, rng):
            yield np.stack([1 - (step.law**2).sum(axis=1), (step.law > 0).sum(axis=1)])


def check_slate(k: K) -> None:
    """Raises ValueError for a K that the simulation can't take."""
    if k != "inf":
        check_range("K", k, 1, 1_000)


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
    def support(self) -> Support:
        """p_ref, the rewards (the largest is 0, so w* = 1) and the rule."""
        rewards = np.linspace(-self.gamma, 0, self.size)
        return Support(np.full(self.size, 1 / self.size), rewards, LuceRule(self.k))

    def population(self, policy: DataPolicy, generations: int) -> np.ndarray:
        """(generations + 1, size) laws at t = 0, 1, ... with endless rows and picks: exact, by the operator H^K."""
        s = self.support
        sizes = self.rows, policy.asked(self.rows)
        return policy_loop(s.rewards, s.truth, s.truth, policy, Curators.alike(s.rule), generations, *sizes)

    def promises(self, policy: DataPolicy, laws: np.ndarray) -> list[dict[str, float]]:
        """The theory's promises on the population loop, for each of (generations + 1, size) laws; nothing of the first.

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
        found = _simulated_loops(model, policy, generations, repetitions, generator(seed, policy), part)
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


def _simulated_loops(
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
        for step in simulate(support, policy, model.rows, generations + 1, size, rng):
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
