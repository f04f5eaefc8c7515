"""How a paid study ends for a rater: what becomes of the answers, of payment, and of the code, on every screen."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from loop.raters.journey import finish, resume, set_quota
from loop.study import Study
from tests.curate_app.journeys import CODES
from tests.curate_app.pages import VIEWPORTS, at, check, ready

pytestmark = pytest.mark.browser
BACK = "https://panel.test/done?cc={code}"
IDS = "PROLIFIC_PID={name}&STUDY_ID=study-1&SESSION_ID=of-{name}"
Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def served(serve_study) -> tuple[Study, str]:
    """A Prolific study of two picks, with consent and a question; who fails it gets the study's own word on payment."""
    return serve_study(
        "panel.kind=prolific", f"panel.url={BACK}", *CODES, "journey.consent=## Taking part\n\nDo you agree?",
        "journey.question=What do you pick?", 'journey.choices=["The best","The first","Any"]',
        "journey.answer=The best", "journey.picks=2", "journey.thanks=You were a great help.",
        "journey.failed=Trying is paid: *50 cents*.",
    )  # fmt: skip


@pytest.fixture
def study(served: tuple[Study, str]) -> Iterator[Study]:
    """The study, which goes on and has no quota again afterwards."""
    study, _ = served
    yield study
    resume(study.store)
    set_quota(study.store, 0)


