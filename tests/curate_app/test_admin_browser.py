"""The researcher's page in a real browser: its controls reach the raters, it reads well aloud, and it keeps still."""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FloatRect, Page, expect

from curate_app.admin.page import Requests
from data.records import Pick, Purpose
from loop.raters.journey import control_state, set_quota
from loop.raters.quality import refresh
from loop.study import Study

GRAVE = ("serious", "critical")
PHONE, LANDSCAPE, LAPTOP = {"width": 390, "height": 844}, {"width": 844, "height": 390}, {"width": 1366, "height": 768}


def rater_state(page: Page, address: str) -> str:
    """The instruction of the server to the page of this browser's rater."""
    return page.request.get(f"{address}/api/slate").json()["state"]


def events(study: Study) -> list[tuple[str, dict]]:
    """The researcher's actions, as they were logged."""
    return [(one["kind"], one["detail"]) for one in study.store.events() if one["actor"] == "researcher"]


def set_phase(study: Study, phase: str) -> None:
    """The worker's phase, of a worker that is alive however slow the test is."""
    study.store.set_status("worker", phase=phase, done=0.25, left_s=18)
    with study.store.write() as db:
        db.conn.execute("UPDATE status SET at = '2999-01-01T00:00:00.000Z' WHERE key = 'worker'")


def answer_slate(study: Study, session: str, outcome: str = "pick") -> None:
    slate = study.store.lease(session, ("curation",), 0, 600)
    assert slate
    study.store.record_pick(session, Pick(slate.id, outcome, 0 if outcome == "pick" else None, rt_ms=900))  # pyright: ignore[reportArgumentType]


