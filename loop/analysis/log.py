"""The answers of a study that a fit counts, and answered slates as flat arrays."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from data.records import OUTCOMES, PURPOSES, Purpose, RaterKind
from data.store import Store, queries
from model.luce import log_probabilities

ANSWER = np.dtype(
    [("slate", "i8"), ("k", "i4"), ("t", "i4"), ("purpose", "i1"), ("outcome", "i1"), ("position", "i4"),
     ("worst", "i4"), ("rater", "i8"), ("copy_of", "i8"), ("repeats", "?"), ("withdrawn", "?"), ("flagged", "?"),
     ("pick", "i8")]
)  # fmt: skip
ITEM = np.dtype(
    [("slate", "i8"), ("position", "i4"), ("sample", "i8"), ("t", "i4"), ("label", "i4"), ("reward", "f8"),
     ("operative", "f8")]
)  # fmt: skip
WORDS = {"none": "'none of these'", "skip": "skipped", "timeout": "timed out"}


@dataclass(frozen=True, slots=True)
class Slates:
    """Answered slates of any K; their samples are consecutive rows of every array about samples.

    Attributes:
        sizes: (n,) K, each at least 2.
        picked: (n,) the picked position, in [0, K).
        raters: (n,) ids of the raters, any whole numbers.
        independent: True if picks are independent whoever made them, as simulated users' are.
        worst: (n,) the position picked as the worst, -1 where none was; None where no slate asked for one.
        tied: (n,) True where both of a pair were as good, and `picked` says nothing; None where none was.
    """

    sizes: np.ndarray
    picked: np.ndarray
    raters: np.ndarray
    independent: bool = False
    worst: np.ndarray | None = None
    tied: np.ndarray | None = None

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
        return (np.cumsum(self.sizes) - self.sizes).astype(np.int64)

    @property
    def rows(self) -> np.ndarray:
        """(n,) the row of each picked sample."""
        return self.starts + self.picked

    @property
    def positions(self) -> np.ndarray:
        """(rows,) the position of each sample in its slate, from 0."""
        return np.arange(int(self.sizes.sum())) - self.per_sample(self.starts)

    def total(self, values: np.ndarray) -> np.ndarray:
        """(n, ...) sums over each slate of (rows, ...) values."""
        if not len(self):
            return np.zeros((0, *values.shape[1:]))
        return np.add.reduceat(values, self.starts, axis=0)

    def per_sample(self, values: np.ndarray) -> np.ndarray:
        """(rows, ...) each slate's value at all its samples."""
        return np.repeat(values, self.sizes, axis=0)

    def centred(self, values: np.ndarray) -> np.ndarray:
        """(rows, ...) values less their slate's mean; exactly 0 where they are equal."""
        sizes = self.sizes.reshape(-1, *[1] * (values.ndim - 1))
        shifted = values - self.per_sample(values[self.starts])
        return shifted - self.per_sample(self.total(shifted) / sizes)

    def vary_in(self, values: np.ndarray) -> bool:
        """True if any slate shows two different ones of (rows,) values."""
        starts = self.starts
        return bool((np.maximum.reduceat(values, starts) != np.minimum.reduceat(values, starts)).any())

    def log_probabilities(self, utilities: np.ndarray) -> np.ndarray:
        """(rows, ...) log of Luce's probability of each sample in its slate, from (rows, ...) utilities."""
        return log_probabilities(utilities, self.sizes)

    def subset(self, chosen: np.ndarray) -> tuple["Slates", np.ndarray]:
        """The slates where the (n,) mask is true, and the (rows,) mask of their samples."""
        worst, tied = (None if marks is None else marks[chosen] for marks in (self.worst, self.tied))
        slates = Slates(self.sizes[chosen], self.picked[chosen], self.raters[chosen], self.independent, worst, tied)
        return slates, self.per_sample(chosen)

    def best_picks(self) -> tuple["Slates", np.ndarray]:
        """The picks of a best one alone, without ties and worst ones, and the (rows,) mask of their samples."""
        decided = np.ones(len(self), dtype=bool) if self.tied is None else ~self.tied
        return Slates(self.sizes[decided], self.picked[decided], self.raters[decided], self.independent), (
            self.per_sample(decided)
        )


@dataclass(frozen=True, slots=True)
class AnswerFilter:
    """The answers that count.

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
        first: (m,) index of each among the log's slates.
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


def read_log(store: Store, counting: AnswerFilter) -> Log:
    """The answers of a study that count, as they are at one moment."""
    with store.read():
        given = queries.answered_slates(store, counting.kinds, counting.pick_flags, counting.rater_flags)
        answers = np.fromiter(given, dtype=ANSWER)
        samples = (
            tuple(np.nan if v is None else v for v in row) for row in queries.answered_items(store, counting.kinds)
        )
        items = np.fromiter(samples, dtype=ITEM)
    ids, starts, stored = np.unique(items["slate"], return_index=True, return_counts=True)
    place = np.searchsorted(ids, answers["slate"])
    present = place < len(ids)
    present[present] = ids[place[present]] == answers["slate"][present]
    sizes = np.zeros(len(answers), dtype=np.int64)  # samples that are stored of each answered slate
    sizes[present] = stored[place[present]]
    counted, left_out = select_answers(answers, sizes, counting)
    chosen, sizes = answers[counted], sizes[counted]
    first_rows = np.cumsum(sizes) - sizes
    rows = np.repeat(starts[place[counted]] - first_rows, sizes) + np.arange(int(sizes.sum()))
    tied, worst = chosen["outcome"] == OUTCOMES.index("tie"), chosen["worst"].astype(np.int64)
    slates = Slates(
        sizes,
        np.where(tied, 0, chosen["position"]).astype(np.int64),
        chosen["rater"],
        "human" not in counting.kinds,
        worst if (worst >= 0).any() else None,
        tied if tied.any() else None,
    )
    return Log(slates, chosen, items[rows], left_out, repeated_slates(answers, chosen, items))


def select_answers(answers: np.ndarray, sizes: np.ndarray, counting: AnswerFilter) -> tuple[np.ndarray, dict[str, int]]:
    """The answers that count, and how many don't for each reason; the first that applies.

    Args:
        answers: (a,) `ANSWER` rows.
        sizes: (a,) samples that are stored of each one's slate.
        counting: says which count.

    Returns:
        An (a,) mask, and numbers by reason, of answers to slates with the filter's purposes.
    """
    counted = np.isin(answers["purpose"], [PURPOSES.index(purpose) for purpose in counting.purposes])
    reasons = {
        "of sessions that withdrew": answers["withdrawn"],
        "flagged": answers["flagged"],
        **{WORDS[name]: answers["outcome"] == i for i, name in enumerate(OUTCOMES) if name in WORDS},
        "from slates of infinite K": answers["k"] == 0,
        "from slates of K = 1, where nothing is chosen": answers["k"] == 1,
        "from slates that lack samples": (sizes != answers["k"]) & (answers["k"] > 1),
    }
    left_out = {}
    for reason, applies in reasons.items():
        n = int((counted & applies).sum())
        if n:
            left_out[reason] = n
        counted &= ~applies
    return counted, left_out


def repeated_slates(answers: np.ndarray, counted: np.ndarray, items: np.ndarray) -> Repeats:
    """Second answers to slates that count. Flags don't matter here, because being inconsistent is one.

    Args:
        answers: all `ANSWER` rows.
        counted: (n,) those that count.
        items: all `ITEM` rows, sorted by slate and position.
    """
    ids, starts = np.unique(items["slate"], return_index=True)
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
