"""Taste groups: which tastes there are among the raters, how many share each, and whom the loop serves.

A rater's utilities are normal around those of the rater's group, along each column and in strength, so that raters who
differ a little, or are less sure, are one group: a mixed logit where there is one, a mixture where there are more. The
number of groups is chosen by the likelihood of raters who were held out, integrated by Laplace's method; as that makes
tastes too weak, the chosen groups are fitted by importance sampling. Torch-free.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
from pydantic import Field
from scipy.optimize import minimize
from scipy.special import ndtr, stdtrit

from data.designs import Factor, coordinate_names
from loop.analysis.design import CLASS
from loop.analysis.log import Slates
from loop.analysis.logit import Fit, Likelihood, by_cluster
from loop.analysis.taste import Leaning, TasteLeaning, fitted_leaning
from loop.evidence.intervals import Estimate, Part

RIDGE = 1.0  # precision of the normal prior of each utility, and of each spread, on standardised columns
SURE = 4.0  # precision of the normal prior of the spread of strength
MOST_SURE = 0.5  # the largest such spread: beyond it many factors are below 0, an opposite taste, not a weaker one
MOST_GROUPS = 4
LEAST_RATERS = 10
FOLDS, DIVISIONS = 10, 2  # of raters, each held out once in each division into folds
LEAST_SPREAD = 0.05  # of the tastes of groups, on standardised columns
STARTS = 6
EXPANSIONS = 12  # at most, of the raters' likelihoods
SETTLED = 1e-3  # change of a utility, on standardised columns, under which they end
DRAWS, LEAST_DRAWS = 128, 16  # of a rater's utilities in each group
MOST_DRAWN = 2_000_000  # utilities of samples at once; studies with more have fewer draws
WIDER = 1.3  # variance of the draws over that of Laplace's method, whose tails are too thin
REDRAWN = 20  # times at most, around the latest groups
BLOCKS = 60  # of raters, each left out once for the errors
MOST_LIKED = 3  # leanings in words
CLEAR = 1.0  # standard errors by which a further group must raise the log-likelihood of held-out raters ...
LEAST_GAIN = 1.0  # ... and by so much at the least


class GroupCount(Part):
    """A number of taste groups, held against one group fewer."""

    groups: int = Field(description="the number")
    gain: Estimate = Field(
        description="log-likelihood of all raters' picks, each rater held out, over that with one group fewer; its "
        "standard error is over raters"
    )
    chosen: bool = Field(description="whether it is the number that the report goes by")


class GroupUtility(Part):
    """A taste group's mean utility of a generation's samples."""

    t: int = Field(description="the generation")
    utility: Estimate = Field(description="E[r] by the group's utilities; 0 for a sample whose columns are all 0")
    gain: Estimate = Field(description="the same less generation 0's; a rater's part of it is judged by the others")
    losing: float = Field(description="share of the group's raters whose own gain is below 0, by the fitted spread")


class TasteGroup(Part):
    """Raters with a taste in common. Intervals are by a jackknife over raters, which counts uncertain membership."""

    share: Estimate = Field(description="of raters")
    raters: int = Field(description="who most probably belong to it")
    words: str = Field(description="what it likes, in words")
    coefficients: dict[str, Estimate] = Field(description="utility per unit of each column, in the mean of the group")
    leanings: list[TasteLeaning] = Field(description="the same along the named numbers, the clearest first")
    generations: list[GroupUtility] = Field(description="empty where the measured samples lack a column")


class GroupMember(Part):
    """A rater, and the groups that the rater may belong to."""

    rater: int = Field(description="the rater's number in the study")
    picks: int = Field(description="that count")
    groups: list[float] = Field(description="probability of each group, given the picks")


class TasteGroups(Part):
    """Groups of raters by taste, their number chosen by held-out likelihood, and whom the loop serves."""

    number: int | None = Field(description="of groups; None where it can't be known")
    picks: int = Field(description="that it rests on")
    raters: int = Field(description="who made them")
    ridge: float = Field(description="precision of the normal prior of each utility, on standardised columns")
    counts: list[GroupCount] = Field(default=[], description="the numbers of groups that were tried, from 2")
    spread: dict[str, float] = Field(
        default={}, description="standard deviation of raters' utilities around their group's, per unit of each column"
    )
    strength: float | None = Field(
        default=None, description="standard deviation of the factor by which raters are surer than their group, or less"
    )
    groups: list[TasteGroup] = Field(default=[], description="the largest first")
    members: list[GroupMember] = Field(default=[], description="by rater")
    certainty: float | None = Field(
        default=None, description="mean over raters of the probability of their most probable group"
    )
    sentences: list[str] = Field(default=[], description="who gains and who loses, in words")
    reason: str = Field(default="", description="why there are no groups")


@dataclass(frozen=True, slots=True)
class Mixture:
    """Groups of raters on d standardised columns.

    Attributes:
        shares: (c,) of raters.
        tastes: (c, d) mean utilities of each group.
        spread: (d,) standard deviation of raters' utilities around their group's.
        strength: standard deviation of the factor, with mean 1, by which a rater's taste is stronger than the group's.
    """

    shares: np.ndarray
    tastes: np.ndarray
    spread: np.ndarray
    strength: float = 0.0

    @property
    def loadings(self) -> np.ndarray:
        """(c, d, d + 1) by which independent standard normals make a rater's utilities around those of the group."""
        c, d = self.tastes.shape
        along = np.broadcast_to(np.diag(self.spread), (c, d, d))
        return np.concatenate([along, self.strength * self.tastes[:, :, None]], axis=2)


