"""From picks to a training set in three forms: rows of the store, the curated set of a turn, the training set.

A `Turn` says which rows are meant. Their samples, read back from the store, are the curated set, and `StoredSlates` the
slates that they were picked from. Real data and curated sets, in the shares that the data policy says, are the training
set (`model.interfaces.TrainingSet`), which a generator draws its batches from.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from data.images import decode_png
from data.measurements import TrainingFigures, Turn
from data.store import queries
from loop.conditions import StudyConditions
from loop.config import StudyConfig
from loop.policy import Composition, DataPolicy
from loop.study import Study
from model.compute import from_main
from model.interfaces import Rows, Samples, scaled
from model.sampling import derive_seed

TRAINERS = ("human", "sim", "proxy")  # kinds of raters whose picks train


@dataclass(frozen=True, slots=True)
class CuratedSet:
    """The picked samples of a turn.

    Attributes:
        x: (n, *shape), images as uint8 pixels.
        rewards: (n,) the study's reward of each; NaN where an imported log knows none.
        counts: of picks by kind of rater: human, sim, proxy.
        weights: (n,) how often each is drawn, relative to the others; None where all are alike.
        conditions: (n,) int64, of the slates; None in a study without.
    """

    x: torch.Tensor
    rewards: np.ndarray
    counts: dict[str, int]
    weights: np.ndarray | None = None
    conditions: np.ndarray | None = None


def read_curated(study: Study, turn: Turn) -> CuratedSet:
    """The curated set of a turn, from the store.

    Raises:
        ValueError: there are no picks in it, or the number of the proxy's isn't the turn's.
    """
    picks = turn_picks(study, turn)
    counts = {kind: sum(pick["kind"] == kind for pick in picks) for kind in TRAINERS}
    if not picks:
        raise ValueError("There are no picks to train on yet.")
    if counts["proxy"] != turn.n_proxy:
        raise ValueError(f"The turn to generation {turn.t} asked for {turn.n_proxy} proxy picks; {counts} are stored.")
    rewards = np.array([pick["reward"] for pick in picks], dtype=np.float64)
    return CuratedSet(stored_samples(study, picks), rewards, counts, conditions=picked_conditions(study, picks))


def picked_conditions(study: Study, picks: Sequence[dict]) -> np.ndarray | None:
    """(n,) int64 conditions of the slates of some picks; None in a study without."""
    return None if study.conditions is None else study.conditions.of_names([pick["condition"] for pick in picks])


def rows_of(
    x: torch.Tensor, of: np.ndarray | None, conditions: StudyConditions | None, weights: np.ndarray | None = None
) -> Rows:
    """A part of a training set, from which conditions come up by their weights; as they are in a study without.

    So each condition has its own mix of real and curated data, in the shares that the data policy says.

    Args:
        x: (n, *shape), images as uint8 pixels.
        of: (n,) int64 conditions, none of them -1.
        conditions: the study's.
        weights: (n,) how often each row comes up within its condition, relative to the others; None: all alike.
    """
    if of is None or conditions is None:
        return Rows(x, weights=weights)
    own = np.ones(len(of)) if weights is None else weights
    totals = np.bincount(of, weights=own, minlength=len(conditions))
    shares = np.asarray(conditions.asked.weights) / np.where(totals > 0, totals, 1)
    return Rows(x, torch.from_numpy(of), own * shares[of])


def turn_picks(study: Study, turn: Turn) -> list[dict]:
    """The picks of a turn, as `data.store.queries.curation_picks` gives them; the proxy's come last."""
    picks = list(queries.curation_picks(study.store, after=turn.after, until=turn.cut, without=turn.t))
    if turn.n_proxy:
        picks += queries.curation_picks(study.store, session_id=turn.proxy_session, kinds=("proxy",))
    return picks


def stored_samples(study: Study, rows: Sequence[dict]) -> torch.Tensor:
    """(n, *shape) samples from their rows in the store: images as uint8 pixels, points as float32, texts as int64.

    Raises:
        ValueError: an image is missing.
    """
    if rows[0]["point_json"] is None:
        return to_bytes(np.stack([stored_pixels(study, row["image_sha256"]) for row in rows]))
    dtype = torch.int64 if study.config.data.is_text else torch.float32
    return torch.tensor([json.loads(row["point_json"]) for row in rows], dtype=dtype)


