"""The researcher's page, live: parts of HTML that a timer replaces when they change, the buttons, and the downloads.

What a button did is said in the page, under the buttons, so that no message covers them or the worker's state.
"""

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeGuard

import gradio as gr
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from curate_app.admin.counts import CrowdCounts, LatestEvidence, LatestTastes
from curate_app.admin.panels import TRAINING, Panels, notes_panel, panels
from curate_app.assets import TEXT, render
from curate_app.commands.export import SALT
from curate_app.plots.way import study_way
from curate_app.report.tables import count_of, taste_evidence, taste_note, taste_view
from data.choice_log.export import csv_pages
from data.secret_file import kept_secret
from data.store import queries
from loop.raters import journey
from loop.raters.journey import WORKER, picks_progress, worker_status
from loop.study import Study

EVERY_S = 2.0
REPORT_S = 900
MOST_USERS = 100_000
HTML_PARTS = ("head", "notes", "crowd", "taste", "curves", "timeline", "sheets", "events")
LIVE = ("pause", "finish", "quota", "retrain", "simulate", "users_row", "rater")
ALL, MOST_OPTIONS = "all", 200  # raters to choose from, those with the most picks
SAY, SAY_TASTE = TEXT["admin"], TEXT["taste"]
# Plain calls beside the queue, without a spinner over what is there and without a name in an API listing.
PLAIN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
EVERY_PRESS: dict[str, Any] = {**PLAIN, "trigger_mode": "multiple"}  # also while the last is still on its way


def build_admin_page(study: Study, *, closed: bool = False) -> gr.Blocks:
    """The Blocks at /admin; with a button to log out where a password is asked for (`closed`)."""
    with gr.Blocks(title=f"{study.path.name} · curate", analytics_enabled=False, fill_width=True) as blocks:
        shown = gr.State({})
        parts = {
            name: gr.HTML("", elem_id=f"part-{name}", apply_default_css=False, render=False) for name in HTML_PARTS
        }
        parts["head"].render()
        parts["notes"].render()
        buttons = Buttons(study, closed)
        for name in HTML_PARTS[2:]:
            if name == "taste":
                buttons.rater.render()
            parts[name].render()
        outputs = [shown, *parts.values(), *buttons.live.values()]
        refresh = Refresh(study)
        inputs = [shown, buttons.rater]
        gr.Timer(EVERY_S).tick(refresh, inputs, outputs, **PLAIN)
        blocks.load(refresh, inputs, outputs, **PLAIN)
        buttons.rater.input(refresh, inputs, outputs, **EVERY_PRESS)
        blocks.load(lambda: journey.control_state(study.store).quota, None, buttons.quota, **PLAIN)
        for request in buttons.connect():
            request.then(refresh, inputs, outputs, **PLAIN)
    return blocks


