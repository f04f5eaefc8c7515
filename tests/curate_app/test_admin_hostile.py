"""The researcher's page shows what raters and browsers sent as text, and takes whatever a script sends its buttons."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from curate_app.admin.counts import CrowdCounts
from curate_app.admin.page import Requests
from curate_app.admin.panels import panels
from loop.raters.journey import control_state
from loop.study import Study
from tests.curate_app.journeys import Rater

SCRIPT = "<script>window.pwned=1</script>"
MARKUP = (
    "<img src=x onerror=window.pwned=1>", "${window.pwned=1}", "{{this.constructor}}", "`${window.pwned=1}`",
    "</template><svg onload=window.pwned=1>", "javascript:window.pwned=1", "<%= window.pwned=1 %>", SCRIPT,
)  # fmt: skip


def plant(study: Study) -> None:
    """Leaves markup wherever a rater or an event can: ids, the browser's name, closing answers, events."""
    for text in MARKUP:
        rater = Rater(study)
        ids = {name: text for name in ("panel", "rater_id", "study_id", "session_id")}
        turn = rater.client.post("/api/session", json=ids, headers={"User-Agent": text}).json()
        turn = rater.pick(turn)["next"]
        assert rater.post("step", step="closing", answer=text)["state"] == "finished"
        study.store.log(text, "declined", **{"what": text, text: text})
        study.store.log("worker", text, error=text)
        study.store.log("quality", "flag_rate_jumped", flag=text, rate=0.41, before=0.05)
    study.store.set_status("worker", phase=SCRIPT, done=0.5, left_s=3)


@pytest.fixture
def planted(make_study: Callable[..., Study]) -> Study:
    """A study of raters who write markup."""
    study = make_study("journey.picks=1", "journey.closing=Words?", phase=None)
    plant(study)
    return study


def test_markup_is_shown_as_text(planted: Study):
    found = panels(planted, CrowdCounts(planted))
    html = "".join(part for part in vars(found).values() if isinstance(part, str))
    assert "&lt;script&gt;" in html
    assert not re.search(r"<script|<img src=x|<svg onload|<%=", html)


def test_a_browser_runs_none_of_it(planted: Study, serve: Callable[..., str], page: Page):
    page.goto(f"{serve(planted)}/admin/")
    expect(page.locator("#part-events li")).not_to_have_count(0)
    expect(page.locator("#part-events")).to_contain_text(SCRIPT)
    assert page.evaluate("window.pwned") is None


@pytest.mark.parametrize(
    "sent", [None, {}, {"a": 1}, [], [5], "5", "", True, -1, 1.5, 1e400, -1e400, float("nan"), 10**400, 10**9]
)
def test_what_is_no_number_changes_nothing(study: Study, sent: Any):
    requests = Requests(study)
    for answer in (requests.quota(sent), requests.simulate(sent), requests.ask_simulate(sent)[2]):
        assert "refused" in answer and "must be a whole number" in answer
    requests.pause_or_resume({"value": sent})
    assert control_state(study.store).quota == 0
    assert study.store.events(kinds=("simulate_requested", "quota_set")) == []


def test_a_quota_called_by_a_script_is_refused_without_a_traceback(
    study: Study, serve: Callable[..., str], page: Page, capfd: pytest.CaptureFixture[str]
):
    address = serve(study)
    page.goto(f"{address}/admin/")
    config = json.loads(page.evaluate("JSON.stringify(window.gradio_config ?? null)") or "null")
    assert config, "the page has its configuration"
    calls = {one["id"]: len(one["inputs"]) for one in config["dependencies"] if one["targets"] and not one["js"]}
    for id_, inputs in calls.items():
        for sent in ({"a": 1}, "x", None):
            body = {"data": [sent] * max(1, inputs), "fn_index": id_, "session_hash": "a" * 11}
            answer = page.request.post(f"{address}/admin/gradio_api/run/predict", data=body)
            assert answer.status == 200
    assert "Traceback" not in capfd.readouterr().err
    assert control_state(study.store).quota == 0
