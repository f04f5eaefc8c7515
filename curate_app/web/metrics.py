"""GET /metrics: what goes on, as Prometheus reads it. Numbers alone: no id, no address, no name of a person.

It answers a scraper on this machine, or one that brings the researcher's password (user name: anything).
"""

import base64
import binascii
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import accumulate

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curate_app.web.admin_auth import AdminAuth, TooManyTriesError, is_local
from curate_app.web.limits import Limits
from data.store import Store, queries
from loop.raters.journey import silent_s, worker_status

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FOLDERS = ("/img/", "/static/", "/admin/")
TYPE = "text/plain; version=0.0.4; charset=utf-8"
NOW_S = 60.0
PHASES = ("absent", "preparing", "idle", "curating", "training", "publishing")
Sample = tuple[Mapping[str, object], float]


ROUTES = frozenset(
    f"/api/{name}" for name in ("session", "consent", "step", "slate", "pick", "withdraw", "generations")
) | {"/", "/healthz", "/metrics"}


@dataclass(slots=True)
class Times:
    """The durations of some requests.

    Attributes:
        counts: requests by time: one number for each of `BOUNDS_S`, and one for those that took longer.
        seconds: of all together.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    seconds: float = 0.0


class RequestMetrics:
    """ASGI middleware around everything else.

    Attributes:
        times: by route and status. Routes are few and fixed, whatever paths are asked for.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        self.times: dict[tuple[str, int], Times] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on; an app that raises counts as status 500."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_look)
        finally:
            self._add(route_of(scope["path"]), status, time.perf_counter() - began)

    def _add(self, route: str, status: int, seconds: float) -> None:
        times = self.times.setdefault((route, status), Times())
        times.counts[bisect_left(BOUNDS_S, seconds)] += 1
        times.seconds += seconds


def route_of(path: str) -> str:
    """A path's route, without anything of the path that a client made up."""
    if path in ROUTES:
        return path
    return next((folder for folder in FOLDERS if path.startswith(folder)), "other")


def build_metrics_routes(store: Store, request_metrics: RequestMetrics, limits: Limits, auth: AdminAuth) -> APIRouter:
    """GET /metrics of one study."""
    router = APIRouter()

    @router.get("/metrics")
    def metrics(request: Request) -> Response:
        try:
            if not (_from_here(request) or _is_researcher(request, auth)):
                why = "Ask from this machine, or with the researcher's password.\n"
                return PlainTextResponse(why, 401, {"WWW-Authenticate": 'Basic realm="metrics"'})
        except TooManyTriesError as error:
            return PlainTextResponse("Too many wrong passwords; ask again a little later.\n", 429, error.headers)
        lines = [*_study_lines(store), *_limit_lines(limits), *_request_lines(request_metrics)]
        return PlainTextResponse("\n".join(lines) + "\n", media_type=TYPE, headers={"Cache-Control": "no-store"})

    return router


def _from_here(request: Request) -> bool:
    """True if the connection comes from this machine, and is no proxy's for someone elsewhere."""
    if request.client is None or not is_local(request.headers, request.scope["http_version"]):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _is_researcher(request: Request, auth: AdminAuth) -> bool:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        password = base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return False
    return auth.knows(password, request.client.host if request.client else "")


def _study_lines(store: Store) -> Iterable[str]:
    picks = queries.tally(store)
    yield from _metric(
        "picks_total", "counter", "answers stored",
        (({"kind": row["kind"], "purpose": row["purpose"], "outcome": row["outcome"], "t": row["t"]}, row["n"])
         for row in picks),
    )  # fmt: skip
    funnel = queries.funnel(store)
    yield from _metric(
        "sessions", "gauge", "people by how far they came", (({"reached": key}, n) for key, n in funnel.items())
    )
    yield from _metric(
        "raters_now", "gauge", "people at work in the last minute", [({}, queries.count_people_at_work(store, NOW_S))]
    )
    yield from _metric(
        "slates_free", "gauge", "slates in the pool",
        (({"purpose": row["purpose"], "t": row["t"]}, row["n"]) for row in queries.free_slates(store)),
    )  # fmt: skip
    latest = store.latest_cut()
    if latest:
        yield from _metric("generation", "gauge", "the newest generation", [({}, latest[0])])
    yield from _worker_lines(store)


def _worker_lines(store: Store) -> Iterable[str]:
    phase, status = worker_status(store)["phase"], store.status("worker")
    yield from _metric(
        "worker_phase", "gauge", "1 for what the worker does", (({"phase": one}, one == phase) for one in PHASES)
    )
    if status:
        age = round(silent_s(status), 1)
        yield from _metric("worker_age_seconds", "gauge", "since the worker's last heartbeat", [({}, age)])


def _limit_lines(limits: Limits) -> Iterable[str]:
    yield from _metric(
        "limited_total", "counter", "requests answered with 429", (({"by": by}, n) for by, n in limits.met.items())
    )


def _request_lines(request_metrics: RequestMetrics) -> Iterable[str]:
    yield from _head("request_seconds", "histogram", "time to answer")
    for (route, status), times in sorted(list(request_metrics.times.items())):
        labels = {"route": route, "status": status}
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        for bound, n in zip(bounds, accumulate(times.counts), strict=True):
            yield _line("request_seconds_bucket", {**labels, "le": bound}, n)
        yield _line("request_seconds_sum", labels, round(times.seconds, 6))
        yield _line("request_seconds_count", labels, sum(times.counts))


def _metric(name: str, kind: str, what: str, samples: Iterable[Sample]) -> Iterable[str]:
    yield from _head(name, kind, what)
    for labels, value in samples:
        yield _line(name, labels, value)


def _head(name: str, kind: str, what: str) -> Iterable[str]:
    return f"# HELP curate_{name} {what}", f"# TYPE curate_{name} {kind}"


def _line(name: str, labels: Mapping[str, object], value: float) -> str:
    within = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"curate_{name}{{{within}}} {value + 0}" if within else f"curate_{name} {value + 0}"
