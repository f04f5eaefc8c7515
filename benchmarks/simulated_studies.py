"""Studies of known truth, in memory: population updates plus sampling noise, as the evidence reads them from a store.

A law is a vector of masses on a few atoms, each with a reward, so the exact operator gives every truth. A study draws
what a store would hold: each generation's evaluation samples, the finite picks that trained it, and (of loops with real
data) the log-density ratios of its samples. `loop.evidence.study.assess` then takes the path of every report.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.stats import norm

from data.measurements import CuratedCounts, DensityDivergence, Divergence, Mean, Measurements, TrainingFigures
from data.records import Evaluated, Generation
from loop.config import StudyConfig
from loop.evidence.study import History
from loop.study import configure
from loop.theory import bounds
from loop.theory.population import Curators, blend
from loop.user_types import curators

ATOMS = 160


@dataclass(frozen=True)
class Setting:
    """A kind of study.

    Attributes:
        k: samples in a slate.
        lam: curated : real; inf is the pure loop.
        bounded: rewards of a uniform law on [-spread, 0] with a declared supremum of 0; else normal with a standard
            deviation of `spread` and no supremum.
        spread: of the rewards.
        carried: share of the way to its training set that each generation really goes: 1 honest, 0 frozen.
        decay: share of `carried` that each generation loses to the one before.
        sideways: by how much each generation tilts its law along what the reward doesn't see.
        coupled: generations share the noise of their evaluation samples, as flows of the same seeds do.
        worse: by how much the mean reward of generation 0 lies below that of the real data.
        generations: after generation 0.
        samples: that each generation is measured on.
        picks: a generation.
        real: real data.
    """

    k: int | Literal["inf"] = 2
    lam: float = float("inf")
    bounded: bool = True
    spread: float = 2.0
    carried: float = 1.0
    decay: float = 0.0
    sideways: float = 0.0
    coupled: bool = False
    worse: float = 0.0
    generations: int = 4
    samples: int = 1_000
    picks: int = 1_000
    real: int = 480


@dataclass(frozen=True)
class Truth:
    """The values that a simulated study's figures estimate; by generation.

    Attributes:
        mean_w: E[w] of each generation's law.
        predicted: E[w] by the exact operator from the law before; nan at 0.
        from_start: E[w] by the exact operator from generation 0.
        kl: KL(p_t || p_ref), and
        kl_reverse: KL(p_ref || p_t).
    """

    mean_w: np.ndarray
    predicted: np.ndarray
    from_start: np.ndarray
    kl: np.ndarray
    kl_reverse: np.ndarray


@dataclass(frozen=True)
class Population:
    """The exact side of a setting: atoms, the real law and generation 0.

    Attributes:
        rewards: (atoms,).
        real: (atoms,) masses of the real data.
        first: (atoms,) masses of generation 0.
        config: of the study.
        users: who picks.
    """

    setting: Setting
    rewards: np.ndarray
    real: np.ndarray
    first: np.ndarray
    config: StudyConfig
    users: Curators = field(repr=False)

    @classmethod
    def of(cls, setting: Setting) -> "Population":
        """The population of a setting."""
        middles = (np.arange(ATOMS) + 0.5) / ATOMS
        rewards = -setting.spread * (1 - middles) if setting.bounded else setting.spread * norm.ppf(middles)
        real = np.full(ATOMS, 1 / ATOMS)
        first = _tilted(real, rewards, setting.worse)
        lam = "inf" if np.isinf(setting.lam) else f"{setting.lam:g}"
        supremum = "0.0" if setting.bounded else "inf"
        reward = ["reward.kind='simulated:reward'", f"reward.supremum={supremum}"]
        loop = [f"mix.lam={lam}", f"curation.k={setting.k}", f"generations={setting.generations}"]
        config = configure("moons", [*loop, *reward])
        return cls(setting, rewards, real, first, config, curators(config))

    @classmethod
    def of_study(cls, config: StudyConfig, rewards: np.ndarray, setting: Setting) -> "Population":
        """That of a study whose generation 0 draws its real data, each of which is an atom."""
        law = np.full(len(rewards), 1 / len(rewards))
        return cls(setting, rewards, law, law, config, curators(config))

    @property
    def coordinates(self) -> np.ndarray:
        """(atoms, 2) in [-1/2, 1/2]: the rank of the reward, and what it doesn't see (by the golden ratio)."""
        ranks = np.argsort(np.argsort(self.rewards, kind="stable"), kind="stable")
        return np.column_stack([(ranks + 0.5) / len(ranks), (ranks * (math.sqrt(5) - 1) / 2) % 1]) - 0.5

    @property
    def w(self) -> np.ndarray:
        """(atoms,) exp(r)."""
        return np.exp(self.rewards)

    def target(self, law: np.ndarray, picked: np.ndarray | None = None) -> np.ndarray:
        """The law of the next training set; `picked` replaces the law of the picks by those that were made."""
        picked = self.users.pick(self.rewards, law) if picked is None else picked
        return blend(self.real, [picked], self.config.policy.shares(self.setting.real, [self.setting.picks]))


