"""The researcher's password: one limiter for all places that ask for it, logins that end, and what /metrics trusts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers

from curate_app.web import admin_auth as module
from curate_app.web.admin_auth import LOGIN_S, TRIES, TRIES_WITHIN_S, AdminAuth, TooManyTriesError, is_local
from curate_app.web.app import build_app
from data.secret_file import password_hash
from loop.study import Study
from tests.curate_app.test_limits import Clock

PASSWORD = "open sesame"


@pytest.fixture
def from_address(study: Study) -> Callable[..., TestClient]:
    """Clients of one closed app, each at an address of its own."""
    app = build_app(study, admin_open=False, password=PASSWORD)
    return lambda address: TestClient(
        app, base_url="http://localhost", client=(address, 50_000), follow_redirects=False
    )


def log_in(client: TestClient, password: str = PASSWORD) -> int:
    return client.post("/admin/login", data={"password": password}).status_code


def scrape(client: TestClient, password: str = PASSWORD) -> int:
    return client.get("/metrics", auth=("prometheus", password)).status_code


def test_metrics_and_login_count_wrong_passwords_together(from_address: Callable[..., TestClient]):
    client = from_address("203.0.113.9")
    codes = [log_in(client, "wrong"), *(scrape(client, f"guess {n}") for n in range(200))]
    assert codes == [401] * TRIES + [429] * (201 - TRIES)
    assert scrape(client) == log_in(client) == 429
    answer = client.get("/metrics", auth=("prometheus", PASSWORD))
    assert 0 < int(answer.headers["retry-after"]) <= TRIES_WITHIN_S
    assert scrape(from_address("203.0.113.10")) == 200


def test_a_forged_forwarding_header_is_no_other_address(from_address: Callable[..., TestClient]):
    for place, header in enumerate(("X-Forwarded-For", "Forwarded", "X-Real-IP")):
        client = from_address(f"203.0.113.{place}")
        for n in range(TRIES):
            client.headers[header] = f"198.51.100.{n}"
            assert log_in(client, "wrong") == 401
        client.headers[header] = "198.51.100.99"
        assert log_in(client) == scrape(client) == 429


def test_a_scraper_without_a_password_locks_nobody_out(from_address: Callable[..., TestClient]):
    client = from_address("203.0.113.9")
    assert {client.get("/metrics").status_code for _ in range(3 * TRIES)} == {401}
    assert log_in(client) == 303


def test_addresses_of_one_ipv6_network_share_their_tries():
    auth = AdminAuth("right")
    for n in range(TRIES):
        assert not auth.knows("wrong", f"2001:db8:1:1:{n}::1")
    with pytest.raises(TooManyTriesError):
        auth.knows("right", "2001:db8:1:1:ffff::9")
    assert auth.knows("right", "2001:db8:1:2::1")


def test_the_right_password_costs_no_try_and_a_minute_heals():
    clock = Clock()
    auth = AdminAuth("right", clock)
    assert all(auth.knows("right", "here") for _ in range(3 * TRIES))
    for _ in range(TRIES):
        auth.knows("wrong", "here")
    assert auth.is_locked_out("here")
    clock.now += TRIES_WITHIN_S
    assert not auth.is_locked_out("here") and auth.knows("right", "here")


def test_guesses_sent_side_by_side_count_each():
    auth = AdminAuth("right")

    def guess(n: int) -> bool:
        try:
            return auth.knows(f"guess {n}", "here")
        except TooManyTriesError:
            return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(guess, range(200))) == 200 - TRIES


def test_a_hash_opens_for_its_password_alone(monkeypatch: pytest.MonkeyPatch):
    auth = AdminAuth(password_hash("päss \ud800"))
    assert auth.knows("päss \ud800", "here") and not auth.knows("pass", "here")
    monkeypatch.setattr(module, "HASHING", 1)
    busy = AdminAuth(password_hash("right"))
    with busy._hashing, pytest.raises(TooManyTriesError):  # nobody waits for a turn in a thread that raters need
        busy.knows("right", "here")
    assert busy.knows("right", "here") and not busy.is_locked_out("here")


def test_a_login_ends_by_itself(study: Study):
    clock = Clock()
    auth = AdminAuth(PASSWORD, clock)
    token = auth.login(PASSWORD, "here")
    headers = Headers({"cookie": f"curate_admin={token}"})
    clock.now += LOGIN_S - 1
    assert auth.lets_in(headers)
    clock.now += 1
    assert not auth.lets_in(headers)


def test_logging_out_ends_the_login_for_good(from_address: Callable[..., TestClient]):
    client, other = from_address("203.0.113.9"), from_address("203.0.113.9")
    assert log_in(client) == log_in(other) == 303
    assert "Log out" in client.get("/admin/config").text
    cookie = client.cookies["curate_admin"]
    foreign = client.post("/admin/logout", headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403 and client.get("/admin/").status_code == 200
    assert client.get("/admin/logout").status_code == 405
    answer = client.post("/admin/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login")
    assert "curate_admin" not in client.cookies
    client.cookies.set("curate_admin", cookie)
    assert client.get("/admin/").status_code == 303 and client.get("/admin/config").status_code == 401
    assert other.get("/admin/").status_code == 200


def test_an_open_page_has_no_way_to_log_out(study: Study):
    client = TestClient(build_app(study, admin_open=True, password=None), base_url="http://localhost")
    assert "Log out" not in client.get("/admin/config").text


def test_a_sign_of_a_proxy_or_another_name_is_not_this_machine(study: Study):
    closed, opened = (
        TestClient(
            build_app(study, admin_open=word is None, password=word),
            base_url="http://localhost",
            client=("127.0.0.1", 50_000),
        )
        for word in (PASSWORD, None)
    )
    assert closed.get("/metrics").status_code == opened.get("/admin/").status_code == 200
    for name, value in (
        ("X-Real-IP", "203.0.113.9"), ("Via", "1.1 proxy"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Server", "p"),
        ("Forwarded", "for=203.0.113.9"), ("CF-Connecting-IP", "203.0.113.9"), ("True-Client-IP", "203.0.113.9"),
        ("Host", "study.example"), ("Host", "localhost.evil.example"), ("Host", "127.0.0.1.evil.example:80"),
        ("Host", "["), ("Host", ""),
    ):  # fmt: skip
        assert closed.get("/metrics", headers={name: value}).status_code == 401
        assert opened.get("/admin/", headers={name: value}).status_code == 403


def test_http_1_0_is_a_proxys():
    assert is_local(Headers({"host": "localhost"}))
    assert not is_local(Headers({"host": "localhost"}), "1.0")


@pytest.mark.parametrize(
    "other", ['a={"x": 1, "y": "z"}', "a=b c", "a=\xe9", "flag", "a[0]=1", 'a="unclosed', "path=/", "=x", "expires=now"]
)
def test_another_apps_cookies_do_not_hide_a_login(other: str):
    """A browser sends the cookies of all apps on localhost to each of them, whatever their ports."""
    auth = AdminAuth(PASSWORD)
    token = auth.login(PASSWORD, "127.0.0.1")
    headers = Headers({"cookie": f"{other}; {module.COOKIE}={token}; z={other}"})
    assert auth.lets_in(headers) and not auth.lets_in(Headers({"cookie": f"{other}; {module.COOKIE}=x{token}"}))
    auth.logout(headers)
    assert not auth.lets_in(headers)
