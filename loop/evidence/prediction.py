"""The next generation's E[w], E[r] and class shares, from a plain sample of rewards, with bootstrap intervals.

The law of the reward under p_{t+1} follows from that under p_t: H^K depends on a sample through its reward alone.
So what holds for points holds for images, and nothing but rewards and labels is needed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pydantic import Field
from scipy.stats import t as student

from data.records import Evaluated
from loop.evidence.intervals import Estimate, Part
from loop.policy import DataPolicy
from loop.theory import population
from loop.theory.population import Target, policy_loop

REPLICATES = 200
START_REPLICATES = 100  # many steps over real and generated support: each replicate costs a loop
GROUPS = 100  # of generation 0's samples, each left out once: each costs a loop
LEAST_GROUPS = 10  # from which a skewness says anything
ROUNDING = 1e-9  # of E[w]: a smaller difference is none (K = 1, or a reward that is the same for all)
STRAIGHT = 1e-6  # skewness under which the transformation is the identity


class Figures(Part):
    """Figures of one law of samples: of the reward r, of w = exp(r), and of the classes."""

    mean_w: Estimate = Field(description="E[w]")
    var_w: Estimate = Field(description="Var[w]")
    mean_reward: Estimate = Field(description="E[r]")
    class_shares: list[Estimate] = Field(description="of samples, in the order of class_names")


class TypeGeneration(Part):
    """A type of simulated users at one generation; gains are those from the generation before."""

    t: int = Field(description="the generation")
    mean_reward: Estimate = Field(description="E[r] by the type's own reward, measured")
    predicted_reward: Estimate | None = Field(description="the same by one exact step from the generation before")
    gain_w: Estimate | None = Field(description="gain of E[exp r], measured; None for generation 0")
    predicted_gain_w: Estimate | None = Field(description="the same by one exact step")
    own_picks: float | None = Field(
        default=None, description="part of the predicted gain of E[exp r] by the type's own picks: never below 0"
    )
    other_picks: float | None = Field(default=None, description="part by the other types' picks, which may be negative")
    real_data: float | None = Field(default=None, description="part by the real data in the training set")


class TypeEvidence(Part):
    """Claim C1 for one type of simulated users, whose own reward need not rise where types differ."""

    name: str = Field(description="of the type")
    share: float = Field(description="of picks")
    generations: list[TypeGeneration] = Field(description="by t")


@dataclass(frozen=True, slots=True)
class Moments:
    """Means of functions of a sample under B + 1 laws: the first is the law itself, the others bootstrap replicates.

    Attributes:
        values: (functions, B + 1): E[w], E[w^2], E[r], E[r^2], then the share of each class.
    """

    values: np.ndarray

    @property
    def mean_w(self) -> np.ndarray:
        """(B + 1,)."""
        return self.values[0]

    @property
    def var_w(self) -> np.ndarray:
        """(B + 1,)."""
        return np.maximum(self.values[1] - self.values[0] ** 2, 0.0)

    @property
    def mean_reward(self) -> np.ndarray:
        """(B + 1,)."""
        return self.values[2]

    @property
    def shares(self) -> np.ndarray:
        """(classes, B + 1)."""
        return self.values[4:]

    def figures(self) -> Figures:
        """The figures with the intervals of normal errors."""
        return Figures(
            mean_w=Estimate.of(*value_and_se(self.mean_w)),
            var_w=Estimate.of(*value_and_se(self.var_w)),
            mean_reward=Estimate.of(*value_and_se(self.mean_reward)),
            class_shares=[Estimate.of(*value_and_se(share)) for share in self.shares],
        )


def value_and_se(values: np.ndarray) -> tuple[float, float]:
    """A quantity (first entry) and the spread of its bootstrap replicates (the others)."""
    return float(values[0]), float(values[1:].std(ddof=1)) if len(values) > 2 else 0.0


def difference_and_se(difference: np.ndarray, scale: float) -> tuple[float, float]:
    """A difference of figures of some scale with its standard error; nothing but rounding errors is none."""
    value, se = value_and_se(difference)
    least = ROUNDING * abs(scale)
    return (value if abs(value) > least else 0.0), (se if se > least else 0.0)


def functions(samples: Evaluated, classes: int) -> np.ndarray:
    """(4 + classes, n) w, w^2, r, r^2 and the indicator of each class."""
    r = samples.rewards[0]
    w = np.exp(r)
    return np.concatenate([np.stack([w, w**2, r, r**2]), np.eye(classes)[samples.labels].T])


@lru_cache(maxsize=4)
def replicate_masses(n: int, replicates: int, seed: int = 0) -> np.ndarray:
    """(n, replicates + 1) masses, read-only: 1/n in the first column, multinomial resamples in the others.

    The same n gives the same resamples. Generations are measured on the same seeds, so resampling them together keeps
    the correlation that this gives them.
    """
    rng = np.random.default_rng([seed, n])
    masses = np.empty((n, replicates + 1))
    masses[:, 0] = 1 / n
    for b in range(replicates):
        masses[:, b + 1] = np.bincount(rng.integers(n, size=n), minlength=n) / n
    masses.setflags(write=False)
    return masses


def measured(samples: Evaluated, masses: np.ndarray, classes: int) -> Moments:
    """The moments of a generation as it was measured."""
    return Moments(functions(samples, classes) @ masses)


def law_of_picks(samples: Evaluated, masses: np.ndarray, curators: Target) -> np.ndarray:
    """(n, B + 1) the law of the curators' picks from a generation, on its n samples, by the exact operator.

    Args:
        samples: that the generation was measured on.
        masses: (n, B + 1).
        curators: those who pick.
    """
    return curators.pick(operative_rewards(samples), masses)


def picked(samples: Evaluated, masses: np.ndarray, curators: Target, classes: int) -> Moments:
    """The moments of the curators' picks from a generation; arguments as of `law_of_picks`."""
    return Moments(functions(samples, classes) @ law_of_picks(samples, masses, curators))


