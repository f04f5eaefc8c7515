"""An audit of three studies from the command line to its report: compared blind in Chromium beside a live worker."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from loop.simulate import simulate
from loop.study import Study, configure
from loop.worker import Worker
from tests.curate_app.command_line import curate_process
from tests.curate_app.pages import at, ready

RATERS, PICKS = 14, 6


@contextmanager
def worker_of(path: Path) -> Iterator[None]:
    """A worker that goes on beside the app, until the end of the block."""
    study = Study.open(path)
    worker = Worker(study)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(60)
        study.store.close()


@pytest.mark.slow
@pytest.mark.browser
def test_three_studies_are_compared_to_the_end_and_the_report_says_who_won(
    tmp_path: Path, tiny_digits: tuple[str, ...], browser: Browser, serve: Callable[..., str]
):
    for seed, name in enumerate("ABC"):
        config = configure("digits", [*tiny_digits, "curation.extend=none", "mix.lam=inf"], seed=seed)
        study = Study.create(tmp_path / name, config)
        simulate(study, 1, lambda phase, done, total: None)
        study.store.close()
    settings = [f"stop.raters={RATERS}", f"journey.picks={PICKS}", "journey.thanks=Thank you.", "pool.audit=24"]
    words = [word for setting in settings for word in ("--set", setting)]
    made = curate_process("audit", "A", "B", "C", "--out", "audit", *words, cwd=tmp_path)
    assert made.returncode == 0, made.stderr

    audit = Study.open(tmp_path / "audit")
    address = serve(audit)
    with worker_of(audit.path):
        for n in range(RATERS):
            with browser.new_context() as context:
                page = context.new_page()
                page.goto(address)
                for _ in range(PICKS):
                    shown = ready(page)
                    ts = [source_of(audit, sha256) for sha256 in shown]
                    assert len(set(ts)) == 2 and not re.search(r"generation|\bA\b|\bB\b", page.inner_text(".rater"))
                    wins = max(ts) if n or ts != [0, 1] else min(ts)  # the first prefers A to B now and then
                    page.keyboard.press(str(1 + ts.index(wins)))
                    page.wait_for_selector(".rater:not([data-state='ready'])")
                at(page, "finished")
        with browser.new_context(viewport={"width": 1366, "height": 900}) as context:
            page = context.new_page()
            page.goto(f"{address}/admin")
            glance = page.locator(".glance")
            expect(glance).to_contain_text("C, generation 1 is preferred to every other, and chance is ruled out.")
            expect(glance).to_contain_text(f"all {RATERS} raters have finished")
            table = page.locator(".audit table")
            expect(table.locator("tbody tr").first).to_contain_text("C, generation 1")
            expect(table.locator("td.wins")).to_have_count(3)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    for verb in ("report", "check"):
        done = curate_process(verb, "audit", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((audit.path / "report.json").read_text(encoding="utf-8"))
    assert report["ranking"][0] | {"mean_rate": 1.0} == {
        "t": 2, "mean_rate": 1.0, "preferred_to": [0, 1], "less_than": [], "best": "holds",
    }  # fmt: skip
    rates = {(row["t"], row["against"]): row for row in report["win_rates"]}
    assert rates[2, 0]["n"] + rates[2, 1]["n"] + rates[1, 0]["n"] == RATERS * PICKS
    assert rates[2, 0]["interval_kind"] == "fixed n" and rates[2, 0]["corrected"]["low"] > 0.5
    html = (audit.path / "report.html").read_text(encoding="utf-8")
    assert "People preferred C, generation 1 to all others." in html
    audit.store.close()


def source_of(audit: Study, sha256: str) -> int:
    """The study that drew an image, by its number."""
    return audit.store.value("SELECT t FROM sample WHERE image_sha256 = ?", [sha256])
