"""Seddik et al.'s Theorems 1 and 3 beside what was derived for this project, and beside simulated truth."""

import math

import numpy as np
import pytest

from loop.policy import DataPolicy
from loop.theory.collapse import (
    C_0,
    C_1,
    MeasuredMean,
    allowed_synthetic,
    collapse_time,
    collapse_time_bounds,
    deviation_verdict,
    simulate_collapse,
    theorem_3,
)
from loop.theory.toy_models import mean_and_se, simulate_in_blocks
from loop.theory.toy_tokens import ContextModel, expected_distances

VOCABULARY, TOKENS, ROWS = 600, 52, 100


def zipf() -> np.ndarray:
    """(1, 600) a law with 52 tokens and S_0 = 0.1."""
    masses = np.zeros(VOCABULARY)
    masses[:TOKENS] = np.arange(1, TOKENS + 1) ** -1.1
    return (masses / masses.sum())[None]


def test_theorem_3_is_vacuous_and_the_derived_bound_isnt():
    law = zipf()
    assert (law**2).sum() == pytest.approx(0.1, abs=5e-4)
    expected = {10: (0.097, 0.197, "vacuous", 4), 100: (0.204, 0.393, "vacuous", 27), 1_000: (0.247, 0.469, "", 0)}
    for n, (l1, derived, verdict, digits) in expected.items():
        policy = DataPolicy("mix", n / ROWS)
        assert policy.asked(ROWS) == n
        bound = float(expected_distances(law, policy, ROWS, 50)["l1_bound"][-1])
        values = simulate_in_blocks(ContextModel(law, ROWS), policy, 50, 120, 0, lambda share: None)
        measured = MeasuredMean.of(*mean_and_se(values[-1, 2]), 120)
        assert bound == pytest.approx(derived, abs=1e-3)
        assert measured.value == pytest.approx(l1, abs=0.01)
        judged = deviation_verdict(measured, bound, ROWS, n, VOCABULARY)
        assert judged.derived_verdict == "holds"
        assert judged.verdict == (verdict or "condition not met")
        if judged.bound is None:
            assert "condition not met" in str(judged) and n == 1_000
        else:
            assert math.floor(math.log10(judged.bound)) == digits and "vacuous" in str(judged)


def test_theorem_3_by_hand():
    assert pytest.approx((3.1967, 2.9290), abs=1e-4) == (C_0, C_1)
    by_hand = math.sqrt(math.pi / 2) / 1_000 * C_1 * 10 * math.exp(C_0 / (2 * math.e))
    assert theorem_3(1_000, 1, 10) == pytest.approx(by_hand)
    assert theorem_3(100, 10, 13) is None and theorem_3(100, 10, 14) is not None
    assert theorem_3(100, 10**4, 10**6) == math.inf


@pytest.mark.parametrize(
    ("value", "se", "verdict"), [(0.05, 0.001, "holds"), (0.2, 0.001, "fails"), (0.066, 0.01, "can't tell")]
)
def test_where_the_bound_says_something_the_interval_decides(value: float, se: float, verdict: str):
    bound = theorem_3(1_000, 1, 10)
    assert bound == pytest.approx(0.066, abs=0.001)
    assert deviation_verdict(MeasuredMean.of(value, se, 100), 1.0, 1_000, 1, 10).verdict == verdict


@pytest.mark.parametrize(("real", "vocabulary", "error"), [(10**6, 10, 1.0), (10**9, 10, 0.1), (10**12, 65, 0.5)])
def test_so_many_synthetic_rows_keep_the_promise_of_theorem_3(real: int, vocabulary: int, error: float):
    n = allowed_synthetic(real, vocabulary, error)
    assert n >= 1
    bound = theorem_3(real, math.floor(n), vocabulary)
    assert bound is not None and bound <= error
    assert allowed_synthetic(100, 600, 0.1) < 0  # no synthetic row at all


def exact_mean_of_two(x: float, n: int) -> float:
    """The expected collapse time of two tokens, by the Markov chain of their counts."""
    inner = np.arange(1, n)
    logs = np.array([math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in inner])
    p = inner[:, None] / n
    steps = np.exp(logs + inner * np.log(p) + (n - inner) * np.log(1 - p))
    left = np.linalg.solve(np.eye(n - 1) - steps, np.ones(n - 1))
    first = np.exp(logs + inner * math.log(x) + (n - inner) * math.log(1 - x))
    return 1 + float(first @ left)


@pytest.mark.parametrize("x", [0.5, 0.9])
def test_collapse_times_follow_their_law(x: float):
    law = np.array([x, 1 - x])
    known = -2 * 60 * (x * math.log(x) + (1 - x) * math.log(1 - x))
    assert collapse_time(law, 60) == pytest.approx(known)
    assert collapse_time(np.full(10**6, 1e-6), 60) == pytest.approx(120, rel=1e-5)
    exact, (low, high) = exact_mean_of_two(x, 60), collapse_time_bounds(law, 60)
    assert low <= exact <= high and exact == pytest.approx(known, rel=0.06)
    times = simulate_collapse(law, 60, 3_000, np.random.default_rng(3))
    assert times.mean.low <= exact <= times.mean.high
    assert abs(times.winner.value - x) < times.winner.high - times.winner.low  # some four standard errors
    assert times.verdict == "holds" and "Theorem 1" in str(times)


def test_intervals_of_collapse_times_cover_the_truth():
    exact, rng = exact_mean_of_two(0.5, 8), np.random.default_rng(2)
    means = [simulate_collapse(np.array([0.5, 0.5]), 8, 80, rng).mean for _ in range(150)]
    assert 0.89 <= np.mean([mean.low <= exact <= mean.high for mean in means]) <= 0.985
