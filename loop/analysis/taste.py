"""A rater's taste, live: what the picks so far say about the named numbers of what was shown, in words and intervals.

Luce utilities, linear in the numbers, under a normal prior: one person's few picks often separate (always the bluest),
and then only a prior keeps the utilities finite. The intervals are the posterior's, over further picks of this rater;
they say nothing about other people. Torch-free.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from data.designs import Factor
from data.store import Store
from loop.analysis.log import Slates
from loop.analysis.logit import Likelihood

LEAST_PICKS = 3
PRECISION = 1.0  # of the prior of each utility, for a change by one standard deviation of what was shown
TAILS = (0.025, 0.975)
RADIUS = 2.447747  # of a direction on a circle, in standard deviations: the square root of chi-square's 95% point
DRAWS = 4_000  # of the posterior
FREEDOM, INFLATION = 7.0, 1.15  # of the Student law that proposes them: its tails have to be the longer ones
MOST_PICKS = 200  # the latest ones; earlier ones are of generations long gone
PREDICTED = 40  # latest picks that are predicted from those before them


@dataclass(frozen=True, slots=True)
class Leaning:
    """The leaning along one named number.

    Attributes:
        name: of the number.
        words: which way, such as "more petals" or "blue".
        value: utility of one standard deviation more of it; on a circle of one toward `words`. Not negative.
        low: the 95% interval's lower end, below 0 where the picks don't tell.
        high: its upper end.
    """

    name: str
    words: str
    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """True if the interval excludes 0."""
        return self.low > 0


@dataclass(frozen=True, slots=True)
class Taste:
    """The taste behind some picks.

    Attributes:
        picks: number of them.
        leanings: the strongest first, by lower end.
        predicted: latest picks that were predicted from those before them.
        hits: of these, the picks that were predicted rightly.
        chance: hits expected of guesses at random.
    """

    picks: int
    leanings: tuple[Leaning, ...]
    predicted: int
    hits: int
    chance: float


def taste(slates: Slates, x: np.ndarray, factors: Sequence[Factor]) -> Taste:
    """The taste of one rater; without leanings where there are fewer than `LEAST_PICKS`.

    Args:
        slates: n answered slates, the oldest first.
        x: (rows, dimension) coordinates of the samples in them (see `data.designs`).
        factors: the named numbers behind the coordinates.
    """
    if len(slates) < LEAST_PICKS:
        return Taste(len(slates), (), 0, 0, 0.0)
    centred = slates.centred(np.asarray(x, dtype=np.float64))
    spread = np.sqrt((centred**2).mean(axis=0))
    z = centred / np.where(spread > 1e-9, spread, 1.0)
    prior = np.full(z.shape[1], PRECISION)
    draws, weights = posterior(Likelihood(slates, z, prior), np.random.default_rng(len(slates)))
    leanings, place = [], 0
    for factor in factors:
        columns = 2 if factor.circle else 1
        leanings.append(leaning(factor, draws[:, place : place + columns], weights))
        place += columns
    first = max(LEAST_PICKS, len(slates) - PREDICTED)
    right = [predicts(slates, z, prior, i) for i in range(first, len(slates))]
    return Taste(
        picks=len(slates),
        leanings=tuple(sorted(leanings, key=lambda leaning: -leaning.low)),
        predicted=len(right),
        hits=sum(right),
        chance=float((1 / slates.sizes[first:]).sum()),
    )


def posterior(likelihood: Likelihood, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(DRAWS, d) coefficients and their (DRAWS,) weights, which add up to 1: the posterior by importance sampling.

    They are proposed by a multivariate Student law with the mode and the curvature there. The normal approximation
    itself is too narrow for dozens of picks: its 95% intervals hold 89%.
    """
    slates, d = likelihood.slates, likelihood.z.shape[1]
    mode = likelihood.maximum()
    root = np.linalg.cholesky(likelihood.information(likelihood.probabilities(mode)))
    normal = rng.standard_normal((DRAWS, d))
    stretch = INFLATION * np.sqrt(FREEDOM / rng.chisquare(FREEDOM, DRAWS))[:, None]
    draws = mode + stretch * np.linalg.solve(root.T, normal.T).T
    utilities = likelihood.z @ draws.T
    utilities -= slates.per_sample(np.maximum.reduceat(utilities, slates.starts))
    picked = utilities[slates.rows] - np.log(slates.total(np.exp(utilities)))
    target = picked.sum(axis=0) - draws**2 @ likelihood.prior / 2
    distance = np.square((stretch / INFLATION) * normal).sum(axis=1)
    proposal = -(FREEDOM + d) / 2 * np.log1p(distance / FREEDOM)
    log_weights = target - proposal
    weights = np.exp(log_weights - log_weights.max())
    return draws, weights / weights.sum()