class Buttons:
    """The rows of buttons; made where they stand on the page.

    Attributes:
        live: components that a refresh changes, by the name of the change.
    """

    def __init__(self, study: Study, closed: bool):
        self.requests = Requests(study)
        off: dict[str, Any] = {"interactive": False}  # until the first refresh: a press before that would be lost
        with gr.Row(elem_id="part-actions"):
            self.pause = self.button(SAY["pause"], **off)
            self.retrain = self.button(SAY["retrain"], variant="primary", visible=not study.sources, **off)
            self.finish = self.button(SAY["finish"], **off)
            with gr.Row(elem_classes="pair"):
                self.quota = self.number(0, SAY["quota"], "quota")
                self.set_quota = self.button(SAY["quota_set"], **off)
            with gr.Row(elem_classes="pair", visible=False) as self.users_row:
                self.users = self.number(200, SAY["users"], "users")
                self.simulate = self.button(SAY["simulate"][1].format(n=200), **off)
            exports = render("admin_exports.html", text=SAY, closed=closed)
            gr.HTML(exports, elem_id="part-exports", apply_default_css=False)
        self.ask_finish, _, self.finish_yes, finish_no = self.question("finish", SAY["finish_ask"])
        self.ask_simulate, self.simulate_question, self.simulate_yes, simulate_no = self.question("simulate", "")
        self.refusals = ((self.ask_finish, finish_no), (self.ask_simulate, simulate_no))
        self.answer = gr.HTML("", elem_id="part-answer", apply_default_css=False)
        self.rater = gr.Dropdown(
            [(SAY_TASTE["all"], ALL)],
            value=ALL,
            label=SAY_TASTE["title_label"],
            elem_id="whose",
            allow_custom_value=True,  # what a script sends is looked at in `taste`; Gradio would log a traceback
            visible=False,
            render=False,
        )
        components = (
            self.pause, self.finish, self.set_quota, self.retrain, self.simulate, self.users_row, self.rater,
        )  # fmt: skip
        self.live = dict(zip(LIVE, components, strict=True))

    @staticmethod
    def button(label: str, **more: Any) -> gr.Button:
        """A button as wide as its label."""
        return gr.Button(label, scale=0, min_width=110, **more)

    @staticmethod
    def number(value: int, label: str, name: str) -> gr.Number:
        """A field for a number, without bounds, of which Gradio would tell with a traceback before we could."""
        return gr.Number(value, label=label, scale=0, min_width=90, elem_id=name)

    def question(self, name: str, question: str) -> tuple[gr.Row, gr.HTML, gr.Button, gr.Button]:
        """A hidden row that asks before something is done: the row, the question, the button for yes, that for no."""
        with gr.Row(elem_id=f"ask-{name}", elem_classes="ask", visible=False) as row:
            asked = gr.HTML(render("admin_confirm.html", question=question), apply_default_css=False)
            yes = self.button(SAY[f"{name}_yes"], variant="primary")
            no = self.button(SAY[f"{name}_no"])
        return row, asked, yes, no

    def connect(self) -> list[Any]:
        """Ties the buttons to what they do, and gives what is done, for a refresh to follow."""
        requests, answer = self.requests, self.answer
        shown, hidden = (lambda: gr.update(visible=True)), (lambda: gr.update(visible=False))
        # the keyboard's focus goes with the question, and back
        focus = "() => document.querySelector('{} button')?.focus()"
        self.finish.click(shown, None, self.ask_finish, **PLAIN).then(None, js=focus.format("#ask-finish"))
        self.simulate.click(
            requests.ask_simulate, self.users, [self.ask_simulate, self.simulate_question, answer], **PLAIN
        ).then(None, js=focus.format("#ask-simulate"))
        for row, no in (*self.refusals, (self.ask_finish, self.finish_yes), (self.ask_simulate, self.simulate_yes)):
            no.click(hidden, None, row, **PLAIN).then(None, js=focus.format("#part-actions"))
        single, many = SAY["simulate"]
        label = f"(n) => n === 1 ? `{single}` : `{many.replace('{n}', '${n ?? 0}')}`"
        self.users.change(None, self.users, self.simulate, js=label, **PLAIN)
        pressed = [
            self.pause.click(requests.pause_or_resume, self.pause, answer, **PLAIN),
            self.retrain.click(requests.retrain, None, answer, **PLAIN),
            self.finish_yes.click(requests.finish, None, answer, **PLAIN),
            self.set_quota.click(requests.quota, self.quota, answer, **EVERY_PRESS),
            self.quota.submit(requests.quota, self.quota, answer, **EVERY_PRESS),
            self.simulate_yes.click(requests.simulate, self.users, answer, **PLAIN),
        ]
        seen = "() => document.querySelector('#part-answer')?.scrollIntoView({block: 'nearest'})"
        return [event.then(None, js=seen) for event in pressed]


