"""A generation's curation slates as arrays, straight from the database; a million picks are tens of megabytes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.store import Store

ITEM = np.dtype(
    [("slate", "i8"), ("k", "i4"), ("position", "i4"), ("sample", "i8"), ("t", "i4"), ("seed", "i8"),
     ("reward", "f8"), ("operative", "f8"), ("picked", "i4"), ("rater", "i4")]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choices:
    """Slates of one size K with what was picked.

    Attributes:
        rewards: (n, K) finite, by which the user judged, in display order.
        picked: (n,) positions in [0, K).
    """

    rewards: np.ndarray
    picked: np.ndarray

    def __len__(self) -> int:
        return len(self.picked)


def read_items(store: Store, t: int) -> np.ndarray:
    """(m,) `ITEM` rows of all curation slates of generation t, by slate and position."""
    return np.fromiter(store.judged_items(t), dtype=ITEM)


def whole_slates(items: np.ndarray) -> dict[int, np.ndarray]:
    """The (n, K) items of the slates that hold all their K samples, for every finite K that occurs."""
    _, starts, counts = np.unique(items["slate"], return_index=True, return_counts=True)
    found = {}
    for k in np.unique(items["k"]):
        whole = starts[(items["k"][starts] == k) & (counts == k)]
        whole = whole[items["position"][whole + k - 1] == k - 1]
        if k >= 1 and len(whole):
            found[int(k)] = items[whole[:, None] + np.arange(k)]
    return found


def choices_of(slates: Mapping[int, np.ndarray], raters: np.ndarray) -> list[Choices]:
    """The answered slates of raters with these ids, a block for each K of 2 or more."""
    blocks = []
    for k, items in slates.items():
        if k < 2:
            continue
        first = items[:, 0]
        keep = np.isin(first["rater"], raters) & (first["picked"] >= 0) & (first["picked"] < k)
        keep &= np.isfinite(items["operative"]).all(axis=1)
        if keep.any():
            blocks.append(Choices(items["operative"][keep], first["picked"][keep]))
    return blocks