@pytest.fixture
def visit(served: tuple[Study, str], browser: Browser) -> Iterator[Visit]:
    """A factory: the page as a rater of this name sees it, or by a query of one's own, in a browser of its own."""
    contexts = []

    def open_page(name: str = "", query: str | None = None, **more: str) -> Page:
        contexts.append(browser.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce", **more))
        page = contexts[-1].new_page()
        page.clock.install()
        page.route("https://panel.test/**", lambda route: route.fulfill(body="<h1>Back</h1>", content_type="text/html"))
        page.goto(f"{served[1]}/?{IDS.format(name=name) if query is None else query}")
        return page

    yield open_page
    for context in contexts:
        context.close()


def agree(page: Page) -> None:
    at(page, "consent")
    page.locator("[data-act=agree]").click()


def answer(page: Page, text: str) -> None:
    page.get_by_role("radio", name=text).check()
    page.get_by_role("button", name="Answer").click()


def begin(page: Page) -> None:
    agree(page)
    answer(page, "The best")
    ready(page)


def pick(page: Page) -> None:
    ready(page)
    with page.expect_response("**/api/pick"):
        page.keyboard.press("1")


def reads(page: Page, *sentences: str) -> None:
    """The ending says all of this, its words begin at the top of every screen, and nothing lies over them."""
    for sentence in sentences:
        expect(page.locator(".step")).to_contain_text(sentence)
    expect(page.locator(".note.shown")).to_have_count(0)
    for width, height in VIEWPORTS:
        page.set_viewport_size({"width": width, "height": height})
        check(page)
        box = page.locator("#step-title").bounding_box()
        assert box and 0 <= box["y"] < 0.6 * height and box["x"] >= 0
    page.set_viewport_size({"width": 390, "height": 844})


def code(page: Page, label: str, text: str) -> None:
    expect(page.locator(".code-label")).to_have_text(label)
    expect(page.locator(".code")).to_have_text(text)


def stays(page: Page) -> None:
    """The page takes nobody away by itself."""
    expect(page.locator(".countdown")).to_have_count(0)
    page.clock.fast_forward(60_000)
    expect(page.locator("#step-title")).to_be_visible()


def test_who_finished_is_told_of_answers_and_payment_and_may_still_withdraw(study: Study, visit: Visit):
    page = visit("finisher")
    begin(page)
    pick(page)
    ready(page)
    page.keyboard.press("0")
    at(page, "finished")
    reads(page, "You were a great help.", "Your 2 answers are saved for the study.", "To be paid, go back to Prolific")
    code(page, "Your completion code", "DONE")
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    expect(page.locator(".countdown")).to_contain_text("Taking you to Prolific in")
    page.get_by_role("button", name="Withdraw my answers").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("Withdraw your answers?")
    expect(dialog).to_contain_text("Your completion code still holds.")
    expect(dialog).not_to_contain_text("in the study")
    check(page)
    stays(page)
    dialog.get_by_role("button", name="Keep my answers in").click()
    at_end = page.locator(".rater[data-state=finished]")
    expect(at_end).to_have_count(1)
    page.get_by_role("button", name="Withdraw my answers").click()
    dialog.get_by_role("button", name="Withdraw").click()
    at(page, "withdrawn")
    reads(page, "marked as withdrawn", "this changes nothing about your payment", "To be paid, go back to Prolific")
    code(page, "Your completion code", "DONE")
    stays(page)


def test_who_finished_is_taken_back_after_six_seconds(study: Study, visit: Visit):
    page = visit("traveller")
    begin(page)
    pick(page)
    pick(page)
    at(page, "finished")
    page.clock.run_for(10_000)
    expect(page).to_have_url(BACK.format(code="DONE"))


def test_who_declines_gets_a_leaving_code_and_stays(study: Study, visit: Visit):
    page = visit("decliner")
    at(page, "consent")
    page.get_by_role("button", name="No, thank you").click()
    at(page, "declined")
    expect(page.locator("#step-title")).to_have_text("You chose not to take part")
    reads(page, "Nothing about you has been stored", "you are not paid", "hand in your leaving code on Prolific")
    code(page, "Your leaving code", "LEFT")
    expect(page.get_by_role("link", name="Go back to Prolific")).to_have_attribute("href", BACK.format(code="LEFT"))
    stays(page)

    french = visit("refus", locale="fr-FR")
    at(french, "consent")
    french.get_by_role("button", name="Non, merci").click()
    at(french, "declined")
    reads(french, "Rien sur vous n’a été enregistré", "vous n’êtes pas payé")
    code(french, "Votre code de départ", "LEFT")


def test_the_question_says_of_each_answer_what_it_is_and_then_how_the_study_ends(study: Study, visit: Visit):
    page, sent = visit("failer"), []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/api/step") else None)
    agree(page)
    at(page, "question")
    page.get_by_role("button", name="Answer").click()
    alert = page.get_by_role("alert")
    expect(alert).to_have_text("Choose an answer first.")
    assert sent == [] and page.evaluate("document.querySelector('.step form').noValidate")
    for n, words in enumerate(("That is not right. You have one more try.", *["You already tried that one."] * 2), 1):
        with page.expect_response("**/api/step"):
            answer(page, "Any")
        expect(alert).to_contain_text(words)
        expect(alert).to_have_count(1)
        expect(page.locator(".note.shown")).to_have_count(0)
        assert len(sent) == n
    check(page)
    answer(page, "The first")
    at(page, "failed")
    reads(
        page, "Neither of your two answers was right", "What you answered so far is stored", "Trying is paid: 50 cents."
    )
    expect(page.locator(".step")).not_to_contain_text("The researchers decide")
    code(page, "Your leaving code", "FAILED")
    expect(page.locator(".countdown")).to_have_count(0)


def test_that_is_right_leaves_with_its_step(study: Study, visit: Visit):
    page = visit("knower")
    agree(page)
    at(page, "question")
    page.get_by_role("radio", name="The best").check()
    page.evaluate(
        """new MutationObserver(() => {
            const word = document.querySelector('.remark.good');
            if (word) window.word = [word.textContent, word.checkVisibility()];
        }).observe(document.querySelector('.step'), {childList: true})"""
    )
    page.get_by_role("button", name="Answer").click()
    ready(page)
    assert page.evaluate("window.word") == ["That is right.", True]
    expect(page.locator(".remark")).to_be_hidden()
    expect(page.locator(".note.shown")).to_have_count(0)


def test_who_withdraws_is_told_so_and_nothing_of_old_images(study: Study, visit: Visit):
    page = visit("leaver")
    begin(page)
    pick(page)
    ready(page)
    other = page.context.new_page()
    other.set_viewport_size({"width": 390, "height": 844})
    ready(other, page.url)
    other.get_by_role("button", name="Withdraw").click()
    dialog = other.get_by_role("dialog")
    expect(dialog).to_contain_text("You can stop at any time")
    expect(dialog.get_by_role("button", name="Stay in the study")).to_be_focused()
    dialog.get_by_role("button", name="Withdraw").click()
    at(other, "withdrawn")
    page.bring_to_front()
    page.keyboard.press("2")  # an answer that comes too late
    for one in (page, other):
        at(one, "withdrawn")
        reads(one, "marked as withdrawn", "The researchers decide whether you are paid", "hand in your leaving code")
        code(one, "Your leaving code", "LEFT")
        expect(one.locator(".countdown")).to_have_count(0)
    expect(page.locator(".note")).to_have_text("")


def test_a_study_that_is_over_says_so_to_who_comes_and_to_who_is_there(study: Study, visit: Visit):
    page = visit("late")
    begin(page)
    pick(page)
    set_quota(study.store, 1)
    newcomer = visit("newcomer")
    at(newcomer, "full")
    expect(newcomer.locator("#step-title")).to_have_text("The study is full")
    reads(newcomer, "Nothing about you has been stored", "you are not paid", "return your submission on Prolific")
    finish(study.store)
    newcomer.reload()
    at(newcomer, "full")
    expect(newcomer.locator("#step-title")).to_have_text("The study is over")
    reads(newcomer, "nobody new can begin", "you are not paid", "return your submission on Prolific")
    page.reload()
    at(page, "finished")
    expect(page.locator("#step-title")).to_have_text("The study has ended")
    reads(page, "It takes no more answers.", "Your answer is saved for the study.", "To be paid, go back to Prolific")
    code(page, "Your completion code", "DONE")


@pytest.mark.slow
def test_links_that_lead_nowhere_say_where_to_go(study: Study, visit: Visit):
    page = visit(query="")
    at(page, "uninvited")
    reads(page, "people who come from Prolific", "Nothing has been stored.")
    page = visit(query="PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}")
    at(page, "incomplete")
    expect(page.locator("#step-title")).to_have_text("Go back to Prolific and open the study again")
    reads(page, "your answers could not be paid for", "Nothing has been stored.")
    begin(visit("owner"))
    page = visit(query=IDS.format(name="owner").replace("of-owner", "another"))
    at(page, "elsewhere")
    reads(page, "your place is kept there", "Nothing that you answered is lost.")


@pytest.mark.parametrize(
    ("path", "locale", "title", "link"),
    [
        ("nothing/here", "en-GB", "There is no page at this address", "Go to the study"),
        ("api/nothing", "fr-FR", "Il n’y a pas de page à cette adresse", "Aller à l’étude"),
    ],
)
def test_an_unknown_address_has_a_page(
    served: tuple[Study, str], browser: Browser, path: str, locale: str, title: str, link: str
):
    with browser.new_context(viewport={"width": 390, "height": 844}, locale=locale) as context:
        page = context.new_page()
        response = page.goto(f"{served[1]}/{path}")
        assert response and response.status == 404
        expect(page.get_by_role("heading")).to_have_text(title)
        reads(page)
        page.get_by_role("link", name=link).click()
        at(page, "uninvited")


def test_a_program_gets_json_at_an_unknown_address(served: tuple[Study, str], page: Page):
    for path in ("nothing/here", "api/nothing", "admin/nothing"):
        response = page.request.get(f"{served[1]}/{path}", headers={"Accept": "application/json"})
        assert response.status == 404 and response.json()["detail"].lower() == "not found"
        assert "default-src 'self'" in response.headers["content-security-policy"]
