"""The researcher's page, live: parts of HTML that a timer replaces when they change, and buttons."""

import sqlite3
from typing import Any

import gradio as gr

from curate_app.admin.controls import Requests
from curate_app.admin.panels import CrowdCounts, KeptEvidence
from curate_app.admin.view import Panels, notes, panels
from curate_app.assets import TEXT, render
from loop.raters.journey import control_state, picks_progress
from loop.study import Study

EVERY_S = 2.0
HTML_PARTS = ("head", "notes", "crowd", "curves", "timeline", "sheets", "events")
BUTTONS = ("pause", "finish", "quota", "retrain", "simulate")
SAY = TEXT["admin"]
# No spinner over what is there, and no name in an API listing. The timer's calls are plain ones; the buttons' go
# through the queue, because Gradio can't show a message from outside it.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
PLAIN: dict[str, Any] = {**QUIET, "queue": False}
EACH: dict[str, Any] = {**QUIET, "trigger_mode": "multiple"}  # a press counts while the last is still on its way


def build_admin_page(study: Study, *, closed: bool = False) -> gr.Blocks:
    """The Blocks at /admin; with a button to log out where a password is asked for (`closed`)."""
    with gr.Blocks(title=f"{study.path.name} · curate", analytics_enabled=False, fill_width=True) as blocks:
        shown = gr.State({})
        parts = {name: _part(name) for name in HTML_PARTS}
        parts["head"].render()
        parts["notes"].render()
        buttons = _Buttons(study, closed)
        for name in HTML_PARTS[2:]:
            parts[name].render()
        outputs = [shown, *parts.values(), *buttons.live.values()]
        refresh = Refresh(study)
        gr.Timer(EVERY_S).tick(refresh, shown, outputs, **PLAIN)
        blocks.load(refresh, shown, outputs, **PLAIN)
        blocks.load(lambda: control_state(study.store).quota, None, buttons.quota, **PLAIN)
        for pressed in buttons.connect():
            pressed.then(refresh, shown, outputs, **PLAIN)
    return blocks


class _Buttons:
    """The rows of controls; made where they stand on the page.

    Attributes:
        live: buttons that a refresh changes, by the name of the change.
    """

    def __init__(self, study: Study, closed: bool):
        self._requests = Requests(study)
        off: dict[str, Any] = {"interactive": False}  # until the first refresh: a press before that would be lost
        with gr.Row(elem_id="part-actions"):
            self.pause = _button(SAY["pause"], **off)
            self.retrain = _button(SAY["retrain"], variant="primary", **off)
            self.finish = _button(SAY["finish"], **off)
            with gr.Row(elem_classes="pair"):
                self.quota = _number(0, SAY["quota"], "quota")
                self.set_quota = _button(SAY["quota_set"], **off)
            with gr.Row(elem_classes="pair"):
                self.users = _number(200, SAY["users"], "users")
                self.simulate = _button(SAY["simulate"].format(n=200), **off)
            exports = render("admin_exports.html", text=SAY, closed=closed)
            gr.HTML(exports, elem_id="part-exports", apply_default_css=False)
        with gr.Row(elem_id="part-confirm", visible=False) as self.confirm:
            gr.HTML(render("admin_confirm.html", text=SAY), apply_default_css=False)
            self.yes, self.no = _button(SAY["finish_yes"], variant="primary"), _button(SAY["finish_no"])
        made = (self.pause, self.finish, self.set_quota, self.retrain, self.simulate)
        self.live = dict(zip(BUTTONS, made, strict=True))

    def connect(self) -> list[Any]:
        """Ties the buttons to what they do, and gives what is done, for a refresh to follow."""
        requests = self._requests
        # the keyboard's focus goes with the question, and back
        self.finish.click(lambda: gr.update(visible=True), None, self.confirm, **PLAIN).then(
            None, None, None, js="() => document.querySelector('#part-confirm button')?.focus()"
        )
        for button in (self.yes, self.no):
            button.click(lambda: gr.update(visible=False), None, self.confirm, **PLAIN).then(
                None, None, None, js="() => document.querySelector('#part-actions button')?.focus()"
            )
        label = SAY["simulate"].replace("{n}", "${n ?? 0}")
        self.users.change(None, self.users, self.simulate, js=f"(n) => `{label}`", **PLAIN)
        return [
            self.pause.click(requests.pause_or_resume, self.pause, None, **QUIET),
            self.retrain.click(requests.retrain, None, None, **QUIET),
            self.yes.click(requests.finish, None, None, **QUIET),
            self.set_quota.click(requests.quota, self.quota, None, **EACH),
            self.quota.submit(requests.quota, self.quota, None, **EACH),
            self.simulate.click(requests.simulate, self.users, None, **QUIET),
        ]


class Refresh:
    """The timer's refresh; parts that look as before are left alone, so nothing flickers or loses its scroll."""

    def __init__(self, study: Study):
        self.study = study
        self.crowd = CrowdCounts(study)
        self.evidence = KeptEvidence(study)
        picks_progress(study.store, study.config)  # counted in full once, before anyone waits for it

    def __call__(self, shown: dict[str, Any]) -> list[Any]:
        """(what is shown now, then the changes to each part)."""
        try:
            now = self._parts(panels(self.study, self.crowd, self.evidence()))
        except sqlite3.Error as error:
            now = {**shown, "notes": notes([("reason", SAY["store_failed"].format(error=error))])}
        changes = [self._html(name, now, shown) for name in HTML_PARTS]
        changes += [self._button(name, now, shown) for name in BUTTONS]
        return [now, *changes]

    @staticmethod
    def _parts(found: Panels) -> dict[str, Any]:
        able = {"interactive": not found.worker_absent}
        return {
            **{name: getattr(found, name) for name in HTML_PARTS},
            "pause": {"value": SAY["resume" if found.controls.stopped else "pause"], "interactive": True},
            "finish": {"interactive": not found.controls.finished},
            "quota": {"interactive": True},
            "retrain": able,
            "simulate": able,
        }

    @staticmethod
    def _html(name: str, now: dict[str, Any], shown: dict[str, Any]) -> Any:
        return gr.skip() if name not in now or shown.get(name) == now[name] else now[name]

    @staticmethod
    def _button(name: str, now: dict[str, Any], shown: dict[str, Any]) -> Any:
        return gr.skip() if name not in now or shown.get(name) == now[name] else gr.update(**now[name])


def _part(name: str) -> gr.HTML:
    return gr.HTML("", elem_id=f"part-{name}", apply_default_css=False, render=False)


def _button(label: str, **more: Any) -> gr.Button:
    return gr.Button(label, scale=0, min_width=110, **more)


def _number(value: int, label: str, name: str) -> gr.Number:
    # no bounds: Gradio's own message would come before ours, and a traceback with it
    return gr.Number(value, label=label, show_label=False, container=False, scale=0, min_width=90, elem_id=name)
