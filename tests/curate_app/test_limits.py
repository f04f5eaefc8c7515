"""Token buckets against a clock that stands still until it is moved."""

import time

import pytest
from starlette.datastructures import Headers

from curate_app.web import security as module
from curate_app.web.admin_auth import COOKIE, AdminAuth
from curate_app.web.security import BURST_S, Buckets, Limits, SessionSigner, network


class Clock:
    """A clock set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_then_one_request_for_each_token():
    clock = Clock()
    buckets = Buckets(2.0, clock)
    burst = int(2 * BURST_S)
    assert [buckets.take("a") for _ in range(burst)] == [0.0] * burst
    assert buckets.take("a") == pytest.approx(0.5)
    clock.now += 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a") == pytest.approx(0.5)


def test_asking_too_early_does_not_put_the_moment_off():
    clock = Clock()
    buckets = Buckets(1.0, clock)
    while not buckets.take("a"):
        pass
    for _ in range(4):
        clock.now += 0.25
        waited = buckets.take("a")
    assert waited == 0.0


def test_each_key_has_its_own_bucket_and_it_never_runs_over():
    clock = Clock()
    buckets = Buckets(1.0, clock)
    assert [buckets.take("a") for _ in range(6)][-1] > 0
    assert buckets.take("b") == 0.0
    clock.now += 1e6
    assert [buckets.take("a") > 0 for _ in range(6)] == [False] * 5 + [True]


def test_what_costs_more_than_a_bucket_holds_still_passes_a_full_one():
    assert Buckets(1.0, Clock()).take("a", 1e6) == 0.0


def test_no_rate_is_no_limit():
    buckets = Buckets(0.0, Clock())
    assert not any(buckets.take("a", 1e9) for _ in range(10))


def test_only_so_many_buckets_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_BUCKETS", 3)
    buckets = Buckets(0.1, Clock())
    assert [buckets.take(key) for key in "abcd"] == [0.0] * 4
    assert buckets.take("d") > 0  # still known
    assert buckets.take("a") == 0.0  # forgotten


def test_a_session_over_its_limit_costs_its_address_nothing():
    limits = Limits.of(per_session=0.2, per_address=0.4)
    assert limits.wait("s", "a", 1) == 0.0
    assert limits.wait("s", "a", 1) > 0 and limits.wait("s", "a", 1) > 0
    assert limits.wait("other", "a", 1) == 0.0
    assert limits.wait("", "a", 1) > 0
    assert limits.met == {"session": 2, "address": 1}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("203.0.113.1", "203.0.113.2", False),
        ("203.0.113.1", "::ffff:203.0.113.1", True),
        ("testclient", "testclient", True),
    ],
)
def test_a_network_stands_for_its_addresses(one: str, other: str, same: bool):
    assert (network(one) == network(other)) is same


def test_newcomers_leave_a_share_of_a_bucket_alone():
    buckets = Buckets(2.0, Clock())
    assert [buckets.take("a", 2, spare=0.5) for _ in range(2)] == [0.0, 0.0]
    assert buckets.take("a", 2, spare=0.5) == pytest.approx(0.5)
    assert [buckets.take("a") for _ in range(6)] == [0.0] * 6
    assert buckets.take("b", 1e6, spare=0.5) == 0.0  # a full one is enough for anything


def test_those_who_are_in_go_on_when_their_address_lets_no_one_in():
    limits = Limits.of(per_session=0, per_address=20)
    while not limits.wait("", "a", 20):
        pass
    assert [limits.wait("s", "a", 1) for _ in range(20)] == [0.0] * 20


def test_limits_logins_and_cookies_ask_no_clock_that_can_be_set(monkeypatch: pytest.MonkeyPatch):
    def forbidden(*_: object) -> float:
        raise AssertionError("a clock that can be set was asked")

    for name in ("time", "time_ns", "gmtime", "localtime"):
        monkeypatch.setattr(time, name, forbidden)
    limits, auth, signer = Limits.of(1.0, 1.0), AdminAuth("secret"), SessionSigner("k" * 32)
    assert limits.wait("session", "10.0.0.1", 1.0) == 0.0
    token = auth.login("secret", "10.0.0.1")
    assert token and auth.lets_in(Headers({"cookie": f"{COOKIE}={token}"})) and not auth.is_locked_out("10.0.0.1")
    assert signer.unsign(signer.sign("a" * 20)) == "a" * 20
