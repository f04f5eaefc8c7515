"""The worker with people's picks. Run as a script, this file is a worker that is killed half-way."""

import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.records import Pick
from data.store import queries
from loop import users
from loop.raters.journey import next_slates, pause, picks_progress, worker_status
from loop.selfcheck import self_checks
from loop.simulate import simulate
from loop.study import Study, WorkerRunningError, configure, faults, only_worker
from loop.users import sim_sessions
from loop.worker import Reporter, Worker

Make = Callable[..., Study]
Begun = Callable[[str], Study]
PROXY_ANSWERS = """SELECT count(*) FROM pick JOIN slate ON slate.id = slate_id
    JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
    WHERE slate.t = ? AND slate.purpose = 'curation' AND kind = 'proxy'"""
POOL = ("schedule.picks=8", "pool.size=12", "pool.audit=4")


@pytest.fixture
def study(make: Make) -> Study:
    """A tiny digits study that has its first generation and slates; picks train alone (extend = none)."""
    return work(make("digits", *POOL, "curation.extend=none"))


def work(study: Study) -> Study:
    """Has a worker do what there is to do."""
    Worker(study).run(once=True)
    return study


def latest_t(study: Study) -> int:
    return study.store.latest_cut()[0]  # pyright: ignore[reportOptionalSubscript]


def curated(study: Study, t: int) -> dict[str, int]:
    counts = study.store.generations()[t].measurements.curated
    assert counts is not None
    return counts.as_json()


def test_it_publishes_a_first_generation_and_fills_the_pool(study: Study):
    assert [row.t for row in study.store.generations()] == [0]
    assert study.store.pool_size("curation", 0) >= 12 and study.store.pool_size("audit", 0) >= 4
    assert study.store.value("SELECT count(*) FROM sample WHERE image_sha256 IS NULL") == 0
    assert worker_status(study.store)["phase"] == "absent"  # it has ended, and says so
    assert [event["kind"] for event in study.store.events()][-2:] == ["generation_published", "worker_stopped"]
    assert faults(study) == []


def test_a_paused_study_trains_only_when_it_is_asked_to(study: Study, people):
    people(study, 8)
    pause(study.store)
    assert latest_t(work(study)) == 0
    study.store.log("researcher", "retrain_requested")
    assert latest_t(work(study)) == 1


def test_a_new_generation_comes_with_the_scheduled_pick_and_not_before(study: Study, people):
    people(study, 7)
    assert latest_t(work(study)) == 0
    assert picks_progress(study.store, study.config).done == 7
    last = people(study, 1)[-1]
    assert latest_t(work(study)) == 1
    generation = study.store.generations()[1]
    assert (generation.n_real, generation.n_curated, generation.pick_cut) == (300, 8, last)
    assert curated(study, 1) == {"asked": 60, "human": 8, "sim": 0, "proxy": 0}
    assert study.store.pool_size("curation", 0) == 0 and study.store.pool_size("curation", 1) >= 12
    audit = study.store.lease("ann", ("audit",), 1, 60)
    assert audit is not None and {row["t"] for row in queries.slate_samples(study.store, [audit.id])} == {0, 1}
    assert picks_progress(study.store, study.config).done == 0 and faults(study) == []


def test_the_last_generation_is_the_last(make: Make, people):
    study = work(make("digits", *POOL, "curation.extend=none", "stop.generations=1"))
    people(study, 8)
    assert latest_t(work(study)) == 1
    people(study, 8)
    study.store.log("researcher", "retrain_requested")
    assert latest_t(work(study)) == 1


def test_flagged_picks_do_not_train_where_the_rule_says_so(make: Make, people):
    rule = ("quality.too_fast_ms=301", 'quality.exclude_picks=["too_fast"]')  # ann takes 300 ms, bob a second
    study = work(make("digits", *POOL, *rule, "curation.extend=none"))
    people(study, 8)
    assert latest_t(work(study)) == 0 and picks_progress(study.store, study.config).done == 0
    rater = study.store.add_rater("human", panel="test", panel_rater_id="bob")
    bob = study.store.add_session("bob", rater)
    for _ in range(8):
        slate = study.store.lease(bob, ("curation",), 0, 600)
        assert slate is not None
        study.store.record_pick(bob, Pick(slate.id, "pick", 0, rt_ms=1_000))
    assert latest_t(work(study)) == 1
    assert curated(study, 1)["human"] == 8
    turn = study.store.generations()[1].measurements.turn
    assert turn and turn.excluded == {"too_fast": 8}
    assert study.store.value("SELECT count(*) FROM pick") == 16 and faults(study) == []
    assert [check.verdict for check in self_checks(study.store, study.config)].count("fail") == 0


def test_answers_that_pick_nothing_do_not_count(study: Study, people):
    people(study, 7)
    slate = study.store.lease("ann", ("curation",), 0, 60)
    assert slate is not None
    study.store.record_pick("ann", Pick(slate.id, "none"))
    assert latest_t(work(study)) == 0


