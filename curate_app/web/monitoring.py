"""Monitoring of a served study: GET /healthz, GET /metrics, and requests that fail because of the disk.

A request that meets a fault of the disk or of the database gets a fitting status and a sentence instead of a bare 500.
`Health` remembers the fault for /healthz and reports it to the researcher on stderr; raters' pages hold their answers
and send them again. /metrics holds numbers only: no id, no address, no name of a person.
"""

import asyncio
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curate_app.console import err
from curate_app.web.admin_auth import AdminAuth
from curate_app.web.security import Limits
from data.errors import StorageFault, storage_fault
from data.store import Store, queries
from data.store.connection import PATIENCE_S
from loop.raters.journey import control_state, silent_s, worker_status

REMEMBERED_S = 30.0  # since a fault was last met; a damaged database stays damaged
REPORT_AGAIN_S = 60.0
LEAST_FREE_BYTES = 4 * 2**20
FAILING = 3  # deaths of the worker in a row
PROBE_S = 0.25
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FOLDERS = ("/img/", "/static/", "/admin/")
ROUTES = frozenset(
    f"/api/{name}" for name in ("session", "consent", "step", "slate", "pick", "undo", "withdraw", "generations")
) | {"/", "/healthz", "/metrics"}
PHASES = ("absent", "starting", "preparing", "idle", "curating", "training", "publishing")
AT_WORK_S = 60.0


@dataclass(frozen=True, slots=True)
class FaultReport:
    """A fault of the disk in words, and the answer to a request that met it.

    Attributes:
        status: of the answer.
        retry_s: seconds after which to send the request again.
        to_rater: text of the answer.
        to_researcher: line on stderr, with {folder}, {database} and {error} to be filled in.
    """

    status: int
    retry_s: int
    to_rater: str
    to_researcher: str


REPORTS: dict[StorageFault, FaultReport] = {
    "locked": FaultReport(
        503, 2, "Saving takes longer than usual, and nothing was stored; send it again in a moment.",
        "Another process has been holding the write lock of {database} for seconds (a backup? sqlite3? another program "
        "that has it open?). Raters' pages hold their answers and send them again by themselves.",
    ),
    "full": FaultReport(
        507, 30, "The server's disk is full, and nothing was stored; send it again later.",
        "THE DISK OF {folder} IS FULL: no answer can be stored. Make room; raters' pages hold theirs and send them "
        "again by themselves.",
    ),
    "readonly": FaultReport(
        503, 30, "The study can't be written to at the moment, and nothing was stored; send it again later.",
        "{folder} CAN'T BE WRITTEN TO ({error}): check its owner, its permissions, and whether its file system is "
        "mounted read-only. Raters' pages hold their answers and send them again by themselves.",
    ),
    "corrupt": FaultReport(
        503, 60, "The study's database is damaged; the people who run the study have to repair it.",
        "{database} IS DAMAGED ({error}). Stop the study, copy its folder away, read what `curate check` reports, and "
        "restore a backup (docs/deployment.md).",
    ),
    "unreadable": FaultReport(
        503, 30, "The study's database can't be reached at the moment; send it again later.",
        "{database} CAN'T BE READ OR WRITTEN ({error}): check the disk, and that the folder is still there.",
    ),
}  # fmt: skip


