"""Taste, live: what picks so far say about the named numbers of what was shown, in words and intervals.

Luce utilities, linear in the numbers. Of one rater's few picks, which often separate (always the bluest), under a
normal prior: the intervals are the posterior's, over further picks of this rater, and say nothing about other people.
Of `LEAST_RATERS` raters or more together the conditional logit of `curate fit`, with intervals clustered by rater.
The numbers are those of designs, the coordinates of points, or the class probabilities of images. Torch-free.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from pydantic import Field
from scipy.stats import f as f_law

from data.designs import Factor
from data.records import RaterKind
from data.store import Store, queries
from loop.analysis.log import Slates
from loop.analysis.logit import LEAST_RATERS, Fit, Likelihood, fit
from loop.config import POINT_SETS, StudyConfig
from loop.evidence.intervals import Part

LEAST_PICKS = 3
PRECISION = 1.0  # of the prior of each utility, for a change by one standard deviation of what was shown
CLASS_PRECISION = 0.25  # of the utility of a class that is certain
TAILS = (0.025, 0.975)
RADIUS = 2.447747  # of a direction on a circle, in standard deviations: the square root of chi-square's 95% point
DRAWS = 4_000  # of the posterior
FREEDOM, INFLATION = 7.0, 1.15  # of the Student law that proposes them: its tails have to be the longer ones
MOST_PICKS = 200  # the latest ones of a rater; earlier ones are of generations long gone
MOST_POOLED = 4_000  # and those of all raters together
PREDICTED = 40  # latest picks of a rater that are predicted from those before them
FOLDS = 10  # of raters, each of which is predicted from the others
POINT_FACTORS = (
    Factor("x", -1, 1, "further left", "further right"),
    Factor("y", -1, 1, "further down", "further up"),
)


@dataclass(frozen=True, slots=True)
class Traits:
    """The named numbers that a study's samples have.

    Attributes:
        factors: the numbers, in the order of a sample's coordinates.
        of_classes: they are probabilities of classes, by the study's classifier.
    """

    factors: tuple[Factor, ...]
    of_classes: bool = False

    @property
    def widths(self) -> list[int]:
        """The number of coordinates of each factor."""
        return [2 if factor.circle else 1 for factor in self.factors]


@dataclass(frozen=True, slots=True)
class Leaning:
    """The leaning along one named number.

    Attributes:
        name: of the number.
        words: which way, such as "more petals" or "blue".
        value: utility of one standard deviation more of it; on a circle of one toward `words`; of a class, of a certain
            one over the average of what was shown. Not negative.
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


class TasteLeaning(Part):
    """The leaning of raters along one named number of what was shown, or toward a class."""

    name: str = Field(description="of the number or class")
    words: str = Field(description="which way, such as 'more petals'")
    value: float = Field(
        description="utility of one standard deviation more; on a circle, of one toward the words; of a class, of a "
        "sure example over the average of what was shown"
    )
    low: float = Field(description="lower end of the 95% interval; below 0 where the picks don't tell")
    high: float = Field(description="upper end")


@dataclass(frozen=True, slots=True)
class Taste:
    """The taste behind some picks.

    Attributes:
        picks: number of them.
        leanings: the strongest first, by lower end.
        predicted: latest picks that were predicted from those before them; of several raters all, each rater's from
            the others'.
        hits: of these, the picks that were predicted rightly.
        chance: hits expected of guesses at random.
        raters: who picked.
        by_rater: intervals are clustered by rater, and speak of people like these; else of these picks' rater alone.
        of_classes: leanings are toward classes.
    """

    picks: int
    leanings: tuple[Leaning, ...]
    predicted: int
    hits: int
    chance: float
    raters: int = 1
    by_rater: bool = False
    of_classes: bool = False

    @property
    def clear(self) -> tuple[Leaning, ...]:
        """The leanings whose intervals exclude 0."""
        return tuple(leaning for leaning in self.leanings if leaning.is_clear)


def study_traits(store: Store, config: StudyConfig) -> Traits | None:
    """The named numbers of a study's samples; None where there are none, or no generation yet says the classes."""
    if (family := config.data.family) is not None:
        return Traits(tuple(family.factors))
    if config.data.is_text:
        return None
    if config.data.dataset in POINT_SETS:
        return Traits(POINT_FACTORS)
    first = store.generation(0)
    names = first.measurements.class_names if first else ()
    return Traits(tuple(Factor(name, 0, 1, f"not “{name}”", f"“{name}”") for name in names), True) if names else None