class Requests:
    """The requests behind the buttons; each gives what was done, or why nothing was, as HTML."""

    def __init__(self, study: Study):
        self.study = study

    def pause_or_resume(self, label: object) -> str:
        """Does what the button said when it was pressed, whatever has happened since."""
        if label == SAY["resume"]:
            return self.do(lambda: journey.resume(self.study.store), SAY["resume_said"])
        return self.do(lambda: journey.pause(self.study.store), SAY["pause_said"])

    def finish(self) -> str:
        """Ends the study for raters."""
        return self.do(lambda: journey.finish(self.study.store), SAY["finish_said"])

    def quota(self, n: object) -> str:
        """Lets so many people finish."""
        if not is_whole(n, 0, journey.MOST):
            return self.refusal("quota_range", most=f"{journey.MOST:,}")
        sentence = SAY["quota_said"].format(raters=count_of(int(n), "rater")) if n else SAY["quota_none"]
        return self.do(lambda: journey.set_quota(self.study.store, int(n)), sentence)

    def retrain(self) -> str:
        """Asks the worker for a new generation, unless one is in training or there is no pick to train on."""
        try:
            if self.study.sources:
                return self.refusal("retrain_audit")
            progress = picks_progress(self.study.store, self.study.config)
            if worker_status(self.study.store)["phase"] in TRAINING:
                return self.refusal("retrain_busy", t=progress.t + 1)
        except sqlite3.Error as error:
            return self.refusal("store_failed", error=error)
        if progress.done == 0:
            return self.refusal("retrain_empty", t=progress.t)
        sentence = SAY["retrain_said"].format(t=progress.t + 1, picks=count_of(progress.done, "new pick"))
        return self.ask_worker(sentence, "retrain_requested")

    def ask_simulate(self, n: object) -> tuple[Any, str, str]:
        """A question before simulated users pick, and no answer yet; or no question, and why they may not."""
        refusal = self.why_not_simulate(n)
        if refusal:
            return gr.update(visible=False), "", refusal
        assert isinstance(n, int | float)
        sentence = SAY["simulate_ask"].format(users=count_of(int(n), "simulated user"))
        question = render("admin_confirm.html", question=sentence)
        return gr.update(visible=True), question, ""

    def simulate(self, n: object) -> str:
        """Asks the worker for simulated users' picks, as long as no person has picked."""
        refusal = self.why_not_simulate(n)
        if refusal:
            return refusal
        assert isinstance(n, int | float)
        sentence = SAY["simulate_said"].format(users=count_of(int(n), "simulated user"))
        return self.ask_worker(sentence, "simulate_requested", n=int(n))

    def why_not_simulate(self, n: object) -> str:
        """Why simulated users may not pick, as HTML; empty where they may."""
        if not is_whole(n, 1, MOST_USERS):
            return self.refusal("simulate_range", most=f"{MOST_USERS:,}")
        try:
            if self.study.sources:
                return self.refusal("simulate_audit")
            return self.refusal("simulate_people") if queries.count_people_who_picked(self.study.store) else ""
        except sqlite3.Error as error:
            return self.refusal("store_failed", error=error)

    def ask_worker(self, sentence: str, kind: str, **detail: Any) -> str:
        """Logs a request that a running worker answers."""
        try:
            worker = worker_status(self.study.store)
            if worker["command"] != WORKER:
                return self.refusal("command_runs", command=worker["command"])
            if worker["phase"] == "absent":
                return self.refusal("worker_gone", path=self.study.path)
        except sqlite3.Error as error:
            return self.refusal("store_failed", error=error)
        return self.do(lambda: self.study.store.log("researcher", kind, **detail), sentence)

    def do(self, act: Callable[[], object], sentence: str) -> str:
        """Acts in one transaction, and says so in a sentence."""
        try:
            self.study.store.together(act)
        except sqlite3.Error as error:
            return self.refusal("store_failed", error=error)
        return render("admin_answer.html", done=True, title=SAY["asked"], sentence=sentence)

    @staticmethod
    def refusal(key: str, **values: object) -> str:
        """Why nothing was done."""
        return render("admin_answer.html", done=False, title=SAY["not_asked"], sentence=SAY[key].format(**values))


def is_whole(n: object, least: int, most: int) -> TypeGuard[float]:
    """True if what a page sent, which may be anything, is a whole number within bounds."""
    return isinstance(n, int | float) and not isinstance(n, bool) and least <= n <= most and n == int(n)


