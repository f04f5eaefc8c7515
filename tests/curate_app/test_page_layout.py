"""The slate on every screen: the images as large as it allows, all in view, and still while everything else changes."""

import pytest
from playwright.sync_api import Browser, Page, expect

from loop.study import Study
from tests.curate_app.journeys import with_practice
from tests.curate_app.pages import VIEWPORTS, check, ready

pytestmark = pytest.mark.browser
LEAST_SIDE = {(390, 844): 160, (844, 390): 160, (1366, 768): 280}  # of four images of 8 x 8 pixels
PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
SHIFTS = """window.shifts = [];
new PerformanceObserver(list => shifts.push(...list.getEntries().map(
    entry => [entry.value, entry.sources.map(source => source.node?.outerHTML ?? '').join()])
)).observe({type: 'layout-shift', buffered: false})"""
# not of Gradio's frame, while that is empty
OWN_SHIFTS = """shifts.filter(([, moved]) => moved.includes("rater") || !moved.includes("svelte"))"""


@pytest.fixture(scope="module")
def served(serve_study, publish_generation) -> tuple[Study, str]:
    """A study with a practice slate, the picks at once after it, and the movement below."""
    study, address = serve_study("journey.practice=1", "app.reveal=true", "schedule.picks=100")
    publish_generation(study, 1, slates=40, audit=60, share=0.2)
    return with_practice(study), address


def boxes(page: Page) -> list[list[float]]:
    """Left, top, width and height of each image."""
    return page.locator(".choice img").evaluate_all(
        "all => all.map(x => x.getBoundingClientRect()).map(r => [r.left, r.top, r.width, r.height])"
    )


@pytest.mark.parametrize("language", ["en", pytest.param("fr", marks=pytest.mark.slow)])
def test_images_are_large_and_stay_where_they_are(
    served: tuple[Study, str], browser: Browser, worker_phase, language: str
):
    study, address = served
    for (width, height), least in LEAST_SIDE.items():
        touch = width != 1366
        with browser.new_context(
            viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch
        ) as context:
            page = context.new_page()
            page.add_init_script(SHIFTS)
            worker_phase(study, "idle")
            ready(page, f"{address}/?lang={language}")
            expect(page.locator(".sheets img").first).to_be_visible()
            shifts = page.evaluate(OWN_SHIFTS)
            assert sum(shift for shift, _ in shifts) < 0.01, shifts  # of the whole page, so far
            page.evaluate("shifts.length = 0")
            first = boxes(page)
            assert len(first) == 4 and all(box[2] == box[3] >= least for box in first), first
            for _, top, _, side in first:
                assert top >= 0 and top + side <= height
            assert page.evaluate("document.documentElement.scrollWidth") == width
            expect(page.locator(".badge")).to_be_visible()
            for phase in ("idle", "curating", "training"):  # the practice slate, then two that count
                worker_phase(study, phase)
                ready(page)
                page.locator(".none").click()
                ready(page)
                expect(page.locator(".line")).to_contain_text("100" if phase == "idle" else "18 s")
                page.evaluate(PAINTED)
                assert boxes(page) == first
            expect(page.locator(".badge")).to_be_hidden()
            assert page.evaluate("shifts") == []
            check(page)


@pytest.mark.parametrize(("k", "least"), [(2, 0.42), (12, 0.18)])
def test_a_pair_and_a_dozen_fit_as_well(make_study, serve, browser: Browser, k: int, least: float):
    address = serve(make_study(f"curation.k={k}"))
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        page = context.new_page()
        ready(page, address)
        for width, height in VIEWPORTS:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate(PAINTED)
            page_size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
            assert page.evaluate(page_size) == [width, height]
            shown = boxes(page)
            assert len(shown) == k and all(box[2] >= least * min(width, height) for box in shown), shown
        check(page)


NOTES = (
    "arrived", "saving_slow", "saving_again", "offline", "unreachable", "back", "not_opened", "resumed", "image_failed",
    "timed_out", "undone", "undo_409", "undo_410", "undo_404", "refused_409", "refused_410", "refused_404",
    "refused_422", "not_taken", "copied", "copy_by_hand",
)  # fmt: skip
COVERED = """keys => {
    const root = document.querySelector('.rater'), box = root.querySelector('.note');
    const strings = JSON.parse(root.dataset.languages)[root.lang];
    const pressable = [...root.querySelectorAll('button, a, input, textarea, .option, .choice')];
    return keys.flatMap(key => {
        box.textContent = strings[key].replace('{t}', '12');
        box.classList.add('shown');
        box.style.transition = 'none';
        if (root.dataset.view === 'step') box.scrollIntoView({block: 'nearest', behavior: 'instant'});
        const note = box.getBoundingClientRect();
        const seen = note.top > -1 && note.bottom < innerHeight + 1 && note.left > -1 && note.right < innerWidth + 1;
        const covers = pressable.filter(x => x.checkVisibility({visibilityProperty: true})).filter(x => {
            const box = x.getBoundingClientRect();
            return box.left < note.right && box.right > note.left && box.top < note.bottom && box.bottom > note.top;
        });
        return seen && !covers.length ? [] : [[key, seen, covers.map(x => x.className)]];
    });
}"""


@pytest.mark.parametrize("language", ["en", pytest.param("fr", marks=pytest.mark.slow)])
def test_no_note_covers_what_can_be_pressed(served: tuple[Study, str], browser: Browser, serve_study, language: str):
    _, address = served
    _, step = serve_study("journey.consent=## Taking part\n\n" + "You may stop at any time.\n\n" * 20)
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as context:
        slates, steps = context.new_page(), context.new_page()
        ready(slates, f"{address}/?lang={language}")
        steps.goto(f"{step}/?lang={language}")
        steps.wait_for_selector('.rater[data-state="consent"]')
        slates.evaluate("document.querySelector('.undo').disabled = false")
        for width, height in (*VIEWPORTS, (820, 1180)):
            for page in (slates, steps):
                page.bring_to_front()
                page.set_viewport_size({"width": width, "height": height})
                page.evaluate(PAINTED)
                assert page.evaluate(COVERED, NOTES) == [], (page.url, width)
