"""What the hostile tests throw at a server, and the account they keep of what it acknowledged."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import requests

from curate_app.rater.sessions import session_name
from data.records import OUTCOMES
from data.store import queries
from loop.study import Study

Act = tuple[str, dict[str, Any] | None]
TEXTS = (
    "' OR '1'='1' --", "'; DROP TABLE pick; --", '") UNION SELECT png FROM image --', "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>", "{{7*7}}", "${7*7}", "%s%n%x", "../../study.db", "..%2f..%2fsecrets.toml",
    "/etc/passwd\0.png", "\0", "\ud800", "\u202egnp", "\r\nSet-Cookie: curate_session=x", "=cmd|' /C calc'!A0",
    "A" * 5_000, "A" * 60_000, "", " ", "null", "-1", "1e309", "curate", "ASSIGNMENT_ID_NOT_AVAILABLE",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *TEXTS, None, True, -1, 0, 1.5, 2**31, 2**63 - 1, 2**63, 10**400, float("nan"), float("inf"), [], [1], {},
    {"$ne": 1},
)  # fmt: skip
BODIES = (
    b"", b"null", b"[]", b"7", b'"text"', b"{", b'{"a":', b"\xff\xfe", b"\x1f\x8b\x08\x00",
    b'{"slate_id":1,"slate_id":2}', b"[" * 60_000, b'{"a":' * 9_000, b'{"slate_id":' + b"9" * 5_000 + b"}",
    b'{"agreed": true}\0', b"a=1&b=2",
)  # fmt: skip
TYPES = ("application/json", "application/json; charset=utf-16", "text/plain", "multipart/form-data", "", "x" * 300)
PATHS = (
    "/img/../study.db", "/img/%2e%2e%2fstudy.db", "/img/" + "0" * 64 + ".png", "/img/' OR 1.png", "/img/%00.png",
    "/static/../../study.toml", "/static/..%2f..%2fsecrets.toml", "/gradio_api/file=study.db", "/gradio_api/upload",
    "/gradio_api/proxy=http://localhost/", "/admin/%2e%2e/api/slate", "/api/pick/1", "/api/slate?session=1'--",
    "/api/generations", "/openapi.json", "/docs", "/mcp", "/" + "a" * 8_000, "/%ff%fe", "//etc/passwd", "/healthz",
)  # fmt: skip
FIELDS = {
    "session": ("panel", "rater_id", "study_id", "session_id", "assignment_id", "token"),
    "consent": ("agreed", "panel", "rater_id", "session_id", "token"),
    "step": ("step", "answer"),
    "pick": ("slate_id", "outcome", "position", "rt_ms", "input", "viewport", "blurs"),
    "withdraw": ("session_id",),
}
SOUND: dict[str, dict[str, Any]] = {
    "session": {}, "consent": {"agreed": True}, "step": {"step": "closing", "answer": "x"},
    "pick": {"slate_id": 1, "outcome": "pick", "position": 0}, "withdraw": {},
}  # fmt: skip


def injections() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests by hand: every odd value in every field, odd bodies and types on every route, odd paths and methods."""
    for route, fields in FIELDS.items():
        for field in fields:
            for value in VALUES:
                yield "POST", f"/api/{route}", {"data": json.dumps({**SOUND[route], field: value})}
        for body in BODIES:
            yield "POST", f"/api/{route}", {"data": body}
        for type_ in TYPES:
            yield "POST", f"/api/{route}", {"data": json.dumps(SOUND[route]), "headers": {"Content-Type": type_}}
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"):
            yield method, f"/api/{route}", {}
    for path in PATHS:
        yield "GET", path, {}
        yield "POST", path, {"data": "{}"}


