"""What can be said where the reward is people's own: their choices between generations in audit slates."""

from collections.abc import Sequence

import numpy as np

from data.store import Store
from loop.evidence.schema import Estimate, WinRate

REPLICATES = 1_000


def win_rates(store: Store, latest: int) -> list[WinRate]:
    """Win rate of each generation against generation 0 and against the one before, from people's audit picks.

    Every picked sample is compared with each unpicked one of another generation in its slate; 0.5 is indifference. The
    interval resamples raters, whose own comparisons hang together.
    """
    rows = store.audit_comparisons()
    if not rows:
        return []
    found = np.array([(row["rater"], row["won"], row["lost"]) for row in rows])
    pairs = [(t, against) for t in range(1, latest + 1) for against in sorted({0, t - 1})]
    return [rate for t, against in pairs if (rate := _rate(found, t, against))]


def _rate(found: np.ndarray, t: int, against: int) -> WinRate | None:
    wins = (found[:, 1] == t) & (found[:, 2] == against)
    losses = (found[:, 1] == against) & (found[:, 2] == t)
    if not (wins | losses).any():
        return None
    raters, place = np.unique(found[wins | losses, 0], return_inverse=True)
    won = np.bincount(place, weights=wins[wins | losses], minlength=len(raters))
    all_ = np.bincount(place, minlength=len(raters))
    return WinRate(t=t, against=against, n=int(all_.sum()), raters=len(raters), rate=_clustered(won, all_))


def _clustered(won: np.ndarray, all_: Sequence[int] | np.ndarray) -> Estimate:
    """The share of wins; with one rater alone there is no telling how others would differ, so the interval is all."""
    all_ = np.asarray(all_)
    value = float(won.sum() / all_.sum())
    if len(won) < 2:
        return Estimate(value=value, se=0.5, low=0.0, high=1.0)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(won), size=(REPLICATES, len(won)))
    rates = won[drawn].sum(1) / all_[drawn].sum(1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return Estimate(value=value, se=float(rates.std(ddof=1)), low=float(low), high=float(high))
