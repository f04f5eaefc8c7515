"""Best-and-worst slates and ties in a real Chromium, by mouse, touch and keyboard: what was pressed is stored."""

import os
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from loop.study import Study
from tests.curate_app.pages import check, picks, ready, saved

pytestmark = pytest.mark.browser
FIELDS = ("outcome", "position", "worst", "input")
SHOTS = os.environ.get("CURATE_SHOTS")  # a folder for screenshots


def rows(study: Study) -> list[tuple]:
    return [tuple(row[field] for field in FIELDS) for row in picks(study)]


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png")


@pytest.fixture(scope="module")
def worst_study(serve_study: Callable[..., tuple[Study, str]]) -> tuple[Study, str]:
    study, address = serve_study("slates.kind=best_worst", "curation.k=4", "journey.practice=1")
    with study.store.write() as db:  # templates to practise on, as the worker would make them
        db.conn.execute(
            """UPDATE slate SET purpose = 'practice' WHERE id IN (SELECT id FROM slate WHERE purpose = 'audit'
            ORDER BY id LIMIT 2)"""
        )
    return study, address


@pytest.fixture(scope="module")
def tie_study(serve_study: Callable[..., tuple[Study, str]]) -> tuple[Study, str]:
    return serve_study("slates.ties=true", "curation.k=2")


def test_two_clicks_are_the_best_and_the_worst(worst_study: tuple[Study, str], page: Page):
    study, address = worst_study
    ready(page, address)
    expect(page.locator(".how")).to_contain_text("then the one you like least")
    check(page)
    shot(page, "practice-worst")
    choices, heading = page.locator(".choice"), page.locator("#question")
    choices.nth(2).click()
    choices.nth(1).click()
    expect(page.locator(".how")).to_be_hidden()  # the first that counts
    images = ready(page)
    before = heading.text_content()
    choices.nth(2).click()
    expect(heading).to_have_text("Now the worst")
    expect(choices.nth(2)).to_have_class("choice best")
    expect(choices.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".spoken")).to_have_text("Image 3 is the best. Now pick the one you like least.")
    expect(page.locator(".none")).to_be_disabled()
    check(page)
    shot(page, "now-the-worst")
    page.keyboard.press("0")  # something was liked
    page.wait_for_timeout(400)
    choices.nth(2).click()  # taken back
    expect(heading).to_have_text(before or "")
    expect(page.locator(".best")).to_have_count(0)
    choices.nth(3).click()
    choices.nth(0).click()
    saved(page, 1)
    assert ready(page) != images
    expect(heading).to_have_text(before or "")
    page.locator(".none").focus()
    page.keyboard.press("2")
    expect(page.locator(".slate")).to_be_focused()  # the button that had it takes no press now
    page.keyboard.press("4")
    saved(page, 2)
    ready(page)
    page.keyboard.press("0")
    saved(page, 3)
    page.keyboard.press("Control+z")
    saved(page, 2)
    ready(page)
    page.keyboard.press("0")
    saved(page, 3)
    assert rows(study) == [
        ("pick", 2, 1, "mouse"), ("pick", 3, 0, "mouse"), ("pick", 1, 3, "key"), ("none", None, None, "key"),
        ("none", None, None, "key"),
    ]  # fmt: skip
    assert [row["undone_at"] is not None for row in picks(study)] == [False] * 3 + [True, False]
    assert picks(study)[1]["image_sha256"] == images[3]


def test_taps_and_dark_phones_pick_a_worst_too(worst_study: tuple[Study, str], browser: Browser):
    study, address = worst_study
    n = len(rows(study))
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
    with browser.new_context(**phone) as context:
        page = context.new_page()
        ready(page, f"{address}?lang=fr")
        page.locator(".choice").nth(0).tap()
        page.locator(".choice").nth(1).tap()
        ready(page)
        place = "() => document.querySelector('.choice').getBoundingClientRect().top"
        top = page.evaluate(place)
        page.locator(".choice").nth(1).tap()
        expect(page.locator("#question")).to_have_text("Et maintenant, la moins bonne")
        assert page.evaluate(place) == top  # nothing moves under the second tap
        check(page)
        shot(page, "worst-phone-dark")
        page.locator(".choice").nth(2).tap()
        ready(page)
    assert rows(study)[n:] == [("pick", 0, 1, "touch"), ("pick", 1, 2, "touch")]


def test_both_are_as_good_by_button_and_by_keys(tie_study: tuple[Study, str], page: Page):
    study, address = tie_study
    ready(page, address)
    check(page)
    shot(page, "tie")
    page.get_by_role("button", name="Both are as good").click()
    for n, key in enumerate(("=", "0", "n", "2"), start=1):
        saved(page, n)
        ready(page)
        page.keyboard.press(key)
    saved(page, 5)
    assert rows(study) == [
        ("tie", None, None, "mouse"), ("tie", None, None, "key"), ("tie", None, None, "key"),
        ("none", None, None, "key"), ("pick", 1, None, "key"),
    ]  # fmt: skip
    expect(page.locator(".line")).to_contain_text("4 of 24 picks")


def test_a_tap_on_both_and_the_help(tie_study: tuple[Study, str], browser: Browser):
    study, address = tie_study
    n = len(rows(study))
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        ready(page, address)
        shot(page, "tie-phone")
        check(page)
        page.get_by_role("button", name="Both are as good").tap()
        saved(page, 1)
        page.locator(".help-open").tap()
        expect(page.locator("dialog.help")).to_contain_text("say that both are as good")
    assert rows(study)[n:] == [("tie", None, None, "touch")]


def test_the_route_refuses_what_a_slate_does_not_ask_for(make_study, serve):
    wrong = (
        ({"outcome": "pick", "position": 1}, "worst", "this slate asks for the worst, too"),
        ({"outcome": "pick", "position": 1, "worst": 1}, "worst", "worst goes with"),
        ({"outcome": "pick", "position": 1, "worst": 9}, "worst", "worst must lie between 0 and 3"),
        ({"outcome": "none", "worst": 1}, "worst", "worst goes with outcome 'pick'"),
        ({"outcome": "tie"}, "outcome", "this study allows no ties"),
    )
    study = make_study("slates.kind=best_worst", "curation.k=4")
    with httpx.Client(base_url=serve(study)) as client:
        state = client.post("/api/session", json={}).json()
        assert state["worst"] is True and "tie" not in state
        for body, field, words in wrong:
            answer = client.post("/api/pick", json={"slate_id": state["slate_id"], **body})
            (fault,) = answer.json()["detail"]
            assert answer.status_code == 422 and fault["loc"] == ["body", field] and words in fault["msg"], body
        right = {"slate_id": state["slate_id"], "outcome": "pick", "position": 1, "worst": 3}
        first, again = (client.post("/api/pick", json=right).json() for _ in range(2))
        assert not first["duplicate"] and again["duplicate"] and again["pick_id"] == first["pick_id"]
        assert client.post("/api/pick", json={**right, "worst": 2}).status_code == 409
    plain = make_study("curation.k=4")
    with httpx.Client(base_url=serve(plain)) as client:
        state = client.post("/api/session", json={}).json()
        answer = client.post("/api/pick", json={**right, "slate_id": state["slate_id"]})
        assert answer.status_code == 422 and "asks for the best alone" in answer.json()["detail"][0]["msg"]
    assert rows(study) == [("pick", 1, 3, None)]
