"""K = inf: picks are single samples, so they are compared with the law p exp(r) / E[exp(r)] of the limit."""

import numpy as np

from loop.selfcheck.rule import LEAST_VARIANCE, chi_square, noncentrality
from loop.selfcheck.verdicts import Finding, by_chi_square

BINS = 10
LEAST_EFFECTIVE = 200  # fresh samples that carry the weight, as if all weighed the same


def weighed_draws(picked: np.ndarray, fresh: np.ndarray, lapse: float, per_pick: float, t: int | None) -> Finding:
    """Rewards of what was picked against those of fresh samples, weighed by lapse + (1 - lapse) exp(r) / E[exp(r)].

    Bins hold equal weight; the covariance of their counts is that of independent picks from a finite pool, plus that
    of the fresh samples' weights (delta method).

    Args:
        picked: (n,) rewards by which the users judged.
        fresh: (m,) rewards of fresh samples, by the same judgement.
        lapse: share of picks made at random.
        per_pick: samples in the pool for each pick.
        t: the generation.
    """
    n, m = len(picked), len(fresh)
    compared = f"Rewards of {n:,} picks from all samples against {m:,} fresh ones weighed by exp(r)"
    weights = _weights(fresh, lapse)
    effective = m / float((weights**2).mean())
    bins = int(min(BINS, n // (2 * LEAST_VARIANCE)))
    if min(effective, effective * n * per_pick / m) < LEAST_EFFECTIVE or bins < 2:
        return Finding("weighed draws", t, n, compared, f"too few to compare ({effective:.0f} carry the weight)")
    edges = _edges(fresh, weights, bins)
    inside = np.searchsorted(edges, fresh, side="right")[:, None] == np.arange(len(edges) + 1)
    expected = (weights[:, None] * inside).mean(axis=0)
    parts = weights[:, None] * (inside - expected)
    covariance = np.diag(expected) - np.outer(expected, expected)
    covariance += (1 / per_pick + n / m) * parts.T @ parts / m
    observed = np.bincount(np.searchsorted(edges, picked, side="right"), minlength=len(edges) + 1)
    test = chi_square(observed - n * expected, n * covariance)
    if not test.df:
        return Finding("weighed draws", t, n, compared, "the samples don't differ enough to tell")
    wanted = float((weights * fresh).mean())
    luce = _weights(fresh, 0.0)
    by_scale = (1 - lapse) * luce * (fresh - float((luce * fresh).mean()))

    def unit(derivative: np.ndarray) -> float:
        return noncentrality(n * (derivative[:, None] * inside).mean(axis=0), n * covariance)

    return Finding(
        "weighed draws",
        t,
        n,
        compared,
        f"chi-square {test.value:.1f} on {test.df} degrees of freedom; mean reward {picked.mean():.3f}, expected "
        f"{wanted:.3f}",
        "The picks aren't draws by weight exp(r): "
        + (
            "they go further than declared, as in a cut of the best (top-k) or with a hidden temperature."
            if picked.mean() > wanted
            else "they go less far than declared, or by another reward."
        ),
        p=test.p,
        figures={
            "chi_square": test.value,
            "df": test.df,
            "mean_picked": float(picked.mean()),
            "mean_expected": wanted,
            "effective_fresh": effective,
        },
        detectable=(
            by_chi_square("scale", "a factor on the rewards off by {}", lambda size: size**2 * unit(by_scale), test.df),
            by_chi_square(
                "lapse", "a lapse of {} more", lambda size: size**2 * unit(1 - luce), test.df, most=1 - lapse
            ),
        ),
    )


def _weights(fresh: np.ndarray, lapse: float) -> np.ndarray:
    """(m,) of mean 1."""
    w = np.exp(fresh - fresh.max())
    return lapse + (1 - lapse) * w / w.mean()


def _edges(fresh: np.ndarray, weights: np.ndarray, bins: int) -> np.ndarray:
    order = np.argsort(fresh)
    weight = np.cumsum(weights[order])
    return np.unique(fresh[order][np.searchsorted(weight, weight[-1] * np.arange(1, bins) / bins)])
