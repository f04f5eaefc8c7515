"""The worker beside the app is started again for as long as the app runs, and never given up in silence."""

import subprocess
from pathlib import Path

import pytest

from curate_app.processes import HEALTHY_S, LONGEST_RESTART_S, LockReport, WorkerSupervisor
from curate_app.web.monitoring import FAILING, Health
from data.store import Store
from loop.study import Study


class Run:
    """A worker that ends with a code, before or after it has run long enough to be healthy."""

    def __init__(self, code: int, *, healthy: bool = False):
        self.code, self.healthy = code, healthy

    def wait(self, timeout: float | None = None) -> int:
        if timeout is not None and self.healthy:
            assert timeout == HEALTHY_S
            raise subprocess.TimeoutExpired("worker", timeout)
        return self.code

    def terminate(self) -> None:
        self.code = 0


class Supervisor(WorkerSupervisor):
    """One whose pauses take no time and are noted; it leaves when there is no run left."""

    def __init__(self, study: Study, runs: list[Run | OSError]):
        self.runs, self.pauses, self.said = runs, [], []
        self.health = Health(study.path)
        super().__init__(study, self.health, start=self.next_run, say=self.said.append)
        self.supervise()

    def next_run(self, _path: Path) -> Run:  # pyright: ignore[reportIncompatibleMethodOverride]
        run = self.runs.pop(0)
        if isinstance(run, OSError):
            raise run
        return run

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return not self.runs


def events(study: Study) -> list[tuple[str, dict]]:
    return [(event["kind"], event["detail"]) for event in study.store.events() if event["actor"] == "server"]


def test_a_dying_worker_is_started_again_ever_more_seldom_without_an_end(study: Study):
    supervisor = Supervisor(study, [Run(-9) for _ in range(2_000)])
    assert supervisor.pauses[:8] == [5, 10, 20, 40, 80, 160, LONGEST_RESTART_S, LONGEST_RESTART_S]
    assert len(supervisor.pauses) == 2_000 and set(supervisor.pauses[6:]) == {LONGEST_RESTART_S}
    assert supervisor.health.worker_failing
    loud = [line for line in supervisor.said if "DIED" in line]
    assert len(loud) == len(supervisor.said) - (FAILING - 1)
    assert events(study)[2] == ("worker_died", {"deaths": 3, "code": -9})


def test_a_healthy_run_begins_the_count_anew(study: Study):
    supervisor = Supervisor(study, [Run(1), Run(1), Run(1), Run(1, healthy=True), Run(1), Run(1, healthy=True)])
    assert supervisor.pauses == [5, 10, 20, 5, 10, 5]
    assert [kind for kind, _ in events(study)] == [*["worker_died"] * 3, "worker_recovered", *["worker_died"] * 3]
    assert not supervisor.health.worker_failing


def test_a_worker_that_another_one_refuses_has_not_died(study: Study):
    supervisor = Supervisor(study, [Run(2), Run(2), Run(1), Run(2)])  # the fixture's worker is idle
    assert supervisor.pauses == [LONGEST_RESTART_S, LONGEST_RESTART_S, 5, LONGEST_RESTART_S]
    assert [kind for kind, _ in events(study)] == ["worker_died"] and not supervisor.health.worker_failing
    assert len([line for line in supervisor.said if "Another worker" in line]) == 2


def test_no_way_to_end_is_the_last_but_being_asked_to(make_study):
    study = make_study(phase=None)
    supervisor = Supervisor(study, [Run(2), OSError("no process to be had"), Run(0), Run(1)])
    assert supervisor.pauses == [5, 10] and len(supervisor.runs) == 1
    assert "asked to end" in supervisor.said[-1]
    assert events(study)[1:] == [("worker_died", {"deaths": 2, "code": "no process to be had"}), ("worker_left", {})]


def test_a_database_that_takes_no_event_stops_no_restart(study: Study):
    study.store.soon(lambda: None, lambda _: study.store.db.conn.execute("PRAGMA query_only = ON")).result(10)
    supervisor = Supervisor(study, [Run(1), Run(1)])
    assert supervisor.pauses == [5, 10] and supervisor.health.faults() == ["readonly"]


@pytest.mark.parametrize(("waits", "lines"), [([], 0), ([5.0], 1), ([5.0, 10.0, 61.0, 65.0, 130.0], 3)])
def test_the_worker_says_that_it_waits_once_a_minute_and_logs_it_once(store: Store, waits: list[float], lines: int):
    said: list[str] = []
    report = LockReport(store, said.append)
    for waited_s in waits:
        report(waited_s, False)
    assert len(said) == lines
    report(200.0, True)
    (event,) = store.events()
    assert (event["kind"], event["detail"]) == ("waited_for_lock", {"seconds": 200.0})
