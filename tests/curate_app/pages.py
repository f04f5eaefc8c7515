"""What tests of the rater's page do and look at: slates, steps, accessibility, and what was stored."""

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from loop.study import Study

READY = '.rater[data-state="ready"]'
GRAVE = ("serious", "critical")
LEAST_TARGET = 44
VIEWPORTS = ((390, 844), (844, 390), (1366, 768))  # a phone, the same on its side, a laptop


def ready(page: Page, address: str | None = None) -> list[str]:
    """Waits for a slate that takes an answer; the sha256 of its images by position."""
    if address:
        page.goto(address)
    page.wait_for_selector(READY)
    urls = page.locator(".choice img").evaluate_all("images => images.map(image => image.src)")
    return [re.sub(r".*/img/(\w+)\.png", r"\1", url) for url in urls]


def at(page: Page, state: str) -> None:
    """Waits for a step, whose heading then has the focus."""
    page.wait_for_selector(f'.rater[data-state="{state}"]')
    expect(page.locator("#step-title")).to_be_focused()


def saved(page: Page, n: int) -> None:
    expect(page.locator(".saved")).to_have_text("1 answer saved" if n == 1 else f"{n} answers saved")


def check(page: Page) -> None:
    """No grave finding of axe-core, nothing wider than the window, nothing to touch that is too small for a finger."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    found = page.evaluate("axe.run('.rater', {resultTypes: ['violations']})")["violations"]
    grave = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found if rule["impact"] in GRAVE]
    assert grave == [], grave
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = page.locator(".rater :is(button, .option, textarea, a.primary):visible").evaluate_all(
        "all => all.map(x => [x.outerHTML, x.getBoundingClientRect().width, x.getBoundingClientRect().height])"
    )
    small = [html for html, width, height in sizes if min(width, height) < LEAST_TARGET]
    assert small == [], small


def picks(study: Study) -> list[dict]:
    """The picks with their slates' purposes, each with the image that was at the picked position."""
    return list(
        study.store.rows(
            """SELECT pick.*, purpose, sample.image_sha256 FROM pick JOIN slate ON slate.id = pick.slate_id
            LEFT JOIN slate_item ON slate_item.slate_id = pick.slate_id AND slate_item.position = pick.position
            LEFT JOIN sample ON sample.id = sample_id ORDER BY pick.id"""
        )
    )
