"""The loop's service to the app, without torch: a session's slates, its check slates, progress, the worker's state."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from data.records import Progress, Purpose, Slate
from data.store import Store
from data.store.sessions import seconds_since
from loop.config import StudyConfig

REPEAT_LAG = 4  # answers between a slate and its repetition, at least
AHEAD = 2  # the slate that is shown, and the one the page loads meanwhile
WORKER_SILENT_S = 15.0
STALLED_S = 3.0


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


def next_slates(
    store: Store,
    config: StudyConfig,
    session_id: str,
    *,
    answered: int | None = None,
    practice_left: int = 0,
    shares: Callable[[str], bool] | None = None,
) -> list[Slate]:
    """The slate the session is at, and the one after it as far as there is one; always the same until it is answered.

    While a generation trains, new slates are audit slates, so that no one waits; then what is left of either kind. Some
    are checks (see `loop.raters.serving`), and with `practice_left` all are practice slates. `answered` is how many
    slates the session answered, where the caller knows. A session without a slate gets none while those that share its
    address hold too many, so that one address can't keep the pool from everyone else.
    """
    slates = store.open_slates(session_id, config.pool.lease_s)
    if answered is None:
        answered = store.session_picks(session_id)
    left = practice_left or (config.journey.picks - answered if config.journey.picks else AHEAD)
    latest = store.latest_cut()
    if latest is None or len(slates) >= min(AHEAD, left):
        return slates
    purposes = served_purposes(store, config)
    if shares and not slates and not practice_left and holds_too_many(store, config, purposes, latest[0], shares):
        return slates
    k = config.pool.audit_k if purposes[0] == "audit" else config.curation.k
    while len(slates) < min(AHEAD, left):
        if practice_left:
            slate = practice_slate(store, config, session_id, practice_left - len(slates))
        else:
            slate = check_slate(store, config, session_id, answered + len(slates), k)
            slate = slate or store.lease(session_id, purposes, latest[0], config.pool.lease_s)
        if slate is None:
            break
        slates.append(slate)
    return slates


def holds_too_many(
    store: Store, config: StudyConfig, purposes: Sequence[Purpose], t: int, shares: Callable[[str], bool]
) -> bool:
    """True if an address holds all that it may, or a quarter of a pool that is less than half full.

    Args:
        store: the study's.
        config: the study's.
        purposes: of the slates that are served now.
        t: the generation that is served.
        shares: True for sessions of that address.
    """
    held, most = sum(n for session_id, n in store.leases().items() if shares(session_id)), config.app.leases_per_address
    if most and held >= most:
        return True
    sizes = {"curation": config.pool.size, "audit": config.pool.audit}
    size = sum(sizes[purpose] for purpose in purposes)
    return 4 * held >= size > 2 * sum(store.pool_size(purpose, t) for purpose in purposes)


def served_purposes(store: Store, config: StudyConfig) -> tuple[Purpose, ...]:
    """The purposes of the slates that raters get now, first choice first.

    Audit slates alone once the picks for the next generation are in, unless the worker that makes them has fallen
    silent: nobody waits for it then.
    """
    phase = worker_status(store)["phase"]
    if phase == "absent":
        return ("curation", "audit")
    progress = picks_progress(store, config)
    if phase in ("curating", "training", "publishing") or progress.done >= progress.total:
        return ("audit",) if silent_s(store.status("worker")) < STALLED_S else ("audit", "curation")
    return ("curation", "audit")


def picks_progress(store: Store, config: StudyConfig, yours: int = 0) -> Progress:
    """Curation picks that the next generation will use, out of the number that starts it; `yours` is passed on."""
    t, cut = store.latest_cut() or (0, 0)
    done = store.curation_picks_since(cut, config.quality.rule)
    return Progress(done=done, total=config.schedule.picks, t=t, yours=yours)


def worker_status(store: Store) -> dict[str, Any]:
    """The worker's phase, and for long phases the share done (0..1) and the seconds left.

    Phases: 'absent' (never started, or silent for 15 s), 'preparing', 'idle', 'curating', 'training', 'publishing'.
    """
    status = store.status("worker")
    if not status:
        return {"phase": "absent", "done": None, "left_s": None}
    phase = "absent" if silent_s(status) > WORKER_SILENT_S else status.get("phase", "idle")
    return {"phase": phase, "done": status.get("done"), "left_s": status.get("left_s")}


def silent_s(status: dict[str, Any]) -> float:
    """Seconds since the worker's last heartbeat, one a second; by the monotonic clock where the worker reported it."""
    steady_s = seconds_since(status.get("steady"))
    if steady_s is not None:
        return steady_s
    return (datetime.now(UTC) - datetime.fromisoformat(status["at"])).total_seconds()