@dataclass
class Health:
    """Recent faults of this process.

    Attributes:
        folder: the study's.
        worker_deaths: of the worker beside the app, in a row, without a healthy run between.
        say: writes a line to the researcher.
        clock: seconds, never going back.
    """

    folder: Path
    worker_deaths: int = 0
    say: Callable[[str], object] = err.print
    clock: Callable[[], float] = time.monotonic
    _met: dict[StorageFault, float] = field(default_factory=dict)
    _reported: dict[StorageFault, float] = field(default_factory=dict)

    @property
    def worker_failing(self) -> bool:
        """True if the worker dies again and again."""
        return self.worker_deaths >= FAILING

    def note(self, error: BaseException) -> StorageFault | None:
        """Remembers the fault behind an error and reports it, once a minute; None for any other error."""
        fault = storage_fault(error)
        if fault is None:
            return None
        if fault == "unreadable" and self.disk_is_full():
            fault = "full"  # SQLite can't always tell
        now = self._met[fault] = self.clock()
        if now - self._reported.get(fault, -REPORT_AGAIN_S) >= REPORT_AGAIN_S:
            self._reported[fault] = now
            database = self.folder / "study.db"
            self.say(REPORTS[fault].to_researcher.format(folder=self.folder, database=database, error=error))
        return fault

    def faults(self) -> list[StorageFault]:
        """Faults that stand in the way of saving; a lock isn't among them (see `Store.blocked_s`)."""
        now = self.clock()
        recent = {fault for fault, at in self._met.items() if fault == "corrupt" or now - at < REMEMBERED_S}
        if self.disk_is_full():
            recent.add("full")
        return [fault for fault in REPORTS if fault in recent and fault != "locked"]

    def disk_is_full(self) -> bool:
        """True if next to nothing can be written beside the study."""
        try:
            return shutil.disk_usage(self.folder).free < LEAST_FREE_BYTES
        except OSError:
            return False

    def answer_to(self, error: Exception) -> Response | None:
        """503 or 507, with a sentence and the time after which to send again; None for an error of another kind."""
        fault = self.note(error)
        if fault is None:
            return None
        report = REPORTS[fault]
        return PlainTextResponse(report.to_rater, report.status, {"Retry-After": str(report.retry_s)})


class FailureMiddleware:
    """ASGI middleware around all that reads or writes the study.

    Args:
        app: gets every request.
        health: remembers what went wrong.
    """

    def __init__(self, app: ASGIApp, health: Health):
        self.app = app
        self.health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers in place of an app that failed because of the disk."""
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except (sqlite3.Error, OSError) as error:
            answer = self.health.answer_to(error)
            if begun or answer is None or scope["type"] != "http":
                raise
            await answer(scope, receive, send)


def handle_failures(app: FastAPI, health: Health) -> None:
    """Makes the routes of an app answer likewise; its own handler of errors would come before the middleware."""

    async def handle(_request: Request, error: Exception) -> Response:
        answer = health.answer_to(error)
        if answer is None:
            raise error
        return answer

    app.add_exception_handler(sqlite3.Error, handle)
    app.add_exception_handler(OSError, handle)


class RequestMetrics:
    """ASGI middleware around everything else.

    Attributes:
        seconds: histogram of the time to answer, by route and status. Routes are few and fixed, whatever paths are
            asked for.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        labels = ("route", "status")
        self.seconds = Histogram("curate_request_seconds", "time to answer", labels, buckets=BOUNDS_S, registry=None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on; an app that raises counts as status 500."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            self.seconds.labels(route_of(scope["path"]), status).observe(time.perf_counter() - began)


def route_of(path: str) -> str:
    """The route of a path, without anything of the path that a client made up."""
    if path in ROUTES:
        return path
    return next((folder for folder in FOLDERS if path.startswith(folder)), "other")


class StudyCollector(Collector):
    """The figures of /metrics, read when they are asked for: from the study's store, the limits and the requests.

    Args:
        store: the study's.
        limits: of the app.
        requests: times of the app's requests.
    """

    def __init__(self, store: Store, limits: Limits, requests: RequestMetrics):
        self.store = store
        self.limits = limits
        self.requests = requests

    def collect(self) -> Iterable[Metric]:
        """All metrics of the app; their names begin with curate_."""
        store = self.store
        picks = CounterMetricFamily("curate_picks", "answers stored", labels=("kind", "purpose", "outcome", "t"))
        labels = ("kind", "purpose", "outcome", "t")
        undone = CounterMetricFamily("curate_picks_undone", "answers that raters took back", labels=labels)
        stored = Counter[tuple[str, ...]]()  # with those taken back: a counter never falls
        for rows, is_undone in ((queries.tally(store), False), (queries.undone_tally(store), True)):
            for row in rows:
                key = (row["kind"], row["purpose"], row["outcome"], str(row["t"]))
                stored[key] += row["n"]
                if is_undone:
                    undone.add_metric(key, row["n"])
        for key, n in stored.items():
            picks.add_metric(key, n)
        yield picks
        yield undone
        sessions = GaugeMetricFamily("curate_sessions", "people by how far they came", labels=("reached",))
        for milestone, n in queries.funnel(store).items():
            sessions.add_metric((milestone,), n)
        yield sessions
        at_work = queries.count_people_at_work(store, AT_WORK_S)
        yield GaugeMetricFamily("curate_raters_now", "people at work in the last minute", at_work)
        slates = GaugeMetricFamily("curate_slates_free", "slates in the pool", labels=("purpose", "t"))
        for row in queries.free_slates(store):
            slates.add_metric((row["purpose"], str(row["t"])), row["n"])
        yield slates
        if latest := store.latest_cut():
            yield GaugeMetricFamily("curate_generation", "the newest generation", latest[0])
        yield from self.collect_worker()
        limited = CounterMetricFamily("curate_limited", "requests answered with 429", labels=("by",))
        for by, n in self.limits.met.items():
            limited.add_metric((by,), n)
        yield limited
        for metric in self.requests.seconds.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric

    def collect_worker(self) -> Iterable[Metric]:
        """The worker's phase, and the age of its last heartbeat if there ever was one."""
        current, status = worker_status(self.store)["phase"], self.store.status("worker")
        phases = GaugeMetricFamily("curate_worker_phase", "1 for the worker's phase, 0 for others", labels=("phase",))
        for phase in PHASES:
            phases.add_metric((phase,), phase == current)
        yield phases
        if status:
            age_s = round(silent_s(status), 1)
            yield GaugeMetricFamily("curate_worker_age_seconds", "time since the worker's last heartbeat", age_s)


def build_metrics_routes(store: Store, requests: RequestMetrics, limits: Limits, auth: AdminAuth) -> APIRouter:
    """GET /metrics of one study, for a scraper on this machine or one with the researcher's password."""
    router, registry = APIRouter(), CollectorRegistry()
    registry.register(StudyCollector(store, limits, requests))

    @router.get("/metrics")
    def metrics(request: Request) -> Response:
        if refusal := auth.check_scraper(request):
            return refusal
        text = generate_latest(registry)
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4, headers={"Cache-Control": "no-store"})

    return router