def operative_rewards(samples: Evaluated) -> np.ndarray:
    """(types, n) the rewards by which users judge: the study's alone where all users pick by it."""
    return samples.rewards[1:] if len(samples.rewards) > 1 else samples.rewards


def blend(real: Moments | None, sets: Sequence[Moments], shares: tuple[float, Sequence[float]]) -> Moments:
    """The moments of a training set, and so of an ideal next generation, from its parts and their shares."""
    real_share, set_shares = shares
    total = sum(share * set_.values for share, set_ in zip(set_shares, sets, strict=True) if share)
    if real_share:
        if real is None:
            raise ValueError("the real data's rewards weren't stored; they are part of what is trained on")
        total = total + real_share * real.values
    return Moments(np.asarray(total))


def effective_size(law: np.ndarray, values: np.ndarray, counts: np.ndarray | int = 1) -> float:
    """`(sum_i c_i)^2 / sum_i c_i^2`, c = law * values: samples that a mean of w really rests on.

    With unbounded rewards a few samples may carry nearly all of E[w] under a tilted law; a bootstrap over them then
    sees too little spread, and its intervals don't cover.

    Args:
        law: (n,) masses.
        values: (n,) w > 0.
        counts: (n,) samples at each point, where points stand for several.
    """
    contributions = law * values
    return float(contributions.sum() ** 2 / (contributions**2 / counts).sum())


def effective_samples(samples: Evaluated, law: np.ndarray) -> float:
    """The `effective_size` behind E[w] under a law: (n,) masses of a generation's samples."""
    return effective_size(law, np.exp(samples.rewards[0] - samples.rewards[0].max()))


def weighted_size(samples: Evaluated, law: np.ndarray, n: int) -> int:
    """The number of plain draws of a law whose mean of w is as certain as that of n weighted samples of the generation.

    Args:
        samples: that the generation was measured on.
        law: (n', B + 1) masses of the weighted samples, on those.
        n: weighted samples that the training set holds.
    """
    r = samples.rewards[0]
    w, a = np.exp(r - r.max()), law[:, 0] * len(law)
    squares = (w - law[:, 0] @ w) ** 2
    spread = float((a**2 * squares).mean())
    return max(1, round(n * float((a * squares).mean()) / spread)) if spread else n


