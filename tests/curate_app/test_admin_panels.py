"""The researcher's panels, each from what it is given: steps, flags and alarms, generations, the event log."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from curate_app.admin.counts import CrowdCounts
from curate_app.admin.page import Requests
from curate_app.admin.panels import SAY, alarms, crowd_panel, event_words, panels, shown_events, span, stages, timeline
from data.measurements import CuratedCounts, Measurements, Seconds
from data.records import Generation, Pick
from loop.config import StudyConfig
from loop.evidence.schema import Estimate, WinRate
from loop.raters.journey import finish, pause, set_quota, worker_status
from loop.simulate import simulate
from loop.study import Study, configure

FUNNEL: dict[str, int] = dict.fromkeys(
    ("arrived", "consented", "instructed", "understood", "closed", "finished", "withdrawn"), 4
)


def config(*settings: str) -> StudyConfig:
    return configure("digits", settings)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ((), ["arrived", "picked"]),
        (("journey.picks=5",), ["arrived", "picked", "finished"]),
        (
            ("journey.consent=Yes?", "journey.closing=More?"),
            ["arrived", "consented", "picked", "answered the last question"],
        ),
        (
            ("journey.instructions=Look.", "journey.question=What?", 'journey.choices=["a", "b"]', "journey.answer=a"),
            ["arrived", "read the instructions", "answered the question", "picked"],
        ),
    ],
)
def test_only_the_steps_of_this_study_are_shown(settings: tuple[str, ...], names: list[str]):
    shown_stages = stages(config(*settings), FUNNEL, picked=3)
    assert [stage["name"] for stage in shown_stages] == names
    assert {stage["name"]: stage["share"] for stage in shown_stages}["picked"] == 0.75


def test_a_jumped_flag_is_told_until_it_has_come_down(study: Study):
    store = study.store
    store.log("quality", "flag_rate_jumped", flag="too_fast", rate=0.1, before=0.01)
    store.log("quality", "flag_rate_jumped", flag="too_fast", rate=0.41, before=0.05)
    (sentence,) = alarms(store, ["too_fast"])
    assert "“too fast”" in sentence and "41%" in sentence and "5%" in sentence
    assert alarms(store, []) == []
    store.set_status("flags", until=0, thresholds={}, alarmed=["too_fast"])
    assert sentence in panels(study, CrowdCounts(study)).notes


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ((), "trains on all of them"),
        (('quality.exclude_picks=["too_fast"]',), "Training leaves out answers that are too fast."),
        (
            ('quality.exclude_picks=["too_fast"]', 'quality.exclude_raters=["one_position"]'),
            "leaves out answers that are too fast and raters with one position always.",
        ),
    ],
)
def test_the_rule_on_flags_is_said(make_study, settings: tuple[str, ...], rule: str):
    study = make_study(*settings)
    study.store.add_session("ann", study.store.add_rater("human"))
    counts = CrowdCounts(study)(0)
    assert rule in crowd_panel(study.config, counts, [])


def test_whoever_has_just_come_is_not_stuck_and_whoever_never_picks_is(study: Study):
    study.store.add_session("ann", study.store.add_rater("human"))
    assert SAY["stuck_new"] in panels(study, CrowdCounts(study)).head
    with study.store.write() as db:
        db.conn.execute("UPDATE session SET created_at = '2026-11-21T08:00:00.000Z'")
    study.store.lease("ann", ("curation",), 0, 600)
    assert SAY["stuck_silent"].format(n=10) in panels(study, CrowdCounts(study)).head


def test_without_people_there_is_no_panel_of_them(study: Study):
    assert panels(study, CrowdCounts(study)).crowd == ""


def test_what_holds_is_said_in_the_head(study: Study):
    crowd = CrowdCounts(study)
    set_quota(study.store, 7)
    pause(study.store)
    shown = panels(study, crowd)
    assert "paused" in shown.head and "of 7" in shown.head and "The study is paused" in shown.notes
    finish(study.store)
    shown = panels(study, crowd)
    assert "finished</strong>" in shown.head and "The study is finished" in shown.notes


@pytest.mark.parametrize(
    ("phase", "sentence"),
    [
        ("idle", "Yes: 1 pick in the last hour. At this pace generation 1 trains in"),
        (None, "Start it with: curate worker"),
        ("starting", "The worker is starting."),
    ],
)
def test_nothing_is_promised_where_no_worker_runs(make_study, phase: str | None, sentence: str):
    study = make_study(phase=phase)
    study.store.add_session("ann", study.store.add_rater("human"))
    slate = study.store.lease("ann", ("curation",), 0, 60)
    assert slate
    study.store.record_pick("ann", Pick(slate.id, "pick", 0, rt_ms=900))
    head = panels(study, CrowdCounts(study)).head
    assert sentence in head and (phase == "idle") == ("At this pace" in head)


def words_of(study: Study, *parts: str) -> str:
    """The text of some panels as it is read."""
    html = " ".join(getattr(panels(study, CrowdCounts(study)), part) for part in parts)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split()).replace("&#39;", "'")


def test_another_command_than_the_worker_is_named(study: Study):
    study.store.set_status("worker", phase="publishing", done=0.5, left_s=3, command="simulate")
    text = words_of(study, "head", "notes")
    assert "simulate is running: publishing generation 1, about 3 s left" in text and "worker" not in text
    assert "Yes: curate simulate is running, and its simulated users pick." in text
    assert panels(study, CrowdCounts(study)).worker_absent  # nobody answers a request
    assert "Nothing was done. curate simulate is running" in re.sub(r"<[^>]+>", "", Requests(study).simulate(5))


@pytest.mark.parametrize("audits", [False, True])
@pytest.mark.parametrize("how", ["button", "quota"])
def test_a_finished_study_lacks_no_worker(make_study, audits: bool, how: str):
    study = make_study("journey.picks=8", phase=None, generations=2)
    if audits:
        make_audit(study)
    study.store.admit("ann", None, user_agent="", consented=True)
    study.store.reach("ann", "finished")
    assert "worker not running" in words_of(study, "head") and "Start it with" in words_of(study, "notes")
    if how == "button":
        finish(study.store)
    else:
        set_quota(study.store, 1)
    head = words_of(study, "head")
    assert "finished" in head.partition("Is it going well?")[0] and "running" not in head + words_of(study, "notes")
    assert ("The study is finished" if how == "button" else "Yes: the one rater has finished.") in head
    assert 'class="bad"' not in panels(study, CrowdCounts(study)).head


def test_picks_that_are_still_to_train_a_generation_keep_a_worker_wanted(make_study):
    study = make_study("journey.picks=1", "schedule.picks=1", phase=None)
    set_quota(study.store, 1)
    study.store.admit("ann", None, user_agent="", consented=True)
    slate = study.store.lease("ann", ("curation",), 0, 60)
    assert slate
    study.store.record_pick("ann", Pick(slate.id, "pick", 0, rt_ms=900))
    study.store.reach("ann", "finished")
    assert "worker not running" in words_of(study, "head") and "Start it with" in words_of(study, "notes")


def make_audit(study: Study) -> None:
    """Makes the study an audit of two others."""
    source = {"t": 1, "config": study.config.model_dump(mode="json")}
    study.store.set_status("audit", sources=[{"study": name, **source} for name in ("north", "south")])


@pytest.mark.parametrize("phase", ["absent", "starting", "preparing", "idle"])
def test_an_audit_speaks_of_no_training(make_study, phase: str):
    study = make_study(phase=phase, generations=2)
    make_audit(study)
    study.store.add_session("ann", study.store.add_rater("human"))
    text = words_of(study, "head", "notes", "crowd", "curves", "timeline")
    assert "train" not in text.lower() and "generation 2" not in text and "first generation" not in text
    assert "5% of error among 1 pair." in text and "north, generation 1" in text
    assert not panels(study, CrowdCounts(study)).simulates
    assert "trains none" in Requests(study).retrain()


def test_the_timeline_says_who_wins_and_by_how_much():
    at = datetime(2026, 11, 21, 9, 5, tzinfo=UTC).isoformat()
    measurements = Measurements(seconds=Seconds(train=130.0, evaluate=4.2), curated=CuratedCounts(human=30, proxy=1200))
    first = Generation(0, None, "0", "ab", 10, 0, "", published_at=at)
    second = Generation(1, 0, "1", "cd", 10, 1230, "", measurements=measurements, published_at=at)
    interval = Estimate(value=0.613, se=0.03, low=0.551, high=0.672)
    other = Estimate(value=0.613, se=0.03, low=0.578, high=0.648)
    rate = WinRate(t=1, against=0, n=1234, raters=56, under_way=3, rate=interval, other=other, verdict="holds")
    html = timeline([first, second], [rate])
    for text in (
        "21 Nov",
        "09:05",
        "30 by people + 1,200 by proxy",
        "2 min",
        "4 s",
        "61%",
        "55% to 67%",
        "1,234",
        "56 raters; 3 under way",
        "fixed n: 58% to 65%",
        "may be looked at after every rater",
        "how often people preferred this generation",
    ):
        assert text in html, text
    assert 'rate wins"' in html and html.index("1,200 by proxy") < html.rindex("<tr>")
    assert "people preferred" not in timeline([first, second], [])
    undecided = rate.model_copy(update={"verdict": "can't tell"})
    assert 'rate wins"' not in timeline([first, second], [undecided]), "the plain interval gives no verdict"
    larger = undecided.model_copy(update={"slate_sizes": [4], "indifference": None})
    assert "in slates of 4" in timeline([first, second], [larger])


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.4, "0 s"), (99, "99 s"), (150, "2 min"), (6000, "1.7 h"), (86_400, "24.0 h")]
)
def test_spans_of_time(seconds: float | None, text: str):
    assert span(seconds) == text


def test_what_raters_cause_is_told_together_and_without_their_ids(study: Study):
    store = study.store
    store.log("worker", "worker_started")
    for session in ("secret-1", "secret-2", "secret-2"):
        store.log(session, "lease_lapsed", slate_id=5)
    store.log("rater", "declined")
    store.log("researcher", "paused")
    store.log("researcher", "paused")
    events = [(one["actor"], one["words"], one["times"]) for one in shown_events(store.events())]
    assert events[:5] == [
        ("researcher", "paused the study", 1), ("researcher", "paused the study", 1), ("a rater", "declined", 1),
        ("a rater", "left a slate unanswered", 3), ("worker", "started", 1),
    ]  # fmt: skip
    assert "secret" not in panels(study, CrowdCounts(study)).events


@pytest.mark.parametrize(
    ("kind", "detail", "words", "more"),
    [
        (
            "turn_started",
            {"t": 2, "picks": 24, "n_proxy": 1575, "excluded": {"too_fast": 3}},
            "began generation 2 with 24 new picks",
            "1,575 more by proxy; left out for flags: 3 too fast",
        ),
        (
            "turn_started",
            {"t": 1, "picks": 24, "n_proxy": 0, "excluded": {}},
            "began generation 1 with 24 new picks",
            "",
        ),
        (
            "generation_published",
            {"t": 1, "asked": 60, "human": 24, "sim": 0, "proxy": 36},
            "published generation 1",
            "trained on 24 by people + 36 by proxy",
        ),
        (
            "flag_rate_jumped",
            {"flag": "too_fast", "rate": 0.41, "before": 0.05},
            "the flag “too fast” jumped from 5% to 41% of answers",
            "",
        ),
        ("quota_set", {"quota": 1200}, "set the quota to 1,200", ""),
        ("invited", {"n": 1}, "made 1 one-time link", ""),
        ("imported", {"answers": 1200, "file": "a.csv"}, "imported 1,200 answers from a.csv", ""),
        ("of_a_later_version", {"n_things": 5, "nothing": {}}, "of a later version", "n things 5"),
        ("study_created", {"preset": "", "seed": 7}, "study created", "seed 7"),
    ],
)
def test_events_are_told_in_words(kind: str, detail: dict, words: str, more: str):
    assert event_words(kind, detail) == (words, more)


def test_every_event_that_is_logged_has_words():
    logged = {"turn_started", "flag_rate_jumped", "lease_lapsed", "worker_died"}
    root = Path(__file__).parents[2]
    for package in ("data", "loop", "curate_app"):
        for path in (root / package).rglob("*.py"):
            logged |= set(re.findall(r"""\blog\(\s*["']\w+["'], ["'](\w+)["']""", path.read_text()))
    assert len(logged) > 15 and logged - set(SAY["events"]) == set()


