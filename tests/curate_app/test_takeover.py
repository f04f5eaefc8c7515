"""Who knows another rater's id gets nothing of that rater's: no session, slate, pick, withdrawal or completion code."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from data.store.sessions import PanelIds
from loop.study import Study
from tests.curate_app.journeys import ANN, CODES, Rater, new_rows, rows

KNOWN = {"rater_id": ANN["rater_id"], "study_id": ANN["study_id"]}
GUESSES: tuple[dict[str, Any], ...] = (
    KNOWN, KNOWN | {"session_id": ""}, KNOWN | {"session_id": "another submission"}, KNOWN | {"session_id": None},
    KNOWN | {"session_id": ANN["session_id"].upper()}, KNOWN | {"session_id": ANN["session_id"] + " "},
    KNOWN | {"session_id": "%"}, KNOWN | {"assignment_id": "x"}, KNOWN | {"session_id": "None"},
    KNOWN | {"panel": "prolific", "token": "x"},
)  # fmt: skip

PLACEHOLDERS = ("{{%PROLIFIC_PID%}}", "{{%SESSION_ID%}}", "{{PROLIFIC_PID}}", "%7B%7B%25PROLIFIC_PID%25%7d%7d", "{%x%}")
UNFILLED: tuple[dict[str, Any], ...] = (
    KNOWN, KNOWN | {"session_id": ""}, KNOWN | {"session_id": " \t"}, KNOWN | {"assignment_id": "x"},
    {"session_id": "s"}, {"rater_id": " ", "session_id": "s"},
    *(KNOWN | {"session_id": name} for name in PLACEHOLDERS),
    *({"rater_id": name, "session_id": "s"} for name in PLACEHOLDERS),
    *({"rater_id": name, "session_id": name} for name in PLACEHOLDERS),
)  # fmt: skip


@pytest.fixture
def prolific(make_study: Callable[..., Study]) -> Study:
    """Two picks, then a code."""
    return make_study("panel.kind=prolific", "journey.picks=2", *CODES)


def refused(study: Study, thief: Rater, **ids: Any) -> dict[str, Any]:
    """The answer to both ways in, which have to give nothing and store nothing."""

    def try_both() -> None:
        for route, more in (("session", {}), ("consent", {"agreed": True}), ("consent", {"agreed": False})):
            response = thief.client.post(f"/api/{route}", json={**ids, **more})
            assert response.status_code == 200 and "set-cookie" not in response.headers
            told.append(response.json())

    told: list[dict[str, Any]] = []
    assert new_rows(study, try_both) == {}
    whole = study.config.panel.kind != "prolific" or ids.get("session_id")
    for turn in told:
        assert turn["session"] is None and turn["state"] == ("elsewhere" if whole else "incomplete")
        assert set(turn) == {"session", "state", "worker", "progress"}
    return told[0]


def test_a_prolific_id_alone_opens_nothing(prolific: Study):
    ann = Rater(prolific)
    turn = ann.post("session", **ANN)
    for guess in GUESSES:
        thief = Rater(prolific)
        refused(prolific, thief, **guess)
        assert thief.refused("pick", slate_id=turn["slate_id"], outcome="pick", position=0) == 401
        assert thief.refused("withdraw") == 401
    assert ann.post("session")["slate_id"] == turn["slate_id"]
    ann.pick_until("finished", turn)
    for guess in GUESSES:
        refused(prolific, Rater(prolific), **guess)


def test_the_panels_session_id_goes_on_on_another_device(prolific: Study):
    laptop, phone = Rater(prolific), Rater(prolific)
    turn = laptop.post("session", **ANN)
    assert phone.post("session", **ANN)["slate_id"] == turn["slate_id"]
    assert phone.post("session")["slate_id"] == turn["slate_id"]


def test_the_cookie_goes_on_whatever_the_link_carries(prolific: Study):
    ann = Rater(prolific)
    turn = ann.post("session", **ANN)
    for ids in ({}, *GUESSES):
        assert ann.post("session", **ids)["slate_id"] == turn["slate_id"]


def test_a_cookie_of_ones_own_is_no_key_to_anothers_session(prolific: Study):
    ann, thief = Rater(prolific), Rater(prolific)
    turn = ann.post("session", **ANN)
    own = thief.post("session", rater_id="thief", session_id="of the thief")
    refused(prolific, thief, **KNOWN, session_id="of the thief")
    assert thief.post("session")["slate_id"] == own["slate_id"] != turn["slate_id"]


def test_once_the_ids_are_deleted_the_cookie_alone_goes_on(prolific: Study):
    ann = Rater(prolific)
    turn = ann.post("session", **ANN)
    with prolific.store.write() as db:
        db.conn.execute("DELETE FROM identity")
    assert ann.post("session", **ANN)["slate_id"] == turn["slate_id"]
    refused(prolific, Rater(prolific), **ANN)


def test_an_assignment_of_mturk_is_its_workers(make_study: Callable[..., Study]):
    study = make_study("panel.kind=mturk")
    Rater(study).post("session", rater_id="A1", assignment_id="first")
    refused(study, Rater(study), rater_id="A1", assignment_id="second")


def test_two_who_come_at_once_under_one_id_do_not_share_a_session(prolific: Study):
    raters = [Rater(prolific) for _ in range(8)]

    def come(place: int) -> dict[str, Any]:
        return raters[place].post("session", **KNOWN, session_id=f"submission-{place}")

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(come, range(8)))
    assert sorted(turn["state"] for turn in told) == ["elsewhere"] * 7 + ["picking"]
    assert rows(prolific)["session"] == rows(prolific)["identity"] == 1


@pytest.mark.parametrize("known", [False, True])
def test_a_prolific_link_without_both_ids_lets_nobody_in(prolific: Study, known: bool):
    if known:
        Rater(prolific).post("session", **ANN)
    for ids in UNFILLED:
        rater = Rater(prolific)

        def arrive(rater: Rater = rater, ids: dict[str, Any] = ids) -> None:
            for route, more in (("session", {}), ("consent", {"agreed": True}), ("consent", {"agreed": False})):
                turn = rater.post(route, **ids, **more)
                assert (turn["session"], turn["state"]) == (None, "incomplete"), ids

        assert new_rows(prolific, arrive) == {} and not rater.client.cookies
    assert Rater(prolific).post("session", **ANN)["state"] == "picking"


def test_a_link_that_nobody_filled_in_is_no_name_in_an_open_study(study: Study):
    """It is the same link for all, who would share one session and so one rater's picks."""
    for name in ("{{%PROLIFIC_PID%}}", "${workerId}", "%7B%7B%25PROLIFIC_PID%25%7D%7D"):
        ids = {"rater_id": name, "session_id": name.replace("PROLIFIC_PID", "SESSION_ID")}
        ann, bob = Rater(study), Rater(study)
        assert ann.post("session", **ids)["session"] != bob.post("session", **ids)["session"]
        assert ann.post("session", **ids)["session"] == ann.post("session")["session"]
    assert rows(study)["identity"] == 0


