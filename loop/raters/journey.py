"""A rater's way through a study: its steps, the slates that are served, progress; and the researcher's controls.

Which step a session is at follows from its milestones and answers, all in the store. The slates are the worker's, some
of them copied for checks. Torch-free: the app serves raters by this module.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from data.records import Pick, Progress, Purpose, Slate, StoredPick
from data.store import Store, queries
from data.store.connection import seconds_since, steady_now
from data.store.sessions import Journey
from loop.config import JourneyConfig, SlatesConfig, StudyConfig

KEY = "controls"
MOST = 1_000_000
State = Literal[
    "consent", "instructions", "practice", "question", "picking", "waiting", "paused", "closing",
    "finished", "failed", "withdrawn",
]  # fmt: skip
Step = Literal["instructions", "question", "closing"]
MILESTONES = {"instructions": ("instructed",), "question": ("understood", "failed"), "closing": ("closed",)}
TRIES = 2
REPEAT_LAG = 4  # answers between a slate and its repetition, at least
AHEAD = 2  # the slate that is shown, and the one the page loads meanwhile
GRACE_S = 2.0  # for the way of an undo to the server, beyond `slates.undo_s`
WORKER_SILENT_S = 15.0
WORKER_STARTS_S = 60.0  # torch is imported, and the generator loaded, before its first report
STALLED_S = 3.0
WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Controls:
    """The researcher's controls as they stand.

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
        """True if no new slates are handed out."""
        return self.paused or self.finished


def control_state(store: Store) -> Controls:
    """The controls as they stand; a new study is neither paused nor finished and has no quota."""
    stored = store.status(KEY)
    return Controls(**{name: stored[name] for name in asdict(Controls()) if name in stored})


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


def practice_slate(store: Store, config: StudyConfig, session_id: str, n: int) -> Slate | None:
    """Leases a session's n-th practice slate; None before the worker has made any."""
    rng = _rng(config, session_id, 0, n)
    k = config.curation.k
    return (
        _copy(store, config, session_id, queries.templates(store, "practice", session_id, k), k, rng)
        if k != "inf"
        else None
    )


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
        return _copy(store, config, session_id, queries.templates(store, "attention", session_id, k), k, rng)
    if draw < rates.attention + rates.repeat and k == config.curation.k:
        return _copy(store, config, session_id, queries.repeatable_slates(store, session_id, REPEAT_LAG - 1), k, rng)
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
    are checks (see `check_slate`), and with `practice_left` all are practice slates. `answered` is how many
    slates the session answered, where the caller knows. A session without a slate gets none while those that share its
    address hold too many, so that one address can't keep the pool from everyone else.
    """
    slates = store.open_slates(session_id, config.pool.lease_s)
    if answered is None:
        answered = queries.count_answers(store, session_id)
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
    held, most = (
        sum(n for session_id, n in queries.lease_counts(store).items() if shares(session_id)),
        config.app.leases_per_address,
    )
    if most and held >= most:
        return True
    sizes = {"curation": config.pool.size, "audit": config.pool.audit}
    size = sum(sizes[purpose] for purpose in purposes)
    return 4 * held >= size > 2 * sum(store.pool_size(purpose, t) for purpose in purposes)


def served_purposes(store: Store, config: StudyConfig) -> tuple[Purpose, ...]:
    """The purposes of the slates that raters get now, first choice first.

    Audit slates alone in an audit of several studies, and once the picks for the next generation are in, unless the
    worker that makes them has fallen silent: nobody waits for it then.
    """
    if store.status("audit"):
        return ("audit",)
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
    done = queries.count_picks_since(store, cut, config.quality.rule)
    return Progress(done=done, total=config.schedule.picks, t=t, yours=yours)


def worker_status(store: Store) -> dict[str, Any]:
    """The worker's phase, for long phases the share done (0..1) and the seconds left, and the command that works.

    That is the worker itself, or another that does its part: `simulate`, `market`, or `sweep`.

    Phases: 'absent' (never started, or silent for 15 s), 'starting' (for a minute at most), 'preparing', 'idle',
    'curating', 'training', 'publishing'.
    """
    status = store.status("worker")
    if not status:
        return {"phase": "absent", "done": None, "left_s": None, "command": WORKER}
    phase = status.get("phase", "idle")
    if silent_s(status) > (WORKER_STARTS_S if phase == "starting" else WORKER_SILENT_S):
        phase = "absent"
    command = WORKER if phase == "absent" else status.get("command", WORKER)
    return {"phase": phase, "done": status.get("done"), "left_s": status.get("left_s"), "command": command}


@contextmanager
def starting(store: Store) -> Iterator[None]:
    """Says that a worker starts, until it says more itself; one that ends before has not. Not where one works."""
    said: dict[str, Any] = {}
    with suppress(sqlite3.Error):  # as where the database is locked: the work waits, the word needn't
        if worker_status(store)["phase"] == "absent":
            store.set_status("worker", phase="starting", steady=steady_now())
            said = store.status("worker")
    try:
        yield
    finally:
        with suppress(sqlite3.Error):
            if said and store.status("worker") == said:
                store.set_status("worker", phase="absent")


def silent_s(status: dict[str, Any]) -> float:
    """Seconds since the worker's last heartbeat, one a second; by the monotonic clock where the worker reported it."""
    steady_s = seconds_since(status.get("steady"))
    if steady_s is not None:
        return steady_s
    return (datetime.now(UTC) - datetime.fromisoformat(status["at"])).total_seconds()


