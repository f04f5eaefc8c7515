"""`curate browse`: Datasette on a study, which it can't change, with pictures, and without who raters are."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from curate_app.commands.browse import QUERIES, build_site
from data.records import Pick
from data.store.sessions import PanelIds
from loop.study import Study

Get = Callable[[str], httpx.Response]
NAMES = PanelIds("prolific", "secret-worker", "hit", "submission")


@pytest.fixture
def picked(study: Study) -> Study:
    """A study with a pick by someone of a panel, whose answer tries to be HTML."""
    session = study.store.admit("x", NAMES, user_agent="<script>alert(1)</script>", consented=True)
    assert study.store.lease(session, ("curation",), 0, 60)
    study.store.record_pick(session, Pick(1, "pick", 0, input="<script>alert(1)</script>"))
    return study


@pytest.fixture
def get(picked: Study) -> Get:
    """A function: asks the site for a path."""
    site = build_site(picked.path)

    def ask(path: str) -> httpx.Response:
        with ThreadPoolExecutor(1) as thread:  # a browser of other tests may have left its event loop in this one
            return thread.submit(lambda: asyncio.run(site.client.get(path))).result()

    return ask


def test_tables_are_described_and_images_shown(get: Get, picked: Study):
    home = get("/study").text
    assert "v_choice_long" in home and all(title in home for title, _ in QUERIES.values())
    page = get("/study/v_choice_long").text
    assert "one row per answered slate and position" in page and "place on the rater&#39;s screen" in page
    sha256 = picked.store.value("SELECT image_sha256 FROM v_choice_long LIMIT 1")
    assert f'<img src="/-/image/{sha256}.png"' in page
    image = get(f"/-/image/{sha256}.png")
    assert image.content == picked.store.image(sha256) and image.headers["content-type"] == "image/png"
    assert get(f"/-/image/{'0' * 64}.png").status_code == 404


@pytest.mark.parametrize("name", list(QUERIES))
def test_canned_queries_run(get: Get, name: str):
    answer = get(f"/study/{name}.json?_shape=array&slate_id=1")
    assert answer.status_code == 200, answer.text
    if name in ("one_slate", "picks_by_position"):
        assert len(answer.json()) == 4


def test_nothing_can_be_written(get: Get, picked: Study):
    for sql in ("DELETE FROM pick", "UPDATE pick SET position = 1", "DROP TABLE pick"):
        assert get(f"/study.json?sql={sql}").status_code == 400
    assert picked.store.last_pick() == 1


def test_who_raters_are_cant_be_read(get: Get):
    assert get("/study/identity").status_code == 403 and get("/study/invite").status_code == 403
    found = get("/study.json?sql=SELECT * FROM identity&_shape=array")
    assert "secret-worker" not in found.text and json.loads(found.text)[0]["panel_rater_id"] is None
    asked = "SELECT panel_rater_id || '' AS x FROM (SELECT * FROM identity) UNION SELECT token_sha256 FROM invite"
    assert "secret-worker" not in get(f"/study.json?sql={asked}&_shape=array").text


def test_texts_are_texts(get: Get):
    for path in ("/study/v_choice_long", "/study/pick", "/study/session"):
        page = get(path).text
        assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page


def test_without_datasette_one_sentence_says_what_to_do(study: Study, tmp_path: Path):
    code = (
        "import sys; sys.modules['datasette'] = None; sys.modules['datasette.app'] = None; "
        f"sys.argv = ['curate', 'browse', {str(study.path)!r}]; from curate_app.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path.cwd())
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "curate[browse]" in done.stderr, done.stderr
