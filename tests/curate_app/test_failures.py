"""A bad day of the disk and the database: an honest answer to every request, nothing half stored, and all goes on."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.types import ASGIApp

from curate_app.assets import STATIC_URL
from curate_app.commands.status import check
from curate_app.console import run
from curate_app.web.app import build_app
from curate_app.web.monitoring import FAILING, Health
from data.store import connection
from loop.raters.journey import finish
from loop.study import Study
from tests.curate_app.journeys import Rater, app_of, rows

JOURNEY = ("journey.consent=Hello", "journey.closing=Bye?", "journey.picks=1")
WRITES = ("session", "consent", "step", "withdraw", "pick")


@contextmanager
def foreign_lock(study: Study) -> Iterator[None]:
    """Another program that writes and doesn't end."""
    other = sqlite3.connect(study.store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request waits for the write lock."""
    monkeypatch.setattr(connection, "PATIENCE_S", 0.0)
    monkeypatch.setattr(connection, "TRY_S", 0.001)


def health_of(study: Study, said: list[str] | None = None) -> Health:
    return Health(study.path, say=(said if said is not None else []).append)


def whole_app(study: Study, health: Health) -> ASGIApp:
    return build_app(study, admin_open=True, password=None, health=health)


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread does."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)


def test_while_sixty_wait_for_a_foreign_lock_everything_that_only_reads_is_served(make_study, serving, monkeypatch):
    study = make_study("journey.consent=Hello")
    monkeypatch.setattr(connection, "PATIENCE_S", 100.0)
    with serving(study) as address, ThreadPoolExecutor(60) as pool:
        with httpx.Client(base_url=address, timeout=30) as client, foreign_lock(study):
            consents = [
                pool.submit(httpx.post, f"{address}/api/consent", json={"agreed": True}, timeout=100) for _ in range(60)
            ]
            until(lambda: study.store._group_commit.size() == 60)
            for path in ("/", "/healthz", "/metrics", "/admin/", "/admin/login", f"{STATIC_URL}/rater.js"):
                assert client.get(path, follow_redirects=True).status_code == 200, path
            assert client.post("/api/session", json={}).json()["state"] == "consent"
            assert rows(study)["session"] == 0 and not any(one.done() for one in consents)
        assert {one.result(60).status_code for one in consents} == {200}
    assert rows(study)["session"] == 60


@pytest.mark.usefixtures("impatient")
def test_no_route_that_writes_does_so_under_a_foreign_lock_or_fails_bare(make_study):
    study = make_study(*JOURNEY)
    health = health_of(study)
    client = TestClient(whole_app(study, health), raise_server_exceptions=False)
    rater = Rater(study, client)
    turn = rater.begin()
    bodies = {
        "session": {}, "consent": {"agreed": True}, "step": {"step": "closing", "answer": "well"}, "withdraw": {},
        "pick": {"slate_id": turn["slate_id"], "outcome": "pick", "position": 1},
    }  # fmt: skip
    before = rows(study)
    with foreign_lock(study):
        answers = [client.post(f"/api/{route}", json=bodies[route]) for route in WRITES]
        answers += [client.get("/api/slate"), TestClient(client.app).post("/api/consent", json={"agreed": False})]
        assert rows(study) == before
    assert [answer.status_code for answer in answers] == [503] * (len(WRITES) + 2)
    assert all(int(answer.headers["retry-after"]) > 0 and "Saving" in answer.text for answer in answers)
    saved = rater.pick(turn)
    assert saved["saved"] and not saved["duplicate"] and saved["next"]["state"] == "closing"
    assert client.get("/healthz").json() == {"ok": True, "t": 0, "worker": "idle"}


def test_a_full_disk_is_507_and_one_sentence_until_there_is_room(study: Study):
    said: list[str] = []
    client = TestClient(whole_app(study, health_of(study, said)), raise_server_exceptions=False)
    rater = Rater(study, client)
    turn = rater.post("session")
    limit = study.store.value("PRAGMA page_count")
    study.store.together(lambda: study.store.db.conn.execute(f"PRAGMA max_page_count = {limit}"))
    answers = []
    while not answers or answers[-1].status_code == 200:  # until the last pages have no free byte
        stranger = TestClient(client.app, headers={"user-agent": "x" * 400}, raise_server_exceptions=False)
        answers.append(stranger.post("/api/session", json={}))
    refused = answers[-1]
    assert refused.status_code == 507 and "disk is full" in refused.text and refused.headers["retry-after"]
    assert rows(study)["session"] == rows(study)["rater"] == len(answers)  # the first rater's, and those let in
    assert said == [line for line in said if "IS FULL" in line] and len(said) == 1
    assert client.get("/healthz").status_code == 503
    study.store.together(lambda: study.store.db.conn.execute("PRAGMA max_page_count = 1000000"))
    assert stranger.post("/api/session", json={}).status_code == 200
    assert rater.pick(turn)["saved"]


def test_a_study_that_cannot_be_written_is_503_and_the_researcher_is_told_once_a_minute(study: Study):
    said: list[str] = []
    now = [0.0]
    health = health_of(study, said)
    health.clock = lambda: now[0]
    client = TestClient(whole_app(study, health), raise_server_exceptions=False)
    study.store.together(lambda: None)
    study.store.soon(lambda: None, lambda _: study.store.db.conn.execute("PRAGMA query_only = ON")).result(10)
    for _ in range(3):
        answer = client.post("/api/session", json={})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert len(said) == 1 and str(study.path) in said[0] and "CAN'T BE WRITTEN" in said[0]
    now[0] = 61
    client.post("/api/session", json={})
    assert len(said) == 2
    ill = client.get("/healthz")
    assert ill.status_code == 503 and ill.json()["ok"] is False and ill.json()["troubles"] == ["readonly"]
    study.store.close()  # what comes now opens it anew
    now[0] += 31
    assert client.get("/healthz").json()["ok"] is True
    assert client.post("/api/session", json={}).status_code == 200


def test_a_damaged_page_is_told_to_all_who_need_it_and_spoils_nothing_else(study: Study):
    store, said = study.store, []
    image = store.value("SELECT image_sha256 FROM sample")
    damage(store.path, "image")
    client = TestClient(whole_app(study, health_of(study, said)), raise_server_exceptions=False)
    answer = client.get(f"/img/{image}.png")
    assert answer.status_code == 503 and "damaged" in answer.text
    assert len(said) == 1 and "IS DAMAGED" in said[0] and "curate check" in said[0]
    ill = client.get("/healthz")
    assert ill.status_code == 503 and ill.json()["troubles"] == ["corrupt"]
    rater = Rater(study, client)
    assert rater.pick(rater.post("session"))["saved"]


def test_curate_check_says_of_a_damaged_database_what_to_do(study: Study, capsys: pytest.CaptureFixture[str]):
    damage(study.store.path, "image")
    study.store.close()
    assert run(lambda: check(study.path), debug=False) == 1
    said = capsys.readouterr().err
    assert "malformed" in said and "restore a backup" in said and "Traceback" not in said


def damage(path: Path, table: str) -> None:
    """Overwrites the pages of a table but its root, as a bad disk would."""
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = other.execute("PRAGMA page_size").fetchone()[0]
        root = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table]).fetchone()[0]
        (count,) = other.execute("PRAGMA page_count").fetchone()
    other.close()
    data = bytearray(path.read_bytes())
    start = (root - 1) * size
    assert data[start] == 5, "the root is no interior page: the table is too small"
    cells = int.from_bytes(data[start + 3 : start + 5], "big")
    for cell in range(cells):
        at = start + int.from_bytes(data[start + 12 + 2 * cell : start + 14 + 2 * cell], "big")
        page = int.from_bytes(data[at : at + 4], "big")
        assert 1 < page <= count
        data[(page - 1) * size : page * size] = b"\xde" * size
    path.write_bytes(data)


def free_all(study: Study) -> None:
    with study.store.write() as db:
        db.conn.execute("UPDATE slate SET retired_at = created_at")


@pytest.mark.parametrize(
    ("phase", "deaths", "slates", "stopped", "status", "troubles"),
    [
        ("idle", 0, True, False, 200, None),
        ("idle", 0, False, False, 200, None),  # the worker makes more
        ("idle", FAILING, True, False, 200, ["worker_failing"]),  # the pool lasts for a while
        ("idle", FAILING, False, False, 503, ["no_slates", "worker_failing"]),
        (None, 0, True, False, 200, None),
        (None, 0, False, False, 503, ["no_slates"]),
        (None, 0, False, True, 200, None),  # nobody needs any
    ],
)
def test_healthz_is_well_as_long_as_raters_are_served(
    make_study, phase, deaths: int, slates: bool, stopped: bool, status: int, troubles: list[str] | None
):
    study = make_study(phase=phase)
    if not slates:
        free_all(study)
    if stopped:
        finish(study.store)
    app = app_of(study, Health(study.path, deaths))
    answer = TestClient(app).get("/healthz")
    assert (answer.status_code, answer.json()["ok"]) == (status, status == 200)
    assert answer.json().get("troubles") == troubles


def test_a_lock_is_no_trouble_for_a_moment_and_a_full_disk_is_one_at_once(study: Study, monkeypatch):
    monkeypatch.setattr(connection, "TRY_S", 0.001)
    now = [0.0]
    study.store._group_commit._clock = lambda: now[0]
    client = TestClient(app_of(study, health_of(study)))
    with foreign_lock(study):
        assert client.get("/healthz").json()["ok"] is True
        now[0] = connection.PATIENCE_S
        ill = client.get("/healthz")
        assert (ill.status_code, ill.json()["troubles"]) == (503, ["locked"])
    assert client.get("/healthz").status_code == 200
    monkeypatch.setattr(Health, "disk_is_full", lambda self: True)
    assert client.get("/healthz").json()["troubles"] == ["full"]