class WrongJudgementError(ValueError):
    """An answer that its slate doesn't ask for, or that lacks what it asks for.

    Attributes:
        field: of the answer, that is wrong.
    """

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field


def asks_worst(config: SlatesConfig, k: int) -> bool:
    """True if a pick from a slate of K names the worst, too; of pairs, as audit slates are, it never does."""
    return config.kind == "best_worst" and k > 2


def allows_tie(config: SlatesConfig, k: int) -> bool:
    """True if both of a slate of K may be as good."""
    return config.ties and k == 2


def check_judgement(config: SlatesConfig, pick: Pick, k: int) -> None:
    """Raises WrongJudgementError for an answer that a slate of K doesn't ask for."""
    if pick.outcome == "tie" and not allows_tie(config, k):
        why = f"only pairs can be tied, and this slate has {k}" if config.ties else "this study allows no ties"
        raise WrongJudgementError("outcome", why)
    if pick.worst is not None and not asks_worst(config, k):
        raise WrongJudgementError("worst", f"this slate of {k} asks for the best alone")
    if pick.outcome == "pick" and pick.worst is None and asks_worst(config, k):
        raise WrongJudgementError("worst", "this slate asks for the worst, too: send its position as worst")


class OutOfOrderError(ValueError):
    """A step that the session isn't at."""


@dataclass(frozen=True, slots=True)
class Place:
    """A session's step, and the content of that step.

    Attributes:
        slates: the slate in view and the one after it, when practising or picking.
    """

    state: State
    journey: Journey
    slates: tuple[Slate, ...] = ()


def state_of(journey: Journey, config: JourneyConfig, controls: Controls) -> State:
    """The step that comes next; 'finished' also for those who have just done the last one."""
    reached = journey.reached
    for end in ("withdrawn", "failed", "finished"):
        if end in reached:
            return end
    if config.consent and "consented" not in reached:
        return "consent"
    if not controls.finished:
        if config.instructions and "instructed" not in reached:
            return "instructions"
        if journey.practised < config.practice:
            return "paused" if controls.paused else "practice"
        if config.question and "understood" not in reached:
            return "question"
        if not config.picks or journey.answered < config.picks:
            return "paused" if controls.paused else "picking"
    return "closing" if config.closing and "closed" not in reached else "finished"


def place(store: Store, config: StudyConfig, session_id: str, shares: Callable[[str], bool] | None = None) -> Place:
    """A session's present step: with its slates leased, and marked as finished when nothing is left to do.

    Args:
        store: the study's.
        config: the study's.
        session_id: of the rater.
        shares: True for sessions from the same address; see `next_slates`.
    """
    journey = store.journey(session_id)
    state = state_of(journey, config.journey, control_state(store))
    slates: list[Slate] = []
    if state == "paused":
        store.open_slates(session_id, config.pool.lease_s)  # which keeps them leased
    elif state == "practice":
        slates = next_slates(store, config, session_id, practice_left=config.journey.practice - journey.practised)
    elif state == "picking":
        slates = next_slates(store, config, session_id, answered=journey.answered, shares=shares)
    elif state == "finished" and "finished" not in journey.reached:
        store.reach(session_id, "finished", config.panel.complete)
    if state in ("practice", "picking") and not slates:
        state = "waiting"
    return Place(state, journey, tuple(slates))