class Attacker:
    """Sends requests to a real server and keeps account of all that was acknowledged.

    Attributes:
        sent: requests that reached the server.
        picks: acknowledged picks by id: slate, outcome, position.
        sessions: names of sessions that were told.
        slates: sessions that were shown each slate.
    """

    def __init__(self, study: Study, url: str):
        self.study, self.url = study, url
        self.http = requests.Session()
        self.sent = self.declined = 0
        self.picks: dict[int, tuple] = {}
        self.sessions: set[str] = set()
        self.slates: dict[int, set[str]] = defaultdict(set)

    def send(self, method: str, path: str, cookie: str | None = None, **more: Any) -> requests.Response | None:
        """One request; None when it can't even be written as HTTP.

        Raises:
            AssertionError: the server broke.
        """
        self.http.cookies.clear()
        headers = {"Content-Type": "application/json", **(more.pop("headers", None) or {})}
        if cookie is not None:
            headers["Cookie"] = f"curate_session={cookie}"
        try:
            answer = self.http.request(
                method, self.url + path, headers=headers, timeout=60, allow_redirects=False, **more
            )
        except (UnicodeEncodeError, requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL):
            return None
        self.sent += 1
        assert answer.status_code < 500, (method, path, cookie, more, answer.text)
        if answer.status_code == 200 and path.startswith("/api/") and method in ("GET", "POST"):
            self._account(answer, cookie, more)
        return answer

    def open(self) -> tuple[str, dict[str, Any]]:
        """A session of one's own: its cookie, and the turn it begins with."""
        answer = self.send("POST", "/api/consent", json={"agreed": True})
        assert answer is not None and answer.status_code == 200
        return answer.cookies["curate_session"], answer.json()

    def _account(self, answer: requests.Response, cookie: str | None, sent: dict[str, Any]) -> None:
        told = answer.json()
        if told.get("session"):
            self.sessions.add(told["session"])
        self.declined += told.get("state") == "declined"
        if told.get("saved"):
            body = sent["json"] if "json" in sent else json.loads(sent["data"])
            self.picks[told["pick_id"]] = (body["slate_id"], body["outcome"], body.get("position"))
            told = told["next"]
        session = (answer.cookies.get("curate_session") or cookie or "").partition(".")[0]
        for slate in (told, told.get("upcoming") or {}):
            if "slate_id" in slate:
                self.slates[slate["slate_id"]].add(session)

    def check(self) -> None:
        """What is stored is what was acknowledged, each slate was shown to its owner alone, and nothing is broken."""
        store = self.study.store
        stored = store.rows(
            """SELECT pick.id, slate_id, outcome, position, session_id = leased_to AS own
            FROM pick JOIN slate ON slate.id = slate_id"""
        )
        kept = {row["id"]: row for row in stored}
        assert {id_: (row["slate_id"], row["outcome"], row["position"]) for id_, row in kept.items()} == self.picks
        assert all(row["own"] for row in kept.values())
        sessions = [row["id"] for row in store.rows("SELECT session.id FROM session")]
        assert {session_name(session) for session in sessions} == self.sessions
        assert len(store.events(kinds=("declined",))) == self.declined
        for slate, shown_to in self.slates.items():
            owner = store.value("SELECT leased_to FROM slate WHERE id = ?", [slate])
            assert shown_to == {owner}, (slate, shown_to, owner)
        assert store.value("SELECT count(*) FROM identity") == store.value("SELECT count(panel) FROM rater")
        assert store.value("SELECT count(*) FROM rater WHERE kind != 'human'") == 0
        assert store.faults() == [] and queries.uneven_slates(store) == [] and queries.lost_picks(store) == []


def wander(attacker: Attacker, n: int, rng: random.Random) -> None:
    """Sessions that do anything in any order, with real ids: their own slates, others', answered ones, twice."""
    turns = dict(attacker.open() for _ in range(6))
    seen = [1]
    for _ in range(n):
        cookie = rng.choice(list(turns))
        route, body = rng.choice((_any_pick, _own_pick, _own_pick, _step, _step, _look, _leave))(
            turns[cookie], seen, rng
        )
        answer = attacker.send("POST" if body is not None else "GET", f"/api/{route}", cookie, json=body)
        if answer is not None and answer.status_code == 200:
            turns[cookie] = answer.json().get("next", answer.json())
            seen.append(turns[cookie].get("slate_id", 1))
        if turns[cookie]["state"] in ("finished", "failed", "withdrawn"):
            del turns[cookie]
            turns.update([attacker.open()])


def _any_pick(_turn: dict[str, Any], seen: list[int], rng: random.Random) -> Act:
    pick = {"slate_id": rng.choice(seen[-12:]), "outcome": rng.choice(OUTCOMES), "position": rng.randrange(5)}
    return "pick", pick


def _own_pick(turn: dict[str, Any], seen: list[int], rng: random.Random) -> Act:
    slate = rng.choice((turn, turn.get("upcoming") or turn))
    return "pick", {"slate_id": slate.get("slate_id", seen[-1]), "outcome": "pick", "position": rng.randrange(4)}


def _step(_turn: dict[str, Any], _seen: list[int], rng: random.Random) -> Act:
    step = rng.choice(("instructions", "question", "question", "closing"))
    return "step", {"step": step, "answer": rng.choice(("The best", "The best", "Any"))}


def _look(_turn: dict[str, Any], _seen: list[int], rng: random.Random) -> Act:
    return ("slate", None) if rng.random() < 0.5 else ("session", {})


def _leave(_turn: dict[str, Any], _seen: list[int], rng: random.Random) -> Act:
    return ("withdraw", {}) if rng.random() < 0.1 else ("consent", {"agreed": rng.random() < 0.5})
