"""What goes wrong between a rater and the server: nothing is lost or stored twice, and the page goes on by itself."""

import sqlite3
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from data.store import connection
from loop.study import Study
from tests.curate_app.journeys import STEPS, with_practice
from tests.curate_app.pages import at, picks, ready, saved

pytestmark = pytest.mark.browser
IDS = "PROLIFIC_PID=5f0c0ffee&STUDY_ID=study-1&SESSION_ID=submission-1"
SLATE = ".rater[data-view='slate']"


@pytest.fixture
def prolific(make_study) -> Study:
    """A Prolific study with every step."""
    return with_practice(make_study("panel.kind=prolific", *STEPS))


def shown(study: Study) -> list[str]:
    """The images that were picked, in the order of their picks."""
    return [row["image_sha256"] for row in picks(study)]


def kept(page: Page) -> int:
    return page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('curate.pick.')).length")


def test_picks_made_offline_survive_a_reload_and_are_sent_once_in_order(
    study: Study, serve, page: Page, context: BrowserContext
):
    address = serve(study)
    first = ready(page, address)
    context.set_offline(True)
    page.keyboard.press("3")
    expect(page.locator(".note")).to_contain_text("kept here")
    second = ready(page)
    assert second != first
    page.keyboard.press("2")
    expect(page.locator(".rater")).to_have_attribute("data-state", "picked")
    assert (kept(page), picks(study)) == (2, [])
    page.goto("about:blank")
    context.set_offline(False)
    third = ready(page, address)
    saved(page, 2)
    assert third not in (first, second)
    assert (shown(study), kept(page)) == ([first[2], second[1]], 0)


def test_a_pick_that_another_tab_sends_is_not_sent_again(study: Study, serve, context: BrowserContext):
    address, one = serve(study), context.new_page()
    images = ready(one, address)
    one.route("**/api/pick", lambda route: route.abort())
    one.keyboard.press("1")
    expect(one.locator(".note")).to_contain_text("kept here")
    two = context.new_page()
    ready(two, address)
    saved(two, 1)
    one.unroute("**/api/pick")
    one.evaluate("dispatchEvent(new Event('online'))")
    saved(one, 1)
    assert shown(study) == [images[0]]
    assert ready(one) == ready(two)


def test_another_sessions_pick_stays_where_it_is(study: Study, serve, browser: Browser, page: Page):
    address = serve(study)
    ready(page, address)
    entry = "JSON.stringify({key: 'curate.pick.someone.1', at: Date.now(), pick: {slate_id: 1, outcome: 'none'}})"
    page.evaluate(f"localStorage.setItem('curate.pick.someone.1', {entry})")
    page.evaluate("localStorage.setItem('curate.pick.someone.2', 'not JSON')")
    ready(page, address)
    page.keyboard.press("1")
    saved(page, 1)
    assert kept(page) == 2


def test_a_browser_that_forbids_storage_still_picks(study: Study, serve, page: Page):
    page.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage'])"
        "  Object.defineProperty(window, name, {get() { throw new DOMException('forbidden'); }});"
    )
    images = ready(page, serve(study))
    page.keyboard.press("1")
    saved(page, 1)
    assert shown(study) == [images[0]]


def test_a_restart_of_the_server_costs_nobody_their_place(prolific: Study, serving, page: Page):
    with serving(prolific) as address:
        page.goto(f"{address}/?{IDS}")
        page.get_by_role("button", name="I agree").click()
        at(page, "instructions")
    port = urlsplit(address).port
    page.get_by_role("button", name="Practise").click()
    expect(page.locator(".note")).to_contain_text("does not answer")
    with serving(prolific, port=port):
        images = [ready(page)]
    page.keyboard.press("2")
    expect(page.locator(".note")).to_contain_text("kept here")
    with serving(prolific, port=port):
        expect(page.locator(".badge")).to_have_text("Practice 2 of 2")
        images.append(ready(page))
        page.keyboard.press("2")
        at(page, "question")
    assert shown(prolific) == [one[1] for one in images]
    assert prolific.store.value("SELECT count(*) FROM session") == 1


def test_a_slow_server_shows_no_spinner_between_slates(study: Study, serve, page: Page):
    ready(page, serve(study))
    waiting: list[Route] = []
    page.route("**/api/pick", lambda route: waiting.append(route))
    page.evaluate(
        """new MutationObserver(() => {
            if (document.querySelector('.rater').dataset.view !== 'slate') window.spun = true;
        }).observe(document.querySelector('.rater'), {attributes: true})"""
    )
    for n in range(1, 4):
        page.keyboard.press("1")
        expect(page.locator(".saved")).to_have_text("saving…")
        ready(page)
        waiting.pop().continue_()
        saved(page, n)
    assert page.evaluate("window.spun") is None
    assert len(picks(study)) == 3