def taste(slates: Slates, x: np.ndarray, traits: Traits) -> Taste:
    """The taste of one rater; without leanings where there are fewer than `LEAST_PICKS`.

    Args:
        slates: n answered slates, the oldest first.
        x: (rows, dimension) coordinates of the samples in them (see `data.designs`), or class probabilities.
        traits: the named numbers behind the coordinates.
    """
    if len(slates) < LEAST_PICKS:
        return Taste(len(slates), (), 0, 0, 0.0, of_classes=traits.of_classes)
    first = max(LEAST_PICKS, len(slates) - PREDICTED)
    z, prior = standardised(slates, x, traits)
    right = [predicts(slates, z, prior, i) for i in range(first, len(slates))]
    return Taste(
        picks=len(slates),
        leanings=own_leanings(slates, x, traits),
        predicted=len(right),
        hits=sum(right),
        chance=float((1 / slates.sizes[first:]).sum()),
        of_classes=traits.of_classes,
    )


def standardised(slates: Slates, x: np.ndarray, traits: Traits) -> tuple[np.ndarray, np.ndarray]:
    """(rows, d) columns less their slate's mean, in units of the prior, and the (d,) precisions of that."""
    z = slates.centred(x)
    if traits.of_classes:
        return z, np.full(z.shape[1], CLASS_PRECISION)
    spread = spread_of(z)
    return z / np.where(spread > 0, spread, 1.0), np.full(z.shape[1], PRECISION)


def own_leanings(slates: Slates, x: np.ndarray, traits: Traits) -> tuple[Leaning, ...]:
    """The leanings of one rater, the clearest first, with intervals of the posterior; arguments as in `taste`."""
    z, prior = standardised(slates, x, traits)
    draws, weights = posterior(Likelihood(slates, z, prior), np.random.default_rng(len(slates)))
    if traits.of_classes:
        draws = draws - draws @ x.mean(axis=0)[:, None]
    leanings, place = [], 0
    for factor, width in zip(traits.factors, traits.widths, strict=True):
        leanings.append(leaning(factor, draws[:, place : place + width], weights))
        place += width
    return tuple(sorted(leanings, key=lambda leaning: -leaning.low))


def spread_of(centred: np.ndarray) -> np.ndarray:
    """(d,) standard deviations within slates of (rows, d) centred columns; 0 where rounding alone differs."""
    spread = np.sqrt((centred**2).mean(axis=0))
    return np.where(spread > 1e-9, spread, 0.0)


