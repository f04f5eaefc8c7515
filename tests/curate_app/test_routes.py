"""The JSON routes over a real study, through the whole app."""

import hashlib
import io
import subprocess
import sys
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from curate_app.web.app import build_app
from data.records import timestamp
from data.store import queries
from loop.study import Study


def client_of(study: Study, *, admin_open: bool = True, password: str | None = None) -> TestClient:
    return TestClient(build_app(study, admin_open=admin_open, password=password))


def rater_of(study: Study) -> TestClient:
    client = client_of(study)
    assert client.post("/api/session").status_code == 200
    return client


def answer(turn: dict[str, Any], position: int | None = 1, **more: Any) -> dict[str, Any]:
    body = {"slate_id": turn["slate_id"], "outcome": "pick", "position": position, "rt_ms": 812, "input": "mouse"}
    return {**body, "viewport": "1280x720@1", **more}


def picks(study: Study) -> list[dict]:
    return list(study.store.rows("SELECT * FROM pick ORDER BY id"))


def test_importing_the_server_does_not_import_torch():
    code = "import sys, curate_app.web.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_session_is_a_cookie_that_scripts_cannot_read(study: Study):
    response = client_of(study).post("/api/session")
    assert response.json()["state"] == "picking"
    assert response.json()["progress"] == {"done": 0, "total": 24, "t": 0, "yours": 0}
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    token = response.cookies["curate_session"]
    assert len(token) >= 20
    assert token not in response.text


def test_a_second_call_keeps_the_session(study: Study):
    client = rater_of(study)
    first = client.cookies["curate_session"]
    client.post("/api/session")
    assert client.cookies["curate_session"] == first
    assert study.store.value("SELECT count(*) FROM session") == 1


def test_the_panels_ids_resume_a_session_in_another_browser(study: Study):
    ids = {"panel": "prolific", "rater_id": "abc", "session_id": "s1"}
    one, two = client_of(study), client_of(study)
    one.post("/api/session", json=ids)
    two.post("/api/session", json=ids)
    assert one.cookies["curate_session"] == two.cookies["curate_session"]


def test_without_a_session_there_is_no_slate(study: Study):
    assert client_of(study).get("/api/slate").status_code == 401


def test_a_slate_stays_the_same_until_it_is_answered(study: Study):
    client = rater_of(study)
    first, second = client.get("/api/slate").json(), client.get("/api/slate").json()
    assert first == second
    assert first["state"] == "picking" and first["k"] == len(first["items"]) == 4
    assert [item["position"] for item in first["items"]] == [0, 1, 2, 3]


def test_upcoming_is_the_slate_after_this_one(study: Study):
    client = rater_of(study)
    turn = client.get("/api/slate").json()
    assert turn["upcoming"]["slate_id"] != turn["slate_id"]
    following = client.post("/api/pick", json=answer(turn)).json()["next"]
    assert following["slate_id"] == turn["upcoming"]["slate_id"]
    assert following["items"] == turn["upcoming"]["items"]


def test_a_pick_is_stored_as_it_was_given(study: Study):
    client = rater_of(study)
    turn = client.get("/api/slate").json()
    saved = client.post("/api/pick", json=answer(turn, 2)).json()
    assert (saved["saved"], saved["duplicate"]) == (True, False)
    assert saved["progress"] == {"done": 1, "total": 24, "t": 0, "yours": 1}
    (row,) = picks(study)
    stored = {key: row[key] for key in ("id", "slate_id", "outcome", "position", "rt_ms", "input", "viewport")}
    assert stored == {"id": saved["pick_id"], **answer(turn, 2)}


def test_none_of_these_has_no_position_and_moves_no_progress(study: Study):
    client = rater_of(study)
    turn = client.get("/api/slate").json()
    saved = client.post("/api/pick", json=answer(turn, None, outcome="none")).json()
    assert saved["progress"]["done"] == 0 and saved["progress"]["yours"] == 1
    assert [(row["outcome"], row["position"]) for row in picks(study)] == [("none", None)]


def test_a_repeated_pick_gives_the_first_ones_id(study: Study):
    client = rater_of(study)
    turn = client.get("/api/slate").json()
    first = client.post("/api/pick", json=answer(turn)).json()
    again = client.post("/api/pick", json=answer(turn, rt_ms=5_000)).json()
    assert again["duplicate"] and again["pick_id"] == first["pick_id"]
    assert [row["rt_ms"] for row in picks(study)] == [812]


@pytest.mark.parametrize("other", [{"position": 2}, {"outcome": "none", "position": None}])
def test_a_contradicting_pick_is_refused(study: Study, other: dict):
    client = rater_of(study)
    turn = client.get("/api/slate").json()
    client.post("/api/pick", json=answer(turn, 1))
    assert client.post("/api/pick", json=answer(turn) | other).status_code == 409
    assert [row["position"] for row in picks(study)] == [1]


def test_another_sessions_slate_is_unknown(study: Study):
    mine, theirs = rater_of(study), rater_of(study)
    turn = theirs.get("/api/slate").json()
    assert mine.post("/api/pick", json=answer(turn)).status_code == 404
    assert mine.post("/api/pick", json=answer({"slate_id": 10**9})).status_code == 404
    assert picks(study) == []


