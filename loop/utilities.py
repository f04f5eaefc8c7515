"""Luce utilities fitted to picks: the conditional logit with a ridge, linear in the classifier's features."""

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax


@dataclass(frozen=True, slots=True)
class Utilities:
    """A fitted utility `u(x) = coefficients . (features(x) - mean) / scale`.

    Attributes:
        mean: (d,).
        scale: (d,), positive.
        coefficients: (d,).
        n_picks: that it was fitted to.
        log_likelihood: mean log-probability of those picks; chance is `-log K`.
    """

    mean: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    n_picks: int
    log_likelihood: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n,) utilities of (n, d) features."""
        return ((features - self.mean) / self.scale) @ self.coefficients

    @property
    def sha256(self) -> str:
        """Names the fit: the hash of all its numbers."""
        numbers = np.concatenate([self.mean, self.scale, self.coefficients]).astype("<f8")
        return hashlib.sha256(numbers.tobytes()).hexdigest()


def fit(features: np.ndarray, picks: np.ndarray, ridge: float) -> Utilities:
    """The utilities that make the picks most probable, with a Gaussian prior.

    Features are standardised and divided by sqrt(d), so that the prior standard deviation of a sample's utility is
    about `1 / sqrt(ridge)` whatever the number of features.

    Args:
        features: (slates, K, d).
        picks: (slates,) the picked position.
        ridge: minimises `-log likelihood + ridge / 2 * |coefficients|^2`; it must be positive.

    Raises:
        ValueError: no slates, or a ridge that isn't positive.

    Source: McFadden 1974 (conditional logit); Luce 1959 for the choice rule.
    """
    if len(picks) == 0 or ridge <= 0:
        raise ValueError(f"a fit needs at least one pick and a positive ridge; got {len(picks)} and {ridge}")
    d = features.shape[2]
    mean = features.reshape(-1, d).mean(axis=0)
    spread = features.reshape(-1, d).std(axis=0)
    scale = np.where(spread > 1e-8, spread, 1.0) * np.sqrt(d)
    z = (features - mean) / scale
    rows = np.arange(len(picks))

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        utilities = z @ coefficients
        value = -log_softmax(utilities, axis=1)[rows, picks].sum() + ridge / 2 * coefficients @ coefficients
        residual = softmax(utilities, axis=1)
        residual[rows, picks] -= 1
        return value, np.einsum("nk,nkd->d", residual, z) + ridge * coefficients

    found = minimize(loss, np.zeros(d), jac=True, method="L-BFGS-B", options={"maxiter": 2_000, "gtol": 1e-7})
    likelihood = log_softmax(z @ found.x, axis=1)[rows, picks].mean()
    return Utilities(mean, scale, found.x, len(picks), float(likelihood))