def simulate(population: Population, rng: np.random.Generator) -> tuple[History, Truth]:
    """One study's history and the truth behind them."""
    setting, w = population.setting, population.w
    every = np.full(len(w), max(1, setting.real // len(w)))
    real = _evaluated(population, None, rng.permutation(np.repeat(np.arange(len(every)), every)))
    laws, trained = [population.first], [float("nan")]
    for t in range(setting.generations):
        counts = rng.multinomial(setting.picks, population.users.pick(population.rewards, laws[-1]))
        target = population.target(laws[-1], counts / setting.picks)
        carried = setting.carried * (1 - setting.decay) ** t
        moved = np.maximum(laws[-1] + carried * (target - laws[-1]), 0.0)
        moved = moved * np.exp(setting.sideways * population.coordinates[:, 1])
        laws.append(moved / moved.sum())
        trained.append(float(target @ w))
    evaluations, generations, noise = [], [], rng.random(setting.samples)
    for t, law in enumerate(laws):
        own = noise if setting.coupled else rng.random(setting.samples)
        atoms = np.minimum(np.searchsorted(np.cumsum(law), own), len(law) - 1)
        counts = np.bincount(atoms, minlength=len(law))
        evaluations.append(_evaluated(population, t, atoms))
        generations.append(_generation(population, t, law, counts, trained[t], rng))
    return History(population.config, generations, evaluations, real), _truth(population, laws)


def _evaluated(population: Population, t: int | None, atoms: np.ndarray) -> Evaluated:
    """A sample of (n,) atoms as a store holds it; the evidence resamples the i-th ones of all generations together."""
    rewards = population.rewards[atoms]
    labels = (rewards >= np.median(population.rewards)).astype(np.int32)
    return Evaluated(t, rewards[None], labels, population.coordinates[atoms].astype(np.float32))


def _generation(
    population: Population, t: int, law: np.ndarray, counts: np.ndarray, trained: float, rng: np.random.Generator
) -> Generation:
    setting, config = population.setting, population.config
    real_share, set_shares = config.policy.shares(setting.real, [setting.picks])
    shares = (real_share, *set_shares)
    measurements = Measurements(class_names=("low", "high"))
    if t:
        rows = (setting.real, setting.picks)
        measurements = measurements.extended(
            curated=CuratedCounts(asked=setting.picks, sim=setting.picks),
            training=TrainingFigures(mean_w=trained, rows=rows, shares_asked=shares, shares_achieved=shares),
        )
        if config.policy.is_mixed:
            density = _density(population, t, law, counts, rng)
            measurements = measurements.extended(divergence=Divergence(space="atoms", density=density))
    return Generation(
        t=t, parent_t=t - 1 if t else None, checkpoint="", checkpoint_sha256="", n_real=setting.real,
        n_curated=setting.picks if t else 0, policy=str(config.policy), measurements=measurements,
    )  # fmt: skip


def _density(
    population: Population, t: int, law: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> DensityDivergence:
    """Divergences as means of log ratios, of the generation's own samples and of as many draws of the real law."""
    ratio = np.log(np.maximum(law, 1e-300) / population.real)
    n, drawn = int(counts.sum()), rng.multinomial(population.setting.samples, population.real)

    def mean(weights: np.ndarray, values: np.ndarray) -> Mean:
        value = float(weights @ values / n)
        return Mean(value=value, se=float(np.sqrt((weights @ (values - value) ** 2) / n / (n - 1))))

    k, lam, ceiling = population.setting.k, population.setting.lam, None
    if bounds.c5_applies(k, lam) and not population.setting.worse:
        ceiling = Mean(value=bounds.c5_ceiling_sharp(k, lam))
    return DensityDivergence(n=n, kl=mean(counts, ratio), kl_reverse=mean(drawn, -ratio), ceiling=ceiling)


def _truth(population: Population, laws: list[np.ndarray]) -> Truth:
    w, exact = population.w, [population.first]
    for _ in laws[1:]:
        exact.append(population.target(exact[-1]))
    real = population.real
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = [float(np.where(law > 0, law * np.log(law / real), 0).sum()) for law in laws]
        reverse = [float((real * np.log(real / law)).sum()) for law in laws]
    return Truth(
        mean_w=np.array([law @ w for law in laws]),
        predicted=np.array([np.nan, *(population.target(law) @ w for law in laws[:-1])]),
        from_start=np.array([law @ w for law in exact]),
        kl=np.array(kl),
        kl_reverse=np.array(reverse),
    )


def _tilted(law: np.ndarray, rewards: np.ndarray, worse: float) -> np.ndarray:
    """The exponential tilt of a law whose mean reward is lower by `worse`."""
    if not worse:
        return law
    low, high, wanted = -20.0, 0.0, float(law @ rewards) - worse
    for _ in range(80):
        middle = (low + high) / 2
        tilted = law * np.exp(middle * (rewards - rewards.mean()))
        tilted /= tilted.sum()
        low, high = (middle, high) if tilted @ rewards < wanted else (low, middle)
    return tilted