def posterior(likelihood: Likelihood, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(DRAWS, d) coefficients and their (DRAWS,) weights, which add up to 1: the posterior by importance sampling.

    They are proposed by a multivariate Student law with the mode and the curvature there. The normal approximation
    itself is too narrow for dozens of picks: its 95% intervals hold 89%.
    """
    slates, d = likelihood.slates, likelihood.z.shape[1]
    mode = likelihood.maximum()
    root = np.linalg.cholesky(likelihood.information(mode, likelihood.probabilities(mode)))
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
        return Leaning(factor.name, factor.toward(direction(mean)), strength, strength - width, strength + width)
    order = np.argsort(draws[:, 0])
    low, high = np.interp(TAILS, np.cumsum(weights[order]) - weights[order] / 2, draws[order, 0])
    return signed(factor, float(mean[0]), float(low), float(high))


def direction(vector: np.ndarray) -> float:
    """The angle of a (2,) cosine and sine, as a share of a turn in [0, 1)."""
    return float(np.arctan2(vector[1], vector[0]) / (2 * np.pi)) % 1.0


def signed(factor: Factor, value: float, low: float, high: float) -> Leaning:
    """The leaning along a number on a line, turned so that its value isn't negative."""
    if value < 0:
        value, low, high = -value, -high, -low
        return Leaning(factor.name, factor.fewer, value, low, high)
    return Leaning(factor.name, factor.further, value, low, high)


def predicts(slates: Slates, z: np.ndarray, prior: np.ndarray, i: int) -> bool:
    """True if the picks before the i-th make it the most probable of its slate."""
    earlier, start = slates.subset(np.arange(len(slates)) < i)[0], int(slates.starts[i])
    utilities = z[start : start + int(slates.sizes[i])] @ Likelihood(earlier, z[:start], prior).maximum()
    return int(utilities.argmax()) == int(slates.picked[i])


def pooled_taste(slates: Slates, x: np.ndarray, traits: Traits) -> Taste:
    """The taste that raters have in common, with intervals by rater; without leanings where they are too few.

    The prior is that of a single rater, which hardly matters beside the picks of many, but keeps utilities finite.
    Picks of simulated users are independent, so their number doesn't matter.

    Args:
        slates: n answered slates.
        x: (rows, dimension) coordinates of the samples in them, or class probabilities.
        traits: the named numbers behind the coordinates.
    """
    raters, cluster = np.unique(slates.raters, return_inverse=True)
    centred = slates.centred(x) if len(slates) else x
    spread = spread_of(centred) if len(slates) else np.zeros(x.shape[1])
    if len(slates) < LEAST_RATERS or not spread.any() or (len(raters) < LEAST_RATERS and not slates.independent):
        return Taste(len(slates), (), 0, 0, 0.0, len(raters), True, traits.of_classes)
    differs = np.flatnonzero(spread)
    fitted = fit(slates, x[:, differs], [str(j) for j in differs], PRECISION)
    combinations = np.zeros((len(spread), len(differs)))
    combinations[differs, np.arange(len(differs))] = 1.0 if traits.of_classes else spread[differs]
    if traits.of_classes:
        combinations -= x.mean(axis=0)[differs]
    leanings, place = [], 0
    for factor, width in zip(traits.factors, traits.widths, strict=True):
        if spread[place : place + width].any():
            leanings.append(fitted_leaning(factor, fitted, combinations[place : place + width]))
        place += width
    folds = (np.arange(len(slates)) if slates.independent else cluster) % FOLDS
    hits = sum(hits_of_fold(slates, centred[:, differs] / spread[differs], folds == fold) for fold in np.unique(folds))
    return Taste(
        picks=len(slates),
        leanings=tuple(sorted(leanings, key=lambda leaning: -leaning.low)),
        predicted=len(slates),
        hits=hits,
        chance=float((1 / slates.sizes).sum()),
        raters=len(raters),
        by_rater=True,
        of_classes=traits.of_classes,
    )


def fitted_leaning(factor: Factor, fitted: Fit, combinations: np.ndarray) -> Leaning:
    """The leaning along a factor, from the (1, d) combination of fitted coefficients, or the (2, d) of a circle."""
    values = combinations @ fitted.coefficients
    if factor.circle:
        strength = float(np.hypot(*values))
        along = values / strength if strength > 0 else np.array([1.0, 0.0])
        radius = RADIUS
        if fitted.jackknife is not None:  # Scheffé's, of clusters
            radius = float(np.sqrt(2 * f_law.ppf(0.95, 2, fitted.freedom)))
        half = radius * float(fitted.se_of((along @ combinations)[None])[0])
        return Leaning(factor.name, factor.toward(direction(values)), strength, strength - half, strength + half)
    half = fitted.quantile * float(fitted.se_of(combinations)[0])
    return signed(factor, float(values[0]), float(values[0]) - half, float(values[0]) + half)


def hits_of_fold(slates: Slates, z: np.ndarray, held_out: np.ndarray) -> int:
    """The number of slates in an (n,) mask whose picks the other slates make the most probable."""
    others, rows = slates.subset(~held_out)
    if not len(others):
        return 0
    b = Likelihood(others, z[rows], np.full(z.shape[1], PRECISION)).maximum()
    these, rows = slates.subset(held_out)
    utilities = z[rows] @ b
    return int((utilities[these.rows] >= np.maximum.reduceat(utilities, these.starts)).sum())


def read_taste(store: Store, traits: Traits, session_id: str) -> Taste:
    """The taste of one session, from its latest `MOST_PICKS` picks in curation and audit slates."""
    return taste(*read_answers(store, traits, "session.id = ?", (session_id,), MOST_PICKS), traits)


def read_rater_taste(store: Store, traits: Traits, rater: int) -> Taste:
    """The taste of one rater, from the latest `MOST_PICKS` picks in all of his or her sessions."""
    where = "session.rater_id = ? AND withdrawn_at IS NULL"
    return taste(*read_answers(store, traits, where, (rater,), MOST_PICKS), traits)


def read_pooled_taste(store: Store, traits: Traits, kind: RaterKind = "human") -> Taste:
    """The taste that all raters of a kind have in common, from their latest `MOST_POOLED` picks."""
    where = "session.rater_id IN (SELECT id FROM rater WHERE kind = ?) AND withdrawn_at IS NULL"
    slates, x = read_answers(store, traits, where, (kind,), MOST_POOLED)
    return pooled_taste(Slates(slates.sizes, slates.picked, slates.raters, kind != "human"), x, traits)


@dataclass(frozen=True, slots=True)
class RaterTaste:
    """A taste, and whose it is.

    Attributes:
        rater: the rater's number in the study; None for all together.
        kind: of the raters: people, or simulated users where no person picked.
        taste: behind their picks.
    """

    rater: int | None
    kind: RaterKind
    taste: Taste


def read_tastes(
    store: Store, config: StudyConfig, rater: int | None = None, most: int = 1
) -> tuple[list[RaterTaste], list[tuple[int, int]]]:
    """The taste that all raters have in common, or those of some; and all raters with their numbers of picks.

    Args:
        store: the study's.
        config: the study's.
        rater: whose taste it shall be alone; None for all together, and where they are too few for that, those of
            single raters beside it.
        most: of these, those with the most picks.
    """
    traits, counts = study_traits(store, config), queries.picks_by_rater(store)
    raters = [(row["rater"], row["n"]) for row in counts]
    if traits is None:
        return [], raters
    if rater is not None:
        return [RaterTaste(rater, "human", read_rater_taste(store, traits, rater))], raters
    if not raters:
        pooled = read_pooled_taste(store, traits, "sim")
        return ([RaterTaste(None, "sim", pooled)] if pooled.picks else []), raters
    pooled = read_pooled_taste(store, traits)
    if not pooled.picks:
        return [], raters
    tastes = [RaterTaste(None, "human", pooled)]
    if not pooled.leanings:
        for some, _ in sorted(raters, key=lambda pair: -pair[1])[:most]:
            tastes.append(RaterTaste(some, "human", read_rater_taste(store, traits, some)))
    return tastes, raters


def read_answers(
    store: Store, traits: Traits, where: str, values: Sequence[object], most: int
) -> tuple[Slates, np.ndarray]:
    """The latest picks in curation and audit slates, the oldest first, and the (rows, d) coordinates shown in them.

    Slates of infinite K, and those with a sample of which the numbers aren't known, are passed over.

    Args:
        store: the study's.
        traits: the named numbers.
        where: a condition on `session`, in SQL.
        values: of its question marks.
        most: picks.
    """
    point = "json_extract(sample.reward_json, '$.probs')" if traits.of_classes else "sample.point_json"
    rows = store.rows(
        f"""SELECT answer.id, answer.position AS picked, answer.rater_id AS rater, {point} AS point
        FROM (SELECT pick.id, pick.slate_id, pick.position, rater_id FROM pick JOIN slate ON slate.id = pick.slate_id
            JOIN session ON session.id = pick.session_id
            WHERE {where} AND outcome = 'pick' AND undone_at IS NULL AND purpose IN ('curation', 'audit') AND k > 1
            ORDER BY pick.id DESC LIMIT ?) AS answer
        JOIN slate_item ON slate_item.slate_id = answer.slate_id
        JOIN sample ON sample.id = slate_item.sample_id
        ORDER BY answer.id, slate_item.position""",
        (*values, most),
    )
    sizes, picked, raters, points = [], [], [], []
    for _, items in groupby(rows, key=lambda row: row["id"]):
        slate = list(items)
        if all(item["point"] for item in slate):
            sizes.append(len(slate))
            picked.append(slate[0]["picked"])
            raters.append(slate[0]["rater"])
            points += [json.loads(item["point"]) for item in slate]
    n, places, who = (np.array(some, dtype=np.int64) for some in (sizes, picked, raters))
    return Slates(n, places, who), np.array(points, dtype=np.float64).reshape(len(points), sum(traits.widths))