def test_a_fitted_user_picks_what_is_missing_and_is_told_apart(make: Make, people, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(users, "PROXY_CHUNK", 20)  # three chunks
    study = work(make("digits", *POOL, "curation.extend=proxy"))
    ids = people(study, 8)
    assert latest_t(work(study)) == 1
    assert curated(study, 1) == {"asked": 60, "human": 8, "sim": 0, "proxy": 52}
    assert study.store.generations()[1].n_curated == 60
    kinds = Counter(row["kind"] for row in queries.curation_picks(study.store, kinds=("human", "sim", "proxy")))
    assert kinds == {"human": 8, "proxy": 52}
    (event,) = study.store.events(kinds=("turn_started",))
    assert event["detail"] == {"t": 1, "picks": 8, "n_proxy": 52, "excluded": {}}
    fit = study.store.generations()[1].measurements.proxy
    assert fit.sha256 and len(fit.sha256) == 64 and fit.picks == 8
    assert fit.log_likelihood is not None and fit.log_likelihood < 0
    assert study.store.generations()[1].pick_cut == ids[-1]
    assert picks_progress(study.store, study.config).done == 0  # the proxy's are no one's progress
    assert faults(study) == []
    assert study.store.value("SELECT count(*) - count(DISTINCT seed) FROM sample") == 0  # chunks share no draw
    people(study, 8)
    work(study)
    assert curated(study, 2) == {"asked": 60, "human": 8, "sim": 0, "proxy": 52}
    assert study.store.generations()[2].measurements.proxy.picks == 16  # the fit rests on all picks so far


@pytest.mark.parametrize(("extend", "second"), [("none", 8), ("accumulate", 16)])
def test_picks_train_alone_or_with_all_before(make: Make, people, extend: str, second: int):
    study = work(make("digits", *POOL, f"curation.extend={extend}"))
    for _ in range(2):
        people(study, 8)
        work(study)
    assert [row.n_curated for row in study.store.generations()] == [0, 8, second]
    assert faults(study) == []


def test_a_late_answer_to_an_older_generation_counts_for_the_next_one(study: Study, people):
    people(study, 8)
    late = study.store.lease("ann", ("curation",), 0, 600)
    assert late is not None
    work(study)
    assert not study.store.record_pick("ann", Pick(late.id, "pick", 0)).duplicate
    assert picks_progress(study.store, study.config).done == 1
    people(study, 7)
    assert latest_t(work(study)) == 2
    cuts = [row.pick_cut for row in study.store.generations()]
    used = Counter(row["t"] for row in queries.curation_picks(study.store, after=cuts[1], until=cuts[2]))
    assert used == {0: 1, 1: 7} and curated(study, 2)["human"] == 8


def test_the_researcher_may_ask_for_a_generation_earlier_and_gets_one(study: Study, people):
    study.store.log("researcher", "retrain_requested")
    assert latest_t(work(study)) == 0  # there is nothing to train on yet
    people(study, 2)
    assert latest_t(work(study)) == 1
    people(study, 2)
    assert latest_t(work(study)) == 1  # the request has been answered
    assert curated(study, 1)["human"] == 2


def test_let_in_simulated_users_pick_once_and_count_like_people(study: Study):
    study.store.log("researcher", "simulate_requested", n=5)
    assert latest_t(work(work(study))) == 0
    assert [(row["kind"], row["n"]) for row in queries.tally(study.store)] == [("sim", 5)]
    for _ in range(2):
        study.store.log("researcher", "simulate_requested", n=3)
    assert latest_t(work(study)) == 1
    assert curated(study, 1)["sim"] >= 8
    assert queries.count_answers_of_generation(study.store, sim_sessions(study.store, study.config), 0) == 11
    assert faults(study) == []


def test_the_interval_leads_to_a_generation_too_if_anyone_picked(make: Make, people):
    study = work(make("digits", *POOL, "curation.extend=none", "schedule.interval_s=1"))
    with study.store.write() as db:
        db.conn.execute("UPDATE generation SET published_at = '2020-01-01T00:00:00.000Z'")
    assert latest_t(work(study)) == 0
    people(study, 1)
    assert latest_t(work(study)) == 1


def test_a_second_worker_is_refused(study: Study):
    with only_worker(study.path):
        with pytest.raises(WorkerRunningError, match="running on"):
            Worker(study).run(once=True)
        with pytest.raises(WorkerRunningError):
            simulate(study, 1, lambda *_: None)
    work(study)


@pytest.mark.parametrize(("preset", "setting"), [("moons", "seed=0"), ("digits", "curation.k=inf")])
def test_what_people_cannot_be_shown_is_refused(make: Make, preset: str, setting: str):
    with pytest.raises(ValueError, match="simulate"):
        Worker(make(preset, setting))


def test_while_a_generation_trains_people_get_audit_slates(study: Study, people, monkeypatch: pytest.MonkeyPatch):
    people(study, 8)
    served: list[str] = []
    report = Reporter.__call__

    def watching(self: Reporter, phase: str, done: int, total: int) -> None:
        report(self, phase, done, total)
        if phase == "training" and not served:
            served.extend(slate.purpose for slate in next_slates(study.store, study.config, "ann"))

    monkeypatch.setattr(Reporter, "__call__", watching)
    work(study)
    assert served == ["audit", "audit"]


def test_training_holds_no_transaction_so_picks_come_in_meanwhile(study: Study, people, monkeypatch):
    people(study, 8)
    late = study.store.lease("ann", ("curation",), 0, 600)
    assert late is not None
    report = Reporter.__call__
    phases: list[str] = []

    def picking(self: Reporter, phase: str, done: int, total: int) -> None:
        report(self, phase, done, total)
        assert not study.store.db.conn.in_transaction
        phases.append(phase)
        if phase == "training":
            study.store.record_pick("ann", Pick(late.id, "pick", 1))

    monkeypatch.setattr(Reporter, "__call__", picking)
    work(study)
    assert "training" in phases
    assert curated(study, 1)["human"] == 8 and picks_progress(study.store, study.config).done == 1


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, tiny_digits: tuple[str, ...], people) -> Iterator[Begun]:
    """A function: a study with the 8 picks of its first turn, by `curation.extend`; to be copied, not changed."""
    studies: dict[str, Study] = {}

    def study_of(extend: str) -> Study:
        if extend not in studies:
            settings = (*tiny_digits, *POOL, f"curation.extend={extend}", "train.finetune_steps=45")  # three reports
            path = tmp_path_factory.mktemp(extend) / "study"
            studies[extend] = work(Study.create(path, configure("digits", settings, seed=6)))
            people(studies[extend], 8)
        return studies[extend]

    yield study_of
    for study in studies.values():
        study.store.close()


