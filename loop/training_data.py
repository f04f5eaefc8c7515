"""From picks to a training set in three forms: rows of the store, the curated set of a turn, the training set.

A `Turn` says which rows are meant. Their samples, read back from the store, are the curated set. Real data and curated
sets, in the shares that the data policy says, are the training set, which a generator draws its batches from.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from data.images import decode_png
from data.measurements import TrainingFigures, Turn
from data.store import queries
from loop.config import Composition, StudyConfig
from loop.study import Study
from model.compute import from_main
from model.sampling import derive_seed
from model.training import scaled

TRAINERS = ("human", "sim", "proxy")  # kinds of raters whose picks train


@dataclass(frozen=True, slots=True)
class CuratedSet:
    """The picked samples of a turn.

    Attributes:
        x: (n, *shape), images as uint8 pixels.
        rewards: (n,) the study's reward of each.
        counts: of picks by kind of rater: human, sim, proxy.
    """

    x: torch.Tensor
    rewards: np.ndarray
    counts: dict[str, int]


def read_curated(study: Study, turn: Turn) -> CuratedSet:
    """The curated set of a turn, from the store.

    Raises:
        ValueError: there are no picks in it, or the number of the proxy's isn't the turn's.
    """
    picks = list(queries.curation_picks(study.store, after=turn.after, until=turn.cut, without=turn.t))
    if turn.n_proxy:
        picks += queries.curation_picks(study.store, session_id=turn.proxy_session, kinds=("proxy",))
    counts = {kind: sum(pick["kind"] == kind for pick in picks) for kind in TRAINERS}
    if not picks:
        raise ValueError("There are no picks to train on yet.")
    if counts["proxy"] != turn.n_proxy:
        raise ValueError(f"The turn to generation {turn.t} asked for {turn.n_proxy} proxy picks; {counts} are stored.")
    rewards = np.array([pick["reward"] for pick in picks])
    if picks[0]["point_json"] is None:
        x = to_bytes(np.stack([stored_pixels(study, pick["image_sha256"]) for pick in picks]))
    else:
        x = torch.tensor([json.loads(pick["point_json"]) for pick in picks], dtype=torch.float32)
    return CuratedSet(x, rewards, counts)


def earlier_sets(study: Study, t: int) -> list[CuratedSet]:
    """The curated sets that trained the generations before t, oldest first, read back as they were.

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
            sets.append(read_curated(study, generation.measurements.turn))
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
    """(n, channels, height, width) uint8 from (n, height, width, channels) uint8; points become float32."""
    if x.ndim != 4:
        return torch.from_numpy(np.asarray(x, dtype=np.float32))
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def to_tensor(x: np.ndarray) -> torch.Tensor:
    """(n, channels, height, width) in [-1, 1] from (n, height, width, channels) uint8; points become float32."""
    return scaled(to_bytes(x))


@dataclass
class TrainingSet:
    """The data that a generator is trained on: several parts, each with its share of what is drawn.

    With as many samples as the shares call for it is the plain union of Algorithm 1; with fewer (people's picks alone)
    each of them comes up more often, so that the mix stays what was asked for. Training draws from a thread of its own.

    Attributes:
        parts: each (n_i, *shape), images as uint8 pixels: the real data, then the curated sets, oldest first; one with
            a share above 0 must not be empty.
        shares: of each part; they add up to 1.
        rewards: of each part's samples, for `figures`.
        expected: rows of each part that were to be drawn so far.
        drawn: rows of each part that were.
        draws: number of draws.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), Algorithm 1 and equation (6), for real and curated data.
    """

    parts: tuple[torch.Tensor, ...]
    shares: tuple[float, ...]
    rewards: tuple[np.ndarray, ...] = field(default=(), repr=False)
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
        real: torch.Tensor,
        sets: Sequence[torch.Tensor],
        composition: Composition,
        rng: np.random.Generator,
        rewards: Sequence[np.ndarray] = (),
    ) -> Self:
        """The training set of a composition; of a part with more rows than it calls for some are drawn, once.

        Args:
            real: (n, *shape), images as uint8 pixels.
            sets: each generation's (n_i, *shape), oldest first; those without rows in the composition may be empty.
            composition: from `DataPolicy.compose`.
            rng: chooses the rows.
            rewards: of all real data and sets.
        """
        rows = (composition.real, *composition.sets)
        parts = []
        for part, n in zip((real, *sets), rows, strict=True):
            is_whole = n == len(part)
            parts.append(part if is_whole else part[torch.from_numpy(rng.choice(len(part), n, replace=False))])
        return cls(tuple(parts), (composition.real_share, *composition.set_shares), tuple(rewards))

    def draw(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """(n, *shape) float32, with replacement, shuffled; each part's count is its expectation, rounded at random."""
        edges = np.floor(np.concatenate([[0.0], np.cumsum(self.shares) * n]) + rng.random()).astype(np.int64)
        edges[0], edges[-1] = 0, n
        counts = np.diff(edges)
        self.expected += np.asarray(self.shares) * n
        self.drawn += counts
        self.draws += 1
        rows = [
            part[torch.from_numpy(rng.integers(len(part), size=int(count)))] if count else part[:0]
            for part, count in zip(self.parts, counts, strict=True)
        ]
        return scaled(torch.cat(rows)[torch.from_numpy(rng.permutation(n))])

    def achieved(self) -> tuple[float, ...]:
        """The share of each part in what was drawn so far.

        Raises:
            RuntimeError: it isn't what was asked for, beyond rounding; a generator must draw all its data here.
        """
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
        used = [(share, rewards) for share, rewards in zip(self.shares, self.rewards, strict=True) if share]
        return TrainingFigures(
            rows=tuple(len(part) for part in self.parts),
            shares_asked=self.shares,
            shares_achieved=self.shares if resumed else self.achieved(),
            mean_reward=float(sum(share * rewards.mean() for share, rewards in used)),
            mean_w=float(sum(share * np.exp(rewards).mean() for share, rewards in used)),
        )


def real_only(real: torch.Tensor) -> TrainingSet:
    """The training set of generation 0."""
    return TrainingSet((real,), (1.0,))


def training_set(
    study: Study, curated: CuratedSet, t: int, real: torch.Tensor, real_rewards: np.ndarray
) -> TrainingSet:
    """The training set of generation t under the study's data policy.

    Args:
        study: the study.
        curated: the curated set of generation t.
        t: the generation to come.
        real: (n, *shape) the real data, images as uint8 pixels.
        real_rewards: (n,) of the real data.
    """
    policy = study.config.policy
    sets = [*(from_main(lambda: earlier_sets(study, t)) if policy.accumulates else []), curated]
    rng = np.random.default_rng(training_seed(study.config, t, 0x5E75))
    composition = policy.compose(len(real), [len(set_.x) for set_ in sets], rng)
    rewards = (real_rewards, *(set_.rewards for set_ in sets))
    return TrainingSet.compose(real, [set_.x for set_ in sets], composition, rng, rewards)


def training_seed(config: StudyConfig, t: int, purpose: int) -> int:
    """The seed of one use of randomness in training generation t; `train.finetune_seed` makes it another."""
    other = config.train.finetune_seed
    return derive_seed(config.seed, t, purpose, *([other] if other else []))


def curated_count(config: StudyConfig, n_real: int, t: int = 1) -> int:
    """The number of curated samples of generation t: `curation.picks`, or when that is 0 the policy's.

    Under 'replace_grown' it is the size of the training set that 'accumulate' would have.
    """
    picks = config.curation.picks
    if picks and config.policy.kind == "replace_grown":
        return n_real + t * picks
    return picks or config.policy.asked(n_real, t)
