"""The rater's and the researcher's page in a real Chromium; what was clicked is compared with what was stored."""

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from loop.raters.journey import starting
from loop.study import Study
from tests.curate_app.pages import picks, ready, saved

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("position", [0, 3])
def test_a_click_stores_the_image_that_was_clicked(study: Study, serve, page: Page, position: int):
    images = ready(page, serve(study))
    page.locator(".choice").nth(position).click()
    saved(page, 1)
    (row,) = picks(study)
    assert (row["outcome"], row["position"], row["image_sha256"]) == ("pick", position, images[position])
    assert (row["input"], row["viewport"]) == ("mouse", "1280x720@1")
    assert row["rt_ms"] >= 0


def test_a_tap_is_stored_as_touch(study: Study, serve, browser):
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as phone:
        page = phone.new_page()
        images = ready(page, serve(study))
        page.locator(".choice").nth(2).tap()
        saved(page, 1)
    assert [(row["input"], row["image_sha256"]) for row in picks(study)] == [("touch", images[2])]


def test_the_keys_pick_by_number(make_study, serve, page: Page):
    study = make_study("curation.k=12")
    shown = [ready(page, serve(study))]
    for n, key in enumerate("4b", start=1):
        page.keyboard.press(key)
        saved(page, n)
        shown.append(ready(page))
    stored = [(row["position"], row["input"], row["image_sha256"]) for row in picks(study)]
    assert stored == [(3, "key", shown[0][3]), (10, "key", shown[1][10])]


def test_none_of_these_by_button_and_by_key(study: Study, serve, page: Page):
    ready(page, serve(study))
    page.get_by_role("button", name="None of these").click()
    saved(page, 1)
    ready(page)
    page.keyboard.press("0")
    saved(page, 2)
    assert [(row["outcome"], row["position"], row["input"]) for row in picks(study)] == [
        ("none", None, "mouse"),
        ("none", None, "key"),
    ]
    expect(page.locator(".line")).to_have_text("0 of 24 picks to generation 1")


def test_a_double_click_stores_one_pick(study: Study, serve, page: Page):
    images = ready(page, serve(study))
    page.locator(".choice").nth(1).dblclick()
    saved(page, 1)
    assert ready(page) != images
    assert [row["image_sha256"] for row in picks(study)] == [images[1]]


def test_the_second_half_of_a_double_click_does_not_answer_the_next_slate(study: Study, serve, page: Page):
    images = ready(page, serve(study))
    page.locator(".choice").nth(1).hover()
    page.mouse.down()
    page.mouse.up()
    saved(page, 1)
    assert ready(page) != images
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)
    page.keyboard.press("4")
    saved(page, 2)
    assert [row["position"] for row in picks(study)] == [1, 3]


def test_a_slate_that_has_only_just_appeared_takes_no_answer(study: Study, serve, page: Page):
    ready(page, serve(study))
    page.evaluate(
        """new MutationObserver((changes, watch) => {
            if (!changes.some(change => change.addedNodes.length)) return;
            watch.disconnect();
            document.querySelectorAll('.choice')[0].click();
            requestAnimationFrame(() => document.querySelectorAll('.choice')[0].click());
            window.hasty = true;
        }).observe(document.querySelector('.slate'), {childList: true})"""
    )
    page.keyboard.press("3")
    page.wait_for_function("window.hasty")
    ready(page)
    page.keyboard.press("4")
    saved(page, 2)
    assert [row["position"] for row in picks(study)] == [2, 3]


def test_clicks_faster_than_the_page_store_one_pick(study: Study, serve, page: Page):
    ready(page, serve(study))
    page.evaluate("for (let i = 0; i < 20; i++) document.querySelectorAll('.choice')[i % 4].click()")
    saved(page, 1)
    ready(page)
    assert [row["position"] for row in picks(study)] == [0]


def test_a_reload_shows_the_same_slate(study: Study, serve, page: Page):
    first = ready(page, serve(study))
    page.reload()
    assert ready(page) == first
    page.keyboard.press("1")
    saved(page, 1)
    second = ready(page)
    page.reload()
    assert ready(page) == second
    saved(page, 1)


@pytest.mark.slow
def test_every_slate_comes_once_and_then_the_page_waits(make_study, serve, page: Page, publish_generation):
    study = make_study("schedule.picks=100", generations=0)
    publish_generation(study, 0, slates=4, audit=2)
    shown = [ready(page, serve(study))]
    for n in range(1, 7):
        page.keyboard.press("2")
        saved(page, n)
        if n < 6:
            shown.append(ready(page))
    expect(page.get_by_text("New images are on their way")).to_be_visible()
    assert [row["image_sha256"] for row in picks(study)] == [images[1] for images in shown]
    assert [row["purpose"] for row in picks(study)] == ["curation"] * 4 + ["audit"] * 2
    publish_generation(study, 1)
    ready(page)
    expect(page.locator(".line")).to_have_text("4 of 100 picks to generation 2")