def test_in_an_open_study_an_id_in_the_link_is_nobodys_name(study: Study):
    ann, other = Rater(study), Rater(study)
    first, second = ann.post("session", **ANN), other.post("session", **KNOWN)
    assert first["session"] != second["session"] and first["slate_id"] != second["slate_id"]
    assert ann.post("session", **KNOWN)["session"] == ann.post("session")["session"] == first["session"]
    assert other.refused("pick", slate_id=first["slate_id"], outcome="pick", position=0) == 404
    again = Rater(study).post("session", **KNOWN)
    assert again["session"] not in (first["session"], second["session"])
    kept = [row["panel_rater_id"] for row in study.store.rows("SELECT panel_rater_id FROM identity")]
    assert kept == [ANN["rater_id"]] * 3  # for paying them; who recognises a rater by it is the researcher


def test_another_name_in_the_same_browser_is_another_rater(study: Study):
    lab = Rater(study)
    ann, bob = lab.post("session", **ANN), lab.post("session", rater_id="bob")
    assert ann["session"] != bob["session"]
    assert lab.post("session", rater_id="bob")["session"] == lab.post("session")["session"] == bob["session"]
    assert lab.post("session", **ANN)["session"] == ann["session"]


def test_who_came_without_a_name_goes_on_with_one(study: Study):
    rater = Rater(study)
    assert rater.post("session")["session"] == rater.post("session", **KNOWN)["session"]


def test_a_claim_and_a_panels_id_are_never_the_same_person(study: Study):
    ids = PanelIds("prolific", "x", session_id="y")
    claim = PanelIds("prolific", "x", session_id="y", is_claim=True)
    study.store.admit("a" * 22, ids, user_agent="", consented=False)
    assert study.store.find_session(ids) == "a" * 22 and study.store.find_session(claim) is None


def test_who_has_no_cookie_of_the_studys_gets_no_turn_at_the_database(study: Study, monkeypatch: pytest.MonkeyPatch):
    """A flood of such requests would keep raters waiting: one thread writes for all."""
    rater = Rater(study)
    turn = rater.post("session")
    signed = rater.client.cookies["curate_session"]

    def submit(*_: Any) -> None:
        raise AssertionError("the database was asked")

    with monkeypatch.context() as patch:
        patch.setattr(study.store, "soon", submit)
        for cookie in (None, signed[:-1], f"{signed}x", f"{'A' * 22}.{'A' * 43}"):
            stranger = Rater(study)
            if cookie:
                stranger.client.cookies.set("curate_session", cookie)
            assert stranger.client.get("/api/slate").status_code == 401
            assert stranger.refused("pick", slate_id=turn["slate_id"], outcome="pick", position=0) == 401
            assert stranger.refused("step", step="closing") == stranger.refused("withdraw") == 401
    assert rater.pick(turn)["saved"]
