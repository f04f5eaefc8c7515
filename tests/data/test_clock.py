"""The machine's clock is set back and forth: leases run on as if it weren't, and nobody's answer is refused for it."""

import itertools
from datetime import datetime, timedelta

import pytest

from data import records
from data.errors import PickRefusedError
from data.records import Pick
from data.store import Store, connection, slates

DAY_S = 86_400.0
LEASE_S = 600.0


class Machine:
    """A clock that goes on, and one on the wall that may be set; both can be moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.steady, self.wall, self.boot = 1_000.0, datetime.fromisoformat("2026-11-29T12:00:00Z"), "first"
        for module in (records, connection, slates):
            monkeypatch.setattr(module, "timestamp", self.timestamp)
        monkeypatch.setattr(connection, "clock_offset", lambda: self.wall.timestamp() - self.steady)
        monkeypatch.setattr(connection, "boot_id", lambda: self.boot)

    def timestamp(self, after_s: float = 0.0, since: datetime | None = None) -> str:
        moment = (since or self.wall) + timedelta(seconds=after_s)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def wait(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += timedelta(seconds=seconds)

    def set_clock(self, by_s: float) -> None:
        self.wall += timedelta(seconds=by_s)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def free(store: Store) -> int:
    return store.pool_size("curation", 0)


@pytest.mark.parametrize("by_s", [DAY_S, -DAY_S, 3600.5, -3600.5])
def test_a_lease_ends_when_it_would_have_ended(machine: Machine, store: Store, by_s: float):
    slate = store.lease("ann", ("curation",), 0, LEASE_S)
    assert slate is not None and free(store) == 3
    machine.wait(10)
    machine.set_clock(by_s)
    worker = Store(store.path)
    assert free(worker) == 3
    assert [one.id for one in store.open_slates("ann", LEASE_S)] == [slate.id]
    stored = store.record_pick("ann", Pick(slate.id, "pick", 1, rt_ms=2_500))
    row = store.row("SELECT picked_at, rt_ms, server_ms FROM pick WHERE id = ?", [stored.id])
    assert row == {"picked_at": machine.timestamp(), "rt_ms": 2_500, "server_ms": 10_000}
    gone = store.lease("bob", ("curation",), 0, LEASE_S)
    assert gone is not None
    machine.wait(LEASE_S + 1)
    assert free(worker) == 3
    with pytest.raises(PickRefusedError, match="too long"):
        store.record_pick("bob", Pick(gone.id, "pick", 1))
    assert [event["detail"] for event in store.events(kinds=("clock_set",))] == [{"by_s": by_s}]
    worker.close()


def test_back_and_forth_again_and_again_is_followed_once_each(machine: Machine, store: Store):
    slate = store.lease("ann", ("curation",), 0, LEASE_S)
    assert slate is not None
    jumps = [DAY_S, -DAY_S, -7200.0, 7200.0, 30 * DAY_S]
    others = [store, Store(store.path)]
    for jump, one in zip(jumps, itertools.cycle(others), strict=False):
        machine.set_clock(jump)
        assert free(one) == 3
    assert [event["detail"]["by_s"] for event in store.events(kinds=("clock_set",))] == jumps
    until = datetime.fromisoformat(store.value("SELECT lease_until FROM slate WHERE id = ?", [slate.id]))
    assert (until - machine.wall).total_seconds() == pytest.approx(LEASE_S, abs=0.01)
    others[1].close()


def test_another_start_of_the_machine_says_nothing_about_its_clock(machine: Machine, store: Store):
    slate = store.lease("ann", ("curation",), 0, LEASE_S)
    assert slate is not None
    before = store.value("SELECT lease_until FROM slate WHERE id = ?", [slate.id])
    machine.boot, machine.steady = "second", 3.0
    machine.set_clock(60)
    again = Store(store.path)
    assert free(again) == 3 and store.value("SELECT lease_until FROM slate WHERE id = ?", [slate.id]) == before
    machine.set_clock(-3600)
    assert free(again) == 3
    assert len(store.events(kinds=("clock_set",))) == 1
    again.close()


def test_a_change_that_is_rolled_back_is_made_the_next_time(machine: Machine, store: Store):
    slate = store.lease("ann", ("curation",), 0, LEASE_S)
    assert slate is not None
    machine.set_clock(DAY_S)
    with pytest.raises(PickRefusedError):
        store.record_pick("ann", Pick(99, "pick", 1))  # undoes all of its transaction
    assert store.events(kinds=("clock_set",)) == []
    assert not store.record_pick("ann", Pick(slate.id, "pick", 1)).duplicate


def test_an_answer_after_the_clock_went_back_has_no_time_rather_than_none_at_all(machine: Machine, store: Store):
    first, second = (store.lease("ann", ("curation",), 0, LEASE_S) for _ in range(2))
    assert first is not None and second is not None
    machine.wait(5)
    store.record_pick("ann", Pick(first.id, "pick", 1))
    machine.set_clock(-3600)
    store.record_pick("ann", Pick(second.id, "pick", 1))
    assert [row["server_ms"] for row in store.rows("SELECT server_ms FROM pick ORDER BY id")] == [5_000, None]


def test_seconds_since_a_moment_of_another_start_are_not_known(machine: Machine):
    moment = connection.steady_now()
    assert connection.seconds_since(moment) is not None and connection.seconds_since([*moment]) is not None
    machine.boot = "second"
    assert connection.seconds_since(moment) is None and connection.seconds_since(None) is None
