"""The answers of a study that a fit counts, and answered slates as flat arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from data.records import OUTCOMES, PURPOSES, Purpose, RaterKind
from data.store import Store

ANSWER = np.dtype(
    [("slate", "i8"), ("k", "i4"), ("t", "i4"), ("purpose", "i1"), ("outcome", "i1"), ("position", "i4"),
     ("rater", "i8"), ("copy_of", "i8"), ("repeats", "?"), ("withdrawn", "?"), ("flagged", "?")]
)  # fmt: skip
ITEM = np.dtype(
    [("slate", "i8"), ("position", "i4"), ("sample", "i8"), ("t", "i4"), ("label", "i4"), ("reward", "f8"),
     ("operative", "f8")]
)  # fmt: skip
WORDS = {"none": "'none of these'", "skip": "skipped", "timeout": "timed out"}


@dataclass(frozen=True, slots=True)
class Slates:
    """n slates of K samples each, K differing; their samples are consecutive rows of every array about samples.

    Attributes:
        sizes: (n,) K, each at least 2.
        picked: (n,) the picked position, in [0, K).
        raters: (n,) who picked, any whole numbers.
        independent: whether picks are independent whoever made them, as simulated users' are.
    """

    sizes: np.ndarray
    picked: np.ndarray
    raters: np.ndarray
    independent: bool = False

    @classmethod
    def of_equal_size(cls, k: int, picked: np.ndarray, raters: np.ndarray | None = None) -> Self:
        """Slates of one K; without raters every pick is someone else's."""
        n = len(picked)
        return cls(np.full(n, k), np.asarray(picked), np.arange(n) if raters is None else np.asarray(raters))

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def starts(self) -> np.ndarray:
        """(n,) the first row of each slate."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @property
    def rows(self) -> np.ndarray:
        """(n,) the row of each picked sample."""
        return self.starts + self.picked

    @property
    def positions(self) -> np.ndarray:
        """(rows,) the position of each sample in its slate, from 0."""
        return np.arange(int(self.sizes.sum())) - self.spread(self.starts)

    def total(self, values: np.ndarray) -> np.ndarray:
        """(n, ...) sums over each slate of (rows, ...) values."""
        if not len(self):
            return np.zeros((0, *values.shape[1:]))
        return np.add.reduceat(values, self.starts, axis=0)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(rows, ...) each slate's value at all its samples."""
        return np.repeat(values, self.sizes, axis=0)

    def centred(self, values: np.ndarray) -> np.ndarray:
        """(rows, ...) values less their slate's mean; exactly 0 where they are equal."""
        sizes = self.sizes.reshape(-1, *[1] * (values.ndim - 1))
        apart = values - self.spread(values[self.starts])
        return apart - self.spread(self.total(apart) / sizes)

    def log_probabilities(self, utilities: np.ndarray) -> np.ndarray:
        """(rows,) log of Luce's probability of each sample in its slate, from (rows,) utilities."""
        shifted = utilities - self.spread(np.maximum.reduceat(utilities, self.starts))
        return shifted - self.spread(np.log(self.total(np.exp(shifted))))

    def keep(self, chosen: np.ndarray) -> tuple["Slates", np.ndarray]:
        """The slates where the (n,) mask is true, and the (rows,) mask of their samples."""
        kept = Slates(self.sizes[chosen], self.picked[chosen], self.raters[chosen], self.independent)
        return kept, self.spread(chosen)


@dataclass(frozen=True, slots=True)
class Who:
    """Whose answers count.

    Attributes:
        kinds: of raters.
        purposes: of slates.
        pick_flags: an answer with one of these doesn't count.
        rater_flags: nor does an answer of a rater with a session flagged with one of these.
    """

    kinds: tuple[RaterKind, ...] = ("human",)
    purposes: tuple[Purpose, ...] = ("curation", "audit")
    pick_flags: tuple[str, ...] = ()
    rater_flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repeats:
    """Slates that the same rater saw again in another order.

    Attributes:
        first: (m,) which of the log's slates it was.
        again: (m,) position, in the order of the first showing, of the sample that was picked the second time.
    """

    first: np.ndarray
    again: np.ndarray