def pick_noise(parts: Sequence[Moments | None], rows: Sequence[int], shares: Sequence[float]) -> tuple[float, float]:
    """Standard errors of E[w] and E[r] over a training set, from the finite number of rows of its parts.

    A part that is None is there as a whole and has no error: the real data, which the theorem takes as they are.
    """
    of_w = of_reward = 0.0
    for part, n, share in zip(parts, rows, shares, strict=True):
        if part is not None and n and share:
            w, w2, r, r2 = part.values[:4, 0]
            of_w += share**2 * max(0.0, float(w2 - w**2)) / n
            of_reward += share**2 * max(0.0, float(r2 - r**2)) / n
    return math.sqrt(of_w), math.sqrt(of_reward)


def skewed(value: float, influence: np.ndarray) -> Estimate:
    """An estimate whose 95% interval allows for the skewness of its error.

    A few samples of very high reward carry much of E[w] under a law that has been tilted several times. Without them
    both the estimate and its standard error are too low, so symmetric intervals miss the truth above (they covered 92%
    where 95 were wanted; docs/calibration.md). Hall's transformation (J. R. Stat. Soc. B 54:221, 1992) corrects for it.

    Args:
        value: the estimate.
        influence: (groups,) jackknife influences of equal groups of samples, whose mean is 0; their mean square over
            their number is the estimate's variance.
    """
    groups, square = len(influence), float((influence**2).mean())
    if groups < LEAST_GROUPS or square == 0:
        return Estimate.of(value, math.sqrt(square / max(groups - 1, 1)))
    se = math.sqrt(square / (groups - 1))
    skewness = float((influence**3).mean()) / square**1.5 / math.sqrt(groups)
    quantile = float(student.ppf(0.975, groups - 1))

    def untransformed(y: float) -> float:
        if abs(skewness) < STRAIGHT:
            return y
        return 3 / skewness * (float(np.cbrt(1 + skewness * (y - skewness / 6))) - 1)

    low, high = value - se * untransformed(quantile), value - se * untransformed(-quantile)
    return Estimate(value=value, se=se, low=low, high=high)


@dataclass(frozen=True)
class FromStart:
    """Generations 0 .. steps as they follow from generation 0 alone.

    Attributes:
        moments: by generation, with replicates of the bootstrap over generation 0's samples.
        pick_noise: (steps + 1,) standard error of E[w] that the finitely many picks of all rounds so far make: those of
            an early round are carried on by the operator, which may shrink them or make them grow.
        effective: (steps + 1,) effective sample size behind E[w] (`effective_size`).
        influence: (steps + 1, groups) by how much each group of generation 0's samples moves E[w] (`skewed`).
    """

    moments: list[Moments]
    pick_noise: np.ndarray
    effective: np.ndarray
    influence: np.ndarray

    def figures(self, t: int) -> Figures:
        """The figures of generation t; the interval of E[w] allows for the skewness of its error."""
        figures = self.moments[t].figures()
        return figures.model_copy(update={"mean_w": skewed(figures.mean_w.value, self.influence[t])})


