"""Which step comes next: a pure function of what a session reached, what the study asks for, what holds now."""

import pytest

from data.store.sessions import Journey
from loop.config import JourneyConfig
from loop.raters.journey import Controls, state_of

EVERY = JourneyConfig(
    consent="c", instructions="i", practice=2, question="q", choices=("a", "b"), answer="a", picks=5, closing="z"
)
ALL = ("consented", "instructed", "understood", "closed")


def state(*reached: str, practised: int = 2, answered: int = 0, config: JourneyConfig = EVERY, **controls: bool) -> str:
    return state_of(Journey(frozenset(reached), practised, answered, 0), config, Controls(**controls))


@pytest.mark.parametrize(
    ("expected", "reached", "practised", "answered"),
    [
        ("consent", 0, 0, 0),
        ("instructions", 1, 0, 0),
        ("practice", 2, 1, 0),
        ("question", 2, 2, 0),
        ("picking", 3, 2, 4),
        ("closing", 3, 2, 5),
        ("finished", 4, 2, 5),
    ],
)
def test_every_step_comes_in_its_turn(expected: str, reached: int, practised: int, answered: int):
    assert state(*ALL[:reached], practised=practised, answered=answered) == expected


def test_a_study_without_steps_has_only_picks():
    assert state(config=JourneyConfig(), practised=0) == "picking"
    assert state(config=JourneyConfig(), practised=0, answered=10**6) == "picking"


@pytest.mark.parametrize(("end", "more"), [("withdrawn", ALL), ("withdrawn", ("finished",)), ("failed", ALL[:2])])
def test_an_end_is_an_end(end: str, more: tuple[str, ...]):
    assert state(end, *more) == end


def test_a_pause_holds_slates_back_and_nothing_else():
    assert state(*ALL[:3], paused=True) == "paused"
    assert state(*ALL[:2], practised=0, paused=True) == "paused"
    assert state(*ALL[:1], paused=True) == "instructions"
    assert state(*ALL[:3], answered=5, paused=True) == "closing"


def test_a_finished_study_sends_everyone_to_the_end():
    assert state(*ALL[:1], practised=0, finished=True) == "closing"
    assert state(*ALL[:3], answered=1, finished=True, config=EVERY.model_copy(update={"closing": ""})) == "finished"
    assert state(finished=True) == "consent"
