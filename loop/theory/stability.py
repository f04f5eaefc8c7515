"""C5 from any p_0: how far from the real data the mixed loop can go when its first generation isn't the real law.

The paper and `loop.theory.bounds` take p_0 = p_ref, which no learned generator is. Derived for this project.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ceiling:
    """An upper bound on KL(p_t || p_ref) with its standard error, in nats."""

    value: float
    se: float


def log_ratio_ceiling(log_ratio: np.ndarray, k: int, lam: float, t: int) -> np.ndarray:
    """The most that log p_t/p_ref can be after t steps of the mixed loop, where log p_0/p_ref is `log_ratio`.

    A pick multiplies the density by K at most, so with m = 1 / (1 + lam) and c = lam K / (1 + lam) the ratio obeys
    `rho_{t+1} <= m + c rho_t`, hence `rho_t <= m (1 + c + ... + c^(t-1)) + c^t rho_0`, which is
    `M + c^t (rho_0 - M)` with M = 1 / (1 - lam (K - 1)) where c isn't 1.

    Args:
        log_ratio: of any shape.
        k: samples in a slate; any rule of choice will do.
        lam: curated : real in the training mix, finite.
        t: steps, 1 or more.
    """
    c = lam * k / (1 + lam)
    constant = sum(c**i for i in range(t)) / (1 + lam)
    return np.logaddexp(math.log(constant), t * math.log(c) + log_ratio)


def kl_ceiling(log_ratio: np.ndarray, log_mass: np.ndarray, k: int, lam: float, t: int) -> tuple[float, np.ndarray]:
    """The largest KL(p_t || p_ref) that the bounds on rho_t = p_t/p_ref allow, for t >= 1.

    `KL = E_ref[rho log rho]` with E_ref[rho] = 1 and m <= rho <= U (see `log_ratio_ceiling`). It is convex in rho, so
    the worst rho is U where U is largest and m elsewhere: a fractional knapsack. Its dual, for any price theta an upper
    bound, is `theta + E_ref[max over rho in {m, U} of rho log rho - theta rho]`. For p_0 = p_ref this is the sharper
    C5, `a M_t log M_t + (1 - a) m log m`.

    Args:
        log_ratio: (n,) log p_0/p_ref.
        log_mass: (n,) logarithms of p_ref's masses: on a finite support, or the weights of a sample.
        k: samples in a slate.
        lam: curated : real, finite.
        t: steps, 1 or more.

    Returns:
        The ceiling, and (n,) each point's part of it: the ceiling is the price theta and the sum of the parts.
    """
    log_u, log_m = log_ratio_ceiling(log_ratio, k, lam, t), -math.log1p(lam)
    least, most = np.exp(log_mass + log_m), np.exp(log_mass + log_u)  # a point's mass under p_t, at least and at most
    share = np.exp(log_m - log_u)  # least / most
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(share < 1 - 1e-12, (log_u - share * log_m) / (1 - share), log_m + 1)
    order = np.argsort(-log_u, kind="stable")
    filled = np.cumsum((most - least)[order])
    last = min(int(np.searchsorted(filled, 1 - least.sum())), len(order) - 1)
    theta = float(slope[order[last]])
    parts = np.maximum(least * (log_m - theta), most * (log_u - theta))
    return theta + float(parts.sum()), parts


def estimate_kl_ceiling(first: np.ndarray, real: np.ndarray, k: int, lam: float, t: int) -> Ceiling:
    """The ceiling of `kl_ceiling` from samples of p_0 and draws of p_ref.

    Both are pooled and weighted by the balance heuristic (Veach and Guibas 1995), p_ref over the pool's density, so
    that where p_0 is far above p_ref the ceiling rests on p_0's own samples. The standard error takes the price as
    fixed: it is where the dual is least, so its error counts to second order alone.

    Args:
        first: (n,) log p_0/p_ref at samples of p_0.
        real: (m,) the same at draws of p_ref.
        k: samples in a slate.
        lam: curated : real, finite.
        t: steps, 1 or more.
    """
    pooled = np.concatenate([first, real])
    log_mass = -np.logaddexp(math.log(len(real)), math.log(len(first)) + pooled)
    value, parts = kl_ceiling(pooled, log_mass, k, lam, t)
    of_first, of_real = parts[: len(first)], parts[len(first) :]
    return Ceiling(value, math.sqrt(len(first) * of_first.var(ddof=1) + len(real) * of_real.var(ddof=1)))