def test_while_another_program_holds_the_database_the_page_keeps_answers_and_goes_on(
    study: Study, serve, page: Page, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "PATIENCE_S", 0.1)
    monkeypatch.setattr(connection, "TRY_S", 0.05)
    images = ready(page, serve(study))
    other = sqlite3.connect(study.store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    page.keyboard.press("2")
    expect(page.locator(".note")).to_contain_text("Saving takes longer than usual")
    assert (kept(page), picks(study)) == (1, [])
    other.close()
    saved(page, 1)
    expect(page.locator(".note")).to_contain_text("Saving works again")
    assert (shown(study), kept(page)) == ([images[1]], 0)


def test_an_answer_is_kept_and_timed_however_the_browsers_clock_is_set(study: Study, serve, context: BrowserContext):
    page, address = context.new_page(), serve(study)
    page.add_init_script("const now = Date.now; let jumps = 0; Date.now = () => now() - 1e11 * ++jumps;")
    ready(page, address)
    context.route("**/api/pick", lambda route: route.abort())
    page.keyboard.press("1")
    expect(page.locator(".note")).to_contain_text("kept here")
    page.close()
    page, sent = context.new_page(), []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.url.endswith("pick") else None)
    ready(page, address)
    expect(page.locator(".note")).to_contain_text("kept here")
    assert kept(page) == 1  # until the server has it
    context.unroute("**/api/pick")
    page.evaluate("dispatchEvent(new Event('online'))")
    saved(page, 1)
    assert kept(page) == 0 and all(0 <= one["rt_ms"] < 600_000 for one in sent)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again(study: Study, serve, page: Page, status: int):
    images, refused = ready(page, serve(study)), []

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(status)
            route.fulfill(status=status, headers={"Retry-After": "1"})

    page.route("**/api/pick", refuse_once)
    page.keyboard.press("1")
    saved(page, 1)
    assert (shown(study), refused) == ([images[0]], [status])


def test_a_pick_whose_cookie_is_gone_counts_when_the_panels_ids_bring_the_session_back(
    make_study, serve, page: Page, context: BrowserContext
):
    study = make_study("panel.kind=prolific")
    images = ready(page, f"{serve(study)}/?{IDS}")
    context.clear_cookies()
    page.keyboard.press("4")
    saved(page, 1)
    ready(page)
    assert shown(study) == [images[3]]
    assert study.store.value("SELECT count(*) FROM session") == 1


def test_reload_and_another_device_go_on_at_the_same_step(prolific: Study, serve, page: Page, browser: Browser):
    address = f"{serve(prolific)}/?{IDS}"
    page.goto(address)
    page.get_by_role("button", name="I agree").click()
    at(page, "instructions")
    page.reload()
    at(page, "instructions")
    page.get_by_role("button", name="Practise").click()
    images = ready(page)
    with browser.new_context() as other:
        phone = other.new_page()
        assert ready(phone, address) == images
        for _ in range(2):
            ready(phone)
            phone.keyboard.press("1")
            expect(phone.locator(".slate")).to_have_attribute("data-chosen", "pick")
        at(phone, "question")
    page.keyboard.press("2")
    expect(page.locator(".note")).to_contain_text("answered already")
    at(page, "question")
    page.go_back()
    page.go_forward()
    at(page, "question")
    assert [row["position"] for row in picks(prolific)] == [0, 0]


@pytest.mark.slow
def test_two_tabs_and_double_clicks_do_every_step_once(prolific: Study, serve, context: BrowserContext):
    address = f"{serve(prolific)}/?{IDS}"
    one, two = context.new_page(), context.new_page()
    for page in (one, two):
        page.goto(address)
        at(page, "consent")
    for page in (one, two):
        page.bring_to_front()
        page.get_by_role("button", name="I agree").dblclick()
        at(page, "instructions")
    for page in (one, two):
        page.bring_to_front()
        page.get_by_role("button", name="Practise").dblclick()
        ready(page)
    for _ in range(2):
        ready(two)
        two.locator(".choice").first.dblclick()
        expect(two.locator(".slate")).to_have_attribute("data-chosen", "pick")
    at(two, "question")
    two.get_by_label("The first").check()
    two.get_by_role("button", name="Answer").dblclick()
    expect(two.get_by_role("alert")).to_be_visible()
    counts = prolific.store.rows(
        """SELECT (SELECT count(*) FROM session) AS sessions, (SELECT count(*) FROM pick) AS picks,
        (SELECT count(*) FROM answer) AS answers"""
    )
    assert [tuple(row.values()) for row in counts] == [(1, 2, 1)]


def test_an_answer_that_got_lost_costs_no_try_and_makes_no_second_session(make_study, serve, page: Page):
    study = make_study(
        "journey.consent=Hello", "journey.question=Which?", 'journey.choices=["A","B"]', "journey.answer=A"
    )

    def lose_first(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/api/step", lose_first, times=1)
    page.goto(serve(study))
    page.get_by_role("button", name="I agree").click()
    page.get_by_role("radio", name="B").check()
    page.get_by_role("button", name="Answer").click()
    expect(page.get_by_role("alert")).to_have_text("That is not right. You have one more try.")
    page.get_by_role("radio", name="B").check()
    page.get_by_role("button", name="Answer").click()
    expect(page.get_by_role("alert")).to_have_text("You already tried that one. Choose another.")
    page.get_by_role("radio", name="A").check()
    page.get_by_role("button", name="Answer").click()
    ready(page)
    assert [row["text"] for row in study.store.rows("SELECT text FROM answer ORDER BY attempt")] == ["B", "A"]
