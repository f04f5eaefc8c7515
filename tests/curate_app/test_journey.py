"""A rater's way through the study over HTTP: every step, in order, once, and at the same place wherever it goes on."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from data.records import timestamp
from data.store import queries
from loop.raters.journey import finish, pause, resume, set_quota
from loop.study import Study
from tests.curate_app.journeys import ANN, CODES, STEPS, Rater, new_rows, rows, with_practice


@pytest.fixture
def prolific(make_study) -> Study:
    """A Prolific study with every step, and three picks."""
    return with_practice(make_study("panel.kind=prolific", *STEPS, *CODES))


@pytest.fixture
def short(make_study) -> Study:
    """An open study of three picks with codes and no other step."""
    return make_study("journey.picks=3", *CODES)


def code(turn: dict[str, Any]) -> str:
    return turn["completion"]["code"]


def test_the_whole_prolific_journey_through_the_real_server(prolific: Study, serve):
    with httpx.Client(base_url=serve(prolific)) as client:
        rater = Rater(prolific, client)  # pyright: ignore[reportArgumentType]
        turn = rater.post("session", **ANN)
        assert turn["state"] == "consent" and turn["session"] is None and "<em>stop</em>" in turn["html"]
        assert not client.cookies and rows(prolific)["session"] == 0
        turn = rater.post("consent", agreed=True, **ANN)
        assert (turn["state"], turn["practice"]) == ("instructions", 2) and "<strong>best</strong>" in turn["html"]
        turn = rater.post("step", step="instructions")
        assert turn["state"] == "practice" and turn["practice"] == {"done": 0, "total": 2}
        turn = rater.pick(turn)["next"]
        assert turn["practice"] == {"done": 1, "total": 2} and turn["progress"]["yours"] == 0
        turn = rater.pick(turn)["next"]
        assert turn["state"] == "question" and turn["choices"] == ["The best", "The first", "Any"]
        assert turn["tries_left"] == 2
        turn = rater.post("step", step="question", answer="Any")
        assert (turn["state"], turn["tries_left"]) == ("question", 1)
        turn = rater.post("step", step="question", answer="The best")
        for done in range(3):
            assert turn["state"] == "picking" and turn["progress"]["mine"] == {"done": done, "total": 3}
            assert "completion" not in turn
            turn = rater.pick(turn, rt_ms=812, blurs=done)["next"]
        assert turn["state"] == "closing" and "completion" not in turn
        turn = rater.post("step", step="closing", answer="  Nice digits. ")
        assert turn["state"] == "finished" and "Thank you." in turn["html"]
        url = "https://app.prolific.com/submissions/complete?cc=DONE"
        assert turn["completion"] == {"code": "DONE", "url": url}
        assert rater.turn()["completion"] == turn["completion"]
    stored = prolific.store.row("SELECT * FROM session")
    assert stored is not None and stored["finished_at"] and stored["completion_code"] == "DONE"
    words = [row["text"] for row in prolific.store.rows("SELECT text FROM answer ORDER BY id")]
    assert words == ["Any", "The best", "Nice digits."]
    kept = prolific.store.rows(
        """SELECT purpose, position, rt_ms, blur_count, server_ms >= 0 AS timed
        FROM pick JOIN slate ON slate.id = slate_id ORDER BY pick.id"""
    )
    assert [tuple(row.values()) for row in kept][2:] == [("curation", 1, 812, blurs, 1) for blurs in range(3)]


def test_declining_stores_the_refusal_and_no_more(prolific: Study):
    rater = Rater(prolific)
    assert new_rows(prolific, lambda: rater.post("session", **ANN)) == {}
    told: dict[str, Any] = {}
    assert new_rows(prolific, lambda: told.update(rater.post("consent", agreed=False, **ANN))) == {"event": 1}
    assert told["state"] == "declined" and code(told) == "LEFT"
    assert not rater.client.cookies
    assert prolific.store.events(kinds=("declined",))[0]["detail"] == {}


def test_who_consented_cannot_decline_any_more_but_withdraw(prolific: Study):
    rater = Rater(prolific)
    rater.begin(**ANN)
    assert rater.post("consent", agreed=False, **ANN)["state"] == "instructions"
    assert prolific.store.events(kinds=("declined",)) == []


def test_two_wrong_answers_end_the_session_with_its_own_code(prolific: Study):
    rater = Rater(prolific)
    rater.begin(**ANN)
    rater.pick_until("question", rater.post("step", step="instructions"))
    for _ in range(3):  # a double click, or a reply that was lost, is the same try
        turn = rater.post("step", step="question", answer="Any")
        assert (turn["state"], turn["tries_left"]) == ("question", 1)
    assert rater.refused("step", step="question", answer="Something else") == 422
    assert rater.refused("step", step="question") == 422
    turn = rater.post("step", step="question", answer="The first")
    assert turn["state"] == "failed" and code(turn) == "FAILED"
    assert rater.post("step", step="question", answer="The best")["state"] == "failed"
    assert Rater(prolific).post("session", **ANN)["state"] == "failed"


def test_steps_out_of_order_are_refused_and_done_ones_answered(prolific: Study):
    rater = Rater(prolific)
    rater.begin(**ANN)
    for step in ("question", "closing"):
        assert rater.refused("step", step=step, answer="The best") == 409
    rater.post("step", step="instructions")
    assert rater.post("step", step="instructions")["state"] == "practice"
    assert rater.refused("step", step="closing") == 409
    assert rows(prolific)["answer"] == 0


def test_the_closing_question_may_be_left_open(make_study):
    study = make_study("journey.picks=1", "journey.closing=Anything?")
    rater = Rater(study)
    rater.pick_until("closing", rater.post("session"))
    turn = rater.post("step", step="closing")
    assert turn["state"] == "finished" and turn["completion"] is None and rows(study)["answer"] == 0


def test_without_steps_a_rater_picks_at_once_and_without_end(study: Study):
    rater = Rater(study)
    turn = rater.post("session")
    for _ in range(5):
        assert turn["state"] == "picking" and "mine" not in turn["progress"]
        turn = rater.pick(turn)["next"]


def test_the_redirect_comes_only_after_the_last_pick_is_stored(short: Study):
    rater = Rater(short)
    turn = rater.post("session")
    for done in range(3):
        assert "completion" not in turn and short.store.last_pick() == done
        answered = turn
        turn = rater.pick(turn)["next"]
    assert code(turn) == "DONE" and short.store.last_pick() == 3
    again = rater.pick(answered)
    assert again["duplicate"] and code(again["next"]) == "DONE" and short.store.last_pick() == 3


def test_withdrawing_marks_the_data_and_may_be_repeated(short: Study):
    rater = Rater(short)
    turn = rater.pick(rater.post("session"))["next"]
    for _ in range(2):
        told = rater.post("withdraw")
        assert told["state"] == "withdrawn" and code(told) == "LEFT"
    assert rater.turn()["state"] == rater.post("session")["state"] == "withdrawn"
    assert rater.refused("pick", slate_id=turn["slate_id"], outcome="pick", position=0) == 410
    assert short.store.last_pick() == 1 and queries.count_curation_picks(short.store, after=0) == 0
    assert short.store.value("SELECT completion_code FROM session") == "LEFT"


def test_who_finished_and_then_withdraws_keeps_the_code(short: Study):
    rater = Rater(short)
    rater.pick_until("finished", rater.post("session"))
    assert code(rater.post("withdraw")) == "DONE"
    assert queries.count_curation_picks(short.store, after=0) == 0


def test_the_same_person_goes_on_at_the_same_slate_on_another_device(prolific: Study):
    laptop, phone = Rater(prolific), Rater(prolific)
    laptop.begin(**ANN)
    turn = laptop.pick(laptop.post("step", step="instructions"))["next"]
    there = phone.post("session", **ANN)
    assert {key: there[key] for key in turn} == turn
    assert phone.pick(turn)["next"]["state"] == "question" == laptop.turn()["state"]
    assert rows(prolific)["session"] == 1


def test_two_tabs_that_come_at_once_are_one_session(make_study):
    study = make_study("panel.kind=prolific")
    tabs = [Rater(study) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(lambda tab: tab.post("session", **ANN), tabs))
    assert len({(turn["session"], turn["slate_id"]) for turn in turns}) == 1
    assert rows(study)["session"] == rows(study)["rater"] == 1


def test_a_restarted_server_costs_nobody_the_place(prolific: Study):
    before = Rater(prolific)
    before.begin(**ANN)
    turn = before.pick(before.post("step", step="instructions"))["next"]
    after = Rater(Study.open(prolific.path))
    after.client.cookies.set("curate_session", before.client.cookies["curate_session"])
    assert after.turn() == turn
    after.study.store.close()


def test_another_person_at_the_same_browser_gets_a_session_of_their_own(make_study):
    study = make_study("panel.kind=prolific")
    rater = Rater(study)
    first, second = rater.post("session", **ANN), rater.post("session", rater_id="bob", session_id="2")
    assert first["session"] != second["session"] and first["slate_id"] != second["slate_id"]


@pytest.mark.parametrize(("kind", "state"), [("prolific", "incomplete"), ("mturk", "uninvited")])
def test_a_link_that_lacks_an_id_never_gives_another_person_the_browsers_session(make_study, kind: str, state: str):
    study = make_study(f"panel.kind={kind}")
    rater = Rater(study)
    ann = rater.post("session", rater_id="ann", session_id="1", assignment_id="1")
    for name in ("bob", "{{%PROLIFIC_PID%}}"):
        assert rater.post("session", rater_id=name)["state"] == state
        assert rater.post("consent", agreed=True, rater_id=name)["state"] == state
    assert rater.post("session", rater_id="ann")["slate_id"] == ann["slate_id"]
    assert rows(study)["session"] == 1


def test_a_lapsed_slate_makes_room_for_new_ones(short: Study):
    rater = Rater(short)
    turn = rater.post("session")
    with short.store.write() as db:
        db.conn.execute("UPDATE slate SET lease_until = ? WHERE lease_until IS NOT NULL", [timestamp(-1)])
    assert rater.refused("pick", slate_id=turn["slate_id"] + 1, outcome="none") == 410
    later = rater.turn()
    assert later["state"] == "picking" and later["progress"]["mine"]["done"] == 0
    rater.pick_until("finished", later)
    assert short.store.last_pick() == 3


def test_a_time_out_counts_as_an_answer_where_there_is_a_limit(make_study):
    study = make_study("journey.picks=1", "slates.timeout_s=20")
    rater = Rater(study)
    turn = rater.post("session")
    assert turn["timeout_s"] == 20
    assert rater.pick(turn, outcome="timeout", position=None)["next"]["state"] == "finished"
    assert queries.count_curation_picks(study.store, after=0) == 0


def test_without_a_limit_nothing_times_out(short: Study):
    rater = Rater(short)
    turn = rater.post("session")
    assert rater.refused("pick", slate_id=turn["slate_id"], outcome="timeout") == 422


def test_a_paused_study_takes_the_answer_under_way_and_hands_out_nothing(short: Study):
    rater = Rater(short)
    turn = rater.post("session")
    pause(short.store)
    assert rater.turn()["state"] == "paused"
    assert rater.pick(turn)["next"]["state"] == "paused"
    assert Rater(short).post("session")["state"] == "paused"
    resume(short.store)
    assert rater.turn()["slate_id"] == turn["upcoming"]["slate_id"]


def test_a_study_that_is_finished_pays_who_had_begun_and_lets_nobody_in(prolific: Study):
    rater = Rater(prolific)
    rater.begin(**ANN)
    finish(prolific.store)
    assert rater.turn()["state"] == "closing"
    assert code(rater.post("step", step="closing")) == "DONE"
    late = Rater(prolific)
    assert late.post("session", rater_id="late", session_id="1")["state"] == "full"
    assert late.post("consent", agreed=True, rater_id="late", session_id="1")["state"] == "full"
    assert rows(prolific)["session"] == 1


def test_a_quota_lets_that_many_people_in(short: Study):
    set_quota(short.store, 2)
    one, two, three = (Rater(short) for _ in range(3))
    turn = one.post("session")
    two.post("session")
    assert three.post("session")["state"] == "full" and not three.client.cookies
    one.pick_until("finished", turn)
    assert two.turn()["state"] == "picking" and three.post("session")["state"] == "full"
    two.post("withdraw")
    assert three.post("session")["state"] == "picking"


def test_people_who_left_hold_no_place(short: Study):
    set_quota(short.store, 1)
    Rater(short).post("session")
    assert Rater(short).post("session")["state"] == "full"
    with short.store.write() as db:
        db.conn.execute("UPDATE slate SET lease_until = ? WHERE lease_until IS NOT NULL", [timestamp(-1)])
        db.conn.execute("UPDATE session SET created_at = ?", [timestamp(-10_000)])
    assert Rater(short).post("session")["state"] == "picking"


def test_no_turn_tells_which_generation_a_sample_is_of(make_study):
    study = make_study(generations=2, phase="training")
    turn = Rater(study).post("session")
    for slate in (turn, turn["upcoming"]):
        assert set(slate) & {"t", "purpose", "seed"} == set()
        assert all(set(item) == {"position", "image", "alt"} for item in slate["items"])


def test_html_in_a_text_is_shown_and_not_run(make_study):
    study = make_study("journey.consent=<script>alert(1)</script> [x](javascript:alert(1))")
    html = Rater(study).post("session")["html"]
    assert "<script" not in html and "href" not in html


def test_a_text_may_stand_in_a_file_of_the_study(make_study):
    study = make_study("journey.consent=consent.md")
    with pytest.raises(ValueError, match=r"journey\.consent names consent\.md"):
        Rater(study)
    (study.path / "consent.md").write_text("# Welcome")
    assert Rater(study).post("session")["html"] == "<h1>Welcome</h1>\n"
