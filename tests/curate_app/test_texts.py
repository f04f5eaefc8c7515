"""Slates of texts, right-to-left and hostile too: shown as cards, picked in a real browser, exported, read back."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect

from curate_app.report.files import write_report
from data.choice_log import Source, find_format
from data.records import Generation, NewSlate, Sample
from loop.importing import import_log
from loop.study import Study, configure
from loop.training_data import read_curated
from loop.worker import Worker
from tests.curate_app.conftest import set_phase
from tests.curate_app.pages import check, ready, saved

pytestmark = pytest.mark.browser
CONDITION = 'a red rose <b onclick="hacked=1">&'
LONG = "\n".join(f"Line {n} of a text that is longer than any screen." for n in range(120))
TEXTS = (
    "Two  spaces,\n\ttab,\n\nand an empty line.",
    "شعرٌ قصيرٌ عن وردةٍ حمراء (rose 1).",
    "ורד אדום בגן, ורוח קלה.",
    "<script>hacked = 1</script><img src=x onerror='hacked=1'>",
    '"><svg onload=hacked=1> {{7*7}} `x`',
    '=HYPERLINK("http://evil.example")',
    LONG,
    "unbroken" * 60,
    "short",
)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    """Twelve slates of three texts each, every other one with a condition."""
    study = Study.create(tmp_path / "texts", configure("digits", ["curation.k=3", "app.title=Which reads best?"]))
    study.store.publish(Generation(0, None, "0.safetensors", "ab" * 32, 100, 0, "mix lam=1"))
    study.store.add_slates(
        NewSlate(
            0,
            "curation",
            3,
            n,
            [Sample(0, 3 * n + j, 0.1 * j, text=TEXTS[(3 * n + j) % len(TEXTS)]) for j in range(3)],
            condition=CONDITION if n % 2 == 0 else None,
        )
        for n in range(12)
    )
    set_phase(study, "idle")
    yield study
    study.store.close()


@contextmanager
def page_of(browser: Browser, address: str, width: int, height: int) -> Iterator[Page]:
    touch = width < 800
    with browser.new_context(viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch) as context:
        page = context.new_page()
        ready(page, address)
        yield page


def shown(page: Page) -> list[str]:
    return page.locator(".choice .words").evaluate_all("all => all.map(x => x.textContent)")


def cards(page: Page) -> list[dict]:
    return page.locator(".choice").evaluate_all(
        """all => all.map(x => ({top: x.getBoundingClientRect().top, bottom: x.getBoundingClientRect().bottom,
        width: x.offsetWidth, height: x.offsetHeight, over: x.scrollHeight > x.clientHeight + 1,
        wide: x.scrollWidth > x.clientWidth, space: getComputedStyle(x.querySelector('.words')).whiteSpace,
        dir: getComputedStyle(x.querySelector('.words')).direction}))"""
    )


@pytest.mark.slow
def test_texts_are_picked_in_the_browser_and_read_back(study: Study, serve, browser: Browser, tmp_path: Path):
    picked, conditions, address = [], [], serve(study)
    for width, height in ((390, 844), (1366, 768)):
        with page_of(browser, address, width, height) as page:
            for way in ("click", "key", "enter"):
                texts, all_cards = shown(page), cards(page)
                assert len(texts) == 3 and set(texts) <= set(TEXTS)
                assert len({card["height"] for card in all_cards}) == 1
                assert all(card["top"] >= 0 and card["bottom"] <= height for card in all_cards), all_cards
                assert all(card["space"] == "pre-wrap" and not card["wide"] for card in all_cards)
                for text, card in zip(texts, all_cards, strict=True):
                    assert card["dir"] == ("rtl" if text in TEXTS[1:3] else "ltr")
                    assert card["over"] or text != LONG
                assert page.evaluate("typeof hacked") == "undefined"
                line = page.locator(".condition")
                conditions.append(line.text_content() if line.is_visible() else None)
                check(page)
                page.keyboard.press("z")  # the whole text, over everything
                assert page.locator("dialog.zoom[open] .words").text_content() in texts
                page.keyboard.press("z")
                expect(page.locator("dialog.zoom")).to_be_hidden()
                position = {"click": 2, "key": 1, "enter": 0}[way]
                if way == "click":
                    page.locator(".choice").nth(2).click()
                elif way == "key":
                    page.keyboard.press("2")
                else:
                    page.locator(".choice").first.focus()
                    page.keyboard.press("Enter")
                picked.append(texts[position])
                if len(picked) % 3:
                    ready(page)
                else:
                    page.wait_for_function("document.querySelector('.saved').textContent.startsWith('3 ')")
    rows = list(study.store.rows("SELECT * FROM v_choice_long ORDER BY choice_id, position"))
    assert [row["text"] for row in rows if row["picked"]] == picked and len(rows) == 18
    assert all(row["image_sha256"] is None for row in rows)
    assert [row["condition"] for row in rows[::3]] == conditions and {*conditions} == {CONDITION, None}
    source, files = Source(study.store, "texts"), {}
    for name in ("long-csv", "wide-csv", "long-parquet", "trl", "hf", "choix", "pickapic"):
        files[name] = tmp_path / f"{name}.{'csv' if 'csv' in name else 'parquet'}"
        find_format(name).write(source, files[name])
    pairs = pq.read_table(files["trl"]).to_pylist()
    assert [pair["chosen"] for pair in pairs] == [text for text in picked for _ in range(2)]
    assert {pair["prompt"] for pair in pairs} == {row["condition"] or "" for row in rows}
    assert [row["text"] for row in pq.read_table(files["long-parquet"]).to_pylist()] == [row["text"] for row in rows]
    assert pq.read_table(files["pickapic"]).num_rows == 0
    with files["long-csv"].open(newline="", encoding="utf-8") as file:
        assert not any(row["text"].startswith("=") for row in csv.DictReader(file))
    import_log(files["long-csv"], tmp_path / "again", study.config)
    again = Study.open(tmp_path / "again")
    names = "choice_id, position, text, condition, picked"
    order = f"SELECT {names} FROM v_choice_long ORDER BY choice_id, position"
    assert list(again.store.rows(order)) == list(study.store.rows(order))
    again.store.close()


def test_a_study_of_texts_is_picked_in_the_browser_retrained_and_read_back(serve, serving, page: Page, tmp_path: Path):
    settings = ["data.n=300", "data.characters=30000", "curation.k=3", "curation.picks=0", "schedule.picks=4",
                "pool.size=8", "pool.audit=4", "evaluation.samples=100"]  # fmt: skip
    study = Study.create(tmp_path / "own", configure("text", settings))
    Worker(study).run(once=True)
    set_phase(study, "idle")
    ready(page, serve(study))
    picked = []
    for n in range(1, 5):
        texts = shown(page)
        assert len(texts) == 3 and all(len(text) == 64 for text in texts)
        check(page)
        page.keyboard.press("2")
        picked.append(texts[1])
        saved(page, n)
        if n < 4:
            ready(page)
    Worker(study).run(once=True)
    latest = study.store.generations()[-1]
    assert latest.t == 1 and latest.n_curated == 4 and latest.measurements.turn is not None
    curated, vocabulary = read_curated(study, latest.measurements.turn), study.real.vocabulary
    assert vocabulary is not None and [vocabulary.decode(row) for row in curated.x.numpy()] == picked
    find_format("long-csv").write(Source(study.store, "own"), tmp_path / "own.csv")
    import_log(tmp_path / "own.csv", tmp_path / "again", study.config)
    again = Study.open(tmp_path / "again")
    rows = "SELECT text, point, picked, reward FROM v_choice_long ORDER BY choice_id, position"
    assert list(again.store.rows(rows)) == list(study.store.rows(rows))
    again.store.close()
    write_report(study, tmp_path / "report.html")
    with serving(study) as address:
        page.goto(f"{address}/admin")
        strip = page.locator(".admin .strip .texts")
        expect(strip).to_have_count(2)
        expect(strip.first.locator("li")).to_have_count(3)
        expect(page.get_by_text("Cross-entropy on held-out real text").first).to_be_visible()
    page.goto((tmp_path / "report.html").as_uri())
    expect(page.locator(".report .texts dd")).to_have_count(9)  # three of real text and of each generation
    heads = page.locator("#figures table").first.locator("th").all_text_contents()
    assert "perplexity" in heads and not any(head.startswith(("KL", "FD", "share of")) for head in heads)
    study.store.close()
