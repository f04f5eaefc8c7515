"""Which of a rater's slates are checks, and in what order a copy shows its samples; all from the study's seed.

What comes n-th follows from the study's seed, the session and n, so that neither a restart nor a second tab changes it;
the seed of each copy's order is logged with its slate. Torch-free.
"""

import hashlib

import numpy as np

from data.records import Slate
from data.store import Store
from loop.config import StudyConfig

REPEAT_LAG = 4  # answers between a slate and its repetition, at least


def practice_slate(store: Store, config: StudyConfig, session_id: str, n: int) -> Slate | None:
    """Leases a session's n-th practice slate; None before the worker has made any."""
    rng = _rng(config, session_id, 0, n)
    k = config.curation.k
    return _copy(store, config, session_id, store.templates("practice", session_id, k), k, rng) if k != "inf" else None


def check_slate(store: Store, config: StudyConfig, session_id: str, n: int, k: int | str) -> Slate | None:
    """Leases the session's n-th slate if it is to be an attention slate or a repeated one; None if it is to be neither.

    A check for which there is no slate yet falls out; so does one that would stand out by the number of its samples.

    Args:
        store: the study's.
        config: the study's.
        session_id: of the rater.
        n: slates that the session had before.
        k: samples in the slates that are served now.
    """
    rates = config.slates
    if (not rates.attention and not rates.repeat) or not isinstance(k, int):
        return None
    rng = _rng(config, session_id, 1, n)
    draw = rng.random()
    if draw < rates.attention:
        return _copy(store, config, session_id, store.templates("attention", session_id, k), k, rng)
    if draw < rates.attention + rates.repeat and k == config.curation.k:
        return _copy(store, config, session_id, store.repeatable(session_id, REPEAT_LAG - 1), k, rng)
    return None


def _copy(
    store: Store, config: StudyConfig, session_id: str, sources: list[int], k: int, rng: np.random.Generator
) -> Slate | None:
    if not sources:
        return None
    source, seed = sources[int(rng.integers(len(sources)))], int(rng.integers(2**63))
    order = np.random.default_rng(seed).permutation(k).tolist()
    return store.lease_copy(session_id, source, order, seed, config.pool.lease_s)


def _rng(config: StudyConfig, session_id: str, use: int, n: int) -> np.random.Generator:
    """A source of randomness for the n-th slate of a session."""
    session = int.from_bytes(hashlib.sha256(session_id.encode()).digest()[:8], "big")
    return np.random.default_rng([config.seed, session, use, n])