@dataclass(frozen=True)
class StoredSlates:
    """The slates that a turn's picks are of (`model.interfaces.PickedSlates`); their samples stay in the store.

    Attributes:
        study: whose store is read.
        ids: (n,) of the slates.
        k: samples in each.
        won: (n,) int64.
        conditions: (n,) int64; None in a study without.
        kinds: (n,) of raters.
        generations: (n,) int64.
    """

    study: Study
    ids: np.ndarray
    k: int
    won: np.ndarray
    conditions: np.ndarray | None
    kinds: np.ndarray
    generations: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, study: Study, turn: Turn) -> Self | None:
        """The slates of a turn; None at K = inf, where a slate is its picked sample alone, or if any isn't of K."""
        k = study.config.curation.k
        if k == "inf":
            return None
        picks = from_main(lambda: turn_picks(study, turn))
        if any(pick["k"] != k for pick in picks):
            return None
        numbers = np.array([[pick["slate_id"], pick["position"], pick["t"]] for pick in picks], dtype=np.int64)
        kinds = np.array([pick["kind"] for pick in picks])
        conditions = from_main(lambda: picked_conditions(study, picks))
        return cls(study, numbers[:, 0], k, numbers[:, 1], conditions, kinds, numbers[:, 2])

    def read(self, index: np.ndarray) -> torch.Tensor:
        """(m, k, *shape) float32 on the CPU: the samples of (m,) slates, in display order.

        Raises:
            ValueError: the study didn't store the images of those that nobody picked.
        """
        return scaled(from_main(lambda: self.read_stored([int(i) for i in self.ids[index]])))

    def read_stored(self, ids: list[int]) -> torch.Tensor:
        """(m, k, *shape) as stored; errors as of `read`."""
        by_slate: dict[int, list[dict]] = {}
        for row in queries.slate_samples(self.study.store, ids):
            by_slate.setdefault(row["slate_id"], []).append(row)
        rows = [row for id_ in ids for row in by_slate[id_]]
        if any(row["point_json"] is None and row["image_sha256"] is None for row in rows):
            raise ValueError(
                f"{self.study.path} doesn't hold the images of samples that nobody picked, and whole slates are needed "
                "here; people's studies hold them."
            )
        return stored_samples(self.study, rows).unflatten(0, (len(ids), self.k))


def earlier_sets(study: Study, t: int, read: Callable[[Turn], CuratedSet]) -> list[CuratedSet]:
    """The curated sets that trained the generations before t, oldest first, read back as they were.

    Args:
        study: the study.
        t: the generation to come.
        read: gives the curated set of a turn.

    Raises:
        ValueError: a generation by an older version of curate doesn't say which picks trained it.
    """
    sets = []
    for generation in study.store.generations():
        if 0 < generation.t < t:
            if generation.measurements.turn is None:
                raise ValueError(
                    f"Generation {generation.t} doesn't say which picks trained it (an older version made it), so a "
                    "policy that accumulates can't go on from here; make a new study."
                )
            sets.append(read(generation.measurements.turn))
    return sets


def stored_pixels(study: Study, sha256: str) -> np.ndarray:
    """(height, width, channels) uint8 pixels of a stored image.

    Raises:
        ValueError: it is missing.
    """
    png = study.store.image(sha256)
    if png is None:
        raise ValueError(f"image {sha256} is missing from {study.store.path}; run `curate check`")
    return decode_png(png)


def to_bytes(x: np.ndarray) -> torch.Tensor:
    """(n, channels, height, width) uint8 from (n, height, width, channels) uint8; points become float32, texts stay."""
    if x.dtype == np.int64:
        return torch.from_numpy(x)
    if x.ndim != 4:
        return torch.from_numpy(np.asarray(x, dtype=np.float32))
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def to_tensor(x: np.ndarray) -> torch.Tensor:
    """(n, channels, height, width) in [-1, 1] from (n, height, width, channels) uint8; points become float32."""
    return scaled(to_bytes(x))


