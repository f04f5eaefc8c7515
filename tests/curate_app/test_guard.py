"""The door of /admin, the fence around Gradio's endpoints, and the headers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from curate_app.assets import STATIC_URL
from curate_app.processes import admin_password
from curate_app.web.admin_auth import TRIES, AdminAuth
from curate_app.web.app import build_app, serve
from curate_app.web.security import DeadlineProtocol
from loop.study import Study, configure


@pytest.fixture
def closed(study: Study) -> TestClient:
    app = build_app(study, admin_open=False, password="open sesame")
    return TestClient(app, follow_redirects=False)


@pytest.fixture
def opened(study: Study) -> TestClient:
    app = build_app(study, admin_open=True, password=None)
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


def test_the_admin_page_sends_a_stranger_to_the_login(closed: TestClient):
    for path in ("/admin", "/admin/"):
        response = closed.get(path)
        assert (response.status_code, response.headers["location"]) == (303, "/admin/login")
    assert 'type="password"' in closed.get("/admin/login").text


@pytest.mark.parametrize(
    "path",
    ["config", "theme.css", "assets/x.js", "gradio_api/info", "gradio_api/startup-events", "gradio_api/heartbeat/x",
     "gradio_api/file=x", "gradio_api/queue/data", "login/x", "%2e%2e/admin/config", "loginx"],
)  # fmt: skip
def test_nothing_of_admin_answers_without_the_cookie(closed: TestClient, path: str):
    assert closed.get(f"/admin/{path}").status_code == 401
    closed.cookies.set("curate_admin", "guess")
    assert closed.get(f"/admin/{path}").status_code == 401


@pytest.mark.parametrize("path", ["run/predict", "queue/join", "call/refresh", "reset", "upload"])
def test_no_function_of_admin_can_be_called_without_the_cookie(closed: TestClient, path: str):
    assert closed.post(f"/admin/gradio_api/{path}", json={"data": [], "fn_index": 0}).status_code == 401


def test_the_right_password_opens_and_the_cookie_is_kept_from_scripts(closed: TestClient):
    response = closed.post("/admin/login", data={"password": "open sesame"})
    assert (response.status_code, response.headers["location"]) == (303, "/admin/")
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "path=/admin" in cookie
    assert "sesame" not in cookie
    assert closed.get("/admin/").status_code == 200
    assert closed.get("/admin/login").status_code == 303


@pytest.mark.parametrize("password", ["", "open", "open sesame ", "ö"])
def test_a_wrong_password_says_so(closed: TestClient, password: str):
    response = closed.post("/admin/login", data={"password": password})
    assert response.status_code == 401
    assert "That password is not right" in response.text
    assert "set-cookie" not in response.headers


def test_after_ten_wrong_passwords_even_the_right_one_waits():
    auth = AdminAuth("right")
    for _ in range(TRIES):
        assert not auth.is_locked_out("here")
        assert auth.login("wrong", "here") is None
    assert auth.is_locked_out("here")
    assert not auth.is_locked_out("elsewhere")


def test_a_door_needs_a_password(study: Study):
    with pytest.raises(ValueError, match="password"):
        build_app(study, admin_open=False, password=None)
    with pytest.raises(ValueError, match="password"):
        build_app(study, admin_open=False, password="")


def test_on_this_machine_the_admin_page_is_open(opened: TestClient):
    assert opened.get("/admin/").status_code == 200
    assert opened.get("/admin/login").headers["location"] == "/admin/"


@pytest.mark.parametrize("path", ["upload", "queue/join", "run/predict", "call/x", "component_server", "vibe-edit"])
def test_the_raters_page_offers_no_function_of_gradio(opened: TestClient, path: str):
    assert opened.post(f"/gradio_api/{path}", json={}).status_code == 404


@pytest.mark.parametrize(
    "path", ["docs", "gradio_api/file=/etc/passwd", "gradio_api/proxy=x", "gradio_api/openapi.json"]
)
def test_files_proxies_and_api_pages_are_out_of_reach(opened: TestClient, path: str):
    assert opened.get(f"/{path}").status_code == 404
    assert opened.get(f"/admin/{path}").status_code == 404


def test_large_requests_are_refused_before_they_are_read(opened: TestClient):
    assert opened.post("/api/pick", content=b"x" * 70_000).status_code == 413
    assert opened.post("/api/pick", content=iter([b"x"])).status_code == 413


def test_every_answer_carries_the_headers(opened: TestClient):
    for path in ("/", "/admin/", "/api/slate", "/healthz", f"{STATIC_URL}/rater.js"):
        headers = opened.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_static_files_are_cached_for_good_under_their_version(opened: TestClient):
    response = opened.get(f"{STATIC_URL}/rater.js")
    assert "immutable" in response.headers["cache-control"]
    assert "javascript" in response.headers["content-type"]
    assert opened.get(f"{STATIC_URL}/../assets.py").status_code == 404


def test_the_pages_name_no_other_host_to_load_from(opened: TestClient):
    for path in ("/", "/admin/", "/theme.css"):
        text = opened.get(path).text
        loaded = re.findall(r"""(?:<script[^>]+src|<link[^>]+href|url\()=?["']?(https?:[^"')]+)""", text)
        assert [url for url in loaded if not url.startswith("http://localhost")] == []


def test_without_a_password_the_admin_page_opens_under_this_machines_own_name_alone(study: Study):
    client = TestClient(build_app(study, admin_open=True, password=None), base_url="http://study.example")
    assert client.get("/admin/").status_code == 403  # a name that an attacker let point here
    for proxied in ({"X-Forwarded-For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}):
        assert client.get("/admin/", headers={"Host": "localhost", **proxied}).status_code == 403
    for host in ("localhost", "127.0.0.1:7860", "[::1]:7860"):
        assert client.get("/admin/", headers={"Host": host}).status_code == 200
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_or_a_plain_text_is_no_json(opened: TestClient, kind: str):
    for path in ("session", "pick", "withdraw", "what"):
        assert opened.post(f"/api/{path}", content=b"{}", headers={"Content-Type": kind}).status_code == 415
    assert opened.post("/api/session", content=b"{}").status_code == 415
    assert opened.post("/api/session", headers={"Content-Type": kind}).status_code == 415


def test_json_passes_with_parameters_and_in_capitals(opened: TestClient):
    for kind in ("application/json", "Application/JSON; charset=utf-8"):
        assert opened.post("/api/session", content=b"{}", headers={"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9", "https://localhost.evil.example", "http://[", ""]
)
def test_what_another_site_sends_is_refused(opened: TestClient, origin: str):
    headers = {"Origin": origin}
    assert opened.post("/api/session", json={}, headers=headers).status_code == 403
    assert opened.post("/admin/login", data={"password": "x"}, headers=headers).status_code == 403
    assert opened.post("/admin/gradio_api/queue/join", json={}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("origin", "host"),
    [("http://localhost", "localhost"), ("https://a.example", "a.example"), ("https://a.example", "a.example:443"),
     ("https://Study.Example:8443", "study.example:8443")],
)  # fmt: skip
def test_what_our_own_page_sends_passes(opened: TestClient, origin: str, host: str):
    assert opened.post("/api/session", json={}, headers={"Origin": origin, "Host": host}).status_code == 200


def visitor(app: ASGIApp) -> TestClient:
    return TestClient(app, base_url="http://localhost")


def test_a_session_that_asks_too_often_waits_and_others_do_not(make_study: Callable[..., Study]):
    app = build_app(make_study("app.requests_per_session=0.01"), admin_open=True, password=None)
    greedy, patient = visitor(app), visitor(app)
    for client in (greedy, patient):
        assert client.post("/api/session", json={}).status_code == 200
    answers = [greedy.get("/api/slate") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert 90 <= int(answers[-1].headers["retry-after"]) <= 100
    assert greedy.get("/healthz").status_code == 200
    assert patient.get("/api/slate").status_code == 200


@pytest.mark.parametrize("forwarded", [False, True])
def test_an_address_that_opens_sessions_without_end_waits(make_study: Callable[..., Study], forwarded: bool):
    study = make_study("app.requests_per_address=0.01")
    app = build_app(study, admin_open=True, password=None)
    codes = []
    for number in range(3):  # a forwarded address is not believed from a stranger
        headers = {"X-Forwarded-For": f"203.0.113.{number}"} if forwarded else {}
        codes.append(visitor(app).post("/api/session", json={}, headers=headers).status_code)
    assert codes == [200, 429, 429]
    assert study.store.value("SELECT count(*) FROM session") == 1


@pytest.mark.parametrize(
    ("trusted", "codes"), [((), [200, 429]), (("127.0.0.1",), [200, 200]), (("10.0.0.0/8",), [200, 429])]
)
def test_forwarded_addresses_are_believed_from_a_named_proxy_alone(
    make_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch, trusted: tuple[str, ...], codes: list[int]
):
    configs: list[uvicorn.Config] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self: configs.append(self.config))
    monkeypatch.setattr("sys.setswitchinterval", lambda _: None)
    app = build_app(make_study("app.requests_per_address=0.01"), admin_open=True, password=None)
    serve(app, "127.0.0.1", 0, trusted_proxies=trusted)
    (config,) = configs
    config.load()
    assert config.http_protocol_class is DeadlineProtocol
    assert (config.ws_protocol_class, config.log_level) == (None, "error")  # made-up requests leave no line in the log
    loaded: Any = config.loaded_app
    client = TestClient(loaded, base_url="http://localhost", client=("127.0.0.1", 50_000))
    answers = []
    for number in range(2):
        client.cookies.clear()
        headers = {"X-Forwarded-For": f"203.0.113.{number}", "X-Forwarded-Proto": "https"}
        answers.append(client.post("/api/session", json={}, headers=headers))
    assert [answer.status_code for answer in answers] == codes
    assert ("secure" in answers[0].headers["set-cookie"].lower()) is (codes == [200, 200])


def test_behind_a_proxy_this_machines_own_address_needs_a_password_too(tmp_path: Path):
    assert admin_password(tmp_path, "", "127.0.0.1") is None
    assert admin_password(tmp_path, "", "127.0.0.1", proxied=True)
    assert (tmp_path / "secrets.toml").stat().st_mode & 0o777 == 0o600


def test_a_content_length_that_is_no_sensible_number_is_refused(opened: TestClient):
    for length in ("9" * 5_000, "1" * 10, "-1", "²", "0x10", "1_000", " "):
        headers = {b"content-type": b"application/json", b"content-length": length.encode()}
        assert opened.post("/api/session", content=b"{}", headers=headers).status_code == 413
        assert opened.post("/admin/login", content=b"", headers=headers).status_code == 413


def test_no_other_sites_script_may_read_an_answer(opened: TestClient):
    for path in ("/", "/config", "/theme.css", "/admin/config", "/api/slate", "/healthz"):
        for origin in ("http://evil.example", "null", "http://localhost"):
            for method in ("GET", "OPTIONS"):
                headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
                answer = opened.request(method, path, headers=headers)
                assert not [name for name in answer.headers if name.startswith("access-control")]


def test_what_gradio_serves_beside_the_pages_is_out_of_reach(opened: TestClient):
    for path in (
        "openapi.json", "docs", "redoc", "monitoring", "monitoring/summary", "user", "token", "login_check", "app_id",
        "svelte/x.js", "gradio_api/openapi.json", "gradio_api/stream/a/b/c/playlist.m3u8", "runs", "pwa_icon", "x",
    ):  # fmt: skip
        assert opened.get(f"/{path}").status_code == 404
        assert opened.get(f"/admin/{path}").status_code == 404


def test_all_ways_to_a_session_cost_the_same(make_study: Callable[..., Study]):
    study = make_study("app.requests_per_address=20", "journey.consent=Agree?")
    app = build_app(study, admin_open=True, password=None)
    passed = {}
    for number, (path, body) in enumerate((("session", {}), ("consent", {"agreed": True}), ("consent/", {}))):
        client = TestClient(app, base_url="http://localhost", client=(f"203.0.113.{number}", 50_000))
        codes = []
        for _ in range(10):
            client.cookies.clear()
            codes.append(client.post(f"/api/{path}", json=body, follow_redirects=False).status_code)
        passed[path] = len([code for code in codes if code != 429])
    assert set(passed.values()) == {2}


def test_made_up_cookies_are_no_way_around_the_addresss_limit(make_study: Callable[..., Study]):
    app = build_app(make_study("app.requests_per_address=1"), admin_open=True, password=None)
    client = visitor(app)
    codes = []
    for number in range(10):
        client.cookies.clear()
        client.cookies.set("curate_session", f"{number:022}.{'A' * 43}")
        codes.append(client.get("/api/slate").status_code)
    assert codes == [401] * 2 + [429] * 8


def test_no_way_to_write_a_cookie_is_a_way_around_the_sessions_limit(make_study: Callable[..., Study]):
    client = visitor(build_app(make_study("app.requests_per_session=0.2"), admin_open=True, password=None))
    client.post("/api/session", json={})
    cookie = f"curate_session={client.cookies['curate_session']}"
    quoted = f'curate_session="{client.cookies["curate_session"]}"'
    client.cookies.clear()
    for written in ([cookie], [quoted], ["curate_session=x", cookie], [f"curate_session=x; {cookie}"]):
        codes = [client.get("/api/slate", headers=[("Cookie", one) for one in written]).status_code for _ in range(2)]
        assert codes == ([200, 429] if written == [cookie] else [429, 429])


def test_the_head_of_healthz_is_as_good_as_all_of_it(opened: TestClient):
    answer = opened.head("/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


def test_an_address_that_a_client_wrote_before_the_proxys_is_not_believed(make_study: Callable[..., Study]):
    app = build_app(make_study("app.requests_per_address=0.01"), admin_open=True, password=None)
    proxied: Any = ProxyHeadersMiddleware(app, trusted_hosts=["127.0.0.1", "10.0.0.0/8"])  # as `serve` sets it
    client = TestClient(proxied, base_url="http://localhost", client=("127.0.0.1", 50_000))
    codes = []
    for number in range(3):
        client.cookies.clear()
        headers = {"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7, 10.1.2.3"}
        codes.append(client.post("/api/session", json={}, headers=headers).status_code)
    assert codes == [200, 429, 429]


@pytest.mark.parametrize("proxies", ['["*"]', '["0.0.0.0/0"]', '["127.0.0.1", "::/0"]'])
def test_nobody_can_trust_every_proxy(proxies: str):
    with pytest.raises(ValueError, match="trusts everyone"):
        configure("digits", [f"app.trusted_proxies={proxies}"])


@pytest.mark.parametrize("proxy", ["10.0.0.1/8", "localhost", "", "10.0.0.300", "10.0.0.1:80"])
def test_a_proxy_that_could_never_match_is_refused(proxy: str):
    with pytest.raises(ValueError, match="trusted_proxies"):
        configure("digits", [f'app.trusted_proxies=["{proxy}"]'])
    good = '["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32"]'
    assert len(configure("digits", [f"app.trusted_proxies={good}"]).app.trusted_proxies) == 4
