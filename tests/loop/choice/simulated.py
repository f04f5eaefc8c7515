"""Simulated picks of known truth, for the tests of loop.choice."""

import numpy as np

from loop.choice.slates import Slates

TRUTH = np.array([1.0, -0.5, 0.3, 0.0])


def luce(utilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) picked positions from (n, K) utilities."""
    return (utilities + rng.gumbel(size=utilities.shape)).argmax(axis=1)


def known(n: int, seed: int, k: int = 4, truth: np.ndarray = TRUTH) -> tuple[Slates, np.ndarray]:
    """n slates of K, everyone alike: a continuous feature, a skewed one, a dummy and one that doesn't matter."""
    rng = np.random.default_rng(seed)
    x = np.stack(
        [rng.normal(size=(n, k)), rng.exponential(size=(n, k)), rng.random((n, k)) < 0.3, rng.normal(2, 3, (n, k))],
        axis=2,
    )
    return Slates.of_equal_size(k, luce(x @ truth, rng)), x.reshape(n * k, -1)


def mixed(n: int, seed: int) -> tuple[Slates, np.ndarray]:
    """n slates of two to five samples each."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 6, n)
    x = rng.normal(size=(sizes.sum(), 2))
    empty = Slates(sizes, np.zeros(n, np.int64), np.arange(n))
    noisy = x @ [0.8, -0.4] + rng.gumbel(size=len(x))
    picked = [int(part.argmax()) for part in np.split(noisy, empty.starts[1:])]
    return Slates(sizes, np.array(picked), np.arange(n)), x


def differing(raters: int, picks: int, seed: int, spread: float, k: int = 4) -> tuple[Slates, np.ndarray]:
    """Raters whose taste for the first of two features differs by `spread`."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(raters), picks)
    x = rng.normal(size=(raters * picks, k, 2))
    taste = np.array([0.5, 0.5]) + np.array([spread, 0.0]) * rng.normal(size=(raters, 1))
    return Slates.of_equal_size(k, luce((x * taste[who][:, None]).sum(axis=2), rng), who), x.reshape(-1, 2)