@dataclass
class Mixture:
    """A training set (`model.interfaces.TrainingSet`): several parts, each with its share of what is drawn.

    With as many samples as the shares call for it is the plain union of Algorithm 1; with fewer (people's picks alone)
    each of them comes up more often, so that the mix stays what was asked for. Training draws from a thread of its own.

    Attributes:
        parts: the real data, then the curated sets, oldest first; one with a share above 0 must not be empty.
        shares: of each part; they add up to 1.
        rewards: of each part's samples, for `figures`.
        picked_slates: that the latest curated set was picked from.
        expected: rows of each part that were to be drawn so far.
        drawn: rows of each part that were.
        draws: number of draws.
        row_weights: of the samples that the rewards are of; None where all are alike.
        parts_read: a learner asked for a part, and may have trained on it without drawing.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), Algorithm 1 and equation (6), for real and curated data.
    """

    parts: tuple[Rows, ...]
    shares: tuple[float, ...]
    rewards: tuple[np.ndarray, ...] = field(default=(), repr=False)
    picked_slates: StoredSlates | None = field(default=None, repr=False)
    row_weights: tuple[np.ndarray | None, ...] = field(default=(), repr=False)
    parts_read: bool = field(init=False, default=False)
    expected: np.ndarray = field(init=False, repr=False)
    drawn: np.ndarray = field(init=False, repr=False)
    draws: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.shares) or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"a training set needs a share for each part, adding up to 1; got {self.shares}")
        for part, share in zip(self.parts, self.shares, strict=True):
            if share and not len(part):
                raise ValueError(f"a part of the training set with share {share:g} holds no samples")
        self.expected, self.drawn = np.zeros(len(self.parts)), np.zeros(len(self.parts), dtype=np.int64)

    @classmethod
    def compose(
        cls,
        real: Rows,
        sets: Sequence[Rows],
        composition: Composition,
        rng: np.random.Generator,
        rewards: Sequence[np.ndarray] = (),
        slates: StoredSlates | None = None,
    ) -> Self:
        """The training set of a composition; of a part with more rows than it calls for some are drawn, once.

        Args:
            real: the real data.
            sets: each generation's, oldest first; those without rows in the composition may be empty.
            composition: from `DataPolicy.compose`.
            rng: chooses the rows.
            rewards: of all real data and sets.
            slates: of the latest set.
        """
        rows = (composition.real, *composition.sets)
        parts = []
        for part, n in zip((real, *sets), rows, strict=True):
            is_whole = n == len(part)
            parts.append(part if is_whole else part.subset(rng.choice(len(part), n, replace=False)))
        shares = (composition.real_share, *composition.set_shares)
        return cls(tuple(parts), shares, tuple(rewards), slates, tuple(part.weights for part in (real, *sets)))

    @property
    def real(self) -> Rows:
        """The real data in it."""
        self.parts_read = True
        return self.parts[0]

    @property
    def real_share(self) -> float:
        """Share of the real data in what is drawn."""
        return self.shares[0]

    @property
    def slates(self) -> StoredSlates | None:
        """The slates that the latest curated set was picked from."""
        self.parts_read = True
        return self.picked_slates

    @property
    def curated(self) -> Rows:
        """All curated sets in it as one part, joined when asked for; weights have each set come up by its share."""
        self.parts_read = True
        sets = [(part, share) for part, share in zip(self.parts[1:], self.shares[1:], strict=True) if share]
        if len(sets) <= 1:
            return sets[0][0] if sets else self.parts[0].subset(np.empty(0, dtype=np.int64))
        return Rows.joined([part for part, _ in sets], [share for _, share in sets])

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        """Draws n samples with replacement, shuffled; each part's count is its expectation, rounded at random."""
        edges = np.floor(np.concatenate([[0.0], np.cumsum(self.shares) * n]) + rng.random()).astype(np.int64)
        edges[0], edges[-1] = 0, n
        counts = np.diff(edges)
        self.expected += np.asarray(self.shares) * n
        self.drawn += counts
        self.draws += 1
        rows = Rows.joined(
            [
                part.subset(part.draw_rows(int(count), rng) if count else np.empty(0, dtype=np.int64))
                for part, count in zip(self.parts, counts, strict=True)
            ]
        )
        return rows.take(rng.permutation(n))

    def achieved(self) -> tuple[float, ...]:
        """The share of each part in what was drawn so far; as asked for, where a learner used the parts instead.

        Raises:
            RuntimeError: it isn't what was asked for, beyond rounding; a generator must take all its data from here.
        """
        if not self.draws and self.parts_read:
            return self.shares
        if not self.draws:
            raise RuntimeError("the generator was trained without drawing from its training data")
        if (np.abs(self.drawn - self.expected) > 2 * self.draws).any():
            raise RuntimeError(f"asked for {self.expected.tolist()} rows by part, drew {self.drawn.tolist()}")
        return tuple((self.drawn / self.drawn.sum()).tolist())

    def figures(self, *, resumed: bool) -> TrainingFigures:
        """Shares asked for and achieved, and the means of r and w over the training set.

        Args:
            resumed: training continued from a snapshot, so that what was drawn before it isn't counted any more.
        """
        weights = self.row_weights or (None,) * len(self.rewards)
        parts = zip(self.shares, self.rewards, weights, strict=True)
        used = [(share, rewards, own) for share, rewards, own in parts if share]
        return TrainingFigures(
            rows=tuple(len(part) for part in self.parts),
            shares_asked=self.shares,
            shares_achieved=self.shares if resumed else self.achieved(),
            mean_reward=float(sum(share * np.average(rewards, weights=own) for share, rewards, own in used)),
            mean_w=float(sum(share * np.average(np.exp(rewards), weights=own) for share, rewards, own in used)),
        )


