"""The researcher's buttons and downloads."""

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
from markupsafe import escape

from curate_app.assets import TEXT
from curate_app.commands.export import SALT
from data.choice_log.export import csv_pages
from data.secret_file import kept_secret
from loop.raters import journey
from loop.raters.journey import worker_status
from loop.study import Study

MOST_USERS = 100_000
SAY = TEXT["admin"]
REPORT_S = 900


class Requests:
    """The requests behind the buttons."""

    def __init__(self, study: Study):
        self.study = study

    def pause_or_resume(self, label: object) -> None:
        """Does what the button said when it was pressed, whatever has happened since."""
        if label == SAY["resume"]:
            self._control(lambda: journey.resume(self.study.store), SAY["resume_said"])
        else:
            self._control(lambda: journey.pause(self.study.store), SAY["pause_said"])

    def finish(self) -> None:
        """Ends the study for raters."""
        self._control(lambda: journey.finish(self.study.store), SAY["finish_said"])

    def quota(self, n: object) -> None:
        """Lets so many people finish."""
        if not _is_whole(n, 0, journey.MOST):
            warn("quota_range", most=f"{journey.MOST:,}")
            return
        said = SAY["quota_said"].format(n=f"{int(n):,}") if n else SAY["quota_none"]
        self._control(lambda: journey.set_quota(self.study.store, int(n)), said)

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
    """True if what a page sent, which may be anything, is a whole number within bounds."""
    return isinstance(n, int | float) and not isinstance(n, bool) and least <= n <= most and n == int(n)


def warn(key: str, **values: Any) -> None:
    """Tells why nothing was done."""
    # Gradio reads a message as HTML
    gr.Warning(SAY[key].format(**{name: escape(value) for name, value in values.items()}), title=SAY["not_asked"])


def build_export_routes(study: Study) -> APIRouter:
    """GET /admin/export/choices.csv and GET /admin/export/report.html."""
    router, making, name = APIRouter(), Lock(), study.path.resolve().name

    @router.get("/admin/export/choices.csv")
    def choices() -> Response:
        pages = csv_pages(study.store, name, kept_secret(study.path, SALT))
        return StreamingResponse(pages, media_type="text/csv; charset=utf-8", headers=_headers("choices.csv"))

    @router.get("/admin/export/report.html")
    def report() -> Response:
        if not making.acquire(blocking=False):
            return PlainTextResponse(SAY["report_busy"], 409)
        try:
            html = _report(study.path)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            return PlainTextResponse(SAY["report_failed"].format(error=said.strip(), path=study.path), 409)
        finally:
            making.release()
        return Response(html, media_type="text/html; charset=utf-8", headers=_headers("report.html"))

    return router


def _report(study: Path) -> bytes:
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


def _headers(file: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"}
