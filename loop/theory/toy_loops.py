"""Toy loops with exact curves: a user whose taste follows what is shown, and two loops in one market.

The first is on a finite support, beside its bound (arXiv 2610.09415); the second of Gaussians (arXiv 2605.29267).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from loop.theory.population import Curators
from loop.theory.toy_models import OnProgress, check_range, mean_and_se
from model.luce import K, LuceRule

Moments = tuple[np.ndarray, np.ndarray]
"""The mean and the covariance of a law."""


@dataclass(frozen=True, slots=True)
class CoevolvingModel:
    """The pure loop with one user whose taste w_t is drawn toward what is shown.

    Items have directions phi_i of length 1, rewards are `tau <w_t, phi_i>`, the law is `p_{t+1} = p_t H^K`, and the
    taste is `w_{t+1} = Proj((1 - beta) w_t + beta sum_i p_{t+1}(i) phi_i)`, of length 1.

    Attributes:
        items: number of them, in equal shares at first.
        dimension: of their directions.
        k: samples in a slate.
        tau: scale of the reward.
        beta: share of the taste that follows.
        rows: picks in a generation.

    Raises:
        ValueError: sizes out of range.

    Source: arXiv 2610.09415, as in theory.md, section 6.
    """

    items: int = 8
    dimension: int = 4
    k: K = 2
    tau: float = 2.0
    beta: float = 0.2
    rows: int = 1_000

    def __post_init__(self) -> None:
        check_range("items", self.items, 2, 200)
        check_range("dimension", self.dimension, 2, 100)
        check_range("tau", self.tau, 0, 10)
        check_range("beta", self.beta, 0, 1)
        check_range("rows", self.rows, 10, 100_000)
        if self.k != "inf":
            check_range("K", self.k, 1, 1_000)

    def start(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(items, dimension) directions, the winner's first, and the (dimension,) taste at first."""
        rng = np.random.default_rng(seed)
        directions = rng.standard_normal((self.items, self.dimension))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        taste = directions[0] + 0.5 * rng.standard_normal(self.dimension) / np.sqrt(self.dimension)
        taste /= np.linalg.norm(taste)
        order = np.argsort(-(directions @ taste), kind="stable")
        return directions[order], taste

    def bound(self, margin: float) -> float:
        """`lock_in_bound` where the winner leads by `margin`."""
        return lock_in_bound(self.k, self.tau, margin)

    def limit(self, directions: np.ndarray) -> float:
        """The rate at which the others fade at last: the taste is then the winner's direction (C2's tail ratio).

        For beta = 0 the taste stays, and this isn't its rate.
        """
        lead = 1 - float(np.max(directions[1:] @ directions[0]))
        fade = np.exp(-self.tau * lead)
        return float(fade) if self.k == "inf" else float(self.k * fade / (self.k - 1 + fade))


def lock_in_bound(k: K, tau: float, margin: float) -> float:
    """The rate `lambda_K(margin)`: the winner's odds against the others grow by at least its inverse in a round.

    `1 - (1 - e^{-tau margin}) (K - 1) / (e^{2 tau} + K - 1)`, where the winner leads by `margin` at least.

    Source: arXiv 2610.09415, as in theory.md, section 6.
    """
    share = 1.0 if k == "inf" else (k - 1) / (math.exp(min(2 * tau, 700.0)) + k - 1)
    return 1 - (1 - math.exp(-tau * margin)) * share


@dataclass(frozen=True, slots=True)
class CoevolvingPoint:
    """One generation.

    Attributes:
        t: its number.
        winner: share of the winning item with endless picks.
        simulated: mean share over repetitions, with
        se: its standard error, and
        z: of its difference from what the generation before it lets expect, exactly; None at t = 0.
        margin: by which the winner leads the runner-up in the taste, before the scale tau; of endless picks.
        rate: odds of all others against the winner, over those of the generation before; None at t = 0.
        simulated_rate: likewise, of the mean odds in the repetitions, and its 95% interval.
    """

    t: int
    winner: float
    simulated: float
    se: float
    z: float | None
    margin: float
    rate: float | None
    simulated_rate: tuple[float, float, float] | None


