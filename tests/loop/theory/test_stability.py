"""C5 from any p_0 against the exact loop, its closed form from the real law, and its estimate's coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.theory import bounds
from loop.theory.bounds import estimate_kl_ceiling, kl_ceiling, log_ratio_ceiling
from loop.theory.population import kl, mixed_loop
from model.luce import LuceRule

LAMS = st.one_of(st.floats(0.02, 4.0), st.sampled_from([1.0, 0.5, 1 / 3]))  # lam K / (1 + lam) is 1 for some


@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), lam=LAMS, far=st.sampled_from([0.0, 0.3, 2.0]))
def test_no_loop_leaves_the_ceilings(seed: int, k: int, lam: float, far: float):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    p_ref = np.maximum(rng.dirichlet(np.full(n, 0.7)), 1e-9)
    p_ref /= p_ref.sum()
    p_0 = p_ref * np.exp(rng.normal(0, far, n))
    p_0 /= p_0.sum()
    laws = mixed_loop(rng.normal(0, rng.choice([0.3, 4.0]), n), p_0, p_ref, lam, LuceRule(k), 5)
    log_ratio = np.log(p_0 / p_ref)
    for t in range(1, 6):
        ratio = laws[t] / p_ref
        assert (np.log(ratio) <= log_ratio_ceiling(log_ratio, k, lam, t) + 1e-9).all()
        assert (ratio >= 1 / (1 + lam) - 1e-9).all()
        assert kl(laws[t], p_ref) <= kl_ceiling(log_ratio, np.log(p_ref), k, lam, t)[0] + 1e-9


def filled(ratio: np.ndarray, p_ref: np.ndarray, k: int, lam: float, t: int) -> float:
    """The ceiling as a fractional knapsack, filled item by item."""
    m, c = 1 / (1 + lam), lam * k / (1 + lam)
    upper = m * sum(c**i for i in range(t)) + c**t * ratio
    left, total = 1 - m, m * math.log(m)
    for i in np.argsort(-upper):
        gained = p_ref[i] * (upper[i] - m)
        part = min(1.0, left / gained) if gained > 0 else 0.0
        total += part * p_ref[i] * (upper[i] * math.log(upper[i]) - m * math.log(m))
        left -= part * gained
    return total


@pytest.mark.parametrize(("k", "lam", "t"), [(2, 0.5, 1), (4, 0.2, 3), (2, 1.0, 4), (3, 2.0, 2)])
def test_the_dual_is_the_knapsack(k: int, lam: float, t: int):
    rng = np.random.default_rng(k)
    p_ref, p_0 = rng.dirichlet(np.ones(40), size=2)
    value, parts = kl_ceiling(np.log(p_0 / p_ref), np.log(p_ref), k, lam, t)
    assert value == pytest.approx(filled(p_0 / p_ref, p_ref, k, lam, t), abs=1e-12) and len(parts) == 40


@pytest.mark.parametrize(("k", "lam"), [(2, 0.5), (4, 0.2), (2, 0.9), (1, 3.0)])
def test_from_the_real_law_it_tends_to_the_sharper_bound_below_the_papers(k: int, lam: float):
    at = [kl_ceiling(np.zeros(3), np.full(3, math.log(1 / 3)), k, lam, t)[0] for t in (1, 2, 5, 400)]
    assert at == sorted(at) or k == 1
    m, most = 1 / (1 + lam), 1 / (1 - lam * (k - 1))
    a = (1 - m) / (most - m) if k > 1 else 1.0
    assert at[-1] == pytest.approx(a * most * math.log(most) + (1 - a) * m * math.log(m), abs=1e-9)
    assert at[-1] <= bounds.c5_ceiling(k, lam) + 1e-12


def test_its_estimate_covers_the_truth():
    """p_ref = N(0, 1) and p_0 = N(0.2, 1.3), whose ratio has no bound."""

    def log_ratio(x: np.ndarray) -> np.ndarray:
        return -0.5 * ((x - 0.2) / 1.3) ** 2 - math.log(1.3) + 0.5 * x**2

    grid = np.linspace(-14, 14, 200_001)
    normal = np.exp(-0.5 * grid**2)
    for k, lam, t in ((2, 0.5, 1), (2, 0.5, 4), (4, 1.0, 2)):
        truth = kl_ceiling(log_ratio(grid), np.log(normal / normal.sum()), k, lam, t)[0]
        rng = np.random.default_rng(t)
        z = []
        for _ in range(300):
            found = estimate_kl_ceiling(
                log_ratio(rng.normal(0.2, 1.3, 800)), log_ratio(rng.normal(0, 1, 800)), k, lam, t
            )
            z.append((found.value - truth) / found.se)
        assert abs(np.mean(z)) < 0.25 and np.std(z) == pytest.approx(1, abs=0.15)
        assert np.mean(np.abs(z) < 1.96) >= 0.92


def test_far_outliers_of_generation_0_are_no_overflow():
    own = np.concatenate([np.zeros(500), [900.0]])
    found = estimate_kl_ceiling(own, np.zeros(500), 2, 0.5, 2)
    assert math.isfinite(found.value) and found.se > 0.1