def real_only(real: torch.Tensor | Rows) -> Mixture:
    """The training set of generation 0, from real data: rows, or (n, *shape) images as uint8 pixels or points."""
    return Mixture((real if isinstance(real, Rows) else Rows(real),), (1.0,))


def training_set(
    study: Study,
    curated: CuratedSet,
    t: int,
    real: Rows,
    real_rewards: np.ndarray,
    turn: Turn | None = None,
    read: Callable[[Turn], CuratedSet] | None = None,
) -> Mixture:
    """The training set of generation t under the study's data policy.

    With `mix.origin` 'generation' generation 1's set stands for the real data: what generation 0 wrote, a law that is
    known, as in Seddik et al. 2024 (arXiv 2404.05090), Section 4.1.

    Args:
        study: the study.
        curated: the curated set of generation t.
        t: the generation to come.
        real: the real data.
        real_rewards: (n,) of them.
        turn: that the curated set is of; None leaves out the slates.
        read: gives the curated set of an earlier turn, for policies that accumulate; the picks without it.
    """
    policy, from_generation = study.config.policy, study.config.mix.origin == "generation"
    read = read or (lambda turn: read_curated(study, turn))
    earlier = from_main(lambda: earlier_sets(study, t, read)) if policy.accumulates or from_generation else []
    if from_generation and t == 1:
        policy = DataPolicy("replace")
    elif from_generation:
        first, *earlier = earlier
        real, real_rewards = rows_of(first.x, first.conditions, study.conditions, first.weights), first.rewards
    sets = [*(earlier if policy.accumulates else []), curated]
    rng = np.random.default_rng(training_seed(study.config, t, 0x5E75))
    composition = policy.compose(len(real), [len(set_.x) for set_ in sets], rng)
    rewards = (real_rewards, *(set_.rewards for set_ in sets))
    slates = turn and StoredSlates.of(study, turn)
    rows = [rows_of(set_.x, set_.conditions, study.conditions, set_.weights) for set_ in sets]
    return Mixture.compose(real, rows, composition, rng, rewards, slates)


def training_seed(config: StudyConfig, t: int, purpose: int) -> int:
    """The seed of one use of randomness in training generation t; `train.finetune_seed` makes it another."""
    other = config.train.finetune_seed
    return derive_seed(config.seed, t, purpose, *([other] if other else []))


def curated_count(config: StudyConfig, n_real: int, t: int = 1) -> int:
    """The number of curated samples of generation t: `curation.picks`, or when that is 0 the policy's.

    Under 'replace_grown' it is the size of the training set that 'accumulate' would have.
    """
    picks = config.curation.picks
    if config.mix.origin == "generation":
        n_real, t = picks or n_real, t - 1  # generation 1's set stands for the real data
        if t == 0:
            return n_real
    if picks and config.policy.kind == "replace_grown":
        return n_real + t * picks
    return picks or config.policy.asked(n_real, t)
