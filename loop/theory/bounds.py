"""Bounds on the curated loop, as numbers that a measurement can be held against.

C1, C2, C4, C5 and C6 are the claims' names in reports. `w = exp(r)`; `w_sup` is the supremum of w that the reward
declares, not the largest w seen, so that a bound does not move with the samples. `V = (K-1)/K Var[w] / w_sup`.
"""

import math

import numpy as np

from loop.theory.operator import K, check_k


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


def c4_floor_all(mean_ref: float, var_ref: float, w_sup: float, k: K, lam: float) -> float:
    """C4, the sharpest: from p_0 = p_ref, `E_ref[w] + lam / (1 + lam) V_ref` at every t >= 1. Derived.

    Var_t >= Var_ref / (1 + lam) for a mix, and then the first step is the fixed point of the one-step bound.
    """
    return mean_ref + lam / (1 + lam) * slack(k) * var_ref / w_sup


def c4_floor_from(
    mean_ref: float, var_ref: float, mean_0: np.ndarray, var_0: np.ndarray, w_sup: float, k: K, lam: float, t: int
) -> np.ndarray:
    """C4 from any p_0: `E_ref + a V + a^t (E_0 - E_ref + V_0 - V)` at t >= 1, with a = lam / (1 + lam). Derived.

    At p_0 = p_ref it is `c4_floor_all`. Moments of generation 0 are (B,) replicates.
    """
    share = lam / (1 + lam)
    gain, gain_0 = slack(k) * var_ref / w_sup, slack(k) * var_0 / w_sup
    return mean_ref + share * gain + share**t * (mean_0 - mean_ref + gain_0 - gain)


def c4_floor_step(mean_ref: float, mean_w: float, var_w: float, w_sup: float, k: K, lam: float) -> float:
    """C4 for one step, from any p_t: `E_ref / (1 + lam) + lam / (1 + lam) (E_t + (K-1)/K Var_t / w_sup)`. Derived."""
    return (mean_ref + lam * c1_floor(mean_w, var_w, w_sup, k)) / (1 + lam)


def c5_applies(k: K, lam: float) -> bool:
    """Whether lam < 1 / (K - 1), the condition of C5's first bound."""
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
    `loop.theory.stability`.

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


def c5_contraction(k: K, lam: float) -> float:
    """Factor per step by which two mixed loops come closer in total variation, lam K / (1 + lam). Derived."""
    return math.inf if k == "inf" else lam * k / (1 + lam)


def c2_gap(rewards: np.ndarray, p: np.ndarray) -> float:
    """C2: KL(p* || p) = -log P(r = r_max), p* being p restricted to the highest reward. Derived.

    Args:
        rewards: (n,).
        p: (n,) masses; those on the highest reward must not all be 0.
    """
    return -math.log(float(p[rewards == rewards.max()].sum()))


def c2_tail_ratio(gap: float, k: K) -> float:
    """C2: what P(next level) shrinks by at each step of the pure loop in the end, `K e^-D / (K - 1 + e^-D)`. Derived.

    Args:
        gap: D > 0, from the highest reward to the next.
        k: samples in a slate; at 'inf' the ratio is e^-D.
    """
    return math.exp(-gap) if k == "inf" else k * math.exp(-gap) / (k - 1 + math.exp(-gap))


def c6_tilt(rewards: np.ndarray, p0: np.ndarray, t: int) -> np.ndarray:
    """C6: at K = inf the pure loop is at `p_t ~ p_0 exp(t r)`, which maximises E[r] - KL(p || p_0) / t.

    Args:
        rewards: (n,).
        p0: (n,) masses.
        t: steps.

    Source: Ferbach et al. 2024, the link to RLHF.
    """
    tilted = p0 * np.exp(t * (rewards - rewards.max()))
    return tilted / tilted.sum()