@dataclass(frozen=True, slots=True)
class Log:
    """The picks that count.

    Attributes:
        slates: n of them.
        answers: (n,) `ANSWER` rows.
        items: (rows,) `ITEM` rows, aligned with the slates' samples.
        left_out: answers that don't count, by reason.
        repeats: of slates that count.
    """

    slates: Slates
    answers: np.ndarray
    items: np.ndarray
    left_out: dict[str, int]
    repeats: Repeats


def read_log(store: Store, who: Who) -> Log:
    """Reads a study's answers; they are consistent with one moment."""
    with store.read():
        answers = np.fromiter(store.chosen_answers(who.kinds, who.pick_flags, who.rater_flags), dtype=ANSWER)
        items = np.fromiter(_numbers(store.chosen_items(who.kinds)), dtype=ITEM)
    ids, starts, counts = np.unique(items["slate"], return_index=True, return_counts=True)
    held = np.zeros(len(answers), dtype=np.int64)
    place = np.searchsorted(ids, answers["slate"])
    there = place < len(ids)
    there[there] = ids[place[there]] == answers["slate"][there]
    held[there] = counts[place[there]]
    counted, left_out = _counted(answers, held, who)
    chosen = answers[counted]
    rows = _rows(starts[place[counted]], held[counted])
    slates = Slates(held[counted], chosen["position"].astype(np.int64), chosen["rater"], "human" not in who.kinds)
    return Log(slates, chosen, items[rows], left_out, _repeats(answers, chosen, items, starts, ids))


def _numbers(rows: Iterable[tuple]) -> Iterable[tuple]:
    """The rows with NaN for None."""
    for row in rows:
        yield tuple(np.nan if value is None else value for value in row)


def _counted(answers: np.ndarray, held: np.ndarray, who: Who) -> tuple[np.ndarray, dict[str, int]]:
    """(all answers,) which count, and how many of the others there are for each first reason."""
    wanted = np.isin(answers["purpose"], [PURPOSES.index(purpose) for purpose in who.purposes])
    reasons = {
        "of sessions that withdrew": answers["withdrawn"],
        "flagged": answers["flagged"],
        **{WORDS[name]: answers["outcome"] == i for i, name in enumerate(OUTCOMES) if name in WORDS},
        "from slates of infinite K": answers["k"] == 0,
        "from slates of K = 1, where nothing is chosen": answers["k"] == 1,
        "from slates that lack samples": (held != answers["k"]) & (answers["k"] > 1),
    }
    counted, left_out = wanted.copy(), {}
    for words, holds in reasons.items():
        n = int((counted & holds).sum())
        if n:
            left_out[words] = n
        counted &= ~holds
    return counted, left_out


def _rows(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The indices of runs that start at `starts` and are `sizes` long."""
    ends = np.cumsum(sizes)
    offsets = np.repeat(starts - np.concatenate([[0], ends[:-1]])[: len(starts)], sizes)
    return np.arange(int(sizes.sum())) + offsets


def _repeats(
    answers: np.ndarray, counted: np.ndarray, items: np.ndarray, starts: np.ndarray, ids: np.ndarray
) -> Repeats:
    """Second answers to slates that count; flags don't matter, because being inconsistent is one."""
    again = answers[answers["repeats"] & (answers["outcome"] == OUTCOMES.index("pick"))]
    again = again[np.isin(again["copy_of"], counted["slate"])]
    first = np.searchsorted(counted["slate"], again["copy_of"])
    picked = items["sample"][starts[np.searchsorted(ids, again["slate"])] + again["position"]]
    before = starts[np.searchsorted(ids, again["copy_of"])]
    positions = np.full(len(again), -1)
    for position in range(int(again["k"].max(initial=0))):
        here = (position < again["k"]) & (items["sample"][np.minimum(before + position, len(items) - 1)] == picked)
        positions[here] = position
    return Repeats(first[positions >= 0], positions[positions >= 0])