@pytest.fixture(scope="module")
def taken() -> dict[str, tuple[dict[str, int], object]]:
    """Counts of the first turn's picks, and the generations, of studies that nothing has disturbed."""
    return {}


@pytest.mark.parametrize(
    ("extend", "phase", "nth"),
    [
        ("none", "curating", 1), ("none", "training", 2), ("none", "publishing", 2), ("proxy", "curating", 2),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("none", "publishing", 1), ("proxy", "curating", 1), ("proxy", "training", 2),
                ("proxy", "publishing", 1),
            ]
        ),
    ],
)  # fmt: skip
def test_a_killed_turn_uses_each_pick_once_and_ends_as_an_undisturbed_one(
    begun: Begun, copy_of, taken, people, run_and_die, fingerprint, extend: str, phase: str, nth: int
):
    if extend not in taken:
        undisturbed = work(copy_of(begun(extend)))
        taken[extend] = (curated(undisturbed, 1), fingerprint(undisturbed)["generations"])
    study = copy_of(begun(extend))
    run_and_die(Path(__file__), study, phase, nth)
    resumed = Study.open(study.path)
    settled = (phase, nth) != ("curating", 1)
    extra = people(resumed, 3) if settled and latest_t(resumed) == 0 else []  # they come too late for this turn
    work(resumed)
    assert faults(resumed) == []
    assert (curated(resumed, 1), fingerprint(resumed)["generations"]) == taken[extend]
    assert picks_progress(resumed.store, resumed.config).done == len(extra)
    people(resumed, 8 - picks_progress(resumed.store, resumed.config).done)
    work(resumed)
    windows = [0, *(row.pick_cut for row in resumed.store.generations())]
    used = [
        row["pick_id"]
        for after, until in itertools.pairwise(windows)
        for row in queries.curation_picks(resumed.store, after=after, until=until)
    ]
    everyone = [row["pick_id"] for row in queries.curation_picks(resumed.store)]
    assert used == everyone and len(used) == sum(curated(resumed, t)["human"] for t in (1, 2))
    for t in (0, 1) if extend == "proxy" else ():
        assert resumed.store.value(PROXY_ANSWERS, [t]) == curated(resumed, t + 1)["proxy"] == 52
    resumed.store.close()


def test_a_kill_between_picks_and_their_request_doubles_nothing(study: Study, run_and_die):
    study.store.log("researcher", "simulate_requested", n=5)
    run_and_die(Path(__file__), study, "curating", 1)
    resumed = work(Study.open(study.path))
    assert [(row["kind"], row["n"]) for row in queries.tally(resumed.store)] == [("sim", 5)]
    resumed.store.close()


def work_until(path: Path, phase: str, nth: int) -> None:
    calls, report = 0, Reporter.__call__

    def counting(self: Reporter, now: str, done: int, total: int) -> None:
        nonlocal calls
        report(self, now, done, total)
        calls += now == phase
        if now == phase and calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    Reporter.__call__ = counting
    Worker(Study.open(path)).run(once=True)


if __name__ == "__main__":
    work_until(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
