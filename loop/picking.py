"""A simulated user at work: fresh slates of a generation, and the position it picks in each by Luce's rule."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.records import NewSlate, Sample
from data.store import Store
from loop.config import StudyConfig
from loop.rater_types import are_alike, user_types
from loop.scoring import Scorer, needed_features
from loop.slates import STREAMS, Drawn, Stream, draw_scored, records, slates_of
from loop.utilities import Utilities
from model import luce
from model.interfaces import Generator
from model.noise import derive_seed, derive_seeds

SIM_NAME = "simulated Luce users"


@dataclass(frozen=True, slots=True)
class Choices:
    """Who picked what from n slates.

    Attributes:
        winners: (n,) indices of the picked samples among all of them.
        positions: (n,) picked.
        types: (n,) which type of user picked, an index into `rater_types.user_types`.
        lapsed: (n,) whether the pick was made at random.
    """

    winners: np.ndarray
    positions: np.ndarray
    types: np.ndarray
    lapsed: np.ndarray


@dataclass(frozen=True)
class DrawnPicks:
    """Fresh samples with what simulated users picked of them, not stored yet.

    Attributes:
        drawn: the samples of n slates.
        choices: n picks.
        k: samples in a slate; None where users pick from all of them (K = inf).
        judged: (types, samples) rewards by which types of users judge; None where all judge by the study's.
        slate_seeds: n of them.
        keep_all: whether the images of samples that nobody picked are kept too.
    """

    drawn: Drawn
    choices: Choices
    k: int | None
    judged: np.ndarray | None
    slate_seeds: Sequence[int]
    keep_all: bool = False

    def records(self) -> tuple[list[NewSlate], list[tuple[str, bytes]]]:
        """The slates, and (sha256, png) of the images that are kept; encoding them takes a while."""
        choices, seen = self.choices, None if self.keep_all else np.unique(self.choices.winners).tolist()
        operative = None
        if self.judged is not None and self.k:
            operative = self.judged[np.repeat(choices.types, self.k), np.arange(len(self.drawn))]
        rows, images = records(self.drawn, operative, seen)
        if self.k:
            return list(slates_of(rows, self.k, self.drawn.t, "curation", self.slate_seeds)), images
        return _of_one(rows, choices, self.judged, self.drawn.t, self.slate_seeds), images


def draw_picks(
    config: StudyConfig,
    scorer: Scorer,
    generator: Generator,
    t: int,
    n: int,
    stream: Stream,
    chunk: int,
    utilities: Utilities | None = None,
    *,
    keep_all: bool = False,
) -> DrawnPicks:
    """Has a simulated user pick from n fresh slates of generation t.

    Args:
        config: whose K and seed count.
        scorer: gives the rewards, and the features for the utilities.
        generator: of generation t.
        t: its number.
        n: slates.
        stream: keeps the seeds of different uses apart.
        chunk: which part of the use this is; the same chunk gives the same picks.
        utilities: what the user likes; without them the study's reward.
        keep_all: keeps the images of all samples, not of the picked ones alone; a later fit needs them.
    """
    rng = np.random.default_rng(derive_seed(config.seed, t, STREAMS[stream], chunk, 2))
    k = config.curation.k
    per_pick = config.curation.inf_pool if k == "inf" else int(k)
    seeds = derive_seeds(n * per_pick, config.seed, t, STREAMS[stream], chunk, 1)
    drawn = draw_scored(generator, scorer, t, seeds)
    if utilities is None:
        choices = choose(drawn.scores.operative, n, config, rng)
    else:
        choices = choose(utilities(needed_features(drawn.scores.features))[None], n, plain(config), rng)
    alike = utilities is not None or are_alike(config)
    return DrawnPicks(
        drawn=drawn,
        choices=choices,
        k=None if k == "inf" else per_pick,
        judged=None if alike else drawn.scores.operative,
        slate_seeds=rng.integers(2**63, size=n).tolist(),
        keep_all=keep_all,
    )


def choose(rewards: np.ndarray, n: int, config: StudyConfig, rng: np.random.Generator) -> Choices:
    """Has n users pick: by Luce's rule over the rewards of their type and the bias of positions, but for lapses.

    Args:
        rewards: (types, m) of all samples; K consecutive ones are a slate, or at K = inf all of them.
        n: picks.
        config: whose K, types, lapses and bias count.
        rng: the source of randomness.
    """
    k, types = config.curation.k, _draw_types(len(rewards), n, config, rng)
    lapsed = rng.random(n) < config.curation.lapse if config.curation.lapse else np.zeros(n, dtype=bool)
    if k == "inf":
        winners = np.empty(n, dtype=np.int64)
        for type_ in np.unique(types):
            mine = types == type_
            winners[mine] = luce.pick_from_all(rewards[type_], int(mine.sum()), rng)
        winners[lapsed] = rng.integers(rewards.shape[1], size=int(lapsed.sum()))
        return Choices(winners, np.zeros(n, dtype=np.int64), types, lapsed)
    in_slates = rewards.reshape(len(rewards), n, k)[types, np.arange(n)]
    positions = luce.pick(in_slates + np.asarray(config.curation.position_bias or 0.0), rng)
    positions[lapsed] = rng.integers(k, size=int(lapsed.sum()))
    return Choices(np.arange(n) * k + positions, positions, types, lapsed)


def plain(config: StudyConfig) -> StudyConfig:
    """The same study with users who are alike, never lapse and favour no position: the proxy is one."""
    curation = config.curation.model_copy(update={"lapse": 0.0, "position_bias": (), "adversarial": 0.0})
    return config.model_copy(update={"curation": curation, "population": ()})


def sim_sessions(store: Store, config: StudyConfig) -> list[str]:
    """The sessions under which simulated users pick, one for each of their types."""
    return [
        store.bulk_session("sim", f"{SIM_NAME}: {type_.name}" if type_.name else SIM_NAME, type_=type_.name or None)
        for type_ in user_types(config)
    ]


def store_picks(store: Store, sessions: list[str], drawn: DrawnPicks) -> None:
    """Stores slates, items and picks of simulated users in one transaction; a session for each of their types."""
    choices, (slates, images) = drawn.choices, drawn.records()
    owners = [sessions[type_] for type_ in choices.types]
    with store.write():
        store.add_images(images)
        ids = store.add_slates(slates, picked_by=owners)
        flags = ({"lapse": True} if lapsed else {} for lapsed in choices.lapsed)
        store.add_picks(zip(ids, owners, choices.positions.tolist(), flags, strict=True))


def _draw_types(n_types: int, n: int, config: StudyConfig, rng: np.random.Generator) -> np.ndarray:
    if n_types == 1:
        return np.zeros(n, dtype=np.int64)
    return rng.choice(n_types, size=n, p=[type_.share for type_ in user_types(config)])


def _of_one(
    rows: Sequence[Sample], choices: Choices, judged: np.ndarray | None, t: int, seeds: Sequence[int]
) -> list[NewSlate]:
    """K = inf: a slate of each pick holds the picked sample alone; several users may have picked the same."""
    picked = [rows[i] for i in choices.winners]
    if judged is not None:
        liked = judged[choices.types, choices.winners].tolist()
        picked = [replace(row, operative_reward=value) for row, value in zip(picked, liked, strict=True)]
    return [NewSlate(t, "curation", None, seed, [row]) for seed, row in zip(seeds, picked, strict=True)]
