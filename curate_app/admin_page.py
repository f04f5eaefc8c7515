"""The researcher's page, live: parts of HTML that a timer replaces when they change, and buttons that write events.

The buttons only ask: the worker reads the events and does the work.
"""

import sqlite3
from typing import Any

import gradio as gr
from markupsafe import escape

from curate_app.admin_charts import KeptEvidence
from curate_app.admin_view import Panels, PickCounts, panels
from curate_app.assets import TEXT, render
from loop.serving import worker_status
from loop.study import Study

EVERY_S = 2.0
MOST_USERS = 100_000
PARTS = ("head", "curves", "sheets", "events", "reason", "retrain", "simulate")
SAY = TEXT["admin"]
# No spinner over what is there, and no name in an API listing. The timer's calls are plain ones; the buttons' go
# through the queue, because Gradio can't show a message from outside it.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
PLAIN: dict[str, Any] = {**QUIET, "queue": False}


def build_admin_page(study: Study) -> gr.Blocks:
    """The Blocks at /admin."""
    requests = Requests(study)
    with gr.Blocks(title=f"{study.path.name} · curate", analytics_enabled=False, fill_width=True) as blocks:
        shown = gr.State({})
        head = _part("part-head")
        with gr.Row(elem_id="part-actions"):
            retrain = gr.Button(SAY["retrain"], variant="primary", interactive=False, scale=0, min_width=150)
            users = gr.Number(
                200, precision=0, minimum=1, maximum=MOST_USERS, label=SAY["users"], show_label=False, container=False,
                scale=0, min_width=110, elem_id="users",
            )  # fmt: skip
            simulate = gr.Button(SAY["simulate"].format(n=200), interactive=False, scale=0, min_width=240)
        reason = _part("part-reason")
        curves, sheets, events = _part("part-curves"), _part("part-sheets"), _part("part-events")

        outputs = [shown, head, curves, sheets, events, reason, retrain, simulate]
        refresh = Refresh(study)
        gr.Timer(EVERY_S).tick(refresh, shown, outputs, **PLAIN)
        blocks.load(refresh, shown, outputs, **PLAIN)
        retrain.click(requests.retrain, None, None, **QUIET)
        simulate.click(requests.simulate, users, None, **QUIET)
        label = SAY["simulate"].replace("{n}", "${n ?? 0}")
        users.change(None, users, simulate, js=f"(n) => `{label}`", **PLAIN)
    return blocks


class Refresh:
    """What the timer calls; parts that look as before are left alone, so nothing flickers or loses its scroll."""

    def __init__(self, study: Study):
        self.study = study
        self.counts = PickCounts(study.store)
        self.evidence = KeptEvidence(study)
        self.gone = SAY["absent"].format(path=study.path)

    def __call__(self, shown: dict[str, Any]) -> list[Any]:
        """(what is shown now, then the changes to each part)."""
        try:
            now = self._parts(panels(self.study, self.counts, self.evidence()))
        except sqlite3.Error as error:
            now = {**shown, "reason": _reason(SAY["store_failed"].format(error=error))}
        changes = [self._change(name, now, shown) for name in PARTS]
        return [now, *changes]

    def _parts(self, found: Panels) -> dict[str, Any]:
        reason = _reason(self.gone) if found.worker_absent else ""
        able = not found.worker_absent
        return {
            "head": found.head, "curves": found.curves, "sheets": found.sheets, "events": found.events,
            "reason": reason, "retrain": able, "simulate": able,
        }  # fmt: skip

    @staticmethod
    def _change(name: str, now: dict[str, Any], shown: dict[str, Any]) -> Any:
        if name not in now or (name in shown and shown[name] == now[name]):
            return gr.skip()
        return gr.update(interactive=now[name]) if name in ("retrain", "simulate") else now[name]


class Requests:
    """What the buttons call."""

    def __init__(self, study: Study):
        self.study = study

    def retrain(self) -> None:
        """Asks for a new generation now."""
        self._ask(SAY["retrain_said"], "retrain_requested")

    def simulate(self, n: float | None) -> None:
        """Asks for simulated users' picks."""
        if n is None or not 1 <= n <= MOST_USERS or n != int(n):
            _warn("simulate_range", most=MOST_USERS)
            return
        self._ask(SAY["simulate_said"].format(n=int(n)), "simulate_requested", n=int(n))

    def _ask(self, said: str, kind: str, **detail: Any) -> None:
        try:
            if worker_status(self.study.store)["phase"] == "absent":
                _warn("worker_gone", path=self.study.path)
                return
            self.study.store.log("researcher", kind, **detail)
        except sqlite3.Error as error:
            _warn("store_failed", error=error)
            return
        gr.Info(said, title=SAY["asked"])


def _warn(key: str, **values: Any) -> None:
    # Gradio reads a message as HTML
    gr.Warning(SAY[key].format(**{name: escape(value) for name, value in values.items()}), title=SAY["not_asked"])


def _part(name: str) -> gr.HTML:
    return gr.HTML("", elem_id=name, apply_default_css=False)


def _reason(text: str) -> str:
    return render("admin_reason.html", text=text)
