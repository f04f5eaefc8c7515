"""Taking an answer back and looking closer on the rater's page: by mouse, touch and keyboard, rows compared."""

import re

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, Page, expect

from curate_app.web.app import build_app
from loop.study import Study
from tests.curate_app.pages import check, picks, ready, saved

UNDO = ".undo:not(:disabled)"


def rows(study: Study) -> list[tuple[int, int | None, bool]]:
    """(slate, position, taken back) of every answer."""
    return [(row["slate_id"], row["position"], row["undone_at"] is not None) for row in picks(study)]


def returned(page: Page, images: list[str]) -> None:
    """Waits until the slate with these images takes an answer again."""
    for _ in range(100):
        if ready(page) == images:
            return
        page.wait_for_timeout(50)
    assert ready(page) == images


@pytest.mark.parametrize(
    "way", [pytest.param("mouse", marks=pytest.mark.slow), pytest.param("touch", marks=pytest.mark.slow), "keyboard"]
)
def test_the_last_answer_is_taken_back_and_given_anew(study: Study, serve, browser: Browser, way: str):
    address = serve(study)
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with browser.new_context(**(phone if way == "touch" else {"viewport": {"width": 1366, "height": 768}})) as context:
        page = context.new_page()

        def pick(place: int) -> None:
            choice = page.locator(".choice").nth(place)
            {"mouse": choice.click, "touch": choice.tap, "keyboard": lambda: page.keyboard.press(str(place + 1))}[way]()

        def undo() -> None:
            button = page.locator(UNDO)
            expect(button).to_be_visible()
            {"mouse": button.click, "touch": button.tap, "keyboard": lambda: page.keyboard.press("u")}[way]()

        first = ready(page, address)
        expect(page.locator(UNDO)).to_have_count(0)
        pick(0)
        saved(page, 1)
        second = ready(page)
        check(page)
        undo()
        returned(page, first)
        expect(page.locator(".note")).to_have_text("Taken back. Pick again.")
        expect(page.locator(UNDO)).to_have_count(0)
        pick(2)
        saved(page, 1)
        returned(page, second)
        pick(1)
        saved(page, 2)
        ready(page)
    one, again, other = rows(study)
    assert one == (again[0], 0, True) and again[1:] == (2, False) and other[1:] == (1, False)
    assert [row["input"] for row in picks(study)] == [{"keyboard": "key"}.get(way, way)] * 3


def test_an_undo_without_a_connection_waits_in_line_and_survives_a_reload(
    study: Study, serve, page: Page, context: BrowserContext
):
    address = serve(study)
    first = ready(page, address)
    context.set_offline(True)
    page.keyboard.press("3")
    expect(page.locator(".note")).to_contain_text("kept here")
    page.keyboard.press("u")
    returned(page, first)
    page.keyboard.press("2")
    expect(page.locator(".rater")).to_have_attribute("data-state", "picked")
    assert rows(study) == []
    page.goto("about:blank")
    context.set_offline(False)
    assert ready(page, address) != first
    saved(page, 1)
    assert [row[1:] for row in rows(study)] == [(2, True), (1, False)] and len({row[0] for row in rows(study)}) == 1
    assert page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('curate.pick.')).length") == 0


def test_what_trains_stays_and_the_page_says_so(study: Study, serve, page: Page):
    first = ready(page, serve(study))
    page.keyboard.press("1")
    saved(page, 1)
    study.store.set_status("turn", t=1, after=0, cut=study.store.last_pick(), asked=1)
    page.keyboard.press("u")
    expect(page.locator(".note")).to_have_text("The generator is learning from that answer already, so it stays.")
    assert ready(page) != first
    page.keyboard.press("1")
    saved(page, 2)
    assert [row[2] for row in rows(study)] == [False, False]


def test_the_answer_that_ends_a_session_offers_no_undo(make_study, serve, page: Page):
    study = make_study("journey.picks=2")
    ready(page, serve(study))
    page.keyboard.press("1")
    expect(page.locator(UNDO)).to_be_visible()
    ready(page)
    page.wait_for_timeout(200)
    page.keyboard.press("1")
    expect(page.locator(UNDO)).to_have_count(0)
    page.wait_for_selector('.rater[data-state="finished"]')
    page.keyboard.press("u")
    assert [row[2] for row in rows(study)] == [False, False]


def test_a_study_may_do_without(make_study, serve, page: Page):
    study = make_study("slates.undo_s=0")
    ready(page, serve(study))
    page.keyboard.press("1")
    saved(page, 1)
    expect(page.locator(".undo")).to_have_count(0)
    expect(page.locator(".final")).to_have_text("An answer can't be undone.")


def test_an_image_is_seen_at_its_full_size_and_not_picked(study: Study, serve, browser: Browser):
    address = serve(study)
    with browser.new_context(viewport={"width": 800, "height": 700}) as context:
        page = context.new_page()
        images = ready(page, address)
        dialog, choices = page.locator("dialog.zoom"), page.locator(".choice")
        # the mouse: pressed and held, then let go
        choices.nth(1).hover()
        page.mouse.down()
        expect(dialog).to_be_visible()
        expect(dialog.locator("img")).to_have_attribute("src", re.compile(images[1]))
        check(page)
        page.mouse.up()
        expect(dialog).to_be_hidden()
        # the key: on what has the focus; the keys of the images show them; Escape closes
        choices.nth(0).focus()
        page.keyboard.press("z")
        page.keyboard.press("3")
        expect(dialog).to_have_attribute("aria-label", "Image 3, full size")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert picks(study) == []
        page.keyboard.press("3")
        saved(page, 1)
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        ready(page, address)
        touch = context.new_cdp_session(page)
        box = page.locator(".choice").first.bounding_box()
        assert box
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        expect(page.locator("dialog.zoom")).to_be_visible()
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        expect(page.locator("dialog.zoom")).to_be_hidden()
        page.wait_for_timeout(300)
    assert len(picks(study)) == 1


def test_the_route_refuses_in_words(study: Study):
    client = TestClient(
        build_app(study, admin_open=True, password=None), base_url="http://localhost", client=("127.0.0.1", 50_000)
    )
    assert client.post("/api/undo", json={"slate_id": 1}).status_code == 401
    state = client.post("/api/session", json={}).json()
    body = {"slate_id": state["slate_id"]}
    assert state["undo_s"] == 10 and state["attempt"] == 1
    assert client.post("/api/undo", json=body).status_code == 404
    pick = {**body, "outcome": "pick", "position": 0}
    given = client.post("/api/pick", json=pick).json()
    undone = [client.post("/api/undo", json=body).json() for _ in range(2)]
    assert [(row["undone"], row["pick_id"], row["duplicate"]) for row in undone] == [
        (True, given["pick_id"], False), (True, given["pick_id"], True),
    ]  # fmt: skip
    assert undone[0]["next"]["slate_id"] == body["slate_id"] and undone[0]["next"]["attempt"] == 2
    assert undone[0]["progress"]["yours"] == 0
    assert client.post("/api/pick", json={**pick, "attempt": 2}).json()["duplicate"] is False
    study.store.set_status("turn", t=1, after=0, cut=study.store.last_pick(), asked=1)
    late = client.post("/api/undo", json=body)
    assert late.status_code == 409 and "learning from that answer already" in late.json()["detail"]
    assert client.post("/api/undo", json={**body, "attempt": 1}).json()["duplicate"]
    assert 'curate_picks_undone_total{kind="human",outcome="pick",purpose="curation",t="0"} 1.0' in (
        client.get("/metrics").text
    )
