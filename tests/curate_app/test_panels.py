"""Where raters come from: Prolific, MTurk, one-time links, an open study; and what is kept of their ids."""

import pytest

from data.choice_log import Source
from loop.study import Study
from tests.curate_app.journeys import ANN, Rater, new_rows, rows


@pytest.mark.parametrize("kind", ["prolific", "mturk", "link"])
def test_nobody_comes_without_an_invitation(make_study, kind: str):
    study = make_study(f"panel.kind={kind}")
    rater = Rater(study)
    for body in ({}, {"token": "made up"}, {"panel": "prolific"}, {"rater_id": ""}):
        assert new_rows(study, lambda body=body: rater.post("session", **body)) == {}
        assert rater.post("session", **body)["state"] == "uninvited"
        assert rater.post("consent", agreed=True, **body)["state"] == "uninvited"
    assert rows(study)["session"] == 0 and not rater.client.cookies


def test_the_cookie_is_enough_once_the_ids_are_gone_from_the_address(make_study):
    rater = Rater(make_study("panel.kind=prolific"))
    turn = rater.post("session", **ANN)
    assert rater.post("session")["slate_id"] == turn["slate_id"]


@pytest.mark.parametrize("consent", ["", "Do you agree?"])
def test_a_preview_on_mturk_stores_nothing(make_study, consent: str):
    study = make_study("panel.kind=mturk", f"journey.consent={consent}", "journey.instructions=Pick.")
    rater = Rater(study)
    looking = {"assignment_id": "ASSIGNMENT_ID_NOT_AVAILABLE", "rater_id": "A1"}
    assert new_rows(study, lambda: rater.post("session", **looking)) == {}
    assert new_rows(study, lambda: rater.post("consent", agreed=True, **looking)) == {}
    turn = rater.post("session", **looking)
    assert turn["state"] == "preview" and (consent or "Pick.") in turn["html"] and not rater.client.cookies


def test_an_mturk_worker_works_under_the_workers_id(make_study):
    study = make_study("panel.kind=mturk")
    rater = Rater(study)
    first = rater.post("session", rater_id="A1", assignment_id="first", study_id="hit")
    again = rater.post("session", rater_id="A1", assignment_id="second", study_id="hit")
    phone = Rater(study).post("session", rater_id="A1", assignment_id="first", study_id="hit")
    assert first["slate_id"] == again["slate_id"] == phone["slate_id"]
    kept = study.store.row("SELECT panel, panel_rater_id, panel_study_id, panel_session_id FROM identity")
    assert kept is not None and list(kept.values()) == ["mturk", "A1", "hit", "first"]


def test_a_link_is_one_persons(make_study):
    study = make_study("panel.kind=link")
    study.store.add_invites(["token-1", "token-2"])
    first = Rater(study).post("session", token="token-1")
    assert Rater(study).post("session", token="token-1")["session"] == first["session"]
    assert Rater(study).post("session", token="token-2")["session"] != first["session"]
    assert rows(study)["session"] == 2
    assert study.store.value("SELECT count(*) FROM invite WHERE used_at IS NOT NULL") == 2


def test_nobody_takes_another_panels_name(make_study):
    """The study's own panel counts, whatever a link says."""
    study = make_study("panel.kind=prolific")
    one = Rater(study).post("session", **ANN)
    assert Rater(study).post("session", **ANN, panel="mturk")["session"] == one["session"]


def test_panel_ids_are_in_no_export(make_study):
    study: Study = make_study("panel.kind=prolific", "journey.picks=2")
    rater = Rater(study)
    rater.pick_until("finished", rater.post("session", **ANN))
    exported = list(Source(study.store, "a study").rows())
    assert len(exported) == 2 * study.config.curation.k  # pyright: ignore[reportOperatorIssue]
    assert not set(ANN.values()) & {str(value) for row in exported for value in row.values()}
    assert {row["session"] for row in exported} == {"s1"}