def from_start(
    first: Evaluated,
    real: Evaluated | None,
    policy: DataPolicy,
    curators: Target,
    n_real: int,
    picks: Sequence[int],
    classes: int,
    replicates: int = START_REPLICATES,
) -> FromStart:
    """Generations 0 .. len(picks), predicted from generation 0 by iterating the exact operator.

    Args:
        first: generation 0.
        real: the real data; needed when the policy uses them.
        policy: what trains a generation.
        curators: who picks.
        n_real: real data, and
        picks: curated samples of each round; they matter to the accumulating policies and to the noise.
        classes: how many there are.
        replicates: of the bootstrap over generation 0's samples, and of loops with finitely many picks.
    """
    resampled = replicate_masses(len(first.labels), replicates)
    masses = np.concatenate([resampled, jackknife_masses(len(first.labels))], axis=1)
    rewards, values = operative_rewards(first), functions(first, classes)
    p_ref = np.zeros_like(masses)
    if policy.uses_real:
        if real is None:
            raise ValueError("the real data's rewards weren't stored; they are part of what is trained on")
        n = len(real.labels)
        rewards = np.concatenate([rewards, operative_rewards(real)], axis=1)
        values = np.concatenate([values, functions(real, classes)], axis=1)
        p_ref = np.concatenate([p_ref, np.full((n, masses.shape[1]), 1 / n)])
        masses = np.concatenate([masses, np.zeros((n, masses.shape[1]))])
    first_of, counts, (masses, p_ref) = merged_support(np.concatenate([rewards, values]), [masses, p_ref])
    rewards, values = rewards[:, first_of], values[:, first_of]
    laws = policy_loop(rewards, masses, p_ref, policy, curators, len(picks), n_real, picks)
    w, columns = values[0], resampled.shape[1]
    exact = w @ np.stack([law[:, 0] for law in laws], axis=1)
    without = np.stack([w @ law[:, columns:] for law in laws])
    noisy, _ = loops_of_finite_picks(rewards, masses[:, :1], p_ref[:, :1], policy, curators, n_real, picks, replicates)
    errors = np.stack([w @ law for law in noisy]) - exact[:, None]
    return FromStart(
        moments=[Moments(values @ law[:, :columns]) for law in laws],
        pick_noise=np.sqrt((errors**2).mean(axis=1)),
        effective=np.array([effective_size(law[:, 0], w, counts) for law in laws]),
        influence=(without.shape[1] - 1) * (without.mean(axis=1, keepdims=True) - without),
    )


def jackknife_masses(n: int, groups: int = GROUPS) -> np.ndarray:
    """(n, groups) masses of n samples with every `groups`-th left out, from the first, the second ..."""
    groups = min(n, groups)
    present = (np.arange(n)[:, None] % groups != np.arange(groups)).astype(float)
    return present / np.maximum(present.sum(axis=0), 1)


def merged_support(points: np.ndarray, laws: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Samples that are alike in everything that counts as one point of the support.

    Args:
        points: (features, n).
        laws: each (n, B) masses.

    Returns:
        (m,) the index of a sample at each point, (m,) how many are there, and the laws as (m, B) masses.
    """
    order = np.lexsort(points)
    ordered = points[:, order]
    starts = np.flatnonzero(np.r_[True, (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)])
    counts = np.diff(np.r_[starts, points.shape[1]])
    return order[starts], counts, [np.add.reduceat(law[order], starts, axis=0) for law in laws]


def loops_of_finite_picks(
    rewards: np.ndarray,
    p0: np.ndarray,
    p_ref: np.ndarray,
    policy: DataPolicy,
    curators: Target,
    n_real: int,
    picks: Sequence[int],
    replicates: int,
    carried: float = 1.0,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Laws (n, replicates) of generations 0 .. len(picks) in loops whose every round has finitely many picks.

    What a round picks is drawn from its law (independent Poisson counts, which given their total are a multinomial
    draw); the next generation is that training set, as of a generator that learns without error, or goes the share
    `carried` of the way to it. Beside them the laws that the exact operator promises from the generation before.
    """
    rng = np.random.default_rng([len(p0), *picks])

    def drawn(law: np.ndarray, n: int) -> np.ndarray:
        counts = rng.poisson(n * law)
        return counts / np.maximum(counts.sum(axis=0), 1)

    laws, promised, sets, exact = [np.repeat(p0, replicates, axis=1)], [], [], []
    for t, n in enumerate(picks):
        exact.append(curators.pick(rewards, laws[-1]))
        sets.append(drawn(exact[-1], n))
        shares = policy.shares(n_real, picks[: t + 1])
        promised.append(population.blend(p_ref, exact, shares))
        law = population.blend(p_ref, sets, shares)
        law = drawn(law, n_real) if policy.is_random else law
        if carried != 1:
            law = np.maximum(laws[-1] + carried * (law - laws[-1]), 0.0)
            law /= law.sum(axis=0)
        laws.append(law)
    return laws, promised