def take_step(store: Store, config: StudyConfig, session_id: str, step: Step, answer: str | None) -> None:
    """Does a step of a session; one that is done already is left as it is.

    Raises:
        OutOfOrderError: the session is elsewhere.
        ValueError: an answer to the question that isn't one of its choices.
    """
    with store.write():
        journey = store.journey(session_id)
        if journey.reached.intersection(MILESTONES[step]):
            return
        state = state_of(journey, config.journey, control_state(store))
        if state != step:
            raise OutOfOrderError(f"The step '{step}' isn't due: this session is at '{state}'.")
        if step == "question":
            answer_question(store, config, session_id, answer)
        elif step == "closing" and answer and answer.strip():
            store.add_answer(session_id, "closing", answer.strip())
        if step != "question":
            store.reach(session_id, "instructed" if step == "instructions" else "closed")


def answer_question(store: Store, config: StudyConfig, session_id: str, answer: str | None) -> None:
    """Stores an answer to the comprehension question, and whether it was right.

    A wrong answer that is sent again is the same try: a second click or a lost reply costs nobody one.

    Raises:
        ValueError: it isn't one of the choices.
    """
    if answer not in config.journey.choices:
        raise ValueError("answer must be one of the question's choices")
    if store.has_answered(session_id, "comprehension", answer):
        return
    correct = answer == config.journey.answer
    store.add_answer(session_id, "comprehension", answer, correct)
    if correct:
        store.reach(session_id, "understood")
    elif store.journey(session_id).tries >= TRIES:
        store.reach(session_id, "failed", config.panel.failed)


def undo(store: Store, config: StudyConfig, session_id: str, slate_id: int, attempt: int | None) -> StoredPick:
    """Takes a session's last answer back; see `Store.undo_pick`.

    One transaction decides between an undo and the worker, whose turn takes all picks up to a cut. Practice answers,
    and the answer after which nothing is left to pick, are final.

    Raises:
        PickRefusedError: it is final, or too late.
    """
    with store.write():
        state = state_of(store.journey(session_id), config.journey, control_state(store))
        is_open = state == "picking" and queries.slate_purpose(store, slate_id) != "practice"
        within_s, lease_s = config.slates.undo_s + GRACE_S if is_open else -1.0, config.pool.lease_s
        latest = store.latest_cut()
        cut = max(latest[1] if latest else 0, store.status("turn").get("cut", 0))
        undone = store.undo_pick(session_id, slate_id, attempt, within_s=within_s, cut=cut, lease_s=lease_s)
        judged = store.status("flags")
        if judged.get("until", 0) >= undone.id:  # the session is judged anew, without this answer
            store.set_status("flags", **{key: judged[key] for key in judged if key != "at"} | {"until": undone.id - 1})
        return undone


def withdraw(store: Store, config: StudyConfig, session_id: str) -> None:
    """Marks a session as withdrawn, whatever it is at: its answers train no more."""
    store.withdraw(session_id, config.panel.withdrew)


def admits(store: Store, config: StudyConfig) -> bool:
    """True if someone new may begin: the study goes on, and neither the quota nor `stop.raters` has run out of places.

    A place is taken by who has finished and by who is under way, until a lease's time after the last sign of life.
    """
    controls = control_state(store)
    if controls.finished:
        return False
    most = places(config, controls)
    return not most or queries.count_places_taken(store, config.pool.lease_s) < most


def places(config: StudyConfig, controls: Controls) -> int:
    """The number of people who may finish: the quota or `stop.raters`, whichever is smaller; 0 where neither is set."""
    return min((n for n in (controls.quota, config.stop.raters) if n), default=0)


def completion(config: StudyConfig, journey: Journey, state: str) -> dict[str, str] | None:
    """The completion with which an ended session goes back to its panel: {code, url}, or None.

    Who finished and withdrew the data afterwards has done the work all the same.
    """
    panel = config.panel
    if state == "finished" or "finished" in journey.reached:
        return panel.completion(panel.complete)
    return panel.completion(panel.failed if state == "failed" else panel.withdrew)
