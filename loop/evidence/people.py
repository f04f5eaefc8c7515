"""What can be said where the reward is people's own: their choices between generations in audit slates."""

import math
from collections.abc import Collection, Mapping

import numpy as np
from scipy.special import stdtrit

from data.store import Store
from loop.evidence.schema import Estimate, WinRate, side_of

Wins = Mapping[tuple[str, int, int, int], int]


def win_rates(store: Store, latest: int) -> list[WinRate]:
    """Win rate of each generation against generation 0 and against the one before, from people's audit picks.

    Every picked sample is compared with each unpicked one of another generation in its slate; 0.5 is indifference.
    Withdrawn sessions don't count. In a replay, nobody compared those generations that another study's log stands for.
    """
    wins, withdrawn = store.audit_wins(0, store.last_pick()), store.withdrawn_sessions()
    return rates_of(wins, withdrawn, latest, store.foreign_generations())


def rates_of(wins: Wins, withdrawn: set[str], latest: int, foreign: Collection[int] = ()) -> list[WinRate]:
    """Win rates from counts by (session, rater, t that won, t that lost), as `Store.audit_wins` gives them.

    Generations in `foreign` are left out: the samples were another's.
    """
    counted = [(rater, won, lost, n) for (session, rater, won, lost), n in wins.items() if session not in withdrawn]
    if not counted:
        return []
    found = np.array(counted)
    shown = [t for t in range(latest + 1) if t not in foreign]
    pairs = [(t, against) for t in shown[1:] for against in sorted({0, t - 1}) if against in shown]
    return [rate for t, against in pairs if (rate := _rate(found, t, against))]


def _rate(found: np.ndarray, t: int, against: int) -> WinRate | None:
    wins = (found[:, 1] == t) & (found[:, 2] == against)
    losses = (found[:, 1] == against) & (found[:, 2] == t)
    rows = found[wins | losses]
    if not len(rows):
        return None
    raters, place = np.unique(rows[:, 0], return_inverse=True)
    won = np.bincount(place, rows[:, 3] * (rows[:, 1] == t), len(raters))
    all_ = np.bincount(place, rows[:, 3], len(raters))
    rate = clustered_share(won, all_)
    return WinRate(t=t, against=against, n=int(all_.sum()), raters=len(raters), rate=rate, verdict=side_of(rate, 0.5))


def clustered_share(won: np.ndarray, all_: np.ndarray) -> Estimate:
    """The share of comparisons that were won, with a 95 % interval that takes each rater's as one cluster.

    Wilson's interval for as many independent comparisons as would have the same variance (the idea of Korn and
    Graubard, Survey Methodology 24:193, 1998), with Student's t because few raters estimate that variance badly. Where
    raters agree entirely there is no variance to estimate, and each counts once; one rater alone says nothing of
    others, so the interval is all.

    Args:
        won: (raters,) comparisons won; they may be 0.
        all_: (raters,) comparisons, each at least 1.
    """
    value, raters, total = float(won.sum() / all_.sum()), len(won), float(all_.sum())
    if raters < 2:
        return Estimate(value=value, se=0.5, low=0.0, high=1.0)
    variance = raters / (raters - 1) * float(((won - value * all_) ** 2).sum()) / total**2
    spread = value * (1 - value)
    independent = min(total, spread / variance) if variance and spread else float(raters)
    quantile = float(stdtrit(raters - 1, 0.975))
    ratio = quantile**2 / independent
    centre = (value + ratio / 2) / (1 + ratio)
    half = math.sqrt(ratio * (spread + ratio / 4)) / (1 + ratio)
    return Estimate(value=value, se=half / quantile, low=max(0.0, centre - half), high=min(1.0, centre + half))
