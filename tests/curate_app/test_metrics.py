"""GET /metrics: who may read it, that its figures are right, and that it tells nothing about anyone."""

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from curate_app.web.app import build_app
from curate_app.web.monitoring import BOUNDS_S, route_of
from data.store import queries
from loop.study import Study

RECOUNT = """SELECT rater_kind AS kind, purpose, outcome, generation AS t, count(*) AS n FROM v_choice_long
    WHERE position = 0 GROUP BY 1, 2, 3, 4"""
LINE = re.compile(r"(curate_[a-z_]+)(?:\{(.*)\})? (\S+)")


def client_of(study: Study, address: str = "127.0.0.1", password: str | None = None) -> TestClient:
    app = build_app(study, admin_open=password is None, password=password)
    return TestClient(app, base_url="http://localhost", client=(address, 50_000))


def figures(client: TestClient) -> dict[str, float]:
    """Every sample of the answer by its name and labels."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for line in response.text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            key = match[1] + (f"{{{match[2]}}}" if match[2] else "")
            assert key not in found
            found[key] = float(match[3])
    return found


def pick_once(client: TestClient, outcome: str = "pick") -> None:
    client.post("/api/session", json={})
    turn = client.get("/api/slate").json()
    position = {"position": 0} if outcome == "pick" else {}
    answer = client.post("/api/pick", json={"slate_id": turn["slate_id"], "outcome": outcome, **position})
    assert answer.status_code == 200


def test_figures_follow_what_happens(study: Study):
    client = client_of(study)
    before = figures(client)
    assert before['curate_slates_free{purpose="curation",t="0"}'] == 12
    assert before["curate_raters_now"] == 0
    assert before["curate_generation"] == 0
    assert before['curate_worker_phase{phase="idle"}'] == 1
    assert before['curate_worker_phase{phase="training"}'] == 0
    pick_once(client)
    pick_once(client, "none")
    after = figures(client)
    for outcome in ("pick", "none"):
        assert after[f'curate_picks_total{{kind="human",outcome="{outcome}",purpose="curation",t="0"}}'] == 1
    assert after["curate_raters_now"] == 1
    assert after['curate_sessions{reached="arrived"}'] == 1
    assert after['curate_request_seconds_count{route="/api/pick",status="200"}'] == 2
    assert after['curate_request_seconds_bucket{le="+Inf",route="/api/pick",status="200"}'] == 2
    assert after['curate_request_seconds_sum{route="/api/pick",status="200"}'] > 0
    assert after['curate_request_seconds_count{route="/metrics",status="200"}'] == 1


def test_prometheus_reads_it_and_gets_no_timestamps(study: Study):
    client = client_of(study)
    pick_once(client)
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    assert {name: family.type for name, family in families.items()} == {
        "curate_picks": "counter", "curate_picks_undone": "counter", "curate_sessions": "gauge",
            "curate_raters_now": "gauge",
        "curate_slates_free": "gauge", "curate_generation": "gauge", "curate_worker_phase": "gauge",
        "curate_worker_age_seconds": "gauge", "curate_limited": "counter", "curate_request_seconds": "histogram",
    }  # fmt: skip
    samples = [sample for family in families.values() for sample in family.samples]
    assert not [sample for sample in samples if sample.timestamp or sample.name.endswith("_created")]
    bounds = {sample.labels["le"] for sample in samples if sample.name == "curate_request_seconds_bucket"}
    assert bounds == {*map(str, BOUNDS_S), "+Inf"}


def test_two_apps_count_apart(make_study: Callable[..., Study]):
    busy, idle = client_of(make_study()), client_of(make_study())
    pick_once(busy)
    assert not [name for name in figures(idle) if "/api/pick" in name or "curate_picks_total" in name]


def test_a_tally_goes_on_from_what_it_counted(study: Study):
    client = client_of(study)
    for _ in range(3):
        pick_once(client)
        assert queries.tally(study.store) == list(study.store.rows(RECOUNT))


def test_picks_that_are_taken_back_are_counted_by_no_one(study: Study):
    store = study.store
    session = store.add_session("s" * 22, store.add_rater("human"))
    slate = store.lease(session, ("curation",), 0, 60)
    assert slate
    with pytest.raises(ZeroDivisionError), store.write():
        store.add_picks([(slate.id, session, 0, {})])
        assert [row["n"] for row in queries.tally(store)] == [1]
        raise ZeroDivisionError
    assert queries.tally(store) == []


def test_refused_requests_are_counted(make_study: Callable[..., Study]):
    client = client_of(make_study("app.requests_per_session=0.01"))
    client.post("/api/session", json={})
    assert [client.get("/api/slate").status_code for _ in range(3)] == [200, 429, 429]
    found = figures(client)
    assert found['curate_limited_total{by="session"}'] == 2
    assert found['curate_request_seconds_count{route="/api/slate",status="429"}'] == 2


def test_only_this_machine_or_the_password_reads_it(study: Study):
    stranger = client_of(study, "203.0.113.9", "open sesame")
    assert stranger.get("/metrics").status_code == 401
    for wrong in ("guess", "", "open sesame "):
        assert stranger.get("/metrics", auth=("prometheus", wrong)).status_code == 401
    for header in ("Basic", "Basic x", "Basic ////", "Bearer open sesame"):
        assert stranger.get("/metrics", headers={"Authorization": header}).status_code == 401
    assert stranger.get("/metrics", auth=("prometheus", "open sesame")).status_code == 200
    local = client_of(study, "::1", "open sesame")
    assert local.get("/metrics").status_code == 200
    assert local.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 401
    assert client_of(study, "203.0.113.9").get("/metrics").status_code == 401


def test_it_names_no_session_no_rater_and_no_address(study: Study):
    client = client_of(study)
    pick_once(client)
    client.get("/secret-looking-path/%22%7D%0Aevil 1")
    client.get("/img/" + "a" * 64 + ".png")
    text = client.get("/metrics").text
    session = study.store.value("SELECT id FROM session")
    for word in (session, client.cookies["curate_session"], "127.0.0.1", "evil", "secret", "a" * 64):
        assert word not in text


@pytest.mark.parametrize(
    ("path", "route"),
    [("/api/pick", "/api/pick"), ("/api/pick/", "other"), ("/api/x", "other"), ("/img/x.png", "/img/"), ("/", "/"),
     ("/admin/gradio_api/info", "/admin/"), ("/wp-login.php", "other")],
)  # fmt: skip
def test_routes_are_few_whatever_is_asked_for(path: str, route: str):
    assert route_of(path) == route
