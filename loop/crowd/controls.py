"""What the researcher may do to a running study: pause, resume, finish, set a quota. Torch-free.

Each call is kept and logged (actor 'researcher') in one commit, and tells the present state; the routes and the worker
read that state on every occasion, so a change holds at once and outlives restarts::

    controls = pause(store)          # -> Controls(paused=True, finished=False, quota=0)
    set_quota(store, 50)             # at most 50 people finish; 0: no quota
    control_state(store).paused      # what holds now

Paused: no new slates are handed out and the schedule starts no turn; answers under way are accepted, and "retrain now"
still works. Finished: the same, but those who had begun go to the end and get their code, and nobody new is let in.
`resume` undoes both.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from data.store import Store

KEY = "controls"
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Controls:
    """What holds now.

    Attributes:
        paused: no new slates.
        finished: the study is over.
        quota: number of people who may finish; 0 for no quota.
    """

    paused: bool = False
    finished: bool = False
    quota: int = 0

    @property
    def stopped(self) -> bool:
        """Whether no new slates are handed out."""
        return self.paused or self.finished


def control_state(store: Store) -> Controls:
    """What holds now; a study that nobody has touched is neither paused nor finished and has no quota."""
    kept = store.status(KEY)
    return Controls(**{name: kept[name] for name in asdict(Controls()) if name in kept})


def pause(store: Store) -> Controls:
    """Hands out no new slates until `resume`."""
    return _change(store, "paused", paused=True)


def resume(store: Store) -> Controls:
    """Goes on after a pause, or after a `finish` that came too soon."""
    return _change(store, "resumed", paused=False, finished=False)


def finish(store: Store) -> Controls:
    """Ends the study for raters."""
    return _change(store, "finished", finished=True, paused=False)


def set_quota(store: Store, n: int) -> Controls:
    """Lets `n` people finish; 0 lifts the quota.

    Raises:
        ValueError: less than 0, or more than a million.
    """
    if not 0 <= n <= MOST:
        raise ValueError(f"The quota must be a whole number between 0 (no quota) and {MOST:,}.")
    return _change(store, "quota_set", quota=n)


def _change(store: Store, kind: str, **change: Any) -> Controls:
    """Keeps and logs a change; what holds already is not logged again."""
    with store.write():
        before = control_state(store)
        after = replace(before, **change)
        if after != before:
            store.set_status(KEY, **asdict(after))
            store.log("researcher", kind, **change if kind == "quota_set" else {})
    return after
