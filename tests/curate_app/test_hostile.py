"""Hostile requests to the whole app over HTTP: never a 5xx, nothing stored that shouldn't be, nobody's data seen."""

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode

from data.records import timestamp
from loop.study import Study
from tests.curate_app.attacks import Attacker, injections, wander
from tests.curate_app.journeys import CODES, STEPS, app_of, with_practice

UNLIMITED = (
    "app.requests_per_session=0", "app.requests_per_address=0", "slates.timeout_s=30", "pool.lease_s=86400",
)  # fmt: skip
FIXED = ("generation", "image", "sample", "invite", "exclusion", "evaluation", "status")
FOREIGN = "AAAAAAAAAAAAAAAAAAAAAA." + "A" * 43


@pytest.fixture
def attack(make_study, publish_generation: Callable[..., None], serve) -> Callable[..., tuple[Study, Attacker]]:
    """A factory: a study with every step, or with the settings given, and someone who attacks its server."""

    def begin(*given_: str) -> tuple[Study, Attacker]:
        study = with_practice(make_study(*UNLIMITED, *(given_ or (*STEPS, *CODES))))
        publish_generation(study, 1, slates=200)
        return study, Attacker(study, serve(study))

    return begin


def fixed_rows(study: Study) -> dict[str, int]:
    rows = {table: study.store.value(f"SELECT count(*) FROM {table}") for table in FIXED}
    rows["status"] = study.store.value("SELECT count(*) FROM status WHERE key != 'clock'")  # written at the first lease
    return {**rows, "slate": study.store.value("SELECT count(*) FROM slate WHERE copy_of IS NULL")}


def everything_of(study: Study, session: str) -> list[Any]:
    """All that is stored of a session."""
    queries = (
        "SELECT * FROM session WHERE id = ?",
        "SELECT * FROM pick WHERE session_id = ?",
        "SELECT * FROM answer WHERE session_id = ?",
        "SELECT id, purpose FROM slate WHERE leased_to = ?",
    )
    return [list(study.store.rows(query, [session])) for query in queries]


def play(attacker: Attacker, *bodies: tuple[str, dict[str, Any]]) -> str:
    """A session that went some steps; its cookie."""
    cookie, _ = attacker.open()
    for route, body in bodies:
        answer = attacker.send("POST", f"/api/{route}", cookie, json=body)
        assert answer is not None and answer.status_code == 200
    return cookie


def fire(study: Study, attacker: Attacker, n: int) -> None:
    """Requests made from the routes' schema, sound and broken ones, with a victim's state beside them."""
    documented = schemathesis.openapi.from_dict(app_of(study).openapi()).get_all_operations()
    operations = [result.ok() for result in documented]
    cookies = [play(attacker), play(attacker, ("step", {"step": "instructions"})), play(attacker, ("withdraw", {}))]
    aims = list(itertools.product(operations, GenerationMode))
    until, round_ = attacker.sent + n, 0
    while attacker.sent < until:
        operation, mode = aims[round_ % len(aims)]
        try:
            shoot(attacker, operation.as_strategy(generation_mode=mode), [*cookies, FOREIGN, None], round_)
        except Unsatisfiable:  # there is nothing about this request that could be broken
            aims.remove((operation, mode))
        round_ += 1


def shoot(attacker: Attacker, cases: SearchStrategy[schemathesis.Case], cookies: list[str | None], round_: int) -> None:
    """Some dozens of cases, each with every one of our cookies in place of made-up ones, and once as it is."""

    @seed(round_)
    @settings(max_examples=40, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def send(case: schemathesis.Case) -> None:
        for cookie in cookies:
            request = case.as_transport_kwargs(base_url="")
            if cookie:
                request.pop("cookies", None)
            attacker.send(request.pop("method"), request.pop("url"), cookie, **request)

    send()


def bombard(study: Study, attacker: Attacker, n: int) -> None:
    """At least n requests; checks at the end that a bystander's data are as they were."""
    before = fixed_rows(study)
    bystander = play(attacker, ("step", {"step": "instructions"})).partition(".")[0]
    stored = everything_of(study, bystander)
    cookies = itertools.cycle([play(attacker), play(attacker, ("step", {"step": "instructions"})), FOREIGN, None])
    until = attacker.sent + n
    for (method, path, more), cookie in zip(injections(), cookies, strict=False):
        attacker.send(method, path, cookie, **more)
    wander(attacker, n // 4, random.Random(0))
    fire(study, attacker, until - attacker.sent)
    assert attacker.sent >= until
    assert everything_of(study, bystander) == stored and fixed_rows(study) == before
    attacker.check()


@pytest.mark.slow
def test_a_thousand_hostile_requests_break_nothing(attack):
    study, attacker = attack()
    bombard(study, attacker, 1_400)
    assert len(attacker.picks) > 20


@pytest.mark.slow
def test_fifty_thousand_hostile_requests_break_nothing(attack):
    study, attacker = attack()
    bombard(study, attacker, 50_000)
    assert attacker.sent >= 50_000 and len(attacker.picks) > 20


def test_nobody_answers_or_sees_anothers_slates(attack):
    study, attacker = attack("journey.consent=Agree?")
    (holder, turn), (intruder, _) = attacker.open(), attacker.open()
    for slate_id in range(turn["slate_id"], turn["slate_id"] + 30):
        answer = attacker.send("POST", "/api/pick", intruder, json={"slate_id": slate_id, "outcome": "none"})
        assert answer is not None and answer.status_code in (200, 404)
    answered = {row["session_id"] for row in study.store.rows("SELECT session_id FROM pick")}
    assert answered == {intruder.partition(".")[0]} and holder not in answered
    attacker.check()


def test_cookies_that_are_replayed_open_nothing_else(attack):
    study, attacker = attack("journey.consent=Agree?")
    cookie, turn = attacker.open()
    session, _, mac = cookie.partition(".")
    for other in (
        session,
        mac,
        f"{mac}.{session}",
        f"{session}.{mac[::-1]}",
        f"{session[::-1]}.{mac}",
        FOREIGN,
        cookie + "A",
    ):
        answer = attacker.send("GET", "/api/slate", other)
        assert answer is not None and answer.status_code == 401
    attacker.send("POST", "/api/withdraw", cookie, json={})
    pick = {"slate_id": turn["slate_id"], "outcome": "pick", "position": 0}
    answer = attacker.send("POST", "/api/pick", cookie, json=pick)
    assert answer is not None and answer.status_code == 410 and study.store.last_pick() == 0
    attacker.check()


def test_lapsed_slates_and_steps_out_of_order_store_nothing(attack):
    study, attacker = attack("journey.consent=Agree?", "journey.picks=2", "journey.closing=Words?")
    cookie, turn = attacker.open()
    with study.store.write() as db:
        db.conn.execute("UPDATE slate SET lease_until = ? WHERE lease_until IS NOT NULL", [timestamp(-1)])
    for _ in range(3):
        answer = attacker.send("POST", "/api/pick", cookie, json={"slate_id": turn["slate_id"], "outcome": "none"})
        assert answer is not None and answer.status_code == 410
    for step in ("closing", "question", "instructions"):
        answer = attacker.send("POST", "/api/step", cookie, json={"step": step, "answer": "x"})
        assert answer is not None and answer.status_code == 409
    assert study.store.last_pick() == 0 and study.store.value("SELECT count(*) FROM answer") == 0
