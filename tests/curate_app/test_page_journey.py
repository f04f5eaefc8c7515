"""The rater's journey in a real Chromium, at two widths and by keyboard alone; what was stored is read back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from curate_app.rater import page as rater_page
from data.store.sessions import PanelIds
from loop.raters.journey import pause, resume, set_quota
from loop.study import Study
from tests.curate_app.journeys import CODES, STEPS, new_rows, with_practice
from tests.curate_app.pages import at, check, picks, ready

pytestmark = pytest.mark.browser
BACK = "https://panel.test/done?cc={code}"
OUTLINE = "getComputedStyle(document.activeElement.closest('.option') ?? document.activeElement).outlineStyle"
IDS = "PROLIFIC_PID=5f0c0ffee&STUDY_ID=study-1&SESSION_ID=submission-1"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "light"}
LAPTOP = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"}


@pytest.fixture
def prolific(make_study) -> Study:
    """A Prolific study with every step: two practice slates, a question, three slates, a closing question."""
    return with_practice(make_study("panel.kind=prolific", f"panel.url={BACK}", *STEPS, *CODES))


def open_page(context: BrowserContext, address: str) -> Page:
    """A page whose way back to the panel leads to a page of ours, and whose clock can be moved."""
    page = context.new_page()
    page.route(
        "https://panel.test/**",
        lambda route: route.fulfill(body="<h1>Back at the panel</h1>", content_type="text/html"),
    )
    page.goto(address)
    return page


def practise(page: Page, press: Callable[[], None]) -> list[list[str]]:
    """Goes through both practice slates; their images."""
    shown = []
    for n in (1, 2):
        shown.append(ready(page))
        expect(page.locator(".badge")).to_have_text(f"Practice {n} of 2")
        if n == 1:
            check(page)
        press()
        if n == 1:
            expect(page.locator(".badge")).to_have_text("Practice 2 of 2")
    return shown


def answer_wrong_then_right(page: Page) -> None:
    """Answers the comprehension question twice."""
    at(page, "question")
    check(page)
    page.get_by_label("The first").check()
    page.get_by_role("button", name="Answer").click()
    expect(page.get_by_role("alert")).to_have_text("That is not right. You have one more try.")
    expect(page.locator("#step-title")).to_be_focused()
    check(page)
    page.get_by_label("The best").check()
    page.get_by_role("button", name="Answer").click()
    assert page.wait_for_selector(".step .remark.good").inner_text() == "That is right."


def pick_thrice(page: Page, press: Callable[[], None]) -> list[list[str]]:
    """Goes through the three slates of the study; their images."""
    shown = []
    for n in range(3):
        expect(page.locator(".line")).to_have_text(f"{n} of 3 answered")
        shown.append(ready(page))
        expect(page.locator(".badge")).to_be_hidden()
        if n == 0:
            check(page)
        press()
    return shown


def finish_and_return(page: Page) -> None:
    """Is at the end, taken back to the panel, and comes back to the last page, which takes nobody anywhere then."""
    expect(page.locator(".code")).to_have_text("DONE")
    expect(page.get_by_role("link", name="Go back to Prolific")).to_have_attribute("href", BACK.format(code="DONE"))
    expect(page.locator(".countdown")).to_contain_text("Taking you to Prolific in")
    check(page)
    page.clock.fast_forward(20_000)
    page.wait_for_url(BACK.format(code="DONE"))
    page.go_back()
    at(page, "finished")
    expect(page.locator(".countdown")).to_have_count(0)


@pytest.mark.parametrize("device", [PHONE, pytest.param(LAPTOP, marks=pytest.mark.slow)], ids=["phone", "laptop"])
def test_the_whole_prolific_journey(prolific: Study, serve, browser: Browser, device: dict):
    with browser.new_context(**device, reduced_motion="reduce") as context:
        page = open_page(context, f"{serve(prolific)}/?{IDS}")
        press = page.locator(".choice").nth(2).tap if device is PHONE else page.locator(".choice").nth(2).click

        at(page, "consent")
        expect(page.get_by_role("heading", level=2)).to_have_text("Taking part")
        expect(page.get_by_role("button", name="Withdraw")).to_have_count(0)
        check(page)
        assert prolific.store.value("SELECT count(*) FROM session") == 0
        page.get_by_role("button", name="I agree").click()

        at(page, "instructions")
        expect(page.locator(".step")).to_contain_text("2 practice rounds come first. They don't count.")
        check(page)
        page.get_by_role("button", name="Practise").click()
        shown = practise(page, press)
        answer_wrong_then_right(page)
        shown += pick_thrice(page, press)

        at(page, "closing")
        check(page)
        page.get_by_role("textbox").fill("The images were <b>small</b>?")
        page.clock.install()
        page.get_by_role("button", name="Finish").click()
        at(page, "finished")
        finish_and_return(page)

    stored = picks(prolific)
    assert [row["purpose"] for row in stored] == ["practice"] * 2 + ["curation"] * 3
    assert [row["image_sha256"] for row in stored] == [images[2] for images in shown]
    kind, viewport = "touch" if device is PHONE else "mouse", "{width}x{height}@".format(**device["viewport"])
    assert {(row["input"], row["outcome"], row["position"], row["blur_count"]) for row in stored} == {
        (kind, "pick", 2, 0)
    }
    assert all(row["viewport"].startswith(viewport) and row["rt_ms"] >= 300 for row in stored)
    answers = prolific.store.rows("SELECT question, text, correct FROM answer ORDER BY at, attempt")
    assert [tuple(row.values()) for row in answers] == [
        ("comprehension", "The first", 0),
        ("comprehension", "The best", 1),
        ("closing", "The images were <b>small</b>?", None),
    ]
    (session,) = prolific.store.rows("SELECT * FROM session")
    assert session["completion_code"] == "DONE" and session["finished_at"] and session["withdrawn_at"] is None


def test_the_keyboard_alone_goes_from_the_welcome_to_the_code(prolific: Study, serve, page: Page):
    page.goto(f"{serve(prolific)}/?{IDS}")

    def go_to(name: str) -> None:
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.innerText || document.activeElement.value || ''").startswith(name):
                assert page.evaluate(OUTLINE) == "solid"
                return
        raise AssertionError(f"{name} can't be reached with the Tab key")

    at(page, "consent")
    go_to("I agree")
    page.keyboard.press("Enter")
    at(page, "instructions")
    go_to("Practise")
    page.keyboard.press("Space")
    ready(page)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("1")
    expect(page.locator(".badge")).to_have_text("Practice 2 of 2")
    ready(page)
    page.keyboard.press("0")
    at(page, "question")
    go_to("The best")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    heard = page.locator(".spoken")
    expect(heard).to_have_text("0 of 3 answered. 4 images. Pick the one you like best.")
    ready(page)
    page.keyboard.press("4")
    expect(heard).to_have_text("1 of 3 answered. 4 images. Pick the one you like best.")
    ready(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(heard).to_have_text("2 of 3 answered. 4 images. Pick the one you like best.")
    ready(page)
    expect(page.locator(".slate")).to_be_focused()
    page.keyboard.press("2")
    at(page, "closing")
    page.keyboard.press("Tab")
    page.keyboard.type("3 and ? and 0")
    go_to("Finish")
    page.keyboard.press("Enter")
    at(page, "finished")
    expect(page.locator(".code")).to_have_text("DONE")
    assert [(row["outcome"], row["position"], row["input"]) for row in picks(prolific)] == [
        ("pick", 0, "key"), ("none", None, "key"), ("pick", 3, "key"), ("pick", 0, "key"), ("pick", 1, "key"),
    ]  # fmt: skip
    assert prolific.store.value("SELECT text FROM answer WHERE question = 'closing'") == "3 and ? and 0"


def test_declining_stores_the_refusal_and_no_more_and_may_be_thought_over(prolific: Study, serve, page: Page):
    page.goto(f"{serve(prolific)}/?{IDS}")
    at(page, "consent")

    def decline() -> None:
        page.get_by_role("button", name="No, thank you").click()
        at(page, "declined")

    assert new_rows(prolific, decline) == {"event": 1}
    expect(page.locator(".code")).to_have_text("LEFT")
    check(page)
    assert page.context.cookies() == []
    page.get_by_role("button", name="Read it again").click()
    at(page, "consent")
    page.get_by_role("button", name="I agree").click()
    at(page, "instructions")


def test_who_fails_the_question_twice_is_thanked_with_the_code_for_it(make_study, serve, page: Page):
    study = make_study("journey.question=Which?", 'journey.choices=["A","B","C"]', "journey.answer=A", *CODES)
    page.goto(serve(study))
    for wrong in ("B", "C"):
        page.get_by_role("radio", name=wrong).check()
        page.get_by_role("button", name="Answer").click()
        if wrong == "B":
            expect(page.get_by_role("alert")).to_be_visible()
    at(page, "failed")
    expect(page.locator(".code")).to_have_text("FAILED")
    check(page)
    page.reload()
    at(page, "failed")


def test_withdrawing_asks_first_and_then_marks_the_session(make_study, serve, page: Page):
    study = make_study("journey.picks=5", *CODES)
    ready(page, serve(study))
    page.keyboard.press("1")
    ready(page)
    page.get_by_role("button", name="Withdraw").click()
    check(page)
    page.get_by_role("button", name="Stay in the study").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert study.store.value("SELECT withdrawn_at FROM session") is None
    page.get_by_role("button", name="Withdraw").click()
    page.keyboard.press("2")
    page.get_by_role("dialog").get_by_role("button", name="Withdraw").click()
    at(page, "withdrawn")
    check(page)
    page.reload()
    at(page, "withdrawn")
    assert study.store.value("SELECT withdrawn_at FROM session") is not None
    assert [row["position"] for row in picks(study)] == [0]


@pytest.mark.parametrize(
    ("state", "settings", "query", "quota"),
    [
        ("preview", ["panel.kind=mturk", "journey.consent=Hello"], "?assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE", 0),
        ("uninvited", ["panel.kind=link"], "?token=made-up", 0),
        ("full", [], "", 1),
    ],
)
def test_who_may_not_begin_is_told_why(
    make_study, serve, page: Page, state: str, settings: list[str], query: str, quota: int
):
    study = make_study(*settings)
    if quota:
        set_quota(study.store, quota)
        study.store.admit("someone", None, user_agent="", consented=False)
        study.store.reach("someone", "finished")
    page.goto(f"{serve(study)}/{query}")
    at(page, state)
    check(page)
    expect(page.get_by_role("button")).to_have_count(0)
    assert study.store.value("SELECT count(*) FROM session") == quota


@pytest.mark.parametrize(("language", "words"), [("en", "Continue where you began"), ("fr", "Continuez là où")])
def test_who_comes_with_anothers_id_is_told_how_to_go_on(make_study, serve, page: Page, language: str, words: str):
    study = make_study("panel.kind=prolific", f"app.language={language}", "journey.consent=Agree?")
    link = f"{serve(study)}/?PROLIFIC_PID=5f0c&STUDY_ID=study-1&lang={language}"
    ids = PanelIds("prolific", "5f0c", "study-1", "submission-1")
    study.store.admit("someone-of-22-letters.", ids, user_agent="", consented=True)
    page.goto(f"{link}&SESSION_ID=another")
    at(page, "elsewhere")
    check(page)
    expect(page.get_by_role("heading", name=words)).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)
    page.goto(f"{link}&SESSION_ID=submission-1")
    expect(page.locator(".slate img")).to_have_count(4)


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Go back to Prolific and open the study again"), ("fr", "Retournez sur Prolific et ouvrez de nouveau")],
)
def test_who_comes_with_half_a_prolific_link_is_sent_back(make_study, serve, page: Page, language: str, words: str):
    study = make_study("panel.kind=prolific", "journey.consent=Agree?")
    address = serve(study)
    for query in ("PROLIFIC_PID=5f0c", "PROLIFIC_PID={{%PROLIFIC_PID%}}&SESSION_ID={{%25SESSION_ID%25}}"):
        page.goto(f"{address}/?{query}&lang={language}")
        at(page, "incomplete")
        expect(page.get_by_role("heading", name=words)).to_be_visible()
        expect(page.get_by_role("button")).to_have_count(0)
        check(page)
    assert study.store.value("SELECT count(*) FROM session") == 0 and not study.store.events(kinds=("declined",))


@pytest.mark.slow
def test_a_pause_keeps_the_place_and_ends_by_itself(make_study, serve, page: Page):
    study = make_study("journey.picks=3")
    images = ready(page, serve(study))
    pause(study.store)
    page.reload()
    expect(page.locator(".calm-title")).to_have_text("A short break")
    check(page)
    resume(study.store)
    assert ready(page) == images


def test_looking_away_is_counted_once_an_absence(study: Study, serve, page: Page):
    ready(page, serve(study))
    away = "dispatchEvent(new Event('blur')); dispatchEvent(new Event('blur')); dispatchEvent(new Event('focus'));"
    page.evaluate(away * 2)
    page.keyboard.press("1")
    expect(page.locator(".saved")).to_have_text("1 answer saved")
    ready(page)
    page.keyboard.press("1")
    expect(page.locator(".saved")).to_have_text("2 answers saved")
    assert [row["blur_count"] for row in picks(study)] == [2, 0]


@pytest.mark.slow
def test_time_outs_are_stored_and_after_two_the_page_asks_whether_anyone_is_there(make_study, serve, page: Page):
    study = make_study("slates.timeout_s=2.5")
    page.goto(serve(study))
    expect(page.locator(".calm-title")).to_have_text("Are you still there?")
    expect(page.locator(".saved")).to_have_text("2 answers saved")
    check(page)
    stored = picks(study)
    assert [(row["outcome"], row["position"], row["input"]) for row in stored] == [("timeout", None, None)] * 2
    assert all(row["rt_ms"] >= 2500 for row in stored)
    page.get_by_role("button", name="Continue").click()
    ready(page)
    page.keyboard.press("1")
    expect(page.locator(".saved")).to_have_text("3 answers saved")


@pytest.mark.parametrize(("query", "locale", "agree"), [
    ("?lang=fr", "en-GB", "J’accepte"), ("", "fr-CA", "J’accepte"), ("?lang=tlh", "de-DE", "I agree"),
    ("?lang=constructor", "en-GB", "I agree"),
])  # fmt: skip
def test_the_language_is_the_links_else_the_browsers_else_english(
    make_study, serve, browser: Browser, query: str, locale: str, agree: str
):
    with browser.new_context(locale=locale) as context:
        page = context.new_page()
        page.goto(f"{serve(make_study('journey.consent=Bonjour'))}/{query}")
        at(page, "consent")
        expect(page.get_by_role("button", name=agree)).to_be_visible()
        title = "Laquelle préférez-vous ?" if agree.startswith("J") else "Which one do you like best?"
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        assert page.locator(".rater").get_attribute("lang") == ("fr" if agree.startswith("J") else "en")


def test_without_cookies_the_page_says_so_and_makes_no_session(study: Study, serve, page: Page):
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'cookieEnabled', {get: () => false})")
    page.goto(serve(study))
    expect(page.locator(".calm-title")).to_have_text("Cookies are switched off")
    check(page)
    assert study.store.value("SELECT count(*) FROM session") == 0


def test_a_language_from_right_to_left_needs_only_its_file(make_study, serve, page: Page, tmp_path: Path, monkeypatch):
    folder = Path(shutil.copytree(rater_page.STATIC, tmp_path / "static"))
    english = json.loads((folder / "strings.en.json").read_text(encoding="utf-8"))
    words = {**english["rater"], "none": "لا شيء من هذه", "withdraw": "انسحاب"}
    (folder / "strings.ar.json").write_text(json.dumps({"dir": "rtl", "rater": words}), encoding="utf-8")
    monkeypatch.setattr(rater_page, "STATIC", folder)
    study = make_study("journey.picks=3")
    images = ready(page, f"{serve(study)}/?lang=ar")
    expect(page.get_by_role("button", name="لا شيء من هذه")).to_be_visible()
    # in rows, as the screen allows, each from right to left
    order = "all => all.map(x => x.getBoundingClientRect()).map(r => [r.top, -r.left])"
    boxes = page.locator(".choice").evaluate_all(order)
    assert boxes == sorted(boxes) and boxes[0][1] < boxes[1][1]
    check(page)
    page.keyboard.press("1")
    expect(page.locator(".line")).to_have_text("1 of 3 answered")
    assert [row["image_sha256"] for row in picks(study)] == images[:1]
