"""Bounds on the curated loop, as numbers that a measurement can be held against.

C1, C2, C4, C5 and C6 are claims of Ferbach et al. 2024; "derived" marks what was derived for this project.
"""

import math
from dataclasses import dataclass

import numpy as np

from model.luce import K, check_k


def slack(k: K) -> float:
    """(K - 1) / K, the factor that every gain carries; 1 at K = inf."""
    check_k(k)
    return 1.0 if k == "inf" else (k - 1) / k


def c1_floor(mean_w: float, var_w: float, w_sup: float, k: K) -> float:
    """C1: the pure loop has at least this E[w] at t + 1, `E_t[w] + (K-1)/K Var_t[w] / w_sup`.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), improvement of E[w] in the pure loop.
    """
    return mean_w + slack(k) * var_w / w_sup


def c4_floor_paper(mean_ref: float, var_ref: float, w_sup: float, k: K, lam: float) -> float:
    """C4 as printed: the mixed loop from p_0 = p_ref has, at every t >= 1, at least this E[w].

    `E_ref[w] + lam / (1 + lam)^3 (K-1)/K Var_ref[w] / w_sup`. Source: Ferbach et al. 2024, the loop with real data.
    """
    return mean_ref + lam / (1 + lam) ** 3 * slack(k) * var_ref / w_sup


def c4_floor_from(
    mean_ref: float, var_ref: float, mean_0: np.ndarray, var_0: np.ndarray, w_sup: float, k: K, lam: float, t: int
) -> np.ndarray:
    """C4 from any p_0: `E_ref + a V + a^t (E_0 - E_ref + V_0 - V)` at t >= 1, with a = lam / (1 + lam). Derived.

    At p_0 = p_ref it is `E_ref + a V` at every t, the sharpest floor: Var_t >= Var_ref / (1 + lam) for a mix, and then
    the first step is the fixed point of the one-step bound. Moments of generation 0 are (B,) replicates.
    """
    share = lam / (1 + lam)
    gain, gain_0 = slack(k) * var_ref / w_sup, slack(k) * var_0 / w_sup
    return mean_ref + share * gain + share**t * (mean_0 - mean_ref + gain_0 - gain)


def c4_floor_step(mean_ref: float, mean_w: float, var_w: float, w_sup: float, k: K, lam: float) -> float:
    """C4 for one step, from any p_t: `E_ref / (1 + lam) + lam / (1 + lam) (E_t + (K-1)/K Var_t / w_sup)`. Derived."""
    return (mean_ref + lam * c1_floor(mean_w, var_w, w_sup, k)) / (1 + lam)


def c5_applies(k: K, lam: float) -> bool:
    """True if lam < 1 / (K - 1), the condition of C5's first bound."""
    return k == 1 or (k != "inf" and lam * (k - 1) < 1)


def c5_ceiling(k: K, lam: float) -> float:
    """C5 as printed: KL(p_t || p_ref) <= -log(1 - lam (K - 1)) at every t, from p_0 = p_ref.

    Raises:
        ValueError: lam isn't under 1 / (K - 1).

    Source: Ferbach et al. 2024, stability of the loop with real data.
    """
    if k == "inf" or not c5_applies(k, lam):
        raise ValueError(f"C5 needs lam < 1 / (K - 1); lam is {lam:g} and K is {k}")
    return -math.log1p(-lam * (k - 1))


def c5_ceiling_sharp(k: K, lam: float) -> float:
    """C5, sharper: `a M log M + (1 - a) m log m` from p_0 = p_ref. Derived.

    The density ratio p_t / p_ref lies in [m, M] = [1 / (1 + lam), 1 / (1 - lam (K - 1))]; of all laws with such a ratio
    the one that has M on a share a = (1 - m) / (M - m) of p_ref and m elsewhere is the farthest. From any other p_0 see
    `kl_ceiling`.

    Raises:
        ValueError: lam isn't under 1 / (K - 1).
    """
    most, least = math.exp(c5_ceiling(k, lam)), 1 / (1 + lam)
    if most == least:
        return 0.0
    share = (1 - least) / (most - least)
    return share * most * math.log(most) + (1 - share) * least * math.log(least)


def c5_reverse_ceiling(lam: float) -> float:
    """C5 reversed: KL(p_ref || p_t) <= log(1 + lam) for t >= 1, any K and p_0: p_t holds p_ref / (1 + lam). Derived."""
    return math.log1p(lam)


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
