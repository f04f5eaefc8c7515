"""GET /metrics: what goes on, as Prometheus reads it. Numbers alone: no id, no address, no name of a person.

It answers a scraper on this machine, or one that brings the researcher's password (user name: anything).
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from itertools import accumulate

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from curate_app.server.door import Door, TooManyTriesError, is_local
from curate_app.server.limits import Limits
from curate_app.server.meter import BOUNDS_S, Meter
from data.store import Store
from loop.crowd.serving import silent_s, worker_status

TYPE = "text/plain; version=0.0.4; charset=utf-8"
NOW_S = 60.0
PHASES = ("absent", "preparing", "idle", "curating", "training", "publishing")
Sample = tuple[Mapping[str, object], float]


def build_metrics_routes(store: Store, meter: Meter, limits: Limits, door: Door) -> APIRouter:
    """GET /metrics of one study."""
    router = APIRouter()

    @router.get("/metrics")
    def metrics(request: Request) -> Response:
        try:
            if not (_from_here(request) or _is_researcher(request, door)):
                why = "Ask from this machine, or with the researcher's password.\n"
                return PlainTextResponse(why, 401, {"WWW-Authenticate": 'Basic realm="metrics"'})
        except TooManyTriesError as error:
            return PlainTextResponse("Too many wrong passwords; ask again a little later.\n", 429, error.headers)
        lines = [*_study_lines(store), *_limit_lines(limits), *_request_lines(meter)]
        return PlainTextResponse("\n".join(lines) + "\n", media_type=TYPE, headers={"Cache-Control": "no-store"})

    return router


def _from_here(request: Request) -> bool:
    """Whether the connection comes from this machine, and is no proxy's for someone elsewhere."""
    if request.client is None or not is_local(request.headers, request.scope["http_version"]):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _is_researcher(request: Request, door: Door) -> bool:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        password = base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return False
    return door.knows(password, request.client.host if request.client else "")


def _study_lines(store: Store) -> Iterable[str]:
    picks = store.tally()
    yield from _metric(
        "picks_total", "counter", "answers stored",
        (({"kind": row["kind"], "purpose": row["purpose"], "outcome": row["outcome"], "t": row["t"]}, row["n"])
         for row in picks),
    )  # fmt: skip
    funnel = store.funnel()
    yield from _metric(
        "sessions", "gauge", "people by how far they came", (({"reached": key}, n) for key, n in funnel.items())
    )
    yield from _metric("raters_now", "gauge", "people at work in the last minute", [({}, store.people_at_work(NOW_S))])
    yield from _metric(
        "slates_free", "gauge", "slates in the pool",
        (({"purpose": row["purpose"], "t": row["t"]}, row["n"]) for row in store.free_slates()),
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


def _request_lines(meter: Meter) -> Iterable[str]:
    yield from _head("request_seconds", "histogram", "time to answer")
    for (route, status), times in sorted(list(meter.times.items())):
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
