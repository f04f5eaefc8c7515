"""What the researcher downloads: the choice log, streamed, and the report, made by a process of its own.

Both are under /admin, so the door is in front of them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Lock

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from curate_app.assets import TEXT
from curate_app.export_command import SALT
from data.choice_log import csv_pages
from data.secret_file import kept_secret
from loop.study import Study

REPORT_S = 900
SAY = TEXT["admin"]


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
