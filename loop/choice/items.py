"""Coarse items, such as classes or generations: the worth of each, by the MM algorithm.

`P(item i from S) = n_i w_i / sum_j n_j w_j`, where a slate S shows item j n_j times (Luce 1959; Hunter 2004 for the
algorithm, as in choix, and for when a best answer exists).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from loop.choice.columns import NotIdentifiedError
from loop.choice.logit import fit
from loop.choice.slates import Slates

ITERATIONS = 20_000
CLOSE = 1e-10


@dataclass(frozen=True, slots=True)
class Worth:
    """One item.

    Attributes:
        name: of the item.
        shown: how often it stood in a slate.
        picked: how often it was picked.
        worth: chance that it is picked from a slate with one of each item.
        utility: log worth less the mean of all items'.
        low: lower end of the utility's 95 % interval, clustered by rater where there are enough.
        high: upper end.
    """

    name: str
    shown: int
    picked: int
    worth: float
    utility: float
    low: float
    high: float


def worths(slates: Slates, item: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(m,) the most likely worths, which add up to 1.

    Args:
        slates: n of them.
        item: (rows,) which of the m items each sample is; all of 0 to m - 1 occur.
        names: (m,) for messages.

    Raises:
        NotIdentifiedError: an item, or a set of items, never won against the others (or always did).
    """
    m = len(names)
    counts = slates.total((item[:, None] == np.arange(m)).astype(float))
    won = item[slates.rows]
    mixed = (counts > 0).sum(axis=1) > 1
    counts, won = counts[mixed], won[mixed]
    _check_connected(counts, won, names)
    wins, w = np.bincount(won, minlength=m), np.full(m, 1 / m)
    for _ in range(ITERATIONS):
        new = wins / (counts / (counts @ w)[:, None]).sum(axis=0)
        new /= new.sum()
        if np.abs(np.log(new / w)).max() < CLOSE:
            return new
        w = new
    return w


def item_table(slates: Slates, item: np.ndarray, names: Sequence[str]) -> list[Worth]:
    """All items with their intervals; errors as in `worths`."""
    w = worths(slates, item, names)
    m = len(w)
    contrasts = (np.eye(m) - 1 / m)[:, 1:]
    found = fit(slates, (item[:, None] == np.arange(1, m)).astype(float), names[1:])
    half = found.quantile * found.spread(contrasts)
    utility = np.log(w) - np.log(w).mean()
    shown, picked = np.bincount(item, minlength=m), np.bincount(item[slates.rows], minlength=m)
    return [
        Worth(names[i], int(shown[i]), int(picked[i]), float(w[i]), float(utility[i]),
              float(utility[i] - half[i]), float(utility[i] + half[i]))
        for i in range(m)
    ]  # fmt: skip


def _check_connected(counts: np.ndarray, won: np.ndarray, names: Sequence[str]) -> None:
    """Every item must have won against every other, if by way of others."""
    m = len(names)
    edges = np.zeros((m, m))
    np.add.at(edges, won, (counts > 0).astype(float))
    parts, part = connected_components(coo_matrix(edges), directed=True, connection="strong")
    if m < 2 or parts > 1:
        least = np.bincount(part).argmin()
        apart = ", ".join([name for name, lonely in zip(names, part == least, strict=True) if lonely][:4])
        raise NotIdentifiedError(
            f"{apart}: never picked beside the rest, or always, or never shown with it, so there are no finite worths "
            "yet; collect more picks."
        )
