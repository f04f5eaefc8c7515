"""The conditional logit: gradient, recovery of planted utilities, and the ridge."""

from typing import cast

import numpy as np
import pytest
from scipy import optimize

from loop.analysis.logit import Likelihood
from loop.learners import Utilities, fit
from model.luce import pick


def planted(n: int, seed: int, scale: float = 1.0, k: int = 4, d: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, picks of a Luce user, and the user's coefficients on the features as they are."""
    rng = np.random.default_rng(seed)
    features = rng.normal([0, 3, -1, 0, 10], [1, 2, 0.5, 1, 4], (n, k, d))
    truth = scale * np.array([1.0, -0.5, 2.0, 0.0, 0.25])
    return features, pick(features @ truth, rng), truth


def slope(found: Utilities) -> np.ndarray:
    """Coefficients on the features as they are."""
    return found.coefficients / found.scale


@pytest.fixture
def maximised(monkeypatch: pytest.MonkeyPatch) -> list[Likelihood]:
    """The likelihoods that fits maximise."""
    seen: list[Likelihood] = []
    maximum = Likelihood.maximum
    monkeypatch.setattr(Likelihood, "maximum", lambda likelihood: seen.append(likelihood) or maximum(likelihood))
    return seen


def test_the_gradient_is_that_of_the_likelihood(maximised: list[Likelihood]):
    features, picks, _ = planted(40, seed=0)
    fit(features, picks, ridge=0.7)
    at = np.random.default_rng(3).standard_normal(5)
    numeric = cast(np.ndarray, optimize.approx_fprime(at, maximised[0].value, 1e-6))
    np.testing.assert_allclose(maximised[0].gradient(at), numeric, rtol=1e-4, atol=1e-3)


def test_what_is_maximised_is_the_log_likelihood_less_the_ridge(maximised: list[Likelihood]):
    features, picks, _ = planted(30, seed=1)
    found = fit(features, picks, ridge=2.0)
    c = found.coefficients
    u = ((features - found.mean) / found.scale) @ c
    log_likelihood = sum(np.log(np.exp(row[i]) / np.exp(row).sum()) for row, i in zip(u, picks, strict=True))
    assert maximised[0].value(c) == pytest.approx(log_likelihood - c @ c)
    assert found.log_likelihood == pytest.approx(log_likelihood / 30)
    assert found.n_picks == 30


@pytest.mark.parametrize(("n", "d", "ridge"), [(3, 5, 1.0), (30, 5, 0.01), (300, 40, 1.0), (20, 60, 0.1)])
def test_the_fit_is_the_maximum_to_rounding(maximised: list[Likelihood], n: int, d: int, ridge: float):
    """The gradient vanishes, and a general optimiser (L-BFGS, which stops earlier) ends near by and no higher."""
    rng = np.random.default_rng(n)
    features = rng.standard_normal((n, 4, d))
    picks = pick(2 * features[..., 0], rng)
    best = fit(features, picks, ridge).coefficients
    likelihood = maximised[0]
    assert np.abs(likelihood.gradient(best)).max() < 1e-9
    other = optimize.minimize(
        lambda b: -likelihood.value(b), np.zeros(d), jac=lambda b: -likelihood.gradient(b), method="L-BFGS-B"
    )
    assert likelihood.value(best) >= -other.fun
    np.testing.assert_allclose(best, other.x, atol=0.02)


def test_thousands_of_picks_recover_the_planted_utilities():
    features, picks, truth = planted(8_000, seed=2)
    found = fit(features, picks, ridge=1e-3)
    np.testing.assert_allclose(slope(found), truth, atol=0.12)
    assert found.log_likelihood > -np.log(4)


def test_a_rater_who_always_takes_the_best_is_ranked_right():
    rng = np.random.default_rng(4)
    features = rng.standard_normal((300, 4, 5))
    truth = np.array([1.0, -2.0, 0.5, 0.0, 1.5])
    found = fit(features, (features @ truth).argmax(1), ridge=0.01)
    fresh = rng.standard_normal((2_000, 2, 5))
    agree = (found(fresh[:, 0]) > found(fresh[:, 1])) == (fresh[:, 0] @ truth > fresh[:, 1] @ truth)
    assert agree.mean() > 0.95


def test_a_stronger_ridge_gives_smaller_utilities_and_none_at_the_limit():
    features, picks, _ = planted(200, seed=5)
    sizes = [np.linalg.norm(fit(features, picks, ridge).coefficients) for ridge in (1e-3, 0.1, 10.0, 1e6)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 2 * sizes[2]
    assert sizes[3] < 1e-2


def test_the_units_of_a_feature_do_not_matter():
    features, picks, _ = planted(300, seed=6)
    other = features * [1, 1e3, 1e-3, 1, 1] + [0, 7, 0, -2, 0]
    one, two = fit(features, picks, 1.0), fit(other, picks, 1.0)
    np.testing.assert_allclose(two(other[:, 0]), one(features[:, 0]), atol=1e-3)


def test_a_feature_that_never_changes_does_no_harm():
    features, picks, _ = planted(100, seed=7)
    features[..., 3] = 5.0
    found = fit(features, picks, 1.0)
    assert np.isfinite(found(features[:, 0])).all() and found.coefficients[3] == pytest.approx(0)


def test_the_hash_names_the_fit():
    features, picks, _ = planted(50, seed=8)
    one, again, other = fit(features, picks, 1.0), fit(features, picks, 1.0), fit(features, picks, 2.0)
    assert one.sha256 == again.sha256 != other.sha256 and len(one.sha256) == 64


@pytest.mark.parametrize(("n", "ridge"), [(0, 1.0), (3, 0.0), (3, -1.0)])
def test_no_picks_or_no_ridge_are_refused(n: int, ridge: float):
    with pytest.raises(ValueError, match="ridge"):
        fit(np.zeros((n, 2, 3)), np.zeros(n, np.int64), ridge)