def test_two_tabs_of_one_session_never_answer_a_slate_twice(study: Study, serve, context: BrowserContext):
    address = serve(study)
    first, second = context.new_page(), context.new_page()
    images = ready(first, address)
    assert ready(second, address) == images
    first.keyboard.press("1")
    saved(first, 1)
    second.bring_to_front()
    second.keyboard.press("3")
    expect(second.locator(".note")).to_contain_text("answered already")
    assert ready(second) == ready(first)
    assert [row["image_sha256"] for row in picks(study)] == [images[0]]


def test_without_a_connection_the_pick_waits_and_is_sent_once(study: Study, serve, page: Page, context: BrowserContext):
    images = ready(page, serve(study))
    context.set_offline(True)
    page.locator(".choice").nth(2).click()
    expect(page.locator(".note")).to_contain_text("kept here")
    expect(page.locator(".saved")).to_have_text("saving…")
    assert picks(study) == []
    context.set_offline(False)
    saved(page, 1)
    assert [row["image_sha256"] for row in picks(study)] == [images[2]]


def test_an_answer_that_got_lost_on_the_way_back_is_not_stored_twice(study: Study, serve, page: Page):
    images = ready(page, serve(study))
    lost = []

    def lose_first(route):
        if lost:
            route.continue_()
        else:
            lost.append(route.fetch().json())
            route.abort()

    page.route("**/api/pick", lose_first)
    page.keyboard.press("2")
    saved(page, 1)
    assert lost[0]["saved"]
    assert [row["image_sha256"] for row in picks(study)] == [images[1]]


def test_a_lapsed_slate_is_replaced_with_a_word(study: Study, serve, page: Page):
    ready(page, serve(study))
    with study.store.write() as db:
        db.conn.execute("UPDATE slate SET lease_until = '2000-01-01T00:00:00.000Z' WHERE lease_until IS NOT NULL")
    page.keyboard.press("1")
    expect(page.locator(".note")).to_contain_text("open too long")
    ready(page)
    assert picks(study) == []
    page.keyboard.press("1")
    saved(page, 1)


def test_the_keyboard_alone_is_enough(study: Study, serve, page: Page):
    images = ready(page, serve(study))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("1")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.position") == "1":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    saved(page, 1)
    ready(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.position") == "0"
    page.keyboard.press("Space")
    saved(page, 2)
    assert [(row["position"], row["input"]) for row in picks(study)] == [(1, "key"), (0, "key")]
    assert picks(study)[0]["image_sha256"] == images[1]


def test_the_slate_is_a_labelled_group_of_buttons(study: Study, serve, page: Page):
    ready(page, serve(study))
    group = page.get_by_role("group", name="4 images. Pick the one you like best.")
    names = [button.get_attribute("aria-label") for button in group.get_by_role("button").all()]
    assert names == ["Image 1", "Image 2", "Image 3", "Image 4"]
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "0")