class Refresh:
    """The timer's refresh; parts that look as before are left alone, so nothing flickers or loses its scroll."""

    def __init__(self, study: Study):
        self.study = study
        self.crowd = CrowdCounts(study)
        self.evidence = LatestEvidence(study)
        self.tastes = LatestTastes(study)
        picks_progress(study.store, study.config)  # counted in full once, before anyone waits for it

    def __call__(self, shown: dict[str, Any], rater: object = ALL) -> list[Any]:
        """The parts as shown now, then the changes to each.

        Args:
            shown: what this page shows.
            rater: whose taste it is to show, as the page sent it.
        """
        try:
            now = {**self.parts(panels(self.study, self.crowd, self.evidence())), **self.taste(rater)}
        except sqlite3.Error as error:
            now = {**shown, "notes": notes_panel([("reason", SAY["store_failed"].format(error=error))])}
        changes = []
        for name in (*HTML_PARTS, *LIVE):
            same = name not in now or shown.get(name) == now[name]
            changes.append(gr.skip() if same else gr.update(**now[name]) if name in LIVE else now[name])
        return [now, *changes]

    def taste(self, rater: object) -> dict[str, Any]:
        """The HTML of the tastes, once they are worked out, and the raters to choose from."""
        number = int(rater) if isinstance(rater, str) and rater.isdecimal() and len(rater) < 19 else None
        tastes, raters = self.tastes(number)
        now: dict[str, Any] = {}
        if tastes:
            evidence = [taste_evidence(some) for some in tastes]
            views = [taste_view(some) for some in evidence if some.leanings or not some.by_rater]
            now["taste"] = render("admin_taste.html", say=SAY_TASTE, views=views, note=taste_note(evidence))
        if len(raters) > 1:
            most = sorted(sorted(raters, key=lambda pair: -pair[1])[:MOST_OPTIONS])
            option = SAY_TASTE["option"].format
            choices = [(option(n=number, picks=count_of(n, "pick")), str(number)) for number, n in most]
            now["rater"] = {"choices": [(SAY_TASTE["all"], ALL), *choices], "visible": True}
        return now

    @staticmethod
    def parts(now: Panels) -> dict[str, Any]:
        """The HTML of each part, and the properties of each button."""
        return {
            **{name: getattr(now, name) for name in HTML_PARTS if name != "taste"},
            "pause": {"value": SAY["resume" if now.controls.stopped else "pause"], "interactive": True},
            "finish": {"interactive": not now.controls.finished},
            "quota": {"interactive": True},
            "retrain": {"interactive": now.trains and not now.worker_absent},
            "simulate": {"interactive": not now.worker_absent},
            "users_row": {"visible": now.simulates},
        }


def build_export_routes(study: Study) -> APIRouter:
    """GET /admin/export/choices.csv, /admin/export/way.png and /admin/export/report.html."""
    router, making, name = APIRouter(), Lock(), study.path.resolve().name

    def headers(file: str) -> dict[str, str]:
        return {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"}

    @router.get("/admin/export/choices.csv")
    def choices() -> Response:
        pages = csv_pages(study.store, name, kept_secret(study.path, SALT))
        return StreamingResponse(pages, media_type="text/csv; charset=utf-8", headers=headers("choices.csv"))

    @router.get("/admin/export/way.png")
    def way() -> Response:
        png = study_way(study)
        if png is None:
            return PlainTextResponse(SAY["way_none"], 404)
        return Response(png, media_type="image/png", headers=headers(f"{name}.png"))

    @router.get("/admin/export/report.html")
    def report() -> Response:
        if not making.acquire(blocking=False):
            return PlainTextResponse(SAY["report_busy"], 409)
        try:
            html = report_of(study.path)
        except (OSError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", "") or str(error)).strip()
            return PlainTextResponse(SAY["report_failed"].format(error=reason, path=study.path), 409)
        finally:
            making.release()
        return Response(html, media_type="text/html; charset=utf-8", headers=headers("report.html"))

    return router


def report_of(study: Path) -> bytes:
    """The report of `curate report`. In a process of its own: what it computes would keep raters waiting in this one.

    Raises:
        OSError: it can't be started, or left no file.
        subprocess.SubprocessError: it failed, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="curate-report-") as folder:
        html = Path(folder) / "report.html"
        command = [sys.executable, "-m", "curate_app", "report", str(study.resolve()), "--out", str(html)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=REPORT_S)
        return html.read_bytes()
