"""Simulated picks of known truth, for the tests of loop.analysis."""

from dataclasses import dataclass

import numpy as np

from loop.analysis.log import Slates

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


def always_best(seed: int) -> tuple[Slates, np.ndarray]:
    """A dozen to eighty slates from which the best sample is always picked; the last column is a mark."""
    rng = np.random.default_rng(seed)
    n, k, d = int(rng.integers(12, 80)), int(rng.integers(2, 6)), int(rng.integers(1, 5))
    x = rng.normal(size=(n, k, d))
    x[..., -1] = x[..., -1] > 0.8
    return Slates.of_equal_size(k, (x @ (2 * rng.normal(size=d))).argmax(axis=1)), x.reshape(n * k, d)


def anyone(seed: int) -> tuple[Slates, np.ndarray]:
    """A dozen to sixty picks on up to five columns, every other one a mark, by tastes from none to overwhelming."""
    rng = np.random.default_rng(seed)
    n, k, d = int(rng.integers(12, 60)), int(rng.integers(2, 6)), int(rng.integers(1, 6))
    x = rng.normal(size=(n, k, d))
    x[..., ::2] = x[..., ::2] > rng.uniform(0.3, 1.5)
    taste = rng.normal(size=d) * rng.choice([0, 1, 3, 10, 30])
    return Slates.of_equal_size(k, luce(x @ taste, rng)), x.reshape(n * k, d)


@dataclass(frozen=True)
class Crowd:
    """A study with raters: K = 4, five classes of unequal shares, and a feature that is liked.

    Attributes:
        raters: how many.
        picks: of each.
        k: samples in a slate.
        bias: utility of the second position.
        similar: utility for each other sample of the same class in the slate; 0 is Luce's rule.
        at_random: of them, picking at random.
        against: of them, with the opposite utilities.
        spread: of raters' taste for the first two classes.
    """

    raters: int = 30
    picks: int = 40
    k: int = 4
    bias: float = 0.0
    similar: float = 0.0
    at_random: int = 0
    against: int = 0
    spread: float = 0.0

    def draw(self, seed: int) -> tuple[Slates, np.ndarray, np.ndarray]:
        """Slates, (rows, 5) columns, (rows,) classes."""
        rng = np.random.default_rng(seed)
        who = np.repeat(np.arange(self.raters), self.picks)
        n = len(who)
        labels = rng.choice(5, size=(n, self.k), p=[0.3, 0.25, 0.2, 0.15, 0.1])
        liked = rng.normal(size=(n, self.k))
        u = np.array([0.0, 0.8, -0.5, 0.4, 1.0])[labels] + 0.6 * liked
        taste = self.spread * rng.normal(size=(self.raters, 2))
        u += np.where(labels < 2, taste[who[:, None], np.minimum(labels, 1)], 0.0)
        factor = np.ones(self.raters)
        factor[: self.at_random] = 0.0
        factor[self.raters - self.against :] = -1.0
        u *= factor[who][:, None]
        u[:, 1] += self.bias
        u += self.similar * ((labels[:, :, None] == labels[:, None]).sum(axis=2) - 1)
        columns = np.concatenate([labels[..., None] == np.arange(1, 5), liked[..., None]], axis=2)
        return Slates.of_equal_size(self.k, luce(u, rng), who), columns.reshape(-1, 5).astype(float), labels.ravel()


CLASSES = ("class 1", "class 2", "class 3", "class 4", "liked")


@dataclass(frozen=True)
class Groups:
    """A study of two or three groups of raters, the first two of opposite tastes; all else is drawn with the seed.

    Attributes:
        strength: standard deviation of utilities; 0 for one between 0.5 and 2.5.
        spread: of log strength between raters.
        at_random: raters without any taste.
        raters: how many; 0 for 10 to 60.
        picks: of each; 0 for 20 to 60.
    """

    strength: float = 0.0
    spread: float = 0.0
    at_random: int = 0
    raters: int = 0
    picks: int = 0

    def draw(self, seed: int) -> tuple[Slates, np.ndarray, np.ndarray]:
        """Slates, (rows, d) columns (continuous, or classes), and the (raters,) that pick at random."""
        rng = np.random.default_rng(seed)
        raters = self.raters or int(rng.integers(10, 61))
        picks, d, k = self.picks or int(rng.integers(20, 61)), int(rng.integers(1, 7)), 4
        who = np.repeat(np.arange(raters), picks)
        x = rng.normal(size=(len(who), k, d))
        if d > 1 and rng.random() < 0.5:
            labels = rng.choice(d + 1, size=(len(who), k), p=rng.dirichlet(np.full(d + 1, 3.0)))
            x = (labels[..., None] == np.arange(1, d + 1)).astype(float)
        tastes = rng.normal(size=(int(rng.integers(2, 4)), d))
        tastes[1] = -tastes[0]
        flat = x.reshape(-1, d) - x.reshape(-1, d).mean(axis=0)
        tastes *= (self.strength or rng.uniform(0.5, 2.5)) / (flat @ tastes.T).std(axis=0)[:, None]
        group = rng.choice(len(tastes), size=raters, p=rng.dirichlet(np.full(len(tastes), 3.0)))
        factor = np.exp(self.spread * rng.normal(size=raters))
        factor[: self.at_random] = 0.0
        u = (x * (tastes[group] * factor[:, None])[who][:, None]).sum(axis=2)
        return Slates.of_equal_size(k, luce(u, rng), who), x.reshape(-1, d), factor == 0