def leaning(factor: Factor, draws: np.ndarray, weights: np.ndarray) -> Leaning:
    """The leaning along a factor, from weighted (n, 1) draws of its coefficient, or (n, 2) of those of a circle.

    On a circle the direction is chosen by the picks, so the interval allows for every direction (Scheffé's).
    """
    mean = weights @ draws
    if factor.circle:
        strength = float(np.hypot(*mean))
        along = draws @ (mean / strength)
        width = RADIUS * float(np.sqrt(weights @ (along - strength) ** 2))
        names = factor.more.split()
        share = float(np.arctan2(mean[1], mean[0]) / (2 * np.pi)) % 1.0
        words = names[round(share * len(names)) % len(names)] if names else f"{share:.2f} of a turn"
        words = factor.less.format(words) if factor.less else words
        return Leaning(factor.name, words, strength, strength - width, strength + width)
    order = np.argsort(draws[:, 0])
    low, high = np.interp(TAILS, np.cumsum(weights[order]) - weights[order] / 2, draws[order, 0])
    if mean[0] < 0:
        low, high = -high, -low
    words = factor.more if mean[0] >= 0 else factor.less
    return Leaning(factor.name, words, abs(float(mean[0])), float(low), float(high))


def predicts(slates: Slates, z: np.ndarray, prior: np.ndarray, i: int) -> bool:
    """True if the picks before the i-th make it the most probable of its slate."""
    earlier, start = slates.subset(np.arange(len(slates)) < i)[0], int(slates.starts[i])
    utilities = z[start : start + int(slates.sizes[i])] @ Likelihood(earlier, z[:start], prior).maximum()
    return int(utilities.argmax()) == int(slates.picked[i])


def read_taste(store: Store, factors: Sequence[Factor], session_id: str) -> Taste:
    """The taste of one session, from its latest `MOST_PICKS` picks in curation and audit slates."""
    rows = store.rows(
        """SELECT answer.id, answer.position AS picked, sample.point_json AS point
        FROM (SELECT pick.id, pick.slate_id, pick.position FROM pick JOIN slate ON slate.id = pick.slate_id
            WHERE session_id = ? AND outcome = 'pick' AND undone_at IS NULL AND purpose IN ('curation', 'audit')
            ORDER BY pick.id DESC LIMIT ?) AS answer
        JOIN slate_item ON slate_item.slate_id = answer.slate_id
        JOIN sample ON sample.id = slate_item.sample_id
        ORDER BY answer.id, slate_item.position""",
        (session_id, MOST_PICKS),
    )
    sizes, picked, points = [], [], []
    for _, items in groupby(rows, key=lambda row: row["id"]):
        slate = list(items)
        sizes.append(len(slate))
        picked.append(slate[0]["picked"])
        points += [json.loads(item["point"]) for item in slate]
    one_rater = np.zeros(len(sizes), dtype=np.int64)
    slates = Slates(np.array(sizes, dtype=np.int64), np.array(picked, dtype=np.int64), one_rater)
    return taste(slates, np.array(points, dtype=np.float64), factors)
