"""What the researcher's buttons do. Study controls hold at once; what the worker must do is an event that it reads."""

import sqlite3
from collections.abc import Callable
from typing import Any, TypeGuard

import gradio as gr
from markupsafe import escape

from curate_app.assets import TEXT
from loop.crowd import controls
from loop.crowd.serving import worker_status
from loop.study import Study

MOST_USERS = 100_000
SAY = TEXT["admin"]


class Requests:
    """What the buttons call."""

    def __init__(self, study: Study):
        self.study = study

    def pause_or_resume(self, label: object) -> None:
        """Does what the button said when it was pressed, whatever has happened since."""
        if label == SAY["resume"]:
            self._control(lambda: controls.resume(self.study.store), SAY["resume_said"])
        else:
            self._control(lambda: controls.pause(self.study.store), SAY["pause_said"])

    def finish(self) -> None:
        """Ends the study for raters."""
        self._control(lambda: controls.finish(self.study.store), SAY["finish_said"])

    def quota(self, n: object) -> None:
        """Lets so many people finish."""
        if not _is_whole(n, 0, controls.MOST):
            warn("quota_range", most=f"{controls.MOST:,}")
            return
        said = SAY["quota_said"].format(n=f"{int(n):,}") if n else SAY["quota_none"]
        self._control(lambda: controls.set_quota(self.study.store, int(n)), said)

    def retrain(self) -> None:
        """Asks for a new generation now."""
        self._ask(SAY["retrain_said"], "retrain_requested")

    def simulate(self, n: object) -> None:
        """Asks for simulated users' picks."""
        if not _is_whole(n, 1, MOST_USERS):
            warn("simulate_range", most=MOST_USERS)
            return
        self._ask(SAY["simulate_said"].format(n=int(n)), "simulate_requested", n=int(n))

    def _ask(self, said: str, kind: str, **detail: Any) -> None:
        def ask() -> None:
            self.study.store.log("researcher", kind, **detail)

        try:
            if worker_status(self.study.store)["phase"] == "absent":
                warn("worker_gone", path=self.study.path)
                return
        except sqlite3.Error as error:
            warn("store_failed", error=error)
            return
        self._control(ask, said)

    def _control(self, do: Callable[[], object], said: str) -> None:
        try:
            self.study.store.together(do)
        except sqlite3.Error as error:
            warn("store_failed", error=error)
            return
        gr.Info(said, title=SAY["asked"])


def _is_whole(n: object, least: int, most: int) -> TypeGuard[float]:
    """Whether what a page sent, which may be anything, is a whole number within bounds."""
    return isinstance(n, int | float) and not isinstance(n, bool) and least <= n <= most and n == int(n)


def warn(key: str, **values: Any) -> None:
    """Tells why nothing was done."""
    # Gradio reads a message as HTML
    gr.Warning(SAY[key].format(**{name: escape(value) for name, value in values.items()}), title=SAY["not_asked"])
