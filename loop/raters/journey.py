"""A rater's way through a study, and the researcher's hand on it: pause, resume, finish, quota. Torch-free.

Which step a session is at follows from its milestones and answers, all in the store.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from data.records import Slate
from data.store import Store
from data.store.sessions import Journey
from loop.config import JourneyConfig, StudyConfig
from loop.raters.serving import next_slates

KEY = "controls"
MOST = 1_000_000
State = Literal[
    "consent", "instructions", "practice", "question", "picking", "waiting", "paused", "closing",
    "finished", "failed", "withdrawn",
]  # fmt: skip
Step = Literal["instructions", "question", "closing"]
MILESTONES = {"instructions": ("instructed",), "question": ("understood", "failed"), "closing": ("closed",)}
TRIES = 2


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
    elif store.tries(session_id) >= TRIES:
        store.reach(session_id, "failed", config.panel.failed)


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
    places = min((n for n in (controls.quota, config.stop.raters) if n), default=0)
    return not places or store.places_taken(config.pool.lease_s) < places


def completion(config: StudyConfig, journey: Journey, state: str) -> dict[str, str] | None:
    """The completion with which an ended session goes back to its panel: {code, url}, or None.

    Who finished and withdrew the data afterwards has done the work all the same.
    """
    panel = config.panel
    if state == "finished" or "finished" in journey.reached:
        return panel.completion(panel.complete)
    return panel.completion(panel.failed if state == "failed" else panel.withdrew)
