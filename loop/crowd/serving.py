"""What the app asks of the loop, without torch: a session's slates, how far the picks are, what the worker does."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from data.records import Progress, Purpose, Slate
from data.store import Store
from data.store.clock import seconds_since
from loop.config import StudyConfig
from loop.crowd.checks import check_slate, practice_slate

AHEAD = 2  # the slate that is shown, and the one the page loads meanwhile
WORKER_SILENT_S = 15.0
STALLED_S = 3.0


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
    are checks (see `loop.crowd.checks`), and with `practice_left` all are practice slates. `answered` is how many
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
    if shares and not slates and not practice_left and _holds_too_many(store, config, purposes, latest[0], shares):
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


def _holds_too_many(
    store: Store, config: StudyConfig, purposes: Sequence[Purpose], t: int, shares: Callable[[str], bool]
) -> bool:
    """Whether an address holds all that it may, or a quarter of a pool that is less than half full."""
    held, most = sum(n for session_id, n in store.leases().items() if shares(session_id)), config.app.leases_per_address
    if most and held >= most:
        return True
    sizes = {"curation": config.pool.size, "audit": config.pool.audit}
    size = sum(sizes[purpose] for purpose in purposes)
    return 4 * held >= size > 2 * sum(store.pool_size(purpose, t) for purpose in purposes)


def served_purposes(store: Store, config: StudyConfig) -> tuple[Purpose, ...]:
    """Which slates raters get now, first choice first.

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
    """What the worker does: phase, and for long phases how much is done (0..1) and the seconds left.

    Phases: 'absent' (never started, or silent for 15 s), 'preparing', 'idle', 'curating', 'training', 'publishing'.
    """
    status = store.status("worker")
    if not status:
        return {"phase": "absent", "done": None, "left_s": None}
    phase = "absent" if silent_s(status) > WORKER_SILENT_S else status.get("phase", "idle")
    return {"phase": phase, "done": status.get("done"), "left_s": status.get("left_s")}


def silent_s(status: dict[str, Any]) -> float:
    """Seconds since the worker's last heartbeat, one a second; by a clock that nobody sets, where there is one."""
    steady_s = seconds_since(status.get("steady"))
    if steady_s is not None:
        return steady_s
    return (datetime.now(UTC) - datetime.fromisoformat(status["at"])).total_seconds()