def coevolve(
    model: CoevolvingModel,
    generations: int,
    repetitions: int,
    seed: int,
    on_progress: OnProgress = lambda share: None,
) -> list[CoevolvingPoint]:
    """The loop with endless picks, and many repetitions with finitely many, generation by generation.

    Args:
        model: its sizes.
        generations: the last t.
        repetitions: of the loop with finitely many picks.
        seed: of the directions and everything drawn.
        on_progress: called with the share done.

    Raises:
        ValueError: numbers out of range.
    """
    check_range("generations", generations, 1, 500)
    check_range("repetitions", repetitions, 10, 10_000)
    directions, first = model.start(seed)
    curators = Curators.alike(LuceRule(model.k))
    rng = np.random.default_rng([seed, 1])
    law, taste = np.full(model.items, 1 / model.items), first
    laws, tastes = np.tile(law, (repetitions, 1)), np.tile(first, (repetitions, 1))
    expected: np.ndarray | None = None
    points: list[CoevolvingPoint] = []
    odds_before: tuple[float, np.ndarray] | None = None
    for t in range(generations + 1):
        lead = directions @ taste
        odds, many = law[1:].sum() / law[0], laws[:, 1:].sum(axis=1) / np.maximum(laws[:, 0], 0.5 / model.rows)
        value, se = mean_and_se(laws[:, 0])
        z, rate, simulated_rate = None, None, None
        if expected is not None and odds_before is not None:
            off, off_se = mean_and_se(laws[:, 0] - expected)
            z = off / off_se if off_se > 0 else 0.0
            rate = float(odds / odds_before[0]) if odds_before[0] > 0 else 0.0
            simulated_rate = ratio_with_interval(many, odds_before[1])
        margin = float(lead[0] - lead[1:].max())
        points.append(CoevolvingPoint(t, float(law[0]), value, se, z, margin, rate, simulated_rate))
        if t == generations:
            break
        odds_before = float(odds), many
        law = curators.pick(model.tau * lead, law)
        picks = np.stack([
            curators.pick(model.tau * (directions @ own), row) for own, row in zip(tastes, laws, strict=True)
        ])  # fmt: skip
        expected = picks[:, 0]
        laws = rng.multinomial(model.rows, picks / picks.sum(axis=1, keepdims=True)) / model.rows
        taste = turned(taste[None], law[None] @ directions, model.beta)[0]
        tastes = turned(tastes, laws @ directions, model.beta)
        on_progress((t + 1) / generations)
    return points


def turned(tastes: np.ndarray, shown: np.ndarray, beta: float) -> np.ndarray:
    """(n, d) tastes of length 1, drawn toward (n, d) means of what was shown."""
    mixed = (1 - beta) * tastes + beta * shown
    lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.where(lengths > 1e-12, mixed / np.maximum(lengths, 1e-12), tastes)


def ratio_with_interval(now: np.ndarray, before: np.ndarray) -> tuple[float, float, float] | None:
    """The ratio of two means over repetitions, which go together, with its 95% interval (delta method)."""
    if not before.mean() > 0:
        return None
    ratio = float(now.mean() / before.mean())
    _, se = mean_and_se((now - ratio * before) / before.mean())
    return ratio, ratio - 1.96 * se, ratio + 1.96 * se


def locks_in(model: CoevolvingModel, points: Sequence[CoevolvingPoint]) -> bool:
    """True if no generation's odds fell more slowly than the bound at half the first margin allows.

    It is claimed as long as the winner leads by that half.
    """
    half = points[0].margin / 2
    steps = [(before.margin, now.rate) for before, now in pairwise(points)]
    return all(rate is None or margin < half or rate <= model.bound(half) + 1e-9 for margin, rate in steps)