def build_health_routes(store: Store, health: Health) -> APIRouter:
    """GET and HEAD /healthz of one study: 200 as long as raters are served, else 503 and the troubles by name."""
    router = APIRouter()

    def state() -> tuple[dict[str, Any], bool]:
        """The newest generation and the worker's phase, and True if raters find slates or need none."""
        latest = store.latest_cut()
        serves = control_state(store).stopped or (latest is not None and queries.has_free_slate(store, latest[0]))
        return {"t": latest and latest[0], "worker": worker_status(store)["phase"]}, serves

    # programs that watch a server often send HEAD
    @router.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
    async def healthz(response: Response) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        facts: dict[str, Any] = {"t": None, "worker": None}
        serves = True
        try:
            probe = asyncio.wrap_future(store.soon(lambda: None, lambda _: None))
            probe.add_done_callback(lambda future: future.cancelled() or future.exception())
            facts, serves = await run_in_threadpool(state)
            await asyncio.wait_for(asyncio.shield(probe), PROBE_S)
        except TimeoutError:
            pass  # a moment's wait is no trouble yet
        except (sqlite3.Error, OSError) as error:
            health.note(error)
        troubles: list[str] = [*health.faults(), *(["locked"] if store.blocked_s >= PATIENCE_S else [])]
        if not serves and (health.worker_failing or facts["worker"] == "absent"):
            troubles.append("no_slates")
        ok = not troubles
        if health.worker_failing:
            troubles.append("worker_failing")  # raters are served all the same, as long as there are slates
        if not ok:
            response.status_code = 503
        return {"ok": ok, **facts, **({"troubles": troubles} if troubles else {})}

    return router