def test_no_request_leaves_the_server(make_study, serve, page: Page):
    address = serve(make_study("app.reveal=true", generations=2))
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    ready(page, f"{address}/")
    page.goto(f"{address}/admin/")
    page.wait_for_selector(".admin .strip img")
    page.goto(f"{address}/admin/login")
    assert len(urls) > 20
    assert [url for url in urls if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.parametrize(("width", "height", "k"), [(390, 844, 4), (1280, 720, 4), (390, 844, 9), (1280, 720, 12)])
def test_everything_fits_on_the_screen(make_study, serve, browser, width: int, height: int, k: int):
    study = make_study(f"curation.k={k}")
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        page = context.new_page()
        ready(page, serve(study))
        page_size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        assert page.evaluate(page_size) == [width, height]
        boxes = page.locator(".choice, .none, .help-open").evaluate_all(
            "all => all.map(x => x.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
        )
    assert len(boxes) == k + 2
    for left, top, right, bottom in boxes:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
        assert right - left >= 44 and bottom - top >= 44


def test_images_grow_by_whole_multiples(study: Study, serve, page: Page):
    ready(page, serve(study))
    sizes = page.locator(".choice img").evaluate_all("all => all.map(i => [i.width / i.naturalWidth, i.className])")
    for factor, name in sizes:
        assert factor == int(factor) >= 10
        assert name == "small"


def test_training_is_told_with_the_time_left(make_study, serve, page: Page):
    ready(page, serve(make_study(phase="training")))
    words = "Generation 1 is training… About 18 s left. Your picks now compare generations."
    expect(page.locator(".line")).to_have_text(words)
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")


def test_a_study_that_is_not_ready_says_so_and_goes_on_by_itself(
    make_study, serve, page: Page, publish_generation, worker_phase
):
    study = make_study("app.reveal=true", generations=0, phase=None)
    page.goto(serve(study))
    expect(page.locator(".calm-more")).to_contain_text("The generator is not running.")
    with starting(study.store):
        expect(page.locator(".calm-title")).to_have_text("The generator is starting")
        worker_phase(study, "preparing")
    expect(page.locator(".calm-title")).to_have_text("The generator is getting ready")
    publish_generation(study, 0)
    ready(page)
    expect(page.locator(".sheets img:visible")).to_have_count(1)  # generation 0 comes into view, too


def test_a_new_generation_is_revealed_when_it_arrives(make_study, serve, page: Page, publish_generation):
    study = make_study("app.reveal=true")
    ready(page, serve(study))
    expect(page.locator(".sheets img:visible")).to_have_count(1)
    publish_generation(study, 1, share=0.25)
    page.keyboard.press("1")
    expect(page.locator(".sheets figure:not(.fade) img:visible")).to_have_count(2)
    changed = "From generation 0 to generation 1 “3” grew most: from 10% to 25% of the images."
    expect(page.locator(".moved")).to_have_text(changed)
    captions = page.locator(".sheets figure:not(.fade) figcaption")
    expect(captions).to_have_text(["Generation 0, the first", "Generation 1, the latest"])
    publish_generation(study, 2, share=0.1)
    ready(page)
    page.keyboard.press("1")
    still = "Unchanged: from generation 0 to generation 2 nothing moved by more than chance."  # the sum of all rounds
    expect(page.locator(".moved")).to_have_text(still)
    words = ["", "“3” grew from 10% to 25%", "“3” shrank from 25% to 10%"]
    expect(page.locator(".strip li span")).to_have_text(words)


def test_without_reveal_nothing_of_it_is_in_the_page(study: Study, serve, page: Page):
    ready(page, serve(study))
    expect(page.locator(".reveal")).to_have_count(0)


def test_the_studys_title_is_text_wherever_it_stands(make_study, serve, page: Page):
    title = "</script><img src=x onerror=document.title='hacked'>${1+1}{{2}}"
    ready(page, serve(make_study(f"app.title={title}")))
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    assert page.title() == title


def test_the_researcher_logs_in_and_asks_for_a_generation(make_study, serve, page: Page):
    study = make_study(generations=3)
    slate = study.store.row("SELECT max(id) AS id FROM slate WHERE purpose = 'curation'")
    assert slate
    study.store.add_picks([(slate["id"], study.store.bulk_session("sim", "simulated"), 0, {})])
    page.goto(serve(study, "open sesame") + "/admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not right")
    page.get_by_label("Password").fill("open sesame")
    page.keyboard.press("Enter")
    expect(page.locator(".strip figure")).to_have_count(3)
    expect(page.get_by_role("img", name=re.compile("Mean reward from 1 at generation 0 to 1.2"))).to_be_visible()
    page.get_by_role("button", name="Retrain now").click()
    expect(page.get_by_text("Asked the worker to train generation 3 from 1 new pick.")).to_be_visible()
    expect(page.locator(".events")).to_contain_text("requested retraining now")
    page.get_by_role("spinbutton", name="Simulated users").fill("50")
    page.get_by_role("button", name="Let 50 simulated users pick").click()
    page.get_by_role("button", name="Yes, let them pick").click()
    expect(page.locator(".events")).to_contain_text("requested picks of 50 simulated users")
    asked = study.store.events(kinds=("retrain_requested", "simulate_requested"))
    assert [(event["actor"], event["kind"], event["detail"]) for event in asked] == [
        ("researcher", "retrain_requested", {}),
        ("researcher", "simulate_requested", {"n": 50}),
    ]


def test_without_a_worker_the_buttons_are_off_and_say_why(make_study, serve, page: Page):
    study = make_study(phase=None)
    page.goto(serve(study) + "/admin/")
    expect(page.locator(".reason")).to_contain_text(f"curate worker {study.path}")
    expect(page.get_by_role("button", name="Retrain now")).to_be_disabled()
    expect(page.get_by_role("button", name="Let 200 simulated users pick")).to_be_disabled()
