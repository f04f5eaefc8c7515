"""Further claims on the loop, as numbers that the exact operator is held against; no measurement is."""

import math

import numpy as np

from loop.theory.bounds import slack
from model.luce import K


def c4_floor_all(mean_ref: float, var_ref: float, w_sup: float, k: K, lam: float) -> float:
    """C4, the sharpest: from p_0 = p_ref, `E_ref[w] + lam / (1 + lam) V_ref` at every t >= 1. Derived.

    Var_t >= Var_ref / (1 + lam) for a mix, and then the first step is the fixed point of the one-step bound.
    """
    return mean_ref + lam / (1 + lam) * slack(k) * var_ref / w_sup


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
    """C2: the factor of P(next level) at each step of the pure loop in the end, `K e^-D / (K - 1 + e^-D)`. Derived.

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