def overlaps(a: FloatRect | None, b: FloatRect | None) -> bool:
    assert a and b
    apart_x = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
    return not (apart_x or a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"])


@pytest.fixture
def crowded(make_study: Callable[..., Study]) -> Study:
    """Three generations; two people picked, one of them too fast, and compared generations 1 and 2 with 0."""
    study = make_study("journey.picks=8", "journey.consent=Do you agree?", generations=3)
    store = study.store
    with store.write() as db:
        db.conn.execute(
            """UPDATE sample SET t = 0 WHERE id IN (SELECT sample_id FROM slate_item JOIN slate ON slate.id = slate_id
            WHERE purpose = 'audit' AND position < 2)"""
        )
    given: list[tuple[Purpose, int]] = [("audit", 1), ("audit", 2), *(("curation", 2) for _ in range(5))]
    for name, rt_ms in (("ann", 900), ("bob", 90)):
        store.add_session(name, store.add_rater("human", panel="test", panel_rater_id=name))
        store.reach(name, "consented")
        for purpose, t in given:
            slate = store.lease(name, (purpose,), t, 600)
            assert slate
            store.record_pick(name, Pick(slate.id, "pick", 3, rt_ms=rt_ms))
        store.reach(name, "finished")
    refresh(store, study.config.quality)
    return study


def test_the_controls_reach_the_raters(study: Study, serve, page: Page):
    address = serve(study)
    assert page.request.post(f"{address}/api/session", data={}).json()["state"] == "picking"
    page.goto(f"{address}/admin/")
    head, log = page.locator(".head"), page.locator(".events")

    page.get_by_role("button", name="Pause").click()
    expect(head).to_contain_text("paused")
    assert rater_state(page, address) == "paused"
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert rater_state(page, address) == "picking"

    answer = page.locator(".answer")
    page.get_by_role("button", name="Retrain now").click()
    expect(answer).to_contain_text("There are no picks since generation 0 to train on.")
    study.store.add_session("ann", study.store.add_rater("human"))
    answer_slate(study, "ann")
    page.get_by_role("button", name="Retrain now").click()
    expect(answer).to_contain_text("Asked the worker to train generation 1 from 1 new pick")
    expect(log).to_contain_text("requested retraining now")

    quota = page.get_by_role("spinbutton", name="Raters who may finish")
    for wrong in ("-1", "2.5"):
        quota.fill(wrong)
        page.get_by_role("button", name="Set quota").click()
        expect(page.get_by_text("The quota must be a whole number").last).to_be_visible()
    quota.fill("3")
    page.get_by_role("button", name="Set quota").click()
    expect(head).to_contain_text("0 of 3")

    page.get_by_role("button", name="Finish…").click()
    expect(page.get_by_role("alert").filter(has_text="Finish the study?")).to_be_visible()
    expect(page.get_by_role("button", name="Yes, finish the study")).to_be_focused()
    page.get_by_role("button", name="Keep it running").click()
    expect(page.get_by_role("button", name="Yes, finish the study")).to_have_count(0)
    assert not control_state(study.store).finished
    page.get_by_role("button", name="Finish…").click()
    page.get_by_role("button", name="Yes, finish the study").click()
    expect(head).to_contain_text("finished")
    expect(page.get_by_role("button", name="Finish…")).to_be_disabled()
    assert rater_state(page, address) == "finished"
    assert events(study) == [
        ("paused", {}), ("resumed", {}), ("retrain_requested", {}), ("quota_set", {"quota": 3}), ("finished", {}),
    ]  # fmt: skip


def test_simulated_users_pick_after_a_question_and_never_among_people(study: Study, serve, page: Page):
    page.goto(serve(study) + "/admin/")
    users, simulate = page.get_by_role("spinbutton", name="Simulated users"), re.compile("^Let .* pick$")
    for size in (PHONE, LANDSCAPE, LAPTOP):
        page.set_viewport_size(size)  # pyright: ignore[reportArgumentType]
        users.fill("50")
        page.get_by_role("button", name="Let 50 simulated users pick").click()
        expect(page.get_by_role("alert").filter(has_text="Let 50 simulated users pick?")).to_be_visible()
        expect(page.get_by_role("button", name="Yes, let them pick")).to_be_focused()
        page.get_by_role("button", name="No", exact=True).click()
        expect(page.get_by_role("button", name="Yes, let them pick")).to_have_count(0)
    assert events(study) == []
    page.get_by_role("button", name=simulate).click()
    page.get_by_role("button", name="Yes, let them pick").click()
    expect(page.locator(".answer")).to_contain_text("Asked the worker to let 50 simulated users pick.")
    assert events(study) == [("simulate_requested", {"n": 50})]

    page.get_by_role("button", name=simulate).click()
    expect(page.get_by_role("button", name="Yes, let them pick")).to_be_visible()
    study.store.add_session("ann", study.store.add_rater("human"))
    answer_slate(study, "ann", "none")
    answer_slate(study, "ann")
    page.get_by_role("button", name="Yes, let them pick").click()  # the page may not have noticed the pick yet
    expect(page.locator(".answer")).to_contain_text("People have picked in this study")
    expect(page.get_by_role("button", name=simulate)).to_have_count(0)
    expect(users).to_have_count(0)
    assert len(events(study)) == 1


def test_while_a_generation_trains_no_other_can_be_asked_for(study: Study, serve, page: Page):
    study.store.add_session("ann", study.store.add_rater("human"))
    answer_slate(study, "ann")
    retrain, head = page.get_by_role("button", name="Retrain now"), page.locator(".head")
    page.goto(serve(study) + "/admin/")
    expect(retrain).to_be_enabled()
    set_phase(study, "training")
    expect(head).to_contain_text("training generation 1, about 18 s left")
    for size in (PHONE, LANDSCAPE, LAPTOP):
        page.set_viewport_size(size)  # pyright: ignore[reportArgumentType]
        expect(retrain).to_be_visible()
        expect(retrain).to_be_disabled()
    set_phase(study, "idle")
    expect(retrain).to_be_enabled()
    assert "in training already" in said_while_training(study)
    assert events(study) == []


def said_while_training(study: Study) -> str:
    """The answer to a request that comes while a generation is in training."""
    set_phase(study, "training")
    return Requests(study).retrain()


def test_messages_fields_and_numbers_at_three_sizes(crowded: Study, serve, page: Page):
    """No message lies over the worker's state or a button, fields have labels, numbers and events are in words."""
    store = crowded.store
    set_quota(store, 5)
    store.log("worker", "turn_started", t=3, picks=10, n_proxy=1575, excluded={})
    slate = store.lease("ann", ("curation",), 2, 600)
    assert slate
    store.record_pick("ann", Pick(slate.id, "none", None, rt_ms=900))
    page.goto(serve(crowded) + "/admin/")
    answer, quota = page.locator(".answer"), page.get_by_role("spinbutton", name="Raters who may finish")
    expect(quota).to_have_value("5")
    for size in (PHONE, LANDSCAPE, LAPTOP):
        page.set_viewport_size(size)  # pyright: ignore[reportArgumentType]
        expect(page.locator("#quota").get_by_text("Raters who may finish (0: no quota)")).to_be_visible()
        quota.fill("-1")
        page.get_by_role("button", name="Set quota").click()
        expect(answer).to_contain_text("Nothing was done. The quota must be a whole number")
        expect(answer).to_be_in_viewport()
        for other in (page.locator(".phase"), *page.locator("#part-actions button:visible").all()):
            assert not overlaps(answer.bounding_box(), other.bounding_box())
        assert page.locator(".toast-body").count() == 0
        expect(page.locator(".events")).to_contain_text("began generation 3 with 10 new picks 1,575 more by proxy")
        assert "n_proxy" not in page.locator(".events").inner_text()
        numbers = page.locator(".head .numbers > div").filter(has_text="people's picks")
        expect(numbers.locator("dd")).to_have_text("14")
        expect(page.locator(".head .note")).to_have_text("Not counted as picks: 1 “none of these”.")
        page.evaluate("scrollTo(0, 0)")  # where the page opens; the click may have scrolled to its button
        box, height = page.locator(".head .numbers").bounding_box(), size["height"]
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= height, "the numbers are seen at a glance"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_panel_shows_what_the_crowd_did(crowded: Study, serve, page: Page):
    address = serve(crowded)
    page.goto(f"{address}/admin/")
    cards = page.locator(".card")
    expect(cards).to_have_count(3)
    expect(cards.nth(0)).to_contain_text("14 in the last hour")
    expect(cards.nth(1).get_by_role("listitem")).to_have_text(
        [re.compile(f"{name}.*2") for name in ("arrived", "consented", "picked")] + [re.compile("finished.*0")]
    )
    fast = cards.nth(2).get_by_role("row", name=re.compile("too fast"))
    expect(fast.get_by_role("cell")).to_have_text(["7", "0"])
    expect(page.locator(".timeline tbody tr")).to_have_count(3)
    expect(page.locator(".timeline tbody tr").nth(0)).to_contain_text("4 comparisons, 2 raters")
    expect(page.get_by_role("img", name=re.compile("in audit slates")).first).to_be_attached()
    expect(page.locator(".sheets img")).to_have_count(3)
    with page.expect_download() as download:
        page.get_by_role("link", name="Choice log (CSV)").click()
    log = download.value.path().read_text()
    assert download.value.suggested_filename == "choices.csv" and len(log.splitlines()) == 1 + 14 * 4


@pytest.mark.parametrize(("width", "height", "scheme"), [(390, 844, "light"), (1280, 800, "dark")])
def test_it_fits_the_screen_and_has_no_grave_fault_for_a_screen_reader(
    crowded: Study, serve, browser: Browser, width: int, height: int, scheme: str
):
    with browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme) as context:  # pyright: ignore[reportArgumentType]
        page = context.new_page()
        page.goto(serve(crowded) + "/admin/")
        page.wait_for_selector(".sheets img")
        page.get_by_role("button", name="Finish…").click()
        expect(page.get_by_role("button", name="Yes, finish the study")).to_be_focused()
        found = [one for one in Axe().run(page).response["violations"] if one["impact"] in GRAVE]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_refresh_moves_nothing_and_keeps_the_focus(crowded: Study, serve, page: Page):
    page.goto(serve(crowded) + "/admin/")
    strip = page.locator(".strip")
    strip.evaluate("strip => strip.scrollLeft = 90")
    page.get_by_role("spinbutton", name="Raters who may finish").focus()
    tops = "[...document.querySelectorAll('.card, .timeline, .sheets')].map(x => x.getBoundingClientRect().top)"
    before, scrolled = page.evaluate(tops), strip.evaluate("strip => strip.scrollLeft")
    slate = crowded.store.lease("ann", ("curation",), 2, 600)
    assert slate
    crowded.store.record_pick("ann", Pick(slate.id, "pick", 0, rt_ms=900))
    expect(page.locator(".card").nth(0)).to_contain_text("15 in the last hour")
    assert page.evaluate(tops) == before
    assert strip.evaluate("strip => strip.scrollLeft") == scrolled
    expect(page.get_by_role("spinbutton", name="Raters who may finish")).to_be_focused()
