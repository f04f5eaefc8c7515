"""A study of flowers, served: slates painted, simulated raters over HTTP, a round of training, what a rater likes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from curate_app.bots import Habits
from curate_app.commands.crowd import crowd
from data.store import queries
from loop.study import Study, configure
from loop.worker import Worker
from tests.curate_app.pages import check

SMALL = (
    "app.reveal=true", "data.picture_size=48", "data.n=400", "pool.size=40", "pool.audit=4", "schedule.picks=30",
    "curation.picks=60", "evaluation.samples=100", "network.width=16", "network.depth=1", "train.pretrain_steps=30",
    "train.finetune_steps=10", "train.batch_size=32", "train.pair_size=16", "mix.lam=1",
)  # fmt: skip


@pytest.fixture
def flowers(tmp_path: Path) -> Iterator[Study]:
    """A study whose worker has made generation 0 and its slates."""
    study = Study.create(tmp_path / "flowers", configure("flowers", [*SMALL]))
    Worker(study).run(once=True)
    yield study
    study.store.close()


def test_raters_see_pictures_and_the_study_keeps_the_points(flowers: Study):
    rows = list(flowers.store.rows("SELECT point_json, image_sha256, label, reward FROM sample"))
    assert len(rows) >= 30 * 4
    assert all(len(json.loads(row["point_json"])) == 16 and row["image_sha256"] for row in rows)
    assert {row["label"] for row in rows} <= set(range(12))
    hue = np.array([json.loads(row["point_json"])[5:7] for row in rows])
    toward = hue @ [np.cos(2 * np.pi * 0.62), np.sin(2 * np.pi * 0.62)] / np.linalg.norm(hue, axis=1)
    assert np.allclose([row["reward"] for row in rows], 3 * toward, atol=1e-5)  # the preset's: gamma 3, hue@0.62=1


def rehearse(study: Study, *options: str) -> subprocess.CompletedProcess[str]:
    """`curate crowd` in a process of its own: the browser's tests have an event loop in this one."""
    command = [sys.executable, "-m", "curate_app", "crowd", str(study.path), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_a_crowd_is_rehearsed_and_a_generation_follows(flowers: Study, serve):
    options = ["--url", serve(flowers), "--raters", "3", "--picks", "10", "--taste", "hue@0.62=3", "--seconds", "0.05"]
    result = json.loads(rehearse(flowers, *options, "--lapse", "0", "--json").stdout)
    assert result["answers"] == result["stored"] == 30 and result["lost"] == 0 and result["ends"] == {"left": 3}
    assert isinstance(result["recovered"], list) and len(result["recovered"]) >= 16
    again = rehearse(flowers, *options)
    assert again.returncode == 2 and "30 answers of people" in again.stderr
    Worker(flowers).run(once=True)
    latest = flowers.store.generations()[-1]
    assert latest.t == 1 and latest.measurements.curated.human == 30 and latest.measurements.curated.proxy == 30
    curated = list(queries.curation_picks(flowers.store, kinds=("human", "proxy")))
    assert len(curated) == 60 and all(pick["point_json"] for pick in curated)


@pytest.mark.parametrize(
    ("words", "message"), [("petal=1", "no named number 'petal'"), ("hue=1", "hue@VALUE"), ("petals", "NAME=NUMBER")]
)
def test_a_taste_that_nobody_can_have_is_one_sentence(flowers: Study, words: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        crowd(flowers.path, "http://127.0.0.1:9", raters=1, picks=1, taste=[words])


def test_nothing_answering_is_one_sentence(flowers: Study):
    refused = rehearse(flowers, "--url", "http://127.0.0.1:9", "--raters", "1", "--picks", "1")
    assert refused.returncode == 2 and refused.stderr.startswith("Error: Nothing answers at http://127.0.0.1:9")
    assert refused.stderr.count("\n") == 1


def test_bots_tire():
    habits = Habits(11, lapse=0.1, fatigue=0.5)
    assert habits.lapse_at(0) == pytest.approx(0.1) and habits.lapse_at(10) == pytest.approx(0.6)


def test_the_page_says_what_a_rater_likes(flowers: Study, serve, page: Page):
    page.goto(serve(flowers))
    taste = page.locator("section.taste")
    for n in range(4):
        expect(page.locator(".rater")).to_have_attribute("data-state", "ready")
        page.keyboard.press("1")
        if n == 0:
            expect(taste.locator(".likes")).to_have_text("Three picks are needed before anything can be said.")
    expect(page.locator(".saved")).to_have_text("4 answers saved")
    expect(taste.locator("li")).to_have_count(3)
    expect(taste.locator(".about")).to_be_visible()
    taste_json = page.evaluate("fetch('/api/taste').then((answer) => answer.json())")
    assert (taste_json["picks"], len(taste_json["leanings"]), taste_json["predicted"]) == (4, 14, 1)


def test_studies_that_hide_the_movement_show_no_taste(make_study, serve, page: Page):
    page.goto(serve(make_study()))
    expect(page.locator(".rater")).to_have_attribute("data-state", "ready")
    expect(page.locator("section.taste")).to_have_count(0)
    assert page.evaluate("fetch('/api/taste').then((answer) => answer.status)") == 404


def test_digits_are_liked_by_class(make_study, serve, page: Page):
    """The classes are the named numbers of images; a study whose samples have none shows an empty panel."""
    study = make_study("app.reveal=true")
    page.goto(serve(study))
    for _ in range(3):
        expect(page.locator(".rater")).to_have_attribute("data-state", "ready")
        page.keyboard.press("1")
    expect(page.locator(".saved")).to_have_text("3 answers saved")
    assert page.evaluate("fetch('/api/taste').then((answer) => answer.json())")["picks"] == 0
    expect(page.locator("section.taste")).to_be_hidden()
    with study.store.write() as db:
        db.conn.execute(
            """UPDATE sample SET reward_json = json_object('probs', (SELECT json_group_array(
            CASE WHEN value = sample.label THEN 0.91 ELSE 0.01 END) FROM json_each('[0,1,2,3,4,5,6,7,8,9]')))"""
        )
    expect(page.locator(".rater")).to_have_attribute("data-state", "ready")
    page.keyboard.press("1")
    expect(page.locator("section.taste li")).to_have_count(3)
    expect(page.locator("section.taste .about")).to_contain_text("sure example")


def test_before_and_after_cross_fade_and_are_kept_as_a_picture(make_study, serve, browser: Browser):
    study = make_study("app.reveal=true", generations=3)
    with browser.new_context(viewport={"width": 1280, "height": 720}, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(serve(study))
        slider, play = page.get_by_role("slider", name="Generation"), page.get_by_role("button", name="Play from")
        opacities = "all => all.map((image) => Number(image.style.opacity))"
        layers = page.locator(".layers img")
        expect(layers).to_have_count(3)
        assert layers.evaluate_all(opacities) == [1, 1, 1]
        slider.focus()
        page.keyboard.press("ArrowLeft")  # a whole generation, where motion is reduced
        expect(slider).to_have_attribute("aria-valuetext", "Generation 1")
        assert layers.evaluate_all(opacities) == [1, 1, 0]
        assert page.locator(".fade .start").is_visible()  # nothing plays by itself
        play.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Pause")).to_be_focused()
        expect(slider).to_have_attribute("aria-valuetext", "Generation 2")
        page.emulate_media(reduced_motion="no-preference")
        expect(slider).to_have_attribute("step", "10")  # the page has heard of it
        slider.focus()
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        expect(slider).to_have_attribute("aria-valuetext", "From generation 1 to generation 2")
        assert 0.9 < layers.evaluate_all(opacities)[2] < 1
        page.get_by_role("button", name="Play from").click()
        expect(slider).to_have_attribute("aria-valuetext", "Generation 2")
        slider.focus()
        page.keyboard.press("Home")
        play.click()
        page.get_by_role("button", name="Pause").click()
        expect(slider).to_have_attribute("step", "10")  # a pause leaves it, and the pictures, at a tenth of a round
        at = int(slider.input_value())
        assert at % 10 == 0 and layers.evaluate_all(opacities)[1] == pytest.approx((at / 100) ** 2 * (3 - at / 50))
        with page.expect_download() as download:
            page.get_by_role("link", name="Save the way so far").click()
        assert download.value.suggested_filename == "curate.png"
        assert Image.open(download.value.path()).size == (1200, 630)
        check(page)


def test_the_researcher_sees_what_raters_like(make_study, serve, page: Page):
    """From ten raters on together, clustered; before that each alone; any of them by choice."""
    study = make_study()
    store, probs = study.store, "[0.91" + 9 * ",0.01" + "]"
    with store.write() as db:  # the first of a slate is a sure nought, the others are not
        db.conn.execute("UPDATE sample SET reward_json = json_object('probs', json('[0.1" + 9 * ",0.1" + "]'))")
        db.conn.execute(
            """UPDATE sample SET reward_json = json_object('probs', json(?)) WHERE id IN
            (SELECT sample_id FROM slate_item WHERE position = 0)""",
            [probs],
        )
    slates = [row["id"] for row in store.rows("SELECT id FROM slate ORDER BY id")]
    store.add_picks([(slate, store.bulk_session("human", "ann"), 0, {}) for slate in slates[:4]])
    page.goto(serve(study) + "/admin/")
    panels = page.locator(".tastes .taste")
    expect(panels).to_have_count(1)
    expect(page.locator(".likings")).to_contain_text("from 10 raters on; so far 1 rater picked")
    expect(panels.locator("h3")).to_have_text(f"Rater {store.value('SELECT min(id) FROM rater')}")
    expect(panels.locator("li").first).to_contain_text("“0”")
    expect(panels.locator(".about")).to_contain_text("this rater alone")
    expect(page.get_by_label("Whose picks")).to_have_count(0)
    people = [store.bulk_session("human", f"person {i}") for i in range(11)]
    store.add_picks([(slate, people[i % 11], 0, {}) for i, slate in enumerate(slates[4:16])])
    expect(panels.locator("h3")).to_have_text("All raters together")
    expect(panels.locator(".about")).to_contain_text("clustered by rater (12 raters)")
    choice = page.get_by_label("Whose picks")
    choice.focus()
    page.keyboard.press("ArrowDown")
    page.get_by_role("option", name="(4 picks)").click()
    expect(panels.locator("h3")).to_have_text(f"Rater {store.value('SELECT min(id) FROM rater')}")
    expect(panels.locator(".likes")).to_contain_text("After 4 picks")
    way = page.request.get(page.url + "export/way.png")
    assert way.ok and way.headers["content-type"] == "image/png"