@dataclass(frozen=True, slots=True)
class Posterior:
    """The groups and utilities of g raters, given their picks.

    Attributes:
        log_likelihood: (g,) of each one's picks.
        groups: (g, c) probabilities of the groups.
        utilities: (g, c, d) means in each group.
        residual: (g, c, d) slopes of the log-likelihood there.
        stretch: (g, c, d, d + 1) derivative of the log-likelihood in each group by the loadings.
    """

    log_likelihood: np.ndarray
    groups: np.ndarray
    utilities: np.ndarray
    residual: np.ndarray
    stretch: np.ndarray


@dataclass(frozen=True, slots=True)
class Curves:
    """The log-likelihoods of g raters to second order in their utilities b: `level + slope b - b' curvature b / 2`.

    Attributes:
        level: (g, c), expanded for c groups, or for all alike (c = 1).
        slope: (g, c, d).
        curvature: (g, c, d, d).
    """

    level: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray

    def of(self, raters: np.ndarray) -> "Curves":
        """Those of some raters, by a mask or by indices."""
        return Curves(self.level[raters], self.slope[raters], self.curvature[raters])

    def normals(self, mixture: Mixture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(g, c, d + 1) slopes, means and (g, c, d + 1, d + 1) covariance of the normals behind raters' utilities."""
        loadings = mixture.loadings
        across, bent = loadings.transpose(0, 2, 1), self.slope - times(self.curvature, mixture.tastes)
        inverse = np.linalg.inv(np.eye(loadings.shape[2]) + across @ self.curvature @ loadings)
        pulled = times(across, bent)
        return pulled, times(inverse, pulled), inverse

    def posterior(self, mixture: Mixture) -> Posterior:
        """The posterior of each rater's group and utilities under a mixture, by Laplace's method."""
        mu, a, loadings = mixture.tastes, self.curvature, mixture.loadings
        pulled, lifted, inverse = self.normals(mixture)
        values = self.level + ((self.slope - 0.5 * times(a, mu)) * mu).sum(axis=2) + 0.5 * (lifted * pulled).sum(axis=2)
        joint = values + 0.5 * np.linalg.slogdet(inverse)[1] + np.log(mixture.shares)
        total, utilities = np.logaddexp.reduce(joint, axis=1), mu + times(loadings, lifted)
        residual = self.slope - times(a, utilities)
        stretch = residual[..., None] * lifted[..., None, :] - a @ loadings @ inverse
        return Posterior(total, np.exp(joint - total[:, None]), utilities, residual, stretch)


@dataclass(frozen=True, slots=True)
class Draws:
    """Picks of g raters, and draws by which their likelihoods are integrated: importance sampling.

    Attributes:
        picks: of each rater, with the (rows, d) centred and standardised columns of their samples.
        normals: (g, c, r, d + 1) draws, for each group, of the normals that its loadings turn into utilities.
        weights: (g, c, r) log of a standard normal's density there, over r times that which they were drawn from.

    Source: Pinheiro and Bates 1995, "Approximations to the log-likelihood function in the nonlinear mixed-effects
    model"; Train 2009, "Discrete choice methods with simulation", chapter 10.
    """

    picks: Sequence[tuple[Slates, np.ndarray]]
    normals: np.ndarray
    weights: np.ndarray

    @classmethod
    def around(cls, picks: Sequence[tuple[Slates, np.ndarray]], curves: Curves, seed: int, mixture: Mixture) -> "Draws":
        """Antithetic draws from somewhat wider normals than those of Laplace's method under a mixture."""
        _, mean, covariance = curves.normals(mixture)
        g, c, k = mean.shape
        half = max(LEAST_DRAWS, min(DRAWS, MOST_DRAWN // (c * sum(len(z) for _, z in picks)))) // 2
        own = np.random.default_rng(seed).standard_normal((g, c, half, k))
        own = np.concatenate([own, -own], axis=2)
        root = np.linalg.cholesky(WIDER * covariance)
        normals = mean[:, :, None] + own @ root.transpose(0, 1, 3, 2)
        size = np.log(np.diagonal(root, axis1=2, axis2=3)).sum(axis=2, keepdims=True) - np.log(2 * half)
        return cls(picks, normals, ((own**2).sum(axis=3) - (normals**2).sum(axis=3)) / 2 + size)

    def posterior(self, mixture: Mixture) -> Posterior:
        """The posterior of each rater's group and utilities under a mixture."""
        utilities = mixture.tastes[:, None] + self.normals @ mixture.loadings.transpose(0, 2, 1)
        joint, slopes = self.weights.copy(), np.zeros_like(utilities)
        for i, (slates, z) in enumerate(self.picks):
            at = utilities[i].reshape(-1, z.shape[1])
            log_p, picked = slates.log_probabilities(z @ at.T), slates.rows
            joint[i] += log_p[picked].sum(axis=0).reshape(joint[i].shape)
            slopes[i] = (z[picked].sum(axis=0) - np.exp(log_p).T @ z).reshape(slopes[i].shape)
        values = np.logaddexp.reduce(joint, axis=2)
        known = np.exp(joint - values[..., None])[..., None]
        slopes *= known
        total = np.logaddexp.reduce(values := values + np.log(mixture.shares), axis=1)
        groups, utilities = np.exp(values - total[:, None]), (known * utilities).sum(axis=2)
        return Posterior(total, groups, utilities, slopes.sum(axis=2), slopes.transpose(0, 1, 3, 2) @ self.normals)


def times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(..., d) products of (..., d, d) matrices and (..., d) vectors."""
    return (matrices @ vectors[..., None])[..., 0]


def expand(slates: Slates, z: np.ndarray, rater: np.ndarray, at: np.ndarray) -> Curves:
    """The raters' log-likelihoods to second order around (g, c, d) utilities.

    Args:
        slates: n picks.
        z: (rows, d) centred and standardised columns.
        rater: (n,) index of each pick's rater, 0 to g - 1.
        at: the utilities.
    """
    g, c, d = at.shape
    row, likelihood = slates.per_sample(rater), Likelihood(slates, z, np.zeros(d))
    level, slope, curvature = np.zeros((g, c)), np.zeros((g, c, d)), np.zeros((g, c, d, d))
    for j in range(c):
        b = at[:, j]
        log_p = slates.log_probabilities((z * b[row]).sum(axis=1))
        p = np.exp(log_p)
        own, sums = by_cluster(likelihood, p, likelihood.scores(b[0], p), rater, g)
        bent = np.einsum("gij,gj->gi", own, b)
        slope[:, j], curvature[:, j] = sums + bent, own
        level[:, j] = np.bincount(rater, log_p[slates.rows], g) - ((sums + 0.5 * bent) * b).sum(axis=1)
    return Curves(level, slope, curvature)


@dataclass(frozen=True, slots=True)
class Prior:
    """A normal prior of each group's tastes, independent along columns.

    Attributes:
        centre: of each, or a number for all.
        precision: likewise.
    """

    centre: np.ndarray | float = 0.0
    precision: np.ndarray | float = RIDGE

    @classmethod
    def around(cls, alone: Mixture) -> "Prior":
        """Groups differ along columns as raters do who are taken as a single group: where they agree, so do groups."""
        variance = alone.spread**2 + (alone.strength * alone.tastes[0]) ** 2
        return cls(alone.tastes[0], 1 / np.maximum(variance, LEAST_SPREAD**2))


def log_posterior(theta: np.ndarray, raters: Curves | Draws, c: int, prior: Prior) -> tuple[float, np.ndarray]:
    """The log-posterior of a mixture of c groups, flat as `flattened` writes it, and its gradient.

    The gradient is in parts, (g, p), whose sum it is: of raters, who share that of the prior.
    """
    mixture = unflattened(theta, c, (len(theta) - c - 1) // (c + 1))
    known, shares = raters.posterior(mixture), mixture.shares
    g = len(known.groups)
    value = known.log_likelihood.sum() + np.log(shares).sum()
    apart = mixture.tastes - prior.centre
    value -= ((prior.precision * apart**2).sum() + RIDGE * (mixture.spread**2).sum() + SURE * mixture.strength**2) / 2
    stretch = known.groups[:, :, None, None] * known.stretch
    along, onward = np.einsum("gcdd->gd", stretch[..., :-1]), stretch[..., -1]
    tastes = known.groups[..., None] * known.residual + mixture.strength * onward - prior.precision * apart / g
    parts = [
        tastes.reshape(g, -1),
        known.groups - shares + (1 - c * shares) / g,
        along - RIDGE * mixture.spread / g,
        (onward * mixture.tastes).sum(axis=(1, 2))[:, None] - SURE * mixture.strength / g,
    ]
    return float(value), np.concatenate(parts, axis=1)


def flattened(mixture: Mixture) -> np.ndarray:
    """(c d + c + d + 1,) utilities, log shares, spreads and the spread of strength."""
    return np.concatenate([mixture.tastes.ravel(), np.log(mixture.shares), mixture.spread, [mixture.strength]])


def unflattened(theta: np.ndarray, c: int, d: int) -> Mixture:
    """The mixture that `flattened` wrote; any numbers in place of log shares are scaled to shares."""
    weights = np.exp(theta[c * d : c * d + c] - theta[c * d : c * d + c].max())
    return Mixture(weights / weights.sum(), theta[: c * d].reshape(c, d), theta[c * d + c : -1], theta[-1])


def climb(
    curves: Curves, start: Mixture, prior: Prior = Prior(), tilt: float | np.ndarray = 0
) -> tuple[Mixture, float]:
    """The best mixture near a start, and its log-posterior.

    Beside the prior of tastes that of each spread is normal with precision `RIDGE`, of strength with `SURE` and up to
    `MOST_SURE`, of shares Dirichlet(2). A tilt is added to the gradient.
    """
    c, d = start.tastes.shape
    bounds = [(None, None)] * (c * d + c) + [(0, None)] * d + [(0, MOST_SURE)]

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradients = log_posterior(theta, curves, c, prior)
        return -value - float((tilt * theta).sum()), -gradients.sum(axis=0) - tilt

    options = {"maxiter": 300, "ftol": 1e-8, "gtol": 1e-3}
    result = minimize(loss, flattened(start), method="L-BFGS-B", jac=True, bounds=bounds, options=options)
    return unflattened(result.x, c, d), -float(result.fun)


def best_mixture(curves: Curves, alone: Mixture, c: int, rng: np.random.Generator) -> Mixture:
    """The best of the mixtures of c groups, from several starts: utilities of raters drawn at random.

    Args:
        curves: of g raters, expanded for all groups alike.
        alone: the best single group, around which the tastes of several are expected.
        c: groups.
        rng: draws the raters.
    """
    utilities, prior, known = curves.posterior(alone).utilities[:, 0], Prior.around(alone), []
    for _ in range(STARTS):
        centres = utilities[rng.choice(len(utilities), c, replace=False)]
        start = Mixture(np.full(c, 1 / c), centres, np.maximum(0.5 * alone.spread, 0.05), 0.1)
        known.append(climb(curves, start, prior))
    return max(known, key=lambda pair: pair[1])[0]


def single_group(slates: Slates, z: np.ndarray, rater: np.ndarray, g: int) -> tuple[Curves, Mixture]:
    """The best single group, and the raters' curves around their utilities in it; arguments as of `expand`."""
    d = z.shape[1]
    pooled = Likelihood(slates, z, np.full(d, RIDGE)).maximum()
    mixture = Mixture(np.ones(1), pooled[None], np.full(d, 0.3), 0.2)
    curves = expand(slates, z, rater, np.tile(pooled, (g, 1, 1)))
    for _ in range(EXPANSIONS):
        before, (mixture, _) = mixture.tastes, climb(curves, mixture)
        curves = expand(slates, z, rater, curves.posterior(mixture).utilities)
        if np.abs(mixture.tastes - before).max() < SETTLED:
            break
    return curves, climb(curves, mixture)[0]


def held_out(curves: Curves, known: Sequence[Mixture], folds: np.ndarray) -> np.ndarray:
    """(g,) log-likelihoods of the raters, each by the groups that were fitted to the other folds.

    Args:
        curves: of g raters.
        known: groups without each fold.
        folds: (divisions, g) of each rater, numbered from 0 over all divisions.
    """
    value = np.zeros(folds.shape[1])
    for division in folds:
        for fold in np.unique(division):
            own = division == fold
            value[own] += curves.of(own).posterior(known[fold]).log_likelihood / len(folds)
    return value


@dataclass(frozen=True)
class Grouping:
    """The chosen mixture, with what its errors are worked out from.

    Attributes:
        mixture: on standardised columns, the largest group first.
        without: the same with each block of raters left out.
        differentials: (blocks, d) their parts of the mean over picks of the picked sample's columns, less its slate's.
        members: (g, c) probabilities of the raters' groups.
        counts: numbers of groups that were tried.
        scale: (d,) by which columns were divided.
    """

    mixture: Mixture
    without: tuple[Mixture, ...]
    differentials: np.ndarray
    members: np.ndarray
    counts: tuple[GroupCount, ...]
    scale: np.ndarray


def grouping(slates: Slates, x: np.ndarray, rater: np.ndarray, seed: int = 0, most: int = MOST_GROUPS) -> Grouping:
    """Groups the raters by taste.

    A further group is taken where it raises the log-likelihood of raters who were held out by more than `CLEAR`
    standard errors (over raters), the rule of Breiman et al. 1984 for the simplest model that predicts as well, and by
    more than `LEAST_GAIN`.

    Args:
        slates: n picks of a best sample.
        x: (rows, d) columns that differ within slates.
        rater: (n,) index of each pick's rater, 0 to g - 1.
        seed: of the folds, the starts and the blocks.
        most: groups.
    """
    z, g, rng = slates.centred(x), int(rater.max()) + 1, np.random.default_rng(seed)
    scale = np.sqrt((z**2).mean(axis=0))
    z = z / scale
    curves, alone = single_group(slates, z, rater, g)
    n = min(FOLDS, g)
    folds = np.stack([rng.permutation(g) % n + n * i for i in range(DIVISIONS)])
    others = [curves.of((folds != fold).all(axis=0)) for fold in range(n * DIVISIONS)]
    singles = [climb(other, alone)[0] for other in others]
    counts, mixture = [], alone
    before = held_out(curves, singles, folds)
    for c in range(2, min(most, g // 2) + 1):
        larger = best_mixture(curves, alone, c, rng)
        priors = [Prior.around(single) for single in singles]
        known = [climb(other, larger, prior)[0] for other, prior in zip(others, priors, strict=True)]
        now = held_out(curves, known, folds)
        gain = Estimate.of(float((now - before).sum()), float((now - before).std(ddof=1)) * g**0.5)
        better = gain.value > max(LEAST_GAIN, CLEAR * gain.se)
        counts.append(GroupCount(groups=c, gain=gain, chosen=False))
        if not better:
            break
        mixture, before = larger, now
    counts = [row.model_copy(update={"chosen": row.groups == len(mixture.shares)}) for row in counts]
    picks = [(own, z[rows]) for own, rows in (slates.subset(rater == i) for i in range(g))]
    for _ in range(REDRAWN):
        curves = expand(slates, z, rater, curves.posterior(mixture).utilities)
        before, draws = mixture.tastes, Draws.around(picks, curves, seed, mixture)
        exact, rough = (log_posterior(flattened(mixture), some, len(before), Prior())[1] for some in (draws, curves))
        mixture, _ = climb(curves, mixture, tilt=(exact - rough).sum(axis=0))
        if np.abs(mixture.tastes - before).max() < SETTLED:
            break
    drawn = partial(Draws.around, picks, curves, seed)
    members = drawn(mixture).posterior(mixture).groups
    blocks = rng.permutation(g) % min(BLOCKS, g)
    blocks = [blocks == block for block in np.unique(blocks)]
    without = left_out(drawn, mixture, blocks)
    order = np.argsort(-mixture.shares, kind="stable")
    mixture, *without = (replace(some, shares=some.shares[order], tastes=some.tastes[order])
                         for some in (mixture, *without))  # fmt: skip
    differentials = np.stack([z[slates.rows[block[rater]]].sum(axis=0) for block in blocks]) * scale / len(slates)
    return Grouping(mixture, tuple(without), differentials, members[:, order], tuple(counts), scale)


def left_out(drawn: Callable[[Mixture], Draws], mixture: Mixture, blocks: Sequence[np.ndarray]) -> list[Mixture]:
    """The best mixtures without each of some blocks of raters, by a step of Newton's method from the best with all.

    A block counts as half of what is known along a way at the most. Spreads at a bound stay there.

    Args:
        drawn: gives draws of g raters around a mixture, from the same random numbers.
        mixture: the best.
        blocks: (g,) masks.
    """
    c, d = mixture.tastes.shape
    theta, bounded = flattened(mixture), np.append(mixture.spread, mixture.strength)
    free = np.flatnonzero(np.append(np.arange(c * d + c) < c * d + c - 1, (bounded > 0) & (bounded != MOST_SURE)))

    def slopes(at: np.ndarray) -> np.ndarray:
        return log_posterior(at, drawn(unflattened(at, c, d)), c, Prior())[1][:, free]

    slope, steps = slopes(theta), 1e-5 * np.eye(len(theta))[free]
    bent = np.stack([slopes(theta - step) - slope for step in steps], axis=2) / 1e-5
    bent = (bent + bent.transpose(0, 2, 1)) / 2
    values, ways = np.linalg.eigh(bent.sum(axis=0))
    root = ways / np.sqrt(np.maximum(values, 0.5))
    without = []
    for block in blocks:
        parts, ways = np.linalg.eigh(root.T @ bent[block].sum(axis=0) @ root)
        step = ways @ ((ways.T @ root.T @ slope[block].sum(axis=0)) / (1 - np.clip(parts, -0.5, 0.5)))
        at = theta.copy()
        at[free] -= root @ step
        without.append(unflattened(at, c, d))
    return without


def jackknife(values: np.ndarray) -> np.ndarray:
    """(q, q) covariance of q figures from their (blocks, q) values with each block of raters left out."""
    centred = values - values.mean(axis=0)
    return (len(values) - 1) / len(values) * centred.T @ centred


def taste_groups(
    slates: Slates,
    x: np.ndarray,
    names: Sequence[str],
    generations: Sequence[np.ndarray] = (),
    factors: Sequence[Factor] = (),
    reference: str = "",
    seed: int = 0,
) -> TasteGroups:
    """The taste groups of a study's raters, and each one's mean utility of every generation.

    Args:
        slates: n picks; ties and worst picks don't count.
        x: (rows, d) columns of their samples.
        names: of the columns.
        generations: (m, d) columns of the samples that each generation was measured on; those of the same row are of
            the same seed.
        factors: the named numbers behind columns, by which leanings are put in words.
        reference: the class that has no column.
        seed: of everything random.
    """
    slates, rows = slates.best_picks()
    x = x[rows]
    ids, rater, picks = np.unique(slates.raters, return_inverse=True, return_counts=True)
    few = TasteGroups(number=None, picks=len(slates), raters=len(ids), ridge=RIDGE)
    varies = np.flatnonzero(np.sqrt((slates.centred(x) ** 2).mean(axis=0)) > 1e-9) if len(slates) else np.zeros(0, int)
    if slates.independent:
        return few.model_copy(update={"reason": "simulated users have types of their own, whose rewards are known"})
    if len(ids) < LEAST_RATERS:
        picked = "1 rater" if len(ids) == 1 else f"{len(ids)} raters"
        return few.model_copy(update={"reason": f"{picked} picked; groups need {LEAST_RATERS}"})
    if not len(varies):
        return few.model_copy(update={"reason": "no feature differs within slates"})
    x, names = x[:, varies], [names[int(j)] for j in varies]
    known = grouping(slates, x, rater, seed)
    shown = [samples[:, varies] for samples in generations]
    groups = [
        group_of(known, j, lambda fitted: leanings_of(fitted, slates, x, factors, reference), names, shown)
        for j in range(len(known.mixture.shares))
    ]
    members = [
        GroupMember(rater=int(ids[i]), picks=int(picks[i]), groups=known.members[i].tolist()) for i in range(len(ids))
    ]
    return few.model_copy(
        update={
            "number": len(groups),
            "counts": list(known.counts),
            "strength": known.mixture.strength,
            "spread": dict(zip(names, (known.mixture.spread / known.scale).tolist(), strict=True)),
            "groups": groups,
            "members": members,
            "certainty": float(known.members.max(axis=1).mean()),
            "sentences": [sentence_of(group, j, len(groups)) for j, group in enumerate(groups)],
        }
    )


def group_of(
    known: Grouping,
    j: int,
    leanings_by: Callable[[Fit], list[Leaning]],
    names: Sequence[str],
    shown: Sequence[np.ndarray],
) -> TasteGroup:
    """Group j with its figures.

    Args:
        known: all groups.
        j: the group's place.
        leanings_by: gives the leanings of its utilities.
        names: (d,) of the columns.
        shown: (m, d) columns of each generation's samples.
    """
    scale, mixture = known.scale, known.mixture
    tastes = mixture.tastes[j] / scale
    without = np.stack([some.tastes[j] for some in known.without]) / scale
    covariance, toward = jackknife(without), known.differentials.sum(axis=0) / scale
    selected = float((known.differentials * (without - without.mean(axis=0))).sum())
    others = tastes + toward / scale * selected / (float(toward @ toward) or 1.0)  # judge a move by raters' own picks
    size = float(known.members[:, j].sum())
    freedom = max(1.0, min(len(known.without), size) - 1)
    half = float(stdtrit(freedom, 0.975))

    def estimate(value: float, se: float) -> Estimate:
        return Estimate(value=value, se=se, low=value - half * se, high=value + half * se)

    share_se = float(np.sqrt(jackknife(np.array([some.shares[j] for some in known.without])[:, None])[0, 0]))
    share = estimate(float(mixture.shares[j]), share_se)
    errors = np.sqrt(np.diag(covariance))
    g = len(known.members)
    leanings = leanings_by(
        Fit(tuple(names), tastes, covariance, None, 0, g, 0.0, 0.0, RIDGE, jackknife=covariance, freedom=freedom)
    )
    rows = []
    for t, samples in enumerate(shown):
        step = samples.mean(axis=0) - shown[0].mean(axis=0)
        paired = samples - shown[0] if len(samples) == len(shown[0]) else samples
        variances = [
            float(way @ covariance @ way) + float((columns @ tastes).var()) / len(columns)
            for way, columns in ((samples.mean(axis=0), samples), (step, paired))
        ]
        reach = float(np.linalg.norm((step / scale) @ mixture.loadings[j]))
        gain = estimate(float(step @ others), variances[1] ** 0.5)
        losing = float(ndtr(-gain.value / reach)) if reach > 0 else float(gain.value < 0)
        utility = estimate(float(shown[0].mean(axis=0) @ tastes + step @ others), variances[0] ** 0.5)
        rows.append(GroupUtility(t=t, utility=utility, gain=gain, losing=losing if t else 0.0))
    return TasteGroup(
        share=share.model_copy(update={"low": max(0.0, share.low), "high": min(1.0, share.high)}),
        raters=int((known.members.argmax(axis=1) == j).sum()),
        words=words_of(leanings),
        coefficients={
            name: estimate(*pair) for name, *pair in zip(names, tastes.tolist(), errors.tolist(), strict=True)
        },
        leanings=[TasteLeaning(**asdict(leaning)) for leaning in leanings],
        generations=rows,
    )


def leanings_of(fitted: Fit, slates: Slates, x: np.ndarray, factors: Sequence[Factor], reference: str) -> list[Leaning]:
    """The leanings of fitted utilities, the clearest first.

    Those toward a class are over the average of what was shown; others are for one standard deviation within slates.

    Args:
        fitted: to (rows, d) columns.
        slates: in which their samples stood.
        x: the columns.
        factors: the named numbers behind some of them.
        reference: the class that has no column.
    """
    unit = np.sqrt((slates.centred(x) ** 2).mean(axis=0))
    place, steps = {name: j for j, name in enumerate(fitted.names)}, np.diag(unit)
    named = [(factor, [place[name] for name in coordinate_names([factor]) if name in place]) for factor in factors]
    leanings = [
        fitted_leaning(factor, fitted, steps[own])
        for factor, own in named
        if len(own) == len(coordinate_names([factor]))
    ]
    rest = sorted(set(range(len(unit))) - {j for _, own in named for j in own})
    classes = [j for j in rest if reference and fitted.names[j].startswith(CLASS)]
    average = np.where(np.isin(np.arange(len(unit)), classes), x.mean(axis=0), 0.0)
    for j in (*classes, *[-1] * bool(classes)):
        name = (reference if j < 0 else fitted.names[j]).removeprefix(CLASS)
        toward = -average if j < 0 else np.eye(len(unit))[j] - average
        leanings.append(fitted_leaning(Factor(name, 0, 1, f"not “{name}”", f"“{name}”"), fitted, toward[None]))
    for j in sorted({*rest} - {*classes}):
        leanings.append(fitted_leaning(Factor(fitted.names[j], 0, 1), fitted, steps[[j]]))
    return sorted(leanings, key=lambda leaning: -leaning.low)


def words_of(leanings: Sequence[Leaning]) -> str:
    """The clearest leanings in words, such as "likes fewer petals and blue"."""
    clear = [leaning.words for leaning in leanings if leaning.is_clear][:MOST_LIKED]
    listed = f"{', '.join(clear[:-1])} and {clear[-1]}" if len(clear) > 1 else "".join(clear)
    return f"likes {listed}" if listed else "has no clear taste"


def groups_words(groups: TasteGroups) -> str:
    """The number of groups, by what it was chosen, and the spread of tastes within them, in words."""
    tried = [
        f"{count.groups} instead of {count.groups - 1} {'change the log-likelihood of held-out raters ' * (not i)}by "
        f"{count.gain.value:+.1f} ± {count.gain.se:.1f}"
        for i, count in enumerate(groups.counts)
    ]
    number = "a single taste group" if groups.number == 1 else f"{groups.number} taste groups"
    words = f"{groups.picks:,} picks of {groups.raters:,} raters show {number} ({', '.join(tried)})."
    widest = sorted(groups.spread, key=lambda name: -groups.spread[name])[:MOST_LIKED]
    spread = ", ".join(f"{name} {groups.spread[name]:.2f}" for name in widest if groups.spread[name] >= 0.005)
    if spread:
        within = "it" if groups.number == 1 else "groups"
        words += f" Within {within} raters' utilities spread by {spread} (standard deviations, the widest)."
    if groups.strength and groups.strength >= 0.05:
        words += f" Some are surer than others: the strength of tastes varies by {groups.strength:.0%}."
    if groups.certainty is not None and groups.number != 1:
        words += f" Raters belong to their most probable group with probability {groups.certainty:.0%} in the mean."
    return words


def sentence_of(group: TasteGroup, j: int, number: int) -> str:
    """The gain or loss of a group by the last generation, in words.

    Args:
        group: the group.
        j: its place.
        number: of groups.
    """
    who = f"Group {j + 1} ({group.share.value:.0%} of raters, {group.words})"
    if number == 1:
        who = f"The raters, as a single group that {group.words},"
    if len(group.generations) < 2:
        why = (
            "no later generation has been measured yet"
            if group.generations
            else "samples were measured on no such feature"
        )
        return f"{who.removesuffix(',')}: {why}, so gains aren't known."
    last = group.generations[-1]
    gain = last.gain
    change = f"{abs(gain.value):.2f} of mean utility by generation {last.t} (95% {gain.low:+.2f} to {gain.high:+.2f})"
    if gain.low <= 0 <= gain.high:
        return f"{who} neither clearly gains nor loses by generation {last.t} ({gain.low:+.2f} to {gain.high:+.2f})."
    losers = f", though an estimated {last.losing:.0%} of them lose" if gain.low > 0 and last.losing >= 0.05 else ""
    return f"{who} {'gains' if gain.low > 0 else 'loses'} {change}{losers}."