def test_two_raters_get_different_slates(study: Study):
    seen = [rater_of(study).get("/api/slate").json() for _ in range(3)]
    ids = [slate["slate_id"] for turn in seen for slate in (turn, turn["upcoming"])]
    assert len(set(ids)) == 6


def test_a_lapsed_lease_is_refused_and_the_slate_goes_to_someone_else(study: Study):
    late, other = rater_of(study), client_of(study)
    turn = late.get("/api/slate").json()
    with study.store.write() as db:
        db.conn.execute("UPDATE slate SET lease_until = ? WHERE lease_until IS NOT NULL", [timestamp(-1)])
    assert late.post("/api/pick", json=answer(turn)).status_code == 410
    other.post("/api/session")
    assert other.get("/api/slate").json()["slate_id"] == turn["slate_id"]
    assert late.post("/api/pick", json=answer(turn)).status_code == 410
    assert picks(study) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slate_id", "one"),
        ("slate_id", 2**63),
        ("outcome", "like"),
        ("position", -1),
        ("position", 4),
        ("position", 1.5),
        ("position", None),
        ("rt_ms", -1),
        ("rt_ms", 10**9),
        ("input", "x" * 41),
        ("viewport", 7),
        ("extra", 1),
    ],
)
def test_a_malformed_pick_names_the_field_and_stores_nothing(study: Study, field: str, value: Any):
    client = rater_of(study)
    turn = client.get("/api/slate").json()
    response = client.post("/api/pick", json=answer(turn) | {field: value})
    assert response.status_code == 422
    assert field in response.json()["detail"][0]["loc"]
    assert picks(study) == []
    assert client.get("/api/slate").json()["slate_id"] == turn["slate_id"]


def test_withdrawing_ends_the_session_and_keeps_its_rows(study: Study):
    client = rater_of(study)
    client.post("/api/pick", json=answer(client.get("/api/slate").json()))
    assert client.post("/api/withdraw").json()["state"] == "withdrawn"
    assert client.get("/api/slate").json()["state"] == "withdrawn"
    assert len(picks(study)) == 1
    assert queries.count_curation_picks(study.store, after=0) == 0


def test_images_are_named_by_their_content_and_cached_for_good(study: Study):
    client = rater_of(study)
    url = client.get("/api/slate").json()["items"][0]["image"]
    response = client.get(url)
    assert hashlib.sha256(response.content).hexdigest() == url.removeprefix("/img/").removesuffix(".png")
    assert response.headers["content-type"] == "image/png"
    assert "immutable" in response.headers["cache-control"]
    assert client.get(f"/img/{'0' * 64}.png").status_code == 404


def test_an_answer_with_a_slate_is_never_cached(study: Study):
    assert rater_of(study).get("/api/slate").headers["cache-control"] == "no-store"


def test_no_generation_yet_means_waiting(make_study):
    turn = rater_of(make_study(generations=0, phase="preparing")).get("/api/slate").json()
    assert turn["state"] == "waiting" and turn["worker"]["phase"] == "preparing"
    assert turn["worker"]["left_s"] == 18


def test_while_a_generation_trains_the_slates_are_audit_slates(make_study):
    study = make_study(phase="training")
    turn = rater_of(study).get("/api/slate").json()
    assert study.store.value("SELECT purpose FROM slate WHERE id = ?", [turn["slate_id"]]) == "audit"


def test_generations_are_shown_only_where_the_study_says_so(make_study):
    hidden, shown = make_study(generations=3), make_study("app.reveal=true", generations=3)
    assert client_of(hidden).get("/api/generations").status_code == 404
    found = client_of(shown).get("/api/generations").json()
    assert (found["first"]["t"], found["latest"]["t"]) == (0, 2)
    moved = {key: found["moved"][key] for key in ("name", "before", "after")}
    assert moved == {"name": "3", "before": pytest.approx(0.1), "after": pytest.approx(0.2)}
    assert [(sheet["t"], bool(sheet["moved"])) for sheet in found["generations"]] == [(0, False), (1, True), (2, True)]
    assert client_of(hidden).get("/api/way.png").status_code == 404
    way = client_of(shown).get("/api/way.png?lang=fr")
    assert way.headers["content-type"] == "image/png" and "curate.png" in way.headers["content-disposition"]
    assert Image.open(io.BytesIO(way.content)).size == (1200, 630)
    assert client_of(shown).get(found["latest"]["grid"]).status_code == 200


def test_generations_of_an_empty_study(make_study):
    found = client_of(make_study("app.reveal=true", generations=0)).get("/api/generations").json()
    assert found == {"first": None, "latest": None, "moved": None}
    assert client_of(make_study("app.reveal=true", generations=0)).get("/api/way.png").status_code == 404


def test_healthz_tells_the_generation_and_the_worker(study: Study):
    assert client_of(study).get("/healthz").json() == {"ok": True, "t": 0, "worker": "idle"}
