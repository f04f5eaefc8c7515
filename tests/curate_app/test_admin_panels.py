"""The researcher's panels, each from what it is given: steps, flags and alarms, generations, the event log."""

from datetime import UTC, datetime

import pytest

from curate_app.admin.panels import CrowdCounts, alarms, crowd_panel, span, stages, timeline
from curate_app.admin.view import panels, shown_events
from data.measurements import CuratedCounts, Measurements, Seconds
from data.records import Generation
from loop.config import StudyConfig
from loop.evidence.schema import Estimate, WinRate
from loop.raters.journey import finish, pause, set_quota
from loop.study import Study, configure

FUNNEL = dict.fromkeys(("arrived", "consented", "instructed", "understood", "closed", "finished", "withdrawn"), 4)


def config(*settings: str) -> StudyConfig:
    return configure("digits", settings)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ((), ["came", "picked"]),
        (("journey.picks=5",), ["came", "picked", "finished"]),
        (
            ("journey.consent=Yes?", "journey.closing=More?"),
            ["came", "consented", "picked", "passed the last question"],
        ),
        (
            ("journey.instructions=Look.", "journey.question=What?", 'journey.choices=["a", "b"]', "journey.answer=a"),
            ["came", "read the instructions", "answered the question", "picked"],
        ),
    ],
)
def test_only_the_steps_of_this_study_are_shown(settings: tuple[str, ...], names: list[str]):
    found = stages(config(*settings), FUNNEL, picked=3)
    assert [stage["name"] for stage in found] == names
    assert {stage["name"]: stage["share"] for stage in found}["picked"] == 0.75


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


def test_without_people_there_is_no_panel_of_them(study: Study):
    assert panels(study, CrowdCounts(study)).crowd == ""


def test_what_holds_is_said_in_the_head(study: Study):
    crowd = CrowdCounts(study)
    set_quota(study.store, 7)
    pause(study.store)
    found = panels(study, crowd)
    assert "paused" in found.head and "of 7" in found.head and "The study is paused" in found.notes
    finish(study.store)
    found = panels(study, crowd)
    assert "finished</strong>" in found.head and "The study is finished" in found.notes


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
        "30 people&#39;s + 1,200 proxy",
        "2 min",
        "4 s",
        "61%",
        "55% to 67%",
        "1,234",
        "56 people; 3 under way",
        "fixed n: 58% to 65%",
        "may be looked at after every person",
    ):
        assert text in html, text
    assert 'rate wins"' in html and html.index("1,200 proxy") < html.rindex("<tr>")
    assert "wins against" not in timeline([first, second], [])
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
    found = [(one["actor"], one["what"], one["times"]) for one in shown_events(store.events())]
    assert found[:5] == [
        ("researcher", "paused", 1), ("researcher", "paused", 1), ("a rater", "declined", 1),
        ("a rater", "lease lapsed", 3), ("worker", "worker started", 1),
    ]  # fmt: skip
    assert "secret" not in panels(study, CrowdCounts(study)).events
