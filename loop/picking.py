"""A simulated user at work: fresh slates of a generation, and the position it picks in each by Luce's rule."""

from dataclasses import dataclass

import numpy as np

from data.records import NewSlate
from data.store import Store
from loop.config import StudyConfig
from loop.scoring import Scorer, needed_features
from loop.slates import STREAMS, Stream, draw_scored, records, slates_of
from loop.utilities import Utilities
from model import luce
from model.interfaces import Generator
from model.noise import derive_seed, derive_seeds


@dataclass(frozen=True, slots=True)
class DrawnPicks:
    """Slates with the position that a simulated user picked in each, not stored yet."""

    slates: list[NewSlate]
    positions: list[int]
    images: list[tuple[str, bytes]]


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
    liking = drawn.scores.reward if utilities is None else utilities(needed_features(drawn.scores.features))
    if k == "inf":
        winners, positions = luce.pick_from_all(liking, n, rng), np.zeros(n, dtype=np.int64)
    else:
        positions = luce.pick(liking.reshape(n, per_pick), rng)
        winners = np.arange(n) * per_pick + positions
    rows, images = records(drawn, seen=None if keep_all else np.unique(winners).tolist())
    slate_seeds = rng.integers(2**63, size=n).tolist()
    if k == "inf":
        slates = [NewSlate(t, "curation", None, seed, [rows[i]]) for seed, i in zip(slate_seeds, winners, strict=True)]
    else:
        slates = list(slates_of(rows, per_pick, t, "curation", slate_seeds))
    return DrawnPicks(slates, positions.tolist(), images)


def store_picks(store: Store, session: str, drawn: DrawnPicks) -> None:
    """Stores slates, items and picks of a simulated user in one transaction."""
    with store.write():
        store.add_images(drawn.images)
        ids = store.add_slates(drawn.slates, picked_by=session)
        store.add_picks(session, list(zip(ids, drawn.positions, strict=True)))