def test_the_head_labels_every_number(make_study):
    study = make_study("schedule.picks=24", "journey.practice=1")
    store = study.store
    store.add_session("ann", store.add_rater("human"))
    head = " ".join(re.sub(r"<[^>]+>", " ", panels(study, CrowdCounts(study)).head).split())
    assert "picks for generation 1 0 of 24" in head and "Not counted" not in head
    with store.write() as db:
        db.conn.execute("UPDATE slate SET purpose = 'practice' WHERE id = (SELECT min(id) FROM slate)")
    for purpose, outcome, n in (("practice", "pick", 1), ("curation", "none", 1), ("curation", "pick", 3)):
        for _ in range(n):
            slate = store.lease("ann", (purpose,), 0, 600)  # pyright: ignore[reportArgumentType]
            assert slate
            store.record_pick("ann", Pick(slate.id, outcome, 0 if outcome == "pick" else None))  # pyright: ignore[reportArgumentType]
    head = " ".join(re.sub(r"<[^>]+>", " ", panels(study, CrowdCounts(study)).head).split())
    assert "picks for generation 1 3 of 24" in head and "people's picks 3" in head.replace("&#39;", "'")
    assert "Not counted as picks: 1 “none of these”, 1 practice." in head


def test_more_picks_than_needed_are_not_a_share(make_study):
    study = make_study("schedule.picks=4")
    slates = [row["id"] for row in study.store.rows("SELECT id FROM slate WHERE purpose = 'curation' LIMIT 7")]
    session = study.store.bulk_session("sim", "simulated")
    study.store.add_picks([(slate, session, 0, {}) for slate in slates])
    head = " ".join(re.sub(r"<[^>]+>", " ", panels(study, CrowdCounts(study)).head).split())
    assert "picks for generation 1 7 (4 needed)" in head and "simulated picks 7" in head


@pytest.mark.parametrize("preset", ["digits", "moons"])
def test_every_part_shows_what_a_simulated_study_came_to(
    tmp_path: Path, preset: str, tiny_digits: tuple[str, ...], tiny_moons: tuple[str, ...]
):
    study = Study.create(tmp_path / "study", configure(preset, {"digits": tiny_digits, "moons": tiny_moons}[preset]))
    commands = set()
    simulate(study, 1, lambda phase, done, total: commands.add(worker_status(study.store)["command"]))
    assert commands == {"worker", "simulate"}  # before its first report, and then
    shown = panels(study, CrowdCounts(study))
    for generation in study.store.generations():
        assert generation.measurements.grid_sha256 and generation.measurements.grid_sha256 in shown.sheets
        assert f"{generation.measurements.nn_ratio:.2f}" in shown.sheets
    assert shown.curves.count("<svg") >= 2 and "real data" in shown.curves
    assert shown.events.count("published generation") == 2
    assert "λ" in shown.sheets and "lam" not in shown.sheets
    assert "Nothing runs at present." in shown.head and "bad" not in shown.head  # no person waits for a worker