@dataclass(frozen=True, slots=True)
class GaussianSide:
    """One of two loops in one market, whose generator is a Gaussian and whose user picks by a linear reward, K = inf.

    Attributes:
        mean: (d,) of the generator's law.
        covariance: (d, d) likewise.
        taste: (d,) a of the reward `<a, x>`, its scale included.
        lam: curated : real in the training set; inf for the curated alone.
        real_mean: (d,) of the real data; used where lam is finite.
        real_covariance: (d, d) likewise.
    """

    mean: np.ndarray
    covariance: np.ndarray
    taste: np.ndarray
    lam: float
    real_mean: np.ndarray
    real_covariance: np.ndarray

    @property
    def reward(self) -> float:
        """The mean reward of the generator's samples."""
        return float(self.taste @ self.mean)

    @property
    def picked(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of what is picked: the exponential tilt moves a Gaussian by `covariance @ taste`."""
        return self.mean + self.covariance @ self.taste, self.covariance

    def fitted(self, own: Moments, other: Moments, exchange: float) -> "GaussianSide":
        """The next generator: the Gaussian with the moments of the mixture of own and other's picks, and real data."""
        real = 0.0 if math.isinf(self.lam) else 1 / (1 + self.lam)
        shares = (real, (1 - real) * (1 - exchange), (1 - real) * exchange)
        parts = ((self.real_mean, self.real_covariance), own, other)
        mean = sum((share * part[0] for share, part in zip(shares, parts, strict=True)), np.zeros_like(self.mean))
        covariance = np.zeros_like(self.covariance)
        for share, (centre, spread) in zip(shares, parts, strict=True):
            covariance += share * (spread + np.outer(centre - mean, centre - mean))
        return replace(self, mean=mean, covariance=covariance)


@dataclass(frozen=True, slots=True)
class MarketDraws:
    """The way in which the picks of a market are drawn.

    Attributes:
        picks: in a round, of each side.
        pools: samples for each pick, of each side.
        chunk: picks that are drawn together, from all their samples by weight.
        shared: both sides draw with the same noise, as studies of one seed do.
    """

    picks: tuple[int, int]
    pools: tuple[int, int]
    chunk: int
    shared: bool = False


def market(first: GaussianSide, second: GaussianSide, exchange: float, rounds: int) -> np.ndarray:
    """(rounds + 1, 2) mean rewards of two loops of which each trains by the share `exchange` on the other's picks.

    Exact for moment-matched Gaussian fits, linear rewards and K = inf; not finite where they grow beyond all bounds.
    Source: arXiv 2605.29267 for the market; the Gaussian case follows from the tilt and from the moments of a mixture.
    """
    sides, rewards = (first, second), [(first.reward, second.reward)]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(rounds):
            picks = [side.picked for side in sides]
            sides = sides[0].fitted(picks[0], picks[1], exchange), sides[1].fitted(picks[1], picks[0], exchange)
            rewards.append((sides[0].reward, sides[1].reward))
    return np.array(rewards)


def tail(first: GaussianSide, second: GaussianSide, exchange: float, rounds: int, draws: MarketDraws) -> list[float]:
    """Effective samples that carry the weight of a chunk's picks in each round: `m e^{-Var[r]}` of m, of the fewer."""
    sides, sizes = (first, second), []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(rounds):
            picks = [side.picked for side in sides]
            own = [min(n, draws.chunk) * pool * np.exp(-side.taste @ side.covariance @ side.taste)
                   for side, n, pool in zip(sides, draws.picks, draws.pools, strict=True)]  # fmt: skip
            sizes.append(float(np.nan_to_num(min(own))))
            sides = sides[0].fitted(picks[0], picks[1], exchange), sides[1].fitted(picks[1], picks[0], exchange)
    return sizes


def market_of_picks(
    first: GaussianSide,
    second: GaussianSide,
    exchange: float,
    rounds: int,
    draws: MarketDraws,
    repetitions: int = 200,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """(rounds + 1, 2) means and standard deviations of the mean rewards where picks are finitely many.

    Args:
        first: a side.
        second: the other.
        exchange: share of the other's picks in a training set of picks.
        rounds: of training.
        draws: how picks are drawn.
        repetitions: of the market.
        seed: of everything drawn.
    """
    rng, rewards = np.random.default_rng(seed), np.empty((repetitions, rounds + 1, 2))
    most = max(n * pool for n, pool in zip(draws.picks, draws.pools, strict=True))
    for i in range(repetitions):
        sides = (first, second)
        rewards[i, 0] = first.reward, second.reward
        for t in range(rounds):
            picks, noise = [], None
            for side, n, pool in zip(sides, draws.picks, draws.pools, strict=True):
                if noise is None or not draws.shared:
                    noise = rng.standard_normal((most, len(first.mean))), rng.random(max(draws.picks))
                chosen = picked_rows(side, noise[0][: n * pool], noise[1][:n], draws.chunk * pool)
                picks.append((chosen.mean(axis=0), np.cov(chosen.T, bias=True).reshape(side.covariance.shape)))
            sides = sides[0].fitted(picks[0], picks[1], exchange), sides[1].fitted(picks[1], picks[0], exchange)
            rewards[i, t + 1] = sides[0].reward, sides[1].reward
    return rewards.mean(axis=0), rewards.std(axis=0, ddof=1)


def picked_rows(side: GaussianSide, noise: np.ndarray, chances: np.ndarray, together: int) -> np.ndarray:
    """The picks of one round, of which each is one of so many samples.

    Args:
        side: whose.
        noise: (m, d) standard normal, from which the samples are made.
        chances: (n,) uniform numbers, one for each pick.
        together: samples from all of which their share of the picks is drawn by weight.
    """
    values, vectors = np.linalg.eigh(side.covariance)
    x = side.mean + noise @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    rows, pool = [], len(x) // len(chances)
    for start in range(0, len(x), together):
        own, numbers = x[start : start + together], chances[start // pool : (start + together) // pool]
        r = own @ side.taste
        below = np.cumsum(np.exp(r - r.max()))
        rows.append(own[np.searchsorted(below, numbers * below[-1], side="right")])
    return np.concatenate(rows)


def backfire(first: GaussianSide, second: GaussianSide, exchange: float, rounds: int, more: float = 0.1) -> float:
    """The change of the first's reward, by its taste as it is, after `rounds` if it curates by `more` more strongly.

    Below 0 where more curation backfires: the other, moved away by the first's picks, hands back what pulls it down.
    """
    stronger = replace(first, taste=(1 + more) * first.taste)
    rewards = [market(side, second, exchange, rounds)[-1, 0] for side in (first, stronger)]
    return float(rewards[1] / (1 + more) - rewards[0])
