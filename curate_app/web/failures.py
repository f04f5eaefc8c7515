"""Failures of the disk and of the database, at the edge: an honest status and a sentence instead of a bare 500.

`Health` remembers them for /healthz, and tells the researcher on stderr; raters' pages keep answers and ask again.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curate_app.console import err
from data.errors import StorageFault, storage_fault

REMEMBERED_S = 30.0  # since a fault was last met; a damaged database stays damaged
SAY_AGAIN_S = 60.0
LEAST_FREE_BYTES = 4 * 2**20
FAILING = 3  # deaths of the worker in a row


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_s: int
    to_rater: str
    to_researcher: str


_ANSWERS: dict[StorageFault, _Answer] = {
    "locked": _Answer(
        503, 2, "Saving takes longer than usual, and nothing was stored; send it again in a moment.",
        "Another process has been holding the write lock of {database} for seconds (a backup? sqlite3? another program "
        "that has it open?). Raters' pages keep their answers and ask again by themselves.",
    ),
    "full": _Answer(
        507, 30, "The server's disk is full, and nothing was stored; send it again later.",
        "THE DISK OF {folder} IS FULL: no answer can be stored. Make room; raters' pages keep theirs and ask again by "
        "themselves.",
    ),
    "readonly": _Answer(
        503, 30, "The study can't be written to at the moment, and nothing was stored; send it again later.",
        "{folder} CAN'T BE WRITTEN TO ({error}): check its owner, its permissions, and whether its file system is "
        "mounted read-only. Raters' pages keep their answers and ask again by themselves.",
    ),
    "corrupt": _Answer(
        503, 60, "The study's database is damaged; the people who run the study have to mend it.",
        "{database} IS DAMAGED ({error}). Stop the study, copy its folder away, see what `curate check` says, and "
        "restore a backup (docs/deployment.md).",
    ),
    "unreadable": _Answer(
        503, 30, "The study's database can't be reached at the moment; send it again later.",
        "{database} CAN'T BE READ OR WRITTEN ({error}): check the disk, and that the folder is still there.",
    ),
}  # fmt: skip


@dataclass
class Health:
    """Faults that this process met lately.

    Attributes:
        folder: the study's.
        worker_deaths: of the worker beside the app, in a row, without a healthy run between.
        say: tells the researcher.
        clock: seconds, never going back.
    """

    folder: Path
    worker_deaths: int = 0
    say: Callable[[str], object] = err.print
    clock: Callable[[], float] = time.monotonic
    _met: dict[StorageFault, float] = field(default_factory=dict)
    _said: dict[StorageFault, float] = field(default_factory=dict)

    @property
    def worker_failing(self) -> bool:
        """True if the worker dies again and again."""
        return self.worker_deaths >= FAILING

    def note(self, error: BaseException) -> StorageFault | None:
        """Remembers the fault behind an error and tells the researcher, once a minute; None for any other error."""
        fault = storage_fault(error)
        if fault is None:
            return None
        if fault == "unreadable" and self.disk_is_full():
            fault = "full"  # SQLite can't always tell
        now = self._met[fault] = self.clock()
        if now - self._said.get(fault, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said[fault] = now
            database = self.folder / "study.db"
            self.say(_ANSWERS[fault].to_researcher.format(folder=self.folder, database=database, error=error))
        return fault

    def faults(self) -> list[StorageFault]:
        """Faults that stand in the way of saving; a lock isn't among them (see `Store.blocked_s`)."""
        now = self.clock()
        lately = {fault for fault, at in self._met.items() if fault == "corrupt" or now - at < REMEMBERED_S}
        if self.disk_is_full():
            lately.add("full")
        return [fault for fault in _ANSWERS if fault in lately and fault != "locked"]

    def disk_is_full(self) -> bool:
        """True if next to nothing can be written beside the study."""
        try:
            return shutil.disk_usage(self.folder).free < LEAST_FREE_BYTES
        except OSError:
            return False


class Failures:
    """ASGI middleware around all that reads or writes the study.

    Args:
        app: gets every request.
        health: remembers what went wrong.
    """

    def __init__(self, app: ASGIApp, health: Health):
        self.app = app
        self.health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers in place of an app that failed for want of its disk."""
        begun = False

        async def send_and_look(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_and_look)
        except (sqlite3.Error, OSError) as error:
            answer = answer_to(error, self.health)
            if begun or answer is None or scope["type"] != "http":
                raise
            await answer(scope, receive, send)


def handle_failures(app: FastAPI, health: Health) -> None:
    """Has the routes of an app answer likewise; its own handler of errors would come before the middleware."""

    async def handle(_request: Request, error: Exception) -> Response:
        answer = answer_to(error, health)
        if answer is None:
            raise error
        return answer

    app.add_exception_handler(sqlite3.Error, handle)
    app.add_exception_handler(OSError, handle)


def answer_to(error: Exception, health: Health) -> Response | None:
    """503 or 507, with a sentence and the time after which to ask again; None for what is no fault of the disk."""
    fault = health.note(error)
    if fault is None:
        return None
    answer = _ANSWERS[fault]
    return PlainTextResponse(answer.to_rater, answer.status, {"Retry-After": str(answer.retry_s)})
